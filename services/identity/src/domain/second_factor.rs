//! The second factor: a code of six digits that changes each half minute (RFC 6238), or one of ten
//! recovery codes. What a code does to the factor, how often one may be wrong, and who takes the
//! factor away.
//!
//! Whether digits are those of a secret is found out elsewhere, in constant time; here stands
//! what follows from it.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::MemberId;

use super::two_operators::{self, Asked, Objection, Step, Tenure};
use crate::error::Refusal;

/// How long one code lasts, in seconds: what authenticators take for granted.
pub const STEP_SECONDS: i64 = 30;
/// Steps before and after the present one whose code is taken too, for clocks that differ.
pub const STEPS_BESIDE: i64 = 1;
/// How long a secret waits for its first code, in seconds.
pub const PENDING_SECONDS: i64 = 600;
/// How old a login may be that gets its first second factor, in seconds.
pub const FRESH_LOGIN_SECONDS: i64 = 900;
/// Wrong codes of one person in an hour.
pub const WRONG_PER_HOUR_MAX: i32 = 5;
/// Wrong codes of one person in a day.
pub const WRONG_PER_DAY_MAX: i32 = 20;
/// Recovery codes that a person gets.
pub const RECOVERY_CODES: usize = 10;
/// Symbols of a recovery code, of five bits each.
pub const RECOVERY_SYMBOLS: usize = 10;

/// Crockford's: no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 6;

/// The time step in which `at` lies.
pub fn step_of(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(STEP_SECONDS)
}

/// What a person gave as her second factor.
#[derive(Clone, PartialEq, Eq)]
pub enum Given {
    /// Six digits of an authenticator.
    Digits(String),
    /// A recovery code, as it is hashed.
    Recovery(String),
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

impl Given {
    /// Reads what was typed: spaces and dashes do not count, nor does case; the letters that look
    /// like digits are read as those.
    ///
    /// # Errors
    /// [`Refusal::SecondFactorWrong`] for what can be neither.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut read = String::with_capacity(RECOVERY_SYMBOLS);
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            if read.len() == RECOVERY_SYMBOLS {
                return Err(Refusal::SecondFactorWrong);
            }
            let symbol = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let known = u8::try_from(symbol).is_ok_and(|byte| ALPHABET.contains(&byte));
            if !known {
                return Err(Refusal::SecondFactorWrong);
            }
            read.push(symbol);
        }
        match read.len() {
            DIGITS if read.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Self::Digits(read)),
            RECOVERY_SYMBOLS => Ok(Self::Recovery(read)),
            _ => Err(Refusal::SecondFactorWrong),
        }
    }
}

/// A recovery code out of random bytes: as it is hashed.
pub fn recovery_code(random: [u8; RECOVERY_SYMBOLS]) -> String {
    let symbol = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
    random.into_iter().map(symbol).collect()
}

/// A recovery code as people read it: two groups of five.
pub fn readable(code: &str) -> String {
    let (first, second) = code.split_at(code.len() / 2);
    format!("{first}-{second}")
}

/// A person's second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// Its secret was shown, and no code of it has come back.
    Pending { since: DateTime<Utc> },
    /// A code has come back; none of this step or before is taken again.
    Confirmed { last_step: i64 },
}

impl Factor {
    /// The factor after a code of it came. `matched` is the newest step whose digits these are;
    /// `None` when they are of none that is near.
    ///
    /// # Errors
    /// [`Refusal::SecondFactorWrong`] for wrong digits, [`Refusal::SecondFactorUsed`] for digits
    /// that were taken or are older, [`Refusal::SecondFactorAbsent`] for a secret that waited too
    /// long.
    pub fn take(self, matched: Option<i64>, now: DateTime<Utc>) -> Result<Self, Refusal> {
        match self {
            Self::Pending { since } if now >= since + TimeDelta::seconds(PENDING_SECONDS) => {
                Err(Refusal::SecondFactorAbsent)
            }
            Self::Pending { .. } => matched
                .map(|last_step| Self::Confirmed { last_step })
                .ok_or(Refusal::SecondFactorWrong),
            Self::Confirmed { last_step } => match matched {
                None => Err(Refusal::SecondFactorWrong),
                Some(step) if step <= last_step => Err(Refusal::SecondFactorUsed),
                Some(last_step) => Ok(Self::Confirmed { last_step }),
            },
        }
    }
}

/// Whether a person may have another code looked at after so many wrong ones.
///
/// # Errors
/// [`Refusal::TooManyTries`].
pub fn may_try(wrong_in_hour: i32, wrong_in_day: i32) -> Result<(), Refusal> {
    if wrong_in_hour >= WRONG_PER_HOUR_MAX || wrong_in_day >= WRONG_PER_DAY_MAX {
        return Err(Refusal::TooManyTries);
    }
    Ok(())
}

/// A login that is to get its person a first second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedIn {
    pub at: DateTime<Utc>,
    /// Whether a code that her phone was sent opened it.
    pub by_phone: bool,
    /// Whether she holds any role.
    pub holds_role: bool,
}

/// Whether a login may get its person a first second factor: one that a thief has found open may
/// not, for it is older; nor one by another party's word where a role is at stake, for who comes
/// first is whom the factor belongs to.
///
/// # Errors
/// [`Refusal::LoginNotFresh`] or [`Refusal::LoginNotByPhone`].
pub fn may_enrol(login: SignedIn, now: DateTime<Utc>) -> Result<(), Refusal> {
    if now >= login.at + TimeDelta::seconds(FRESH_LOGIN_SECONDS) {
        return Err(Refusal::LoginNotFresh);
    }
    if login.holds_role && !login.by_phone {
        return Err(Refusal::LoginNotByPhone);
    }
    Ok(())
}

