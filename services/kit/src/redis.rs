//! Redis holds only what can be made again. The rule for its loss: on any failure, on a value
//! that does not read, and for a while after, PostgreSQL answers; a caller never sees the
//! difference, and `FLUSHALL` loses nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ::redis::AsyncCommands;
use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Clock, Error, Result};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer may take, a new connection included; PostgreSQL is not much slower.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(150);
/// For how long Redis is left alone after it failed, in milliseconds.
pub const REST_MS: i64 = 1_000;
/// The largest value that is kept, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The longest time a value is kept.
pub const LIFE_MAX: Duration = Duration::from_secs(3_600);

/// Read-through memory before PostgreSQL.
#[derive(Clone)]
pub struct Cache {
    connection: ConnectionManager,
    /// The service's name: services share a Redis and no key.
    prefix: &'static str,
    clock: Clock,
    /// Until when Redis is left alone, in milliseconds since the Unix epoch.
    resting_until: Arc<AtomicI64>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Needs no Redis to be there: it is connected to when it is first asked.
    ///
    /// # Errors
    /// When `url` is no address of a Redis.
    pub fn new(url: &SecretString, prefix: &'static str, clock: Clock) -> Result<Self> {
        let wrong = |_| Error::internal("`redis_url` is no address of a Redis");
        let client = ::redis::Client::open(url.expose_secret()).map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(wrong)?;
        Ok(Self {
            connection,
            prefix,
            clock,
            resting_until: Arc::default(),
        })
    }

    /// The value under `key`, or what `load` brings, which is then kept for `life` (at most
    /// [`LIFE_MAX`]). Only `load` can fail.
    ///
    /// # Errors
    /// What `load` answers.
    pub async fn get_or<T, F>(&self, key: &str, life: Duration, load: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: AsyncFnOnce() -> Result<T>,
    {
        if let Some(value) = self.read(key).await {
            return Ok(value);
        }
        let value = load().await?;
        self.write(key, life, &value).await;
        Ok(value)
    }

    /// Forgets a value after what it was made from has changed. Where Redis is away nothing is
    /// said: the value's life bounds how old it can get.
    pub async fn forget(&self, key: &str) {
        let mut connection = self.connection.clone();
        let name = self.name(key);
        self.ask("forget", async move { connection.del::<_, ()>(name).await })
            .await;
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let mut connection = self.connection.clone();
        let name = self.name(key);
        let get = async move { connection.get::<_, Option<Vec<u8>>>(name).await };
        let bytes = self.ask("read", get).await??;
        let value = serde_json::from_slice(&bytes).ok();
        count("read", if value.is_some() { "hit" } else { "unreadable" });
        value
    }

    async fn write<T: Serialize>(&self, key: &str, life: Duration, value: &T) {
        let Ok(bytes) = serde_json::to_vec(value) else {
            return;
        };
        if bytes.len() > VALUE_BYTES_MAX {
            count("write", "too_large");
            return;
        }
        let life_ms = u64::try_from(life.min(LIFE_MAX).as_millis())
            .unwrap_or(1)
            .max(1);
        let mut connection = self.connection.clone();
        let name = self.name(key);
        let set = async move { connection.pset_ex::<_, _, ()>(name, bytes, life_ms).await };
        self.ask("write", set).await;
    }

    fn name(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    /// What Redis answers; `None` when it fails, does not answer in time, or rests after that.
    async fn ask<T>(
        &self,
        act: &'static str,
        command: impl Future<Output = ::redis::RedisResult<T>>,
    ) -> Option<T> {
        let now_ms = self.clock.now().timestamp_millis();
        if now_ms < self.resting_until.load(Ordering::Relaxed) {
            count(act, "resting");
            return None;
        }
        let reason = match tokio::time::timeout(RESPONSE_TIMEOUT, command).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.resting_until
            .store(now_ms + REST_MS, Ordering::Relaxed);
        count(act, "failed");
        tracing::warn!(reason, "redis failed; postgres answers");
        None
    }
}

fn count(act: &'static str, outcome: &'static str) {
    metrics::counter!("bashu_cache_total", "act" => act, "outcome" => outcome).increment(1);
}
