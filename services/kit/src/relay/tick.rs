//! Reads a tick: the rows visible in its second snapshot and not in its first, by id.
//!
//! Ordering by transaction id instead would turn the order of a key around: a transaction can
//! take its number first and then wait for the row lock of a later one.

use std::fmt;

use chrono::{DateTime, Utc};
use sea_orm::{AccessMode, ConnectionTrait, DatabaseTransaction, FromQueryResult, IsolationLevel};
use uuid::Uuid;

use super::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX};
use crate::bus::Defect;
use crate::db::statement;
use crate::{Db, Error, Result};

/// Rows taken from the cursor at once: bounds the bytes a chunk can exceed its limit by.
const FETCH_ROWS_MAX: usize = 500;

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
#[derive(Clone, Debug, FromQueryResult)]
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

/// What is sent and stored at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    pub(super) events: Vec<OutboxRow>,
}

/// Reads one tick from a cursor, so that a large one is sorted once, in a transaction that takes
/// no number and so holds nobody up.
pub(super) struct Ticker {
    db: Db,
    query: String,
    cursor: Option<DatabaseTransaction>,
    ahead: Option<Chunk>,
    exhausted: bool,
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker")
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl Ticker {
    pub(super) fn new(db: Db, s1: &Snapshot, s2: &Snapshot, last_id: i64) -> Self {
        // All that goes in are numbers that PostgreSQL wrote; the planner sees them as constants
        // and uses the index on xid for both branches.
        let columns = "id, event_id, kind, key, version, must_understand, payload, occurred_at, \
                       traceparent, xid";
        let order = if db.faults().has(Defect::OrderByXid) {
            "xid, id"
        } else {
            "id"
        };
        let visible = format!(
            "pg_visible_in_snapshot(xid, '{}') AND id > {last_id}",
            s2.text
        );
        let query = format!(
            "SELECT {columns} FROM outbox
               WHERE xid >= '{}'::xid8 AND xid < '{}'::xid8 AND {visible}
             UNION ALL
             SELECT {columns} FROM outbox WHERE xid = ANY ('{}'::xid8[]) AND {visible}
             ORDER BY {order}",
            s1.xmax,
            s2.xmax,
            s1.running(),
        );
        Self {
            db,
            query,
            cursor: None,
            ahead: None,
            exhausted: false,
        }
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
        let cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.declare().await?,
        };
        let fetch = format!("FETCH {FETCH_ROWS_MAX} FROM tick");
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        while chunk.events.len() < CHUNK_EVENTS_MAX && bytes < CHUNK_BYTES_MAX {
            let rows = OutboxRow::find_by_statement(statement(&fetch, []))
                .all(&cursor)
                .await?;
            self.exhausted = rows.len() < FETCH_ROWS_MAX;
            bytes += rows.iter().map(|row| row.payload.len()).sum::<usize>();
            chunk.events.extend(rows);
            if self.exhausted {
                cursor.rollback().await?;
                return Ok(chunk);
            }
        }
        self.cursor = Some(cursor);
        Ok(chunk)
    }

    async fn declare(&self) -> Result<DatabaseTransaction> {
        let cursor = self
            .db
            .open(
                Some(IsolationLevel::RepeatableRead),
                Some(AccessMode::ReadOnly),
            )
            .await?;
        let declare = format!("DECLARE tick NO SCROLL CURSOR FOR {}", self.query);
        cursor.execute_unprepared(&declare).await?;
        Ok(cursor)
    }
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
