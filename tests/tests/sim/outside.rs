//! Two defects that no switch in kit can play, because the one is a setting of the Kafka client
//! and the other a way to read what the provider sent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::ground::Ground;
use crate::paths::Path;
use crate::sweep::Sweep;

/// What kit says of its producers.
const PRODUCER: &str = include_str!("../../../services/kit/src/bus/kafka/producer.rs");
/// Stands for the default of five minutes, which a test cannot wait out.
const SHORT_TIMEOUT_MS: &str = "600";
/// How long the broker is away for a producer that does not give up.
const OUTAGE: Duration = Duration::from_secs(4);
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "timeouts";

/// Three records are sent, the first while the broker is away; the numbers in the log.
async fn sent_through_an_outage(timeout_ms: &str) -> Result<Vec<String>> {
    let cluster = MockCluster::new(1)?;
    cluster.create_topic(TOPIC, 1, 1)?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("socket.timeout.ms", "1000")
        .set("reconnect.backoff.max.ms", "200")
        .set("message.timeout.ms", timeout_ms);
    let producer: FutureProducer = config.create()?;
    let send = async |number: &'static str| {
        let record = FutureRecord::<(), str>::to(TOPIC)
            .partition(0)
            .payload(number);
        tokio::time::timeout(PATIENCE, producer.send(record, PATIENCE)).await
    };
    ensure!(send("0").await?.is_ok(), "the broker is there");
    cluster.broker_down(1)?;
    let mut first = std::pin::pin!(send("1"));
    let given_up = tokio::time::timeout(OUTAGE, &mut first).await;
    cluster.broker_up(1)?;
    match given_up {
        Ok(answered) => ensure!(
            answered?.is_err(),
            "nothing arrives while the broker is away"
        ),
        Err(_) => ensure!(first.await?.is_ok(), "it waited until the broker was there"),
    }
    ensure!(send("2").await?.is_ok(), "the broker is there again");
    read(&cluster.bootstrap_servers())
}

fn read(servers: &str) -> Result<Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "reader")
        .create()?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    let mut found = Vec::new();
    while found.last().is_none_or(|last| last != "2") {
        let polled = consumer
            .poll(PATIENCE)
            .context("the last record never comes")?;
        let payload = polled?.payload().unwrap_or_default().to_vec();
        found.push(String::from_utf8(payload)?);
    }
    Ok(found)
}

/// A producer that gives a record up by time and goes on leaves a gap in the log, which is what
/// the dense numbers are there to show; one without a time of its own does not. Kit's has none.
#[tokio::test]
async fn a_producer_that_gives_up_by_time_is_caught() {
    let kept = sent_through_an_outage("0").await.expect("a play");
    assert_eq!(kept, ["0", "1", "2"]);
    let lost = sent_through_an_outage(SHORT_TIMEOUT_MS)
        .await
        .expect("a play");
    assert_eq!(lost, ["0", "2"], "a gap");
    assert!(PRODUCER.contains(r#".set("message.timeout.ms", "0")"#));
    assert!(PRODUCER.contains(r#".set("enable.gapless.guarantee", "true")"#));
}

/// Reads the body as JSON and writes it anew in a layout of its own, as one does who verifies what
/// was parsed.
async fn encode_again(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 16).await.expect("a small body");
    let bytes = match serde_json::from_slice::<Value>(&bytes) {
        Ok(value) => serde_json::to_vec_pretty(&value).expect("a value is written"),
        Err(_) => bytes.to_vec(),
    };
    next.run(Request::from_parts(parts, Body::from(bytes)))
        .await
}

/// The answers that the provider's notifications of one purchase and refund were given.
async fn answers(ground: &Ground, re_encoded: bool) -> Result<Vec<u64>> {
    let mut sweep = if re_encoded {
        let door = |routes: axum::Router| routes.layer(axum::middleware::from_fn(encode_again));
        Sweep::behind(ground, Path::Returned, door).await?
    } else {
        Sweep::new(ground, Path::Returned).await?
    };
    sweep.clean().await?;
    let notices = sweep.world.provider_notifications().await?;
    let attempts = notices.iter().flat_map(|one| one["attempts"].as_array());
    Ok(attempts
        .flatten()
        .filter_map(|attempt| attempt["http_status"].as_u64())
        .collect())
}

/// Bytes that were parsed and written again are not what the provider signed: verified over them,
/// every true notification is refused, and money is found by asking alone.
#[tokio::test]
async fn a_signature_over_re_encoded_bytes_is_caught() {
    let ground = Ground::new().await.expect("the test world is up");
    let as_sent = answers(&ground, false).await.expect("a play");
    assert!(
        as_sent.len() >= 2,
        "one of the payment, one of the refund: {as_sent:?}"
    );
    assert!(as_sent.iter().all(|status| *status == 204), "{as_sent:?}");
    let re_encoded = answers(&ground, true).await.expect("a play");
    assert!(re_encoded.len() >= 2, "{re_encoded:?}");
    assert!(
        re_encoded.iter().all(|status| *status == 401),
        "{re_encoded:?}"
    );
}
