//! All rows about one person: read for her, counted for what keeps her, and forgotten.

use kit::person::{Hold, Kept};
use kit::{Result, Tx};
use uuid::Uuid;

/// What is kept of a person here, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn data_of_person(tx: &Tx, members: &[Uuid], rows_max: i64) -> Result<Vec<Kept>> {
    tx.all(
        "SELECT section, value FROM (
           SELECT 'order' AS section, o.created_at AS at, jsonb_build_object(
               'order', o.id, 'number', o.number, 'state', o.state, 'total_fen', o.total_fen,
               'paid_fen', o.paid_fen, 'refunded_fen', o.refunded_fen,
               'created_at', o.created_at, 'paid_at', o.paid_at, 'closed_at', o.closed_at) AS value
           FROM orders o WHERE o.member = ANY ($1)
           UNION ALL
           SELECT 'order_line', o.created_at, jsonb_build_object(
               'order', o.id, 'number', o.number, 'title', l.title_zh, 'price_fen', l.price_fen,
               'returned_fen', l.returned_fen)
           FROM order_line l JOIN orders o ON o.id = l.order_id WHERE l.member = ANY ($1)
           UNION ALL
           SELECT 'payment', y.created_at, jsonb_build_object(
               'order', y.order_id, 'method', y.method, 'fen', y.fen, 'state', y.state,
               'out_trade_no', y.out_trade_no, 'created_at', y.created_at,
               'ended_at', y.ended_at)
           FROM payment y WHERE y.payer = ANY ($1)
           UNION ALL
           SELECT 'refund', r.requested_at, jsonb_build_object(
               'order', r.order_id, 'cause', r.cause, 'fen', r.fen, 'state', r.state,
               'requested_at', r.requested_at, 'done_at', r.done_at)
           FROM refund r JOIN orders o ON o.id = r.order_id WHERE o.member = ANY ($1)
         ) AS kept ORDER BY at DESC, section LIMIT $2",
        [members.to_vec().into(), rows_max.into()],
    )
    .await
}

/// What is still open between a person and this service.
///
/// # Errors
/// When the database fails.
pub async fn holds_of_person(tx: &Tx, members: &[Uuid]) -> Result<Vec<Hold>> {
    tx.all(
        "WITH hers AS (
           SELECT id FROM orders WHERE member = ANY ($1)
           UNION SELECT order_id FROM order_line WHERE member = ANY ($1))
         SELECT 'open_order' AS kind, count(*) AS count FROM orders
         WHERE id IN (SELECT id FROM hers) AND state = 'open'
         UNION ALL
         SELECT 'open_share', count(*) FROM line_share s JOIN order_line l ON l.id = s.line
         JOIN orders o ON o.id = l.order_id
         WHERE (s.payer_member = ANY ($1) OR l.member = ANY ($1)) AND s.state = 'open'
           AND o.state <> 'closed'
         UNION ALL
         SELECT 'open_refund', count(*) FROM refund
         WHERE order_id IN (SELECT id FROM hers) AND state <> 'done'",
        [members.to_vec().into()],
    )
    .await
}

/// Removes what was only for paying; nothing that is money goes.
///
/// # Errors
/// When the database fails.
pub async fn forget_person(tx: &Tx, members: &[Uuid]) -> Result<()> {
    tx.execute(
        "UPDATE payment SET code_url = NULL
         WHERE payer = ANY ($1) AND ended_at IS NOT NULL AND code_url IS NOT NULL",
        [members.to_vec().into()],
    )
    .await?;
    Ok(())
}
