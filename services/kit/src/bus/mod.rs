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

pub(crate) use faults::is_crash;
pub use faults::{Defect, Faults, Hold, Passed};
pub(crate) use inbox::{Arrived, Inbox, Number};
pub use kafka::{Kafka, KafkaOptions};
pub use memory::{Memory, MemoryOptions, Misbehaved};
pub(crate) use publisher::Publisher;
pub(crate) use reader::{Assignment, Reader, Start, Wanted};
pub use tail::{Stamp, TAIL_RECORDS_MAX, Tail, TailRecord};
pub use wire::{Envelope, TYPE_HEADER, each_header};

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

    pub(crate) fn reader(&self, group: &str, topics: &[&str], wanted: Wanted) -> Result<Reader> {
        Ok(match self {
            Self::Kafka(kafka) => Reader::Kafka(kafka.reader(group, topics, wanted)?),
            Self::Memory(memory) => Reader::Memory(memory.reader(topics, wanted)),
        })
    }
}

/// The partition of a key: the same for ever, so that the order of a key is the order of its
/// partition.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // FNV-1a alone hardly moves the bits that a small divisor looks at: ids that count up would
    // all meet in one partition. This is the last step of MurmurHash3.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let hash = hash ^ (hash >> 33);
    let partitions = u64::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(hash % partitions).unwrap_or_default()
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
        assert_eq!(partition_of(key.as_bytes(), 12), 1);
        assert_eq!(partition_of(b"", 12), 2);
        assert_eq!(partition_of(&7_u64.to_be_bytes(), 2), 1);
    }

    /// Keys of both shapes in use, counting up, spread evenly over any number of partitions.
    #[test]
    fn keys_spread_over_all_partitions() {
        for partitions in [2_i32, 3, 4, 12] {
            let size = usize::try_from(partitions).unwrap();
            let (mut by_uuid, mut by_number) = (vec![0_u32; size], vec![0_u32; size]);
            for n in 0..1_200 * u64::try_from(partitions).unwrap() {
                let id = uuid::Uuid::from_u128(u128::from(n) + (0x0196_f2b0 << 96));
                let at = |key: &[u8]| usize::try_from(partition_of(key, partitions)).unwrap();
                by_uuid[at(id.as_bytes())] += 1;
                by_number[at(&n.to_be_bytes())] += 1;
            }
            for count in by_uuid.iter().chain(&by_number) {
                assert!((1_000..1_400).contains(count), "{by_uuid:?} {by_number:?}");
            }
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
