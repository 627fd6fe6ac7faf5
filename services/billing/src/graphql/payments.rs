//! Paying an order, and giving it up.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::access::Caller;
use kit::graphql::{GlobalId, Money};
use uuid::Uuid;

use super::orders::Order;
use super::{graph, scope};
use crate::commands::{self, PayOrder};
use crate::domain::{self, CallUp, Method};
use crate::error::Refusal;
use crate::wechat::{PayCall, SIGN_TYPE};
use crate::{Billing, queries};

/// A way of paying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PaymentMethod {
    /// A QR code for WeChat's scanner.
    WechatNative,
    /// Inside WeChat, in the union's mini-program.
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

/// What `wx.requestPayment` takes, word for word. Good for the payer's own WeChat only.
#[derive(Debug, SimpleObject)]
pub struct WechatPayCall {
    /// The mini-program's.
    pub app_id: String,
    /// Seconds since 1970.
    pub time_stamp: String,
    /// Random; another each time this is read.
    pub nonce_str: String,
    /// `prepay_id=…`
    pub package: String,
    /// `RSA`.
    pub sign_type: String,
    /// Over all of this, by the union's key at the provider.
    pub pay_sign: String,
}

impl From<PayCall> for WechatPayCall {
    fn from(call: PayCall) -> Self {
        Self {
            app_id: call.app_id,
            time_stamp: call.time_stamp,
            nonce_str: call.nonce_str,
            package: call.package,
            sign_type: SIGN_TYPE.to_owned(),
            pay_sign: call.pay_sign,
        }
    }
}

/// One attempt to pay.
#[derive(Debug, SimpleObject)]
#[graphql(complex)]
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
    #[graphql(skip)]
    prepay_id: Option<String>,
}

#[ComplexObject]
impl Payment {
    /// What the mini-program calls the payment up with, while the payer can pay.
    async fn pay_call(&self, ctx: &Context<'_>) -> Result<Option<WechatPayCall>> {
        let (billing, caller) = scope(ctx)?;
        let program = billing.wechat.merchant().mini_program.as_ref();
        let (Some(prepay_id), Some(program)) = (&self.prepay_id, program) else {
            return Ok(None);
        };
        let call = billing.wechat.pay_call(program, prepay_id);
        graph(caller, call.map(|call| Some(call.into())))
    }
}

impl From<domain::Payment> for Payment {
    fn from(payment: domain::Payment) -> Self {
        let (state, call_up) = match payment.state {
            domain::PaymentState::Preparing => (PaymentState::Preparing, None),
            domain::PaymentState::Waiting { call_up, .. } => (PaymentState::Waiting, Some(call_up)),
            domain::PaymentState::Succeeded => (PaymentState::Succeeded, None),
            domain::PaymentState::Late => (PaymentState::Late, None),
            domain::PaymentState::Closed => (PaymentState::Closed, None),
            domain::PaymentState::Failed { .. } => (PaymentState::Failed, None),
        };
        let (code_url, prepay_id) = match call_up {
            Some(CallUp::CodeUrl(code_url)) => (Some(code_url), None),
            Some(CallUp::PrepayId(prepay_id)) => (None, Some(prepay_id)),
            None => (None, None),
        };
        Self {
            id: GlobalId::of_uuid("Payment", payment.id),
            method: match payment.method {
                Method::WechatNative => PaymentMethod::WechatNative,
                Method::WechatJsapi => PaymentMethod::WechatJsapi,
            },
            state,
            amount: payment.amount.into(),
            code_url,
            expires_at: payment.expires_at,
            prepay_id,
        }
    }
}

/// Which order to pay, and how.
#[derive(InputObject)]
#[expect(
    missing_debug_implementations,
    reason = "what names a payer is never shown"
)]
pub struct PayOrderInput {
    /// An order of the caller's.
    pub order_id: ID,
    /// How it is to be paid.
    pub method: PaymentMethod,
    /// For `WECHAT_JSAPI` and nothing else: the token of `issuePayerToken`. It may be renewed under
    /// the same idempotency key.
    pub payer_token: Option<String>,
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
        /// There is no mini-program to pay in.
        MethodUnavailable,
        /// The payer's token is missing, is not the caller's, or is none.
        PayerTokenInvalid,
        /// The payer's token is over.
        PayerTokenExpired,
        /// The payer's token was used for another payment.
        PayerTokenUsed,
        /// The last code is just expiring, or another way of paying just ending; try again shortly.
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
    let order = GlobalId::uuid(&input.order_id, "Order").map_err(|_| Refusal::OrderNotSeenYet)?;
    let pay = PayOrder {
        order: order.into(),
        key: input.idempotency_key,
    };
    let paying = match (input.method, input.payer_token) {
        (PaymentMethod::WechatNative, None) => commands::pay_order(billing, caller, pay).await?,
        (PaymentMethod::WechatNative, Some(_)) => return Err(Refusal::PayerTokenInvalid.into()),
        (PaymentMethod::WechatJsapi, token) => {
            let token = token.unwrap_or_default();
            commands::pay_in_wechat(billing, caller, pay, &token).await?
        }
    };
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
