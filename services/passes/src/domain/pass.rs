//! A pass: one person's right under the terms of one product version. What may happen to it is
//! in the modules beside: `sale` makes it, `order` follows its money, `activation`, `custody` and
//! `refund` its life.

use chrono::{DateTime, NaiveDate, Utc};
use credential::dates::DateRange;
use kit::types::{EntitlementId, Fen, MemberId, OrderId};
use uuid::Uuid;

use super::refund::{Refund, RefundState};

/// A product: the annual pass that one buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductId(pub Uuid);

/// A pass. Its id is its entitlement's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub id: EntitlementId,
    /// Grows by one with each change.
    pub version: i64,
    pub product: ProductId,
    /// The version it was sold under, whose terms are its own for ever.
    pub product_version: u32,
    pub scope: u32,
    pub member: MemberId,
    pub order: OrderId,
    pub line: Uuid,
    pub price: Fen,
    /// The pass it continues.
    pub renews: Option<EntitlementId>,
    pub bought_at: DateTime<Utc>,
    /// When its unpaid order is to be closed.
    pub close_at: DateTime<Utc>,
    pub state: State,
    /// The last request for a refund that was refused after the count.
    pub refused: Option<Refund>,
    /// How often its code was issued again: codes of a lower generation open nothing.
    pub generation: u8,
}

/// Where a pass is between purchase and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its order is open. It holds stock until billing says how the order ended.
    AwaitingPayment(Hold),
    /// Its order was closed; the stock is back.
    Lapsed,
    Paid {
        at: DateTime<Utc>,
        life: Life,
    },
}

/// What is held while an order is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    Held,
    /// The time to pay is over and billing was told; it answers closed or paid.
    Lapsed,
    /// Paid, but it cannot be given: billing refunds by itself and closes.
    Refused,
}

/// The life of a paid pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    Usable(Usable),
    /// By an operator, who said why.
    Frozen {
        window: DateRange,
        reason: String,
    },
    Refunding {
        usable: Usable,
        refund: Refund,
    },
    Refunded {
        usable: Usable,
        refund: Refund,
    },
    /// An operator ends it and its whole price goes back: frozen until its uses are counted.
    Voiding {
        window: DateRange,
        reason: String,
        refund: Refund,
    },
    /// By an operator, who said why; with the whole price back, or nothing.
    Voided {
        window: Option<DateRange>,
        reason: String,
        refund: Option<Refund>,
    },
    /// Nobody activated it in time.
    Forfeited {
        activate_by: NaiveDate,
    },
}

/// A pass that its holder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Waits to be activated, at the latest on the day before `activate_by`.
    Ready { activate_by: NaiveDate },
    /// Opens doors on the days of its window.
    Active { window: DateRange },
}

impl Usable {
    /// Its days, once they are fixed.
    pub const fn window(self) -> Option<DateRange> {
        match self {
            Self::Ready { .. } => None,
            Self::Active { window } => Some(window),
        }
    }
}

/// The right at the gate that follows from a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entitlement {
    pub state: EntitlementState,
    pub window: DateRange,
    /// Zero unless the uses are being counted for a refund.
    pub freeze_version: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntitlementState {
    Active,
    Frozen,
    Revoked,
}

/// What a decision asks of the command that made it, beside saving and publishing the pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What was held is sold.
    StockSold,
    /// What was held may be sold again, and the member buy again.
    StockBack,
    /// Tell billing that nothing is held any longer.
    HoldLapsed,
    /// Tell billing to refund the whole order.
    FulfilmentRefused(&'static str),
    /// Tell billing what goes back for the line.
    LineReturned,
    /// Do something later.
    Plan(Timer, DateTime<Utc>),
}

/// What is done later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The time to activate is over.
    Activation,
    /// It soon will be, and the pass be forfeited.
    Reminder,
    /// The last lease is over.
    Leases,
    /// Admission's answer is overdue, or billing's.
    Refund,
}

/// A pass after a decision. `changed` is false when the decision had been made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub pass: Pass,
    pub changed: bool,
    pub effects: Vec<Effect>,
}

impl Change {
    /// Nothing follows.
    pub fn none(pass: Pass) -> Self {
        Self {
            pass,
            changed: false,
            effects: Vec::new(),
        }
    }
}

impl Change {
    /// Two decisions about one pass, the later one made on what the earlier one left.
    pub fn followed_by(&mut self, later: Self) {
        self.pass = later.pass;
        self.changed |= later.changed;
        self.effects.extend(later.effects);
    }
}

impl Pass {
    /// The next version in another state.
    pub(super) fn become_state(self, state: State, effects: Vec<Effect>) -> Change {
        let pass = Self {
            version: self.version + 1,
            state,
            ..self
        };
        Change {
            pass,
            changed: true,
            effects,
        }
    }

