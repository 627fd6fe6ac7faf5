//! One world per test: the real gateway as a process, real subgraphs and a real Redis, all on
//! loopback ports of their own. Whatever a test started ends with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::subgraphs::{Shared, serve_identity, serve_passes};

/// Longest that a process may take to get ready.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest that an answer may take, so that a gateway that hangs fails its test.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Where the ports of tests begin, and how many there are.
const PORT_FIRST: u16 = 22_000;
const PORTS: u32 = 8_192;
/// How often a condition is looked at while it is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The key that gateway and subgraphs share.
pub(crate) const SUBGRAPH_KEY: [u8; 32] = [9; 32];

/// What a test may want otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `BASHU_GATEWAY_*` on top of those every test has.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Runs as in production, with these documents by their id.
    pub(crate) documents: Option<Value>,
    /// Names a Redis that is not there.
    pub(crate) without_redis: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shared: Shared,
    pub(crate) client: reqwest::Client,
    pub(crate) key: SigningKey,
    address: SocketAddr,
    operations: SocketAddr,
    gateway: Child,
    redis: Option<Child>,
    redis_url: String,
    folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the first error, or nothing.
    pub(crate) fn code(&self) -> String {
        let json: Value = serde_json::from_str(&self.text).unwrap_or_default();
        json["errors"][0]["extensions"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn data(&self) -> Value {
        let json = self.json();
        assert!(json.get("errors").is_none(), "{self:?}");
        json["data"].clone()
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::from_bytes(&[1; 32]);
        let shared = Shared::new(key_set(&[("k1", &key)]));
        let identity = serve_identity(&shared).await;
        let passes = serve_passes(&shared).await;
        let redis_port = free_port();
        let redis = if options.without_redis {
            None
        } else {
            Some(start_redis(redis_port, folder.path()).await)
        };
        let loopback = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (address, operations) = (loopback(), loopback());
        let gateway = Gateway {
            address,
            operations,
            identity,
            passes,
            redis_port,
            folder: folder.path(),
        };
        let gateway = gateway.start(&options);
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_TIME_MAX)
            .build()
            .unwrap();
        let redis_url = redis_url(redis_port);
        let mut world = Self {
            shared,
            client,
            key,
            address,
            operations,
            gateway,
            redis,
            redis_url,
            folder,
        };
        world.wait_until_ready().await;
        world.shared.take_received();
        world
    }

    async fn wait_until_ready(&mut self) {
        let url = self.operations_url("/ready");
        let started = Instant::now();
        loop {
            if let Some(status) = self.gateway.try_wait().unwrap() {
                panic!("the gateway ended with {status}: {}", self.log());
            }
            let answer = self.client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return;
            }
            assert!(
                started.elapsed() < START_TIME_MAX,
                "not ready: {}",
                self.log()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// On the listener of those who run it.
    pub(crate) fn operations_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.operations)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that the gateway printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.gateway.id().expect("the gateway runs")
    }

    /// The most memory that the gateway ever held, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes * 1_024
    }

    pub(crate) async fn stop_redis(&mut self) {
        let mut redis = self.redis.take().expect("redis runs");
        redis.kill().await.unwrap();
    }

    pub(crate) async fn flush_redis(&self) {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("FLUSHALL")
            .exec_async(&mut connection)
            .await
            .unwrap();
    }

    /// How often Redis was asked for room under a limit.
    pub(crate) async fn redis_asked(&self) -> u64 {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut connection)
            .await
            .unwrap();
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        let (calls, _) = line.and_then(|line| line.split_once(',')).unwrap();
        calls.parse().unwrap()
    }

    /// Puts text where the gateway keeps its counts.
    pub(crate) async fn spoil_redis(&self) {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg("bashu:*")
            .query_async(&mut connection)
            .await
            .unwrap();
        assert!(!keys.is_empty(), "nothing is counted");
        for key in keys {
            let set = redis::cmd("SET").arg(key).arg("text").clone();
            set.exec_async(&mut connection).await.unwrap();
        }
    }

    /// Tells the gateway to end and says how it ended.
    pub(crate) async fn end_gateway(&mut self) -> std::process::ExitStatus {
        let pid = self.pid().to_string();
        let told = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap();
        assert!(told.success());
        tokio::time::timeout(START_TIME_MAX, self.gateway.wait())
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) fn post(&self) -> RequestBuilder {
        self.client.post(self.url("/graphql"))
    }

    /// Sends a document without a token.
    pub(crate) async fn ask(&self, document: &str) -> Answer {
        send(self.post().json(&json!({ "query": document }))).await
    }

    /// Sends a document with a token.
    pub(crate) async fn ask_as(&self, token: &str, document: &str) -> Answer {
        let request = self.post().header(AUTHORIZATION, format!("Bearer {token}"));
        send(request.json(&json!({ "query": document }))).await
    }

    /// Sends these bytes as JSON.
    pub(crate) async fn ask_raw(&self, body: impl Into<Vec<u8>>) -> Answer {
        send(
            self.post()
                .header(CONTENT_TYPE, "application/json")
                .body(body.into()),
        )
        .await
    }

    /// A good token of this member.
    pub(crate) fn token(&self, member: &str) -> String {
        signed_token(&self.key, &token_header(), &token_claims(member))
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn token_header() -> Value {
    json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k1" })
}

pub(crate) fn token_claims(member: &str) -> Value {
    json!({
        "iss": "bashu-50", "aud": "bashu", "sub": member, "login": format!("login of {member}"),
        "iat": now_s(), "nbf": now_s(), "exp": now_s() + 300,
    })
}

pub(crate) fn signed_token(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

pub(crate) fn key_set(keys: &[(&str, &SigningKey)]) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(id, key)| {
            let x = URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes());
            json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x,
            })
        })
        .collect();
    json!({ "keys": keys }).to_string()
}

