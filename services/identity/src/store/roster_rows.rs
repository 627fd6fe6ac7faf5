//! Rows of `roster_row`: what stands in a row of a file is sealed under the roster's key, and
//! nothing else of it is stored.

use std::collections::HashMap;

use kit::{Error, Ids, Result, Tx};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::broken;
use crate::domain::roster::Change;
use crate::roster::{Cells, Code, Column, Finding};
use crate::vault::{Cell, SealingKey};

/// Rows read at once while a whole roster is walked: all of them.
const ROWS_MAX: i64 = 1_000_000;

/// What stands in a row, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub cells: Cells,
    pub findings: Vec<Finding>,
}

/// A row as it is stored.
#[derive(Clone, Debug)]
pub struct RosterRow {
    pub place: i32,
    pub change: Change,
    /// Sealed; none for who leaves, and after the end.
    pub sealed: Option<Vec<u8>>,
    pub member: Option<Uuid>,
    pub membership: Option<Uuid>,
}

/// A row within its ciphertext. Names and order are part of what is stored.
#[derive(Serialize, Deserialize)]
struct Plain {
    name: String,
    document_type: String,
    document_number: String,
    phone: String,
    findings: Vec<PlainFinding>,
}

#[derive(Serialize, Deserialize)]
struct PlainFinding {
    code: String,
    column: Option<String>,
    repair: Option<String>,
    other_row: Option<u32>,
}

fn cell(roster: Uuid, place: i32) -> Cell {
    let ordinal = u32::try_from(place).unwrap_or_default();
    Cell::new("roster_row", "sealed", Ids::derive(roster, "row", ordinal))
}

/// Seals what stands in a row.
///
/// # Errors
/// When it cannot be sealed.
pub fn seal(
    ids: &Ids,
    key: &SealingKey,
    roster: Uuid,
    place: i32,
    content: &Content,
) -> Result<Vec<u8>> {
    let cells = &content.cells;
    let findings = content.findings.iter().map(|finding| PlainFinding {
        code: finding.code.name().to_owned(),
        column: finding.column.map(|column| column.code().to_owned()),
        repair: finding.repair.clone(),
        other_row: finding.other_row,
    });
    let plain = Plain {
        name: cells.name.clone(),
        document_type: cells.document_type.clone(),
        document_number: cells.document_number.clone(),
        phone: cells.phone.clone(),
        findings: findings.collect(),
    };
    let bytes = serde_json::to_vec(&plain)
        .map_err(|_| Error::internal("a row of a roster cannot be written"))?;
    key.seal(ids, cell(roster, place), &bytes)
}

/// Opens what [`seal`] sealed.
///
/// # Errors
/// When the key is another, or it was moved.
pub fn open(key: &SealingKey, roster: Uuid, row: &RosterRow) -> Result<Content> {
    let broken = || broken("row of a roster");
    let sealed = row.sealed.as_deref().ok_or_else(broken)?;
    let bytes = key.open(cell(roster, row.place), sealed)?;
    let plain: Plain = serde_json::from_slice(&bytes).map_err(|_| broken())?;
    let mut findings = Vec::with_capacity(plain.findings.len());
    for finding in plain.findings {
        let column = match &finding.column {
            None => None,
            Some(code) => Some(Column::from_code(code).ok_or_else(broken)?),
        };
        findings.push(Finding {
            code: Code::from_name(&finding.code).ok_or_else(broken)?,
            column,
            repair: finding.repair,
            other_row: finding.other_row,
        });
    }
    Ok(Content {
        cells: Cells {
            name: plain.name,
            document_type: plain.document_type,
            document_number: plain.document_number,
            phone: plain.phone,
        },
        findings,
    })
}

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    place: i32,
    change: String,
    sealed: Option<Vec<u8>>,
    member: Option<Uuid>,
    membership: Option<Uuid>,
}

pub(crate) const COLUMNS: &str = "place, change, sealed, member, membership";

impl Row {
    pub(crate) fn read(self) -> Result<RosterRow> {
        Ok(RosterRow {
            place: self.place,
            change: Change::parse(&self.change).ok_or_else(|| broken("row of a roster"))?,
            sealed: self.sealed,
            member: self.member,
            membership: self.membership,
        })
    }
}

/// The first `limit` rows with one of these changes, in their order.
///
/// # Errors
/// When the database fails.
pub async fn first(
    tx: &Tx,
    roster: Uuid,
    changes: &[Change],
    limit: i64,
) -> Result<Vec<RosterRow>> {
    let names: Vec<String> = changes.iter().map(|it| it.as_str().to_owned()).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM roster_row WHERE roster = $1 AND change = ANY ($2)
         ORDER BY place LIMIT $3"
    );
    let rows = tx
        .all::<Row>(&sql, [roster.into(), names.into(), limit.into()])
        .await?;
    rows.into_iter().map(Row::read).collect()
}

/// All rows with one of these changes, in their order.
///
/// # Errors
/// When the database fails.
pub async fn all(tx: &Tx, roster: Uuid, changes: &[Change]) -> Result<Vec<RosterRow>> {
    first(tx, roster, changes, ROWS_MAX).await
}

