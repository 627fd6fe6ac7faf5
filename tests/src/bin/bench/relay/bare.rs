//! What Kafka gives without us: as many messages of the same size, produced and consumed at once by
//! rdkafka with the settings of kit's own clients, and no database at either end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::Ids;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::stage::PARTITIONS;
use super::{BACKLOG_EVENTS, PAYLOAD_BYTES};

/// How long all of it may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// How long one question for what has arrived waits.
const POLL: Duration = Duration::from_millis(100);

/// Messages in a second, from the first produced to the last consumed.
///
/// # Errors
/// When the broker does not take or bring them all.
pub(super) async fn rate(brokers: String) -> Result<f64> {
    let topic = format!("bench-bare-{}", std::process::id());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
    admin.create_topics([&new], &AdminOptions::new()).await?;
    let (ours, name) = (config.clone(), topic.clone());
    let both = tokio::task::spawn_blocking(move || through(&ours, &name)).await?;
    admin
        .delete_topics(&[topic.as_str()], &AdminOptions::new())
        .await?;
    Ok(f64::from(BACKLOG_EVENTS) / both?.as_secs_f64())
}

fn through(config: &ClientConfig, topic: &str) -> Result<Duration> {
    let consumer = consumer(config, topic)?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(config, topic));
        let consumed = consume(&consumer, began);
        let produced = producing.join();
        produced.map_err(|_| anyhow::anyhow!("the producer's thread broke"))??;
        consumed
    })
}

fn consumer(config: &ClientConfig, topic: &str) -> Result<BaseConsumer> {
    let mut config = config.clone();
    config
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.wait.max.ms", "100");
    let consumer: BaseConsumer = config.create()?;
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&from)?;
    Ok(consumer)
}

fn consume(consumer: &BaseConsumer, began: Instant) -> Result<Duration> {
    let mut got = 0;
    while got < BACKLOG_EVENTS {
        ensure!(
            began.elapsed() < TIME_MAX,
            "{got} of {BACKLOG_EVENTS} bare messages arrived"
        );
        let Some(message) = consumer.poll(POLL) else {
            continue;
        };
        ensure!(message?.payload_len() == PAYLOAD_BYTES, "a message was cut");
        got += 1;
    }
    Ok(began.elapsed())
}

fn produce(config: &ClientConfig, topic: &str) -> Result<()> {
    let mut config = config.clone();
    config
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("batch.size", "262144")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "100000");
    let producer: BaseProducer<DefaultProducerContext> = config.create()?;
    let ids = Ids::random();
    let mut payload = vec![0_u8; PAYLOAD_BYTES];
    for (number, partition) in (0..BACKLOG_EVENTS).zip((0..PARTITIONS).cycle()) {
        ids.fill(&mut payload);
        let key = number.to_be_bytes();
        loop {
            let record = BaseRecord::to(topic).partition(partition).key(&key);
            match producer.send(record.payload(&payload)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(POLL);
                }
                Err((error, _)) => return Err(error).context("a bare message was refused"),
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(TIME_MAX)?;
    Ok(())
}
