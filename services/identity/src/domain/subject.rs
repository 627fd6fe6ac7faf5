//! Who another party says somebody is: the party, and the name it has for her. The same name with
//! another party is another one.

use zeroize::Zeroizing;

use crate::error::Refusal;

/// The longest subject, in bytes: OpenID Connect Core §2 has 255.
pub const SUBJECT_BYTES_MAX: usize = 255;
/// The longest code of another party, in bytes.
pub const CODE_BYTES_MAX: usize = 2_048;
/// How long a person has to prove her phone after another party signed her in, in seconds.
pub const TICKET_SECONDS: i64 = 600;
/// How long a login may stay with an OIDC issuer, in seconds.
pub const OIDC_SECONDS: i64 = 600;

/// Ways in which one person signs in, at most; her phone is one of them.
pub const METHODS_MAX: i64 = 10;

/// What kind of party it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Wechat,
    Oidc,
}

impl Kind {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wechat => "wechat",
            Self::Oidc => "oidc",
        }
    }

    /// The kind that is stored so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Wechat, Self::Oidc]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// Somebody, as another party names her; the name is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject {
    kind: Kind,
    party: String,
    name: Zeroizing<String>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Subject {
    /// `party` is the appid or the issuer, `name` the openid or the subject; `None` for a name that
    /// is none.
    pub fn new(kind: Kind, party: &str, name: &str) -> Option<Self> {
        let fits = (1..=SUBJECT_BYTES_MAX).contains(&name.len());
        (fits && !name.chars().any(char::is_control)).then(|| Self {
            kind,
            party: party.to_owned(),
            name: Zeroizing::new(name.to_owned()),
        })
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    pub fn party(&self) -> &str {
        &self.party
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Both, as they are sealed; neither has a line feed.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n{}", self.party, self.name()))
    }

    /// What was sealed.
    pub fn stored(kind: Kind, text: &str) -> Option<Self> {
        let (party, name) = text.split_once('\n')?;
        Self::new(kind, party, name)
    }
}

/// A code that another party gave the client; whether it is good that party says.
#[derive(Clone, PartialEq, Eq)]
pub struct OutsideCode(String);

impl std::fmt::Debug for OutsideCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OutsideCode")
    }
}

impl OutsideCode {
    /// # Errors
    /// [`Refusal::OutsideCodeInvalid`] for what can be none.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let fits = (1..=CODE_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::OutsideCodeInvalid)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_back_as_it_was_sealed() {
        for kind in [Kind::Wechat, Kind::Oidc] {
            let subject = Subject::new(kind, "https://id.example.cn", "o-1 张").unwrap();
            assert_eq!(Subject::stored(kind, &subject.text()), Some(subject));
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("phone"), None);
        assert_eq!(Subject::stored(Kind::Oidc, "no line feed"), None);
    }

    #[test]
    fn a_name_that_is_none_is_nobodys() {
        let long = "x".repeat(SUBJECT_BYTES_MAX + 1);
        for bad in ["", "a\nb", "a\0", &long] {
            assert_eq!(Subject::new(Kind::Oidc, "p", bad), None, "{bad:?}");
        }
        assert!(Subject::new(Kind::Oidc, "p", &long[1..]).is_some());
    }

    #[test]
    fn a_code_is_short_and_plain() {
        let long = "x".repeat(CODE_BYTES_MAX + 1);
        for bad in ["", "a b", "a&b\n", "码", &long] {
            assert_eq!(
                OutsideCode::parse(bad),
                Err(Refusal::OutsideCodeInvalid),
                "{bad:.20?}"
            );
        }
        let code = OutsideCode::parse("0a1&=B_-").unwrap();
        assert_eq!(code.as_str(), "0a1&=B_-");
    }
}
