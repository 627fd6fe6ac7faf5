//! Limits per address and per login, as token buckets in Redis. The buckets are all it keeps;
//! losing them loses nothing but counts. Whether a request passes while Redis is lost is for the
//! caller to say: logging in does not, all else does, so that no payment and no gate ever waits
//! for Redis.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::ambient::now_s;
use crate::config::{Limits, Union};

/// Longest that Redis may take to answer before it counts as lost.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(250);
/// How long a lost Redis is not asked again, so that requests do not queue up to learn it.
const LOST_PAUSE_S: u64 = 1;
/// Bits of an IPv6 address that one subscriber holds.
const IPV6_SUBSCRIBER_BITS: u32 = 64;
/// Letters of a login's name in a key, in bytes of its hash.
const NAME_BYTES: usize = 16;

/// Takes from all buckets or from none. KEYS are buckets; ARGV holds per bucket its size, which
/// is also what flows in per minute, and what is asked for. Returns 0, or after how many
/// milliseconds to ask again.
const TAKE: &str = r"
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local left = {}
local wait_ms = 0
for i, key in ipairs(KEYS) do
    local size = tonumber(ARGV[i * 2 - 1])
    local asked = tonumber(ARGV[i * 2])
    local bucket = redis.pcall('HMGET', key, 'left', 'at_ms')
    if bucket.err then
        -- No bucket of ours has another type: what stands here is in the way of everybody.
        if not string.find(bucket.err, 'WRONGTYPE', 1, true) then return bucket end
        redis.call('DEL', key)
        bucket = {}
    end
    local before = tonumber(bucket[1]) or size
    local at_ms = tonumber(bucket[2]) or now_ms
    local now = math.min(size, before + math.max(0, now_ms - at_ms) * size / 60000)
    if now < asked then
        wait_ms = math.max(wait_ms, math.ceil((asked - now) * 60000 / size))
    end
    left[i] = now - asked
end
if wait_ms > 0 then return wait_ms end
for i, key in ipairs(KEYS) do
    redis.call('HSET', key, 'left', tostring(left[i]), 'at_ms', tostring(now_ms))
    redis.call('PEXPIRE', key, 120000)
end
return 0
";

/// What Redis said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There was room, and it is taken.
    Taken,
    /// There is room again after so many seconds.
    Full { retry_after_s: u64 },
    /// Redis did not answer.
    Lost,
}

/// Something that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bucket {
    /// Requests from an address.
    Address(IpAddr),
    /// Fields that concern logging in, from an address.
    AddressLoginFields(IpAddr),
    /// Requests under a login.
    Login(String),
}

/// Asks Redis.
pub(crate) struct Limiter {
    union: Union,
    limits: Limits,
    client: Result<redis::Client, ()>,
    connection: Mutex<Option<ConnectionManager>>,
    script: redis::Script,
    lost_until_s: AtomicU64,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Limiter")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Limiter {
    /// `address` was checked with the configuration; a bad one would count as a lost Redis.
    pub(crate) fn new(union: Union, limits: Limits, address: &SecretString) -> Self {
        Self {
            union,
            limits,
            client: redis::Client::open(address.expose_secret()).map_err(|_| ()),
            connection: Mutex::new(None),
            script: redis::Script::new(TAKE),
            lost_until_s: AtomicU64::new(0),
        }
    }

    /// Takes so many from each bucket, or from none if one of them lacks room.
    pub(crate) async fn take(&self, wanted: &[(Bucket, u32)]) -> Verdict {
        if now_s() < self.lost_until_s.load(Ordering::Relaxed) {
            return Verdict::Lost;
        }
        let asked = tokio::time::timeout(ANSWER_TIME_MAX, self.ask(wanted)).await;
        match asked {
            Ok(Ok(0)) => Verdict::Taken,
            Ok(Ok(wait_ms)) => Verdict::Full {
                retry_after_s: wait_ms.div_ceil(1_000),
            },
            Ok(Err(_)) | Err(_) => {
                self.lost_until_s
                    .store(now_s() + LOST_PAUSE_S, Ordering::Relaxed);
                tracing::warn!(target: "bashu::gateway", "redis does not answer: limits are off");
                Verdict::Lost
            }
        }
    }

    async fn ask(&self, wanted: &[(Bucket, u32)]) -> Result<u64, ()> {
        let mut connection = self.connection().await?;
        let mut call = self.script.prepare_invoke();
        for (bucket, count) in wanted {
            call.key(self.key(bucket))
                .arg(self.size(bucket))
                .arg(*count);
        }
        call.invoke_async(&mut connection).await.map_err(|_| ())
    }

    /// The connection, made at the first use so that the gateway starts without Redis.
    async fn connection(&self) -> Result<ConnectionManager, ()> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref() {
            return Ok(connection.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(ANSWER_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX));
        let client = self.client.clone()?;
        let made = ConnectionManager::new_with_config(client, config)
            .await
            .map_err(|_| ())?;
        *connection = Some(made.clone());
        Ok(made)
    }

    fn size(&self, bucket: &Bucket) -> u32 {
        match bucket {
            Bucket::Address(_) => self.limits.address_requests_per_minute,
            Bucket::AddressLoginFields(_) => self.limits.address_login_fields_per_minute,
            Bucket::Login(_) => self.limits.login_requests_per_minute,
        }
    }

    fn key(&self, bucket: &Bucket) -> String {
        let (kind, name) = match bucket {
            Bucket::Address(address) => ("address", subscriber(*address).to_string()),
            Bucket::AddressLoginFields(address) => {
                ("address-login", subscriber(*address).to_string())
            }
            Bucket::Login(login) => ("login", hex::encode(&Sha256::digest(login)[..NAME_BYTES])),
        };
        format!("bashu:{}:gateway:limit:{kind}:{name}", self.union.number())
    }
}

/// The part of an address that belongs to one subscriber: who has a network of IPv6 addresses
/// counts once.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let kept = address.to_bits() >> IPV6_SUBSCRIBER_BITS << IPV6_SUBSCRIBER_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(kept))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::subscriber;

    /// Addresses of one IPv6 network count as one, and a mapped IPv4 address as itself.
    #[test]
    fn one_subscriber_has_one_bucket() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = subscriber(address("2001:db8:1:2::1"));
        assert_eq!(first, subscriber(address("2001:db8:1:2:ffff::9")));
        assert_ne!(first, subscriber(address("2001:db8:1:3::1")));
        assert_eq!(
            subscriber(address("::ffff:192.0.2.1")),
            address("192.0.2.1")
        );
        assert_ne!(
            subscriber(address("192.0.2.1")),
            subscriber(address("192.0.2.2"))
        );
    }
}
