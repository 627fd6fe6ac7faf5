//! The numbers that people quote for orders (受理号), as billing tells them.

use kit::types::OrderId;
use kit::{Result, Tx};
use uuid::Uuid;

/// An order's number, with the epoch of the log that told it.
#[derive(Clone, Debug)]
pub(crate) struct NumberedOrder {
    pub(crate) order: OrderId,
    pub(crate) number: String,
    pub(crate) epoch: i64,
}

/// Keeps numbers. An order never changes its number, so only a later epoch is believed instead.
pub(crate) async fn save_numbers(tx: &Tx, orders: &[NumberedOrder]) -> Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = orders.iter().map(|one| one.order.uuid()).collect();
    let numbers: Vec<String> = orders.iter().map(|one| one.number.clone()).collect();
    let epochs: Vec<i64> = orders.iter().map(|one| one.epoch).collect();
    tx.execute(
        "INSERT INTO order_number AS n (order_id, number, epoch)
         SELECT DISTINCT ON (i) i, m, e
         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[]) AS t (i, m, e) ORDER BY i, e DESC
         ON CONFLICT (order_id) DO UPDATE SET number = EXCLUDED.number, epoch = EXCLUDED.epoch
         WHERE n.epoch < EXCLUDED.epoch",
        [ids.into(), numbers.into(), epochs.into()],
    )
    .await?;
    Ok(())
}
