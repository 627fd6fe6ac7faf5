//! Reads a tick: the rows visible in its second snapshot and not in its first, by id.
//!
//! Ordering by transaction id instead would turn the order of a key around: a transaction can
//! take its number first and then wait for the row lock of a later one.

use std::fmt;

use chrono::{DateTime, Utc};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseTransaction, IsolationLevel, QueryResult, Statement, Value,
};
use uuid::Uuid;

use super::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX};
use crate::bus::Defect;
use crate::db::statement;
use crate::{Db, Error, Result};

/// Rows read at once: bounds the bytes a chunk can exceed its limit by. Always the same, so that
/// where a chunk ends follows from where it begins alone: a relay that starts again after a crash
/// must find in what it reads next all that was sent beyond what is stored.
const READ_ROWS_MAX: usize = 500;

/// What PostgreSQL writes as `xmin:xmax:xip,…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    text: String,
    pub(super) xmax: u64,
    xip: Vec<u64>,
}

impl Snapshot {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let bad = || Error::internal("a snapshot cannot be read");
        let mut parts = text.split(':');
        let _xmin = parts.next().ok_or_else(bad)?;
        let xmax = parts
            .next()
            .and_then(|part| part.parse().ok())
            .ok_or_else(bad)?;
        let xip = match parts.next() {
            None | Some("") => Vec::new(),
            Some(list) => list
                .split(',')
                .map(|number| number.parse().map_err(|_| bad()))
                .collect::<Result<_>>()?,
        };
        Ok(Self {
            text: text.to_owned(),
            xmax,
            xip,
        })
    }

    /// The transactions that were running, as an array of PostgreSQL.
    pub(super) fn running(&self) -> String {
        let numbers: Vec<String> = self.xip.iter().map(u64::to_string).collect();
        format!("{{{}}}", numbers.join(","))
    }
}

/// One row of the outbox.
#[derive(Clone, Debug)]
pub(super) struct OutboxRow {
    pub(super) id: i64,
    pub(super) event_id: Uuid,
    pub(super) kind: String,
    pub(super) key: Vec<u8>,
    pub(super) version: i64,
    pub(super) must_understand: bool,
    pub(super) payload: Vec<u8>,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) traceparent: Option<String>,
}

const BY_ID: &str = "id";
/// What a row is read from, in this order.
const COLUMNS: &str = "id, event_id, kind, key, version, must_understand, payload, occurred_at,
    traceparent, xid";

impl OutboxRow {
    /// By place: a name would be looked up for each value of each row.
    fn read(row: &QueryResult) -> Result<Self> {
        Ok(Self {
            id: row.try_get_by_index(0)?,
            event_id: row.try_get_by_index(1)?,
            kind: row.try_get_by_index(2)?,
            key: row.try_get_by_index(3)?,
            version: row.try_get_by_index(4)?,
            must_understand: row.try_get_by_index(5)?,
            payload: row.try_get_by_index(6)?,
            occurred_at: row.try_get_by_index(7)?,
            traceparent: row.try_get_by_index(8)?,
        })
    }
}

/// What is sent and stored at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    pub(super) events: Vec<OutboxRow>,
}

/// Reads one tick. A small one is one query; a large one comes from a cursor, so that it is sorted
/// once, in a transaction that takes no number and so holds nobody up.
pub(super) struct Ticker {
    db: Db,
    bounds: Bounds,
    order: &'static str,
    /// Whether it is tried without a cursor first.
    small: bool,
    cursor: Option<DatabaseTransaction>,
    ahead: Option<Chunk>,
    exhausted: bool,
}

