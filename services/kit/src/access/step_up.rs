//! The second factor, asked for where money, personal data or rights are at stake: a stolen phone
//! or a token that leaked must not be enough there.
//!
//! Identity checks the factor and writes into the access token until when it counts; here only
//! that instant is read. So it holds in every service without a replica, and ends by itself.

use chrono::{DateTime, Utc};

use super::{Caller, Who};
use crate::graphql::Text;
use crate::{Error, Refusal, Result, Tx};

/// Who has just shown a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteppedUp {
    /// Until when it counts.
    pub until: DateTime<Utc>,
}

/// What a command calls, after it has authorised the caller, that a token alone may not have done.
/// Who may not do it at all is told so first. Whether the login still counts [`super::member`]
/// says.
///
/// # Errors
/// `STEP_UP_REQUIRED` where no second factor was shown in the last minutes; unauthenticated.
pub fn stepped_up(tx: &Tx, caller: &Caller) -> Result<SteppedUp> {
    let Who::Member {
        stepped_up_until, ..
    } = caller.who
    else {
        return Err(Error::Unauthenticated("no token"));
    };
    match stepped_up_until {
        Some(until) if tx.now() < until => Ok(SteppedUp { until }),
        Some(_) | None => Err(step_up_required().into()),
    }
}

/// Whether the caller has shown a second factor that counts now: for what remembers that it was
/// shown, and refuses nobody.
pub fn is_stepped_up(tx: &Tx, caller: &Caller) -> bool {
    stepped_up(tx, caller).is_ok()
}

/// The refusal of who has shown no second factor: gone when the same request comes again with a
/// newer token, so it is recorded under no key.
pub fn step_up_required() -> Refusal {
    let (zh, en) = Text::StepUpRequired.both();
    Refusal::new(Text::StepUpRequired.code(), "", zh.into(), en.into()).transient()
}
