//! A log in memory that misbehaves under a seed, for the simulation: it delays, delivers again,
//! reorders across partitions and loses acknowledgements. It never reorders within a partition
//! and never loses a record, since Kafka does neither. It says nothing about the protocol.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Partition;
use super::faults::Faults;
use super::inbox::{Arrived, Number};
use super::reader::{Assignment, Start, Wanted};
use super::tail::{Tail, TailRecord};
use crate::Result;
use crate::event::Record;

/// Records brought into one inbox by one fetch, at most.
const FETCH_RECORDS_MAX: usize = 500;
/// Records delivered again at once, at most.
const AGAIN_RECORDS_MAX: i64 = 8;

/// How the log misbehaves; all chances are in percent.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    pub partitions: i32,
    pub seed: u64,
    /// A fetch of one partition brings nothing this time, or only a part.
    pub delay_percent: u32,
    /// A fetch of one partition starts some records back.
    pub again_percent: u32,
    /// A publish takes effect in full or in part and is answered by an error.
    pub lost_ack_percent: u32,
}

impl MemoryOptions {
    /// A log that behaves.
    pub const fn calm(partitions: i32) -> Self {
        Self {
            partitions,
            seed: 0,
            delay_percent: 0,
            again_percent: 0,
            lost_ack_percent: 0,
        }
    }

    /// A log that does everything it may do.
    pub const fn stormy(partitions: i32, seed: u64) -> Self {
        Self {
            partitions,
            seed,
            delay_percent: 30,
            again_percent: 20,
            lost_ack_percent: 15,
        }
    }
}

/// How often the log has misbehaved, so that a run can tell whether it saw what it asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misbehaved {
    /// Fetches that left something behind which was there.
    pub delayed: u64,
    /// Fetches that brought records again.
    pub again: u64,
    /// Publishes that were answered by an error.
    pub lost_acks: u64,
}

/// A handle on the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory {
    partitions: i32,
    log: Arc<Mutex<Log>>,
    faults: Faults,
}

#[derive(Debug)]
struct Log {
    options: MemoryOptions,
    topics: HashMap<String, Vec<Vec<Record>>>,
    random: ChaCha8Rng,
    misbehaved: Misbehaved,
}

impl Memory {
    pub(super) fn new(options: MemoryOptions) -> Self {
        let random = ChaCha8Rng::seed_from_u64(options.seed);
        let log = Arc::new(Mutex::new(Log {
            options,
            topics: HashMap::new(),
            random,
            misbehaved: Misbehaved::default(),
        }));
        Self {
            partitions: options.partitions,
            log,
            faults: Faults::default(),
        }
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Everything that was ever written to a topic, by partition; for checkers.
    pub fn records(&self, topic: &str) -> Vec<Vec<Record>> {
        self.log(|log, options| log.partitions(topic, options.partitions).clone())
    }

    /// How often it has misbehaved so far.
    pub fn misbehaved(&self) -> Misbehaved {
        self.log(|log, _| log.misbehaved)
    }

    /// Empties a topic as if it had been deleted and made anew.
    pub fn wipe(&self, topic: &str) {
        self.log(|log, _| log.topics.remove(topic));
    }

    /// Misbehaves as these options say from now on; partitions and seed stay.
    pub fn behave(&self, options: MemoryOptions) {
        self.log(|log, before| {
            log.options = MemoryOptions {
                partitions: before.partitions,
                seed: before.seed,
                ..options
            };
        });
    }

    pub(super) fn ensure_topic(&self, topic: &str) -> i32 {
        self.log(|log, options| log.partitions(topic, options.partitions).len());
        self.partitions
    }

    pub(super) fn tails(&self, topic: &str, from: &[i64]) -> Vec<Tail> {
        self.log(|log, options| {
            let partitions = log.partitions(topic, options.partitions);
            partitions
                .iter()
                .zip(from)
                .map(|(records, from)| Tail {
                    low: 0,
                    high: length(records),
                    records: records
                        .iter()
                        .filter(|record| record.offset >= *from)
                        .map(TailRecord::from)
                        .collect(),
                })
                .collect()
        })
    }

    pub(super) fn publish(&self, topic: &str, records: &[Record]) -> Result<Vec<i64>> {
        self.log(|log, options| {
            let lost = log.chance(options.lost_ack_percent);
            let written = if lost {
                log.misbehaved.lost_acks += 1;
                log.random.random_range(0..=records.len())
            } else {
                records.len()
            };
            let partitions = log.partitions(topic, options.partitions);
            let mut offsets = Vec::with_capacity(records.len());
            for record in records.iter().take(written) {
                let index = usize::try_from(record.partition).unwrap_or(usize::MAX);
                let Some(partition) = partitions.get_mut(index) else {
                    return Err(
                        KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition).into(),
                    );
                };
                let offset = length(partition);
                partition.push(Record {
                    offset,
                    topic: topic.to_owned(),
                    ..record.clone()
                });
                offsets.push(offset);
            }
            if lost {
                let code = RDKafkaErrorCode::RequestTimedOut;
                return Err(KafkaError::MessageProduction(code).into());
            }
            Ok(offsets)
        })
    }