/// Which rows belong to a tick and are left of it, as PostgreSQL writes it.
#[derive(Debug)]
struct Bounds {
    from_xid: String,
    until_xid: String,
    running: String,
    snapshot: String,
    last_id: i64,
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Ticker {
    pub(super) fn new(db: Db, s1: &Snapshot, s2: &Snapshot, last_id: i64) -> Self {
        let order = if db.faults().has(Defect::OrderByXid) {
            "xid, id"
        } else {
            BY_ID
        };
        Self {
            db,
            bounds: Bounds {
                from_xid: s1.xmax.to_string(),
                until_xid: s2.xmax.to_string(),
                running: s1.running(),
                snapshot: s2.text.clone(),
                last_id,
            },
            order,
            small: false,
            cursor: None,
            ahead: None,
            exhausted: false,
        }
    }

    /// Reads it without a cursor first if it is `small`.
    pub(super) fn small(self, small: bool) -> Self {
        // Only by id can it be left and taken up again.
        let small = small && self.order == BY_ID;
        Self { small, ..self }
    }

    /// The next chunk without taking it.
    pub(super) async fn peek(&mut self) -> Result<&Chunk> {
        self.read_ahead().await?;
        self.ahead
            .as_ref()
            .ok_or_else(|| Error::internal("a tick was read past its end"))
    }

    /// The next chunk; empty when the tick has no more.
    pub(super) async fn next(&mut self) -> Result<Chunk> {
        self.read_ahead().await?;
        Ok(self.ahead.take().unwrap_or_default())
    }

    /// Reads the next chunk if there may be one and it has not been read.
    pub(super) async fn read_ahead(&mut self) -> Result<()> {
        if self.ahead.is_none() && !self.exhausted {
            self.ahead = Some(self.read().await?);
        } else if self.ahead.is_none() {
            self.ahead = Some(Chunk::default());
        }
        Ok(())
    }

    /// Whether nothing of the tick is left to be taken.
    pub(super) fn is_finished(&self) -> bool {
        self.exhausted
            && self
                .ahead
                .as_ref()
                .is_none_or(|chunk| chunk.events.is_empty())
    }

    async fn read(&mut self) -> Result<Chunk> {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        if std::mem::take(&mut self.small) {
            let rows = self.db.pool().query_all_raw(self.select()).await?;
            self.exhausted = rows.len() < READ_ROWS_MAX;
            bytes += chunk.take_in(&rows)?;
            // There were more than expected: the rest of the same tick.
            if let Some(last) = chunk.events.last() {
                self.bounds.last_id = last.id;
            }
            if self.exhausted {
                return Ok(chunk);
            }
        }
        let cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.declare().await?,
        };
        while chunk.events.len() < CHUNK_EVENTS_MAX && bytes < CHUNK_BYTES_MAX {
            let most = READ_ROWS_MAX.min(CHUNK_EVENTS_MAX - chunk.events.len());
            let fetch = format!("FETCH {most} FROM tick");
            let rows = cursor.query_all_raw(statement(&fetch, [])).await?;
            self.exhausted = rows.len() < most;
            bytes += chunk.take_in(&rows)?;
            if self.exhausted {
                cursor.rollback().await?;
                return Ok(chunk);
            }
        }
        self.cursor = Some(cursor);
        Ok(chunk)
    }

    /// The first rows of the tick in a query whose text is the same for every tick, so that it is
    /// prepared once.
    fn select(&self) -> Statement {
        let bounds = &self.bounds;
        let sql = query(
            ["$1::text", "$2::text", "$3::text", "$4::text", "$5"],
            self.order,
        );
        let values: [Value; 5] = [
            bounds.from_xid.clone().into(),
            bounds.until_xid.clone().into(),
            bounds.running.clone().into(),
            bounds.snapshot.clone().into(),
            bounds.last_id.into(),
        ];
        statement(&format!("{sql} LIMIT {READ_ROWS_MAX}"), values)
    }

    async fn declare(&self) -> Result<DatabaseTransaction> {
        let cursor = self
            .db
            .open(
                Some(IsolationLevel::RepeatableRead),
                Some(AccessMode::ReadOnly),
            )
            .await?;
        // All that goes in are numbers that PostgreSQL wrote; the planner sees them as constants
        // and uses the index on xid for both branches.
        let bounds = &self.bounds;
        let constant = |text: &str| format!("'{text}'");
        let sql = query(
            [
                &constant(&bounds.from_xid),
                &constant(&bounds.until_xid),
                &constant(&bounds.running),
                &constant(&bounds.snapshot),
                &bounds.last_id.to_string(),
            ],
            self.order,
        );
        let declare = format!("DECLARE tick NO SCROLL CURSOR FOR {sql}");
        cursor.execute_unprepared(&declare).await?;
        Ok(cursor)
    }
}

impl Chunk {
    /// Takes rows in; the bytes of their payloads.
    fn take_in(&mut self, rows: &[QueryResult]) -> Result<usize> {
        let mut bytes = 0;
        for row in rows {
            let row = OutboxRow::read(row)?;
            bytes += row.payload.len();
            self.events.push(row);
        }
        Ok(bytes)
    }
}

/// What a tick is read with: the transactions from `s1` on that `s2` sees, and those that were
/// still running in `s1`.
fn query([from_xid, until_xid, running, snapshot, last_id]: [&str; 5], order: &str) -> String {
    let visible =
        format!("pg_visible_in_snapshot(xid, {snapshot}::pg_snapshot) AND id > {last_id}");
    format!(
        "SELECT {COLUMNS} FROM outbox
           WHERE xid >= {from_xid}::xid8 AND xid < {until_xid}::xid8 AND {visible}
         UNION ALL
         SELECT {COLUMNS} FROM outbox WHERE xid = ANY ({running}::xid8[]) AND {visible}
         ORDER BY {order}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot says what was running, also when nothing was.
    #[test]
    fn snapshots_are_read() {
        let snapshot = Snapshot::parse("10:20:10,14").unwrap();
        assert_eq!(
            (snapshot.xmax, snapshot.running().as_str()),
            (20, "{10,14}")
        );
        let quiet = Snapshot::parse("10:10:").unwrap();
        assert_eq!((quiet.xmax, quiet.running().as_str()), (10, "{}"));
        assert!(Snapshot::parse("10").is_err());
        assert!(Snapshot::parse("10:x:").is_err());
    }
}
