//! The topic as somebody else sees it and writes to it: without relay and consumer.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::world::{TOPIC, World, stamps};

fn producer(world: &World) -> ThreadedProducer<DefaultProducerContext> {
    ClientConfig::new()
        .set("bootstrap.servers", world.kafka.brokers())
        .create()
        .unwrap()
}

/// Writes messages as somebody else would, each to the partition it came from.
pub(crate) fn write<'a>(world: &World, messages: impl IntoIterator<Item = &'a OwnedMessage>) {
    let producer = producer(world);
    for message in messages {
        let mut record = BaseRecord::to(message.topic())
            .partition(message.partition())
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default());
        record.headers = message.headers().cloned();
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(10)).unwrap();
}

pub(crate) fn bare(message: &OwnedMessage) -> OwnedMessage {
    message.clone().replace_headers(None)
}

pub(crate) fn with_header(message: &OwnedMessage, name: &str, value: &str) -> OwnedMessage {
    use rdkafka::message::{Header, Headers, OwnedHeaders};
    let mut headers = OwnedHeaders::new();
    for header in message
        .headers()
        .unwrap()
        .iter()
        .filter(|header| header.key != name)
    {
        headers = headers.insert(Header {
            key: header.key,
            value: header.value,
        });
    }
    headers = headers.insert(Header {
        key: name,
        value: Some(value),
    });
    message.clone().replace_headers(Some(headers))
}

/// Every message of the topic as it lies on the broker.
pub(crate) fn read_all(world: &World) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.brokers())
        .set("group.id", format!("{}reader", world.kafka.prefix()))
        .create()
        .unwrap();
    let name = format!("{}{TOPIC}", world.kafka.prefix());
    let mut list = TopicPartitionList::new();
    let mut wanted = 0;
    for partition in 0..2 {
        let timeout = std::time::Duration::from_secs(10);
        let (low, high) = consumer
            .fetch_watermarks(&name, partition, timeout)
            .unwrap();
        wanted += usize::try_from(high - low).unwrap();
        list.add_partition_offset(&name, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut messages = Vec::new();
    while messages.len() < wanted {
        if let Some(message) = consumer.poll(std::time::Duration::from_secs(10)) {
            messages.push(message.unwrap().detach());
        }
    }
    messages
}

/// Deletes every record that the topic has now, as retention does.
pub(crate) async fn lose_everything(world: &World) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.brokers())
        .create()
        .unwrap();
    let name = format!("{}{TOPIC}", world.kafka.prefix());
    let mut list = TopicPartitionList::new();
    for partition in 0..2 {
        list.add_partition_offset(&name, partition, Offset::End)
            .unwrap();
    }
    admin
        .delete_records(&list, &AdminOptions::new())
        .await
        .unwrap();
    let log = world.log().await;
    assert!(
        log.iter()
            .all(|tail| stamps(tail).count() == 0 && tail.low == tail.high)
    );
}
