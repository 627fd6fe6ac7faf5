//! The outbox: insert-only, four list partitions by time slot, emptied by `TRUNCATE`. All the
//! events of a command go in by one statement right before its commit.

use uuid::Uuid;

use crate::event::{EVENT_BYTES_MAX, NewEvent};
use crate::tx::Write;
use crate::{Error, Result, Tx};

/// The length of a time slot, in seconds; slot = seconds / this, modulo [`SLOTS`].
pub const SLOT_SECONDS: i64 = 600;
/// Partitions of the outbox table.
pub const SLOTS: i64 = 4;

/// What writes the events, in their order.
pub(crate) fn insert(tx: &Tx, events: &[NewEvent]) -> Result<Option<Write>> {
    if events.is_empty() {
        return Ok(None);
    }
    if let Some(large) = events.iter().find(|e| e.payload.len() > EVENT_BYTES_MAX) {
        return Err(Error::internal(format!(
            "{} is too large to publish",
            large.kind
        )));
    }
    let slot = i16::try_from(
        tx.now()
            .timestamp()
            .div_euclid(SLOT_SECONDS)
            .rem_euclid(SLOTS),
    )
    .unwrap_or_default();
    let ids: Vec<Uuid> = events.iter().map(|_| tx.uuid()).collect();
    let kinds: Vec<String> = events.iter().map(|e| e.kind.to_owned()).collect();
    let keys: Vec<Vec<u8>> = events.iter().map(|e| e.key.clone()).collect();
    let versions: Vec<i64> = events.iter().map(|e| e.version).collect();
    let musts: Vec<bool> = events.iter().map(|e| e.must_understand).collect();
    let payloads: Vec<Vec<u8>> = events.iter().map(|e| e.payload.clone()).collect();
    Ok(Some(Write::new(
        "INSERT INTO outbox
           (slot, event_id, kind, key, version, must_understand, payload, occurred_at, traceparent)
         SELECT $7, i, t, k, v, m, p, $8, $9
         FROM UNNEST($1::uuid[], $2::text[], $3::bytea[], $4::bigint[], $5::bool[], $6::bytea[])
           WITH ORDINALITY AS e (i, t, k, v, m, p, o) ORDER BY o",
        [
            ids.into(),
            kinds.into(),
            keys.into(),
            versions.into(),
            musts.into(),
            payloads.into(),
            slot.into(),
            tx.now().into(),
            crate::telemetry::traceparent().into(),
        ],
    )))
}
