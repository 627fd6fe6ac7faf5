//! The union's own Kafka through librdkafka: topics, their ends, and the makers of producers and
//! readers. Topics are made here and nowhere else; no topic is ever made by being named.

mod complaints;
mod producer;
mod thread;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::faults::Faults;
use super::reader::Wanted;
use super::tail::{TAIL_RECORDS_MAX, Tail, TailRecord};
use super::wire;
use crate::{Error, Result};

pub(crate) use producer::KafkaPublisher;
pub(crate) use thread::KafkaReader;

/// How long one question to the broker may take.
pub(super) const BROKER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new topic may take until every partition has a leader.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(30);
/// How long reading the ends of a topic may take.
const TAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a record stays: longer than the longest outage of a consumer, since the outbox is
/// emptied.
const RETENTION_MS: &str = "604800000";
/// The longest pause before a lost connection is tried again. librdkafka's own is 10 s and up to
/// half as much again: half of what it took until events flowed after a broker was back.
const RECONNECT_MS_MAX: &str = "1000";

/// How to reach the broker and what to call things on it.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Stands before the name of every topic and group; empty but for tests.
    pub prefix: String,
    /// Partitions of every topic: 2 in development, 12 in production. Frozen once a topic is.
    pub partitions: i32,
    /// Copies of every partition: 1 in development, 3 in production.
    pub replication: i32,
    /// The name of this process among its like, for static membership; `None` joins anew. Two that
    /// live at the same time must not share one: the broker shuts the older out.
    pub instance: Option<String>,
}

/// A handle on the broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kafka(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: KafkaOptions,
    faults: Faults,
}

impl Kafka {
    pub(super) fn new(options: KafkaOptions) -> Self {
        Self(Arc::new(Inner {
            options,
            faults: Faults::default(),
        }))
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.0.faults
    }

    pub(super) fn publisher(&self, topic: &str, source: String) -> Result<KafkaPublisher> {
        KafkaPublisher::new(
            self.config(),
            self.name(topic),
            source,
            self.0.faults.clone(),
        )
    }

