//! What brings a consumer its records: which partitions it reads, from where, into which inbox.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use rdkafka::error::KafkaError;

use super::inbox::Inbox;
use super::kafka::KafkaReader;
use super::memory::MemoryReader;
use super::{EPOCH_OPENED, Partition};

/// Says which types of records a consumer handles: of the others it gets the place alone, so that
/// they are neither taken apart nor copied.
#[derive(Clone)]
pub(crate) struct Wanted(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Wanted {
    pub(crate) fn new(handles: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(handles))
    }

    /// Whether the consumer must see the whole record. One that opens an epoch, or must be
    /// understood, it sees whatever it handles.
    pub(super) fn whole(&self, kind: &str, must_understand: bool) -> bool {
        must_understand || kind == EPOCH_OPENED || (self.0)(kind)
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanted")
    }
}

/// What changed about the partitions a consumer reads.
#[derive(Debug)]
pub(crate) enum Assignment {
    /// These are now ours: answer where each starts.
    Assigned {
        partitions: Vec<Partition>,
        reply: SyncSender<Vec<Start>>,
    },
    /// None is ours any more: answer when no transaction is open.
    Revoked { done: SyncSender<()> },
    /// Reading ended for good.
    Failed(KafkaError),
}

/// Where one partition starts.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) partition: Partition,
    /// The next offset wanted; -1 is outside every log and reads it from its beginning.
    pub(crate) next_offset: i64,
    pub(crate) inbox: Arc<Inbox>,
}

#[derive(Debug)]
pub(crate) enum Reader {
    Kafka(KafkaReader),
    Memory(MemoryReader),
}

impl Reader {
    /// Waits for the next change; `None` when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Assignment> {
        match self {
            Self::Kafka(kafka) => kafka.next().await,
            Self::Memory(memory) => memory.next().await,
        }
    }

    pub(crate) fn try_next(&mut self) -> Option<Assignment> {
        match self {
            Self::Kafka(kafka) => kafka.try_next(),
            Self::Memory(memory) => memory.try_next(),
        }
    }

    /// Reads one partition anew from another offset into another inbox.
    pub(crate) fn seek(&mut self, start: Start) {
        match self {
            Self::Kafka(kafka) => kafka.seek(start),
            Self::Memory(memory) => memory.seek(start),
        }
    }

    /// Moves what the memory has into the inboxes; Kafka's thread does so by itself. Whether
    /// something was kept back for a later call.
    pub(crate) fn fetch(&mut self) -> bool {
        match self {
            Self::Kafka(_) => false,
            Self::Memory(memory) => memory.fetch(),
        }
    }

    pub(crate) async fn close(self) {
        match self {
            Self::Kafka(kafka) => kafka.close().await,
            Self::Memory(_) => {}
        }
    }
}
