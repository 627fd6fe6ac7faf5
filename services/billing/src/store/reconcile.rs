//! Days that are compared with the provider's bill.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::day_start;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;

use super::amount;
use crate::domain::{BillKind, OwnEntry, Settled, Total};

/// What came of comparing a day.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub date: NaiveDate,
    pub bill_sha1: Option<String>,
    pub rows: usize,
    pub matched: usize,
    pub differences: usize,
    pub paid: Total,
    pub refunded: Total,
    pub fees: Total,
}

/// Notes that a day is to be compared, again or for the first time.
///
/// # Errors
/// When the database fails.
pub async fn ask_reconciliation(tx: &Tx, date: NaiveDate) -> Result<()> {
    tx.execute(
        "INSERT INTO reconciliation (date, state, asked_at) VALUES ($1, 'running', $2)
         ON CONFLICT (date) DO UPDATE SET state = 'running', asked_at = EXCLUDED.asked_at",
        [date.into(), tx.now().into()],
    )
    .await?;
    Ok(())
}

/// Whether a day has been compared, or work of this kind is planned for it.
///
/// # Errors
/// When the database fails.
pub async fn is_day_planned(tx: &Tx, date: NaiveDate, kind: &str) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM reconciliation WHERE date = $1 AND ran_at IS NOT NULL)
                 OR EXISTS (SELECT 1 FROM due WHERE kind = $2 AND subject = $3) AS found";
    let values = [date.into(), kind.into(), date.to_string().into()];
    Ok(tx
        .one::<Row>(sql, values)
        .await?
        .is_some_and(|row| row.found))
}

/// Writes what came of comparing a day.
///
/// # Errors
/// When the database fails.
pub async fn finish_reconciliation(tx: &Tx, outcome: &Outcome) -> Result<()> {
    let state = if outcome.differences == 0 {
        "clean"
    } else {
        "differences"
    };
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    tx.execute(
        "INSERT INTO reconciliation AS r (date, state, runs, bill_sha1, rows, matched,
           differences, paid_fen, refunded_fen, fee_fen, asked_at, ran_at)
         VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $10)
         ON CONFLICT (date) DO UPDATE SET state = EXCLUDED.state, runs = r.runs + 1,
           bill_sha1 = EXCLUDED.bill_sha1, rows = EXCLUDED.rows, matched = EXCLUDED.matched,
           differences = EXCLUDED.differences, paid_fen = EXCLUDED.paid_fen,
           refunded_fen = EXCLUDED.refunded_fen, fee_fen = EXCLUDED.fee_fen,
           ran_at = EXCLUDED.ran_at",
        [
            outcome.date.into(),
            state.into(),
            outcome.bill_sha1.clone().into(),
            count(outcome.rows).into(),
            count(outcome.matched).into(),
            count(outcome.differences).into(),
            outcome.paid.get().into(),
            outcome.refunded.get().into(),
            outcome.fees.get().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Explains the open differences of a day that a later comparison did not find again.
///
/// # Errors
/// When the database fails.
pub async fn close_differences(
    tx: &Tx,
    date: NaiveDate,
    still: Vec<String>,
    explanation: &str,
) -> Result<u64> {
    tx.execute(
        "UPDATE discrepancy SET state = 'explained', explanation = $3, explained_at = $4
         WHERE bill_date = $1 AND state = 'open' AND NOT (kind || '/' || subject = ANY ($2))
           AND kind <> 'fee_differs'",
        [
            date.into(),
            still.into(),
            explanation.into(),
            tx.now().into(),
        ],
    )
    .await
}

/// What our book says of a day: payments by when they were made, refunds by when the provider
/// took them on.
///
/// # Errors
/// When the database fails.
pub async fn own_movements(tx: &Tx, date: NaiveDate) -> Result<Vec<OwnEntry>> {
    #[derive(FromQueryResult)]
    struct Row {
        is_refund: bool,
        number: String,
        fen: i64,
        state: String,
    }
    let from: DateTime<Utc> = day_start(date);
    let until = date.succ_opt().map_or(from, day_start);
    let rows = tx
        .all::<Row>(
            "SELECT false AS is_refund, transaction_id AS number, fen, 'done' AS state
             FROM receipt WHERE paid_at >= $1 AND paid_at < $2
             UNION ALL
             SELECT true, out_refund_no, fen, state FROM refund
             WHERE accepted_at >= $1 AND accepted_at < $2 AND (state = 'done' OR NOT EXISTS (
               SELECT 1 FROM closed_attempt c WHERE c.out_refund_no = refund.out_refund_no))
             UNION ALL
             SELECT true, c.out_refund_no, r.fen, 'closed'
             FROM closed_attempt c JOIN refund r ON r.id = c.refund
             WHERE c.accepted_at >= $1 AND c.accepted_at < $2
               AND NOT (r.state = 'done' AND r.out_refund_no = c.out_refund_no)",
            [from.into(), until.into()],
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OwnEntry {
                kind: if row.is_refund {
                    BillKind::Refund
                } else {
                    BillKind::Payment
                },
                number: row.number,
                fen: amount(row.fen)?,
                settled: match row.state.as_str() {
                    "done" => Settled::Yes,
                    "abnormal" => Settled::Stuck,
                    "closed" => Settled::Never,
                    _ => Settled::NotYet,
                },
            })
        })
        .collect()
}
