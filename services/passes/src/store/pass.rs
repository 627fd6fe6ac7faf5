//! Passes: loading them locked, in the order of their ids, and writing many at once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kit::types::{EntitlementId, MemberId, OrderId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::pass_rows::{COLUMNS, PassRow, RefundColumns, state_names};
use crate::domain::Pass;

fn select(rest: &str) -> String {
    format!(
        "SELECT {COLUMNS} FROM pass p
         LEFT JOIN refund r ON r.pass = p.id AND r.ordinal = p.refund {rest}"
    )
}

/// A pass as it stands, not locked.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: EntitlementId) -> Result<Option<Pass>> {
    let row = tx
        .one::<PassRow>(&select("WHERE p.id = $1"), [id.to_i64().into()])
        .await?;
    row.map(PassRow::pass).transpose()
}

/// A pass, locked.
///
/// # Errors
/// Not found.
pub async fn lock(tx: &Tx, id: EntitlementId) -> Result<Pass> {
    lock_all(tx, &[id]).await?.pop().ok_or(Error::NotFound)
}

#[derive(FromQueryResult)]
struct IdRow {
    id: i64,
}

/// Passes, locked in the order of their ids. The lock comes first and the rows are read behind
/// it, since a row that was waited for must be read as its last writer left it, its refund too.
///
/// # Errors
/// When the database fails.
pub async fn lock_all(tx: &Tx, ids: &[EntitlementId]) -> Result<Vec<Pass>> {
    let mut ids: Vec<i64> = ids.iter().map(|id| id.to_i64()).collect();
    ids.sort_unstable();
    ids.dedup();
    let locked = tx
        .all::<IdRow>(
            "SELECT id FROM pass WHERE id = ANY ($1) ORDER BY id FOR UPDATE",
            [ids.into()],
        )
        .await?;
    let ids: Vec<i64> = locked.into_iter().map(|row| row.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = select("WHERE p.id = ANY ($1) ORDER BY p.id");
    let rows = tx.all::<PassRow>(&sql, [ids.into()]).await?;
    rows.into_iter().map(PassRow::pass).collect()
}

/// The passes of these orders, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock_by_orders(tx: &Tx, orders: &[OrderId]) -> Result<Vec<Pass>> {
    let orders: Vec<Uuid> = orders.iter().map(|order| order.0).collect();
    let found = tx
        .all::<IdRow>(
            "SELECT id FROM pass WHERE order_id = ANY ($1)",
            [orders.into()],
        )
        .await?;
    let ids: Vec<EntitlementId> = found
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.id))
        .collect();
    lock_all(tx, &ids).await
}

/// Passes by their ids, not locked.
///
/// # Errors
/// When the database fails.
pub async fn load_all(tx: &Tx, ids: &[EntitlementId]) -> Result<BTreeMap<EntitlementId, Pass>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.to_i64()).collect();
    let rows = tx
        .all::<PassRow>(&select("WHERE p.id = ANY ($1)"), [ids.into()])
        .await?;
    rows.into_iter()
        .map(|row| row.pass().map(|pass| (pass.id, pass)))
        .collect()
}

/// Passes by id in steps of `limit`, after `after`, locked: how a resync walks the table.
///
/// # Errors
/// When the database fails.
pub async fn lock_after(tx: &Tx, after: Option<i64>, limit: i64) -> Result<Vec<Pass>> {
    let found = tx
        .all::<IdRow>(
            "SELECT id FROM pass WHERE $1::bigint IS NULL OR id > $1 ORDER BY id LIMIT $2",
            [after.into(), limit.into()],
        )
        .await?;
    let ids: Vec<EntitlementId> = found
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.id))
        .collect();
    lock_all(tx, &ids).await
}

/// Which of these passes are continued by another one already.
///
/// # Errors
/// When the database fails.
pub async fn renewed(tx: &Tx, ids: &[EntitlementId]) -> Result<Vec<EntitlementId>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.to_i64()).collect();
    let rows = tx
        .all::<IdRow>(
            "SELECT renewing AS id FROM pass WHERE renewing = ANY ($1)",
            [ids.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.id))
        .collect())
}

/// All persons that are this member: she and those that were merged into her.
///
/// # Errors
/// When the database fails.
pub async fn persons(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "WITH RECURSIVE person (id) AS (
               SELECT $1::uuid
               UNION SELECT r.id FROM person JOIN replica_member r ON r.merged_into = person.id)
             SELECT id FROM person",
            [member.0.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Writes one changed pass.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, pass: &Pass) -> Result<()> {
    save_all(tx, std::slice::from_ref(pass)).await
}

