//! What the tests of every service share: a database of their own on the real PostgreSQL, and
//! topics of their own on the real Kafka.
//!
//! ```ignore
//! // services/<name>/Cargo.toml, [dev-dependencies]:
//! // kit = { workspace = true, features = ["testing"] }
//! let test = kit::testing::db("passes", &[kit::migrate::KIT, kit::migrate::REPLICA, MINE]).await;
//! let ctx = &test.ctx; // application role, clock at 2026-04-01T02:00:00Z, seeded ids
//! ctx.clock.advance(chrono::TimeDelta::minutes(15));
//! let twin = test.process().await; // the same database as another process sees it
//! ```
//!
//! Run by `deploy/dev/with test -- cargo test -p <name>`, which brings the servers up and sets
//! the environment. One migrated template database is kept for each (service, checksum of its
//! migrations) and copied for each test; a copy is dropped with its [`TestDb`], and one that was
//! left behind is swept after an hour. A missing server makes a test fail, never skip. Pools are
//! small, because tests run in parallel. It knows nothing of any service's tables.

pub mod acts;
pub mod cast;
mod overtaken;
pub mod rights;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Row};
use sha2::{Digest, Sha256};

pub use overtaken::overtaken;

use crate::bus::{Bus, KafkaOptions};
use crate::db::DbOptions;
use crate::migrate::{self, Migration};
use crate::relay::{Relay, Status};
use crate::types::Union;
use crate::{Clock, Ctx, Db, Ids};

/// Connections of one test's pool, at most.
pub const CONNECTIONS_MAX: u32 = 4;
/// The seed of a test's ids.
pub const SEED: u64 = 42;
/// Partitions of a test's topics.
pub const PARTITIONS: i32 = 2;
/// A test's database that is older than this was left behind, in seconds.
const STALE_SECONDS: u64 = 3_600;
/// A template that is older than this is made again, in seconds.
const TEMPLATE_SECONDS_MAX: u64 = 86_400;
const TOPIC_DROP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a relay may wait for the lock of one that was dropped.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long the end of a test waits for its database to be dropped.
const DATABASE_DROP_WAIT: Duration = Duration::from_secs(1);

/// Steps a relay until it is the one that publishes. The lock of one that was dropped goes only
/// when the server has noticed.
///
/// # Errors
/// Why it cannot be.
///
/// # Panics
/// When another relay keeps the lock.
pub async fn in_charge(relay: &mut Relay) -> crate::Result<usize> {
    let deadline = std::time::Instant::now() + LOCK_WAIT;
    loop {
        let published = relay.step().await?;
        if *relay.status() != Status::Standby {
            return Ok(published);
        }
        let waits = std::time::Instant::now() < deadline;
        assert!(waits, "another relay keeps the lock");
    }
}

/// The instant at which a test's clock stands: 2026-04-01T02:00:00Z, ten in the morning in
/// Chongqing.
pub fn start() -> DateTime<Utc> {
    Utc.timestamp_opt(1_775_008_800, 0)
        .single()
        .unwrap_or_default()
}

/// A database of one test's own, dropped with it.
pub struct TestDb {
    /// The context of the service under test, with the application role's rights.
    pub ctx: Ctx,
    name: String,
}

impl fmt::Debug for TestDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDb")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A fresh copy of the service's migrated database, for the union of Chongqing.
///
/// # Panics
/// When the test world is not up or a migration fails: the test fails and says so.
pub async fn db(service: &'static str, migrations: &[&[Migration]]) -> TestDb {
    db_of(Union::Chongqing, service, migrations).await
}

/// [`db`] for either union.
///
/// # Panics
/// As [`db`].
pub async fn db_of(union: Union, service: &'static str, migrations: &[&[Migration]]) -> TestDb {
    let all: Vec<Migration> = migrations.concat();
    let template = template_name(service, &all);
    let mut admin = Role::Superuser.connect("postgres").await;
    sweep(&mut admin).await;
    let name = format!("test_{service}_{}_{}", unix_seconds(), random_hex());
    loop {
        // Shared while it is copied, so that nobody sweeps it; alone while it is made.
        lock(&mut admin, "pg_advisory_lock_shared", &template).await;
        let found = exists(&mut admin, &template).await;
        if found {
            let sql = format!("CREATE DATABASE {name} TEMPLATE {template} OWNER bashu_owner");
            execute(&mut admin, &sql).await;
        }
        lock(&mut admin, "pg_advisory_unlock_shared", &template).await;
        if found {
            break;
        }
        make_template(&mut admin, &template, &all).await;
    }
    let _ = admin.close().await;
    let clock = Clock::manual(start());
    let ctx = context(union, service, &name, clock, Ids::seeded(SEED)).await;
    TestDb { ctx, name }
}

