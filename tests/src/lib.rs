//! What the tests across services share: the servers they run on, and worlds of their own.
//!
//! A world has databases and topics under a prefix of its own on the test servers, so that it
//! runs beside anything else. A missing server or program fails, it never skips.

pub mod load;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

/// The world's ports stand away from those of `make run`.
const PORT_OFFSET: u16 = 3_000;
/// Processes beside each other whose worlds have ports of their own.
const PORT_RANGES: u32 = 50;
const PORTS_PER_RANGE: u32 = 100;

/// Worlds that this process made.
static WORLDS: AtomicU32 = AtomicU32::new(0);

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the checkout is there")
}

/// A variable that `make test` sets.
///
/// # Errors
/// When it is not set.
pub fn variable(name: &str) -> Result<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told by the environment alone"
    )]
    std::env::var(name).with_context(|| format!("{name} is not set: run this by make test"))
}

/// Two unions on the test servers, under one prefix.
#[derive(Debug)]
pub struct TestWorld {
    pub folder: PathBuf,
    prefix: String,
}

impl TestWorld {
    /// Writes what `bashu dev` reads of its servers, for both unions.
    ///
    /// # Errors
    /// When the test servers are not up.
    pub fn new(name: &str) -> Result<Self> {
        let shared = variable("BASHU_REDIS_URL")?;
        let server = shared.strip_suffix("/0").unwrap_or(&shared);
        Self::with_redis(name, &[format!("{server}/1"), format!("{server}/2")])
    }

    /// The same, with a Redis of its own at each union's address.
    ///
    /// # Errors
    /// When the test servers are not up.
    pub fn with_redis(name: &str, addresses: &[String; 2]) -> Result<Self> {
        // A second world of this name finds no topics of the first.
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{name}_{}_{number}_", std::process::id());
        let folder = root().join(".dev/test").join(name);
        // What an earlier run left belongs to databases that are gone.
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let world = Self { folder, prefix };
        for (union, redis) in UNIONS.into_iter().zip(addresses) {
            let own = world.folder.join(union);
            std::fs::create_dir_all(&own)?;
            let mut values = BTreeMap::new();
            for key in [
                "BASHU_PG_HOST",
                "BASHU_PG_PORT",
                "BASHU_PG_OWNER",
                "BASHU_PG_OWNER_PASSWORD",
                "BASHU_PG_APP",
                "BASHU_PG_APP_PASSWORD",
                "BASHU_KAFKA_BROKERS",
            ] {
                values.insert(key.to_owned(), variable(key)?);
            }
            values.insert("BASHU_REDIS_URL".to_owned(), redis.clone());
            values.insert("BASHU_PREFIX".to_owned(), world.prefix_of(union));
            let text: String = values
                .iter()
                .map(|(key, value)| format!("{key}=\"{value}\"\n"))
                .collect();
            std::fs::write(own.join("env"), text)?;
            for service in SERVICES {
                sql(&format!(
                    "CREATE DATABASE \"{}{service}\" OWNER bashu_owner",
                    world.prefix_of(union)
                ))?;
            }
        }
        Ok(world)
    }

    /// One thing more that `bashu dev` reads of its servers, for both unions.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tell(&self, name: &str, value: &str) -> Result<()> {
        for union in UNIONS {
            let path = self.folder.join(union).join("env");
            let text = std::fs::read_to_string(&path)? + &format!("{name}=\"{value}\"\n");
            std::fs::write(path, text)?;
        }
        Ok(())
    }

    /// What the names of the world's databases and topics begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The databases of both unions.
    pub fn databases(&self) -> Vec<String> {
        let of =
            |union: &str| SERVICES.map(|service| format!("{}{service}", self.prefix_of(union)));
        UNIONS.into_iter().flat_map(of).collect()
    }

    fn prefix_of(&self, union: &str) -> String {
        format!("{}{union}_", self.prefix)
    }

    /// What is added to every port, so that worlds of processes beside each other do not meet.
    pub fn port_offset() -> u16 {
        let range = std::process::id() % PORT_RANGES * PORTS_PER_RANGE;
        PORT_OFFSET + u16::try_from(range).unwrap_or_default()
    }

    /// `bashu` as `make test` built it, in the checkout, seeing none of this process's settings.
    ///
    /// # Errors
    /// When nobody says where it is.
    pub fn program() -> Result<Command> {
        let mut command = Command::new(variable("BASHU_BIN")?);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BASHU_")) {
            command.env_remove(name);
        }
        command.current_dir(root());
        Ok(command)
    }

    /// Runs `bashu` with these arguments, and a union's configuration or none; whether it went
    /// well, and all it said.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn bashu(&self, union: Option<&str>, arguments: &[&str]) -> Result<(bool, String)> {
        let mut command = Self::program()?;
        if let Some(union) = union {
            command.env("BASHU_CONFIG", self.config(union));
        }
        let output = command.args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), said))
    }

    /// Where a union's configuration is, once `bashu dev` has written it.
    pub fn config(&self, union: &str) -> PathBuf {
        self.folder.join(union).join("bashu.toml")
    }
}

impl Drop for TestWorld {
    /// The world's databases go with it, whether its test went well or not.
    fn drop(&mut self) {
        for union in UNIONS {
            for service in SERVICES {
                let name = format!("{}{service}", self.prefix_of(union));
                if let Err(error) = sql(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
                {
                    eprintln!("{name} was left behind: {error}");
                }
            }
        }
    }
}

const UNIONS: [&str; 2] = ["50", "51"];
/// Databases of a union.
const SERVICES: [&str; 4] = ["identity", "passes", "billing", "admission"];

/// Runs a statement as the server's administrator, who may end what still holds a database.
fn sql(statement: &str) -> Result<()> {
    let status = administrator("psql")?
        .args(["-d", "postgres", "-qc", statement])
        .status()
        .context("psql is not there")?;
    ensure!(status.success(), "psql refused: {statement}");
    Ok(())
}

/// A program of PostgreSQL that speaks to the test server as its administrator.
///
/// # Errors
/// When the test servers are not up.
pub fn administrator(program: &str) -> Result<Command> {
    let mut command = Command::new(program);
    command
        .args(["-h", &variable("BASHU_PG_HOST")?])
        .args(["-p", &variable("BASHU_PG_PORT")?])
        .args(["-U", &variable("BASHU_PG_SUPERUSER")?])
        .env("PGPASSWORD", variable("BASHU_PG_SUPERUSER_PASSWORD")?);
    Ok(command)
}
