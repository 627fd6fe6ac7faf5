//! Transactions with a name, and the statements inside them.
//!
//! SQL is written out where it is used: sea-orm brings the pool, the binding of values and the
//! reading of rows. A transaction collects the events, audit rows and due work of its command
//! and writes them, each kind in one statement, right before it commits. Nothing outside the
//! database may happen in it: the closure can run twice.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction,
    DbBackend, FromQueryResult, IsolationLevel, Statement, TransactionTrait, Value,
};

use crate::bus::Faults;
use crate::ctx::Wake;
use crate::drift::Drift;
use crate::tx::{Inner, Tx};
use crate::{Clock, Error, Ids, Result};

/// How often a transaction is run again after a serialisation failure, deadlock or lock timeout.
pub const TX_ATTEMPTS_MAX: u32 = 6;
/// The first pause between two attempts; doubles each time, with jitter.
const RETRY_DELAY_MS: u64 = 5;
/// What every transaction has unless it asks for more.
const ISOLATION: &str = "read committed";
/// How long a statement waits for a lock.
const LOCK_TIMEOUT_MS: &str = "5000";
/// How long a statement may run.
const STATEMENT_TIMEOUT_MS: &str = "30000";
/// How long a transaction may sit idle before the server ends it.
const IDLE_TIMEOUT_MS: &str = "30000";
/// How long a command waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
/// A connection that lay idle for so long is asked whether it lives before it is used: a round
/// trip. One in steady use is not. The pool asked it when it came back, and what ends in between is
/// met at the beginning of a transaction, where another one is taken.
const ASKED_AFTER_IDLE: Duration = Duration::from_secs(1);

/// A service's own database.
#[derive(Clone, Debug)]
pub struct Db {
    pool: DatabaseConnection,
    clock: Clock,
    ids: Ids,
    wake: Wake,
    faults: Faults,
    pub(crate) operator: Option<Arc<str>>,
    connections_max: u32,
    pub(crate) drift: Drift,
}

/// How to reach a database.
#[derive(Clone)]
pub struct DbOptions {
    pub url: String,
    /// Connections in the pool, at most.
    pub connections_max: u32,
}

impl std::fmt::Debug for DbOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DbOptions")
            .field("connections_max", &self.connections_max)
            .finish()
    }
}

impl Db {
    /// Opens a pool.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the role.
    pub async fn connect(options: DbOptions, clock: Clock, ids: Ids) -> Result<Self> {
        let mut connect = ConnectOptions::new(options.url);
        connect
            .max_connections(options.connections_max)
            .min_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire_if_idle_for(ASKED_AFTER_IDLE)
            .sqlx_logging(false)
            .map_sqlx_postgres_opts(|pg| {
                pg.options([
                    ("default_transaction_isolation", ISOLATION),
                    ("lock_timeout", LOCK_TIMEOUT_MS),
                    ("statement_timeout", STATEMENT_TIMEOUT_MS),
                    ("idle_in_transaction_session_timeout", IDLE_TIMEOUT_MS),
                ])
            });
        let pool = sea_orm::Database::connect(connect).await?;
        let db = Self {
            pool,
            clock,
            ids,
            wake: Wake::default(),
            faults: Faults::default(),
            operator: None,
            connections_max: options.connections_max,
            drift: Drift::default(),
        };
        db.measure_drift().await?;
        Ok(db)
    }

