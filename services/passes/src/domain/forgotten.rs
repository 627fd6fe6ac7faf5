//! What becomes of a pass whose holder wishes to be forgotten, and then is. What its terms still
//! give back goes back first, as if she had asked for that; what is left opens no door any more.

use chrono::{DateTime, Utc};

use super::pass::{Change, Life, Pass, State};
use super::refund::Cause;
use super::terms::{Activation, AfterDeadline, Terms};

/// Why such a pass was voided, as it is kept beside operators' reasons.
pub const HOLDER_FORGOTTEN: &str = "MEMBER_ERASED";

impl Pass {
    /// Its holder is about to be forgotten: what the terms it was sold under give back now goes
    /// back (民法典 Art. 509: the contract's own refund is owed, whoever leaves). Where they give
    /// nothing, or a count has said so before, it stays hers until she is forgotten. Of a pass
    /// whose price comes back when it is never activated all comes back: she will not activate it.
    pub fn holder_leaves(self, now: DateTime<Utc>, terms: &Terms, uses: u32) -> Change {
        if self.price.is_zero() || self.refused.is_some() {
            return Change::none(self);
        }
        let returns = matches!(
            terms.activation,
            Activation::Within {
                then: AfterDeadline::Refund,
                ..
            }
        );
        if returns && let Ok((at, activate_by)) = self.ready() {
            return self.give_back_unused(at, activate_by, (Cause::NotActivated, now));
        }
        let same = self.clone();
        self.request_refund(now, terms, uses)
            .unwrap_or(Change::none(same))
    }

    /// Its holder was forgotten: what could still open a door ends for good, and what is on its
    /// way goes on. Nothing goes back any more: there is nobody to ask for it.
    pub fn holder_forgotten(self) -> Change {
        let State::Paid { at, life } = &self.state else {
            return Change::none(self);
        };
        let window = match life {
            Life::Usable(usable) => usable.window(),
            Life::Frozen { window, .. } => Some(*window),
            Life::Refunding { .. }
            | Life::Refunded { .. }
            | Life::Voiding { .. }
            | Life::Voided { .. }
            | Life::Forfeited { .. } => return Change::none(self),
        };
        let (at, reason) = (*at, HOLDER_FORGOTTEN.to_owned());
        let voided = Life::Voided {
            window,
            reason,
            refund: None,
        };
        self.live(at, voided, Vec::new())
    }
}
