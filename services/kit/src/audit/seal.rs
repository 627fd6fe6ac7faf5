//! The sealer: chains audit rows in the order of their commits, and publishes where the chain
//! stands.
//!
//! It goes by the relay's rule: a tick is everything visible in one snapshot and not in the one
//! before, by id, so that a row whose transaction commits late is neither skipped nor put before
//! what was sealed already. What it knows, seals and says goes into one transaction, which holds
//! the one row of the sealer: of several processes one seals at a time. It changes no seal.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::FromQueryResult;
use tokio_util::sync::CancellationToken;

use super::chain::{COLUMNS, Entry, Hash, Head};
use super::guard;
use crate::bus::Defect;
use crate::event::NewEvent;
use crate::tx::Write;
use crate::{Ctx, Error, Result, Tx};

/// Rows sealed in one transaction, at most.
pub const ROWS_MAX: i64 = 1_000;
/// How long after a head the next one is published at the earliest, in seconds.
pub const HEAD_SECONDS: i64 = 60;
/// How often a sealer with nothing to do looks.
const PAUSE: Duration = Duration::from_secs(1);
/// The event that says a head.
const HEAD_SEALED: &str = "bashu.v1.AuditHeadSealed";

/// What a step came to.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    pub rows: usize,
    /// Where the chain stands after it.
    pub head: Head,
}

/// Seals for as long as the process runs, and once more when it ends, so that what the last
/// requests left does not wait for the next process.
///
/// # Errors
/// When the database fails.
pub(crate) async fn run(ctx: Ctx, stop: CancellationToken) -> Result<()> {
    while !stop.is_cancelled() {
        // First, so that the age is shown also while sealing fails.
        measure(&ctx).await?;
        while !stop.is_cancelled() && step(&ctx).await? > 0 {}
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    step(&ctx).await.map(|_| ())
}

/// Seals the next rows, [`ROWS_MAX`] at most, and publishes the head when its time has come; the
/// number of rows sealed.
///
/// # Errors
/// When the database fails.
pub async fn step(ctx: &Ctx) -> Result<usize> {
    if !has_work(ctx).await? {
        return Ok(0);
    }
    let (sealed, published) = ctx
        .db
        .tx("audit_seal", async |tx| {
            let sealed = seal_rows(tx).await?;
            let published = publish(tx, ctx, sealed.head).await?;
            Ok((sealed, published))
        })
        .await?;
    metrics::counter!("bashu_audit_sealed_total", "service" => ctx.service)
        .increment(sealed.rows as u64);
    if published {
        let (position, hash) = (sealed.head.position, sealed.head.hash_text());
        tracing::info!(
            service = ctx.service,
            position,
            hash,
            "the head of the audit chain"
        );
    }
    Ok(sealed.rows)
}

/// Whether there is a row to seal or a head to publish. It takes no lock and writes nothing.
async fn has_work(ctx: &Ctx) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        any: bool,
    }
    let before = ctx.clock.now() - TimeDelta::seconds(HEAD_SECONDS);
    let unsealed = guard::UNSEALED;
    let sql = format!(
        "SELECT t.s2 IS NOT NULL OR EXISTS (SELECT 1 FROM {unsealed})
           OR COALESCE((SELECT max(c.position) FROM audit_seal c), 0)
                > COALESCE((SELECT max(h.position) FROM audit_head h), 0)
              AND COALESCE((SELECT h.at <= $1 FROM audit_head h
                ORDER BY h.position DESC LIMIT 1), true) AS any
         FROM audit_sealer t"
    );
    let row: Option<Row> = ctx.db.one(&sql, [before.into()]).await?;
    Ok(row.is_none_or(|row| row.any))
}

#[derive(FromQueryResult)]
struct Standing {
    s1: String,
    /// The end of the tick: the one that was begun, or this moment.
    s2: String,
    last_id: i64,
    floor_id: i64,
    /// Of the last seal; nothing before the first.
    position: Option<i64>,
    hash: Option<Vec<u8>>,
}

