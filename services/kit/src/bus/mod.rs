//! What carries events between services: the union's own Kafka, or a log in memory for the
//! simulation.
//!
//! Both give the same promise and no more: records of one partition keep their order, may come
//! twice, and an acknowledgement may be lost. What makes the effect happen once stands in
//! [`crate::relay`] and [`crate::consumer`]. No Kafka transactions, no schema registry.

mod faults;
mod inbox;
mod kafka;
mod memory;
mod publisher;
mod reader;
mod tail;
mod wire;

pub use faults::{Faults, Hold};
pub(crate) use inbox::{Arrived, Inbox};
pub use kafka::{Kafka, KafkaOptions};
pub use memory::{Memory, MemoryOptions};
pub(crate) use publisher::Publisher;
pub(crate) use reader::{Assignment, Reader, Start};
pub use tail::{Stamp, TAIL_RECORDS_MAX, Tail, TailRecord};

use crate::Result;

/// The type of the record that opens an epoch: the first of it in every partition, with `pseq` 0.
pub const EPOCH_OPENED: &str = "bashu.kit.v1.EpochOpened";

/// A partition of a topic, by the topic's name without any prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
}

/// The carrier. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Bus {
    Kafka(Kafka),
    /// For simulation only: everything that is about the protocol is tested on a real Kafka.
    Memory(Memory),
}

impl Bus {
    /// The union's Kafka; nothing is connected yet.
    pub fn kafka(options: KafkaOptions) -> Self {
        Self::Kafka(Kafka::new(options))
    }

    /// A log in memory that misbehaves under its seed.
    pub fn memory(options: MemoryOptions) -> Self {
        Self::Memory(Memory::new(options))
    }

    /// Where a test or the simulation says what shall go wrong.
    pub fn faults(&self) -> &Faults {
        match self {
            Self::Kafka(kafka) => kafka.faults(),
            Self::Memory(memory) => memory.faults(),
        }
    }

    /// Makes the topic where it is missing; its partitions.
    ///
    /// # Errors
    /// When the broker is away, or the topic has another number of partitions than configured:
    /// growing means a `.v2`, else counters and key order break.
    pub async fn ensure_topic(&self, topic: &str) -> Result<i32> {
        match self {
            Self::Kafka(kafka) => kafka.ensure_topic(topic).await,
            Self::Memory(memory) => Ok(memory.ensure_topic(topic)),
        }
    }

    /// What each partition holds from the given offset on.
    ///
    /// # Errors
    /// When the broker is away.
    pub async fn tails(&self, topic: &str, from: &[i64]) -> Result<Vec<Tail>> {
        match self {
            Self::Kafka(kafka) => kafka.tails(topic, from).await,
            Self::Memory(memory) => Ok(memory.tails(topic, from)),
        }
    }

    pub(crate) fn publisher(&self, topic: &str, source: String) -> Result<Publisher> {
        Ok(match self {
            Self::Kafka(kafka) => Publisher::Kafka(kafka.publisher(topic, source)?),
            Self::Memory(memory) => Publisher::Memory(memory.clone(), topic.to_owned()),
        })
    }

    pub(crate) fn reader(&self, group: &str, topics: &[&str]) -> Result<Reader> {
        Ok(match self {
            Self::Kafka(kafka) => Reader::Kafka(kafka.reader(group, topics)?),
            Self::Memory(memory) => Reader::Memory(memory.reader(topics)),
        })
    }
}

/// The partition of a key: the same for ever, so that the order of a key is the order of its
/// partition.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let partitions = u64::try_from(partitions.max(1)).unwrap_or(1);
    // The high half: the low bits of this hash mix only the low bits of the key.
    i32::try_from((hash >> 32) % partitions).unwrap_or_default()
}

/// One key for each partition, in their order: for a record that must reach all of them, such as
/// a heartbeat.
pub fn keys_of_all_partitions(name: &str, partitions: i32) -> Vec<Vec<u8>> {
    (0..partitions)
        .map(|wanted| {
            let mut ordinal = 0_u32;
            loop {
                let key = format!("{name}/{wanted}/{ordinal}").into_bytes();
                if partition_of(&key, partitions) == wanted {
                    return key;
                }
                ordinal += 1;
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The partition of a key is part of what is stored: it never changes.
    #[test]
    fn partitions_of_known_keys_stay() {
        let key = uuid::uuid!("0196f2b0-0000-7000-8000-000000000001");
        assert_eq!(partition_of(key.as_bytes(), 12), 8);
        assert_eq!(partition_of(b"", 12), 9);
        assert_eq!(partition_of(&7_u64.to_be_bytes(), 2), 1);
    }

    /// Keys of both shapes in use spread over all partitions about evenly.
    #[test]
    fn keys_spread_over_all_partitions() {
        let mut by_uuid = [0_u32; 12];
        let mut by_number = [0_u32; 12];
        for n in 0..12_000_u64 {
            let id = uuid::Builder::from_unix_timestamp_millis(n, &[7; 10]).into_uuid();
            by_uuid[usize::try_from(partition_of(id.as_bytes(), 12)).unwrap()] += 1;
            let at = partition_of(&n.to_be_bytes(), 12);
            by_number[usize::try_from(at).unwrap()] += 1;
        }
        for count in by_uuid.into_iter().chain(by_number) {
            assert!((700..1_300).contains(&count), "{by_uuid:?} {by_number:?}");
        }
    }

    /// A heartbeat reaches every partition.
    #[test]
    fn every_partition_has_a_key() {
        let keys = keys_of_all_partitions("heartbeat", 12);
        let partitions: Vec<i32> = keys.iter().map(|key| partition_of(key, 12)).collect();
        assert_eq!(partitions, (0..12).collect::<Vec<_>>());
    }
}
