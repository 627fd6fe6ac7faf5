//! What a pass makes of its order's end. Only billing ends an order; a pass follows what it says,
//! whatever comes first and however often.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::{Fen, OrderId, day_start, shanghai_date};
use uuid::Uuid;

use super::pass::{Change, Effect, Hold, Life, Pass, State, Timer, Usable};
use super::terms::Terms;

/// An order as billing last told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub state: OrderState,
    pub total: Fen,
    pub refunded: Fen,
    /// The returns whose money has gone back.
    pub returns_done: Vec<Uuid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderState {
    Open,
    Paid { at: DateTime<Utc> },
    Closed,
}

impl OrderState {
    /// When it was paid.
    pub const fn paid_at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Paid { at } => Some(at),
            Self::Open | Self::Closed => None,
        }
    }
}

/// What else decides what a payment makes of a pass.
#[derive(Clone, Debug)]
pub struct Payment<'a> {
    /// Of the version it was sold under.
    pub terms: &'a Terms,
    /// Where it goes on when it renews one that is still running.
    pub continues_at: Option<NaiveDate>,
    /// The buyer asked to be forgotten meanwhile.
    pub erased: bool,
}

/// Billing says what cannot be: it closed, unpaid and unrefunded, what it had said was paid, or
/// it names another price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl Pass {
    /// Follows its order.
    ///
    /// # Errors
    /// When the order says what cannot be.
    pub fn follow(self, order: &Order, payment: &Payment<'_>) -> Result<Change, Contradiction> {
        if order.total != self.price {
            return Err(Contradiction);
        }
        match order.state {
            OrderState::Open => Ok(Change::none(self)),
            OrderState::Paid { at } => Ok(self.paid(at, order, payment)),
            OrderState::Closed => self.closed(order),
        }
    }

    fn paid(self, at: DateTime<Utc>, order: &Order, payment: &Payment<'_>) -> Change {
        let given_back = !order.total.is_zero() && order.refunded == order.total;
        match &self.state {
            // Paid and given back as a whole: nothing is left to give for it.
            State::AwaitingPayment(_) if given_back => self.lapse(),
            State::AwaitingPayment(Hold::Refused) => Change::none(self),
            State::AwaitingPayment(Hold::Held | Hold::Lapsed) => self.fulfil(at, payment),
            // Its stock may be another's by now, so it is not given after all.
            State::Lapsed if order.refunded == order.total => Change::none(self),
            State::Lapsed => {
                let effects = vec![Effect::FulfilmentRefused("LAPSED")];
                Change {
                    effects,
                    ..Change::none(self)
                }
            }
            State::Paid { .. } => self.money_back(&order.returns_done),
        }
    }

    fn fulfil(self, at: DateTime<Utc>, payment: &Payment<'_>) -> Change {
        if payment.erased {
            return self.refuse("MEMBER_ERASED");
        }
        let terms = payment.terms;
        if let Some(activate_by) = terms
            .activate_by(at)
            .filter(|_| payment.continues_at.is_none())
        {
            let deadline = Effect::Plan(Timer::Activation, day_start(activate_by));
            let reminder = terms.activation_reminder(activate_by, at);
            let reminder = reminder.map(|at| Effect::Plan(Timer::Reminder, at));
            let life = Life::Usable(Usable::Ready { activate_by });
            let effects = [Effect::StockSold, deadline].into_iter().chain(reminder);
            return self.live(at, life, effects.collect());
        }
        let window = match payment.continues_at {
            Some(end) => terms.window_from(end),
            None => terms.window(shanghai_date(at)),
        };
        match window {
            Some(window) => {
                let life = Life::Usable(Usable::Active { window });
                self.live(at, life, vec![Effect::StockSold])
            }
            None => self.refuse("BEYOND_THE_CALENDAR"),
        }
    }

    /// It is paid and cannot be given. Where nothing was paid nothing has to go back first.
    fn refuse(self, reason: &'static str) -> Change {
        if self.price.is_zero() {
            return self.lapse();
        }
        let effects = vec![Effect::FulfilmentRefused(reason)];
        self.become_state(State::AwaitingPayment(Hold::Refused), effects)
    }

    fn closed(self, order: &Order) -> Result<Change, Contradiction> {
        match &self.state {
            State::AwaitingPayment(_) => Ok(self.lapse()),
            State::Lapsed => Ok(Change::none(self)),
            State::Paid { .. } if order.refunded == order.total && !order.total.is_zero() => {
                Ok(self.money_back(&order.returns_done))
            }
            State::Paid { .. } => Err(Contradiction),
        }
    }

    /// The state itself guards the stock: it goes back on leaving this state, so once.
    fn lapse(self) -> Change {
        self.become_state(State::Lapsed, vec![Effect::StockBack])
    }

    /// The time to pay is over: billing is told, and told again as long as it has not answered.
    /// The stock stays held until it does.
    pub fn hold_over(self, now: DateTime<Utc>) -> Change {
        match &self.state {
            State::AwaitingPayment(Hold::Held) if now >= self.close_at => self.become_state(
                State::AwaitingPayment(Hold::Lapsed),
                vec![Effect::HoldLapsed],
            ),
            State::AwaitingPayment(Hold::Lapsed) => Change {
                effects: vec![Effect::HoldLapsed],
                ..Change::none(self)
            },
            State::AwaitingPayment(Hold::Refused) => {
                let effects = vec![Effect::FulfilmentRefused("REFUSED")];
                Change {
                    effects,
                    ..Change::none(self)
                }
            }
            State::AwaitingPayment(Hold::Held) | State::Lapsed | State::Paid { .. } => {
                Change::none(self)
            }
        }
    }
}
