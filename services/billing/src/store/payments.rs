//! Payments, and the receipts of money that came.

use chrono::{DateTime, Utc};
use kit::types::{Fen, MemberId, OrderId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{amount, broken};
use crate::domain::{CallUp, Method, Payment, PaymentState};

#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct PaymentRow {
    id: Uuid,
    order_id: Uuid,
    payer: Uuid,
    method: String,
    fen: i64,
    out_trade_no: String,
    state: String,
    code_url: Option<String>,
    prepay_id: Option<String>,
    failure: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    prepared_at: Option<DateTime<Utc>>,
}

/// Every column of a payment, for `FROM payment p`.
pub(crate) const PAYMENT: &str = "p.id, p.order_id, p.payer, p.method, p.fen, p.out_trade_no,
    p.state, p.code_url, p.prepay_id, p.failure, p.created_at, p.expires_at, p.prepared_at";

impl PaymentRow {
    pub(crate) fn payment(self) -> Result<Payment> {
        let code_url = self.code_url.map(CallUp::CodeUrl);
        let call_up = code_url.or_else(|| self.prepay_id.map(CallUp::PrepayId));
        let state = match (self.state.as_str(), call_up, self.prepared_at) {
            ("preparing", _, _) => PaymentState::Preparing,
            ("waiting", Some(call_up), Some(prepared_at)) => PaymentState::Waiting {
                call_up,
                prepared_at,
            },
            ("succeeded", _, _) => PaymentState::Succeeded,
            ("late", _, _) => PaymentState::Late,
            ("closed", _, _) => PaymentState::Closed,
            ("failed", _, _) => PaymentState::Failed {
                code: self.failure.unwrap_or_default(),
            },
            _ => return Err(broken("a payment's state")),
        };
        Ok(Payment {
            id: self.id,
            order: OrderId(self.order_id),
            payer: MemberId(self.payer),
            method: Method::parse(&self.method).ok_or_else(|| broken("a payment's method"))?,
            amount: amount(self.fen)?,
            out_trade_no: self.out_trade_no,
            state,
            created_at: self.created_at,
            expires_at: self.expires_at,
        })
    }
}

async fn one(tx: &Tx, rest: &str, value: sea_orm::Value) -> Result<Option<Payment>> {
    let sql = format!("SELECT {PAYMENT} FROM payment p WHERE {rest}");
    tx.one::<PaymentRow>(&sql, [value])
        .await?
        .map(PaymentRow::payment)
        .transpose()
}

/// A payment, not locked.
///
/// # Errors
/// When the database fails.
pub async fn payment(tx: &Tx, id: Uuid) -> Result<Option<Payment>> {
    one(tx, "p.id = $1", id.into()).await
}

/// The payment with our number at the provider, not locked.
///
/// # Errors
/// When the database fails.
pub async fn payment_by_number(tx: &Tx, out_trade_no: &str) -> Result<Option<Payment>> {
    one(tx, "p.out_trade_no = $1", out_trade_no.into()).await
}

/// A payment, locked after its order.
///
/// # Errors
/// Not found.
pub async fn lock_payment(tx: &Tx, id: Uuid) -> Result<Payment> {
    one(tx, "p.id = $1 FOR UPDATE", id.into())
        .await?
        .ok_or(Error::NotFound)
}

/// The payment of an order by which money may still come, locked after its order.
///
/// # Errors
/// When the database fails.
pub async fn lock_open_payment(tx: &Tx, order: OrderId) -> Result<Option<Payment>> {
    let rest = "p.order_id = $1 AND p.state IN ('preparing', 'waiting') FOR UPDATE";
    one(tx, rest, order.0.into()).await
}