impl TestDb {
    /// The same database, clock and ids with a pool of its own, as another process has it.
    pub async fn process(&self) -> Ctx {
        let Ctx {
            union,
            service,
            clock,
            ids,
            ..
        } = self.ctx.clone();
        context(union, service, &self.name, clock, ids).await
    }

    /// The same database with the rights of the role that migrates.
    pub async fn owner(&self) -> Db {
        self.open(Role::Owner).await
    }

    /// The same database with every right: to end another's session, say.
    pub async fn superuser(&self) -> Db {
        self.open(Role::Superuser).await
    }

    async fn open(&self, role: Role) -> Db {
        let options = DbOptions {
            url: role.url(&self.name),
            connections_max: 2,
        };
        match Db::connect(options, self.ctx.clock.clone(), self.ctx.ids.clone()).await {
            Ok(db) => db,
            Err(error) => panic!("the database {} does not open: {error:?}", self.name),
        }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address for the application role: for a program that a test starts.
    pub fn url(&self) -> String {
        Role::Application.url(&self.name)
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let name = self.name.clone();
        blocking(DATABASE_DROP_WAIT, async move {
            let mut admin = Role::Superuser.connect("postgres").await;
            execute(
                &mut admin,
                &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            )
            .await;
        });
    }
}

/// The real broker of the test world, with topics and groups of this test's own; they are
/// deleted with it.
#[derive(Debug)]
pub struct TestKafka {
    pub bus: Bus,
    brokers: String,
    prefix: String,
}

/// A [`Bus`] on the real broker, its topics and groups under a fresh prefix.
///
/// # Panics
/// When the test world's environment is missing.
pub fn kafka() -> TestKafka {
    let brokers = env("BASHU_KAFKA_BROKERS");
    let prefix = format!("test-{}-{}.", unix_seconds(), random_hex());
    let options = KafkaOptions {
        brokers: brokers.clone(),
        prefix: prefix.clone(),
        partitions: PARTITIONS,
        replication: 1,
        instance: None,
    };
    TestKafka {
        bus: Bus::kafka(options),
        brokers,
        prefix,
    }
}

impl TestKafka {
    /// The broker's address.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What stands before the name of each topic and group.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Drop for TestKafka {
    fn drop(&mut self) {
        let (brokers, prefix) = (self.brokers.clone(), self.prefix.clone());
        blocking(TOPIC_DROP_TIMEOUT, async move {
            let admin: AdminClient<DefaultClientContext> = match ClientConfig::new()
                .set("bootstrap.servers", &brokers)
                .create()
            {
                Ok(admin) => admin,
                Err(error) => panic!("the test broker has no admin client: {error}"),
            };
            let metadata = match admin.inner().fetch_metadata(None, TOPIC_DROP_TIMEOUT) {
                Ok(metadata) => metadata,
                Err(error) => panic!("the test broker does not list its topics: {error}"),
            };
            let mine: Vec<&str> = metadata
                .topics()
                .iter()
                .map(rdkafka::metadata::MetadataTopic::name)
                .filter(|name| name.starts_with(&prefix))
                .collect();
            let options = AdminOptions::new().operation_timeout(Some(TOPIC_DROP_TIMEOUT));
            if !mine.is_empty() && admin.delete_topics(&mine, &options).await.is_err() {
                tracing::warn!(prefix, "topics of a test stay on the broker");
            }
        });
    }
}

/// One variable of the test world.
///
/// # Panics
/// When it is not set, saying how to set it.
pub fn env(name: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test world is told by its environment"
    )]
    match std::env::var(name) {
        Ok(value) => value,
        Err(_) => panic!(
            "{name} is not set: run tests by `deploy/dev/with test -- cargo test …`, which \
             brings the servers up and says where they are"
        ),
    }
}

async fn context(union: Union, service: &'static str, name: &str, clock: Clock, ids: Ids) -> Ctx {
    let url = Role::Application.url(name);
    let options = DbOptions {
        url,
        connections_max: CONNECTIONS_MAX,
    };
    match Db::connect(options, clock, ids).await {
        Ok(db) => Ctx::new(union, service, db),
        Err(error) => panic!("the test database {name} does not open: {error:?}"),
    }
}

#[derive(Clone, Copy)]
enum Role {
    Superuser,
    Owner,
    Application,
}

impl Role {
    fn url(self, database: &str) -> String {
        let (host, port) = (env("BASHU_PG_HOST"), env("BASHU_PG_PORT"));
        let variable = match self {
            Self::Superuser => "BASHU_PG_SUPERUSER",
            Self::Owner => "BASHU_PG_OWNER",
            Self::Application => "BASHU_PG_APP",
        };
        let (user, password) = (env(variable), env(&format!("{variable}_PASSWORD")));
        format!("postgres://{user}:{password}@{host}:{port}/{database}")
    }

