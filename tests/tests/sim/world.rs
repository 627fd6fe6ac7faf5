//! One union in one process: four services on a real PostgreSQL, a log in memory between them, the
//! provider's stand-in, one clock that stands still until it is moved, ids that follow from the
//! seed. Nothing runs by itself: every loop is a step that somebody calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use credential::keyset::Issuer;
use ed25519_dalek::SigningKey;
use kit::Ctx;
use kit::audit::seal::seal_rows;
use kit::bus::{Bus, Faults, Memory, MemoryOptions};
use kit::replica::{Keys, Roots};
use kit::types::Union;
use sandbox::{ManualClock, Sandbox};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::ground::Ground;
use crate::loops::Loops;

/// Partitions of each topic in a seed's story.
pub(crate) const PARTITIONS: i32 = 2;
/// How long a relay may take to get the lock that the seed before it gives back.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// The union's merchant at the provider.
const MCHID: &str = "1900000050";
/// The root that signs key sets.
const ROOT: [u8; 32] = [77; 32];

/// The four services, in the order of every list here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Identity,
    Passes,
    Billing,
    Admission,
}

impl Service {
    pub(crate) const ALL: [Self; 4] =
        [Self::Identity, Self::Passes, Self::Billing, Self::Admission];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Identity => identity::NAME,
            Self::Passes => passes::NAME,
            Self::Billing => billing::NAME,
            Self::Admission => admission::NAME,
        }
    }
}

/// What is in this process's memory of each service, and goes when the process dies.
pub(crate) struct Union50 {
    pub(crate) identity: identity::Identity,
    pub(crate) passes: passes::Passes,
    pub(crate) billing: billing::Billing,
    pub(crate) admission: admission::Admission,
}

/// A union under one seed.
pub(crate) struct World<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) memory: Memory,
    pub(crate) bus: Bus,
    pub(crate) union: Union50,
    pub(crate) loops: Loops,
    pub(crate) sandbox: Sandbox,
    pub(crate) root: SigningKey,
    pub(crate) partitions: i32,
    provider: String,
    provider_clock: ManualClock,
    notified: String,
    http: reqwest::Client,
    servers: Vec<JoinHandle<()>>,
    data: PathBuf,
}

impl<'a> World<'a> {
    pub(crate) async fn new(ground: &'a Ground, seed: u64) -> Result<Self> {
        Self::with(ground, (seed, PARTITIONS), |routes| routes).await
    }

    /// A world whose topics have so many partitions, and in which something stands before the door
    /// that the provider posts to.
    pub(crate) async fn with(
        ground: &'a Ground,
        (seed, partitions): (u64, i32),
        door: impl FnOnce(axum::Router) -> axum::Router,
    ) -> Result<Self> {
        ground.reset(seed).await?;
        let bus = Bus::memory(MemoryOptions {
            seed,
            ..MemoryOptions::calm(partitions)
        });
        let Bus::Memory(memory) = bus.clone() else {
            unreachable!("a bus in memory was asked for")
        };
        let data = copied(&ground.keys)?;
        let provider_clock = ManualClock::at(ground.clock.now().timestamp_millis());
        let mut config = sandbox::Config::new(&data);
        config.clock = sandbox::Clock::Manual(provider_clock.clone());
        let sandbox = Sandbox::open(config).map_err(|error| anyhow::anyhow!("{error}"))?;
        let (ours, theirs) = (listener().await?, listener().await?);
        let notified = format!("http://{}", ours.local_addr()?);
        let provider = format!("http://{}", theirs.local_addr()?);
        let served = sandbox.clone().serve(theirs, std::future::pending());
        let mut servers = vec![spawn(async move {
            served.await.expect("the sandbox serves");
        })];
        let union = open(ground, &data, (&provider, &notified), partitions).await?;
        let routes = door(kit::http::rest(billing::rest::routes(&union.billing)));
        servers.push(spawn(async move {
            axum::serve(ours, routes).await.expect("billing serves");
        }));
        let loops = Loops::new(ground, &bus, &roots());
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut world = Self {
            ground,
            memory,
            bus,
            union,
            loops,
            sandbox,
            root: SigningKey::from_bytes(&ROOT),
            partitions,
            provider,
            provider_clock,
            notified,
            http,
            servers,
            data,
        };
        world.gain_locks().await?;
        Ok(world)
    }

