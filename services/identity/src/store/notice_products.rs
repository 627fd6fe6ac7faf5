//! Rows of `notice_product`: what passes are called, as passes says.

use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

/// What a kind of pass is called.
#[derive(Clone, Debug)]
pub struct Product {
    pub id: Uuid,
    pub epoch: i64,
    pub version: i64,
    pub scope: u32,
    pub name_zh: String,
    pub name_en: String,
}

/// Keeps each that is newer than what is known.
///
/// # Errors
/// When the database fails.
pub async fn put_product(tx: &Tx, product: &Product) -> Result<()> {
    tx.execute(
        "INSERT INTO notice_product AS p (id, epoch, version, scope, name_zh, name_en)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en
         WHERE (p.epoch, p.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            product.id.into(),
            product.epoch.into(),
            product.version.into(),
            i64::from(product.scope).into(),
            product.name_zh.clone().into(),
            product.name_en.clone().into(),
        ],
    )
    .await?;
    Ok(())
}

/// The product of this scope, when it is known.
///
/// # Errors
/// When the database fails.
pub async fn product_of_scope(tx: &Tx, scope: u32) -> Result<Option<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let sql = "SELECT id FROM notice_product WHERE scope = $1";
    let row = tx.one::<Id>(sql, [i64::from(scope).into()]).await?;
    Ok(row.map(|row| row.id))
}
