//! Rows of `vault_kek` and `vault_check`, and every cell that a key-encrypting key (KEK) seals.

use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use crate::vault::Cell;
use crate::vault::kek::KeyId;

/// A column that a KEK seals. Its table has a column `kek`, which the database makes of it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    table: &'static str,
    column: &'static str,
    /// The row as its cell names it, in SQL.
    row: &'static str,
}

impl Place {
    /// Data keys of people: the only one of them that is large.
    pub const PEOPLE: Self = Self {
        table: "person",
        column: "data_key",
        row: "member",
    };

    /// Every column that a KEK seals.
    pub const ALL: [Self; 7] = [
        Self::PEOPLE,
        Self {
            table: "roster",
            column: "data_key",
            row: "id",
        },
        Self {
            table: "signing_key",
            column: "private",
            row: "lpad(to_hex(number), 32, '0')::uuid",
        },
        Self {
            table: "login_ticket",
            column: "subject",
            row: "id",
        },
        Self {
            table: "oidc_request",
            column: "sealed",
            row: "id",
        },
        Self {
            table: "recovery_phone",
            column: "phone",
            row: "id",
        },
        Self {
            table: "network_claim",
            column: "claim",
            row: "id",
        },
    ];

    /// The cell in a row.
    pub const fn cell(self, row: Uuid) -> Cell {
        Cell::new(self.table, self.column, row)
    }
}

/// A sealed cell.
#[derive(Clone, Debug, FromQueryResult)]
pub struct SealedRow {
    pub row: Uuid,
    pub sealed: Vec<u8>,
}

/// The next cells of a place that this KEK has sealed, after a row, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn sealed_by(
    tx: &Tx,
    place: Place,
    kek: KeyId,
    (after, rows_max): (Uuid, u32),
) -> Result<Vec<SealedRow>> {
    let Place { table, column, row } = place;
    let sql = format!(
        "SELECT {row} AS row, {column} AS sealed FROM {table}
         WHERE kek = $1 AND {row} > $2 ORDER BY {row} LIMIT $3 FOR NO KEY UPDATE"
    );
    let rows_max = i64::from(rows_max);
    let values = [kek.bytes().to_vec().into(), after.into(), rows_max.into()];
    tx.all(&sql, values).await
}

/// Writes what cells are sealed as now.
///
/// # Errors
/// When the database fails.
pub async fn save_sealed(tx: &Tx, place: Place, rows: &[SealedRow]) -> Result<()> {
    let Place { table, column, row } = place;
    let sql = format!(
        "UPDATE {table} SET {column} = u.wrapped
         FROM UNNEST($1::uuid[], $2::bytea[]) AS u (at, wrapped) WHERE {row} = u.at"
    );
    let at: Vec<Uuid> = rows.iter().map(|row| row.row).collect();
    let wrapped: Vec<Vec<u8>> = rows.iter().map(|row| row.sealed.clone()).collect();
    tx.execute(&sql, [at.into(), wrapped.into()]).await?;
    Ok(())
}

/// How many cells a KEK has sealed that are there.
///
/// # Errors
/// When the database fails.
pub async fn count_sealed_by(tx: &Tx, kek: KeyId) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Row {
        count: i64,
    }
    let counts: Vec<String> = Place::ALL
        .iter()
        .map(|place| format!("(SELECT count(*) FROM {} WHERE kek = $1)", place.table))
        .collect();
    let sql = format!("SELECT {} AS count", counts.join(" + "));
    let row = tx.one::<Row>(&sql, [kek.bytes().to_vec().into()]).await?;
    row.map(|row| row.count).ok_or_else(|| broken("count"))
}

/// A KEK in use, with what it must open.
#[derive(Clone, Debug)]
pub struct KekRow {
    pub id: KeyId,
    pub sealed: Vec<u8>,
}

/// The KEKs in use, the oldest first.
///
/// # Errors
/// When the database fails.
pub async fn keks(tx: &Tx) -> Result<Vec<KekRow>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Vec<u8>,
        sealed: Vec<u8>,
    }
    let rows = tx
        .all::<Row>(
            "SELECT id, sealed FROM vault_kek ORDER BY created_at, id",
            [],
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(KekRow {
                id: KeyId::stored(&row.id).ok_or_else(|| broken("KEK"))?,
                sealed: row.sealed,
            })
        })
        .collect()
}

/// Notes a KEK as in use.
///
/// # Errors
/// When the database fails.
pub async fn insert_kek(tx: &Tx, kek: &KekRow) -> Result<()> {
    tx.execute(
        "INSERT INTO vault_kek (id, sealed, created_at) VALUES ($1, $2, $3)",
        [
            kek.id.bytes().to_vec().into(),
            kek.sealed.clone().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Drops a KEK that nothing is sealed by any more; whether it was there.
///
/// # Errors
/// When the database fails, or against the constraint `…_kek_fkey` of a table with a row that it
/// has sealed.
pub async fn drop_kek(tx: &Tx, kek: KeyId) -> Result<bool> {
    let sql = "DELETE FROM vault_kek WHERE id = $1";
    Ok(tx.execute(sql, [kek.bytes().to_vec().into()]).await? > 0)
}

/// The value by which the keys that are no KEK are known again, made from `new` when there is
/// none yet. Its row stays locked, so that of two processes that start the second one sees what
/// the first has written.
///
/// # Errors
/// When the database fails.
pub async fn lock_check(tx: &Tx, new: &[u8]) -> Result<Vec<u8>> {
    #[derive(FromQueryResult)]
    struct Row {
        blind: Vec<u8>,
    }
    tx.execute(
        "INSERT INTO vault_check (id, blind) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
        [new.to_vec().into()],
    )
    .await?;
    let sql = "SELECT blind FROM vault_check WHERE id = 1 FOR UPDATE";
    let row = tx.one::<Row>(sql, []).await?;
    row.map(|row| row.blind)
        .ok_or_else(|| broken("vault check"))
}

/// The value as it is, for who only looks.
///
/// # Errors
/// When the database fails.
pub async fn check(tx: &Tx) -> Result<Option<Vec<u8>>> {
    #[derive(FromQueryResult)]
    struct Row {
        blind: Vec<u8>,
    }
    let sql = "SELECT blind FROM vault_check WHERE id = 1";
    Ok(tx.one::<Row>(sql, []).await?.map(|row| row.blind))
}