/// Writes rows, in place of those that are there.
///
/// # Errors
/// When the database fails.
pub async fn put(tx: &Tx, roster: Uuid, rows: &[RosterRow]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    // An array has no nulls here: an empty ciphertext and the nil id stand for none.
    let id = |id: Option<Uuid>| id.unwrap_or_default();
    tx.execute(
        "INSERT INTO roster_row (roster, place, change, sealed, member, membership)
         SELECT $1, p, c, NULLIF(s, ''::bytea), NULLIF(m, $7), NULLIF(o, $7)
         FROM UNNEST($2::int[], $3::text[], $4::bytea[], $5::uuid[], $6::uuid[])
           AS t (p, c, s, m, o)
         ON CONFLICT (roster, place) DO UPDATE SET change = EXCLUDED.change,
           sealed = EXCLUDED.sealed, member = EXCLUDED.member, membership = EXCLUDED.membership",
        [
            roster.into(),
            rows.iter().map(|row| row.place).collect::<Vec<_>>().into(),
            rows.iter()
                .map(|row| row.change.as_str().to_owned())
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|row| row.sealed.clone().unwrap_or_default())
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|row| id(row.member))
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|row| id(row.membership))
                .collect::<Vec<_>>()
                .into(),
            Uuid::nil().into(),
        ],
    )
    .await?;
    Ok(())
}

/// The first row that names each of these people, of those that were compared.
///
/// # Errors
/// When the database fails.
pub async fn places_of(tx: &Tx, roster: Uuid, members: &[Uuid]) -> Result<HashMap<Uuid, i32>> {
    #[derive(FromQueryResult)]
    struct Named {
        member: Uuid,
        place: i32,
    }
    let rows = tx
        .all::<Named>(
            "SELECT member, min(place) AS place FROM roster_row
             WHERE roster = $1 AND member = ANY ($2)
               AND change IN ('new', 'changed', 'unchanged') GROUP BY member",
            [roster.into(), members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|it| (it.member, it.place)).collect())
}

/// Whether two rows name one person.
///
/// # Errors
/// When the database fails.
pub async fn name_one_twice(tx: &Tx, roster: Uuid) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (SELECT 1 FROM roster_row
               WHERE roster = $1 AND member IS NOT NULL
                 AND change IN ('new', 'changed', 'unchanged')
               GROUP BY member HAVING count(*) > 1) AS found",
            [roster.into()],
        )
        .await?;
    row.map(|row| row.found).ok_or_else(|| broken("answer"))
}

/// The last place that is taken; zero in a roster without rows.
///
/// # Errors
/// When the database fails.
pub async fn last_place(tx: &Tx, roster: Uuid) -> Result<i32> {
    #[derive(FromQueryResult)]
    struct Last {
        last: i32,
    }
    let row = tx
        .one::<Last>(
            "SELECT COALESCE(max(place), 0) AS last FROM roster_row WHERE roster = $1",
            [roster.into()],
        )
        .await?;
    Ok(row.map_or(0, |row| row.last))
}

/// Removes rows with one of these changes.
///
/// # Errors
/// When the database fails.
pub async fn remove(tx: &Tx, roster: Uuid, changes: &[Change]) -> Result<()> {
    let names: Vec<String> = changes.iter().map(|it| it.as_str().to_owned()).collect();
    tx.execute(
        "DELETE FROM roster_row WHERE roster = $1 AND change = ANY ($2)",
        [roster.into(), names.into()],
    )
    .await?;
    Ok(())
}

/// Forgets what stood in the rows.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, roster: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE roster_row SET sealed = NULL WHERE roster = $1 AND sealed IS NOT NULL",
        [roster.into()],
    )
    .await?;
    Ok(())
}

/// Compares rows again that were compared before.
///
/// # Errors
/// When the database fails.
pub async fn compare_again(tx: &Tx, roster: Uuid) -> Result<()> {
    remove(tx, roster, &[Change::Leaving]).await?;
    tx.execute(
        "UPDATE roster_row SET change = 'pending', member = NULL, membership = NULL
         WHERE roster = $1 AND change IN ('new', 'changed', 'unchanged')",
        [roster.into()],
    )
    .await?;
    Ok(())
}

/// How many rows there are of each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Counts {
    pub pending: i64,
    pub new: i64,
    pub changed: i64,
    pub unchanged: i64,
    pub leaving: i64,
    pub bad: i64,
}

/// Counts the rows of a roster.
///
/// # Errors
/// When the database fails.
pub async fn counts(tx: &Tx, roster: Uuid) -> Result<Counts> {
    let counts = tx
        .one::<Counts>(
            "SELECT count(*) FILTER (WHERE change = 'pending') AS pending,
               count(*) FILTER (WHERE change = 'new') AS new,
               count(*) FILTER (WHERE change = 'changed') AS changed,
               count(*) FILTER (WHERE change = 'unchanged') AS unchanged,
               count(*) FILTER (WHERE change = 'leaving') AS leaving,
               count(*) FILTER (WHERE change = 'bad') AS bad
             FROM roster_row WHERE roster = $1",
            [roster.into()],
        )
        .await?;
    counts.ok_or_else(|| broken("count"))
}

const fn told_cell(roster: Uuid) -> Cell {
    Cell::new("roster", "told", roster)
}

/// Seals the names of columns that are not read.
///
/// # Errors
/// When they cannot be sealed.
pub fn seal_told(ids: &Ids, key: &SealingKey, roster: Uuid, ignored: &[String]) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(ignored)
        .map_err(|_| Error::internal("what is told of a roster cannot be written"))?;
    key.seal(ids, told_cell(roster), &bytes)
}

/// Opens what [`seal_told`] sealed.
///
/// # Errors
/// When the key is another.
pub fn open_told(key: &SealingKey, roster: Uuid, sealed: &[u8]) -> Result<Vec<String>> {
    let bytes = key.open(told_cell(roster), sealed)?;
    serde_json::from_slice(&bytes).map_err(|_| broken("roster"))
}