/// Writes changed passes, which must be locked, and the state of their last refunds.
///
/// # Errors
/// When the database fails, or a pass was changed by somebody else.
pub async fn save_all(tx: &Tx, passes: &[Pass]) -> Result<()> {
    if passes.is_empty() {
        return Ok(());
    }
    let text = |read: fn(&Pass) -> String| -> Vec<String> { passes.iter().map(read).collect() };
    let refunds = passes
        .iter()
        .map(|pass| pass.refund().map_or(Ok(0), |refund| small(refund.ordinal)))
        .collect::<Result<Vec<i32>>>()?;
    let written = tx
        .execute(
            "UPDATE pass p SET version = t.version, state = t.state, hold = NULLIF(t.hold, ''),
               paid_at = NULLIF(t.paid_at, '')::timestamptz,
               activate_by = NULLIF(t.activate_by, '')::date,
               start_date = NULLIF(t.start_date, '')::date,
               end_date = NULLIF(t.end_date, '')::date,
               reason = NULLIF(t.reason, ''), refund = t.refund, changed_at = $11,
               generation = t.generation,
               renewing = CASE WHEN t.state IN ('lapsed', 'refunded', 'voided', 'forfeited')
                 THEN NULL ELSE p.renewing END
             FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[],
                 $6::text[], $7::text[], $8::text[], $9::text[], $10::int[], $12::int[])
               AS t (id, version, state, hold, paid_at, activate_by, start_date, end_date,
                 reason, refund, generation)
             WHERE p.id = t.id AND p.version < t.version",
            [
                passes
                    .iter()
                    .map(|pass| pass.id.to_i64())
                    .collect::<Vec<i64>>()
                    .into(),
                passes
                    .iter()
                    .map(|pass| pass.version)
                    .collect::<Vec<i64>>()
                    .into(),
                text(|pass| state_names(&pass.state).0.to_owned()).into(),
                text(|pass| state_names(&pass.state).1.to_owned()).into(),
                text(|pass| pass.paid_at().map(|at| at.to_rfc3339()).unwrap_or_default()).into(),
                text(|pass| optional(pass.activate_by())).into(),
                text(|pass| optional(pass.window().map(|window| window.start()))).into(),
                text(|pass| optional(pass.window().map(|window| window.end()))).into(),
                text(|pass| pass.reason().unwrap_or_default().to_owned()).into(),
                refunds.into(),
                tx.now().into(),
                passes
                    .iter()
                    .map(|pass| i32::from(pass.generation))
                    .collect::<Vec<i32>>()
                    .into(),
            ],
        )
        .await?;
    if written != u64::try_from(passes.len()).unwrap_or(u64::MAX) {
        return Err(Error::internal("a pass was changed behind its lock"));
    }
    save_refunds(tx, passes).await
}

/// How often the code of a pass was issued again since `since`.
///
/// # Errors
/// When the database fails.
pub async fn reissued_since(tx: &Tx, id: EntitlementId, since: DateTime<Utc>) -> Result<u32> {
    #[derive(FromQueryResult)]
    struct Row {
        times: i64,
    }
    let row = tx
        .one::<Row>(
            "SELECT count(*) AS times FROM reissue WHERE pass = $1 AND at > $2",
            [id.to_i64().into(), since.into()],
        )
        .await?;
    u32::try_from(row.map_or(0, |row| row.times)).map_err(|_| Error::internal("too many reissues"))
}