/// Writes a new payment.
///
/// # Errors
/// When the order has an open one, by the constraint `payment_open_once`.
pub async fn insert_payment(tx: &Tx, payment: &Payment) -> Result<()> {
    tx.execute(
        "INSERT INTO payment (id, order_id, payer, method, fen, out_trade_no, state, created_at,
           expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'preparing', $7, $8)",
        [
            payment.id.into(),
            payment.order.0.into(),
            payment.payer.0.into(),
            payment.method.as_str().into(),
            payment.amount.get().into(),
            payment.out_trade_no.clone().into(),
            payment.created_at.into(),
            payment.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes a payment's state.
///
/// # Errors
/// When the database fails or a constraint says no.
pub async fn save_payment(tx: &Tx, payment: &Payment) -> Result<()> {
    let (mut code_url, mut prepay_id) = (None, None);
    let (mut prepared_at, mut failure) = (None, None);
    match &payment.state {
        PaymentState::Waiting {
            call_up,
            prepared_at: at,
        } => {
            prepared_at = Some(*at);
            match call_up {
                CallUp::CodeUrl(code) => code_url = Some(code.clone()),
                CallUp::PrepayId(id) => prepay_id = Some(id.clone()),
            }
        }
        PaymentState::Failed { code } => failure = Some(code.clone()),
        PaymentState::Preparing
        | PaymentState::Succeeded
        | PaymentState::Late
        | PaymentState::Closed => {}
    }
    let ended_at = (!payment.state.is_open()).then(|| tx.now());
    tx.execute(
        "UPDATE payment SET state = $2, code_url = COALESCE($3, code_url),
           prepared_at = COALESCE($4, prepared_at), failure = COALESCE($5, failure),
           ended_at = $6, prepay_id = COALESCE($7, prepay_id)
         WHERE id = $1",
        [
            payment.id.into(),
            payment.state.as_str().into(),
            code_url.into(),
            prepared_at.into(),
            failure.into(),
            ended_at.into(),
            prepay_id.into(),
        ],
    )
    .await?;
    Ok(())
}

/// What money that came turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// It paid its order.
    Order,
    Late,
    Mismatch,
    Unknown,
}

impl ReceiptKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Late => "late",
            Self::Mismatch => "mismatch",
            Self::Unknown => "unknown",
        }
    }
}

/// Money that came, to be written down.
#[derive(Clone, Debug)]
pub struct NewReceipt {
    pub transaction_id: String,
    pub out_trade_no: String,
    pub payment: Option<Uuid>,
    pub order: Option<OrderId>,
    pub kind: ReceiptKind,
    pub fen: Fen,
    /// `notification`, `query` or `bill`.
    pub learnt_by: &'static str,
    pub paid_at: DateTime<Utc>,
}

/// Money that came.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Receipt {
    pub transaction_id: String,
    pub out_trade_no: String,
    pub fen: i64,
    pub returned_fen: i64,
}

/// What is known of a transaction, locked.
///
/// # Errors
/// When the database fails.
pub async fn receipt(tx: &Tx, transaction_id: &str) -> Result<Option<Receipt>> {
    tx.one(
        "SELECT transaction_id, out_trade_no, fen, returned_fen FROM receipt
         WHERE transaction_id = $1 FOR UPDATE",
        [transaction_id.into()],
    )
    .await
}

/// The money that paid an order, locked.
///
/// # Errors
/// When the database fails.
pub async fn receipt_for_order(tx: &Tx, order: OrderId) -> Result<Option<Receipt>> {
    tx.one(
        "SELECT transaction_id, out_trade_no, fen, returned_fen FROM receipt
         WHERE order_id = $1 AND kind = 'order' FOR UPDATE",
        [order.0.into()],
    )
    .await
}

/// Writes money down; `false` when the transaction was written down before.
///
/// # Errors
/// When the database fails.
pub async fn insert_receipt(tx: &Tx, new: &NewReceipt) -> Result<bool> {
    let rows = tx
        .execute(
            "INSERT INTO receipt (transaction_id, out_trade_no, payment, order_id, kind, fen,
               learnt_by, paid_at, booked_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (transaction_id) DO NOTHING",
            [
                new.transaction_id.clone().into(),
                new.out_trade_no.clone().into(),
                new.payment.into(),
                new.order.map(|order| order.0).into(),
                new.kind.as_str().into(),
                new.fen.get().into(),
                new.learnt_by.into(),
                new.paid_at.into(),
                tx.now().into(),
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Takes what goes back off what came; `false` when less is left.
///
/// # Errors
/// When the database fails.
pub async fn take_from_receipt(tx: &Tx, transaction_id: &str, fen: Fen) -> Result<bool> {
    let rows = tx
        .execute(
            "UPDATE receipt SET returned_fen = returned_fen + $2
             WHERE transaction_id = $1 AND returned_fen + $2 <= fen",
            [transaction_id.into(), fen.get().into()],
        )
        .await?;
    Ok(rows == 1)
}
