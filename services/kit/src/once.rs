//! The idempotency record: a request acts once for each (caller, key), whatever comes again.
//!
//! A command calls [`begin`] after it has loaded and locked what it decides on, and [`finish`]
//! when it has decided. A lasting refusal is recorded too: [`crate::Db::tx`] goes back to the
//! savepoint that `begin` made, so that `?` is all a command needs. What is kept is the id of
//! the outcome or the code of the refusal, never text, for [`KEEP_DAYS`]. Natural keys (order
//! line, transaction id, scan id) are constraints of the tables they belong to and never expire.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;
use sea_orm::FromQueryResult;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::tx::Write;
use crate::{Error, Refusal, Result, Tx};

/// How long an outcome is remembered, in days.
pub const KEEP_DAYS: i64 = 7;
const SWEEP_ROWS_MAX: i64 = 5_000;

/// What the record says of this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// Never seen: go on, then call [`finish`].
    First,
    /// Done before, with this outcome's id.
    Done(Vec<u8>),
    /// Refused before, with this code.
    Refused(String),
}

/// One request of one caller.
#[derive(Clone, Debug)]
pub struct Request {
    /// The member, login or gate that asks.
    pub caller: Uuid,
    /// The key the client minted.
    pub key: Uuid,
    /// The hash of what is asked, see [`hash`].
    pub hash: [u8; 32],
}

/// The key under which this transaction records its outcome.
#[derive(Clone, Debug)]
pub struct OpenOnce {
    caller: Uuid,
    key: Uuid,
}

/// The hash of a request: the command's name and its arguments in a stable text form.
pub fn hash(command: &str, arguments: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in std::iter::once(&command).chain(arguments) {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}

/// The refusal for a key that came with another request before.
pub fn key_reused() -> Refusal {
    Refusal::new(
        "IDEMPOTENCY_KEY_REUSED",
        "idempotencyKey",
        "这个幂等键已用于另一个请求，请换一个新的。".into(),
        "This idempotency key was used for another request; use a new one.".into(),
    )
}

#[derive(FromQueryResult)]
struct Row {
    request_hash: Vec<u8>,
    outcome: Option<Vec<u8>>,
    refusal: Option<String>,
}

/// Looks the request up, or opens a record for it. A twin that runs at the same moment waits
/// here until the first has committed, and then reads its outcome.
///
/// # Errors
/// `IDEMPOTENCY_KEY_REUSED` when the key came with another request.
pub async fn begin(tx: &Tx, request: &Request) -> Result<Once> {
    let inserted = tx
        .execute(
            "INSERT INTO once (caller, key, request_hash, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (caller, key) DO NOTHING",
            [
                request.caller.into(),
                request.key.into(),
                request.hash.to_vec().into(),
                tx.now().into(),
            ],
        )
        .await?;
    if inserted == 1 {
        tx.execute("SAVEPOINT once", []).await?;
        tx.open_once(OpenOnce {
            caller: request.caller,
            key: request.key,
        });
        return Ok(Once::First);
    }
    let row = tx
        .one::<Row>(
            "SELECT request_hash, outcome, refusal FROM once WHERE caller = $1 AND key = $2",
            [request.caller.into(), request.key.into()],
        )
        .await?
        .ok_or_else(|| Error::internal("an idempotency record vanished"))?;
    if row.request_hash != request.hash {
        return Err(key_reused().into());
    }
    match (row.outcome, row.refusal) {
        (Some(id), _) => Ok(Once::Done(id)),
        (None, Some(code)) => Ok(Once::Refused(code)),
        (None, None) => Err(Error::internal("an idempotency record without an outcome")),
    }
}

/// Records the id of the outcome, when the transaction ends.
///
/// # Errors
/// When `begin` did not answer `First` in this transaction.
pub fn finish(tx: &Tx, outcome: &[u8]) -> Result<()> {
    let open = tx
        .take_once()
        .ok_or_else(|| Error::internal("no idempotency record is open"))?;
    tx.at_end(Write::new(
        "UPDATE once SET outcome = $3 WHERE caller = $1 AND key = $2",
        [open.caller.into(), open.key.into(), outcome.to_vec().into()],
    ));
    Ok(())
}

pub(crate) async fn record_refusal(tx: &Tx, open: &OpenOnce, refusal: &Refusal) -> Result<()> {
    tx.execute("ROLLBACK TO SAVEPOINT once", []).await?;
    tx.execute(
        "UPDATE once SET refusal = $3 WHERE caller = $1 AND key = $2",
        [open.caller.into(), open.key.into(), refusal.code.into()],
    )
    .await?;
    Ok(())
}

/// What a batch found for each of its requests, in their order. The same key twice in a batch:
/// the first is `First`, the later ones are `Twin` of its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOnce {
    First,
    /// The same request stands earlier in this batch: share its answer.
    Twin(usize),
    /// The same key with another request.
    KeyReused,
    Done(Vec<u8>),
    Refused(String),
}

#[derive(FromQueryResult)]
struct BatchRow {
    caller: Uuid,
    key: Uuid,
    request_hash: Vec<u8>,
    outcome: Option<Vec<u8>>,
    refusal: Option<String>,
    fresh: bool,
}

