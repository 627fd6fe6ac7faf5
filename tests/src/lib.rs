//! What the tests across services share: the servers they run on, and worlds of their own.
//!
//! A world has databases and topics under a prefix of its own on the test servers, so that it
//! runs beside anything else. A missing server or program fails, it never skips.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

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
        let prefix = format!("{name}_{}_", std::process::id());
        let folder = root().join(".dev/test").join(name);
        // What an earlier run left belongs to databases that are gone.
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let world = Self { folder, prefix };
        for union in ["50", "51"] {
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
            let redis = variable("BASHU_REDIS_URL")?;
            let database = if union == "50" { "/1" } else { "/2" };
            let redis = redis.strip_suffix("/0").unwrap_or(&redis).to_owned() + database;
            values.insert("BASHU_REDIS_URL".to_owned(), redis);
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

    fn prefix_of(&self, union: &str) -> String {
        format!("{}{union}_", self.prefix)
    }

    /// Where a union's configuration is, once `bashu dev` has written it.
    pub fn config(&self, union: &str) -> PathBuf {
        self.folder.join(union).join("bashu.toml")
    }
}

impl Drop for TestWorld {
    /// The world's databases go with it, whether its test went well or not.
    fn drop(&mut self) {
        for union in ["50", "51"] {
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

/// Databases of a union.
const SERVICES: [&str; 4] = ["identity", "passes", "billing", "admission"];

/// Runs a statement as the server's administrator, who may end what still holds a database.
fn sql(statement: &str) -> Result<()> {
    let status = Command::new("psql")
        .args([
            "-h",
            &variable("BASHU_PG_HOST")?,
            "-p",
            &variable("BASHU_PG_PORT")?,
        ])
        .args([
            "-U",
            &variable("BASHU_PG_SUPERUSER")?,
            "-d",
            "postgres",
            "-qc",
            statement,
        ])
        .env("PGPASSWORD", variable("BASHU_PG_SUPERUSER_PASSWORD")?)
        .status()
        .context("psql is not there")?;
    ensure!(status.success(), "psql refused: {statement}");
    Ok(())
}
