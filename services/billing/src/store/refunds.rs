//! Refunds and the lines they give back for.

use chrono::{DateTime, Utc};
use kit::types::{Fen, OrderId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{amount, broken};
use crate::domain::{Refund, RefundCause, RefundState};

#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct RefundRow {
    id: Uuid,
    order_id: Option<Uuid>,
    transaction_id: Option<String>,
    cause: String,
    fen: i64,
    state: String,
    attempt: i32,
    out_refund_no: String,
    requested_at: DateTime<Utc>,
    accepted_at: Option<DateTime<Utc>>,
    done_at: Option<DateTime<Utc>>,
}

/// Every column of a refund, for `FROM refund r`.
pub(crate) const REFUND: &str = "r.id, r.order_id, r.transaction_id, r.cause, r.fen, r.state,
    r.attempt, r.out_refund_no, r.requested_at, r.accepted_at, r.done_at";

impl RefundRow {
    pub(crate) fn refund(self) -> Result<Refund> {
        Ok(Refund {
            id: self.id,
            order: self.order_id.map(OrderId),
            transaction_id: self.transaction_id,
            cause: RefundCause::parse(&self.cause).ok_or_else(|| broken("a refund's cause"))?,
            fen: amount(self.fen)?,
            state: RefundState::parse(&self.state).ok_or_else(|| broken("a refund's state"))?,
            attempt: self.attempt,
            out_refund_no: self.out_refund_no,
            requested_at: self.requested_at,
            accepted_at: self.accepted_at,
            done_at: self.done_at,
        })
    }
}

async fn one(tx: &Tx, rest: &str, value: sea_orm::Value) -> Result<Option<Refund>> {
    let sql = format!("SELECT {REFUND} FROM refund r WHERE {rest}");
    tx.one::<RefundRow>(&sql, [value])
        .await?
        .map(RefundRow::refund)
        .transpose()
}

/// A refund, not locked.
///
/// # Errors
/// When the database fails.
pub async fn refund(tx: &Tx, id: Uuid) -> Result<Option<Refund>> {
    one(tx, "r.id = $1", id.into()).await
}

/// The refund with our number at the provider, not locked.
///
/// # Errors
/// When the database fails.
pub async fn refund_by_number(tx: &Tx, out_refund_no: &str) -> Result<Option<Refund>> {
    one(tx, "r.out_refund_no = $1", out_refund_no.into()).await
}

/// A refund, locked after its order.
///
/// # Errors
/// Not found.
pub async fn lock_refund(tx: &Tx, id: Uuid) -> Result<Refund> {
    one(tx, "r.id = $1 FOR UPDATE", id.into())
        .await?
        .ok_or(Error::NotFound)
}

/// What goes back for a line.
#[derive(Clone, Debug, FromQueryResult)]
pub struct RefundLine {
    pub refund: Uuid,
    pub line: Uuid,
    pub fen: i64,
    pub done: bool,
}

/// What was given back of each line of an order, in the order of requests and lines.
///
/// # Errors
/// When the database fails.
pub async fn refund_lines(tx: &Tx, order: OrderId) -> Result<Vec<RefundLine>> {
    tx.all(
        "SELECT rl.refund, rl.line, rl.fen, r.state = 'done' AS done
         FROM refund r JOIN refund_line rl ON rl.refund = r.id
         JOIN order_line l ON l.id = rl.line
         WHERE r.order_id = $1 ORDER BY r.requested_at, r.id, l.ordinal",
        [order.0.into()],
    )
    .await
}

/// A refund to be made.
#[derive(Clone, Debug)]
pub struct NewRefund {
    pub refund: Refund,
    pub lines: Vec<(Uuid, Fen)>,
}