    pub(super) fn reader(&self, topics: &[&str], wanted: Wanted) -> MemoryReader {
        let partitions: Vec<Partition> = topics
            .iter()
            .flat_map(|topic| {
                (0..self.partitions).map(|partition| Partition {
                    topic: (*topic).to_owned(),
                    partition,
                })
            })
            .collect();
        let (reply, starts) = sync_channel(1);
        MemoryReader {
            memory: self.clone(),
            wanted,
            asked: Some(Assignment::Assigned { partitions, reply }),
            starts,
            reading: Vec::new(),
        }
    }

    fn log<T>(&self, work: impl FnOnce(&mut Log, MemoryOptions) -> T) -> T {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let options = log.options;
        work(&mut log, options)
    }
}

impl Log {
    fn partitions(&mut self, topic: &str, count: i32) -> &mut Vec<Vec<Record>> {
        let count = usize::try_from(count).unwrap_or_default();
        self.topics
            .entry(topic.to_owned())
            .or_insert_with(|| vec![Vec::new(); count])
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }
}

fn length(records: &[Record]) -> i64 {
    i64::try_from(records.len()).unwrap_or(i64::MAX)
}

/// Reads every partition of its topics: whoever reads beside it is a zombie to it.
#[derive(Debug)]
pub(crate) struct MemoryReader {
    memory: Memory,
    wanted: Wanted,
    asked: Option<Assignment>,
    starts: Receiver<Vec<Start>>,
    /// Where each partition stands.
    reading: Vec<Start>,
}

impl MemoryReader {
    pub(super) async fn next(&mut self) -> Option<Assignment> {
        match self.asked.take() {
            Some(asked) => Some(asked),
            // Nothing ever changes after the first assignment.
            None => std::future::pending().await,
        }
    }

    pub(super) fn try_next(&mut self) -> Option<Assignment> {
        self.asked.take()
    }

    pub(super) fn seek(&mut self, start: Start) {
        self.reading.retain(|reading| {
            let same = reading.partition == start.partition;
            if same {
                reading.inbox.close();
            }
            !same
        });
        self.reading.push(start);
        self.reading.sort_by(|a, b| a.partition.cmp(&b.partition));
    }

    pub(super) fn fetch(&mut self) -> bool {
        if let Ok(starts) = self.starts.try_recv() {
            self.reading = starts;
        }
        let mut kept_back = false;
        for reading in &mut self.reading {
            kept_back |= self
                .memory
                .log(|log, options| fetch_one(log, options, (reading, &self.wanted)));
        }
        kept_back
    }
}

/// Brings what one partition has; whether anything stays behind.
fn fetch_one(
    log: &mut Log,
    options: MemoryOptions,
    (reading, wanted): (&mut Start, &Wanted),
) -> bool {
    let Partition { topic, partition } = reading.partition.clone();
    let delayed = log.chance(options.delay_percent);
    let again = log.chance(options.again_percent);
    let back = log.random.random_range(1..=AGAIN_RECORDS_MAX);
    let most = if delayed {
        log.random.random_range(0..3)
    } else {
        FETCH_RECORDS_MAX
    };
    let index = usize::try_from(partition).unwrap_or_default();
    let Some(records) = log.partitions(&topic, options.partitions).get(index) else {
        return false;
    };
    let high = length(records);
    reading.inbox.set_high(high);
    if !(0..=high).contains(&reading.next_offset) {
        reading.inbox.push(Arrived::Rewound {
            asked: reading.next_offset,
            low: 0,
            high,
        });
        reading.next_offset = 0;
    }
    let repeats = again && (1..high).contains(&reading.next_offset);
    if again && reading.next_offset < high {
        reading.next_offset = (reading.next_offset - back).max(0);
    }
    let from = usize::try_from(reading.next_offset).unwrap_or_default();
    for record in records.iter().skip(from).take(most) {
        if reading.inbox.is_full() {
            break;
        }
        reading.next_offset = record.offset + 1;
        reading.inbox.push(arrived(record, wanted));
    }
    let kept_back = reading.next_offset < high;
    log.misbehaved.again += u64::from(repeats && most > 0);
    log.misbehaved.delayed += u64::from(delayed && kept_back);
    kept_back
}

fn arrived(record: &Record, wanted: &Wanted) -> Arrived {
    if wanted.whole(&record.kind, record.must_understand) {
        return Arrived::Record(Box::new(record.clone()));
    }
    Arrived::Skipped {
        offset: record.offset,
        number: Number {
            epoch: record.epoch,
            pseq: record.pseq,
        },
    }
}
