//! A payer begins to pay, and the provider is asked for the code. What is different when she pays
//! inside WeChat is in `pay_jsapi`.

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
use super::pay_jsapi::{self, Named};
use crate::domain::{
    CallUp, Method, Order, OrderState, PAYMENT_MINUTES_MAX, Payment, PaymentState, Step, next_query,
};
use crate::error::{Refusal, recorded};
use crate::wechat::{Failure, NewOrder};
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
    pub key: Uuid,
}

/// How she pays.
#[derive(Clone, Copy, Debug)]
pub(super) enum Means<'a> {
    /// By scanning a code, whoever she is to the provider.
    Scan,
    /// By what names her to the provider, or is not good for that.
    Named(&'a std::result::Result<Named, Refusal>),
}

impl<'a> Means<'a> {
    /// What names this member; none where she scans.
    fn named(self, member: Member) -> std::result::Result<Option<&'a Named>, Refusal> {
        match self {
            Self::Scan => Ok(None),
            Self::Named(Ok(named)) if named.is_of(member) => Ok(Some(named)),
            Self::Named(Ok(_)) => Err(Refusal::PayerTokenInvalid),
            Self::Named(Err(why)) => Err(*why),
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Scan => Method::WechatNative,
            Self::Named(_) => Method::WechatJsapi,
        }
    }
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
    /// What named the payer is good, and was used for this payment.
    pub(super) is_named: bool,
    told: Listener,
}

/// Begins a payment of the caller's share by a code to scan, or finds the one that is open. An
/// order that belongs to another looks like one that never was, also in time.
///
/// # Errors
/// A refusal; unauthenticated.
pub async fn pay_order(billing: &Billing, caller: &Caller, input: PayOrder) -> Result<Paying> {
    pay_by(billing, caller, input, Means::Scan).await
}

/// Begins a payment, or finds the one that is open.
pub(super) async fn pay_by(
    billing: &Billing,
    caller: &Caller,
    input: PayOrder,
    means: Means<'_>,
) -> Result<Paying> {
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
    let begin = async |tx: &Tx| begin(tx, caller, input, means).await;
    let mut begun = db.tx("pay_order", begin).await;
    let is_ending = matches!(&begun, Err(Error::Refused(refusal))
        if refusal.code == Refusal::PaymentEnding.code());
    if is_ending && pay_jsapi::give_way(billing, caller, input.order, means.method()).await? {
        begun = db.tx("pay_order", begin).await;
    }
    let begun = begun?;
    Ok(Paying {
        payment: begun.payment,
        order: begun.order,
        is_new: begun.is_new && !begun.is_named,
        is_named: begun.is_named,
        told,
    })
}

struct Begun {
    payment: Uuid,
    order: Order,
    /// It began only now.
    is_new: bool,
    is_named: bool,
}

async fn begin(tx: &Tx, caller: &Caller, input: PayOrder, means: Means<'_>) -> Result<Begun> {
    let member = access::member(tx, caller).await?;
    let held = Held::lock(tx, input.order)
        .await?
        .ok_or(Refusal::OrderNotSeenYet)?;
    let request = once::Request {
        caller: member.id.0,
        key: input.key,
        // A token that names the payer may be renewed under the same key.
        hash: once::hash(
            "pay_order",
            &[&input.order.to_string(), means.method().as_str()],
        ),
    };
    match once::begin(tx, &request).await? {
        Once::Done(id) => {
            let id = Uuid::from_slice(&id).map_err(|_| Error::internal("a payment's id"))?;
            let is_named = match means.named(member) {
                Ok(Some(named)) => named.use_for(tx, id).await?.is_ok(),
                Ok(None) | Err(_) => false,
            };
            return Ok(Begun {
                payment: id,
                order: held.order,
                is_new: false,
                is_named,
            });
        }
        Once::Refused(code) => return recorded(&code),
        Once::First => {}
    }
    let share = store::open_share(tx, input.order, member.id).await?;
    payable(&held.order, share, tx.now())?;
    // Before another payment is looked at, which would have to end for this one.
    let named = means.named(member)?;
    let method = means.method();
    let (id, is_new) = match store::lock_open_payment(tx, input.order).await? {
        Some(open) if open.expires_at > tx.now() && open.method == method => (open.id, false),
        Some(_) => return Err(Refusal::PaymentEnding.into()),
        None => (start(tx, &held, member, share, method).await?, true),
    };
    if let Some(named) = named {
        named.use_for(tx, id).await??;
    }
    tx.audit(
        member
            .audit("pay_order", input.order)
            .detail(serde_json::json!({"payment": id})),
    );
    once::finish(tx, id.as_bytes())?;
    Ok(Begun {
        payment: id,
        order: held.order,
        is_new,
        is_named: named.is_some(),
    })
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
    tx.plan(match method {
        Method::WechatNative => NewDue::new(due::PREPARE, id, tx.now()),
        Method::WechatJsapi => pay_jsapi::last_chance(id, tx.now()),
    });
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
    let Some((payment, order)) = preparing(billing, id).await? else {
        return Ok(After::Done);
    };
    let asked = billing.wechat.native(&order).await;
    answered(billing, &payment, asked.map(CallUp::CodeUrl)).await
}

/// A payment that is being prepared, and the order to be placed for it.
pub(super) async fn preparing(billing: &Billing, id: Uuid) -> Result<Option<(Payment, NewOrder)>> {
    let db = &billing.ctx.db;
    db.read("prepare", async |tx| load(tx, id).await).await
}

/// Takes in what the provider said to a payment's order.
pub(super) async fn answered(
    billing: &Billing,
    payment: &Payment,
    asked: std::result::Result<CallUp, Failure>,
) -> Result<After> {
    let db = &billing.ctx.db;
    let placed = match asked {
        Ok(call_up) => {
            let call_up = &call_up;
            db.tx("payment_ready", async |tx| {
                ready(tx, payment, call_up).await
            })
            .await?
        }
        Err(failure) if failure.code() == Some("ORDERPAID") => {
            return super::query_payment(billing, payment.id).await;
        }
        Err(failure) => match failure.code() {
            Some(code) if !failure.is_passing() => {
                db.tx("payment_failed", async |tx| failed(tx, payment, code).await)
                    .await?;
                true
            }
            Some(_) | None => return Err(failure.into()),
        },
    };
    if !placed {
        // It was closed here while the provider took it: it must not stay open there.
        billing.end_at_provider(payment).await?;
    }
    Ok(After::Done)
}

async fn load(tx: &Tx, id: Uuid) -> Result<Option<(Payment, NewOrder)>> {
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
    let order = NewOrder {
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

async fn ready(tx: &Tx, payment: &Payment, call_up: &CallUp) -> Result<bool> {
    let Some((held, payment)) = lock_preparing(tx, payment).await? else {
        // A twin of this job may have made it ready.
        let now = store::payment(tx, payment.id).await?;
        return Ok(now.is_some_and(|one| matches!(one.state, PaymentState::Waiting { .. })));
    };
    let state = PaymentState::Waiting {
        call_up: call_up.clone(),
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
