//! A payer begins to pay, and the provider is asked for the code.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller, Member, Who};
use kit::due::{After, NewDue};
use kit::once::{self, Once};
use kit::told::Listener;
use kit::types::{Fen, OrderId};
use kit::{Error, Result, Tx};
use tokio::time::Instant;
use uuid::Uuid;

use super::Held;
use crate::domain::{
    Method, Order, OrderState, PAYMENT_MINUTES_MAX, Payment, PaymentState, Step, next_query,
};
use crate::error::{Refusal, recorded};
use crate::wechat::NativeOrder;
use crate::{Billing, due, store};

/// How long an order is waited for that has not arrived yet, in milliseconds.
const ORDER_WAIT_MS_MAX: u64 = 2_000;
/// How long the code is waited for, in milliseconds.
const CODE_WAIT_MS_MAX: u64 = 3_000;
/// The provider takes no order that expires in less than a minute: the code lives at least so
/// long there, in seconds, while we close it when the order's time is over.
const PROVIDER_SECONDS_MIN: i64 = 120;

/// `payOrder`.
#[derive(Clone, Copy, Debug)]
pub struct PayOrder {
    pub order: OrderId,
    pub method: Method,
    pub key: Uuid,
}

/// A payment that was begun, or was open before.
#[derive(Debug)]
pub struct Paying {
    /// The payment's id.
    pub payment: Uuid,
    /// Its order, which the caller may see, as it was then.
    pub order: Order,
    /// The provider cannot have answered for it yet.
    is_new: bool,
    told: Listener,
}

/// Begins a payment of the caller's share, or finds the one that is open. An order that
/// belongs to another looks like one that never was, also in time.
///
/// # Errors
/// A refusal; unauthenticated.
pub async fn pay_order(billing: &Billing, caller: &Caller, input: PayOrder) -> Result<Paying> {
    let Who::Member { member, .. } = caller.who else {
        return Err(Error::Unauthenticated("no token"));
    };
    let mut told = billing.ctx.wake.told.listen(input.order);
    let deadline = Instant::now() + Duration::from_millis(ORDER_WAIT_MS_MAX);
    while !store::visible(&billing.ctx.db, input.order, member).await? {
        if Instant::now() >= deadline {
            return Err(Refusal::OrderNotSeenYet.into());
        }
        told.changed().await;
    }
    let db = &billing.ctx.db;
    let begin = async |tx: &Tx| begin(tx, caller, input).await;
    let (payment, order, is_new) = db.tx("pay_order", begin).await?;
    Ok(Paying {
        payment,
        order,
        is_new,
        told,
    })
}

/// The payment, its order, and whether it began only now.
async fn begin(tx: &Tx, caller: &Caller, input: PayOrder) -> Result<(Uuid, Order, bool)> {
    let member = access::member(tx, caller).await?;
    let held = Held::lock(tx, input.order)
        .await?
        .ok_or(Refusal::OrderNotSeenYet)?;
    let request = once::Request {
        caller: member.id.0,
        key: input.key,
        hash: once::hash(
            "pay_order",
            &[&input.order.to_string(), input.method.as_str()],
        ),
    };
    match once::begin(tx, &request).await? {
        Once::Done(id) => {
            let id = Uuid::from_slice(&id).map_err(|_| Error::internal("a payment's id"))?;
            return Ok((id, held.order, false));
        }
        Once::Refused(code) => return recorded(&code),
        Once::First => {}
    }
    let share = store::open_share(tx, input.order, member.id).await?;
    payable(&held.order, share, tx.now())?;
    let (id, is_new) = match store::lock_open_payment(tx, input.order).await? {
        Some(open) if open.expires_at > tx.now() => (open.id, false),
        Some(_) => return Err(Refusal::PaymentEnding.into()),
        None => (start(tx, &held, member, share, input.method).await?, true),
    };
    tx.audit(
        member
            .audit("pay_order", input.order)
            .detail(serde_json::json!({"payment": id})),
    );
    once::finish(tx, id.as_bytes())?;
    Ok((id, held.order, is_new))
}

/// Whether the order can be paid now.
fn payable(order: &Order, share: Fen, now: DateTime<Utc>) -> std::result::Result<(), Refusal> {
    match order.state {
        OrderState::Paid { .. } => Err(Refusal::AlreadyPaid),
        OrderState::Closed { .. } => Err(Refusal::OrderClosed),
        OrderState::Open { closing: Some(_) } => Err(Refusal::OrderClosing),
        OrderState::Open { closing: None } if share.is_zero() => Err(Refusal::NothingToPay),
        OrderState::Open { closing: None } if now >= order.close_at => Err(Refusal::TooLateToPay),
        OrderState::Open { closing: None } => Ok(()),
    }
}

