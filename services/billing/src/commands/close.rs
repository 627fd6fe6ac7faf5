//! Ending what was not paid: the provider is asked, then told to close, and only then the order
//! ends here. Money that was faster wins.

use std::time::Duration;

use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::due::{After, NewDue};
use kit::once::{self, Once};
use kit::types::OrderId;
use kit::{Error, Result, Tx};
use tokio::time::Instant;
use uuid::Uuid;

use super::Held;
use super::settle::Learnt;
use crate::domain::{CloseReason, OrderState, Payment, PaymentState, Step};
use crate::error::{Refusal, recorded};
use crate::{Billing, due, store};

/// How long an answer waits for the order to end, in milliseconds.
const CLOSE_WAIT_MS_MAX: u64 = 3_000;

const fn closing_step(reason: CloseReason) -> Step {
    match reason {
        CloseReason::Expired => Step::ClosingExpired,
        CloseReason::Cancelled => Step::ClosingCancelled,
        CloseReason::HoldLapsed => Step::ClosingHoldLapsed,
        CloseReason::Refused => Step::ClosingRefused,
    }
}

/// The row of due work that closes an order for this reason.
const fn ordinal(reason: CloseReason) -> i32 {
    match reason {
        CloseReason::Expired => 0,
        CloseReason::Cancelled => 1,
        CloseReason::HoldLapsed => 2,
        CloseReason::Refused => 3,
    }
}

/// Marks an open order as being closed and plans the close.
pub(crate) async fn begin(tx: &Tx, held: &mut Held, reason: CloseReason) -> Result<()> {
    if let OrderState::Open {
        closing: Some(begun),
    } = held.order.state
    {
        // It is being closed: asked again, in case the row that does it is gone.
        tx.plan(NewDue::new(due::CLOSE, held.order.id, tx.now()).ordinal(ordinal(begun)));
    }
    if matches!(held.order.state, OrderState::Open { closing: None }) {
        let order = held
            .order
            .clone()
            .begin_closing(reason)
            .map_err(|_| Error::internal("an open order cannot be closed"))?;
        held.save(tx, order).await?;
        held.step(tx, closing_step(reason), None).await?;
        let work = NewDue::new(due::CLOSE, held.order.id, tx.now()).ordinal(ordinal(reason));
        tx.plan(work);
    }
    Ok(())
}

/// `cancelOrder`: the payer does not want it any longer. Waits a little for the end.
///
/// # Errors
/// A refusal; not found when it is not the caller's; unauthenticated.
pub async fn cancel_order(
    billing: &Billing,
    caller: &Caller,
    order: OrderId,
    key: Uuid,
) -> Result<()> {
    billing
        .ctx
        .db
        .tx("cancel_order", async |tx| {
            cancel(tx, caller, order, key).await
        })
        .await?;
    let mut told = billing.ctx.wake.told.listen(order);
    let deadline = Instant::now() + Duration::from_millis(CLOSE_WAIT_MS_MAX);
    while Instant::now() < deadline {
        let state = crate::queries::order_state(&billing.ctx.db, order).await?;
        if state.is_none_or(|state| state != "open") {
            break;
        }
        told.changed().await;
    }
    Ok(())
}

async fn cancel(tx: &Tx, caller: &Caller, order: OrderId, key: Uuid) -> Result<()> {
    let member = access::member(tx, caller).await?;
    let held = Held::lock(tx, order).await?;
    let mut held = match held {
        Some(held) if store::is_payer(tx, order, member.id).await? => held,
        Some(_) | None => return Err(Error::NotFound),
    };
    let hash = once::hash("cancel_order", &[&order.to_string()]);
    match once::begin(
        tx,
        &once::Request {
            caller: member.id.0,
            key,
            hash,
        },
    )
    .await?
    {
        Once::Done(_) => return Ok(()),
        Once::Refused(code) => return recorded(&code),
        Once::First => {}
    }
    match held.order.state {
        OrderState::Paid { .. } => return Err(Refusal::AlreadyPaid.into()),
        OrderState::Closed { .. } => return Err(Refusal::OrderClosed.into()),
        OrderState::Open { .. } => {}
    }
    begin(tx, &mut held, CloseReason::Cancelled).await?;
    tx.audit(member.audit("cancel_order", order));
    once::finish(tx, order.0.as_bytes())
}

/// Closes an order whose time is over, or that is to be closed for another reason.
///
/// # Errors
/// When the provider does not answer: the job is run again.
pub async fn close_order(billing: &Billing, id: OrderId) -> Result<After> {
    let db = &billing.ctx.db;
    let begun = db
        .tx("begin_close", async |tx| begin_close(tx, id).await)
        .await?;
    let open = match begun {
        Begun::Ended => return Ok(After::Done),
        Begun::TooEarly(at) => return Ok(After::At(at)),
        Begun::Open(open) => open,
    };
    if let Some(payment) = open {
        billing.end_at_provider(&payment).await?;
    }
    // Whatever came: money that paid the order has ended it, money that did not fit goes back and
    // leaves it to be closed here.
    let union = billing.ctx.union;
    db.tx("close_order", async |tx| finish(tx, union, id).await)
        .await?;
    Ok(After::Done)
}

