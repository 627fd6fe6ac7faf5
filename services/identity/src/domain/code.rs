//! Login codes: who may ask for one, and when one opens the door.
//!
//! Every answer depends only on what was asked for this phone before, for the same purpose, never
//! on whether the phone belongs to anybody.

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::Refusal;

/// How long a code is good for, in seconds.
pub const CODE_SECONDS: i64 = 300;
/// Wrong guesses after which a code is dead.
pub const CODE_WRONG_MAX: i32 = 5;
/// The shortest time between two codes for one phone, in seconds.
pub const CODE_PAUSE_SECONDS: i64 = 60;
/// Codes for one phone in an hour.
pub const CODES_PER_HOUR_MAX: usize = 5;
/// Codes for one phone in a day.
pub const CODES_PER_DAY_MAX: usize = 10;

/// What a code is asked for. For each purpose a phone has a code of its own, with limits of its
/// own: whoever asks for another person's phone takes no way in from her.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It signs in whose phone it is, and proves that it is she.
    Login,
    /// It makes the phone hers who is signed in.
    Change,
    /// It lets a record be claimed from the phone.
    Recovery,
}

impl Purpose {
    pub const ALL: [Self; 3] = [Self::Login, Self::Change, Self::Recovery];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Change => "change",
            Self::Recovery => "recovery",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// The newest code of a phone for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Open { since: DateTime<Utc>, wrong: i32 },
    Used,
}

/// What a guess does to a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It opens, and is used up.
    Right,
    /// It does not; so many wrong guesses have been made now.
    Wrong(i32),
    /// There is nothing to guess at.
    Refused(Refusal),
}

impl Code {
    /// `same` says whether the given digits are the code's, compared in constant time.
    pub fn guess(self, same: bool, now: DateTime<Utc>) -> Guess {
        match self {
            Self::Used => Guess::Refused(Refusal::CodeExpired),
            Self::Open { wrong, .. } if wrong >= CODE_WRONG_MAX => {
                Guess::Refused(Refusal::CodeExhausted)
            }
            Self::Open { since, .. } if now >= since + TimeDelta::seconds(CODE_SECONDS) => {
                Guess::Refused(Refusal::CodeExpired)
            }
            Self::Open { wrong, .. } => {
                if same {
                    Guess::Right
                } else {
                    Guess::Wrong(wrong + 1)
                }
            }
        }
    }
}

/// When codes were asked for, with this time added and what is over a day old dropped.
///
/// # Errors
/// [`Refusal::TooManyCodes`] when a limit is reached; then nothing counts as asked.
pub fn ask(asked: &[DateTime<Utc>], now: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>, Refusal> {
    let since = |seconds| {
        asked
            .iter()
            .filter(|at| **at > now - TimeDelta::seconds(seconds))
            .count()
    };
    if since(CODE_PAUSE_SECONDS) > 0
        || since(3_600) >= CODES_PER_HOUR_MAX
        || since(86_400) >= CODES_PER_DAY_MAX
    {
        return Err(Refusal::TooManyCodes);
    }
    let kept = asked
        .iter()
        .copied()
        .filter(|at| *at > now - TimeDelta::days(1));
    Ok(kept.chain([now]).collect())
}

/// Six digits out of a keyed hash, each code equally likely to within 2⁻⁴⁴.
pub fn digits(hash: &[u8; 32]) -> String {
    let number = hash[..8]
        .iter()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    format!("{:06}", number % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_775_008_800 + seconds, 0).unwrap()
    }

    /// ASVS V6.5.5.
    #[test]
    fn a_code_opens_once_within_five_minutes_and_five_guesses() {
        let open = |wrong| Code::Open {
            since: at(0),
            wrong,
        };
        assert_eq!(open(4).guess(true, at(299)), Guess::Right);
        assert_eq!(open(4).guess(false, at(299)), Guess::Wrong(5));
        assert_eq!(
            open(5).guess(true, at(1)),
            Guess::Refused(Refusal::CodeExhausted)
        );
        assert_eq!(
            open(0).guess(true, at(300)),
            Guess::Refused(Refusal::CodeExpired)
        );
        assert_eq!(
            Code::Used.guess(true, at(1)),
            Guess::Refused(Refusal::CodeExpired)
        );
    }

    #[test]
    fn limits_slide_with_time() {
        let mut asked = Vec::new();
        let mut given = Vec::new();
        for minute in 0..1_440 {
            if let Ok(next) = ask(&asked, at(minute * 60)) {
                asked = next;
                given.push(minute);
            }
        }
        assert_eq!(given, [0, 1, 2, 3, 4, 60, 61, 62, 63, 64]);
        assert_eq!(ask(&asked, at(64 * 60 + 59)), Err(Refusal::TooManyCodes));
        assert_eq!(ask(&asked, at(86_400)).unwrap().len(), 10);
    }

    #[test]
    fn a_purpose_is_read_back_as_it_is_stored() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::parse(purpose.as_str()), Some(purpose));
        }
        assert_eq!(Purpose::parse("link"), None);
    }

    /// ASVS V6.5.4.
    #[test]
    fn digits_keep_their_zeros() {
        assert_eq!(digits(&[0; 32]), "000000");
        let mut hash = [0; 32];
        hash[7] = 7;
        assert_eq!(digits(&hash), "000007");
    }
}
