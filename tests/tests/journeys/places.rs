//! Everywhere that data comes to lie outside of the vault: logs and files, databases as a dump has
//! them and as a restored backup of them has, topics, Redis and metrics while the journeys go on,
//! and the traces that processes send.
//!
//! What is left out is made for the people themselves: the provider's stand-in, which delivers the
//! messages to their phones, the files in which the demonstration keeps who is signed in, and
//! those that they downloaded, which are looked at by themselves.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tests::{TestWorld, administrator, variable};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Processes;
use crate::restored::restored;
use crate::search::Search;

pub(crate) const FILES: &str = "files";
pub(crate) const DATABASES: &str = "databases";
pub(crate) const TOPICS: &str = "topics";
pub(crate) const REDIS: &str = "Redis";
pub(crate) const TRACES: &str = "traces";
/// Of the world's folder, what is the people's own: see above.
const THEIR_OWN: [&str; 3] = ["sandbox", "login-", "downloads"];
/// How long Redis and the processes are left alone between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a broker may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// Every key and all it holds, whatever its type.
const ALL_OF_REDIS: &str = "local out = {}
for _, k in ipairs(redis.call('KEYS', '*')) do
  table.insert(out, k)
  local t = redis.call('TYPE', k).ok
  local v = {}
  if t == 'string' then v = {redis.call('GET', k)}
  elseif t == 'hash' then v = redis.call('HGETALL', k)
  elseif t == 'list' then v = redis.call('LRANGE', k, 0, -1)
  elseif t == 'set' then v = redis.call('SMEMBERS', k)
  elseif t == 'zset' then v = redis.call('ZRANGE', k, 0, -1)
  end
  for _, one in ipairs(v) do table.insert(out, one) end
end
return out";

/// Looks at what is gone when the journeys end: what processes send and tell, and what Redis
/// forgets.
pub(crate) struct Watch {
    pub(crate) collector: String,
    end: Sender<()>,
    running: JoinHandle<()>,
    stop: CancellationToken,
    traces: JoinHandle<()>,
}

impl Watch {
    /// Looks until it is ended.
    pub(crate) fn begin(search: &Arc<Search>, world: &TestWorld) -> Self {
        let (end, ended) = channel();
        let (of_running, processes) = (Arc::clone(search), Processes::of(world));
        let running = std::thread::spawn(move || watch(&of_running, &processes, &ended));
        let (told, address) = channel();
        let stop = CancellationToken::new();
        let (of_traces, until) = (Arc::clone(search), stop.clone());
        let traces = std::thread::spawn(move || collect(of_traces, until, told));
        Self {
            collector: address.recv_timeout(SILENCE_MAX).unwrap(),
            end,
            running,
            stop,
            traces,
        }
    }

    pub(crate) fn end(self) {
        // Whoever panicked hears nothing, and is heard of at the join.
        let _heard = self.end.send(());
        self.running.join().unwrap();
        self.stop.cancel();
        self.traces.join().unwrap();
    }
}

fn watch(search: &Search, processes: &Processes, ended: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PAUSE) {
        redis(search);
        processes.look(search);
    }
}

/// Takes what processes send to a collector of traces.
fn collect(search: Arc<Search>, stop: CancellationToken, told: Sender<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        told.send(format!("http://{address}")).unwrap();
        let routes = axum::Router::new()
            .fallback(take)
            .layer(DefaultBodyLimit::disable())
            .with_state(search);
        let until = async move { stop.cancelled().await };
        axum::serve(listener, routes)
            .with_graceful_shutdown(until)
            .await
            .unwrap();
    });
}

async fn take(State(search): State<Arc<Search>>, body: Bytes) {
    search.look(TRACES, "sent", &body);
}

/// Looks at all that is there now.
pub(crate) fn look_at(search: &Search, world: &TestWorld) {
    files(search, &world.folder);
    for name in world.databases() {
        let dump = administrator("pg_dump")
            .unwrap()
            .arg(&name)
            .output()
            .unwrap();
        assert!(
            dump.status.success(),
            "{}",
            String::from_utf8_lossy(&dump.stderr)
        );
        search.look(DATABASES, &name, &dump.stdout);
    }
    restored(search, world);
    topics(search, world);
    redis(search);
}

