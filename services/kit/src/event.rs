//! An event as a service emits it and as a consumer reads it, headers after the CloudEvents
//! Kafka binding in binary mode.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The largest payload, in bytes: a larger record would stop the relay, so it is refused when
/// it is written.
pub const EVENT_BYTES_MAX: usize = 512 * 1024;

/// An event to be published: the whole public state of one aggregate.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The full name of the protobuf message, `bashu.passes.v1.PassChanged`.
    pub kind: &'static str,
    /// The aggregate's id as bytes: the record key and what decides the partition.
    pub key: Vec<u8>,
    /// The aggregate's version; grows by one with each change.
    pub version: i64,
    /// A consumer that does not know the type parks it instead of skipping it.
    pub must_understand: bool,
    /// The protobuf message, encoded.
    pub payload: Vec<u8>,
}

impl NewEvent {
    /// An event whose message names its own type.
    pub fn of<M: prost::Name>(message: &M, kind: &'static str, key: &[u8], version: i64) -> Self {
        debug_assert_eq!(
            kind,
            M::full_name(),
            "the type and the message are one name"
        );
        Self {
            kind,
            key: key.to_vec(),
            version,
            must_understand: false,
            payload: message.encode_to_vec(),
        }
    }

    #[must_use]
    pub fn must_understand(self) -> Self {
        Self {
            must_understand: true,
            ..self
        }
    }
}

/// An event as it came from a topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The relay's epoch: versions compare as (epoch, version).
    pub epoch: i64,
    /// Dense per partition, from one.
    pub pseq: i64,
    pub id: Uuid,
    pub kind: String,
    pub key: Vec<u8>,
    pub version: i64,
    pub must_understand: bool,
    pub at: DateTime<Utc>,
    pub traceparent: Option<String>,
    pub payload: Vec<u8>,
}

impl Record {
    /// The payload as the message it names.
    ///
    /// # Errors
    /// Permanent, when the bytes are not that message.
    pub fn decode<M: prost::Message + Default>(&self) -> crate::Result<M> {
        M::decode(self.payload.as_slice())
            .map_err(|e| crate::Error::permanent(format!("{} does not decode: {e}", self.kind)))
    }
}
