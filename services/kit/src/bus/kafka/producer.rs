//! The relay's producer: idempotent, gapless, without a local timeout, since a record that timed
//! out locally would leave a hole. One error spoils it: it is dropped with all it holds and the
//! records are sent again by a new one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use tokio::sync::Notify;

use super::blocking;
use super::complaints::Complaints;
use crate::bus::{Faults, wire};
use crate::event::Record;
use crate::{Error, Result};

/// How long a producer that is told to crash may still deliver.
const CRASH_SLICE: Duration = Duration::from_millis(50);

/// A producer of one topic.
pub(crate) struct KafkaPublisher {
    producer: Option<Arc<ThreadedProducer<Deliveries>>>,
    topic: String,
    source: String,
    faults: Faults,
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl KafkaPublisher {
    pub(super) fn new(
        mut config: ClientConfig,
        topic: String,
        source: String,
        faults: Faults,
    ) -> Result<Self> {
        config
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "1")
            .set("batch.size", "262144")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "100000");
        let producer = config.create_with_context(Deliveries::default())?;
        Ok(Self {
            producer: Some(Arc::new(producer)),
            topic,
            source,
            faults,
        })
    }

    pub(crate) async fn publish(&self, records: Arc<Vec<Record>>) -> Result<Vec<i64>> {
        let Some(producer) = &self.producer else {
            return Err(Error::internal("a producer was used after its end"));
        };
        let deliveries = Arc::clone(producer.context());
        deliveries.expect(records.len());
        // Tells the threads below that nobody waits any more when this future is dropped.
        let abandoned = Abandoned::default();
        let (to_send, left) = (Arc::clone(producer), Arc::clone(&abandoned.0));
        let (topic, source) = (self.topic.clone(), self.source.clone());
        blocking(move || send_all(&to_send, &topic, &source, &records, &left)).await?;
        if let Err(crash) = self.faults.point("relay.sent").await {
            // Some may have arrived: nobody will ever know here.
            let _ = tokio::time::timeout(CRASH_SLICE, deliveries.all()).await;
            return Err(crash);
        }
        // Not `flush`: it polls in slices that it always waits out, 100 ms each.
        deliveries.all().await
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        // The end of a producer purges its queue and may take half a second: not here.
        let producer = self.producer.take();
        std::thread::spawn(move || drop(producer));
    }
}

fn send_all(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
    source: &str,
    records: &[Record],
    abandoned: &AtomicBool,
) -> Result<()> {
    let mut writer = wire::Writer::new(source);
    for (index, record) in records.iter().enumerate() {
        let mut message = BaseRecord::with_opaque_to(topic, index)
            .partition(record.partition)
            .key(record.key.as_slice())
            .payload(record.payload.as_slice())
            .timestamp(record.at.timestamp_millis())
            .headers(writer.headers(record));
        loop {
            producer.context().check()?;
            match producer.send(message) {
                Ok(()) => break,
                // In place and never out of order: the next record waits for this one.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
            if abandoned.load(Ordering::Acquire) {
                return Err(Error::Unavailable("the relay left"));
            }
        }
    }
    Ok(())
}

/// Counts the acknowledgements of one call.
#[derive(Debug, Default)]
struct Deliveries {
    counted: Mutex<Counted>,
    /// Whether there is an error: what the sender looks at before each record, without the lock
    /// that the callbacks take.
    failed: AtomicBool,
    changed: Notify,
    complaints: Complaints,
}

#[derive(Debug, Default)]
struct Counted {
    /// The offset of each record, -1 while it is not acknowledged.
    offsets: Vec<i64>,
    missing: usize,
    error: Option<KafkaError>,
}

impl Deliveries {
    fn expect(&self, count: usize) {
        let mut counted = self.counted();
        counted.offsets = vec![-1; count];
        counted.missing = count;
    }

    fn check(&self) -> Result<()> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match &self.counted().error {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    /// Waits, without a limit of its own, until every record is acknowledged; their offsets.
    async fn all(&self) -> Result<Vec<i64>> {
        loop {
            self.check()?;
            {
                let mut counted = self.counted();
                if counted.missing == 0 {
                    return Ok(std::mem::take(&mut counted.offsets));
                }
            }
            self.changed.notified().await;
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.hear(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let mut counted = self.counted();
        match result {
            Ok(message) => {
                let offset = message.offset();
                if let Some(slot) = counted.offsets.get_mut(index)
                    && *slot == -1
                {
                    *slot = offset;
                    counted.missing -= 1;
                }
            }
            Err((error, _)) => {
                counted.error = Some(error.clone());
                self.failed.store(true, Ordering::Release);
            }
        }
        if counted.missing == 0 || counted.error.is_some() {
            self.changed.notify_one();
        }
    }
}

#[derive(Debug, Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