async fn start(tx: &Tx, held: &Held, member: Member, share: Fen, method: Method) -> Result<Uuid> {
    let id = tx.uuid();
    let longest = tx.now() + TimeDelta::minutes(PAYMENT_MINUTES_MAX);
    let payment = Payment {
        id,
        order: held.order.id,
        payer: member.id,
        method,
        amount: share,
        out_trade_no: id.simple().to_string(),
        state: PaymentState::Preparing,
        created_at: tx.now(),
        expires_at: held.order.close_at.min(longest),
    };
    store::insert_payment(tx, &payment).await?;
    // Nobody waits for that: only who waits for the provider's answer is there to be told.
    store::step(tx, held.order.id, Step::PaymentStarted, Some(share)).await?;
    tx.plan(NewDue::new(due::PREPARE, id, tx.now()));
    if payment.expires_at < held.order.close_at {
        tx.plan(NewDue::new(due::EXPIRE, id, payment.expires_at));
    }
    Ok(id)
}

/// Waits until the provider has answered for a payment, or the time is over; the payment.
///
/// # Errors
/// When the database fails.
pub async fn wait_for_code(billing: &Billing, mut paying: Paying) -> Result<Option<Payment>> {
    let deadline = Instant::now() + Duration::from_millis(CODE_WAIT_MS_MAX);
    let read = async |tx: &Tx| store::payment(tx, paying.payment).await;
    if paying.is_new {
        paying.told.changed().await;
    }
    loop {
        let payment = billing.ctx.db.read("payment", read).await?;
        let waits = |one: &Payment| one.state == PaymentState::Preparing;
        if !payment.as_ref().is_some_and(waits) || Instant::now() >= deadline {
            return Ok(payment);
        }
        paying.told.changed().await;
    }
}

/// Asks the provider for the code of a payment.
///
/// # Errors
/// When the provider does not answer: the job is run again.
pub async fn prepare(billing: &Billing, id: Uuid) -> Result<After> {
    let db = &billing.ctx.db;
    let loaded = db.read("prepare", async |tx| load(tx, id).await).await?;
    let Some((payment, order)) = loaded else {
        return Ok(After::Done);
    };
    let asked = billing.wechat.native(&order).await;
    let placed = match asked {
        Ok(code_url) => {
            let (payment, code_url) = (&payment, &code_url);
            db.tx("payment_ready", async |tx| {
                ready(tx, payment, code_url).await
            })
            .await?
        }
        Err(failure) if failure.code() == Some("ORDERPAID") => {
            return super::query_payment(billing, id).await;
        }
        Err(failure) => match failure.code() {
            Some(code) if !failure.is_passing() => {
                let payment = &payment;
                db.tx("payment_failed", async |tx| failed(tx, payment, code).await)
                    .await?;
                true
            }
            Some(_) | None => return Err(failure.into()),
        },
    };
    if !placed {
        // It was closed here while the provider took it: it must not stay open there.
        billing.end_at_provider(&payment).await?;
    }
    Ok(After::Done)
}

async fn load(tx: &Tx, id: Uuid) -> Result<Option<(Payment, NativeOrder)>> {
    let Some(payment) = store::payment(tx, id).await? else {
        return Ok(None);
    };
    if payment.state != PaymentState::Preparing {
        return Ok(None);
    }
    let lines = store::lines(tx, payment.order).await?;
    let title = lines.first().map_or("", |line| line.title_zh.as_str());
    let description = match lines.len() {
        0 | 1 => title.to_owned(),
        count => format!("{title} 等{count}项"),
    };
    let least = payment.created_at + TimeDelta::seconds(PROVIDER_SECONDS_MIN);
    let order = NativeOrder {
        out_trade_no: payment.out_trade_no.clone(),
        description,
        total: payment.amount,
        expires_at: payment.expires_at.max(least),
    };
    Ok(Some((payment, order)))
}

/// Locks a payment after its order; `None` when it is no longer being prepared.
async fn lock_preparing(tx: &Tx, payment: &Payment) -> Result<Option<(Held, Payment)>> {
    let held = Held::lock(tx, payment.order)
        .await?
        .ok_or(Error::NotFound)?;
    let payment = store::lock_payment(tx, payment.id).await?;
    Ok((payment.state == PaymentState::Preparing).then_some((held, payment)))
}

async fn ready(tx: &Tx, payment: &Payment, code_url: &str) -> Result<bool> {
    let Some((held, payment)) = lock_preparing(tx, payment).await? else {
        // A twin of this job may have made it ready.
        let now = store::payment(tx, payment.id).await?;
        return Ok(now.is_some_and(|one| matches!(one.state, PaymentState::Waiting { .. })));
    };
    let state = PaymentState::Waiting {
        code_url: code_url.to_owned(),
        prepared_at: tx.now(),
    };
    store::save_payment(
        tx,
        &Payment {
            state,
            ..payment.clone()
        },
    )
    .await?;
    held.step(tx, Step::PaymentReady, None).await?;
    tx.plan(NewDue::new(
        due::QUERY,
        payment.id,
        next_query(tx.now(), tx.now()),
    ));
    Ok(true)
}

async fn failed(tx: &Tx, payment: &Payment, code: &str) -> Result<()> {
    let Some((held, payment)) = lock_preparing(tx, payment).await? else {
        return Ok(());
    };
    let state = PaymentState::Failed {
        code: code.to_owned(),
    };
    store::save_payment(tx, &Payment { state, ..payment }).await?;
    held.step(tx, Step::PaymentFailed, None).await?;
    tracing::error!(code, "the provider did not take a payment");
    Ok(())
}