/// Writes a refund down; `false` when it was before.
///
/// # Errors
/// When the database fails.
pub async fn insert_refund(tx: &Tx, new: &NewRefund) -> Result<bool> {
    let refund = &new.refund;
    let rows = tx
        .execute(
            "INSERT INTO refund (id, order_id, transaction_id, cause, fen, state, out_refund_no,
               requested_at, done_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING",
            [
                refund.id.into(),
                refund.order.map(|order| order.0).into(),
                refund.transaction_id.clone().into(),
                refund.cause.as_str().into(),
                refund.fen.get().into(),
                refund.state.as_str().into(),
                refund.out_refund_no.clone().into(),
                refund.requested_at.into(),
                refund.done_at.into(),
            ],
        )
        .await?;
    if rows == 0 {
        return Ok(false);
    }
    let lines: Vec<Uuid> = new.lines.iter().map(|(line, _)| *line).collect();
    let fens: Vec<i64> = new.lines.iter().map(|(_, fen)| fen.get()).collect();
    tx.execute(
        "INSERT INTO refund_line (refund, line, fen)
         SELECT $1, l, f FROM UNNEST($2::uuid[], $3::bigint[]) AS t (l, f)",
        [refund.id.into(), lines.into(), fens.into()],
    )
    .await?;
    Ok(true)
}

/// Writes a refund's state; what the provider calls it and why it is stuck, where known. A done
/// one is taken off what its receipt still owes.
///
/// # Errors
/// When the database fails or a constraint says no.
pub async fn save_refund(
    tx: &Tx,
    refund: &Refund,
    refund_id: Option<&str>,
    problem: Option<&str>,
) -> Result<()> {
    tx.execute(
        "UPDATE refund SET state = $2, attempt = $3, out_refund_no = $4,
           refund_id = COALESCE($5, refund_id), problem = $6, accepted_at = $7, done_at = $8
         WHERE id = $1",
        [
            refund.id.into(),
            refund.state.as_str().into(),
            refund.attempt.into(),
            refund.out_refund_no.clone().into(),
            refund_id.into(),
            problem.into(),
            refund.accepted_at.into(),
            refund.done_at.into(),
        ],
    )
    .await?;
    if let (RefundState::Done, Some(transaction_id)) = (refund.state, &refund.transaction_id) {
        tx.execute(
            "UPDATE receipt SET refunded_fen = refunded_fen + $2 WHERE transaction_id = $1",
            [transaction_id.clone().into(), refund.fen.get().into()],
        )
        .await?;
    }
    Ok(())
}

/// Corrects when the provider took a refund on.
///
/// # Errors
/// When the database fails.
pub async fn date_refund(tx: &Tx, id: Uuid, accepted_at: DateTime<Utc>) -> Result<()> {
    let sql = "UPDATE refund SET accepted_at = $2 WHERE id = $1";
    tx.execute(sql, [id.into(), accepted_at.into()]).await?;
    Ok(())
}

/// Keeps the number and the day of an attempt that the provider closed, once.
///
/// # Errors
/// When the database fails.
pub async fn add_closed_attempt(tx: &Tx, refund: &Refund) -> Result<()> {
    tx.execute(
        "INSERT INTO closed_attempt (refund, attempt, out_refund_no, accepted_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (refund, attempt) DO NOTHING",
        [
            refund.id.into(),
            refund.attempt.into(),
            refund.out_refund_no.clone().into(),
            refund.accepted_at.unwrap_or_else(|| tx.now()).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Whether this was our number of an attempt that the provider closed, to give so much of that
/// transaction back, and it is asked for under another number by now.
///
/// # Errors
/// When the database fails.
pub async fn is_closed_attempt(
    tx: &Tx,
    out_refund_no: &str,
    (transaction_id, fen): (&str, i64),
) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let sql = "SELECT EXISTS (
                 SELECT 1 FROM closed_attempt c JOIN refund r ON r.id = c.refund
                 WHERE c.out_refund_no = $1 AND r.out_refund_no <> $1
                   AND r.transaction_id = $2 AND r.fen = $3) AS found";
    let values = [out_refund_no.into(), transaction_id.into(), fen.into()];
    let row = tx.one::<Row>(sql, values).await?;
    Ok(row.is_some_and(|row| row.found))
}
