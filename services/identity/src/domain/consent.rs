//! Consents: what a person said to one purpose and recipient, and what that is worth under the text
//! that is in force.
//!
//! A new version of a text asks anew: a consent to an older one stays on record and allows nothing
//! (个人信息保护法 Art. 14). Withdrawing takes no reason, no version and no more steps than giving
//! (Art. 15).

use chrono::{DateTime, Utc};
use kit::types::{MemberId, Processing, Union};
use uuid::Uuid;

use crate::error::Refusal;

/// Stands in a text for the name of the union.
const UNION: &str = "{union}";

/// A version of what people are asked to agree to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub processing: Processing,
    /// From one.
    pub version: i32,
    /// In Chinese and English as they are stored; see [`Text::read_as`].
    pub zh: String,
    pub en: String,
    pub effective_from: DateTime<Utc>,
}

impl Text {
    /// The Chinese and the English text as members of this union read them.
    pub fn read_as(&self, union: Union) -> (String, String) {
        let en = match union {
            Union::Chongqing => "the Chongqing Federation of Trade Unions",
            Union::Sichuan => "the Sichuan Federation of Trade Unions",
        };
        (
            self.zh.replace(UNION, union.name_zh()),
            self.en.replace(UNION, en),
        )
    }
}

/// The text that is asked for now: the newest of those that have begun.
pub fn in_force(texts: &[Text], processing: Processing, now: DateTime<Utc>) -> Option<&Text> {
    texts
        .iter()
        .filter(|text| text.processing == processing && text.effective_from <= now)
        .max_by_key(|text| text.version)
}

/// What a person said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Given,
    Withdrawn,
}

/// What a person said to one purpose and recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    pub id: Uuid,
    /// Grows by one with each word.
    pub version: i64,
    pub member: MemberId,
    pub processing: Processing,
    /// Of the text she was shown when she last gave it.
    pub text_version: i32,
    pub word: Word,
}

/// What it is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// She was never asked, or said nothing.
    Asked,
    Given,
    /// Given to an older text: asked anew.
    Outdated,
    Withdrawn,
}

impl Standing {
    /// Of what she said, if anything, under the text that is in force.
    pub fn of(said: Option<&Consent>, text: &Text) -> Self {
        match said {
            None => Self::Asked,
            Some(it) => match it.word {
                Word::Withdrawn => Self::Withdrawn,
                Word::Given if it.text_version < text.version => Self::Outdated,
                Word::Given => Self::Given,
            },
        }
    }
}

/// Gives a consent to the text she was shown; `None` when it is given to that already.
///
/// # Errors
/// [`Refusal::ConsentTextOutdated`]: another text is in force than the one she read.
pub fn give(
    said: Option<Consent>,
    new: impl FnOnce() -> (Uuid, MemberId),
    shown: i32,
    text: &Text,
) -> Result<Option<Consent>, Refusal> {
    if shown != text.version {
        return Err(Refusal::ConsentTextOutdated);
    }
    if Standing::of(said.as_ref(), text) == Standing::Given {
        return Ok(None);
    }
    let (id, member, version) = match said {
        Some(it) => (it.id, it.member, it.version + 1),
        None => {
            let (id, member) = new();
            (id, member, 1)
        }
    };
    Ok(Some(Consent {
        id,
        version,
        member,
        processing: text.processing,
        text_version: shown,
        word: Word::Given,
    }))
}

impl Consent {
    /// Takes it back, to whatever text it was given; `None` when it is withdrawn already.
    pub fn withdraw(self) -> Option<Self> {
        match self.word {
            Word::Withdrawn => None,
            Word::Given => Some(Self {
                version: self.version + 1,
                word: Word::Withdrawn,
                ..self
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMS: Processing = Processing::NoticeSms;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::TimeDelta::days(day)
    }

    fn text(version: i32) -> Text {
        Text {
            processing: SMS,
            version,
            zh: "由{union}处理。".to_owned(),
            en: "Handled by {union}.".to_owned(),
            effective_from: at(i64::from(version)),
        }
    }

    fn new() -> (Uuid, MemberId) {
        (Uuid::from_u128(1), MemberId(Uuid::from_u128(2)))
    }

    #[test]
    fn the_newest_text_that_has_begun_is_in_force() {
        let texts = [text(2), text(1), text(3)];
        let version = |day| in_force(&texts, SMS, at(day)).map(|text| text.version);
        assert_eq!(
            [version(0), version(1), version(2)],
            [None, Some(1), Some(2)]
        );
        assert_eq!(version(9), Some(3));
        assert_eq!(in_force(&texts, Processing::VisitsToVenues, at(9)), None);
    }

    #[test]
    fn a_text_names_the_union_that_asks() {
        let (zh, en) = text(1).read_as(Union::Sichuan);
        assert_eq!(zh, "由四川省总工会处理。");
        assert_eq!(en, "Handled by the Sichuan Federation of Trade Unions.");
    }

    /// Every word in every standing: what it makes, and that saying it twice makes nothing.
    #[test]
    fn each_word_counts_once_and_a_new_text_asks_anew() {
        let (old, now) = (text(1), text(2));
        assert_eq!(Standing::of(None, &old), Standing::Asked);
        let given = give(None, new, 1, &old).unwrap().unwrap();
        assert_eq!((given.version, given.text_version), (1, 1));
        assert_eq!(Standing::of(Some(&given), &old), Standing::Given);
        assert_eq!(give(Some(given.clone()), new, 1, &old), Ok(None));

        assert_eq!(Standing::of(Some(&given), &now), Standing::Outdated);
        let unread = give(Some(given.clone()), new, 1, &now);
        assert_eq!(unread, Err(Refusal::ConsentTextOutdated));
        let again = give(Some(given.clone()), new, 2, &now).unwrap().unwrap();
        assert_eq!((again.id, again.version), (given.id, 2));
        assert_eq!(Standing::of(Some(&again), &now), Standing::Given);

        // Also one to a text that is gone is taken back as it is.
        for standing in [given, again] {
            let version = standing.version;
            let withdrawn = standing.withdraw().unwrap();
            assert_eq!(withdrawn.version, version + 1);
            assert_eq!(Standing::of(Some(&withdrawn), &now), Standing::Withdrawn);
            assert_eq!(withdrawn.clone().withdraw(), None);
            let given = give(Some(withdrawn), new, 2, &now).unwrap().unwrap();
            assert_eq!((given.version, given.word), (version + 2, Word::Given));
        }
    }
}
