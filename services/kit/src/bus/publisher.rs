//! Sends records and waits for all their acknowledgements.

use std::sync::Arc;

use super::kafka::KafkaPublisher;
use super::memory::Memory;
use crate::Result;
use crate::event::Record;

/// A producer of one topic. After any error it must be dropped and its records sent again by
/// another one.
#[derive(Debug)]
pub(crate) enum Publisher {
    Kafka(KafkaPublisher),
    Memory(Memory, String),
}

impl Publisher {
    /// Sends `records` in their order and waits for every acknowledgement; their offsets.
    pub(crate) async fn publish(&self, records: Arc<Vec<Record>>) -> Result<Vec<i64>> {
        match self {
            Self::Kafka(kafka) => kafka.publish(records).await,
            Self::Memory(memory, topic) => {
                let offsets = memory.publish(topic, &records)?;
                memory.faults().point("relay.sent").await?;
                Ok(offsets)
            }
        }
    }
}