    /// The same database for an operator at the machine: what is done through it and audited as an
    /// act of the system itself carries this name as `by`.
    #[must_use]
    pub fn on_behalf_of(self, operator: &str) -> Self {
        let operator = Some(operator.into());
        Self { operator, ..self }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(crate) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Where a test or the simulation says at which point of a transaction or a job of this
    /// database the process shall die.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Runs `work` in one transaction called `name`, again after a passing conflict. On `Ok` the
    /// events, audit rows and due work it collected are written and all is committed. On a
    /// refusal under an open idempotency key everything but the record of the refusal is undone
    /// (see [`crate::once`]). On any other error all is undone.
    ///
    /// # Errors
    /// What `work` answers, or that the database failed.
    pub async fn tx<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        // Once and again from a copy: of a closure that is only borrowed the compiler cannot show
        // that its future may move between threads.
        F: AsyncFnOnce(&Tx) -> Result<T> + Clone,
    {
        let mut attempt = 1;
        loop {
            let started = std::time::Instant::now();
            let result = self.attempt(name, work.clone()).await;
            record_transaction(name, started.elapsed(), &result);
            match result {
                Err(error) if error.is_retryable() && attempt < TX_ATTEMPTS_MAX => {
                    pause(attempt).await;
                    attempt += 1;
                }
                Ok(value) => return Ok(value),
                Err(error) => return Err(error),
            }
        }
    }

    /// [`Db::tx`] for work that reads and changes nothing, without a transaction: under read
    /// committed each statement sees what is committed at its own instant anyway, and beginning
    /// and ending one are two more round trips to the database. A statement whose connection was
    /// gone is asked again on another one.
    ///
    /// # Errors
    /// What `work` answers, that the database failed, or that `work` tried to change something.
    pub async fn read<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        F: AsyncFnOnce(&Tx) -> Result<T>,
    {
        let started = std::time::Instant::now();
        self.drift.check()?;
        let tx = Tx::on(self, Inner::Reading(self.clone()));
        let result = work(&tx).await.and_then(|value| {
            tx.has_changed_nothing()?;
            Ok(value)
        });
        record_transaction(name, started.elapsed(), &result);
        result
    }

    async fn attempt<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        F: AsyncFnOnce(&Tx) -> Result<T>,
    {
        let tx = self.begin().await?;
        let result = work(&tx).await;
        self.end_as(name, tx, result).await
    }

    /// [`Db::tx`] in two halves and without a second attempt, for code that is generic over what
    /// runs inside: the compiler cannot yet show that a closure there may move between threads.
    pub(crate) async fn end_as<T>(
        &self,
        name: &'static str,
        tx: Tx,
        result: Result<T>,
    ) -> Result<T> {
        match result {
            Ok(value) => {
                // A crash before the commit drops the transaction, and the server undoes it.
                self.faults.point_of("tx.before_commit", name).await?;
                tx.commit(&self.wake).await?;
                self.faults.point_of("tx.committed", name).await?;
                Ok(value)
            }
            Err(Error::Refused(refusal)) => {
                tx.refuse(&refusal).await?;
                Err(Error::Refused(refusal))
            }
            Err(error) => {
                // A failed rollback leaves nothing behind: the server ends the transaction when
                // the connection is dropped.
                let _ = tx.rollback().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn begin(&self) -> Result<Tx> {
        self.drift.check()?;
        let inner = self.open(None, None).await?;
        Ok(Tx::on(self, Inner::Transaction(inner)))
    }

    /// Begins a transaction, in a task of its own, so that a caller who is dropped meanwhile drops
    /// a whole transaction and not half a `BEGIN`: sqlx (0.9) counts one only when the server has
    /// answered, and would give the connection back to the pool inside an open one, in which the
    /// next statement of somebody else is lost. `None` is what the connection was made with, read
    /// committed and for writing: to say it again costs each transaction a round trip.
    ///
    /// A connection that the server had ended is thrown away and another one taken: nothing was
    /// done on it. After a restart of the server that may be all there are in the pool.
    pub(crate) async fn open(
        &self,
        isolation: Option<IsolationLevel>,
        access: Option<AccessMode>,
    ) -> Result<DatabaseTransaction> {
        let mut ended = 0;
        loop {
            match self.open_one(isolation, access).await {
                Err(error) if error.is_lost_connection() && ended < self.connections_max => {
                    ended += 1;
                }
                begun => return begun,
            }
        }
    }

    async fn open_one(
        &self,
        isolation: Option<IsolationLevel>,
        access: Option<AccessMode>,
    ) -> Result<DatabaseTransaction> {
        let pool = self.pool.clone();
        let begin = async move { pool.begin_with_config(isolation, access).await };
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends by itself within ACQUIRE_TIMEOUT and one round trip"
        )]
        let begun = tokio::spawn(begin).await;
        Ok(begun.map_err(|error| Error::internal(error.to_string()))??)
    }

    /// Rows of a statement outside any transaction. It is run again when its connection was gone:
    /// for what reads, or bears to be done twice.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn all<R: FromQueryResult>(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<R>> {
        self.all_of(&statement(sql, values)).await
    }

    /// At most one row, as [`Db::all`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn one<R: FromQueryResult>(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<R>> {
        let rows = self.all_of(&statement(sql, values)).await?;
        Ok(rows.into_iter().next())
    }

    async fn all_of<R: FromQueryResult>(&self, statement: &Statement) -> Result<Vec<R>> {
        let mut ended = 0;
        loop {
            let select = R::find_by_statement(statement.clone());
            match select.all(&self.pool).await.map_err(Error::from) {
                Err(error) if error.is_lost_connection() && ended < self.connections_max => {
                    ended += 1;
                }
                answered => return answered,
            }
        }
    }

    /// One statement in a transaction of its own, for kit's own bookkeeping.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64> {
        Ok(self
            .pool
            .execute_raw(statement(sql, values))
            .await?
            .rows_affected())
    }

    /// The pool itself, for what needs a connection of its own (advisory locks).
    pub fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }
}

/// Waits between a failed attempt of a transaction and the next.
pub(crate) async fn pause(attempt: u32) {
    let base = RETRY_DELAY_MS << attempt;
    let jitter = {
        #[expect(clippy::disallowed_methods, reason = "jitter decides nothing")]
        rand::rng().random_range(0..base)
    };
    tokio::time::sleep(Duration::from_millis(base + jitter)).await;
}

fn record_transaction<T>(name: &'static str, took: Duration, result: &Result<T>) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(Error::Refused(_)) => "refused",
        Err(error) if error.is_retryable() => "conflict",
        Err(_) => "error",
    };
    metrics::histogram!("bashu_transaction_seconds", "name" => name, "outcome" => outcome)
        .record(took.as_secs_f64());
}

pub(crate) fn statement(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}
