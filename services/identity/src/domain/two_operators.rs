//! What takes two operators, of whom neither is the person whom it is done to: the one asks, and
//! another one asks the same within a day. Both were operators for a week when the first one asked,
//! so that nobody makes himself the second.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::MemberId;

/// How long the second operator has, in seconds.
pub const AGREE_SECONDS: i64 = 86_400;
/// How long before it was asked for both must have been operators, in days: nobody makes himself a
/// second one for it.
pub const OPERATOR_DAYS_MIN: i64 = 7;

/// Since when somebody is an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// She is none now.
    None,
    /// Another operator made her one.
    Since(DateTime<Utc>),
    /// She was made one on the command line, by who has the machine: she counts at once.
    Founding,
}

impl Tenure {
    fn counts_at(self, asked_at: DateTime<Utc>) -> bool {
        match self {
            Self::None => false,
            Self::Since(at) => at + TimeDelta::days(OPERATOR_DAYS_MIN) <= asked_at,
            Self::Founding => true,
        }
    }
}

/// What an operator asked for, to be confirmed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub by: MemberId,
    pub at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// What becomes of it when an operator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It waits for another operator from now on.
    Begins { expires_at: DateTime<Utc> },
    /// It waits already, and for another than this one.
    Waits { expires_at: DateTime<Utc> },
    /// Two have asked: it is done.
    Done,
}

/// Why an operator may not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It would be done to the operator.
    Own,
    /// He was no operator, or not for long enough, when the first one asked.
    TooNew,
}

/// What it means that operator `by` asks for something that is done to `of`. `asked` is what was
/// asked before and since when its operator is one.
///
/// Both operators count who were operators for [`OPERATOR_DAYS_MIN`] when the first one asked. What
/// somebody asked who is none any more, or was none for so long, begins anew.
///
/// # Errors
/// Why that operator may not.
pub fn ask(
    of: MemberId,
    (by, tenure): (MemberId, Tenure),
    asked: Option<(Asked, Tenure)>,
    now: DateTime<Utc>,
) -> Result<Step, Objection> {
    if of == by {
        return Err(Objection::Own);
    }
    let asked = asked
        .filter(|(asked, first)| now < asked.expires_at && first.counts_at(asked.at))
        .map(|(asked, _)| asked);
    let since = asked.map_or(now, |asked| asked.at);
    if !tenure.counts_at(since) {
        return Err(Objection::TooNew);
    }
    Ok(match asked {
        Some(asked) if asked.by == by => Step::Waits {
            expires_at: asked.expires_at,
        },
        Some(_) => Step::Done,
        None => begins(now),
    })
}

/// It waits for another operator from now on.
pub fn begins(now: DateTime<Utc>) -> Step {
    Step::Begins {
        expires_at: now + TimeDelta::seconds(AGREE_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_775_008_800 + seconds, 0).unwrap()
    }

    /// Who became an operator within the week before the first one asked is no second one, and who
    /// is none any more asked for nothing.
    #[test]
    fn nobody_makes_himself_a_second_operator() {
        let person = |number| MemberId(Uuid::from_u128(number));
        let (of, one, two) = (person(1), person(2), person(3));
        let week = OPERATOR_DAYS_MIN * 86_400;
        let asked = Asked {
            by: one,
            at: at(0),
            expires_at: at(AGREE_SECONDS),
        };
        let new = Tenure::Since(at(1 - week));
        let old = Tenure::Since(at(-week));
        let founded = Some((asked, Tenure::Founding));
        assert_eq!(ask(of, (two, old), founded, at(1)), Ok(Step::Done));
        // Meanwhile a week has gone by, but not before he was asked.
        let refused = Err(Objection::TooNew);
        assert_eq!(ask(of, (two, new), founded, at(1)), refused);
        assert_eq!(ask(of, (two, new), None, at(0)), refused);
        assert_eq!(ask(of, (two, Tenure::None), founded, at(1)), refused);
        for first in [new, Tenure::None] {
            let begins = Ok(Step::Begins {
                expires_at: at(1 + AGREE_SECONDS),
            });
            let before = Some((asked, first));
            assert_eq!(ask(of, (two, old), before, at(1)), begins);
        }
    }

    #[test]
    fn two_operators_take_it_away() {
        let person = |number| MemberId(Uuid::from_u128(number));
        let (of, one, two) = (person(1), person(2), person(3));
        let begins = |now: i64| Step::Begins {
            expires_at: at(now + AGREE_SECONDS),
        };
        let founding = |by| (by, Tenure::Founding);
        let asked = Asked {
            by: one,
            at: at(0),
            expires_at: at(AGREE_SECONDS),
        };
        let asked = Some((asked, Tenure::Founding));
        assert_eq!(ask(of, founding(one), None, at(0)), Ok(begins(0)));
        let waits = Step::Waits {
            expires_at: at(AGREE_SECONDS),
        };
        assert_eq!(ask(of, founding(one), asked, at(1)), Ok(waits));
        assert_eq!(
            ask(of, founding(two), asked, at(AGREE_SECONDS - 1)),
            Ok(Step::Done)
        );
        for by in [one, two] {
            assert_eq!(
                ask(of, founding(by), asked, at(AGREE_SECONDS)),
                Ok(begins(AGREE_SECONDS))
            );
        }
        for asked in [None, asked] {
            let own = ask(of, founding(of), asked, at(0));
            assert_eq!(own, Err(Objection::Own));
        }
    }
}
