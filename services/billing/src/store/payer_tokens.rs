//! Which tokens that name a payer were used, and for which payment.

use chrono::{DateTime, TimeDelta, Utc};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;

/// How long it is remembered beyond its time that a token was used, in hours: more than two clocks
/// of one union can differ by.
const KEPT_HOURS: i64 = 1;
/// Rows that are forgotten by one that is added, at most.
const FORGOTTEN_MAX: i64 = 10;

/// Uses a token for a payment; `false` when it was used for another. Two at once wait for each
/// other at its row.
///
/// # Errors
/// When the database fails.
pub async fn use_payer_token(
    tx: &Tx,
    (token, expires_at): (Uuid, DateTime<Utc>),
    payment: Uuid,
) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        payment: Uuid,
    }
    let added = tx
        .execute(
            "INSERT INTO payer_token (id, payment, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO NOTHING",
            [token.into(), payment.into(), expires_at.into()],
        )
        .await?;
    if added == 1 {
        forget(tx).await?;
        return Ok(true);
    }
    let row = tx
        .one::<Row>(
            "SELECT payment FROM payer_token WHERE id = $1",
            [token.into()],
        )
        .await?;
    row.map(|row| row.payment == payment)
        .ok_or_else(|| broken("a payer's token"))
}

/// Forgets a few tokens whose time has long been over, so that they never pile up.
async fn forget(tx: &Tx) -> Result<()> {
    let over = tx.now() - TimeDelta::hours(KEPT_HOURS);
    tx.execute(
        "DELETE FROM payer_token WHERE id IN (
           SELECT id FROM payer_token WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
           FOR UPDATE SKIP LOCKED)",
        [over.into(), FORGOTTEN_MAX.into()],
    )
    .await?;
    Ok(())
}
