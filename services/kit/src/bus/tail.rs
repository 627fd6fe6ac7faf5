//! What the end of a topic says, for the relay to compare with what it has stored.

use uuid::Uuid;

use crate::event::Record;

/// Records read behind a relay's stored position, at most: a relay can have sent one chunk more
/// than it stored, and a fenced twin a copy of it.
pub const TAIL_RECORDS_MAX: i64 = 50_000;

/// One partition's end.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The first offset that the log still has.
    pub low: i64,
    /// The offset after the last record.
    pub high: i64,
    /// The records from the offset asked for, in their order; empty when they are more than
    /// [`TAIL_RECORDS_MAX`].
    pub records: Vec<TailRecord>,
}

/// What identifies a record of a tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRecord {
    pub offset: i64,
    /// `None` when the record is not one of a relay.
    pub stamp: Option<Stamp>,
}

/// What a relay stamped on a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub epoch: i64,
    pub pseq: i64,
    pub id: Uuid,
    pub kind: String,
}

impl From<&Record> for TailRecord {
    fn from(record: &Record) -> Self {
        Self {
            offset: record.offset,
            stamp: Some(Stamp {
                epoch: record.epoch,
                pseq: record.pseq,
                id: record.id,
                kind: record.kind.clone(),
            }),
        }
    }
}
