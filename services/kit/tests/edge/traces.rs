//! One trace goes from a request through the outbox to whoever acts on the event; and logs are
//! lines of JSON without a person in them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::Error;
use kit::config::Listen;
use kit::consumer::{Consumer, Handler};
use kit::event::{NewEvent, Record};
use kit::graphql::Language;
use kit::relay::Relay;
use kit::serve::{Process, Service};
use kit::telemetry::{self, JsonLines, Telemetry, TelemetryOptions};
use kit::testing::{TestDb, TestKafka};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use sea_orm::FromQueryResult;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

#[derive(FromQueryResult)]
struct Row {
    traceparent: Option<String>,
}

#[tokio::test]
async fn a_trace_goes_on_behind_kafka() {
    let exporter = InMemorySpanExporter::default();
    let traces = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let subscriber = tracing_subscriber::registry().with(telemetry::layer(&traces));
    let _guard = tracing::subscriber::set_default(subscriber);
    assert_eq!(
        telemetry::traceparent(),
        None,
        "outside of any span there is no trace"
    );
    let db = kit::testing::db("passes", &[kit::migrate::KIT]).await;
    let command = async {
        let emit = async |tx: &kit::Tx| {
            tx.emit(NewEvent {
                kind: "bashu.passes.v1.PassChanged",
                key: vec![1],
                version: 1,
                must_understand: false,
                payload: vec![],
            });
            Ok(())
        };
        db.ctx.db.tx("emit", emit).await.unwrap();
    };
    command.instrument(tracing::info_span!("command")).await;
    let row = db
        .ctx
        .db
        .one::<Row>("SELECT traceparent FROM outbox", [])
        .await
        .unwrap();
    let traceparent = row.unwrap().traceparent.unwrap();
    let kafka = kit::testing::kafka();
    let next = tokio::time::timeout(Duration::from_secs(60), consume(&db, &kafka))
        .await
        .unwrap();
    let spoilt = tracing::info_span!("spoilt");
    telemetry::continue_from(&spoilt, "00-zz-zz-01\r\nevil");
    drop(spoilt);
    traces.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    let span = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no span {name} among {names:?}"))
    };
    let (command, consumed) = (span("command"), span("consume"));
    assert_eq!(
        consumed.span_context.trace_id(),
        command.span_context.trace_id()
    );
    assert_eq!(consumed.parent_span_id, command.span_context.span_id());
    let trace = command.span_context.trace_id().to_string();
    assert!(
        traceparent.starts_with(&format!("00-{trace}-")),
        "{traceparent}"
    );
    assert!(
        next.starts_with(&format!("00-{trace}-")) && next != traceparent,
        "{next}"
    );
    assert_ne!(
        span("spoilt").span_context.trace_id(),
        command.span_context.trace_id()
    );
}

/// Publishes what is in the outbox to a real Kafka, and consumes it; the trace in which that was
/// done.
async fn consume(db: &TestDb, kafka: &TestKafka) -> String {
    let mut relay = Relay::new(db.ctx.clone(), kafka.bus.clone());
    // A topic that was just made may have no leader yet.
    while match relay.step().await {
        Ok(published) => published == 0,
        Err(error) => error.is_transient(),
    } {}
    let seen = Seen::default();
    let mut consumer = Consumer::new(db.ctx.clone(), kafka.bus.clone(), seen.clone());
    let found = || seen.0.lock().unwrap().clone();
    while found().is_none() {
        let stepped = consumer.step().await;
        assert!(
            stepped.as_ref().map_or_else(Error::is_transient, |_| true),
            "{stepped:?}"
        );
    }
    // The transaction in which it was seen may still be open.
    consumer.close().await;
    found().unwrap()
}

/// A handler that keeps the trace in which it is called.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Option<String>>>);

impl Handler for Seen {
    fn name(&self) -> &'static str {
        "traces"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["passes.v1"]
    }

    fn handles(&self, _kind: &str) -> bool {
        true
    }

    async fn apply(&self, _tx: &kit::Tx, _records: &[Record]) -> kit::Result<()> {
        *self.0.lock().unwrap() = telemetry::traceparent();
        Ok(())
    }
}

