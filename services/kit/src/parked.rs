//! Records that could not be applied, and those that wait behind them by the same key.
//!
//! A key is held from its first parked record until nothing of it is left: only then do later
//! records of the key flow again, so its order never breaks. Nothing here leaves by itself or by
//! age: an operator retries after a fix, or discards with a reason.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::audit::AuditRow;
use crate::consumer::{self, Handler};
use crate::event::Record;
use crate::{Ctx, Db, Error, Result, Tx};

/// Records retried in one transaction, at most.
pub const RETRY_RECORDS_MAX: usize = 100;
/// Rows listed at once, at most.
pub const LIST_ROWS_MAX: i64 = 1_000;
const ERROR_CHARS_MAX: usize = 300;

/// A parked record as an operator sees it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Parked {
    pub id: i64,
    pub consumer: String,
    pub topic: String,
    pub part: i32,
    pub offset: i64,
    pub epoch: i64,
    pub pseq: i64,
    pub kind: String,
    pub key: Vec<u8>,
    pub version: i64,
    /// Why it was parked; `None` when it only waits behind an earlier record of its key.
    pub error: Option<String>,
    pub parked_at: DateTime<Utc>,
}

/// What a retry came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    /// Records applied.
    pub applied: usize,
    /// Why it stopped; `None` when nothing is left and the key flows again.
    pub error: Option<String>,
}

/// What waits, oldest first, of one consumer or of all.
///
/// # Errors
/// When the database fails.
pub async fn list(db: &Db, consumer: Option<&str>) -> Result<Vec<Parked>> {
    db.all(
        "SELECT id, consumer, topic, part, \"offset\", epoch, pseq, kind, key, version, error,
           parked_at
         FROM parked WHERE state = 'waiting' AND ($1::text IS NULL OR consumer = $1)
         ORDER BY consumer, topic, part, epoch, pseq LIMIT $2",
        [consumer.into(), LIST_ROWS_MAX.into()],
    )
    .await
}

/// Applies what waits of the key of one parked record, in order, until it is through or one
/// fails again.
///
/// # Errors
/// `NotFound` when the record does not wait for this handler's consumer; transient failures.
pub async fn retry<H: Handler>(ctx: &Ctx, handler: &H, id: i64) -> Result<Retried> {
    let held = Hold::of(&ctx.db, handler.name(), id).await?;
    let mut applied = 0;
    let mut most = RETRY_RECORDS_MAX;
    loop {
        match retry_chunk(ctx, handler, &held, most).await {
            Ok(0) => {
                measure(ctx).await?;
                return Ok(Retried {
                    applied,
                    error: None,
                });
            }
            Ok(count) => {
                applied += count;
                most = RETRY_RECORDS_MAX;
            }
            Err(error) if error.is_transient() => return Err(error),
            // One by one, so that what comes before the culprit is applied.
            Err(_) if most > 1 => most = 1,
            Err(error) => {
                let reason = reason(&error);
                held.record_failure(ctx, &reason).await?;
                return Ok(Retried {
                    applied,
                    error: Some(reason),
                });
            }
        }
    }
}

/// Applies the next records of a held key in one transaction; 0 when none was left and the hold
/// was dropped.
async fn retry_chunk<H: Handler>(
    ctx: &Ctx,
    handler: &H,
    held: &Hold,
    most: usize,
) -> Result<usize> {
    let tx = ctx.db.begin().await?;
    let result = attempt(&tx, handler, held, most).await;
    ctx.db.end_as(handler.name(), tx, result).await
}

async fn attempt<H: Handler>(tx: &Tx, handler: &H, held: &Hold, most: usize) -> Result<usize> {
    held.lock(tx).await?;
    let rows = held.next(tx, most).await?;
    if rows.is_empty() {
        held.drop(tx).await?;
        return Ok(0);
    }
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let records: Vec<Record> = rows.into_iter().map(Row::record).collect();
    if let Some(unknown) = records.iter().find(|record| !handler.handles(&record.kind)) {
        return Err(Error::permanent(format!(
            "{} is still not known",
            unknown.kind
        )));
    }
    consumer::run(handler, tx, &records).await?;
    tx.execute(
        "UPDATE parked SET state = 'applied' WHERE id = ANY ($1)",
        [ids.into()],
    )
    .await?;
    Ok(records.len())
}

/// Gives up one parked record for a reason. What waits behind it still waits: retry it.
///
/// # Errors
/// `NotFound` when the record does not wait.
pub async fn discard(ctx: &Ctx, consumer: &str, id: i64, reason: &str) -> Result<()> {
    let held = Hold::of(&ctx.db, consumer, id).await?;
    ctx.db
        .tx("parked_discard", async |tx| {
            held.lock(tx).await?;
            let discarded = tx
                .execute(
                    "UPDATE parked SET state = 'discarded', reason = $2
                     WHERE id = $1 AND state = 'waiting'",
                    [id.into(), reason.into()],
                )
                .await?;
            if discarded == 0 {
                return Err(Error::NotFound);
            }
            if held.next(tx, 1).await?.is_empty() {
                held.drop(tx).await?;
            }
            let detail = serde_json::json!({ "reason": reason });
            tx.audit(AuditRow::system("discard_parked", format!("{consumer}/{id}")).detail(detail));
            Ok(())
        })
        .await?;
    measure(ctx).await
}

/// The held key of a parked record.
struct Hold {
    consumer: String,
    topic: String,
    key: Vec<u8>,
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    topic: String,
    part: i32,
    offset: i64,
    epoch: i64,
    pseq: i64,
    event_id: Uuid,
    kind: String,
    key: Vec<u8>,
    version: i64,
    must_understand: bool,
    at: DateTime<Utc>,
    traceparent: Option<String>,
    payload: Vec<u8>,
}

