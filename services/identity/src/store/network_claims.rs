//! Rows of `network_claim`: claims of a record by 网号 of which the service of the state has not said
//! yet whose they are.

use chrono::{DateTime, Utc};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

/// A claim that is to be asked about, sealed by the key-encryption key.
#[derive(Clone, Debug, FromQueryResult)]
pub struct NetworkClaimRow {
    pub id: Uuid,
    pub claim: Vec<u8>,
    /// When it is no longer asked about.
    pub expires_at: DateTime<Utc>,
}

/// Adds one.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &Tx, row: NetworkClaimRow) -> Result<()> {
    tx.execute(
        "INSERT INTO network_claim (id, claim, expires_at) VALUES ($1, $2, $3)",
        [row.id.into(), row.claim.into(), row.expires_at.into()],
    )
    .await?;
    Ok(())
}

/// One that waits, not locked.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &Tx, id: Uuid) -> Result<Option<NetworkClaimRow>> {
    let sql = "SELECT id, claim, expires_at FROM network_claim WHERE id = $1";
    tx.one(sql, [id.into()]).await
}

/// Forgets one; whether it was there: who comes second finds none.
///
/// # Errors
/// When the database fails.
pub async fn remove(tx: &Tx, id: Uuid) -> Result<bool> {
    let sql = "DELETE FROM network_claim WHERE id = $1";
    Ok(tx.execute(sql, [id.into()]).await? > 0)
}
