//! Limits per address and per login, as token buckets in Redis. The buckets are all it keeps;
//! losing them loses nothing but counts. Of high limits a block is taken at a time, which pays
//! for requests to come ([`crate::blocks`]); low ones are counted one by one.
//!
//! Whether a request passes while Redis is lost is for the caller to say: logging in does not, all
//! else does, so that no payment and no gate ever waits for Redis.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::ambient::now_s;
use crate::blocks::{Asked, Blocks, Outcome, Payment};
use crate::config::{Limits, Union};
use crate::hexadecimal::hexadecimal;

/// Longest that Redis may take to answer before it counts as lost.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(250);
/// How long a lost Redis is not asked again, so that requests do not queue up to learn it.
const LOST_PAUSE_S: u64 = 1;
/// Bits of an IPv6 address that one subscriber holds.
const IPV6_SUBSCRIBER_BITS: u32 = 64;
/// Letters of a login's name in a key, in bytes of its hash.
const NAME_BYTES: usize = 16;

/// The lowest limit, per minute, of which blocks are taken.
const BLOCK_LIMIT_MIN: u32 = 600;
/// A block is at most the share of a limit that flows in within half a second. It lives for one,
/// and there are two of a bucket at most.
const BLOCKS_PER_MINUTE_MIN: u32 = 120;
/// Permits of a block, at most.
const BLOCK_PERMITS_MAX: u32 = 50;

/// Takes from all buckets or from none. KEYS are buckets; ARGV holds per bucket its size, what
/// flows in per minute, what is asked for, and what is wished for. That is granted as long as
/// half of the bucket remains; the lower half is counted one by one, so permits that are lost
/// never keep anybody waiting who stays under the limit. Returns 0 and what is granted of each, or
/// after how many milliseconds to ask again.
const TAKE: &str = r"
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local left = {}
local answer = {0}
for i, key in ipairs(KEYS) do
    local size = tonumber(ARGV[i * 4 - 3])
    local flow = tonumber(ARGV[i * 4 - 2])
    local asked = tonumber(ARGV[i * 4 - 1])
    local wished = tonumber(ARGV[i * 4])
    local bucket = redis.pcall('HMGET', key, 'left', 'at_ms')
    if bucket.err then
        -- No bucket of ours has another type: what stands here is in the way of everybody.
        if not string.find(bucket.err, 'WRONGTYPE', 1, true) then return bucket end
        redis.call('DEL', key)
        bucket = {}
    end
    local before = tonumber(bucket[1]) or size
    local at_ms = tonumber(bucket[2]) or now_ms
    local now = math.min(size, before + math.max(0, now_ms - at_ms) * flow / 60000)
    if now < asked then
        answer[1] = math.max(answer[1], math.ceil((asked - now) * 60000 / flow))
    end
    local granted = asked
    if now - wished >= size / 2 then granted = wished end
    left[i] = now - granted
    answer[i + 1] = granted
end
if answer[1] > 0 then return answer end
for i, key in ipairs(KEYS) do
    redis.call('HSET', key, 'left', tostring(left[i]), 'at_ms', tostring(now_ms))
    redis.call('PEXPIRE', key, 120000)
end
return answer
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    blocks: Blocks,
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
            blocks: Blocks::default(),
        }
    }

    /// Pays for a request with what was taken before. Where the payment asks for nothing, all of
    /// it is taken; else it goes to [`Self::take`].
    pub(crate) fn pay(&self, wanted: Vec<(Bucket, u32)>) -> Payment {
        let block = |bucket: &Bucket| self.block(bucket);
        self.blocks.pay(wanted, block, Instant::now())
    }

    /// Takes what a payment asks for from each bucket, or from none if one of them lacks room.
    pub(crate) async fn take(&self, payment: &Payment) -> Verdict {
        let sent = Instant::now();
        let answer = self.answer(&payment.asked).await;
        let (verdict, outcome) = match answer.as_deref() {
            Some([0, granted @ ..]) => (Verdict::Taken, Outcome::Granted(granted, sent)),
            Some([wait_ms, ..]) => {
                let retry_after_s = wait_ms.div_ceil(1_000);
                (Verdict::Full { retry_after_s }, Outcome::Refused)
            }
            Some([]) | None => (Verdict::Lost, Outcome::Lost),
        };
        self.blocks.settle(payment, outcome);
        verdict
    }

    /// What Redis says, or nothing while it is lost.
    async fn answer(&self, asked: &[Asked]) -> Option<Vec<u64>> {
        if now_s() < self.lost_until_s.load(Ordering::Relaxed) {
            return None;
        }
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, self.ask(asked)).await;
        if let Ok(Ok(answer)) = answer {
            return Some(answer);
        }
        self.lost_until_s
            .store(now_s() + LOST_PAUSE_S, Ordering::Relaxed);
        tracing::warn!(target: "bashu::gateway", "redis does not answer: limits are off");
        None
    }

    async fn ask(&self, asked: &[Asked]) -> Result<Vec<u64>, ()> {
        let mut connection = self.connection().await?;
        let mut call = self.script.prepare_invoke();
        for one in asked {
            let bucket = &one.bucket;
            call.key(self.key(bucket))
                .arg(self.size(bucket))
                .arg(self.limit(bucket))
                .arg(one.count)
                .arg(one.wished);
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

    /// What a bucket holds: its limit, less what flows in while a permit of a block lives.
    fn size(&self, bucket: &Bucket) -> u32 {
        let limit = self.limit(bucket);
        if self.block(bucket) > 0 {
            limit - limit.div_ceil(60)
        } else {
            limit
        }
    }

    /// Permits of one block; none of what is counted one by one.
    fn block(&self, bucket: &Bucket) -> u32 {
        if matches!(bucket, Bucket::AddressLoginFields(_)) {
            return 0;
        }
        match self.limit(bucket) {
            limit @ BLOCK_LIMIT_MIN.. => (limit / BLOCKS_PER_MINUTE_MIN).min(BLOCK_PERMITS_MAX),
            _ => 0,
        }
    }

    /// What may pass per minute.
    fn limit(&self, bucket: &Bucket) -> u32 {
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
            Bucket::Login(login) => ("login", hexadecimal(&Sha256::digest(login)[..NAME_BYTES])),
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
