//! What becomes of a pass whose holder wishes to be forgotten, and then is. What its terms still
//! give back goes back, before as if she had asked for that and after although nobody can ask any
//! more; what is left opens no door.

use chrono::{DateTime, Utc};

use super::pass::{Change, Life, Pass, State, Usable};
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
        if self.refused.is_some() {
            return Change::none(self);
        }
        self.give_back(now, terms, uses)
    }

    /// Its holder was forgotten: what could still open a door opens none any more. Where the terms
    /// give something back now it goes back first, since they may not have when she was asked what
    /// keeps her: a use was taken back since, or an operator froze it. So a count that refused
    /// once is asked for anew, this one time. All else ends for good, and what is on its way goes
    /// on.
    pub fn holder_forgotten(self, now: DateTime<Utc>, terms: &Terms, uses: u32) -> Change {
        let Some((at, usable)) = self.opening() else {
            return Change::none(self);
        };
        // She cannot let go what an operator froze, and neither ends by that what is owed to her.
        let state = State::Paid {
            at,
            life: Life::Usable(usable),
        };
        let given = Self { state, ..self }.give_back(now, terms, uses);
        if given.changed {
            return given;
        }
        given.pass.ends_with_holder()
    }

    /// Its holder was forgotten and nothing goes back: what a count gave to her again, and what
    /// could open a door otherwise, ends for good.
    pub fn ends_with_holder(self) -> Change {
        let Some((at, usable)) = self.opening() else {
            return Change::none(self);
        };
        let voided = Life::Voided {
            window: usable.window(),
            reason: HOLDER_FORGOTTEN.to_owned(),
            refund: None,
        };
        self.live(at, voided, Vec::new())
    }

    /// When it was paid and what it is or, let go, would be, where it could still open a door.
    fn opening(&self) -> Option<(DateTime<Utc>, Usable)> {
        let State::Paid { at, life } = &self.state else {
            return None;
        };
        let usable = match life {
            Life::Usable(usable) => *usable,
            Life::Frozen { window, .. } => Usable::Active { window: *window },
            Life::Refunding { .. }
            | Life::Refunded { .. }
            | Life::Voiding { .. }
            | Life::Voided { .. }
            | Life::Forfeited { .. } => return None,
        };
        Some((*at, usable))
    }

    fn give_back(self, now: DateTime<Utc>, terms: &Terms, uses: u32) -> Change {
        if self.price.is_zero() {
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
}