    /// The relays of the seed before gave their locks back a moment ago.
    async fn gain_locks(&mut self) -> Result<()> {
        let deadline = Instant::now() + LOCK_WAIT;
        for service in Service::ALL {
            while !self.loops.relay_runs(service).await {
                ensure!(Instant::now() < deadline, "{service:?} has no relay");
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    pub(crate) fn ctx(&self, service: Service) -> &'a Ctx {
        &self.ground.services[service as usize]
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.ground.clock.now()
    }

    pub(crate) fn advance(&self, by: TimeDelta) {
        self.ground.clock.advance(by);
        self.provider_clock.advance_ms(by.num_milliseconds());
    }

    /// Our clock goes back, and nobody else's.
    pub(crate) fn set_back(&self, by: TimeDelta) {
        self.ground.clock.advance(-by);
    }

    /// Whether a service has written something down later than it is now.
    ///
    /// # Errors
    /// When a database fails.
    pub(crate) async fn has_written_ahead(&self) -> Result<bool> {
        #[derive(FromQueryResult)]
        struct Row {
            any: bool,
        }
        let sql = "SELECT EXISTS (SELECT FROM audit WHERE at > $1) AS any";
        for service in Service::ALL {
            let row = self.ctx(service).db.one::<Row>(sql, [self.now().into()]);
            if row.await?.is_some_and(|row| row.any) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where a service's transactions and jobs are told to die.
    pub(crate) fn faults(&self, service: Service) -> &Faults {
        self.ctx(service).db.faults()
    }

    /// A sign of life of identity, which its own loop gives every few seconds, and the work of
    /// every sealer. That one's transactions are no steps of a story: they go past the points at
    /// which those are told to die.
    pub(crate) async fn heartbeat(&self) -> kit::Result<()> {
        for judge in &self.ground.judges {
            while judge.db.tx("audit_seal", seal_rows).await?.rows > 0 {}
        }
        identity::due::heartbeat(&self.union.identity.ctx, self.partitions).await
    }

    /// The process of all services dies and another one starts: what only memory held is gone.
    /// Billing's listener goes on with the memory it had, which holds nothing but a wake-up.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        let places = (self.provider.as_str(), self.notified.as_str());
        self.union = open(self.ground, &self.data, places, self.partitions).await?;
        self.loops
            .restart(&self.ground.services, &self.bus, &roots());
        Ok(())
    }

    /// Tells the provider's stand-in something; the status and the answer.
    pub(crate) async fn control(&self, path: &str, body: Value) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.provider);
        let answer = self.http.post(url).json(&body).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Ends what the provider was told to do to its answers; how many it would still have spoiled.
    pub(crate) async fn forget_answers(&self) -> Result<u64> {
        let (status, told) = self.control("/sandbox/answers/forget", json!({})).await?;
        ensure!(status == 200, "the provider was told to forget: {status}");
        told["left"].as_u64().context("a count")
    }

    /// The payer scans the code and pays.
    pub(crate) async fn payer_pays(&self, out_trade_no: &str) -> Result<u16> {
        let told = json!({ "out_trade_no": out_trade_no, "force": true });
        Ok(self.control("/sandbox/pay", told).await?.0)
    }

    /// Every order the provider knows.
    pub(crate) async fn provider_orders(&self) -> Result<Vec<Value>> {
        let url = format!("{}/sandbox/orders?limit=1000", self.provider);
        let answer: Value = self.http.get(url).send().await?.json().await?;
        let orders = answer["orders"].as_array().context("a list of orders")?;
        Ok(orders.clone())
    }

    /// Every notification the provider has made, with its attempts.
    pub(crate) async fn provider_notifications(&self) -> Result<Vec<Value>> {
        let url = format!("{}/sandbox/notifications?limit=1000", self.provider);
        let answer: Value = self.http.get(url).send().await?.json().await?;
        let notices = answer["notifications"].as_array();
        Ok(notices.context("a list of notifications")?.clone())
    }

    /// Rows of one service's database.
    pub(crate) async fn rows<R: FromQueryResult>(
        &self,
        service: Service,
        sql: &str,
    ) -> Result<Vec<R>> {
        let rows = self.ctx(service).db.all(sql, []).await;
        rows.with_context(|| format!("{service:?}: {sql}"))
    }

    /// The same for who looks whether promises hold: a question that is never asked again takes no
    /// room among the statements that the service's own connections know.
    pub(crate) async fn judged<R: FromQueryResult>(
        &self,
        service: Service,
        sql: &str,
    ) -> Result<Vec<R>> {
        let rows = self.ground.judges[service as usize].db.all(sql, []).await;
        rows.with_context(|| format!("{service:?}: {sql}"))
    }

    /// One text of one service's database; `None` when there is no row or it is null.
    pub(crate) async fn text(&self, service: Service, sql: &str) -> Result<Option<String>> {
        #[derive(FromQueryResult)]
        struct Row {
            value: Option<String>,
        }
        let sql = format!("SELECT value::text AS value FROM ({sql}) AS t (value)");
        let row = self.ctx(service).db.one::<Row>(&sql, []).await;
        let row = row.with_context(|| format!("{service:?}: {sql}"))?;
        Ok(row.and_then(|row| row.value))
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
        // A folder that stays is small, and the next run of the same seed has another.
        let _best_effort = fs::remove_dir_all(&self.data);
    }
}

async fn open(
    ground: &Ground,
    data: &Path,
    (provider, ours): (&str, &str),
    partitions: i32,
) -> Result<Union50> {
    let [identity, passes, billing, admission] = [0, 1, 2, 3].map(|at| ground.services[at].clone());
    let sms = identity::SmsSettings {
        url: provider.to_owned(),
        key: fs::read_to_string(data.join("sms/50.key"))?.trim().into(),
    };
    let settings = identity::Settings {
        sms,
        ..identity_settings()
    };
    let identity = identity::Identity::new(identity, settings, roots(), partitions)?;
    let passes = passes::Passes::new(passes, &passes_settings(), None)?;
    let settings = billing_settings(data, provider, ours);
    let billing = billing::Billing::new(billing, &settings, roots())?;
    let keys = Keys::new(Union::Chongqing, roots());
    keys.load(&admission.db).await?;
    let settings = admission::Settings::default();
    let admission = admission::Admission::new(admission, keys, None, settings);
    Ok(Union50 {
        identity,
        passes,
        billing,
        admission,
    })
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a server of the world, ended with it"
    )]
    tokio::spawn(work)
}

