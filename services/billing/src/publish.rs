//! What this service tells the others: each event carries the order's whole public state, never
//! who paid it at the provider.

use kit::event::NewEvent;
use kit::resync::{RESYNC_ROWS_MAX, Source};
use kit::types::Union;
use kit::{Error, Result, Tx};
use proto::billing as event;
use uuid::Uuid;

use crate::domain::{Order, OrderState, Payer};
use crate::store::{self, RefundLine};

const ORDER_PAID: &str = "bashu.billing.v1.OrderPaid";
const ORDER_CLOSED: &str = "bashu.billing.v1.OrderClosed";
const REFUND_DONE: &str = "bashu.billing.v1.RefundDone";

fn message(order: &Order, refunds: &[RefundLine], union: Union) -> event::Order {
    let (member_id, organisation_id) = match order.payer {
        Payer::Member(id) => (id.0.as_bytes().to_vec(), Vec::new()),
        Payer::Organisation(id) => (Vec::new(), id.0.as_bytes().to_vec()),
    };
    let state = match order.state {
        OrderState::Open { .. } => event::order::State::Open,
        OrderState::Paid { .. } => event::order::State::Paid,
        OrderState::Closed { .. } => event::order::State::Closed,
    };
    let refunds = refunds
        .iter()
        .map(|one| event::LineRefund {
            return_id: one.refund.as_bytes().to_vec(),
            line_id: one.line.as_bytes().to_vec(),
            fen: one.fen,
            done: one.done,
        })
        .collect();
    event::Order {
        id: order.id.0.as_bytes().to_vec(),
        version: order.version,
        union: union.code().into(),
        number: order.number.to_string(),
        member_id,
        organisation_id,
        state: state.into(),
        total_fen: order.total.get(),
        paid_fen: order.paid().get(),
        refunded_fen: order.refunded.get(),
        refunds,
        content_hash: order.content_hash.clone(),
        seller: order.seller.clone(),
        paid_at: order.paid_at().map_or(0, |at| at.timestamp_millis()),
    }
}

/// The order is paid.
pub fn paid(order: &Order, refunds: &[RefundLine], union: Union) -> NewEvent {
    let order_message = message(order, refunds, union);
    let message = event::OrderPaid {
        order: Some(order_message),
    };
    NewEvent::of(&message, ORDER_PAID, order.id.0.as_bytes(), order.version)
}

/// The order ended without payment, or was given back as a whole.
pub fn closed(order: &Order, refunds: &[RefundLine], union: Union) -> NewEvent {
    let order_message = message(order, refunds, union);
    let message = event::OrderClosed {
        order: Some(order_message),
    };
    NewEvent::of(&message, ORDER_CLOSED, order.id.0.as_bytes(), order.version)
}

/// The money of a return has gone back.
pub fn refund_done(
    order: &Order,
    refunds: &[RefundLine],
    done: &RefundLine,
    union: Union,
) -> NewEvent {
    let message = event::RefundDone {
        order: Some(message(order, refunds, union)),
        return_id: done.refund.as_bytes().to_vec(),
        line_id: done.line.as_bytes().to_vec(),
        fen: done.fen,
    };
    NewEvent::of(&message, REFUND_DONE, order.id.0.as_bytes(), order.version)
}

/// Says everything again: of each order that ended or is paid, its state and its done returns.
/// Of one that is open there is nothing to say.
#[derive(Clone, Copy, Debug)]
pub struct Resync {
    pub union: Union,
}

impl Source for Resync {
    fn aggregates(&self) -> &'static [&'static str] {
        &["order"]
    }

    async fn resync(
        &self,
        tx: &Tx,
        aggregate: &str,
        after: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        if aggregate != "order" {
            return Err(Error::internal(format!(
                "{aggregate} is no aggregate of billing"
            )));
        }
        let after = after
            .map(|bytes| Uuid::from_slice(&bytes))
            .transpose()
            .map_err(|_| Error::internal("a resync's cursor is another aggregate's"))?;
        let orders = store::lock_orders_after(tx, after, RESYNC_ROWS_MAX).await?;
        for order in &orders {
            let refunds = store::refund_lines(tx, order.id).await?;
            match order.state {
                OrderState::Open { .. } => continue,
                OrderState::Paid { .. } => tx.emit(paid(order, &refunds, self.union)),
                OrderState::Closed { .. } => tx.emit(closed(order, &refunds, self.union)),
            }
            for done in refunds.iter().filter(|one| one.done) {
                tx.emit(refund_done(order, &refunds, done, self.union));
            }
        }
        let full = i64::try_from(orders.len()).is_ok_and(|count| count >= RESYNC_ROWS_MAX);
        let last = orders.last().map(|order| order.id.0.as_bytes().to_vec());
        Ok(if full { last } else { None })
    }
}
