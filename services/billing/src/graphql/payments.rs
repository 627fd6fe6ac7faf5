//! Paying an order, and giving it up.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::access::Caller;
use kit::graphql::{GlobalId, Money};
use uuid::Uuid;

use super::orders::Order;
use super::scope;
use crate::commands::{self, PayOrder};
use crate::domain::{self, Method};
use crate::error::Refusal;
use crate::{Billing, queries};

/// A way of paying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PaymentMethod {
    /// A QR code for WeChat's scanner.
    WechatNative,
    /// Within WeChat; not available yet.
    WechatJsapi,
}

/// The state of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PaymentState {
    /// The code is not there yet; ask again.
    Preparing,
    /// The payer can pay.
    Waiting,
    /// It paid the order.
    Succeeded,
    /// It came too late and goes back.
    Late,
    /// It ended unpaid.
    Closed,
    /// The provider did not take it; begin another.
    Failed,
}

/// One attempt to pay.
#[derive(Debug, SimpleObject)]
pub struct Payment {
    /// The payment's id.
    pub id: ID,
    /// How it is paid.
    pub method: PaymentMethod,
    /// What it waits for, or how it ended.
    pub state: PaymentState,
    /// How much is paid by it.
    pub amount: Money,
    /// What the QR code shows, while the payer can pay.
    pub code_url: Option<String>,
    /// Until when the payer can pay.
    pub expires_at: DateTime<Utc>,
}

impl From<domain::Payment> for Payment {
    fn from(payment: domain::Payment) -> Self {
        let (state, code_url) = match payment.state {
            domain::PaymentState::Preparing => (PaymentState::Preparing, None),
            domain::PaymentState::Waiting { code_url, .. } => {
                (PaymentState::Waiting, Some(code_url))
            }
            domain::PaymentState::Succeeded => (PaymentState::Succeeded, None),
            domain::PaymentState::Late => (PaymentState::Late, None),
            domain::PaymentState::Closed => (PaymentState::Closed, None),
            domain::PaymentState::Failed { .. } => (PaymentState::Failed, None),
        };
        Self {
            id: GlobalId::of_uuid("Payment", payment.id),
            method: match payment.method {
                Method::WechatNative => PaymentMethod::WechatNative,
            },
            state,
            amount: payment.amount.into(),
            code_url,
            expires_at: payment.expires_at,
        }
    }
}

/// Which order to pay, and how.
#[derive(Debug, InputObject)]
pub struct PayOrderInput {
    /// An order of the caller's.
    pub order_id: ID,
    /// How it is to be paid.
    pub method: PaymentMethod,
    /// Minted by the client: the same key is the same payment.
    pub idempotency_key: Uuid,
}

kit::payload! {
    /// What became of a payment's begin.
    pub struct PayOrderPayload / PayOrderUserError / PayOrderErrorCode {
        /// The payment; ask for its order again while it is being prepared.
        payment: Payment,
        /// Its order.
        order: Order,
    }
    refuses {
        /// There is no such order of the caller's; one just placed may still arrive.
        OrderNotSeenYet,
        /// It has been paid.
        AlreadyPaid,
        /// It ended unpaid.
        OrderClosed,
        /// It is being closed.
        OrderClosing,
        /// Its time is over.
        TooLateToPay,
        /// This way of paying is not available yet.
        MethodUnavailable,
        /// The last code is just expiring; try again shortly.
        PaymentEnding,
        /// No part of it is the caller's to pay.
        NothingToPay,
    }
}

/// Which order to give up.
#[derive(Debug, InputObject)]
pub struct CancelOrderInput {
    /// An order of the caller's.
    pub order_id: ID,
    /// Minted by the client: the same key is the same request.
    pub idempotency_key: Uuid,
}

kit::payload! {
    /// What became of an order that was given up.
    pub struct CancelOrderPayload / CancelOrderUserError / CancelOrderErrorCode {
        /// The order: closed, being closed, or paid after all.
        order: Order,
    }
    refuses {
        /// It has been paid.
        AlreadyPaid,
        /// It has ended before.
        OrderClosed,
    }
}

/// What a payer can do.
#[derive(Debug, Default)]
pub struct PaymentMutation;

#[Object]
impl PaymentMutation {
    /// Begins to pay an order of the caller's.
    async fn pay_order(&self, ctx: &Context<'_>, input: PayOrderInput) -> Result<PayOrderPayload> {
        let (billing, caller) = scope(ctx)?;
        PayOrderPayload::from_result(caller.language, pay(billing, caller, input).await)
    }

    /// Gives up an order that has not been paid.
    async fn cancel_order(
        &self,
        ctx: &Context<'_>,
        input: CancelOrderInput,
    ) -> Result<CancelOrderPayload> {
        let (billing, caller) = scope(ctx)?;
        CancelOrderPayload::from_result(caller.language, cancel(billing, caller, input).await)
    }
}

async fn pay(
    billing: &Billing,
    caller: &Caller,
    input: PayOrderInput,
) -> kit::Result<PayOrderPayload> {
    let method = match input.method {
        PaymentMethod::WechatNative => Method::WechatNative,
        PaymentMethod::WechatJsapi => return Err(Refusal::MethodUnavailable.into()),
    };
    let order = GlobalId::uuid(&input.order_id, "Order").map_err(|_| Refusal::OrderNotSeenYet)?;
    let pay = PayOrder {
        order: order.into(),
        method,
        key: input.idempotency_key,
    };
    let paying = commands::pay_order(billing, caller, pay).await?;
    let order = Order::from(paying.order.clone());
    let payment = commands::wait_for_code(billing, paying).await?;
    Ok(PayOrderPayload::done(
        payment.map(Payment::from),
        Some(order),
    ))
}

async fn cancel(
    billing: &Billing,
    caller: &Caller,
    input: CancelOrderInput,
) -> kit::Result<CancelOrderPayload> {
    let id = GlobalId::uuid(&input.order_id, "Order")?.into();
    commands::cancel_order(billing, caller, id, input.idempotency_key).await?;
    let work = async |tx: &kit::Tx| queries::order(tx, caller, id).await;
    let order = billing.ctx.db.read("cancelled_order", work).await?;
    Ok(CancelOrderPayload::done(order.map(Order::from)))
}