/// Started as a process starts it: metrics are shown at `/metrics`, traces are sent to the
/// collector, the last of them when the process stops.
#[tokio::test]
async fn metrics_are_shown_and_traces_are_sent() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = TelemetryOptions {
        process: "edge".to_owned(),
        log: "off".to_owned(),
        otlp_endpoint: Some(format!("http://{}", collector.local_addr().unwrap())),
    };
    let (sender, collected) = std::sync::mpsc::channel();
    std::thread::spawn(move || collect(&collector, &sender));
    let telemetry = Telemetry::start(&options).unwrap();
    assert!(Telemetry::start(&options).is_err(), "it is started once");
    assert!(
        Telemetry::start(&TelemetryOptions {
            log: "a=b=c".to_owned(),
            ..options
        })
        .is_err()
    );
    let db = kit::testing::db("passes", &[kit::migrate::KIT]).await;
    db.ctx.db.tx("measured", async |_| Ok(())).await.unwrap();
    let services = vec![Service::new(db.ctx.clone())];
    let listen = Listen::anywhere();
    let process = Process::bind(&listen, services, Some(telemetry.metrics()))
        .await
        .unwrap();
    let url = format!("http://{}/metrics", process.addresses().ops);
    let stop = CancellationToken::new();
    let running = TaskTracker::new().spawn(process.run(stop.clone()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let shown = client.get(url).send().await.unwrap().text().await.unwrap();
    let bucket = "bashu_transaction_seconds_bucket{name=\"measured\",outcome=\"ok\",le=\"0.001\"}";
    assert!(shown.contains(bucket), "{shown}");
    stop.cancel();
    running.await.unwrap().unwrap();
    tracing::info_span!("the span").in_scope(|| ());
    telemetry.stop().await;
    let request = collected.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(request.starts_with("POST /v1/traces HTTP/1.1"), "{request}");
}

/// Reads one request up to the name of the span in it, passes it on and answers.
fn collect(collector: &TcpListener, sender: &Sender<String>) {
    let (mut stream, _) = collector.accept().unwrap();
    let mut request = Vec::new();
    while !request.windows(8).any(|window| window == b"the span") {
        let mut bytes = [0; 4_096];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&bytes[..count]);
    }
    sender
        .send(String::from_utf8_lossy(&request).into_owned())
        .unwrap();
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(head).unwrap();
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A phone number, an ID number, a forged line and a colour code reach no log.
/// ASVS V16.4.1.
#[test]
fn logs_hold_no_person_and_no_forged_line() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::registry().with(JsonLines::new(move || writer.clone()));
    let id = "018f6b1a-1111-7aaa-8bbb-123456789012";
    tracing::subscriber::with_default(subscriber, || {
        let phone = "13812345678";
        tracing::info!(phone, name = "x", rows = 3, "sent");
        tracing::warn!(
            error = "no such member 50010119900101123X (+8613812345678)",
            "failed"
        );
        tracing::info!(reason = "a\n{\"level\":\"ERROR\"}\r\u{1b}[31m\u{9b}31m\u{2028}\u{202e}");
        tracing::info!(order = id, key = "a".repeat(5_000), "kept");
        tracing::info!("a message with 13812345678 in it");
        for phone in [
            "+86-13812345678",
            "phone13812345678",
            "13812345678-",
            "13812345678e",
            "id-e50010119900101123X",
            "018f6b1a-1111-7aaa-8bbb-13812345678",
            "11111111-1111-1111-1111-13812345678",
        ] {
            tracing::info!(error = phone, "beside a letter or a dash");
        }
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0671234567890-01";
        tracing::info!(trace, hash = "x", "kept");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let parsed: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(parsed.len(), 13, "{text}");
    assert_eq!(parsed[0]["withheld"], serde_json::json!(["phone"]));
    assert_eq!(
        (&parsed[0]["rows"], &parsed[0]["message"]),
        (&3.into(), &"sent".into())
    );
    for hidden in [
        "13812345678",
        "1990",
        "\u{1b}",
        "\u{9b}",
        "\u{2028}",
        "\u{202e}",
        "\r",
    ] {
        assert!(!text.contains(hidden), "{hidden:?} in {text}");
    }
    assert_eq!(parsed[3]["order"], id, "an id stays whole");
    assert!(parsed[3]["key"].as_str().unwrap().len() <= 1_000);
    assert_eq!(parsed[4]["message"], "a message with *********** in it");
    assert_eq!(parsed[5]["error"], "+86-***********");
    assert_eq!(parsed[7]["error"], "***********-");
}

/// What is refused, and what fails, is on record with its reason, each at its own level; the answer
/// tells neither.
/// ASVS V16.3.2, V16.3.4.
#[test]
fn refusals_and_failures_are_logged_with_their_reasons() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::registry().with(JsonLines::new(move || writer.clone()));
    let answers = tracing::subscriber::with_default(subscriber, || {
        [
            Error::Forbidden("holds no office there"),
            Error::Unauthenticated("the login was withdrawn"),
            Error::Unavailable("the replica is old"),
            Error::internal("a row is inconsistent"),
        ]
        .map(|error| kit::graphql::to_graphql(error, Language::En).message)
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let written: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = [
        ("INFO", "forbidden", "holds no office there"),
        ("INFO", "not signed in", "the login was withdrawn"),
        ("WARN", "unavailable", "the replica is old"),
        ("ERROR", "a request failed", "a row is inconsistent"),
    ];
    assert_eq!(written.len(), expected.len(), "{text}");
    for (line, (level, message, reason)) in written.iter().zip(expected) {
        assert_eq!(
            (&line["level"], &line["message"]),
            (&level.into(), &message.into())
        );
        let named = line["reason"].as_str().or(line["error"].as_str()).unwrap();
        assert!(named.contains(reason), "{named}");
        assert!(
            line["time"].is_string() && line["target"].is_string(),
            "{line}"
        );
        for answer in &answers {
            assert!(!answer.contains(reason), "{answer}");
        }
    }
}