/// A port that nobody listens on. Below those that the system hands out for connections, and
/// never the same twice in a run, so that it is still free when its server takes it.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() * 64 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = PORT_FIRST + u16::try_from(number % PORTS).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

struct Gateway<'a> {
    address: SocketAddr,
    operations: SocketAddr,
    identity: SocketAddr,
    passes: SocketAddr,
    redis_port: u16,
    folder: &'a Path,
}

impl Gateway<'_> {
    fn start(&self, options: &Options) -> Child {
        let key_file = self.folder.join("key");
        std::fs::write(&key_file, hex::encode(SUBGRAPH_KEY)).unwrap();
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bashu-gateway"));
        command
            .env_clear()
            .env("BASHU_GATEWAY_UNION", "50")
            .env("BASHU_GATEWAY_LISTEN", self.address.to_string())
            .env("BASHU_GATEWAY_OPERATIONS", self.operations.to_string())
            .env(
                "BASHU_GATEWAY_SUPERGRAPH",
                fixtures.join("supergraph.graphql"),
            )
            .env("BASHU_GATEWAY_SUBGRAPH_KEY_FILE", key_file)
            .env(
                "BASHU_GATEWAY_SUBGRAPHS__IDENTITY",
                graph_url(self.identity),
            )
            .env("BASHU_GATEWAY_SUBGRAPHS__PASSES", graph_url(self.passes))
            // Nobody listens there: billing is dead in every test.
            .env(
                "BASHU_GATEWAY_SUBGRAPHS__BILLING",
                "http://127.0.0.1:9/graphql",
            )
            .env(
                "BASHU_GATEWAY_JWKS_URL",
                format!("http://{}/.well-known/jwks.json", self.identity),
            )
            .env("BASHU_GATEWAY_REDIS_URL", redis_url(self.redis_port))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        match &options.documents {
            None => {
                command.env("BASHU_GATEWAY_MODE", "development");
            }
            Some(documents) => {
                let file = self.folder.join("documents.json");
                std::fs::write(&file, documents.to_string()).unwrap();
                command.env("BASHU_GATEWAY_DOCUMENTS", file);
            }
        }
        command.envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (*name, value)),
        );
        command.spawn().unwrap()
    }
}

fn graph_url(address: SocketAddr) -> String {
    format!("http://{address}/graphql")
}

fn redis_url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/0")
}

async fn start_redis(port: u16, folder: &Path) -> Child {
    let redis = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args(["--appendonly", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is needed to test the limits");
    let started = Instant::now();
    let client = redis::Client::open(redis_url(port)).unwrap();
    while client.get_multiplexed_async_connection().await.is_err() {
        assert!(started.elapsed() < START_TIME_MAX, "redis does not answer");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    redis
}