impl Standing {
    /// Of several sealers one goes on.
    async fn lock(tx: &Tx) -> Result<Self> {
        if !tx.has(Defect::SealUnlocked) {
            tx.execute("SELECT 1 FROM audit_sealer FOR UPDATE", [])
                .await?;
        }
        Self::load(tx).await
    }

    /// Read when the lock is held: what was read before may be older than what another sealed.
    async fn load(tx: &Tx) -> Result<Self> {
        let standing: Option<Self> = tx
            .one(
                "SELECT s.s1::text AS s1, COALESCE(s.s2, pg_current_snapshot())::text AS s2,
                   s.last_id, s.floor_id, last.position, last.hash
                 FROM audit_sealer s LEFT JOIN (SELECT c.position, c.hash FROM audit_seal c
                   ORDER BY c.position DESC LIMIT 1) last ON true",
                [],
            )
            .await?;
        standing.ok_or_else(|| Error::internal("the sealer's row is missing: run the migrations"))
    }

    fn head(&self) -> Result<Head> {
        match (self.position, &self.hash) {
            (Some(position), Some(hash)) => {
                Head::of(position, hash).ok_or_else(|| Error::internal("the last seal is no hash"))
            }
            (_, None) | (None, _) => Ok(Head::EMPTY),
        }
    }

    /// Chains rows to what is sealed.
    fn chain(&self, tx: &Tx, entries: &[Entry]) -> Result<Sealed> {
        let mut head = self.head()?;
        let mut chained: Vec<(i64, i64, Hash)> = Vec::with_capacity(entries.len());
        for entry in entries {
            head = head.after(entry);
            chained.push((head.position, entry.id, head.hash));
        }
        insert(tx, &chained);
        let rows = chained.len();
        Ok(Sealed { rows, head })
    }

    /// The next rows of the tick.
    async fn rows(&self, tx: &Tx) -> Result<Vec<Entry>> {
        let visible = "pg_visible_in_snapshot(a.xid, $2::text::pg_snapshot) AND a.id > $3";
        let sql = format!(
            "SELECT {COLUMNS} FROM audit a
               WHERE a.xid >= pg_snapshot_xmax($1::text::pg_snapshot)
                 AND a.xid < pg_snapshot_xmax($2::text::pg_snapshot) AND {visible}
             UNION ALL
             SELECT {COLUMNS} FROM audit a
               WHERE a.xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
                 AND {visible}
             ORDER BY id LIMIT $4"
        );
        let (s1, s2) = (self.s1.clone(), self.s2.clone());
        let after = self.last_id.max(self.floor_id);
        tx.all(&sql, [s1.into(), s2.into(), after.into(), ROWS_MAX.into()])
            .await
    }
}

/// Seals the next rows in this transaction, which must leave no audit rows of its own, and
/// publishes nothing.
///
/// # Errors
/// When the database fails.
pub async fn seal_rows(tx: &Tx) -> Result<Sealed> {
    let standing = Standing::lock(tx).await?;
    let entries = standing.rows(tx).await?;
    let sealed = standing.chain(tx, &entries)?;
    let last = entries.last().map_or(standing.last_id, |entry| entry.id);
    let more = i64::try_from(sealed.rows).is_ok_and(|rows| rows >= ROWS_MAX);
    let (s1, s2, last_id) = if more {
        (standing.s1, Some(standing.s2), last)
    } else {
        (standing.s2, None, 0)
    };
    tx.at_end(Write::new(
        "UPDATE audit_sealer SET s1 = $1::text::pg_snapshot, s2 = $2::text::pg_snapshot,
           last_id = $3",
        [s1.into(), s2.into(), last_id.into()],
    ));
    Ok(sealed)
}

