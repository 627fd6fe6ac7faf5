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
    /// Who acts, where something is done and not only looked at.
    operator: Option<Operator>,
}

impl Stack {
    /// As the process's environment and the file it names say.
    ///
    /// # Errors
    /// The first key that is unknown, missing or wrong.
    pub(crate) fn load() -> Result<Self> {
        Ok(Self::of(Config::load()?))
    }

    /// A union of this configuration.
    pub(crate) const fn of(config: Config) -> Self {
        Self {
            config,
            operator: None,
        }
    }

    /// The same, where every act that is not a member's is put on record under this name, in the
    /// row that the act itself leaves in its own transaction.
    pub(crate) fn acting(self, operator: &Operator) -> Self {
        let operator = Some(operator.clone());
        Self { operator, ..self }
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
        let db = match &self.operator {
            Some(operator) => db.on_behalf_of(&operator.0),
            None => db,
        };
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
        crate::serve::bus(&self.config, None)
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
    /// Leaves a row that says an act of many transactions began, whatever becomes of it; what
    /// each of them records comes beside it. An act of one transaction needs none: see
    /// [`Stack::acting`].
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn record_begin(
        &self,
        ctx: &Ctx,
        act: &'static str,
        subject: &str,
    ) -> Result<()> {
        let began = serde_json::json!({ "began": true });
        self.record(ctx, act, subject, began).await
    }

    /// Leaves a row of its own, for what was done and has no place for one.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn record(
        &self,
        ctx: &Ctx,
        act: &'static str,
        subject: &str,
        detail: serde_json::Value,
    ) -> Result<()> {
        let db = ctx.db.clone().on_behalf_of(&self.0);
        db.tx("operator_command", async |tx| {
            tx.audit(AuditRow::system(act, subject).detail(detail.clone()));
            Ok(())
        })
        .await?;
        Ok(())
    }
}