/// What becomes of a second factor, as its person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Enrolled,
    Replaced,
    Removed,
    /// One operator has asked for its reset.
    ResetAsked,
    /// Two have.
    ResetDone,
}

impl Change {
    pub const ALL: [Self; 5] = [
        Self::Enrolled,
        Self::Replaced,
        Self::Removed,
        Self::ResetAsked,
        Self::ResetDone,
    ];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::ResetAsked => "reset_asked",
            Self::ResetDone => "reset_done",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == text)
    }
}

/// What it means that operator `by` asks for the reset of `of`'s second factor: see
/// [`two_operators::ask`].
///
/// # Errors
/// [`Refusal::ResetOfOwn`] or [`Refusal::OperatorTooNew`].
pub fn reset(
    of: MemberId,
    by: (MemberId, Tenure),
    asked: Option<(Asked, Tenure)>,
    now: DateTime<Utc>,
) -> Result<Step, Refusal> {
    two_operators::ask(of, by, asked, now).map_err(|why| match why {
        Objection::Own => Refusal::ResetOfOwn,
        Objection::TooNew => Refusal::OperatorTooNew,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_775_008_800 + seconds, 0).unwrap()
    }

    #[test]
    fn steps_are_half_minutes_of_the_unix_clock() {
        let of = |seconds| step_of(DateTime::from_timestamp(seconds, 0).unwrap());
        assert_eq!((of(0), of(29), of(30), of(59)), (0, 0, 1, 1));
        assert_eq!((of(-1), of(1_111_111_109)), (-1, 37_037_036));
    }

    #[test]
    fn what_is_typed_is_read_leniently_and_nothing_else() {
        let digits = |text: &str| Given::Digits(text.to_owned());
        let recovery = |text: &str| Given::Recovery(text.to_owned());
        assert_eq!(Given::parse("123456"), Ok(digits("123456")));
        assert_eq!(Given::parse(" 123 456\n"), Ok(digits("123456")));
        assert_eq!(Given::parse("O1I l56"), Ok(digits("011156")));
        assert_eq!(Given::parse("abcde-fgh0k"), Ok(recovery("ABCDEFGH0K")));
        assert_eq!(Given::parse("0123456789"), Ok(recovery("0123456789")));
        for bad in [
            "",
            "12345",
            "1234567",
            "12345A",
            "ABCDEFGHU0",
            "ABCDEFGH0KM",
            "１２３４５６",
            "12345é",
            "12345\0",
        ] {
            assert_eq!(
                Given::parse(bad),
                Err(Refusal::SecondFactorWrong),
                "{bad:?}"
            );
        }
        let long = "1".repeat(1_000_000);
        assert_eq!(Given::parse(&long), Err(Refusal::SecondFactorWrong));
    }

    #[test]
    fn a_recovery_code_is_read_back_as_it_is_shown() {
        for first in 0..=255 {
            let mut random = [7; RECOVERY_SYMBOLS];
            random[0] = first;
            let code = recovery_code(random);
            assert_eq!(
                Given::parse(&readable(&code).to_lowercase()),
                Ok(Given::Recovery(code))
            );
        }
        assert_eq!(readable("ABCDEFGH0K"), "ABCDE-FGH0K");
    }

    #[test]
    fn a_code_is_taken_once_and_none_before_it_after() {
        let pending = Factor::Pending { since: at(0) };
        let confirmed = |last_step| Factor::Confirmed { last_step };
        assert_eq!(pending.take(Some(7), at(599)), Ok(confirmed(7)));
        assert_eq!(pending.take(None, at(1)), Err(Refusal::SecondFactorWrong));
        for matched in [Some(7), None] {
            assert_eq!(
                pending.take(matched, at(600)),
                Err(Refusal::SecondFactorAbsent)
            );
        }
        assert_eq!(confirmed(7).take(Some(8), at(0)), Ok(confirmed(8)));
        for used in [6, 7] {
            assert_eq!(
                confirmed(7).take(Some(used), at(0)),
                Err(Refusal::SecondFactorUsed)
            );
        }
        assert_eq!(
            confirmed(7).take(None, at(0)),
            Err(Refusal::SecondFactorWrong)
        );
    }

    #[test]
    fn wrong_codes_are_limited_by_hour_and_day() {
        assert_eq!(may_try(4, 19), Ok(()));
        assert_eq!(may_try(5, 5), Err(Refusal::TooManyTries));
        assert_eq!(may_try(0, 20), Err(Refusal::TooManyTries));
    }

    #[test]
    fn only_a_fresh_login_gets_a_first_factor() {
        for (by_phone, holds_role) in [(true, true), (true, false), (false, false)] {
            let login = SignedIn {
                at: at(0),
                by_phone,
                holds_role,
            };
            assert_eq!(may_enrol(login, at(899)), Ok(()));
            assert_eq!(may_enrol(login, at(900)), Err(Refusal::LoginNotFresh));
        }
        let by_word = SignedIn {
            at: at(0),
            by_phone: false,
            holds_role: true,
        };
        let refused = may_enrol(by_word, at(0));
        assert_eq!(refused, Err(Refusal::LoginNotByPhone));
    }

    #[test]
    fn a_change_is_read_back_as_it_is_stored() {
        for change in Change::ALL {
            assert_eq!(Change::parse(change.as_str()), Some(change));
        }
        assert_eq!(Change::parse("lost"), None);
    }
}
