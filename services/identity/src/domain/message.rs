//! Messages to one person that other services ask for: worded with her name, in her language, sent
//! by SMS once, for one purpose, and not after their time.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use kit::types::{MemberId, Processing};
use uuid::Uuid;

use super::origin::Speech;

/// The longest parameter, in characters: a provider takes no more of one.
pub const PARAM_CHARS_MAX: usize = 30;
/// How long a message is kept after it could be sent, in days.
pub const MESSAGE_DAYS: i64 = 30;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A pass is forfeited unless it is activated.
    PassToActivate,
}

impl Template {
    pub const ALL: [Self; 1] = [Self::PassToActivate];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PassToActivate => "pass_to_activate",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// A template with what it takes beside a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    PassToActivate {
        /// What the pass is called, in Chinese and in English.
        product: (String, String),
        last_day: NaiveDate,
    },
}

impl Content {
    /// Of values in the template's order; `None` when they are not its.
    pub fn read(template: Template, values: &[String]) -> Option<Self> {
        match template {
            Template::PassToActivate => {
                let [zh, en, last_day] = values else {
                    return None;
                };
                Some(Self::PassToActivate {
                    product: (cut(zh), cut(en)),
                    last_day: last_day.parse().ok()?,
                })
            }
        }
    }

    /// In the template's order.
    pub fn values(&self) -> Vec<String> {
        match self {
            Self::PassToActivate { product, last_day } => {
                let (zh, en) = product.clone();
                vec![zh, en, last_day.to_string()]
            }
        }
    }

    pub const fn template(&self) -> Template {
        match self {
            Self::PassToActivate { .. } => Template::PassToActivate,
        }
    }

    /// The provider's template in a language, and its parameters: words in both, since whoever
    /// reads one of its texts shall read no word of the other.
    pub fn worded(
        &self,
        name: &str,
        speech: Speech,
    ) -> (&'static str, Vec<(&'static str, String)>) {
        match self {
            Self::PassToActivate { product, last_day } => {
                let template = match speech {
                    Speech::Chinese => "pass_to_activate",
                    Speech::English => "pass_to_activate_en",
                };
                let (zh, en) = product.clone();
                let params = vec![
                    ("name", cut(name)),
                    ("product", zh),
                    ("product_en", en),
                    ("date", last_day.to_string()),
                ];
                (template, params)
            }
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(PARAM_CHARS_MAX).collect()
}

/// Why somebody may be sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To carry out what she has agreed on (个人信息保护法 Art. 13 (2)).
    Contract,
    /// To tell her, while she consents to it.
    Notice,
}

impl Purpose {
    pub const ALL: [Self; 2] = [Self::Contract, Self::Notice];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Notice => "notice",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// What she must consent to.
    pub const fn processing(self) -> Option<Processing> {
        match self {
            Self::Contract => None,
            Self::Notice => Some(Processing::NoticeSms),
        }
    }
}

/// Why a message is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    NoConsent,
    NoPhone,
    TooLate,
}

impl Skipped {
    pub const ALL: [Self; 3] = [Self::NoConsent, Self::NoPhone, Self::TooLate];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoConsent => "no_consent",
            Self::NoPhone => "no_phone",
            Self::TooLate => "too_late",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Planned,
    /// The provider was given it; last at this instant, since its answer may have been lost.
    HandedOver {
        at: DateTime<Utc>,
    },
    Skipped(Skipped),
}

/// A message that a service asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: Uuid,
    pub service: String,
    pub about: Uuid,
    pub member: MemberId,
    pub purpose: Purpose,
    pub content: Content,
    pub asked_at: DateTime<Utc>,
    /// It is not sent from then on.
    pub valid_until: DateTime<Utc>,
    pub state: State,
}

/// What is known of who it is for as it goes.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Whether she consents to what the purpose needs, if it needs anything.
    pub consents: bool,
    pub has_phone: bool,
}

impl Message {
    /// Hands it to the provider, or says why not; whether it goes now. One that was handed over
    /// stays so, whatever came between.
    pub fn hand_over(self, standing: Standing, now: DateTime<Utc>) -> (Self, bool) {
        let why = match standing {
            _ if self.valid_until <= now => Some(Skipped::TooLate),
            Standing {
                consents: false, ..
            } => Some(Skipped::NoConsent),
            Standing {
                has_phone: false, ..
            } => Some(Skipped::NoPhone),
            Standing { .. } => None,
        };
        let state = match (self.state, why) {
            (State::Planned | State::HandedOver { .. }, None) => State::HandedOver { at: now },
            // What was decided against stays so, whatever comes later.
            (State::Planned, Some(why)) | (State::Skipped(why), _) => State::Skipped(why),
            (State::HandedOver { at }, Some(_)) => State::HandedOver { at },
        };
        let goes = state == State::HandedOver { at: now } && why.is_none();
        (Self { state, ..self }, goes)
    }

