//! The union's Kafka as a looker-on sees it: which topics there are, where they end, and what
//! stands in them. It makes nothing, commits no offset and joins no group; kit's bus makes topics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use kit::bus::{TYPE_HEADER, each_header};
use kit::config::Config;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long reading may bring nothing before it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// A topic as the broker has it.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) partitions: i32,
    /// Copies of the partition that has fewest.
    pub(crate) replicas: usize,
    /// Partitions that nobody leads.
    pub(crate) leaderless: usize,
    /// The first offset and the one after the last, by partition.
    pub(crate) ends: Vec<(i64, i64)>,
}

/// One partition's records that are there now.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// A connection. Every call blocks: see [`Broker::ask`].
pub(crate) struct Broker {
    consumer: BaseConsumer,
    prefix: String,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When the configured address is none.
    pub(crate) fn new(config: &Config) -> Result<Arc<Self>> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka.brokers)
            // A group must be named to assign partitions by hand; nobody joins it.
            .set("group.id", format!("{}bashu.look", config.kafka.prefix))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .create()?;
        Ok(Arc::new(Self {
            consumer,
            prefix: config.kafka.prefix.clone(),
        }))
    }

    /// Runs a blocking question where it holds nobody up.
    ///
    /// # Errors
    /// What the question answers.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let broker = Arc::clone(self);
        tokio::task::spawn_blocking(move || question(&broker))
            .await
            .map_err(|_| anyhow!("a question to the broker panicked"))?
    }

    /// The names of all topics under the configured prefix, without it.
    ///
    /// # Errors
    /// When the broker is away.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let metadata = self.consumer.fetch_metadata(None, ANSWER_TIMEOUT)?;
        let mine = |name: &str| name.strip_prefix(&self.prefix).map(str::to_owned);
        Ok(metadata
            .topics()
            .iter()
            .filter_map(|topic| mine(topic.name()))
            .collect())
    }

    /// A topic by its name without prefix; `None` when it is not there.
    ///
    /// # Errors
    /// When the broker is away.
    pub(crate) fn topic(&self, name: &str) -> Result<Option<Topic>> {
        let full = format!("{}{name}", self.prefix);
        // Asking for one topic by name would make it on a broker that makes topics.
        let metadata = self.consumer.fetch_metadata(None, ANSWER_TIMEOUT)?;
        let Some(found) = metadata.topics().iter().find(|topic| topic.name() == full) else {
            return Ok(None);
        };
        let partitions = found.partitions();
        let count = i32::try_from(partitions.len())?;
        let leaderless = partitions.iter().filter(|one| one.leader() < 0).count();
        let mut ends = Vec::with_capacity(partitions.len());
        if leaderless == 0 {
            for partition in 0..count {
                ends.push(
                    self.consumer
                        .fetch_watermarks(&full, partition, ANSWER_TIMEOUT)?,
                );
            }
        }
        Ok(Some(Topic {
            partitions: count,
            replicas: partitions
                .iter()
                .map(|one| one.replicas().len())
                .min()
                .unwrap_or(0),
            leaderless,
            ends,
        }))
    }

    /// Reads every record that is there now; `visit` gets the topic without prefix and the
    /// record's key, payload and headers, one after the other.
    ///
    /// # Errors
    /// When the broker is away, or falls silent before the end; when a record has headers that
    /// cannot be read, since what stands there would be missed.
    pub(crate) fn read_all(
        &self,
        names: &[String],
        mut visit: impl FnMut(&str, i32, i64, &[u8]),
    ) -> Result<u64> {
        self.read_messages(names, |name, message| {
            let (partition, offset) = (message.partition(), message.offset());
            let parts = parts(message).map_err(|problem| {
                anyhow!("record {offset} of {name}, partition {partition}: {problem}")
            })?;
            for bytes in parts {
                visit(name, partition, offset, bytes);
            }
            Ok(())
        })
    }

    /// Reads every record that is there now; `visit` gets the payload of those of one type.
    ///
    /// # Errors
    /// As [`Broker::read_all`].
    pub(crate) fn read_kind(
        &self,
        names: &[String],
        kind: &str,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<u64> {
        self.read_messages(names, |_, message| {
            if is_of_kind(message, kind) {
                visit(message.payload().unwrap_or_default());
            }
            Ok(())
        })
    }

    fn read_messages(
        &self,
        names: &[String],
        mut visit: impl FnMut(&str, &BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<u64> {
        let mut open = self.ranges(names)?;
        open.retain(|range| range.low < range.high);
        let mut list = TopicPartitionList::new();
        for range in &open {
            let full = format!("{}{}", self.prefix, range.topic);
            list.add_partition_offset(&full, range.partition, Offset::Offset(range.low))?;
        }
        self.consumer.assign(&list)?;
        let (mut count, mut heard) = (0, Instant::now());
        while !open.is_empty() {
            if heard.elapsed() > SILENCE_MAX {
                bail!("the broker fell silent before the end of {}", open[0].topic);
            }
            let Some(message) = self.consumer.poll(POLL) else {
                continue;
            };
            let message = message?;
            heard = Instant::now();
            let name = message
                .topic()
                .strip_prefix(&self.prefix)
                .unwrap_or(message.topic());
            visit(name, &message)?;
            count += 1;
            let done = |range: &Range| {
                range.topic == name
                    && range.partition == message.partition()
                    && message.offset() + 1 >= range.high
            };
            open.retain(|range| !done(range));
        }
        self.consumer.unassign()?;
        Ok(count)
    }

    fn ranges(&self, names: &[String]) -> Result<Vec<Range>> {
        let mut ranges = Vec::new();
        for name in names {
            let topic = self
                .topic(name)?
                .with_context(|| format!("topic {name} is missing"))?;
            for (partition, (low, high)) in (0..).zip(topic.ends) {
                ranges.push(Range {
                    topic: name.clone(),
                    partition,
                    low,
                    high,
                });
            }
        }
        Ok(ranges)
    }
}

/// Whether a record is of that type. One whose headers cannot be read is none of ours.
fn is_of_kind(message: &BorrowedMessage<'_>, kind: &str) -> bool {
    let Some(headers) = message.headers() else {
        return false;
    };
    let mut said = false;
    let read = each_header(headers, |header| {
        said |= header.key == TYPE_HEADER && header.value == Some(kind.as_bytes());
    });
    read.is_ok() && said
}

/// Everything of a record that carries bytes of ours.
///
/// # Errors
/// When its headers cannot be read.
fn parts<'a>(message: &'a BorrowedMessage<'_>) -> Result<Vec<&'a [u8]>, &'static str> {
    let mut parts: Vec<&[u8]> = Vec::new();
    parts.extend(message.key());
    parts.extend(message.payload());
    if let Some(headers) = message.headers() {
        each_header(headers, |header| {
            parts.push(header.key.as_bytes());
            parts.extend(header.value);
        })?;
    }
    Ok(parts)
}
