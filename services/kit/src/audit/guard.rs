//! What needs trust needs a record that cannot be edited afterwards: while audit rows wait too long
//! to be sealed, privileged acts are refused. Everything else goes on.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::FromQueryResult;

use crate::bus::Defect;
use crate::{Db, Error, Result, Tx};

/// How old an audit row that is not sealed may be for privileged acts to be done, in seconds.
pub const LAG_SECONDS_MAX: i64 = 300;

/// Rows that are not sealed, by what the sealer knows: `a` of the table, `s` of the sealer.
pub(super) const UNSEALED: &str = "audit a, audit_sealer s
    WHERE a.id > s.floor_id
      AND a.xid >= pg_snapshot_xmin(s.s1) AND NOT pg_visible_in_snapshot(a.xid, s.s1)
      AND NOT (s.s2 IS NOT NULL AND pg_visible_in_snapshot(a.xid, s.s2) AND a.id <= s.last_id)";

/// Asked by every command that gives power or money, or shows what is hidden, before it does. What
/// takes power away is not held up by it.
///
/// # Errors
/// [`Error::AuditLags`] while an audit row is older than [`LAG_SECONDS_MAX`] and not sealed. The
/// same request may come again.
pub async fn require_sealing(tx: &Tx) -> Result<()> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    if tx.has(Defect::PrivilegedUnsealed) {
        return Ok(());
    }
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {UNSEALED} AND a.at < $1) AS found");
    let before = tx.now() - TimeDelta::seconds(LAG_SECONDS_MAX);
    let row: Option<Found> = tx.one(&sql, [before.into()]).await?;
    if row.is_some_and(|row| !row.found) {
        Ok(())
    } else {
        Err(Error::AuditLags)
    }
}

/// When the oldest row was written that waits for its seal; `None` when none waits. What the sealer
/// says of itself is not enough: the newest row that is old enough must have its seal.
///
/// # Errors
/// When the database fails.
pub async fn unsealed_since(db: &Db, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let known = oldest_unsealed(db).await?;
    let without: Option<Oldest> = db
        .one(
            "SELECT n.at FROM
               (SELECT id, at FROM audit WHERE at < $1 ORDER BY id DESC LIMIT 1) n
             WHERE NOT EXISTS (SELECT 1 FROM audit_seal c WHERE c.audit = n.id)",
            [(now - TimeDelta::seconds(LAG_SECONDS_MAX)).into()],
        )
        .await?;
    let without = without.and_then(|row| row.at);
    Ok(known.into_iter().chain(without).min())
}

#[derive(FromQueryResult)]
struct Oldest {
    at: Option<DateTime<Utc>>,
}

/// When the oldest row was written that is not sealed yet, by what the sealer knows; `None` when
/// all are.
///
/// # Errors
/// When the database fails.
pub async fn oldest_unsealed(db: &Db) -> Result<Option<DateTime<Utc>>> {
    let sql = format!("SELECT min(a.at) AS at FROM {UNSEALED}");
    let oldest: Option<Oldest> = db.one(&sql, []).await?;
    Ok(oldest.and_then(|row| row.at))
}
