//! What an operator does to a pass: freeze it, let it go again, void it. Always with a reason.

use chrono::{DateTime, TimeDelta, Utc};

use super::pass::{Change, Effect, Life, Pass, State, Timer, Usable};
use super::refund::{Cause, FREEZE_ANSWER_HOURS_MAX, Freeze, Refund, RefundState};
use crate::error::Refusal;

/// What goes back to the holder of a voided pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoidRefund {
    Nothing,
    /// The whole price, whatever was used.
    Full,
}

impl Pass {
    /// Freezes an active pass: it opens nothing until it is let go.
    ///
    /// # Errors
    /// When it is not active.
    pub fn freeze(self, reason: String) -> Result<Change, Refusal> {
        match &self.state {
            State::Paid {
                at,
                life: Life::Usable(Usable::Active { window }),
            } => {
                let (at, window) = (*at, *window);
                Ok(self.live(at, Life::Frozen { window, reason }, Vec::new()))
            }
            State::Paid {
                life: Life::Frozen { .. },
                ..
            } => Err(Refusal::PassFrozen),
            State::Paid {
                life: Life::Refunding { .. } | Life::Voiding { .. },
                ..
            } => Err(Refusal::RefundInProgress),
            State::Paid {
                life: Life::Usable(Usable::Ready { .. }),
                ..
            } => Err(Refusal::NotActive),
            State::AwaitingPayment(_) => Err(Refusal::AwaitingPayment),
            State::Lapsed | State::Paid { .. } => Err(Refusal::PassEnded),
        }
    }

    /// Lets a frozen pass go; its window does not move.
    ///
    /// # Errors
    /// When it is not frozen.
    pub fn unfreeze(self) -> Result<Change, Refusal> {
        match &self.state {
            State::Paid {
                at,
                life: Life::Frozen { window, .. },
            } => {
                let (at, usable) = (*at, Usable::Active { window: *window });
                Ok(self.live(at, Life::Usable(usable), Vec::new()))
            }
            State::Paid {
                life: Life::Refunding { .. } | Life::Voiding { .. },
                ..
            } => Err(Refusal::RefundInProgress),
            State::AwaitingPayment(_) | State::Lapsed | State::Paid { .. } => {
                Err(Refusal::NotFrozen)
            }
        }
    }

    /// Ends a paid pass for good. Where its price goes back and gates may know it, it is frozen
    /// first, and nothing is paid before every admission has counted: until it hears, a gate would
    /// still let it in at a venue's charge.
    ///
    /// # Errors
    /// When it is not paid, has ended, or is being refunded.
    pub fn void(
        self,
        reason: String,
        back: VoidRefund,
        now: DateTime<Utc>,
    ) -> Result<Change, Refusal> {
        let State::Paid { at, life } = &self.state else {
            return Err(match self.state {
                State::AwaitingPayment(_) => Refusal::AwaitingPayment,
                State::Lapsed | State::Paid { .. } => Refusal::PassEnded,
            });
        };
        let window = match life {
            Life::Usable(usable) => usable.window(),
            Life::Frozen { window, .. } => Some(*window),
            Life::Refunding { .. } | Life::Voiding { .. } => {
                return Err(Refusal::RefundInProgress);
            }
            Life::Refunded { .. } | Life::Voided { .. } | Life::Forfeited { .. } => {
                return Err(Refusal::PassEnded);
            }
        };
        let at = *at;
        if back == VoidRefund::Nothing || self.price.is_zero() {
            return Ok(self.live(
                at,
                Life::Voided {
                    window,
                    reason,
                    refund: None,
                },
                Vec::new(),
            ));
        }
        let Some(window) = window else {
            // It never opened a door: there is nothing to count.
            let refund = Refund {
                ordinal: self.next_refund(),
                cause: Cause::Voided,
                requested_at: now,
                state: RefundState::full(self.price, 0),
            };
            return Ok(self.end_voided(at, (None, reason), (refund, now)));
        };
        let freeze = Freeze {
            version: self.version + 1,
            counted: None,
        };
        let refund = Refund {
            ordinal: self.next_refund(),
            cause: Cause::Voided,
            requested_at: now,
            state: RefundState::Counting { freeze },
        };
        let deadline = now + TimeDelta::hours(FREEZE_ANSWER_HOURS_MAX);
        let life = Life::Voiding {
            window,
            reason,
            refund,
        };
        Ok(self.live(at, life, vec![Effect::Plan(Timer::Refund, deadline)]))
    }
}
