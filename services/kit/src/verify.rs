//! Invariants: what must hold in a database after everything that happened to it. Each is a
//! query that answers nothing when all is well; `bashu verify` runs them all.

use sea_orm::FromQueryResult;

use crate::audit::chain::LAST_HEAD;
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
    Invariant {
        id: "kit.audit_chain_dense",
        zh: "审计链没有缺口，每个位置封存一条在案的记录",
        en: "the audit chain has no hole, and each position seals a row that is there",
        sql: "SELECT 'position ' || c.position::text AS subject,
                CASE WHEN a.id IS NULL THEN 'its row is gone'
                  ELSE 'position ' || (c.position - 1)::text || ' is missing' END AS problem
              FROM audit_seal c LEFT JOIN audit a ON a.id = c.audit
              WHERE a.id IS NULL OR (c.position > 1 AND NOT EXISTS (
                SELECT 1 FROM audit_seal b WHERE b.position = c.position - 1))",
    },
    Invariant {
        id: "kit.audit_chain_hash",
        zh: "审计链自最近公布的链头起（--whole：全部），每个散列都由前一个和审计记录得出",
        en: "each hash of the audit chain behind its last published head (--whole: each of all) \
             follows from the one before and the row",
        sql: crate::audit::chain::HASH_DIFFERS,
    },
    Invariant {
        id: "kit.audit_head_stands",
        zh: "公布过的每个链头仍在审计链上",
        en: "each head that was published still stands in the audit chain",
        sql: "SELECT 'position ' || h.position::text AS subject,
                CASE WHEN c.position IS NULL THEN 'the chain does not reach it'
                  ELSE 'the chain has another hash there' END AS problem
              FROM audit_head h LEFT JOIN audit_seal c ON c.position = h.position
              WHERE c.hash IS DISTINCT FROM h.hash",
    },
    Invariant {
        id: "kit.audit_sealed",
        zh: "没有超过五分钟仍未封存的审计记录",
        en: "no audit row is older than five minutes and not sealed",
        sql: "SELECT 'row ' || a.id::text AS subject, a.act || ' is not sealed' AS problem
              FROM audit a WHERE a.at < now() - interval '300 seconds'
                AND NOT EXISTS (SELECT 1 FROM audit_seal c WHERE c.audit = a.id)",
    },
];

/// What breaks this invariant in this database. Of the audit chain only what is behind its last
/// head is hashed: see [`check_whole`].
///
/// # Errors
/// When the query fails.
pub async fn check(db: &Db, invariant: &Invariant) -> Result<Vec<Violation>> {
    look(db, invariant.sql).await
}

/// As [`check`], with the audit chain from its first row.
///
/// # Errors
/// When the query fails.
pub async fn check_whole(db: &Db, invariant: &Invariant) -> Result<Vec<Violation>> {
    look(db, &invariant.sql.replace(LAST_HEAD, "0")).await
}

async fn look(db: &Db, query: &str) -> Result<Vec<Violation>> {
    // The time is the service's, which in tests is not the server's.
    let now = format!("'{}'::timestamptz", db.clock().now().to_rfc3339());
    let sql = format!(
        "SELECT subject, problem FROM ({}) AS v LIMIT $1",
        query.replace("now()", &now)
    );
    db.all(&sql, [VIOLATIONS_MAX.into()]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::LAG_SECONDS_MAX;

    /// What is verified is what is refused on.
    #[test]
    fn a_seal_is_late_for_both_at_once() {
        let sealed = CHASSIS.iter().find(|one| one.id == "kit.audit_sealed");
        let limit = format!("interval '{LAG_SECONDS_MAX} seconds'");
        assert!(sealed.is_some_and(|one| one.sql.contains(&limit)));
    }
}