/// Goes on with a database that was restored: into another cluster as a rule, whose transactions
/// have other numbers. What is not sealed is, and what comes counts from here. No service may run
/// on the database meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn restored(ctx: &Ctx) -> Result<()> {
    while ctx.db.tx("audit_restored", seal_left).await? {}
    ctx.db
        .tx("audit_restored", async |tx| {
            Standing::lock(tx).await?;
            tx.execute(
                "UPDATE audit_sealer SET s1 = pg_current_snapshot(), s2 = NULL, last_id = 0,
                   floor_id = COALESCE((SELECT max(a.id) FROM audit a), 0)",
                [],
            )
            .await?;
            Ok(())
        })
        .await
}

/// Seals rows that have no seal, whatever their transactions' numbers; whether there were any.
async fn seal_left(tx: &Tx) -> Result<bool> {
    let standing = Standing::lock(tx).await?;
    let sql = format!(
        "SELECT {COLUMNS} FROM audit a
         WHERE NOT EXISTS (SELECT 1 FROM audit_seal c WHERE c.audit = a.id)
         ORDER BY id LIMIT $1"
    );
    let entries: Vec<Entry> = tx.all(&sql, [ROWS_MAX.into()]).await?;
    let sealed = standing.chain(tx, &entries)?;
    Ok(sealed.rows > 0)
}

fn insert(tx: &Tx, chained: &[(i64, i64, Hash)]) {
    if chained.is_empty() {
        return;
    }
    let positions: Vec<i64> = chained.iter().map(|(position, _, _)| *position).collect();
    let rows: Vec<i64> = chained.iter().map(|(_, audit, _)| *audit).collect();
    let hashes: Vec<Vec<u8>> = chained.iter().map(|(_, _, hash)| hash.to_vec()).collect();
    tx.at_end(Write::new(
        "INSERT INTO audit_seal (position, audit, hash)
         SELECT p, a, h FROM UNNEST($1::bigint[], $2::bigint[], $3::bytea[]) AS t (p, a, h)",
        [positions.into(), rows.into(), hashes.into()],
    ));
}

/// Says where the chain stands, once in [`HEAD_SECONDS`] and only when it has grown; whether it
/// did.
async fn publish(tx: &Tx, ctx: &Ctx, head: Head) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Last {
        position: i64,
        at: DateTime<Utc>,
    }
    let last: Option<Last> = tx
        .one(
            "SELECT h.position, h.at FROM audit_head h ORDER BY h.position DESC LIMIT 1",
            [],
        )
        .await?;
    let before = tx.now() - TimeDelta::seconds(HEAD_SECONDS);
    let too_soon = |last: Last| last.position >= head.position || last.at > before;
    if head.position == 0 || last.is_some_and(too_soon) {
        return Ok(false);
    }
    let Head { position, hash } = head;
    tx.at_end(Write::new(
        "INSERT INTO audit_head (position, hash, at) VALUES ($1, $2, $3)",
        [position.into(), hash.to_vec().into(), tx.now().into()],
    ));
    let message = proto::v1::AuditHeadSealed {
        union: ctx.union.code().into(),
        service: ctx.service.to_owned(),
        position,
        hash: hash.to_vec(),
        at: tx.now().timestamp_millis(),
    };
    let key = format!("audit/{}", ctx.service);
    tx.emit(NewEvent::of(
        &message,
        HEAD_SEALED,
        key.as_bytes(),
        position,
    ));
    Ok(true)
}

/// Shows how old the oldest row is that is not sealed.
async fn measure(ctx: &Ctx) -> Result<()> {
    let oldest = guard::unsealed_since(&ctx.db, ctx.clock.now()).await?;
    let waited = oldest.map_or(0, |at| (ctx.clock.now() - at).num_milliseconds());
    #[expect(
        clippy::cast_precision_loss,
        reason = "an age of years would lose a millisecond"
    )]
    let seconds = waited.max(0) as f64 / 1_000.0;
    metrics::gauge!("bashu_audit_unsealed_seconds", "service" => ctx.service).set(seconds);
    Ok(())
}
