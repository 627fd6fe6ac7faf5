//! What a relay has stored: the tick between two snapshots, how far it was read, and each
//! partition's counter and offset. Every change is guarded by what it was before, so that a
//! relay that lost its lock changes nothing.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use sea_orm::sqlx::{self, Connection, PgConnection, Row as _};

use super::tick::{Snapshot, Ticker};
use crate::audit::walk::RESTORED;
use crate::bus::Tail;
use crate::event::Record;
use crate::{Ctx, Error, Result};

/// The one shard: all partitions.
const SHARD: i32 = 0;
/// Events of a new tick that are counted: from so many on it is read through a cursor.
const COUNTED_ROWS_MAX: i64 = 400;
/// The advisory lock of a database's relay: "RELAY" in hexadecimal.
const LOCK_KEY: i64 = 0x52_45_4c_41_59;

/// The right to be the relay, for as long as its session lives.
#[derive(Debug)]
pub(super) struct Lock(PgConnection);

impl Lock {
    pub(super) async fn try_take(ctx: &Ctx) -> Result<Option<Self>> {
        let pool = ctx.db.pool().get_postgres_connection_pool();
        let mut session = pool.acquire().await.map_err(database)?.detach();
        let row = sqlx::query("SELECT pg_try_advisory_lock($1)")
            .bind(LOCK_KEY)
            .fetch_one(&mut session)
            .await
            .map_err(database)?;
        Ok(row.get::<bool, _>(0).then_some(Self(session)))
    }

    /// Gives the right up before it is dropped, so that another can have it at once.
    pub(super) async fn release(mut self) {
        // A session that cannot answer has ended, and the lock with it.
        let _ = sqlx::query("SELECT pg_advisory_unlock($1)")
            .bind(LOCK_KEY)
            .execute(&mut self.0)
            .await;
        let _ = self.0.close().await;
    }

    pub(super) async fn is_alive(&mut self) -> bool {
        self.0.ping().await.is_ok()
    }
}

fn database(error: sqlx::Error) -> Error {
    Error::Db(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(
        error.into(),
    )))
}

/// The stored state, as this relay believes it to be.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) epoch: i64,
    /// Whether every partition has had the record that opens the epoch.
    pub(super) announced: bool,
    tick: i64,
    s1: Snapshot,
    s2: Option<Snapshot>,
    last_id: i64,
    /// Of each partition: the number of the last record acknowledged.
    pub(super) pseqs: Vec<i64>,
    /// Of each partition: the offset of the last record acknowledged; -1 before the first.
    pub(super) offsets: Vec<i64>,
}

#[derive(FromQueryResult)]
struct StateRow {
    epoch: i64,
    announced: bool,
    tick: i64,
    s1: String,
    s2: Option<String>,
    last_id: i64,
    pseqs: Vec<i64>,
    offsets: Vec<i64>,
}

#[derive(FromQueryResult)]
struct TickRow {
    tick: i64,
    opened: Option<String>,
    /// About how many events are in it, counted up to [`COUNTED_ROWS_MAX`].
    events: i64,
}

impl State {
    pub(super) async fn load(ctx: &Ctx, partitions: i32) -> Result<Self> {
        let row: StateRow = ctx
            .db
            .one(
                "SELECT epoch, announced, tick, s1::text AS s1, s2::text AS s2, last_id, pseqs,
                   offsets FROM outbox_relay WHERE shard = $1",
                [SHARD.into()],
            )
            .await?
            .ok_or_else(|| Error::internal("the relay's row is missing: run the migrations"))?;
        let count = usize::try_from(partitions).unwrap_or_default();
        let (pseqs, offsets) = match (row.pseqs, row.offsets) {
            (pseqs, offsets) if pseqs.is_empty() && offsets.is_empty() => {
                (vec![0; count], vec![-1; count])
            }
            (pseqs, offsets) if pseqs.len() == count && offsets.len() == count => (pseqs, offsets),
            (pseqs, _) => {
                return Err(Error::internal(format!(
                    "the relay has counters of {} partitions, its topic has {count}: a topic \
                     never grows",
                    pseqs.len()
                )));
            }
        };
        Ok(Self {
            epoch: row.epoch,
            announced: row.announced,
            tick: row.tick,
            s1: Snapshot::parse(&row.s1)?,
            s2: row.s2.as_deref().map(Snapshot::parse).transpose()?,
            last_id: row.last_id,
            pseqs,
            offsets,
        })
    }

