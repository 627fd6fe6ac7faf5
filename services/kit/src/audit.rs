//! Who did what to what, written in the transaction of the act itself: an act whose row cannot
//! be written does not happen.
//!
//! Rows are only ever added. [`seal`] chains them by hashes in the order of their commits, [`walk`]
//! finds where a chain was touched, and [`require_sealing`] refuses privileged acts while rows wait
//! too long for their seal.

pub mod chain;
mod guard;
pub mod seal;
pub mod search;
pub mod walk;

pub use guard::{LAG_SECONDS_MAX, oldest_unsealed, require_sealing, unsealed_since};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Tx;
use crate::tx::Write;

/// One act. Carries ids and codes only, never a name, number or phone.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// The member who acted; `None` for the system itself.
    pub member: Option<Uuid>,
    pub login: Option<Uuid>,
    /// The command, in `snake_case`.
    pub act: &'static str,
    /// What it was done to: an id as text.
    pub subject: String,
    /// What else must be known later: reasons, purposes, changed fields.
    pub detail: serde_json::Value,
}

impl AuditRow {
    /// An act of the system itself.
    pub fn system(act: &'static str, subject: impl ToString) -> Self {
        Self {
            member: None,
            login: None,
            act,
            subject: subject.to_string(),
            detail: serde_json::json!({}),
        }
    }

    /// The same act with the operator at the machine who had the system do it.
    pub(crate) fn by(mut self, operator: &str) -> Self {
        if let (None, Some(detail)) = (self.member, self.detail.as_object_mut()) {
            detail.insert("by".to_owned(), operator.into());
        }
        self
    }

    #[must_use]
    pub fn detail(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }
}

/// What writes the rows.
pub(crate) fn insert(tx: &Tx, rows: &[AuditRow]) -> Option<Write> {
    if rows.is_empty() {
        return None;
    }
    let members: Vec<Option<Uuid>> = rows.iter().map(|row| row.member).collect();
    let logins: Vec<Option<Uuid>> = rows.iter().map(|row| row.login).collect();
    let acts: Vec<String> = rows.iter().map(|row| row.act.to_owned()).collect();
    let subjects: Vec<String> = rows.iter().map(|row| row.subject.clone()).collect();
    let details: Vec<String> = rows.iter().map(|row| row.detail.to_string()).collect();
    let at: DateTime<Utc> = tx.now();
    let nil = |ids: Vec<Option<Uuid>>| -> Vec<Uuid> {
        ids.into_iter().map(Option::unwrap_or_default).collect()
    };
    Some(Write::new(
        "INSERT INTO audit (member, login, act, subject, detail, at)
         SELECT NULLIF(m, $7), NULLIF(l, $7), a, s, d::jsonb, $6
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
           AS t (m, l, a, s, d)",
        [
            nil(members).into(),
            nil(logins).into(),
            acts.into(),
            subjects.into(),
            details.into(),
            at.into(),
            Uuid::nil().into(),
        ],
    ))
}