async fn listener() -> Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}

/// The provider's keys in a folder of their own; the orders of a seed are written beside them.
fn copied(keys: &Path) -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let to =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sim-{}-{number}", std::process::id()));
    copy(keys, &to)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

pub(crate) fn roots() -> Roots {
    let root = SigningKey::from_bytes(&ROOT).verifying_key();
    Roots::from([(Issuer::Chongqing, root)])
}

fn key(byte: u8) -> secrecy::SecretString {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .encode([byte; 32])
        .into()
}

/// Those of identity, who sends SMS nowhere by them.
pub(crate) fn identity_settings() -> identity::Settings {
    identity::Settings {
        kek: key(1),
        other_keks: Vec::new(),
        blind_index_key: key(2),
        code_key: key(3),
        idtag_key: key(4),
        sms: identity::SmsSettings {
            url: "http://127.0.0.1:9".to_owned(),
            key: "key".into(),
        },
        wechat: None,
        oidc: Vec::new(),
        verification: None,
        root_key_file: None,
        second_factor_optional: false,
        codes_per_address_hour_max: 1_000,
    }
}

fn passes_settings() -> passes::Settings {
    passes::Settings {
        entitlement_key: key(5),
        catalogue_seconds: 5,
    }
}

/// The settings of the union's merchant, as the sandbox's files say.
fn billing_settings(data: &Path, provider: &str, ours: &str) -> billing::Settings {
    let merchant = data.join("merchants").join(MCHID);
    let file = |path: PathBuf| format!("file:{}", path.display());
    billing::Settings {
        wechat: billing::WechatSettings {
            base_url: provider.to_owned(),
            mchid: MCHID.to_owned(),
            appid: file(merchant.join("appid")),
            merchant_serial: file(merchant.join("serial")),
            merchant_key: file(merchant.join("private_key.pem")).into(),
            platform_serial: file(data.join("platform/serial")),
            platform_key: file(data.join("platform/public_key.pem")),
            apiv3_key: file(merchant.join("apiv3_key")).into(),
            notify_url: ours.to_owned(),
            mini_program: None,
        },
    }
}