impl Row {
    fn record(self) -> Record {
        Record {
            topic: self.topic,
            partition: self.part,
            offset: self.offset,
            epoch: self.epoch,
            pseq: self.pseq,
            id: self.event_id,
            kind: self.kind,
            key: self.key,
            version: self.version,
            must_understand: self.must_understand,
            at: self.at,
            traceparent: self.traceparent,
            payload: self.payload,
        }
    }
}

impl Hold {
    async fn of(db: &Db, consumer: &str, id: i64) -> Result<Self> {
        #[derive(FromQueryResult)]
        struct Key {
            topic: String,
            key: Vec<u8>,
        }
        let found: Option<Key> = db
            .one(
                "SELECT topic, key FROM parked
                 WHERE id = $1 AND consumer = $2 AND state = 'waiting'",
                [id.into(), consumer.into()],
            )
            .await?;
        let Key { topic, key } = found.ok_or(Error::NotFound)?;
        Ok(Self {
            consumer: consumer.to_owned(),
            topic,
            key,
        })
    }

    fn values(&self) -> [sea_orm::Value; 3] {
        [
            self.consumer.clone().into(),
            self.topic.clone().into(),
            self.key.clone().into(),
        ]
    }

    /// Keeps the consumer from putting anything behind this key, and other operators away.
    async fn lock(&self, tx: &Tx) -> Result<()> {
        tx.execute(
            "SELECT 1 FROM parked_key WHERE consumer = $1 AND topic = $2 AND key = $3
             FOR UPDATE",
            self.values(),
        )
        .await?;
        Ok(())
    }

    async fn next(&self, tx: &Tx, most: usize) -> Result<Vec<Row>> {
        let [consumer, topic, key] = self.values();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        tx.all(
            "SELECT id, topic, part, \"offset\", epoch, pseq, event_id, kind, key, version,
               must_understand, at, traceparent, payload
             FROM parked WHERE consumer = $1 AND topic = $2 AND key = $3 AND state = 'waiting'
             ORDER BY epoch, pseq LIMIT $4",
            [consumer, topic, key, most.into()],
        )
        .await
    }

    async fn drop(&self, tx: &Tx) -> Result<()> {
        tx.execute(
            "DELETE FROM parked_key WHERE consumer = $1 AND topic = $2 AND key = $3",
            self.values(),
        )
        .await?;
        Ok(())
    }

    /// Shows at the record that waits first why it failed again.
    async fn record_failure(&self, ctx: &Ctx, reason: &str) -> Result<()> {
        let [consumer, topic, key] = self.values();
        ctx.db
            .execute(
                "UPDATE parked SET error = $4 WHERE id = (SELECT id FROM parked
                   WHERE consumer = $1 AND topic = $2 AND key = $3 AND state = 'waiting'
                   ORDER BY epoch, pseq LIMIT 1)",
                [consumer, topic, key, reason.into()],
            )
            .await?;
        Ok(())
    }
}

/// Parks one record: with its error, holding its key, or behind a key that is held.
pub(crate) async fn insert(
    tx: &Tx,
    consumer: &str,
    record: &Record,
    error: Option<&str>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO parked (consumer, topic, part, \"offset\", epoch, pseq, event_id, kind, key,
           version, must_understand, at, traceparent, payload, error, parked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        [
            consumer.into(),
            record.topic.clone().into(),
            record.partition.into(),
            record.offset.into(),
            record.epoch.into(),
            record.pseq.into(),
            record.id.into(),
            record.kind.clone().into(),
            record.key.clone().into(),
            record.version.into(),
            record.must_understand.into(),
            record.at.into(),
            record.traceparent.clone().into(),
            record.payload.clone().into(),
            error.into(),
            tx.now().into(),
        ],
    )
    .await?;
    if error.is_some() {
        tx.execute(
            "INSERT INTO parked_key (consumer, topic, key, since) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
            [
                consumer.into(),
                record.topic.clone().into(),
                record.key.clone().into(),
                tx.now().into(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// The error and what it came from in one line. Of what the server says only code and constraint:
/// its sentences quote values.
pub(crate) fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some(state) = error.sqlstate() {
        text = format!("{text}: {state} {}", error.constraint().unwrap_or_default());
    } else {
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
    }
    text.trim_end().chars().take(ERROR_CHARS_MAX).collect()
}

/// Shows how many records wait and how many keys are held.
///
/// # Errors
/// When the database fails.
pub async fn measure(ctx: &Ctx) -> Result<()> {
    #[derive(FromQueryResult)]
    struct Count {
        consumer: String,
        records: i64,
        keys: i64,
    }
    let counts: Vec<Count> = ctx
        .db
        .all(
            "SELECT w.consumer,
               (SELECT count(*) FROM parked p
                WHERE p.consumer = w.consumer AND p.state = 'waiting') AS records,
               (SELECT count(*) FROM parked_key k WHERE k.consumer = w.consumer) AS keys
             FROM (SELECT DISTINCT consumer FROM watermark) w",
            [],
        )
        .await?;
    for Count {
        consumer,
        records,
        keys,
    } in counts
    {
        #[expect(clippy::cast_precision_loss, reason = "a count for a gauge")]
        let (records, keys) = (records as f64, keys as f64);
        metrics::gauge!("bashu_parked_records", "consumer" => consumer.clone()).set(records);
        metrics::gauge!("bashu_parked_keys", "consumer" => consumer).set(keys);
    }
    Ok(())
}
