//! The ledger and the timeline: both are only ever added to.

use chrono::{DateTime, Utc};
use kit::types::{Fen, OrderId};
use kit::{Db, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{amount, broken};
use crate::domain::{Step, Total, Transfer};

/// Writes transfers. A cause that was booked before is a contradiction and undoes the command.
///
/// # Errors
/// When a cause was booked before, by the constraint `transfer_cause_once`.
pub async fn book_transfers(tx: &Tx, transfers: &[Transfer]) -> Result<()> {
    if transfers.is_empty() {
        return Ok(());
    }
    let orders: Vec<Uuid> = transfers
        .iter()
        .map(|one| one.order.map(|id| id.0).unwrap_or_default())
        .collect();
    tx.execute(
        "INSERT INTO transfer (cause, debit, credit, fen, order_id, at)
         SELECT c, d, k, f, NULLIF(o, $6), $7
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::uuid[])
           AS t (c, d, k, f, o)",
        [
            transfers
                .iter()
                .map(|one| one.cause.clone())
                .collect::<Vec<_>>()
                .into(),
            transfers
                .iter()
                .map(|one| one.debit.as_str().to_owned())
                .collect::<Vec<_>>()
                .into(),
            transfers
                .iter()
                .map(|one| one.credit.as_str().to_owned())
                .collect::<Vec<_>>()
                .into(),
            transfers
                .iter()
                .map(|one| one.fen.get())
                .collect::<Vec<_>>()
                .into(),
            orders.into(),
            Uuid::nil().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// How often fees were booked under these causes, and how much of them in all.
///
/// # Errors
/// When the database fails.
pub async fn booked_fees(tx: &Tx, causes: Vec<String>) -> Result<(usize, Total)> {
    #[derive(FromQueryResult)]
    struct Row {
        times: i64,
        fen: i64,
    }
    let sql = "SELECT count(*) AS times, COALESCE(sum(
                 CASE WHEN debit = 'provider_fees' THEN fen ELSE -fen END), 0)::bigint AS fen
               FROM transfer WHERE cause = ANY ($1)";
    let row = tx.one::<Row>(sql, [causes.into()]).await?;
    let row = row.ok_or_else(|| broken("the booked fees"))?;
    let times = usize::try_from(row.times).map_err(|_| broken("the booked fees"))?;
    Ok((times, Total::new(row.fen)))
}

/// Adds a step to an order's timeline.
///
/// # Errors
/// When the database fails.
pub async fn step(tx: &Tx, order: OrderId, step: Step, fen: Option<Fen>) -> Result<()> {
    tx.execute(
        "INSERT INTO order_step (order_id, at, code, fen) VALUES ($1, $2, $3, $4)",
        [
            order.0.into(),
            tx.now().into(),
            step.code().into(),
            fen.map(Fen::get).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Begins the timelines of orders that were taken in together.
///
/// # Errors
/// When the database fails.
pub async fn first_steps(tx: &Tx, orders: &[(OrderId, Fen)], step: Step) -> Result<()> {
    let ids: Vec<Uuid> = orders.iter().map(|(id, _)| id.0).collect();
    let totals: Vec<i64> = orders.iter().map(|(_, total)| total.get()).collect();
    tx.execute(
        "INSERT INTO order_step (order_id, at, code, fen)
         SELECT o, $3, $4, f FROM UNNEST($1::uuid[], $2::bigint[]) AS t (o, f)",
        [
            ids.into(),
            totals.into(),
            tx.now().into(),
            step.code().into(),
        ],
    )
    .await?;
    Ok(())
}

/// The timeline of an order.
///
/// # Errors
/// When the database fails.
pub async fn steps(db: &Db, order: OrderId) -> Result<Vec<(DateTime<Utc>, Step, Option<Fen>)>> {
    #[derive(FromQueryResult)]
    struct Row {
        at: DateTime<Utc>,
        code: String,
        fen: Option<i64>,
    }
    let sql = "SELECT at, code, fen FROM order_step WHERE order_id = $1 ORDER BY id LIMIT 1000";
    let rows = db.all::<Row>(sql, [order.0.into()]).await?;
    rows.into_iter()
        .map(|row| {
            let step = Step::from_code(&row.code).ok_or_else(|| broken("a step"))?;
            Ok((row.at, step, row.fen.map(amount).transpose()?))
        })
        .collect()
}
