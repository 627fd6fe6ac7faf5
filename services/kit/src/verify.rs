//! Invariants: what must hold in a database after everything that happened to it. Each is a
//! query that answers nothing when all is well; `bashu verify` runs them all.

use sea_orm::FromQueryResult;

use crate::{Db, Result};

/// Violations shown for one invariant, at most.
pub const VIOLATIONS_MAX: i64 = 20;

/// One promise, as a query for what breaks it.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// Stable, `service.name`.
    pub id: &'static str,
    pub zh: &'static str,
    pub en: &'static str,
    /// Answers rows `(subject text, problem text)`, none when all is well.
    pub sql: &'static str,
}

/// What breaks an invariant.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Violation {
    pub subject: String,
    pub problem: String,
}

/// What holds for the chassis of every service.
pub const CHASSIS: &[Invariant] = &[
    Invariant {
        id: "kit.once_has_outcome",
        zh: "每条幂等记录都有结果",
        en: "every idempotency record has an outcome",
        sql: "SELECT caller::text || '/' || key::text AS subject, 'no outcome' AS problem
              FROM once WHERE outcome IS NULL AND refusal IS NULL",
    },
    Invariant {
        id: "kit.parked_explained",
        zh: "没有等待处理的搁置消息",
        en: "no record is parked and waiting",
        sql: "SELECT consumer || '/' || topic || '/' || id::text AS subject,
                COALESCE(error, 'waits behind its key') AS problem
              FROM parked WHERE state = 'waiting'",
    },
    Invariant {
        id: "kit.no_partition_held",
        zh: "没有因丢失而停下的分区",
        en: "no partition is stopped by a gap or an unannounced epoch",
        sql: "SELECT consumer || '/' || topic || '/' || part::text AS subject, held AS problem
              FROM watermark WHERE held IS NOT NULL",
    },
    Invariant {
        id: "kit.due_work_runs",
        zh: "没有反复失败的待办",
        en: "no due work fails over and over",
        sql: "SELECT kind || '/' || subject AS subject,
                'attempt ' || attempts::text || ': ' || COALESCE(last_error, '') AS problem
              FROM due WHERE attempts > 8",
    },
];

/// What breaks this invariant in this database.
///
/// # Errors
/// When the query fails.
pub async fn check(db: &Db, invariant: &Invariant) -> Result<Vec<Violation>> {
    // The time is the service's, which in tests is not the server's.
    let now = format!("'{}'::timestamptz", db.clock().now().to_rfc3339());
    let sql = format!(
        "SELECT subject, problem FROM ({}) AS v LIMIT $1",
        invariant.sql.replace("now()", &now)
    );
    db.all(&sql, [VIOLATIONS_MAX.into()]).await
}