    /// The mistake of a relay that counts on from the topic's end when it sends something again;
    /// a test switches it on to show that it is seen.
    pub(super) fn renumber(&mut self, tails: &[Tail]) {
        for (pseq, tail) in self.pseqs.iter_mut().zip(tails) {
            let sent = tail
                .records
                .iter()
                .filter_map(|record| record.stamp.as_ref());
            let sent = sent.filter(|stamp| stamp.epoch == self.epoch);
            *pseq = sent.map(|stamp| stamp.pseq).fold(*pseq, i64::max);
        }
    }

    /// The reader of the tick that was left open, if one was.
    pub(super) fn ticker(&self, ctx: &Ctx) -> Option<Ticker> {
        let s2 = self.s2.as_ref()?;
        Some(Ticker::new(ctx.db.clone(), &self.s1, s2, self.last_id))
    }

    /// The reader of a tick that may be small enough to be read at once.
    fn small_ticker(&self, ctx: &Ctx, events: i64) -> Option<Ticker> {
        let small = events < COUNTED_ROWS_MAX;
        self.ticker(ctx).map(|ticker| ticker.small(small))
    }

    /// Opens a tick if anything has become visible since the last one; synchronously committed,
    /// since what is sent from now on depends on it.
    pub(super) async fn open_tick(&mut self, ctx: &Ctx) -> Result<Option<Ticker>> {
        let row: TickRow = ctx
            .db
            .one(
                "WITH opened AS (
                   UPDATE outbox_relay SET tick = tick + 1, s2 = pg_current_snapshot(),
                     last_id = 0
                   WHERE shard = $1 AND epoch = $2 AND tick = $3 AND s2 IS NULL AND (
                     EXISTS (SELECT 1 FROM outbox WHERE xid >= $4::text::xid8)
                     OR EXISTS (SELECT 1 FROM outbox WHERE xid = ANY ($5::text::xid8[])))
                   RETURNING s2)
                 SELECT tick, (SELECT s2::text FROM opened) AS opened,
                   (SELECT count(*) FROM (SELECT FROM outbox WHERE xid >= $4::text::xid8
                      LIMIT $6) AS counted) AS events
                 FROM outbox_relay WHERE shard = $1 AND epoch = $2",
                [
                    SHARD.into(),
                    self.epoch.into(),
                    self.tick.into(),
                    self.s1.xmax.to_string().into(),
                    self.s1.running().into(),
                    COUNTED_ROWS_MAX.into(),
                ],
            )
            .await?
            .ok_or(Error::Unavailable("another epoch was opened"))?;
        if row.tick != self.tick {
            return Err(fenced());
        }
        let Some(opened) = row.opened else {
            return Ok(None);
        };
        self.tick += 1;
        self.last_id = 0;
        self.s2 = Some(Snapshot::parse(&opened)?);
        Ok(self.small_ticker(ctx, row.events))
    }

    /// Takes in what was acknowledged, or says why it cannot be.
    pub(super) fn take_in(
        &mut self,
        records: &[Record],
        offsets: &[i64],
    ) -> std::result::Result<(), String> {
        for (record, offset) in records.iter().zip(offsets) {
            let index = usize::try_from(record.partition).unwrap_or_default();
            if *offset <= self.offsets[index] {
                return Err(format!(
                    "partition {index} acknowledged offset {offset} after {}: the topic was \
                     made anew",
                    self.offsets[index]
                ));
            }
            self.offsets[index] = *offset;
            self.pseqs[index] = record.pseq;
        }
        Ok(())
    }

    /// Stores how far the open tick has been sent.
    pub(super) async fn store(&mut self, ctx: &Ctx, last_id: i64) -> Result<()> {
        let stored = ctx
            .db
            .execute(
                "UPDATE outbox_relay SET last_id = $5, pseqs = $6, offsets = $7
                 WHERE shard = $1 AND epoch = $2 AND tick = $3 AND last_id = $4
                   AND s2 IS NOT NULL",
                [
                    SHARD.into(),
                    self.epoch.into(),
                    self.tick.into(),
                    self.last_id.into(),
                    last_id.into(),
                    self.pseqs.clone().into(),
                    self.offsets.clone().into(),
                ],
            )
            .await?;
        self.last_id = last_id;
        if stored == 1 { Ok(()) } else { Err(fenced()) }
    }

    /// Stores that the whole tick has been sent.
    pub(super) async fn close_tick(&mut self, ctx: &Ctx) -> Result<()> {
        let stored = ctx
            .db
            .execute(
                "UPDATE outbox_relay SET s1 = s2, s2 = NULL, last_id = 0, pseqs = $5,
                   offsets = $6
                 WHERE shard = $1 AND epoch = $2 AND tick = $3 AND last_id = $4
                   AND s2 IS NOT NULL",
                [
                    SHARD.into(),
                    self.epoch.into(),
                    self.tick.into(),
                    self.last_id.into(),
                    self.pseqs.clone().into(),
                    self.offsets.clone().into(),
                ],
            )
            .await?;
        self.last_id = 0;
        if let Some(s2) = self.s2.take() {
            self.s1 = s2;
        }
        if stored == 1 { Ok(()) } else { Err(fenced()) }
    }

    /// Stores that the epoch has been announced, at these offsets.
    pub(super) async fn announce(&mut self, ctx: &Ctx, offsets: Vec<i64>) -> Result<()> {
        let stored = ctx
            .db
            .execute(
                "UPDATE outbox_relay SET announced = true, pseqs = $4, offsets = $5
                 WHERE shard = $1 AND epoch = $2 AND tick = $3 AND NOT announced",
                [
                    SHARD.into(),
                    self.epoch.into(),
                    self.tick.into(),
                    self.pseqs.clone().into(),
                    offsets.clone().into(),
                ],
            )
            .await?;
        self.announced = true;
        self.offsets = offsets;
        if stored == 1 { Ok(()) } else { Err(fenced()) }
    }

    /// Opens a new epoch above every one that was seen; its number.
    pub(super) async fn reopen(ctx: &Ctx, seen: i64, highs: &[i64]) -> Result<i64> {
        #[derive(FromQueryResult)]
        struct Opened {
            epoch: i64,
        }
        let pseqs = vec![0_i64; highs.len()];
        let offsets: Vec<i64> = highs.iter().map(|high| high - 1).collect();
        ctx.db
            .tx("relay_restored", async |tx| {
                let opened: Opened = tx
                    .one(
                        "UPDATE outbox_relay SET epoch = GREATEST(epoch, $2) + 1,
                           announced = false, tick = tick + 1, s2 = NULL, last_id = 0,
                           pseqs = $3, offsets = $4
                         WHERE shard = $1 RETURNING epoch",
                        [
                            SHARD.into(),
                            seen.into(),
                            pseqs.clone().into(),
                            offsets.clone().into(),
                        ],
                    )
                    .await?
                    .ok_or_else(|| Error::internal("the relay's row is missing"))?;
                let row = crate::audit::AuditRow::system(RESTORED, ctx.topic())
                    .detail(serde_json::json!({ "epoch": opened.epoch }));
                tx.audit(row);
                Ok(opened.epoch)
            })
            .await
    }
}

fn fenced() -> Error {
    Error::Unavailable("another relay went on from here")
}

pub(super) async fn oldest_unpublished(ctx: &Ctx) -> Result<Option<DateTime<Utc>>> {
    #[derive(FromQueryResult)]
    struct Oldest {
        at: Option<DateTime<Utc>>,
    }
    let oldest: Option<Oldest> = ctx
        .db
        .one(
            "SELECT min(o.occurred_at) AS at FROM outbox o, outbox_relay r
             WHERE r.shard = $1 AND o.xid >= pg_snapshot_xmin(r.s1)
               AND NOT pg_visible_in_snapshot(o.xid, r.s1)",
            [SHARD.into()],
        )
        .await?;
    Ok(oldest.and_then(|row| row.at))
}