enum Begun {
    Ended,
    TooEarly(chrono::DateTime<chrono::Utc>),
    /// With the payment by which money may still come.
    Open(Option<Payment>),
}

async fn begin_close(tx: &Tx, id: OrderId) -> Result<Begun> {
    let Some(mut held) = Held::lock(tx, id).await? else {
        return Ok(Begun::Ended);
    };
    match held.order.state {
        OrderState::Paid { .. } | OrderState::Closed { .. } => return Ok(Begun::Ended),
        OrderState::Open { closing: Some(_) } => {}
        OrderState::Open { closing: None } if tx.now() < held.order.close_at => {
            return Ok(Begun::TooEarly(held.order.close_at));
        }
        OrderState::Open { closing: None } => {
            // The row that runs now is this reason's own; it is not planned again.
            let order = held.order.clone().begin_closing(CloseReason::Expired);
            let order = order.map_err(|_| Error::internal("an open order cannot be closed"))?;
            held.save(tx, order).await?;
            held.step(tx, Step::ClosingExpired, None).await?;
        }
    }
    Ok(Begun::Open(store::lock_open_payment(tx, id).await?))
}

async fn finish(tx: &Tx, union: kit::types::Union, id: OrderId) -> Result<()> {
    let Some(mut held) = Held::lock(tx, id).await? else {
        return Ok(());
    };
    // Paid while the provider was asked: that is its end.
    let Ok(order) = held.order.clone().close(tx.now()) else {
        return Ok(());
    };
    if let Some(payment) = store::lock_open_payment(tx, id).await? {
        close_payment(tx, payment).await?;
    }
    held.save(tx, order).await?;
    held.mark_shares(tx).await?;
    held.step(tx, Step::Closed, None).await?;
    held.emit_state(tx, union).await?;
    kit::due::cancel(tx, due::CLOSE, &id.to_string()).await?;
    // Of what was not paid nothing can come back.
    store::early_returns(tx, id).await?;
    tx.audit(AuditRow::system("close_order", id));
    Ok(())
}

async fn close_payment(tx: &Tx, payment: Payment) -> Result<()> {
    kit::due::cancel(tx, due::QUERY, &payment.id.to_string()).await?;
    kit::due::cancel(tx, due::PREPARE, &payment.id.to_string()).await?;
    kit::due::cancel(tx, due::UNPREPARED, &payment.id.to_string()).await?;
    kit::due::cancel(tx, due::EXPIRE, &payment.id.to_string()).await?;
    store::save_payment(
        tx,
        &Payment {
            state: PaymentState::Closed,
            ..payment
        },
    )
    .await
}

/// Ends a payment whose code has expired, or that another one made needless; its order may be
/// paid by another.
///
/// # Errors
/// When the provider does not answer: the job is run again.
pub async fn expire_payment(billing: &Billing, id: Uuid) -> Result<After> {
    let db = &billing.ctx.db;
    let payment = db
        .read("expire_payment", async |tx| store::payment(tx, id).await)
        .await?;
    let Some(payment) = payment.filter(|one| one.state.is_open()) else {
        return Ok(After::Done);
    };
    billing.end_at_provider(&payment).await?;
    db.tx("payment_expired", async |tx| {
        let held = Held::lock(tx, payment.order)
            .await?
            .ok_or(Error::NotFound)?;
        let payment = store::lock_payment(tx, id).await?;
        if payment.state.is_open() {
            close_payment(tx, payment).await?;
            held.step(tx, Step::PaymentExpired, None).await?;
        }
        Ok(())
    })
    .await?;
    Ok(After::Done)
}

impl Billing {
    /// Makes sure that no money comes by a payment any longer, and books what had come.
    pub(crate) async fn end_at_provider(&self, payment: &Payment) -> Result<()> {
        let number = &payment.out_trade_no;
        match self.wechat.query(number).await {
            Ok(transaction) => {
                if self.book(&transaction, Learnt::Query).await?.is_some() {
                    return Ok(());
                }
            }
            Err(failure) if failure.code() == Some("ORDER_NOT_EXIST") => {}
            Err(failure) => return Err(failure.into()),
        }
        match self.wechat.close(number).await {
            Ok(()) => Ok(()),
            Err(failure) => match failure.code() {
                Some("ORDER_CLOSED" | "ORDER_NOT_EXIST" | "RESOURCE_NOT_EXISTS") => Ok(()),
                Some("ORDERPAID") => {
                    let transaction = self.wechat.query(number).await?;
                    let booked = self.book(&transaction, Learnt::Query).await?;
                    booked
                        .map(|_| ())
                        .ok_or(Error::Unavailable("the provider's answers disagree"))
                }
                Some(_) | None => Err(failure.into()),
            },
        }
    }
}
