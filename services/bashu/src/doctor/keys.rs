//! Signing keys as every service holds them: signed by the configured root, the same version
//! everywhere, and not about to run out; and identity's sign of life.

use chrono::{DateTime, TimeDelta, Utc};
use credential::keyset::{KeySet, KeyState, Purpose, SignedKeySet, TestIssuer};
use ed25519_dalek::VerifyingKey;
use identity::domain::keys::Purpose as SigningPurpose;
use kit::Ctx;
use kit::config::Config;
use sea_orm::FromQueryResult;

use super::{Finding, unanswered};
use crate::output::Text;
use crate::registry::Known;

/// How long before the last key of a purpose ends somebody must act.
const EXPIRY_WARN: TimeDelta = TimeDelta::days(21);
/// How old identity's heartbeat may be until whatever needs an office is refused.
const HEARTBEAT_SECONDS_MAX: i64 = 60;

pub(super) async fn examine(config: &Config, opened: &[(&'static Known, Ctx)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut newest = None;
    for (known, ctx) in opened {
        let held = match held(config, ctx).await {
            Ok(held) => held,
            Err(error) => {
                findings.push(unanswered("keys.set", known.name, &error));
                continue;
            }
        };
        if known.name == identity::NAME {
            newest = Some(version_of(&held));
            if let Held::Set(set) = &held {
                findings.extend(expiries(set, ctx.clock.now()));
            }
        } else {
            findings.push(heartbeat(known.name, ctx).await);
        }
        findings.push(judge(known.name, &held, newest));
    }
    findings
}

/// What a service holds as its union's key set.
enum Held {
    None,
    /// The configured root has not signed it.
    Unsigned,
    Set(KeySet),
}

fn version_of(held: &Held) -> u64 {
    match held {
        Held::Set(set) => set.version(),
        Held::None | Held::Unsigned => 0,
    }
}

#[derive(FromQueryResult)]
struct Row {
    bytes: Vec<u8>,
    signature: Vec<u8>,
}

async fn held(config: &Config, ctx: &Ctx) -> kit::Result<Held> {
    let row: Option<Row> = ctx
        .db
        .one(
            "SELECT bytes, signature FROM replica_key_set WHERE issuer = $1",
            [i16::from(config.union.issuer()).into()],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Held::None);
    };
    let root = VerifyingKey::from_bytes(&config.root_public_key).ok();
    let signature = <[u8; 64]>::try_from(row.signature.as_slice()).ok();
    let set = root.zip(signature).and_then(|(root, root_signature)| {
        SignedKeySet {
            bytes: row.bytes,
            root_signature,
        }
        .verify(&root, TestIssuer::Refuse)
        .ok()
    });
    Ok(set.map_or(Held::Unsigned, Held::Set))
}

fn judge(service: &str, held: &Held, newest: Option<u64>) -> Finding {
    let check = "keys.set";
    match held {
        Held::None => Finding::fail(
            check,
            service,
            Text::new(
                "没有密钥集：无人能登录或入场",
                "no key set: nobody logs in or enters",
            ),
            if service == identity::NAME {
                Text::new(
                    "bashu keys rotate，然后 bashu keys publish --root 文件",
                    "bashu keys rotate, then bashu keys publish --root FILE",
                )
            } else {
                Text::new(
                    "确认本服务在运行；不行则 bashu resync identity",
                    "see that the service runs; if it does, bashu resync identity",
                )
            },
        ),
        Held::Unsigned => Finding::fail(
            check,
            service,
            Text::new(
                "密钥集不是配置的根密钥签的",
                "the key set is not signed by the configured root",
            ),
            Text::new(
                "核对 root_public_key；若根密钥已更换，用新的根 bashu keys publish --root 文件",
                "compare root_public_key; if there is a new root, bashu keys publish --root FILE",
            ),
        ),
        Held::Set(set) => {
            let version = set.version();
            let behind = newest.is_some_and(|newest| version < newest);
            let found = Text::new(
                format!("密钥集版本 {version}"),
                format!("key set version {version}"),
            );
            if !behind {
                return Finding::ok(check, service, found);
            }
            Finding::warn(
                check,
                service,
                found,
                Text::new(
                    "比 identity 的旧：看 consumer.lag；不行则 bashu resync identity",
                    "older than identity's: see consumer.lag; if that is well, \
                     bashu resync identity",
                ),
            )
        }
    }
}

/// Whether there is a key of each purpose that will be believed for a while.
fn expiries(set: &KeySet, now: DateTime<Utc>) -> Vec<Finding> {
    let purposes = [(Purpose::Entry, "entry"), (Purpose::Access, "access")];
    purposes
        .into_iter()
        .map(|(purpose, name)| expiry(set, purpose, name, now))
        .collect()
}

fn expiry(set: &KeySet, purpose: Purpose, name: &str, now: DateTime<Utc>) -> Finding {
    let check = "keys.expiry";
    let end = set
        .keys()
        .iter()
        .filter(|key| key.purpose == purpose && key.state == KeyState::Active)
        .map(|key| key.not_after)
        .max();
    let to_do = Text::new(
        "bashu keys rotate，然后 bashu keys publish --root 文件",
        "bashu keys rotate, then bashu keys publish --root FILE",
    );
    let Some(end) = end.filter(|end| *end > now) else {
        let found = Text::new("没有有效的密钥", "no key of this purpose is valid");
        return Finding::fail(check, name, found, to_do);
    };
    let days = (end - now).num_days();
    if let Some(late) = past_its_quarter(set, purpose, now) {
        let late = late.num_days();
        let found = Text::new(
            format!("该更换已过 {late} 天，还有 {days} 天失效：此后签发的凭证越来越短"),
            format!(
                "{late} days past its quarter, it ends in {days} days: what it signs ends with it"
            ),
        );
        return Finding::warn(check, name, found, to_do);
    }
    let found = Text::new(
        format!("最后一把还有 {days} 天"),
        format!("the last one ends in {days} days"),
    );
    if end - now < EXPIRY_WARN {
        return Finding::warn(check, name, found, to_do);
    }
    Finding::ok(check, name, found)
}

/// For how long the youngest key of a purpose has signed beyond its quarter.
fn past_its_quarter(set: &KeySet, purpose: Purpose, now: DateTime<Utc>) -> Option<TimeDelta> {
    let quarter = match purpose {
        Purpose::Entry => SigningPurpose::Entry.signing(),
        Purpose::Access => SigningPurpose::Access.signing(),
    };
    set.keys()
        .iter()
        .filter(|key| key.purpose == purpose && key.state == KeyState::Active)
        .map(|key| now - (key.not_before + quarter))
        .min()
        .filter(|late| *late > TimeDelta::zero())
}

#[derive(FromQueryResult)]
struct Beat {
    at: Option<DateTime<Utc>>,
}

async fn heartbeat(service: &str, ctx: &Ctx) -> Finding {
    let check = "identity.heartbeat";
    let beat: Option<Beat> = match ctx
        .db
        .one("SELECT min(at) AS at FROM replica_heartbeat", [])
        .await
    {
        Ok(beat) => beat,
        Err(error) => return unanswered(check, service, &error),
    };
    let to_do = Text::new(
        "确认 identity 和本服务在运行，看 relay.age 与 consumer.lag",
        "see that identity and this service run; see relay.age and consumer.lag",
    );
    let Some(at) = beat.and_then(|beat| beat.at) else {
        let found = Text::new("从未收到", "none has ever arrived");
        return Finding::fail(check, service, found, to_do);
    };
    let age = (ctx.clock.now() - at).num_seconds();
    if age <= HEARTBEAT_SECONDS_MAX {
        let found = Text::new(format!("{age} 秒前"), format!("{age} s ago"));
        return Finding::ok(check, service, found);
    }
    Finding::fail(
        check,
        service,
        Text::new(
            format!("{age} 秒前：凡需职务的操作都被拒绝"),
            format!("{age} s ago: whatever needs an office is refused"),
        ),
        to_do,
    )
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;
    use credential::keyset::{Algorithm, Issuer, Key, KeyId};
    use ed25519_dalek::SigningKey;

    fn set(days: i64, state: KeyState) -> KeySet {
        begun(30, days, state)
    }

    /// A key that began so many days ago and ends in so many.
    fn begun(ago: i64, days: i64, state: KeyState) -> KeySet {
        let now = DateTime::from_timestamp(1_775_008_800, 0).unwrap();
        let key = Key {
            kid: KeyId::new(Issuer::Chongqing, 1).unwrap(),
            algorithm: Algorithm::Ed25519,
            public: SigningKey::from_bytes(&[7; 32]).verifying_key(),
            purpose: Purpose::Entry,
            not_before: now - TimeDelta::days(ago),
            not_after: now + TimeDelta::days(days),
            scopes: std::collections::BTreeSet::new(),
            state,
        };
        KeySet::new(1, Issuer::Chongqing, vec![key]).unwrap()
    }

    /// Three weeks before the last key ends somebody hears of it; a retired key does not count.
    #[test]
    fn keys_that_run_out_are_told_in_time() {
        let now = DateTime::from_timestamp(1_775_008_800, 0).unwrap();
        let severity =
            |days, state| expiry(&set(days, state), Purpose::Entry, "entry", now).severity;
        assert_eq!(severity(21, KeyState::Active), Severity::Ok);
        assert_eq!(severity(20, KeyState::Active), Severity::Warn);
        assert_eq!(severity(0, KeyState::Active), Severity::Fail);
        assert_eq!(severity(90, KeyState::Retired), Severity::Fail);
        let late = |ago| {
            let set = begun(ago, 128 - ago, KeyState::Active);
            expiry(&set, Purpose::Entry, "entry", now)
        };
        assert_eq!(late(92).severity, Severity::Ok);
        assert_eq!(late(93).severity, Severity::Warn, "nobody has replaced it");
        assert!(late(93).found.en.contains("1 days past its quarter"));
        let access = expiry(&set(90, KeyState::Active), Purpose::Access, "access", now);
        assert_eq!(access.severity, Severity::Fail);
    }
}
