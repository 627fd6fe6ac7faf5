//! A union of one test's own: empty databases, topics under a prefix, a configuration that names
//! them, and the program that reads it. Databases and topics are dropped with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::bus::{Bus, KafkaOptions};
use kit::db::DbOptions;
use kit::testing::{TestKafka, env};
use kit::types::Union;
use kit::{Clock, Ctx, Db, Ids};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::OnceCell;

pub(crate) const SERVICES: [&str; 4] = ["identity", "passes", "billing", "admission"];
/// Databases that a killed run left are dropped after this.
const STALE_SECONDS: u64 = 3_600;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The answer as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|_| panic!("no JSON: {}\n{}", self.out, self.err))
    }

    /// The answer, when all was well.
    pub(crate) fn well(self) -> Value {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.json()
    }
}

pub(crate) struct World {
    pub(crate) union: Union,
    pub(crate) folder: PathBuf,
    pub(crate) kafka: Arc<TestKafka>,
    /// The lines of the configuration; a test may change them.
    pub(crate) settings: toml::Table,
    prefix: String,
}

/// The databases that every ready world is a copy of, by their prefix: migrated once in a run.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

impl World {
    /// A configuration that names databases which are not there.
    pub(crate) async fn paper() -> Self {
        Self::new(Union::Chongqing, Arc::new(kit::testing::kafka())).await
    }

    /// Databases without tables.
    pub(crate) async fn empty() -> Self {
        let world = Self::paper().await;
        world.create(None).await;
        world
    }

    /// Databases with this program's tables and nothing in them.
    pub(crate) async fn ready() -> Self {
        Self::of(Union::Chongqing, Arc::new(kit::testing::kafka())).await
    }

    /// [`World::ready`] for either union, with topics on a broker that worlds may share.
    pub(crate) async fn of(union: Union, kafka: Arc<TestKafka>) -> Self {
        let template = TEMPLATE.get_or_init(Self::template).await;
        let world = Self::new(union, kafka).await;
        world.create(Some(template)).await;
        world
    }

    async fn template() -> String {
        let world = Self::empty().await;
        world.bashu(&["migrate"]).await.well();
        // It outlives the test that made it; a later run sweeps it.
        let mut world = std::mem::ManuallyDrop::new(world);
        std::mem::take(&mut world.prefix)
    }

    async fn new(union: Union, kafka: Arc<TestKafka>) -> Self {
        let mut bytes = [0; 4];
        Ids::random().fill(&mut bytes);
        let prefix = format!("test_bashu_{}_{}_", unix_seconds(), hex::encode(bytes));
        let folder = std::env::temp_dir().join(&prefix);
        std::fs::create_dir(&folder).unwrap();
        let settings = toml::Table::new();
        let mut world = Self {
            union,
            folder,
            kafka,
            settings,
            prefix,
        };
        let init = ["keys", "init-root", "--file", &world.root()];
        let made = world.bashu(&init).await.well();
        let settings = world.text(made["root_public_key"].as_str().unwrap());
        world.settings = settings.parse().unwrap();
        world.write();
        world
    }

    async fn create(&self, template: Option<&str>) {
        let (admin, prefix) = (admin().await, &self.prefix);
        if template.is_none() {
            sweep(&admin).await;
        }
        for service in SERVICES {
            let copied = template
                .map(|from| format!("TEMPLATE {from}{service}"))
                .unwrap_or_default();
            let sql = format!("CREATE DATABASE {prefix}{service} OWNER bashu_owner {copied}");
            admin.execute(&sql, []).await.unwrap();
        }
        close(admin).await;
    }

    fn text(&self, root: &str) -> String {
        let (union, folder) = (self.union, self.folder.display());
        let key = |byte: u8| STANDARD.encode([byte; 32]);
        let (host, port) = (env("BASHU_PG_HOST"), env("BASHU_PG_PORT"));
        let (app, owner) = (env("BASHU_PG_APP_PASSWORD"), env("BASHU_PG_OWNER_PASSWORD"));
        let (brokers, topics) = (self.kafka.brokers(), self.kafka.prefix());
        format!(
            "union = {union}\nmode = 'development'\nredis_url = '{redis}'\n\
             subgraph_key = '{subgraph}'\nroot_public_key = '{root}'\ndata_dir = '{folder}'\n\
             [postgres]\nhost = '{host}'\nport = {port}\nuser = 'bashu_app'\n\
             password = '{app}'\ndatabase_prefix = '{prefix}'\n\
             [postgres.owner]\nuser = 'bashu_owner'\npassword = '{owner}'\n\
             [kafka]\nbrokers = '{brokers}'\npartitions = 2\nprefix = '{topics}{union}.'\n\
             [listen]\nbase_port = 0\n\
             [identity]\nkek = '{k1}'\nblind_index_key = '{k2}'\ncode_key = '{k3}'\n\
             idtag_key = '{k4}'\n[identity.sms]\nurl = 'http://127.0.0.1:9'\nkey = 'k'\n\
             [passes]\nentitlement_key = '{k5}'\n",
            redis = env("BASHU_REDIS_URL"),
            subgraph = "0".repeat(64),
            prefix = self.prefix,
            k1 = key(1),
            k2 = key(2),
            k3 = key(3),
            k4 = key(4),
            k5 = key(5),
        )
    }

    pub(crate) fn config(&self) -> String {
        self.folder.join("bashu.toml").display().to_string()
    }

    pub(crate) fn root(&self) -> String {
        self.folder.join("root.key").display().to_string()
    }

    /// Writes the configuration as it now is.
    pub(crate) fn write(&self) {
        std::fs::write(self.config(), self.settings.to_string()).unwrap();
    }

