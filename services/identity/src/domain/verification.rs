//! Who somebody is, as a service of the state says: by document and name, or by 网号 (order 173 of
//! 2025), which names nobody and has no number.
//!
//! What does not match is one answer, whichever of name and number was wrong, so that nobody can
//! try one against the other.

use std::fmt;

use super::identifier::{Document, DocumentKind};
use super::name::PersonName;
use crate::error::Refusal;

/// How long a service that does not answer is asked again, in hours.
pub const VERIFICATION_HOURS_MAX: i64 = 24;
/// How often one person may be verified in a day.
pub const VERIFICATIONS_PER_DAY_MAX: i32 = 20;
/// The shortest and the longest 网证 that is looked at, in bytes.
const NETWORK_TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=1_024;
/// The longest 网号, in bytes.
const NETWORK_ID_BYTES_MAX: usize = 128;

/// What a person's own app of the national service gave her (网证); good once, and for minutes.
#[derive(Clone, PartialEq, Eq)]
pub struct NetworkToken(String);

impl fmt::Debug for NetworkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkToken")
    }
}

impl NetworkToken {
    /// # Errors
    /// [`Refusal::NetworkTokenInvalid`] for what can be none.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && NETWORK_TOKEN_BYTES.contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::NetworkTokenInvalid)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the national service calls somebody (网号): the same for ever, and says nothing of her.
#[derive(Clone, PartialEq, Eq)]
pub struct NetworkId(String);

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkId")
    }
}

impl NetworkId {
    /// `None` for what can be none.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && (1..=NETWORK_ID_BYTES_MAX).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What somebody says she is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Document {
        document: Document,
        name: PersonName,
    },
    Network(NetworkToken),
}

impl Claim {
    /// The kind of document; none for 网号.
    pub fn kind(&self) -> Option<DocumentKind> {
        match self {
            Self::Document { document, .. } => Some(document.kind()),
            Self::Network(_) => None,
        }
    }

    /// As it is sealed: none of the parts has a line feed.
    pub fn text(&self) -> String {
        match self {
            Self::Document { document, name } => {
                let kind = document.kind().code();
                format!("{kind}\n{}\n{}", document.number(), name.as_str())
            }
            Self::Network(token) => format!("0\n{}", token.as_str()),
        }
    }

    /// What was sealed.
    pub fn stored(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('\n')?;
        if kind == "0" {
            return Some(Self::Network(NetworkToken(rest.to_owned())));
        }
        let kind = DocumentKind::from_code(kind.parse().ok()?)?;
        let (number, name) = rest.split_once('\n')?;
        Some(Self::Document {
            document: Document::stored(kind, number.to_owned().into()),
            name: PersonName::stored(name.to_owned().into()),
        })
    }
}

/// What a service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Name and document belong together, or the name and the holder of the 网号, who is named so.
    Match(Option<NetworkId>),
    NoMatch,
}

/// Whose a document or 网号 is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Registered for the person herself.
    Herself,
    /// Registered for somebody else.
    Another,
    /// Registered for nobody, and she has none of its kind.
    Nobody,
    /// Registered for nobody, and she has another of its kind.
    HasAnother,
}

/// What is known when the service has answered; all of it is found out before anything is decided,
/// so that each answer costs the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The service says that it belongs together.
    pub belongs: bool,
    /// The name is the one that she is registered under.
    pub same_name: bool,
    pub holder: Holder,
}

/// What becomes of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Matched,
    /// And what was shown is hers from now on.
    MatchedAnew,
    NotMatched,
}

/// Decides a verification.
pub const fn verdict(facts: Facts) -> Verdict {
    if !(facts.belongs & facts.same_name) {
        return Verdict::NotMatched;
    }
    match facts.holder {
        Holder::Herself => Verdict::Matched,
        Holder::Nobody => Verdict::MatchedAnew,
        Holder::Another | Holder::HasAnother => Verdict::NotMatched,
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn document() -> Document {
        let today = NaiveDate::from_ymd_opt(2026, 4, 1).unwrap();
        Document::parse(DocumentKind::ResidentId, "11010519491231002x", today).unwrap()
    }

    #[test]
    fn a_claim_is_read_back_as_it_was_sealed() {
        let token = NetworkToken::parse("abcdef0123456789abcdef").unwrap();
        for claim in [
            Claim::Document {
                document: document(),
                name: PersonName::parse("欧阳·娜娜").unwrap(),
            },
            Claim::Network(token),
        ] {
            assert_eq!(Claim::stored(&claim.text()), Some(claim.clone()));
            let shown = format!("{claim:?}");
            assert!(
                !shown.contains("1949") && !shown.contains("abcdef"),
                "{shown}"
            );
        }
        for bad in ["", "1", "1\n2", "77\n1\n张三", "x\n1\n张三"] {
            assert_eq!(Claim::stored(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_token_or_no_network_id_is_refused() {
        let long = "x".repeat(1_025);
        for bad in [
            "",
            "short",
            "with a space in it",
            "含有汉字的令牌令牌",
            &long,
        ] {
            assert_eq!(
                NetworkToken::parse(bad),
                Err(Refusal::NetworkTokenInvalid),
                "{bad:.20}"
            );
        }
        for bad in ["", "a b", "网号", &"x".repeat(129)] {
            assert_eq!(NetworkId::parse(bad), None, "{bad:.20}");
        }
        assert!(NetworkId::parse("N-1").is_some());
    }

    /// Only what belongs together, under her own name, and is nobody else's, is matched.
    #[test]
    fn only_ones_own_is_matched() {
        let holders = [
            (Holder::Herself, Verdict::Matched),
            (Holder::Nobody, Verdict::MatchedAnew),
            (Holder::Another, Verdict::NotMatched),
            (Holder::HasAnother, Verdict::NotMatched),
        ];
        for (holder, matched) in holders {
            for (belongs, same_name) in [(true, true), (true, false), (false, true), (false, false)]
            {
                let facts = Facts {
                    belongs,
                    same_name,
                    holder,
                };
                let expected = if belongs && same_name {
                    matched
                } else {
                    Verdict::NotMatched
                };
                assert_eq!(verdict(facts), expected, "{facts:?}");
            }
        }
    }
}