    async fn connect(self, database: &str) -> PgConnection {
        let options: PgConnectOptions = match self.url(database).parse() {
            Ok(options) => options,
            Err(error) => panic!("the test world's PostgreSQL address is wrong: {error}"),
        };
        match options.connect().await {
            Ok(connection) => connection,
            Err(error) => panic!(
                "the test world's PostgreSQL does not answer ({error}): run tests by \
                 `deploy/dev/with test -- cargo test …`"
            ),
        }
    }
}

fn template_name(service: &str, migrations: &[Migration]) -> String {
    let mut digest = Sha256::new();
    for migration in migrations {
        digest.update(migration.name);
        digest.update([0]);
        digest.update(migration.sql);
        digest.update([0]);
    }
    // What `migrate::run` itself makes belongs to the template as well.
    digest.update(migrate::GRANTS);
    format!(
        "template_{service}_{}",
        &hex::encode(digest.finalize())[..16]
    )
}

async fn make_template(admin: &mut PgConnection, template: &str, migrations: &[Migration]) {
    lock(admin, "pg_advisory_lock", template).await;
    if !exists(admin, template).await {
        // Half made it has another name, so that nobody ever copies it.
        let making = format!("making_{template}");
        execute(
            admin,
            &format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)"),
        )
        .await;
        execute(
            admin,
            &format!("CREATE DATABASE {making} OWNER bashu_owner"),
        )
        .await;
        let options = DbOptions {
            url: Role::Owner.url(&making),
            connections_max: 1,
        };
        let db = match Db::connect(options, Clock::manual(start()), Ids::seeded(SEED)).await {
            Ok(db) => db,
            Err(error) => panic!("the template {template} does not open: {error:?}"),
        };
        if let Err(error) = migrate::run(&db, migrations).await {
            panic!("the migrations of {template} fail: {error:?}");
        }
        let _ = db.pool().clone().close().await;
        let made = format!("COMMENT ON DATABASE {making} IS '{}'", unix_seconds());
        execute(admin, &made).await;
        execute(
            admin,
            &format!("ALTER DATABASE {making} RENAME TO {template}"),
        )
        .await;
    }
    lock(admin, "pg_advisory_unlock", template).await;
}

/// Drops what earlier runs left: copies after an hour, templates after a day.
async fn sweep(admin: &mut PgConnection) {
    let rows = sqlx::query(
        "SELECT datname::text, shobj_description(oid, 'pg_database') AS made FROM pg_database
         WHERE datname LIKE 'test\\_%' OR datname LIKE 'template\\_%'",
    )
    .fetch_all(&mut *admin)
    .await
    .unwrap_or_default();
    let now = unix_seconds();
    for row in rows {
        let name: String = row.get(0);
        let made: Option<String> = row.get(1);
        if name.starts_with("test_") {
            // Some name what comes after it too.
            let seconds = name.split('_').find_map(|part| part.parse::<u64>().ok());
            if seconds.is_some_and(|made| made + STALE_SECONDS < now) {
                execute(
                    admin,
                    &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
                )
                .await;
            }
        } else if made
            .and_then(|text| text.parse::<u64>().ok())
            .is_some_and(|made| made + TEMPLATE_SECONDS_MAX < now)
        {
            lock(admin, "pg_advisory_lock", &name).await;
            execute(
                admin,
                &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            )
            .await;
            lock(admin, "pg_advisory_unlock", &name).await;
        }
    }
}

async fn lock(admin: &mut PgConnection, function: &str, template: &str) {
    execute(
        admin,
        &format!("SELECT {function}(hashtextextended('{template}', 0))"),
    )
    .await;
}

async fn exists(admin: &mut PgConnection, database: &str) -> bool {
    sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(database)
        .fetch_optional(admin)
        .await
        .is_ok_and(|row| row.is_some())
}

async fn execute(admin: &mut PgConnection, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql);
    if let Err(error) = sqlx::raw_sql(sql).execute(admin).await {
        panic!("the test world's PostgreSQL refused: {error}");
    }
}

/// Runs `work` from a place that cannot await, on a thread with a runtime of its own, and waits for
/// it a little. Not for ever: this thread may be the one that must go on for the work to end. A
/// connection of the test's that is just being opened is opened no further while its runtime stands
/// still here, and PostgreSQL drops no database before that handshake is over. What is late goes on
/// when the test, and with it its runtime, has ended.
fn blocking(wait: Duration, work: impl Future<Output = ()> + Send + 'static) {
    let (ended, end) = std::sync::mpsc::channel();
    let _thread = std::thread::spawn(move || {
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime.block_on(work),
            Err(error) => tracing::warn!(%error, "a test could not clean up after itself"),
        }
        // Nobody listens any more when it was late.
        let _ = ended.send(());
    });
    // A failure to clean up is swept by a later run and must not hide the test's own.
    let _ = end.recv_timeout(wait);
}

fn unix_seconds() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the age of a left-over is real time"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn random_hex() -> String {
    let mut bytes = [0u8; 4];
    Ids::random().fill(&mut bytes);
    hex::encode(bytes)
}
