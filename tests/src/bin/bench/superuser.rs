//! The administrator of the world's PostgreSQL, for what a service's own roles may not: emptying
//! tables, laying rows in bulk, settings of the server. Nothing that is measured goes this way.

use anyhow::{Context, Result, anyhow};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryResult, Statement};

/// The administrator of the world's PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Superuser {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Superuser {
    pub(crate) fn url(&self, database: &str) -> String {
        let Self {
            host,
            port,
            user,
            password,
        } = self;
        format!("postgres://{user}:{password}@{host}:{port}/{database}")
    }

    /// A connection without any limit of time.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn connect(&self, database: &str) -> Result<DatabaseConnection> {
        let mut options = sea_orm::ConnectOptions::new(self.url(database));
        options.max_connections(1).sqlx_logging(false);
        Ok(sea_orm::Database::connect(options).await?)
    }

    /// Runs statements, one after another, without a transaction around them.
    ///
    /// # Errors
    /// When the server refuses one.
    pub(crate) async fn sql(&self, database: &str, statements: &[&str]) -> Result<()> {
        let connection = self.connect(database).await?;
        for statement in statements {
            let ran = connection.execute_unprepared(statement).await;
            ran.with_context(|| format!("{database}: {statement}"))?;
        }
        connection.close().await?;
        Ok(())
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// When the server refuses it.
    pub(crate) async fn rows(&self, database: &str, query: &str) -> Result<Vec<QueryResult>> {
        let connection = self.connect(database).await?;
        let statement = Statement::from_string(DbBackend::Postgres, query);
        let rows = connection.query_all_raw(statement).await;
        connection.close().await?;
        rows.with_context(|| format!("{database}: {query}"))
    }

    /// The one number of a query.
    ///
    /// # Errors
    /// When the server refuses it, or it is none.
    pub(crate) async fn number(&self, database: &str, query: &str) -> Result<i64> {
        let rows = self.rows(database, query).await?;
        let row = rows.first().ok_or_else(|| anyhow!("no row: {query}"))?;
        Ok(row.try_get_by_index::<i64>(0)?)
    }
}
