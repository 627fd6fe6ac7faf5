//! What has arrived for one partition and waits for its batch; bounded by the reader, which
//! pauses the partition when it is full.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::event::Record;

/// Records that may wait for one partition.
pub(crate) const INBOX_RECORDS_MAX: usize = 2_000;
/// Bytes of payload that may wait for one partition.
pub(crate) const INBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The relay's number of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) epoch: i64,
    pub(crate) pseq: i64,
}

/// What the reader found.
#[derive(Clone, Debug)]
pub(crate) enum Arrived {
    Record(Box<Record>),
    /// A record of a type that its consumer leaves to others: only its place counts.
    Skipped {
        offset: i64,
        number: Number,
    },
    /// Not a record of ours: a header is missing or cannot be read.
    Broken {
        offset: i64,
        reason: &'static str,
    },
    /// The position asked for is not in the log (any more): reading goes on from its beginning.
    Rewound {
        asked: i64,
        low: i64,
        high: i64,
    },
}

#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Arrived>>,
    records: AtomicUsize,
    bytes: AtomicUsize,
    arrived: Arc<Notify>,
    /// The end of the partition as last seen; -1 when not yet.
    high: AtomicI64,
    /// What has been applied, for the tools that show a group's lag; -1 when nothing.
    applied: AtomicI64,
    closed: AtomicBool,
}

impl Inbox {
    pub(crate) fn new(arrived: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            arrived,
            high: AtomicI64::new(-1),
            applied: AtomicI64::new(-1),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn push(&self, arrived: Arrived) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        self.records.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(size(&arrived), Ordering::AcqRel);
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(arrived);
        self.arrived.notify_one();
    }

    /// Takes at most `max`, in their order.
    pub(crate) fn take(&self, max: usize) -> Vec<Arrived> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len().min(max);
        let taken: Vec<Arrived> = queue.drain(..count).collect();
        self.records.fetch_sub(taken.len(), Ordering::AcqRel);
        self.bytes
            .fetch_sub(taken.iter().map(size).sum(), Ordering::AcqRel);
        taken
    }

    /// Puts back what was taken and not used, before all that arrived since.
    pub(crate) fn put_back(&self, taken: Vec<Arrived>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.records.fetch_add(taken.len(), Ordering::AcqRel);
        self.bytes
            .fetch_add(taken.iter().map(size).sum(), Ordering::AcqRel);
        for arrived in taken.into_iter().rev() {
            queue.push_front(arrived);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= INBOX_RECORDS_MAX || self.bytes.load(Ordering::Acquire) >= INBOX_BYTES_MAX
    }

    pub(crate) fn is_half_empty(&self) -> bool {
        self.len() <= INBOX_RECORDS_MAX / 2
            && self.bytes.load(Ordering::Acquire) <= INBOX_BYTES_MAX / 2
    }

    /// Nothing more goes in: the partition has another owner, or another inbox.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn high(&self) -> i64 {
        self.high.load(Ordering::Acquire)
    }

    pub(crate) fn set_high(&self, high: i64) {
        self.high.store(high, Ordering::Release);
    }

    pub(crate) fn applied(&self) -> i64 {
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn set_applied(&self, next_offset: i64) {
        self.applied.store(next_offset, Ordering::Release);
    }
}

fn size(arrived: &Arrived) -> usize {
    match arrived {
        Arrived::Record(record) => record.payload.len() + record.key.len(),
        Arrived::Skipped { .. } | Arrived::Broken { .. } | Arrived::Rewound { .. } => 0,
    }
}
