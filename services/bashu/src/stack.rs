//! A union's databases and its bus, as one command reaches them for a moment. Nothing is served
//! from here, and nothing stays open after the command.

use anyhow::{Context, Result, anyhow};
use kit::audit::AuditRow;
use kit::bus::Bus;
use kit::config::Config;
use kit::graphql::Mode;
use kit::{Clock, Ctx, Db, Ids};

use crate::registry::Known;

/// Connections of one command to one database, at most.
const CONNECTIONS_MAX: u32 = 3;
/// Copies of each topic's partitions in production.
const REPLICATION: i32 = 3;

/// A configured union.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) config: Config,
}

impl Stack {
    /// As the process's environment and the file it names say.
    ///
    /// # Errors
    /// The first key that is unknown, missing or wrong.
    pub(crate) fn load() -> Result<Self> {
        Ok(Self {
            config: Config::load()?,
        })
    }

    /// A service's database with the rights of the role that serves.
    ///
    /// # Errors
    /// When the server is away or refuses the role.
    pub(crate) async fn ctx(&self, known: &Known) -> Result<Ctx> {
        let mut options = self.config.postgres.options(known.name);
        options.connections_max = CONNECTIONS_MAX;
        let db = Db::connect(options, Clock::System, Ids::random())
            .await
            .with_context(|| format!("the database of {}", known.name))?;
        Ok(Ctx::new(self.config.union, known.name, db))
    }

    /// A service's database with the rights of the role that owns its tables.
    ///
    /// # Errors
    /// When no owner is configured, the server is away, or it refuses the role.
    pub(crate) async fn owner(&self, known: &Known) -> Result<Ctx> {
        let options = self
            .config
            .postgres
            .owner_options(known.name)
            .ok_or_else(|| {
                anyhow!("postgres.owner is not configured: only the owner role changes tables")
            })?;
        let db = Db::connect(options, Clock::System, Ids::random())
            .await
            .with_context(|| format!("the database of {} as its owner", known.name))?;
        Ok(Ctx::new(self.config.union, known.name, db))
    }

    /// The union's Kafka; nothing is connected yet.
    pub(crate) fn bus(&self) -> Bus {
        crate::serve::bus(&self.config)
    }

    /// Copies that each partition should have.
    pub(crate) fn replication(&self) -> i32 {
        replication(self.config.mode)
    }
}

/// Copies that each partition has: a development broker is alone.
pub(crate) const fn replication(mode: Mode) -> i32 {
    match mode {
        Mode::Development => 1,
        Mode::Production => REPLICATION,
    }
}

/// Who runs a command, for the audit rows it leaves.
#[derive(Clone, Debug)]
pub(crate) struct Operator(pub(crate) String);

impl Operator {
    /// Leaves a row before the act in the database it is done to: what is not on record is not
    /// done. What the act itself records comes beside it.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn record(
        &self,
        ctx: &Ctx,
        act: &'static str,
        subject: &str,
        mut detail: serde_json::Value,
    ) -> Result<()> {
        if let Some(fields) = detail.as_object_mut() {
            fields.insert("by".to_owned(), self.0.clone().into());
        }
        ctx.db
            .tx("operator_command", async |tx| {
                tx.audit(AuditRow::system(act, subject).detail(detail.clone()));
                Ok(())
            })
            .await?;
        Ok(())
    }
}