    pub(super) fn reader(
        &self,
        group: &str,
        topics: &[&str],
        wanted: Wanted,
    ) -> Result<KafkaReader> {
        let options = &self.0.options;
        let mut config = self.config();
        config.set("group.id", format!("{}{group}", options.prefix));
        if let Some(instance) = &options.instance {
            config.set("group.instance.id", format!("{instance}.{group}"));
        }
        KafkaReader::start(config, options.prefix.clone(), group, (topics, wanted))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.0.options.brokers)
            .set("reconnect.backoff.max.ms", RECONNECT_MS_MAX);
        config
    }

    /// The topic's name on the broker.
    fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.0.options.prefix)
    }

    pub(super) async fn ensure_topic(&self, topic: &str) -> Result<i32> {
        let name = self.name(topic);
        let client: Arc<BaseConsumer> = Arc::new(self.config().create()?);
        let deadline = Instant::now() + TOPIC_TIMEOUT;
        loop {
            match self.partitions(&client, &name).await? {
                Some(found) if found == self.0.options.partitions => return Ok(found),
                Some(found) => {
                    return Err(Error::internal(format!(
                        "topic {name} has {found} partitions, not the configured {}: a topic \
                         never grows, make a next version of it",
                        self.0.options.partitions
                    )));
                }
                None => self.create(&name).await?,
            }
            if Instant::now() > deadline {
                return Err(Error::Unavailable("a topic has no leaders"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The topic's partitions, or `None` while it is missing or a partition has no leader that
    /// knows of it: the cluster names one before that broker itself has heard.
    async fn partitions(&self, client: &Arc<BaseConsumer>, name: &str) -> Result<Option<i32>> {
        let (client, name) = (Arc::clone(client), name.to_owned());
        blocking(move || {
            let metadata = client.fetch_metadata(Some(&name), BROKER_TIMEOUT)?;
            let topic = metadata.topics().first();
            let Some(topic) = topic.filter(|topic| topic.error().is_none()) else {
                return Ok(None);
            };
            for partition in topic.partitions() {
                if partition.leader() < 0 || partition.error().is_some() {
                    return Ok(None);
                }
                match client.fetch_watermarks(&name, partition.id(), BROKER_TIMEOUT) {
                    Ok(_) => {}
                    Err(error) if is_unheard(&error) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
            let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
            Ok((count > 0).then_some(count))
        })
        .await
    }

    async fn create(&self, name: &str) -> Result<()> {
        let options = &self.0.options;
        let in_sync = if options.replication > 1 { "2" } else { "1" };
        let topic = NewTopic::new(
            name,
            options.partitions,
            TopicReplication::Fixed(options.replication),
        )
        .set("cleanup.policy", "delete")
        .set("retention.ms", RETENTION_MS)
        // Kept for so long since it arrived: by its own time, an event that waited in the outbox
        // for longer would be deleted as soon as it is there.
        .set("message.timestamp.type", "LogAppendTime")
        .set("min.insync.replicas", in_sync)
        .set("unclean.leader.election.enable", "false");
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let admin_options = AdminOptions::new().operation_timeout(Some(BROKER_TIMEOUT));
        let results = admin.create_topics([&topic], &admin_options).await;
        // Its end waits for a thread of its own.
        std::thread::spawn(move || drop(admin));
        for result in results? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(Error::internal(format!("topic {name} is not made: {code}")));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn tails(&self, topic: &str, from: &[i64]) -> Result<Vec<Tail>> {
        let mut config = self.config();
        config
            // A group must be named to assign partitions by hand; nobody joins it.
            .set("group.id", format!("{}{topic}.tail", self.0.options.prefix))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "10");
        let (name, from) = (self.name(topic), from.to_vec());
        blocking(move || read_tails(&config.create()?, &name, &from)).await
    }
}

/// Whether a broker says that it has not heard yet of a partition that it leads.
fn is_unheard(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MetadataFetch(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}

fn read_tails(consumer: &BaseConsumer, name: &str, from: &[i64]) -> Result<Vec<Tail>> {
    let mut tails = Vec::with_capacity(from.len());
    let mut list = TopicPartitionList::new();
    for (partition, from) in (0..).zip(from) {
        let (low, high) = consumer.fetch_watermarks(name, partition, BROKER_TIMEOUT)?;
        let start = (*from).max(low);
        if start < high && high - start <= TAIL_RECORDS_MAX {
            list.add_partition_offset(name, partition, Offset::Offset(start))?;
        }
        tails.push(Tail {
            low,
            high,
            records: Vec::new(),
        });
    }
    let mut open = list.count();
    if open == 0 {
        return Ok(tails);
    }
    consumer.assign(&list)?;
    let deadline = Instant::now() + TAIL_TIMEOUT;
    while open > 0 {
        if Instant::now() > deadline {
            return Err(Error::Unavailable("the end of a topic cannot be read"));
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let index = usize::try_from(message.partition()).unwrap_or(usize::MAX);
        let Some(tail) = tails.get_mut(index) else {
            continue;
        };
        // What was written since the end was asked for belongs to somebody else's start.
        if message.offset() < tail.high {
            tail.records.push(tail_record(&message));
            if message.offset() + 1 == tail.high {
                open -= 1;
            }
        }
    }
    Ok(tails)
}

fn tail_record(message: &rdkafka::message::BorrowedMessage<'_>) -> TailRecord {
    match wire::record(&raw(message, "")) {
        Ok(record) => TailRecord::from(&record),
        Err(_) => TailRecord {
            offset: message.offset(),
            stamp: None,
        },
    }
}

fn raw<'a>(message: &'a rdkafka::message::BorrowedMessage<'_>, topic: &'a str) -> wire::Raw<'a> {
    wire::Raw {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        payload: message.payload(),
        headers: message.headers(),
    }
}

/// Runs a blocking call of librdkafka where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::internal("a call to the broker panicked"))?
}