/// [`begin`] for a lane's whole batch in one statement; [`finish_batch`] must follow in the same
/// transaction for every `First`.
///
/// # Errors
/// When the database fails.
pub async fn begin_batch(tx: &Tx, requests: &[Request]) -> Result<Vec<BatchOnce>> {
    // Sorted, so that two batches never wait for each other; of equal keys the first counts.
    let mut first: BTreeMap<(Uuid, Uuid), usize> = BTreeMap::new();
    for (at, request) in requests.iter().enumerate() {
        first.entry((request.caller, request.key)).or_insert(at);
    }
    let callers: Vec<Uuid> = first.keys().map(|(caller, _)| *caller).collect();
    let keys: Vec<Uuid> = first.keys().map(|(_, key)| *key).collect();
    let hashes: Vec<Vec<u8>> = first
        .values()
        .map(|at| requests[*at].hash.to_vec())
        .collect();
    let inserted: Vec<BatchRow> = tx
        .all(
            "INSERT INTO once (caller, key, request_hash, created_at)
             SELECT c, k, h, $4 FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[]) AS t (c, k, h)
             ON CONFLICT (caller, key) DO NOTHING
             RETURNING caller, key, request_hash, outcome, refusal, true AS fresh",
            [
                callers.clone().into(),
                keys.clone().into(),
                hashes.into(),
                tx.now().into(),
            ],
        )
        .await?;
    let mut rows: HashMap<(Uuid, Uuid), BatchRow> = by_key(inserted);
    if rows.len() < first.len() {
        let known: Vec<BatchRow> = tx
            .all(
                "SELECT o.caller, o.key, request_hash, outcome, refusal, false AS fresh
                 FROM once o JOIN UNNEST($1::uuid[], $2::uuid[]) AS t (c, k)
                   ON o.caller = t.c AND o.key = t.k",
                [callers.into(), keys.into()],
            )
            .await?;
        // What this batch put in is among them.
        for (key, row) in by_key(known) {
            rows.entry(key).or_insert(row);
        }
    }
    requests
        .iter()
        .enumerate()
        .map(|(at, request)| {
            let key = (request.caller, request.key);
            let (first, row) = first
                .get(&key)
                .zip(rows.get(&key))
                .ok_or_else(|| Error::internal("an idempotency record vanished"))?;
            classify((at, *first), request, row)
        })
        .collect()
}

fn by_key(rows: Vec<BatchRow>) -> HashMap<(Uuid, Uuid), BatchRow> {
    rows.into_iter()
        .map(|row| ((row.caller, row.key), row))
        .collect()
}

fn classify((at, first): (usize, usize), request: &Request, row: &BatchRow) -> Result<BatchOnce> {
    if row.request_hash != request.hash {
        return Ok(BatchOnce::KeyReused);
    }
    if row.fresh {
        return Ok(if first == at {
            BatchOnce::First
        } else {
            BatchOnce::Twin(first)
        });
    }
    match (&row.outcome, &row.refusal) {
        (Some(id), _) => Ok(BatchOnce::Done(id.clone())),
        (None, Some(code)) => Ok(BatchOnce::Refused(code.clone())),
        (None, None) => Err(Error::internal("an idempotency record without an outcome")),
    }
}

/// The outcome of one request of a batch.
#[derive(Clone, Debug)]
pub struct BatchOutcome {
    pub caller: Uuid,
    pub key: Uuid,
    /// The outcome's id, or the refusal's code.
    pub outcome: std::result::Result<Vec<u8>, &'static str>,
}

/// Takes back what [`begin_batch`] opened for requests that are refused for the moment only, so
/// that the same request may come again.
///
/// # Errors
/// When the database fails.
pub async fn forget_batch(tx: &Tx, requests: &[Request]) -> Result<()> {
    if requests.is_empty() {
        return Ok(());
    }
    let callers: Vec<Uuid> = requests.iter().map(|request| request.caller).collect();
    let keys: Vec<Uuid> = requests.iter().map(|request| request.key).collect();
    tx.execute(
        "DELETE FROM once o USING UNNEST($1::uuid[], $2::uuid[]) AS t (c, k)
         WHERE o.caller = t.c AND o.key = t.k AND outcome IS NULL AND refusal IS NULL",
        [callers.into(), keys.into()],
    )
    .await?;
    Ok(())
}

/// Records the outcomes of a batch, when the transaction ends. Of a transient refusal there is none
/// to record: see [`forget_batch`].
pub fn finish_batch(tx: &Tx, outcomes: &[BatchOutcome]) {
    if outcomes.is_empty() {
        return;
    }
    let callers: Vec<Uuid> = outcomes.iter().map(|o| o.caller).collect();
    let keys: Vec<Uuid> = outcomes.iter().map(|o| o.key).collect();
    let ids: Vec<Vec<u8>> = outcomes
        .iter()
        .map(|o| o.outcome.clone().unwrap_or_default())
        .collect();
    let codes: Vec<String> = outcomes
        .iter()
        .map(|o| o.outcome.as_ref().err().copied().unwrap_or("").to_owned())
        .collect();
    tx.at_end(Write::new(
        "UPDATE once SET outcome = CASE WHEN t.code = '' THEN t.id END, refusal = NULLIF(t.code, '')
         FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[], $4::text[]) AS t (c, k, id, code)
         WHERE caller = t.c AND key = t.k",
        [callers.into(), keys.into(), ids.into(), codes.into()],
    ));
}

/// Removes records older than [`KEEP_DAYS`], some thousand at a time; the rows removed.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx) -> Result<u64> {
    tx.execute(
        "DELETE FROM once WHERE ctid IN
           (SELECT ctid FROM once WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
        [
            (tx.now() - TimeDelta::days(KEEP_DAYS)).into(),
            SWEEP_ROWS_MAX.into(),
        ],
    )
    .await
}
