//! Addresses that take or give one file. Each works once, until its time, and a newer one takes
//! the place of those like it that nobody used: that stands here alone, for the three tables of
//! rosters, copies and files with names. Of an address its hash is kept, and nothing else.

use chrono::{DateTime, Utc};
use kit::{Result, Tx};
use sea_orm::{FromQueryResult, Value};

use super::people::Blind;

/// What an address is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Roster,
    Copy,
    Rendering,
}

impl Of {
    pub const ALL: [Self; 3] = [Self::Roster, Self::Copy, Self::Rendering];

    const fn table(self) -> &'static str {
        match self {
            Self::Roster => "roster_address",
            Self::Copy => "export_address",
            Self::Rendering => "rendering_address",
        }
    }
}

/// A column and what stands in it.
pub type Cell = (&'static str, Value);

/// Adds an address; those that nobody used and that are the `same` count no more.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    tx: &Tx,
    of: Of,
    hash: &Blind,
    (same, more): (Vec<Cell>, Vec<Cell>),
) -> Result<()> {
    let table = of.table();
    let alike: Vec<String> = (1..)
        .zip(&same)
        .map(|(at, (column, _))| format!("{column} = ${at}"))
        .collect();
    let sql = format!(
        "DELETE FROM {table} WHERE used_at IS NULL AND {}",
        alike.join(" AND ")
    );
    let values: Vec<Value> = same.iter().map(|(_, value)| value.clone()).collect();
    tx.execute(&sql, values).await?;
    let hash = ("hash", Value::from(hash.to_vec()));
    let (columns, values): (Vec<&str>, Vec<Value>) =
        std::iter::once(hash).chain(same).chain(more).unzip();
    let places: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let sql = format!(
        "INSERT INTO {table} ({}) VALUES ({})",
        columns.join(", "),
        places.join(", ")
    );
    tx.execute(&sql, values).await?;
    Ok(())
}

/// Uses an address up and reads these columns of it; `None` for one that was used, is over, or is
/// none. Who comes second waits for the first one's transaction and then finds it used.
///
/// # Errors
/// When the database fails.
pub async fn use_up<R: FromQueryResult>(
    tx: &Tx,
    of: Of,
    hash: &Blind,
    columns: &str,
) -> Result<Option<R>> {
    let table = of.table();
    let sql = format!(
        "UPDATE {table} SET used_at = $2
         WHERE hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING {columns}"
    );
    tx.one(&sql, [hash.to_vec().into(), tx.now().into()]).await
}

/// Removes addresses that ended before `before`; how many those were.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    let mut removed = 0;
    for of in Of::ALL {
        let sql = format!("DELETE FROM {} WHERE expires_at < $1", of.table());
        removed += tx.execute(&sql, [before.into()]).await?;
    }
    Ok(removed)
}