/// Notes that the code of a pass was issued again, in the generation it has now.
///
/// # Errors
/// When the database fails, or that generation was issued before.
pub async fn add_reissue(tx: &Tx, pass: &Pass) -> Result<()> {
    tx.execute(
        "INSERT INTO reissue (pass, generation, at) VALUES ($1, $2, $3)",
        [
            pass.id.to_i64().into(),
            i16::from(pass.generation).into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn small(value: u32) -> Result<i32> {
    i32::try_from(value).map_err(|_| Error::internal("a number is too large for its column"))
}

async fn save_refunds(tx: &Tx, passes: &[Pass]) -> Result<()> {
    let refunds = passes
        .iter()
        .filter_map(|pass| Some((pass, pass.refund()?)))
        .map(|(pass, refund)| RefundColumns::of(pass, refund))
        .collect::<Result<Vec<RefundColumns>>>()?;
    if refunds.is_empty() {
        return Ok(());
    }
    let text = |read: fn(&RefundColumns) -> &str| -> Vec<String> {
        refunds
            .iter()
            .map(|columns| read(columns).to_owned())
            .collect()
    };
    let long = |read: fn(&RefundColumns) -> i64| -> Vec<i64> { refunds.iter().map(read).collect() };
    tx.execute(
        "INSERT INTO refund AS r (pass, ordinal, return_id, cause, requested_at, state,
           freeze_version, answered, uses, fee_fen, refund_fen, refusal)
         SELECT pass, ordinal, return_id, cause, requested_at::timestamptz, state,
           NULLIF(freeze_version, 0), answered, NULLIF(uses, -1)::int, NULLIF(fee_fen, -1),
           NULLIF(refund_fen, -1), NULLIF(refusal, '')
         FROM UNNEST($1::bigint[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::text[],
             $7::bigint[], $8::bool[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
           AS t (pass, ordinal, return_id, cause, requested_at, state, freeze_version, answered,
             uses, fee_fen, refund_fen, refusal)
         ON CONFLICT (pass, ordinal) DO UPDATE SET state = EXCLUDED.state,
           freeze_version = COALESCE(EXCLUDED.freeze_version, r.freeze_version),
           answered = r.answered OR EXCLUDED.answered, uses = EXCLUDED.uses,
           fee_fen = EXCLUDED.fee_fen, refund_fen = EXCLUDED.refund_fen,
           refusal = EXCLUDED.refusal",
        [
            long(|columns| columns.pass).into(),
            refunds
                .iter()
                .map(|columns| columns.ordinal)
                .collect::<Vec<i32>>()
                .into(),
            refunds
                .iter()
                .map(|columns| columns.return_id)
                .collect::<Vec<Uuid>>()
                .into(),
            text(|columns| columns.cause).into(),
            text(|columns| &columns.requested_at).into(),
            text(|columns| columns.state).into(),
            long(|columns| columns.freeze_version).into(),
            refunds
                .iter()
                .map(|columns| columns.answered)
                .collect::<Vec<bool>>()
                .into(),
            long(|columns| columns.uses).into(),
            long(|columns| columns.fee_fen).into(),
            long(|columns| columns.refund_fen).into(),
            text(|columns| columns.refusal).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes new passes, in the order of their ids.
///
/// # Errors
/// When a constraint says no, or the database fails.
pub async fn insert(tx: &Tx, passes: &[Pass]) -> Result<()> {
    if passes.is_empty() {
        return Ok(());
    }
    let mut passes: Vec<&Pass> = passes.iter().collect();
    passes.sort_by_key(|pass| pass.id.to_i64());
    let uuids =
        |read: fn(&Pass) -> Uuid| -> Vec<Uuid> { passes.iter().map(|pass| read(pass)).collect() };
    let longs =
        |read: fn(&Pass) -> i64| -> Vec<i64> { passes.iter().map(|pass| read(pass)).collect() };
    let ints = |read: fn(&Pass) -> u32| -> Result<Vec<i32>> {
        passes.iter().map(|pass| small(read(pass))).collect()
    };
    tx.execute(
        "INSERT INTO pass (id, version, product, product_version, scope, member, order_id,
           line_id, price_fen, renews, renewing, bought_at, close_at, state, hold, changed_at)
         SELECT id, 1, product, version, scope, member, order_id, line_id, price, NULLIF(renews, 0),
           NULLIF(renews, 0), $10, close_at::timestamptz, 'awaiting_payment', 'held', $10
         FROM UNNEST($1::bigint[], $2::uuid[], $3::int[], $4::int[], $5::uuid[], $6::uuid[],
             $7::uuid[], $8::bigint[], $9::bigint[], $11::text[])
           AS t (id, product, version, scope, member, order_id, line_id, price, renews, close_at)",
        [
            longs(|pass| pass.id.to_i64()).into(),
            uuids(|pass| pass.product.0).into(),
            ints(|pass| pass.product_version)?.into(),
            ints(|pass| pass.scope)?.into(),
            uuids(|pass| pass.member.0).into(),
            uuids(|pass| pass.order.0).into(),
            uuids(|pass| pass.line).into(),
            longs(|pass| pass.price.get()).into(),
            longs(|pass| pass.renews.map_or(0, EntitlementId::to_i64)).into(),
            tx.now().into(),
            passes
                .iter()
                .map(|pass| pass.close_at.to_rfc3339())
                .collect::<Vec<_>>()
                .into(),
        ],
    )
    .await?;
    Ok(())
}
