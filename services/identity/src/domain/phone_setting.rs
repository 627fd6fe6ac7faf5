//! Another phone for a person who has no use of hers and can claim nothing by her document: set by
//! two operators. Who has a person's phone is that person to everybody else, so that no operator
//! gives one away alone.

use chrono::{DateTime, Utc};
use kit::types::MemberId;

use super::two_operators::{self, Asked, Objection, Step, Tenure, begins};
use crate::error::Refusal;

/// What waits for a second operator: who asked for it, since when she is an operator, and whether
/// it is the phone that is named now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub asked: Asked,
    pub tenure: Tenure,
    pub is_same_phone: bool,
}

/// What it means that operator `by` names a phone for `of`. Who has named another one corrects
/// herself by that; a second operator does not confirm a phone that she does not name.
///
/// # Errors
/// [`Refusal::PhoneOfOwn`], [`Refusal::OperatorTooNew`], and [`Refusal::PhonePending`] while
/// another phone waits that another operator has named.
pub fn ask(
    of: MemberId,
    by: (MemberId, Tenure),
    waiting: Option<Waiting>,
    now: DateTime<Utc>,
) -> Result<Step, Refusal> {
    let asked = waiting.map(|it| (it.asked, it.tenure));
    let step = two_operators::ask(of, by, asked, now).map_err(|why| match why {
        Objection::Own => Refusal::PhoneOfOwn,
        Objection::TooNew => Refusal::OperatorTooNew,
    })?;
    let is_same = waiting.is_none_or(|it| it.is_same_phone);
    match (step, is_same) {
        (Step::Done, false) => Err(Refusal::PhonePending),
        (Step::Waits { .. }, false) => Ok(begins(now)),
        (Step::Begins { .. }, _) | (Step::Waits { .. } | Step::Done, true) => Ok(step),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::domain::two_operators::AGREE_SECONDS;

    /// Two name the same phone; one who names another corrects herself, and two who do not agree
    /// set none until what waits is over.
    #[test]
    fn two_operators_name_one_phone() {
        let person = |number| MemberId(Uuid::from_u128(number));
        let (of, one, two) = (person(1), person(2), person(3));
        let start = DateTime::UNIX_EPOCH;
        let end = start + TimeDelta::seconds(AGREE_SECONDS);
        let waiting = |is_same_phone| {
            Some(Waiting {
                asked: Asked {
                    by: one,
                    at: start,
                    expires_at: end,
                },
                tenure: Tenure::Founding,
                is_same_phone,
            })
        };
        let founding = |by| (by, Tenure::Founding);
        let begins = Ok(Step::Begins { expires_at: end });
        assert_eq!(ask(of, founding(one), None, start), begins);
        let waits = Ok(Step::Waits { expires_at: end });
        assert_eq!(ask(of, founding(one), waiting(true), start), waits);
        assert_eq!(ask(of, founding(one), waiting(false), start), begins);
        assert_eq!(ask(of, founding(two), waiting(true), start), Ok(Step::Done));
        let refused = ask(of, founding(two), waiting(false), start);
        assert_eq!(refused, Err(Refusal::PhonePending));
        let over = ask(of, founding(two), waiting(false), end);
        assert!(matches!(over, Ok(Step::Begins { .. })), "{over:?}");
        let own = ask(of, founding(of), waiting(true), start);
        assert_eq!(own, Err(Refusal::PhoneOfOwn));
        let new = ask(of, (two, Tenure::Since(start)), waiting(true), start);
        assert_eq!(new, Err(Refusal::OperatorTooNew));
    }
}
