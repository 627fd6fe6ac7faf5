//! Whether a topic and the relay's stored state explain each other. Pure.
//!
//! A relay stores what was acknowledged before it sends more, so behind the last acknowledged
//! offset there can be only: copies of what it had sent before, the one chunk it sent and did not
//! store, and what relays of older epochs sent too late. Anything else was written by a database
//! that is not this one, or by this one in a future that it has lost.

use std::collections::HashMap;

use uuid::Uuid;

use super::state::State;
use crate::bus::{Stamp, TAIL_RECORDS_MAX, Tail};

/// Whether any record carries a number above the stored counters, so that [`explain`] needs to
/// know what the open tick would send next.
pub(super) fn goes_beyond(state: &State, tails: &[Tail]) -> bool {
    state.pseqs.iter().zip(tails).any(|(pseq, tail)| {
        tail.records
            .iter()
            .filter_map(|record| record.stamp.as_ref())
            .any(|stamp| stamp.epoch == state.epoch && stamp.pseq > *pseq)
    })
}

/// Whether each partition still reaches as far as was acknowledged; why not.
pub(super) fn reaches(state: &State, tails: &[Tail]) -> Result<(), String> {
    for (partition, (offset, tail)) in state.offsets.iter().zip(tails).enumerate() {
        if tail.high <= *offset {
            return Err(format!(
                "partition {partition} ends at {} and offset {offset} was acknowledged: the \
                 topic was wiped or lost records",
                tail.high
            ));
        }
    }
    Ok(())
}

/// Why the ends of the topic do not follow from the stored state; `expected` names the event
/// that the open tick gives to each (partition, number) that comes next.
pub(super) fn explain(
    state: &State,
    tails: &[Tail],
    expected: &HashMap<(i32, i64), Uuid>,
) -> Result<(), String> {
    reaches(state, tails)?;
    for (partition, tail) in (0..).zip(tails) {
        let index = usize::try_from(partition).unwrap_or_default();
        let (pseq, offset) = (state.pseqs[index], state.offsets[index]);
        if tail.high - offset - 1 > TAIL_RECORDS_MAX {
            return Err(format!(
                "partition {partition} has {} records after the last one acknowledged",
                tail.high - offset - 1
            ));
        }
        for record in &tail.records {
            let explained = match &record.stamp {
                None => Err("is not one of a relay".to_owned()),
                Some(stamp) if record.offset <= offset => {
                    acknowledged(state, pseq, stamp, record.offset == offset)
                }
                Some(stamp) => sent(state, pseq, stamp, expected.get(&(partition, stamp.pseq))),
            };
            if let Err(reason) = explained {
                return Err(format!(
                    "partition {partition}: the record at offset {} {reason}",
                    record.offset
                ));
            }
        }
    }
    Ok(())
}

/// The record at the last acknowledged offset must be the one that was acknowledged. Before the
/// epoch is announced there is none: the offset only says how long the topic was.
fn acknowledged(state: &State, pseq: i64, stamp: &Stamp, last: bool) -> Result<(), String> {
    let same = stamp.epoch == state.epoch && stamp.pseq == pseq;
    if !last || !state.announced || same {
        return Ok(());
    }
    Err(format!(
        "is number {} of epoch {}, and number {pseq} of epoch {} was acknowledged there",
        stamp.pseq, stamp.epoch, state.epoch
    ))
}

fn sent(state: &State, pseq: i64, stamp: &Stamp, expected: Option<&Uuid>) -> Result<(), String> {
    if stamp.epoch > state.epoch {
        return Err(format!(
            "is of epoch {}, the database of {}",
            stamp.epoch, state.epoch
        ));
    }
    // Sent too late by a relay of an epoch that is over: consumers drop it.
    let late = stamp.epoch < state.epoch;
    let copy = stamp.pseq <= pseq;
    if late || copy || expected == Some(&stamp.id) {
        return Ok(());
    }
    Err(format!(
        "is number {} of epoch {} and not what the database would send as such: the database \
         went back in time",
        stamp.pseq, stamp.epoch
    ))
}
