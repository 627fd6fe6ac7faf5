//! Redis may go away, come back empty or hold rubbish: a caller gets the right value each time.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use kit::redis::{Cache, REST_MS, VALUE_BYTES_MAX};
use kit::{Clock, Error};
use secrecy::SecretString;

const LIFE: Duration = Duration::from_secs(60);

/// A Redis of the test's own, on a socket file, ended with it.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("bashu-redis-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let child = Self::spawn(&folder);
        Self { child, folder }
    }

    fn spawn(folder: &PathBuf) -> Child {
        let socket = folder.join("socket");
        let _ = std::fs::remove_file(&socket);
        let child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(&socket)
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            std::thread::yield_now();
        }
        child
    }

    fn url(&self) -> SecretString {
        format!("redis+unix://{}", self.folder.join("socket").display()).into()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn again(&mut self) {
        self.child = Self::spawn(&self.folder);
    }

    async fn command(&self, words: &[&str]) {
        let client =
            redis::Client::open(secrecy::ExposeSecret::expose_secret(&self.url())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async::<()>(&mut connection).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A cache, and what stands for PostgreSQL behind it.
struct Store {
    cache: Cache,
    clock: Clock,
    loads: AtomicU32,
}

impl Store {
    fn new(url: &SecretString) -> Self {
        let clock = Clock::manual(kit::testing::start());
        let cache = Cache::new(url, "test", clock.clone()).unwrap();
        Self {
            cache,
            clock,
            loads: AtomicU32::new(0),
        }
    }

    /// The value, and how often it has been loaded so far.
    async fn get(&self) -> (String, u32) {
        let load = async || {
            self.loads.fetch_add(1, Ordering::SeqCst);
            Ok("值".to_owned())
        };
        let value = self.cache.get_or("key", LIFE, load).await.unwrap();
        (value, self.loads.load(Ordering::SeqCst))
    }

    fn rested(&self) {
        self.clock.advance(TimeDelta::milliseconds(REST_MS + 1));
    }
}

fn value(loads: u32) -> (String, u32) {
    ("值".to_owned(), loads)
}

#[tokio::test]
async fn a_value_is_loaded_once_and_again_when_it_was_lost() {
    let server = Server::start("lost");
    let store = Store::new(&server.url());
    assert_eq!(store.get().await, value(1));
    assert_eq!(store.get().await, value(1));
    server.command(&["FLUSHALL"]).await;
    assert_eq!(store.get().await, value(2));
    server.command(&["SET", "test:key", "\u{0}rubbish"]).await;
    assert_eq!(store.get().await, value(3));
    server.command(&["DEL", "test:key"]).await;
    server.command(&["LPUSH", "test:key", "another type"]).await;
    assert_eq!(store.get().await, value(4));
    store.rested();
    server.command(&["FLUSHALL"]).await;
    assert_eq!(store.get().await, value(5));
    store.cache.forget("key").await;
    assert_eq!(store.get().await, value(6));
}

/// Killed, it costs one short wait; then it is left alone for a second, and used again once it
/// is back.
#[tokio::test]
async fn a_killed_redis_is_not_noticed() {
    let mut server = Server::start("killed");
    let store = Store::new(&server.url());
    assert_eq!(store.get().await, value(1));
    server.kill();
    let started = Instant::now();
    for loads in 2..100 {
        assert_eq!(store.get().await, value(loads));
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    server.again();
    store.rested();
    // The connection is made anew behind the first question, which may still be answered late.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (_, before) = store.get().await;
        if store.get().await.1 == before {
            break;
        }
        assert!(Instant::now() < deadline, "redis is used again");
        store.rested();
    }
}

#[tokio::test]
async fn a_redis_that_was_never_there_and_one_that_hangs_cost_little() {
    let nowhere: SecretString = "redis://127.0.0.1:1/0".into();
    let store = Store::new(&nowhere);
    let started = Instant::now();
    assert_eq!(store.get().await, value(1));
    assert_eq!(store.get().await, value(2));
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    // It takes the connection and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = Store::new(&format!("redis://{}/0", silent.local_addr().unwrap()).into());
    let started = Instant::now();
    for loads in 1..50 {
        assert_eq!(store.get().await, value(loads));
    }
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert!(Cache::new(&"nonsense".into(), "test", Clock::System).is_err());
}

#[tokio::test]
async fn large_values_are_not_kept_and_failures_are_not_either() {
    let server = Server::start("large");
    let store = Store::new(&server.url());
    let loads = AtomicU32::new(0);
    for _ in 0..2 {
        let large = async || {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok("x".repeat(VALUE_BYTES_MAX))
        };
        assert_eq!(
            store
                .cache
                .get_or("large", LIFE, large)
                .await
                .unwrap()
                .len(),
            VALUE_BYTES_MAX
        );
    }
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    let failed = store
        .cache
        .get_or("bad", LIFE, async || Err::<u32, _>(Error::NotFound))
        .await;
    assert!(matches!(failed, Err(Error::NotFound)));
    assert_eq!(
        store
            .cache
            .get_or("bad", LIFE, async || Ok(5_u32))
            .await
            .unwrap(),
        5
    );
}