    /// The next version in another life.
    pub(super) fn live(self, at: DateTime<Utc>, life: Life, effects: Vec<Effect>) -> Change {
        self.become_state(State::Paid { at, life }, effects)
    }

    pub fn paid_at(&self) -> Option<DateTime<Utc>> {
        match &self.state {
            State::AwaitingPayment(_) | State::Lapsed => None,
            State::Paid { at, .. } => Some(*at),
        }
    }

    /// The days on which it opens, or opened, doors.
    pub fn window(&self) -> Option<DateRange> {
        match &self.state {
            State::AwaitingPayment(_) | State::Lapsed => None,
            State::Paid { life, .. } => match life {
                Life::Usable(usable)
                | Life::Refunding { usable, .. }
                | Life::Refunded { usable, .. } => usable.window(),
                Life::Frozen { window, .. } | Life::Voiding { window, .. } => Some(*window),
                Life::Voided { window, .. } => *window,
                Life::Forfeited { .. } => None,
            },
        }
    }

    /// The first Shanghai date on which it can no longer be activated by its holder.
    pub fn activate_by(&self) -> Option<NaiveDate> {
        match &self.state {
            State::AwaitingPayment(_) | State::Lapsed => None,
            State::Paid { life, .. } => match life {
                Life::Usable(Usable::Ready { activate_by })
                | Life::Refunding {
                    usable: Usable::Ready { activate_by },
                    ..
                }
                | Life::Refunded {
                    usable: Usable::Ready { activate_by },
                    ..
                }
                | Life::Forfeited { activate_by } => Some(*activate_by),
                Life::Usable(Usable::Active { .. })
                | Life::Refunding {
                    usable: Usable::Active { .. },
                    ..
                }
                | Life::Refunded {
                    usable: Usable::Active { .. },
                    ..
                }
                | Life::Frozen { .. }
                | Life::Voiding { .. }
                | Life::Voided { .. } => None,
            },
        }
    }

    /// Why an operator froze or voided it.
    pub fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Paid {
                life:
                    Life::Frozen { reason, .. }
                    | Life::Voiding { reason, .. }
                    | Life::Voided { reason, .. },
                ..
            } => Some(reason),
            State::AwaitingPayment(_) | State::Lapsed | State::Paid { .. } => None,
        }
    }

    /// The last request for a refund, whatever became of it.
    pub fn refund(&self) -> Option<&Refund> {
        let State::Paid { life, .. } = &self.state else {
            return None;
        };
        match life {
            Life::Refunding { refund, .. }
            | Life::Refunded { refund, .. }
            | Life::Voiding { refund, .. }
            | Life::Voided {
                refund: Some(refund),
                ..
            } => Some(refund),
            Life::Usable(_)
            | Life::Frozen { .. }
            | Life::Voided { refund: None, .. }
            | Life::Forfeited { .. } => self.refused.as_ref(),
        }
    }

    /// Whether it opens nothing for good: it has ended, or its money is on its way back.
    pub const fn has_ended(&self) -> bool {
        let State::Paid { life, .. } = &self.state else {
            return matches!(self.state, State::Lapsed);
        };
        match life {
            Life::Usable(_) | Life::Frozen { .. } => false,
            Life::Refunding { refund, .. } | Life::Voiding { refund, .. } => match refund.state {
                RefundState::Counting { .. } | RefundState::Refused { .. } => false,
                RefundState::Returned { .. } | RefundState::Done { .. } => true,
            },
            Life::Refunded { .. } | Life::Voided { .. } | Life::Forfeited { .. } => true,
        }
    }

    /// The right at the gate; `None` when there never was one.
    pub fn entitlement(&self) -> Option<Entitlement> {
        let State::Paid { life, .. } = &self.state else {
            return None;
        };
        let (state, window) = match life {
            Life::Usable(usable) => (EntitlementState::Active, usable.window()),
            Life::Frozen { window, .. } | Life::Voiding { window, .. } => {
                (EntitlementState::Frozen, Some(*window))
            }
            Life::Refunding { usable, .. } => (EntitlementState::Frozen, usable.window()),
            Life::Refunded { usable, .. } => (EntitlementState::Revoked, usable.window()),
            Life::Voided { window, .. } => (EntitlementState::Revoked, *window),
            Life::Forfeited { .. } => return None,
        };
        let freeze_version = match life {
            Life::Refunding { refund, .. } | Life::Voiding { refund, .. } => match &refund.state {
                RefundState::Counting { freeze, .. } => freeze.version,
                RefundState::Returned { .. }
                | RefundState::Done { .. }
                | RefundState::Refused { .. } => 0,
            },
            Life::Usable(_)
            | Life::Frozen { .. }
            | Life::Refunded { .. }
            | Life::Voided { .. }
            | Life::Forfeited { .. } => 0,
        };
        Some(Entitlement {
            state,
            window: window?,
            freeze_version,
        })
    }
}
