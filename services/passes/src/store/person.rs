//! All rows about one person: read for her, counted for what keeps her, and forgotten.

use kit::person::{Hold, Kept};
use kit::types::{EntitlementId, shanghai_date};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{lock_all, release_after};
use crate::domain::Pass;

/// What is kept of a person here, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn data_of_person(tx: &Tx, members: &[Uuid], rows_max: i64) -> Result<Vec<Kept>> {
    tx.all(
        "SELECT section, value FROM (
           SELECT 'pass' AS section, p.bought_at AS at, jsonb_build_object(
               'pass', p.id::text, 'product', v.name_zh, 'order', p.order_id,
               'price_fen', p.price_fen, 'state', p.state, 'bought_at', p.bought_at,
               'paid_at', p.paid_at, 'start', p.start_date, 'end', p.end_date) AS value
           FROM pass p JOIN product_version v
             ON v.product = p.product AND v.number = p.product_version
           WHERE p.member = ANY ($1)
           UNION ALL
           SELECT 'pass_refund', r.requested_at, jsonb_build_object(
               'pass', r.pass::text, 'cause', r.cause, 'state', r.state,
               'requested_at', r.requested_at, 'fee_fen', r.fee_fen, 'refund_fen', r.refund_fen)
           FROM refund r JOIN pass p ON p.id = r.pass WHERE p.member = ANY ($1)
           UNION ALL
           SELECT 'reserved_visit', n.made_at, jsonb_build_object(
               'pass', n.pass::text, 'venue', w.name_zh, 'date', n.date, 'state', n.state,
               'made_at', n.made_at)
           FROM reservation n JOIN pass p ON p.id = n.pass
           LEFT JOIN replica_venue w ON w.id = n.venue WHERE p.member = ANY ($1)
           UNION ALL
           SELECT 'visit', u.at, jsonb_build_object(
               'pass', u.pass::text, 'venue', w.name_zh, 'at', u.at, 'entry', u.entry,
               'persons', u.persons, 'voided', u.voided)
           FROM replica_use u JOIN pass p ON p.id = u.pass
           LEFT JOIN replica_venue w ON w.id = u.venue WHERE p.member = ANY ($1)
         ) AS kept ORDER BY at DESC, section LIMIT $2",
        [members.to_vec().into(), rows_max.into()],
    )
    .await
}

/// What is still open between a person and this service. What she paid for and an operator froze is
/// let go or ended by an operator first: forgotten, she would lose it and its price.
///
/// # Errors
/// When the database fails.
pub async fn holds_of_person(tx: &Tx, members: &[Uuid]) -> Result<Vec<Hold>> {
    tx.all(
        "SELECT 'awaiting_payment' AS kind, count(*) AS count FROM pass
         WHERE member = ANY ($1) AND state = 'awaiting_payment'
         UNION ALL
         SELECT 'open_refund', count(*) FROM refund r JOIN pass p ON p.id = r.pass
         WHERE p.member = ANY ($1) AND r.state IN ('counting', 'returned')
         UNION ALL
         SELECT 'frozen_pass', count(*) FROM pass
         WHERE member = ANY ($1) AND state = 'frozen' AND price_fen > 0",
        [members.to_vec().into()],
    )
    .await
}

/// The passes of a person, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock_of_person(tx: &Tx, members: &[Uuid]) -> Result<Vec<Pass>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: i64,
    }
    let rows = tx
        .all::<Row>(
            "SELECT id FROM pass WHERE member = ANY ($1)",
            [members.to_vec().into()],
        )
        .await?;
    let ids = rows.into_iter().map(|row| EntitlementId::from_i64(row.id));
    lock_all(tx, &ids.collect::<Vec<EntitlementId>>()).await
}

/// Removes where a person has been and what she asked for as an officer, and gives back the places
/// of visits to come.
///
/// # Errors
/// When the database fails.
pub async fn forget_person(tx: &Tx, members: &[Uuid]) -> Result<()> {
    let passes = lock_of_person(tx, members).await?;
    let passes: Vec<EntitlementId> = passes.into_iter().map(|pass| pass.id).collect();
    let ids: Vec<i64> = passes.iter().map(|id| id.to_i64()).collect();
    release_after(tx, &passes, shanghai_date(tx.now())).await?;
    tx.execute(
        "DELETE FROM replica_use WHERE pass = ANY ($1)",
        [ids.into()],
    )
    .await?;
    tx.execute(
        "DELETE FROM holder_list_count WHERE asker = ANY ($1)",
        [members.to_vec().into()],
    )
    .await?;
    Ok(())
}
