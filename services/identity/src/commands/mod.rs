//! What can be done, one function and one transaction each: authorise, load (locked), decide,
//! save, emit.
//!
//! A refusal that must be counted (a wrong code, a person that does not match) is committed: the
//! transaction answers `Ok(Err(refusal))`, which [`settled`] turns into the refusal afterwards.

pub mod applications;
pub mod codes;
pub mod consents;
pub mod credentials;
pub mod erasures;
pub mod exports;
mod joining;
pub mod keks;
pub mod keys;
pub mod logins;
pub(crate) mod matching;
pub mod members;
pub mod memberships;
mod merged_records;
pub mod merges;
pub mod messages;
pub mod network_claims;
pub mod notices;
pub mod oidc_logins;
pub mod operator;
pub mod organisations;
pub mod outside_logins;
pub mod payer_tokens;
pub mod people;
pub mod phone_changes;
pub mod phone_claims;
pub mod phone_recoveries;
pub mod phone_settings;
mod proof;
pub mod renderings;
pub mod role_proposals;
pub mod roles;
pub mod roster_commit;
mod roster_list;
pub mod roster_work;
pub mod rosters;
pub mod search_terms;
pub mod searches;
pub mod second_factor;
pub mod second_factor_reset;
pub mod tokens;
pub mod verifications;

use chrono::TimeDelta;
use kit::audit::AuditRow;
use kit::{Result, Tx};

use crate::error::Refusal;
use crate::store::limits::Counter;

/// Failed matches of name and document that one officer may have in an hour; the last of them locks
/// her look-ups for an hour.
pub const FAILURES_PER_HOUR_MAX: i32 = 10;

/// The answer of a transaction that has committed a refusal.
///
/// # Errors
/// The refusal, or what the transaction itself answered.
pub(crate) fn settled<T>(result: Result<std::result::Result<T, Refusal>>) -> Result<T> {
    Ok(result??)
}

/// The failures of one person who looks others up; they stay locked, so that she cannot try two at
/// once.
///
/// # Errors
/// [`Refusal::TooManyFailures`], or when the database fails.
pub(crate) async fn may_look_up(tx: &Tx, member: uuid::Uuid) -> Result<Failures> {
    let failures = Failures(member);
    if failures.counter().add(tx, 0).await? >= FAILURES_PER_HOUR_MAX {
        return Err(Refusal::TooManyFailures.into());
    }
    Ok(failures)
}

/// Counts a person's failed look-ups.
#[derive(Debug)]
pub(crate) struct Failures(uuid::Uuid);

impl Failures {
    fn counter(&self) -> Counter<'_> {
        Counter {
            scope: "person_not_matched",
            subject: self.0.as_bytes(),
            window: TimeDelta::hours(1),
        }
    }

    pub(crate) async fn count(&self, tx: &Tx) -> Result<()> {
        self.count_all(tx, 1).await.map(|_| ())
    }

    /// Counts each of these; whether there are not more of them than were left. Where there are,
    /// who asked may not be told which they are.
    pub(crate) async fn count_all(&self, tx: &Tx, failed: usize) -> Result<bool> {
        metrics::counter!("bashu_identity_look_ups_failed_total").increment(failed as u64);
        let failed = i32::try_from(failed).unwrap_or(FAILURES_PER_HOUR_MAX + 1);
        let in_hour = self.counter().add(tx, failed).await?;
        if in_hour >= FAILURES_PER_HOUR_MAX && in_hour - failed < FAILURES_PER_HOUR_MAX {
            self.lock(tx).await?;
        }
        Ok(in_hour <= FAILURES_PER_HOUR_MAX)
    }

    /// Locks for an hour from now, also where the first of the failures is almost an hour old, and
    /// raises the alarm.
    async fn lock(&self, tx: &Tx) -> Result<()> {
        self.counter().add(tx, FAILURES_PER_HOUR_MAX).await?;
        metrics::counter!("bashu_identity_look_ups_locked_total").increment(1);
        let Self(member) = self;
        tracing::error!(%member, "too many did not match: look-ups are locked for the hour");
        tx.audit(AuditRow {
            member: Some(*member),
            ..AuditRow::system("look_ups_locked", member)
        });
        Ok(())
    }
}
