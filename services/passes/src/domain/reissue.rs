//! A pass's code is issued again: every code of an older generation opens nothing from then on.

use super::pass::{Change, Life, Pass, State, Usable};
use crate::error::Refusal;

/// How often the code of one pass may be issued again within a day: enough for a lost phone and a
/// slip, too few to hand codes around.
pub const REISSUES_PER_DAY_MAX: u32 = 3;

impl Pass {
    /// Raises the generation of a pass that gates know. `lately` is how often that was done within
    /// the last day.
    ///
    /// # Errors
    /// When it opens nothing anyway, or this is done too often.
    pub fn reissue(self, lately: u32) -> Result<Change, Refusal> {
        match &self.state {
            State::AwaitingPayment(_) => return Err(Refusal::AwaitingPayment),
            State::Lapsed => return Err(Refusal::PassEnded),
            State::Paid { life, .. } => match life {
                // What is frozen may be let go again, and then its old codes must not come back.
                Life::Usable(Usable::Active { .. }) | Life::Frozen { .. } => {}
                Life::Usable(Usable::Ready { .. }) => return Err(Refusal::NotActive),
                Life::Refunding { .. } | Life::Voiding { .. } => {
                    return Err(Refusal::RefundInProgress);
                }
                Life::Refunded { .. } | Life::Voided { .. } | Life::Forfeited { .. } => {
                    return Err(Refusal::PassEnded);
                }
            },
        }
        if lately >= REISSUES_PER_DAY_MAX {
            return Err(Refusal::ReissuedTooOften);
        }
        let generation = self.generation.checked_add(1);
        let generation = generation.ok_or(Refusal::ReissuesExhausted)?;
        let pass = Self {
            version: self.version + 1,
            generation,
            ..self
        };
        Ok(Change {
            pass,
            changed: true,
            effects: Vec::new(),
        })
    }
}
