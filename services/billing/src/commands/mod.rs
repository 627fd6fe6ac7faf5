//! What can be done to orders and money: each command one transaction, in the order authorise,
//! load (locked), once, decide, save, emit. Calls to the provider stand between transactions,
//! made by due work alone, but for the one that tells it who pays inside WeChat.

mod close;
mod ends;
mod explain;
mod notify;
mod pay;
mod pay_jsapi;
mod reconcile;
mod refund;
mod refunding;
mod request;
mod settle;

pub use close::{cancel_order, close_order, expire_payment};
pub use ends::{hold_lapsed, line_returned, refuse_fulfilment};
pub use explain::{REASON_CHARS_MAX, Reason, explain_discrepancy};
pub use notify::{Received, payment_notified, refund_notified};
pub use pay::{PayOrder, Paying, pay_order, prepare, wait_for_code};
pub use pay_jsapi::{end_unprepared, pay_in_wechat};
pub use reconcile::{ask as ask_reconcile, compare_day, run as reconcile};
pub use refunding::{ask_refund, query_refund, retry_refund};
pub use request::{LINES_MAX, Requested, request_orders};
pub use settle::{investigate, query_payment};

use kit::types::{Fen, OrderId};
use kit::{Result, Tx};

use crate::domain::{Order, OrderState, ShareState, Step};
use crate::{publish, store};

/// An order under its lock, and the version it was loaded with.
pub(crate) struct Held {
    pub(crate) order: Order,
    was: i64,
}

impl Held {
    /// Locks the order; `None` when it has not arrived here.
    pub(crate) async fn lock(tx: &Tx, id: OrderId) -> Result<Option<Self>> {
        Ok(store::lock_order(tx, id).await?.map(Self::of))
    }

    pub(crate) fn of(order: Order) -> Self {
        let was = order.version;
        Self { order, was }
    }

    /// Writes what was decided.
    pub(crate) async fn save(&mut self, tx: &Tx, order: Order) -> Result<()> {
        store::save_order(tx, &order, self.was).await?;
        self.was = order.version;
        self.order = order;
        Ok(())
    }

    /// Notes what happened to it, and tells those who wait for it.
    pub(crate) async fn step(&self, tx: &Tx, step: Step, fen: Option<Fen>) -> Result<()> {
        tx.tell(self.order.id);
        store::step(tx, self.order.id, step, fen).await
    }

    /// Tells the others what it has become.
    pub(crate) async fn emit_state(&self, tx: &Tx, union: kit::types::Union) -> Result<()> {
        let refunds = store::refund_lines(tx, self.order.id).await?;
        match self.order.state {
            OrderState::Open { .. } => {}
            OrderState::Paid { .. } => tx.emit(publish::paid(&self.order, &refunds, union)),
            OrderState::Closed { .. } => tx.emit(publish::closed(&self.order, &refunds, union)),
        }
        Ok(())
    }

    /// Marks its open shares as it has become.
    pub(crate) async fn mark_shares(&self, tx: &Tx) -> Result<()> {
        let state = match self.order.state {
            OrderState::Open { .. } => return Ok(()),
            OrderState::Paid { .. } => ShareState::Paid,
            OrderState::Closed { .. } => ShareState::Released,
        };
        store::mark_shares(tx, self.order.id, state).await
    }
}