    /// Changes one value of a table of the configuration.
    pub(crate) fn set(&mut self, table: &str, key: &str, value: impl Into<toml::Value>) {
        let table = match table {
            "" => &mut self.settings,
            name => self.settings[name].as_table_mut().unwrap(),
        };
        table.insert(key.to_owned(), value.into());
        self.write();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bashu"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BASHU_")) {
            command.env_remove(name);
        }
        command.arg("--json").args(arguments);
        command
            .env("BASHU_CONFIG", self.config())
            .env("USER", "tester")
            .env("LANG", "en");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program.
    pub(crate) async fn bashu(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments), "").await
    }

    /// Runs the program with more variables.
    pub(crate) async fn bashu_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        ran(command, "").await
    }

    /// Runs the program and types into it.
    pub(crate) async fn bashu_typing(&self, arguments: &[&str], typed: &str) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        ran(command, typed).await
    }

    /// Runs the program as a person reads it.
    pub(crate) async fn bashu_plain(&self, arguments: &[&str], lang: &str) -> Ran {
        let mut command = self.command(&[]);
        command = {
            let mut plain = Command::new(command.get_program());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => plain.env(name, value),
                    None => plain.env_remove(name),
                };
            }
            plain
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            plain
        };
        command.args(arguments).env("LANG", lang);
        ran(command, "").await
    }

    /// A service's database with the rights of its owner.
    pub(crate) async fn owner(&self, service: &str) -> Db {
        let password = env("BASHU_PG_OWNER_PASSWORD");
        connect(
            "bashu_owner",
            &password,
            &format!("{}{service}", self.prefix),
        )
        .await
    }

    /// A service as it would run here.
    pub(crate) async fn ctx(&self, service: &'static str) -> Ctx {
        let password = env("BASHU_PG_APP_PASSWORD");
        let db = connect("bashu_app", &password, &format!("{}{service}", self.prefix)).await;
        Ctx::new(self.union, service, db)
    }

    /// The union's topics.
    pub(crate) fn bus(&self) -> Bus {
        Bus::kafka(KafkaOptions {
            brokers: self.kafka.brokers().to_owned(),
            prefix: format!("{}{}.", self.kafka.prefix(), self.union),
            partitions: 2,
            replication: 1,
            instance: None,
        })
    }

    /// Runs one statement in a service's database with every right: its owner sees no row of the
    /// vault.
    pub(crate) async fn plant(&self, service: &str, sql: &str) {
        let database = format!("{}{service}", self.prefix);
        let password = env("BASHU_PG_SUPERUSER_PASSWORD");
        let db = connect(&env("BASHU_PG_SUPERUSER"), &password, &database).await;
        db.execute(sql, [])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        close(db).await;
    }

    /// One text from a service's database; empty when there is no row.
    pub(crate) async fn ask(&self, service: &str, sql: &str) -> String {
        #[derive(sea_orm::FromQueryResult)]
        struct Row {
            answer: Option<String>,
        }
        let db = self.owner(service).await;
        let sql = format!("SELECT ({sql})::text AS answer");
        let row: Option<Row> = db
            .one(&sql, [])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        close(db).await;
        row.and_then(|row| row.answer).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let prefix = self.prefix.clone();
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let admin = admin().await;
                for service in SERVICES {
                    drop_database(&admin, &format!("{prefix}{service}")).await;
                }
            });
        });
        // What stays is swept by a later run, and must not hide the test's own failure.
        let _ = dropped.join();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn ran(command: Command, typed: &str) -> Ran {
    let mut child = tokio::process::Command::from(command).spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(typed.as_bytes()).await.unwrap();
    }
    let output = child.wait_with_output().await.unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn admin() -> Db {
    connect(
        &env("BASHU_PG_SUPERUSER"),
        &env("BASHU_PG_SUPERUSER_PASSWORD"),
        "postgres",
    )
    .await
}

async fn connect(user: &str, password: &str, database: &str) -> Db {
    let (host, port) = (env("BASHU_PG_HOST"), env("BASHU_PG_PORT"));
    let url = format!("postgres://{user}:{password}@{host}:{port}/{database}");
    let options = DbOptions {
        url,
        connections_max: 2,
    };
    Db::connect(options, Clock::System, Ids::random())
        .await
        .unwrap()
}

async fn close(db: Db) {
    db.pool().clone().close().await.unwrap();
}

async fn drop_database(admin: &Db, name: &str) {
    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    admin.execute(&sql, []).await.unwrap();
}

/// Drops what a killed run left.
async fn sweep(admin: &Db) {
    #[derive(sea_orm::FromQueryResult)]
    struct Row {
        name: String,
    }
    let sql = "SELECT datname::text AS name FROM pg_database WHERE datname LIKE 'test\\_bashu\\_%'";
    let rows: Vec<Row> = admin.all(sql, []).await.unwrap();
    for Row { name } in rows {
        let made = name
            .split('_')
            .nth(2)
            .and_then(|text| text.parse::<u64>().ok());
        if made.is_some_and(|made| made + STALE_SECONDS < unix_seconds()) {
            drop_database(admin, &name).await;
        }
    }
}

fn unix_seconds() -> u64 {
    u64::try_from(Clock::System.now().timestamp()).unwrap()
}

/// A free port of the loopback.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The finding of a check, about a subject where one is given.
pub(crate) fn finding<'a>(report: &'a Value, check: &str, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    let about =
        |one: &&Value| one["check"] == check && one["subject"].as_str().unwrap().contains(subject);
    findings
        .iter()
        .find(about)
        .unwrap_or_else(|| panic!("no {check} {subject} in {report:#}"))
}

/// A file's text.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
