//! A consumer's position in each partition, kept in PostgreSQL beside the effects.

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Value};

use super::judge::Position;
use crate::audit::AuditRow;
use crate::bus::{Defect, Partition};
use crate::{Ctx, Db, Error, Result, Tx};

/// What the database says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) position: Position,
    pub(super) next_offset: i64,
    pub(super) held: Option<String>,
}

#[derive(FromQueryResult)]
struct Row {
    epoch: i64,
    next_offset: i64,
    last_pseq: i64,
    held: Option<String>,
}

/// Reads the position, or makes the first one: before everything the log still has.
pub(super) async fn load(ctx: &Ctx, consumer: &str, partition: &Partition) -> Result<Stored> {
    let key = || {
        [
            consumer.into(),
            partition.topic.clone().into(),
            partition.partition.into(),
        ]
    };
    ctx.db
        .execute(
            "INSERT INTO watermark (consumer, topic, part, epoch, next_offset, last_pseq)
             VALUES ($1, $2, $3, 0, 0, -1) ON CONFLICT DO NOTHING",
            key(),
        )
        .await?;
    let row: Row = ctx
        .db
        .one(
            "SELECT epoch, next_offset, last_pseq, held FROM watermark
             WHERE consumer = $1 AND topic = $2 AND part = $3",
            key(),
        )
        .await?
        .ok_or_else(|| Error::internal("a watermark vanished"))?;
    Ok(Stored {
        position: Position {
            epoch: row.epoch,
            last_pseq: row.last_pseq,
        },
        next_offset: row.next_offset,
        held: row.held,
    })
}

/// Moves the position, first of all in its transaction: takes the row's lock and fences whoever
/// else believes to own the partition. Whether any key of the topic is held, or `None` when
/// somebody was here.
///
/// That no key is held it may say from before it waited for the lock: a hold is made only by who
/// moves this row, and whoever moved it since is met by the fence.
pub(super) async fn advance(
    tx: &Tx,
    consumer: &str,
    partition: &Partition,
    expected: i64,
    to: &Stored,
) -> Result<Option<bool>> {
    #[derive(FromQueryResult)]
    struct Moved {
        holds: bool,
    }
    // The one is what is promised, the other shows that a test would see it missing.
    let fence = if tx.has(Defect::PositionUnfenced) {
        "$4::bigint IS NOT NULL"
    } else {
        FENCE
    };
    let sql = format!(
        "{MOVE} AND {fence} RETURNING EXISTS
           (SELECT 1 FROM parked_key k WHERE k.consumer = $1 AND k.topic = $2) AS holds"
    );
    let moved: Option<Moved> = tx
        .one(&sql, values(consumer, partition, expected, to, tx.now()))
        .await?;
    Ok(moved.map(|moved| moved.holds))
}

/// Moves the position past records that have no effect here, in a statement of its own: nothing
/// comes with it. False when somebody was here.
pub(super) async fn pass(
    ctx: &Ctx,
    consumer: &str,
    partition: &Partition,
    expected: i64,
    to: &Stored,
) -> Result<bool> {
    ctx.db.drift.check()?;
    let sql = format!("{MOVE} AND {FENCE}");
    let now = ctx.clock.now();
    let moved = ctx
        .db
        .execute(&sql, values(consumer, partition, expected, to, now))
        .await?;
    Ok(moved == 1)
}

const MOVE: &str = "UPDATE watermark SET next_offset = $5, epoch = $6, last_pseq = $7, held = $8,
       held_offset = NULL, applied_at = $9
     WHERE consumer = $1 AND topic = $2 AND part = $3";
const FENCE: &str = "next_offset = $4";

fn values(
    consumer: &str,
    partition: &Partition,
    expected: i64,
    to: &Stored,
    now: DateTime<Utc>,
) -> [Value; 9] {
    [
        consumer.into(),
        partition.topic.clone().into(),
        partition.partition.into(),
        expected.into(),
        to.next_offset.into(),
        to.position.epoch.into(),
        to.position.last_pseq.into(),
        to.held.clone().into(),
        now.into(),
    ]
}

/// Stops the partition before the record at `offset`. False when somebody else moved it.
pub(super) async fn hold(
    ctx: &Ctx,
    consumer: &str,
    partition: &Partition,
    expected: i64,
    (offset, reason): (i64, &str),
) -> Result<bool> {
    let held = ctx
        .db
        .execute(
            "UPDATE watermark SET held = $5, held_offset = $6
             WHERE consumer = $1 AND topic = $2 AND part = $3 AND next_offset = $4",
            [
                consumer.into(),
                partition.topic.clone().into(),
                partition.partition.into(),
                expected.into(),
                reason.into(),
                offset.into(),
            ],
        )
        .await?;
    Ok(held == 1)
}

/// A partition that has stopped.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Held {
    pub consumer: String,
    pub topic: String,
    pub part: i32,
    /// `gap`, `epoch`, `log`, `broken` or `circuit`, then a sentence.
    pub held: String,
    /// The offset of the record it stopped before, where there is one.
    pub held_offset: Option<i64>,
    pub next_offset: i64,
}

/// The partitions that have stopped.
///
/// # Errors
/// When the database fails.
pub async fn held(db: &Db) -> Result<Vec<Held>> {
    db.all(
        "SELECT consumer, topic, part, held, held_offset, next_offset FROM watermark
         WHERE held IS NOT NULL ORDER BY consumer, topic, part",
        [],
    )
    .await
}

/// Lets a stopped partition go on by an operator's decision: past a loss from the record it
/// stopped before, past a record that is not one of ours, or again after too many were parked.
/// What a loss carried comes back by `resync` of the service that writes the topic.
///
/// # Errors
/// `NotFound` when the partition is not stopped.
pub async fn release(
    ctx: &Ctx,
    consumer: &str,
    topic: &str,
    partition: i32,
    reason: &str,
) -> Result<()> {
    ctx.db
        .tx("watermark_release", async |tx| {
            let released = tx
                .execute(
                    "UPDATE watermark SET held = NULL, held_offset = NULL,
                       next_offset = CASE WHEN held LIKE 'broken:%' THEN held_offset + 1
                         WHEN held LIKE 'circuit:%' THEN next_offset
                         ELSE COALESCE(held_offset, 0) END,
                       last_pseq = CASE WHEN held LIKE 'circuit:%' THEN last_pseq ELSE -1 END,
                       epoch = CASE WHEN held LIKE 'epoch:%' OR held LIKE 'log:%' THEN 0
                         ELSE epoch END
                     WHERE consumer = $1 AND topic = $2 AND part = $3 AND held IS NOT NULL",
                    [consumer.into(), topic.into(), partition.into()],
                )
                .await?;
            if released == 0 {
                return Err(Error::NotFound);
            }
            let subject = format!("{consumer}/{topic}/{partition}");
            let detail = serde_json::json!({ "reason": reason });
            tx.audit(AuditRow::system("release_partition", subject).detail(detail));
            Ok(())
        })
        .await
}