    /// Who asked for it says that it is about nothing any more: its time ends now. One that the
    /// provider was given may have gone, and is not given again.
    #[must_use]
    pub fn withdraw(self, now: DateTime<Utc>) -> Self {
        let end = match self.state {
            State::Planned | State::Skipped(_) => now,
            // It was handed over within its time.
            State::HandedOver { at } => now.max(at + TimeDelta::milliseconds(1)),
        };
        Self {
            valid_until: self.valid_until.min(end),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Standing = Standing {
        consents: true,
        has_phone: true,
    };

    fn values() -> Vec<String> {
        ["巴蜀年票", "Bashu Pass", "2026-05-01"]
            .map(str::to_owned)
            .to_vec()
    }

    fn planned() -> Message {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Message {
            id: Uuid::from_u128(1),
            service: "passes".to_owned(),
            about: Uuid::from_u128(2),
            member: MemberId(Uuid::from_u128(3)),
            purpose: Purpose::Contract,
            content: Content::read(Template::PassToActivate, &values()).unwrap(),
            asked_at: at,
            valid_until: at + TimeDelta::days(1),
            state: State::Planned,
        }
    }

    #[test]
    fn values_are_their_templates_own() {
        let content = Content::read(Template::PassToActivate, &values()).unwrap();
        assert_eq!(content.values(), values());
        for wrong in [&values()[..2], &["a", "b", "May"].map(str::to_owned)] {
            assert_eq!(Content::read(Template::PassToActivate, wrong), None);
        }
        let (zh, params) = content.worded("张三", Speech::Chinese);
        assert_eq!(zh, "pass_to_activate");
        let products = [&params[1], &params[2]].map(|(name, value)| (*name, value.as_str()));
        let both = [("product", "巴蜀年票"), ("product_en", "Bashu Pass")];
        assert_eq!(products, both);
        let (en, params) = content.worded(&"张".repeat(40), Speech::English);
        assert_eq!(en, "pass_to_activate_en");
        assert_eq!(params[0].1.chars().count(), PARAM_CHARS_MAX);
    }

    /// Withdrawn, it goes no more, given to the provider or not; what went did so within its time.
    #[test]
    fn a_message_that_is_withdrawn_goes_no_more() {
        let now = planned().asked_at;
        let (never, goes) = planned().withdraw(now).hand_over(GOOD, now);
        assert!(!goes && never.state == State::Skipped(Skipped::TooLate));
        let (gone, _) = planned().hand_over(GOOD, now);
        let ended = gone.withdraw(now);
        assert!(now < ended.valid_until);
        let (kept, goes) = ended.hand_over(GOOD, now + TimeDelta::seconds(1));
        assert!(!goes && kept.state == State::HandedOver { at: now });
        let over = kept.valid_until;
        let much_later = now + TimeDelta::days(9);
        assert_eq!(kept.withdraw(much_later).valid_until, over, "it ended once");
    }

    /// It goes while it may, again where the provider was away, and never after its time.
    #[test]
    fn a_message_goes_while_it_may() {
        let now = planned().asked_at;
        let (gone, goes) = planned().hand_over(GOOD, now);
        assert!(goes && gone.state == State::HandedOver { at: now });
        let later = now + TimeDelta::hours(1);
        let (again, goes) = gone.hand_over(GOOD, later);
        assert!(goes && again.state == State::HandedOver { at: later });
        let over = again.valid_until;
        let (kept, goes) = again.hand_over(GOOD, over);
        assert!(!goes && kept.state == State::HandedOver { at: later });
        for (standing, at, why) in [
            (GOOD, over, Skipped::TooLate),
            (
                Standing {
                    consents: false,
                    ..GOOD
                },
                now,
                Skipped::NoConsent,
            ),
            (
                Standing {
                    has_phone: false,
                    ..GOOD
                },
                now,
                Skipped::NoPhone,
            ),
        ] {
            let (skipped, goes) = planned().hand_over(standing, at);
            assert!(!goes && skipped.state == State::Skipped(why), "{why:?}");
            let (still, goes) = skipped.hand_over(GOOD, now);
            assert!(!goes && still.state == State::Skipped(why), "{why:?}");
        }
    }
}