fn files(search: &Search, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if THEIR_OWN.iter().any(|own| name.starts_with(own)) {
            continue;
        }
        if path.is_dir() {
            files(search, &path);
        } else {
            search.look(
                FILES,
                &path.display().to_string(),
                &fs::read(&path).unwrap(),
            );
        }
    }
}

/// What both unions of the world keep in Redis.
fn redis(search: &Search) {
    for number in [1, 2] {
        let said = redis_of(number, &["--raw", "EVAL", ALL_OF_REDIS, "0"]);
        search.look(REDIS, &number.to_string(), &said);
    }
}

fn redis_of(number: u8, arguments: &[&str]) -> Vec<u8> {
    let shared = variable("BASHU_REDIS_URL").unwrap();
    let url = reqwest::Url::parse(&shared).unwrap();
    let asked = Command::new("redis-cli")
        .args(["-e", "-h", url.host_str().unwrap()])
        .args(["-p", &url.port().unwrap().to_string()])
        .args(["-n", &number.to_string()])
        .args(arguments)
        .env("REDISCLI_AUTH", url.password().unwrap_or_default())
        .output()
        .unwrap();
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    asked.stdout
}

fn kafka() -> ClientConfig {
    let mut config = ClientConfig::new();
    let _config = config
        .set(
            "bootstrap.servers",
            variable("BASHU_KAFKA_BROKERS").unwrap(),
        )
        .set("group.id", "search")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false");
    config
}

fn topics(search: &Search, world: &TestWorld) {
    let consumer: BaseConsumer = kafka().create().unwrap();
    let there = consumer.fetch_metadata(None, SILENCE_MAX).unwrap();
    let mut open = Vec::new();
    let mut list = TopicPartitionList::new();
    let own = there.topics().iter();
    for topic in own.filter(|topic| topic.name().starts_with(world.prefix())) {
        for part in topic.partitions() {
            let (name, id) = (topic.name(), part.id());
            let (low, high) = consumer.fetch_watermarks(name, id, SILENCE_MAX).unwrap();
            if low < high {
                list.add_partition_offset(name, id, Offset::Offset(low))
                    .unwrap();
                open.push((name.to_owned(), id, high));
            }
        }
    }
    consumer.assign(&list).unwrap();
    let mut heard = Instant::now();
    while !open.is_empty() {
        assert!(
            heard.elapsed() < SILENCE_MAX,
            "the broker is silent before {open:?}"
        );
        let Some(message) = consumer.poll(POLL) else {
            continue;
        };
        let message = message.unwrap();
        heard = Instant::now();
        let place = format!("{} @ {}", message.topic(), message.offset());
        for bytes in [message.key(), message.payload()].into_iter().flatten() {
            search.look(TOPICS, &place, bytes);
        }
        for header in message.headers().iter().flat_map(|headers| headers.iter()) {
            search.look(TOPICS, &place, header.value.unwrap_or_default());
        }
        let (topic, part, next) = (message.topic(), message.partition(), message.offset() + 1);
        open.retain(|(name, id, high)| (name.as_str(), *id) != (topic, part) || next < *high);
    }
}

/// Puts a person into every kind of place, each in another writing.
pub(crate) fn plant(world: &TestWorld, collector: &str, text: &str) {
    fs::write(world.folder.join("planted.log"), text).unwrap();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let table = format!(
        "CREATE TABLE planted AS SELECT decode('{}', 'hex') AS cell",
        hex::encode(text)
    );
    let planted = administrator("psql")
        .unwrap()
        .args(["-d", &world.databases()[0], "-qc", &table])
        .status();
    assert!(planted.unwrap().success());
    let producer: BaseProducer = kafka().create().unwrap();
    let there = producer.client().fetch_metadata(None, SILENCE_MAX).unwrap();
    let mut own = there.topics().iter();
    let topic = own.find(|topic| topic.name().starts_with(world.prefix()));
    let record = BaseRecord::<[u8], [u8]>::to(topic.unwrap().name()).payload(&wide);
    producer.send(record).unwrap();
    producer.flush(SILENCE_MAX).unwrap();
    let digits = STANDARD_NO_PAD.encode(format!("x{text}"));
    let _said = redis_of(1, &["SET", "planted", &digits]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let sent = client.post(collector).body(text.to_owned()).send().await;
        assert!(sent.unwrap().status().is_success());
    });
}

/// Takes away what would outlive the world.
pub(crate) fn uproot() {
    let _said = redis_of(1, &["DEL", "planted"]);
}
