//! The review that a correction of a membership opens: somebody else looks at what was decided on
//! the dates that were known before.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::MemberId;
use uuid::Uuid;

use super::membership::Membership;
use crate::error::Refusal;

/// Why dates are corrected. A code and no text, so that nothing of a person stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// 录入错误
    EntryError,
    /// 补交材料
    LateEvidence,
    /// 上级决定
    Decision,
}

impl Reason {
    pub const ALL: [Self; 3] = [Self::EntryError, Self::LateEvidence, Self::Decision];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EntryError => "entry_error",
            Self::LateEvidence => "late_evidence",
            Self::Decision => "decision",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// From when until when a membership counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    pub since: NaiveDate,
    pub until: Option<NaiveDate>,
}

impl Dates {
    pub const fn of(membership: &Membership) -> Self {
        Self {
            since: membership.since,
            until: membership.standing.until(),
        }
    }
}

/// What became of the review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Closed { by: MemberId, at: DateTime<Utc> },
}

/// A correction and who has looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    pub id: Uuid,
    pub membership: Uuid,
    pub version: i64,
    pub reason: Reason,
    pub before: Dates,
    pub after: Dates,
    pub corrected_by: MemberId,
    pub created_at: DateTime<Utc>,
    pub state: State,
}

impl Review {
    /// Closes it; one that is closed stays as it is.
    ///
    /// # Errors
    /// [`Refusal::ReviewOfOwn`]: nobody reviews what she corrected herself, nor what was
    /// corrected of her (`about`).
    pub fn close(self, by: MemberId, about: MemberId, now: DateTime<Utc>) -> Result<Self, Refusal> {
        if [self.corrected_by, about].contains(&by) {
            return Err(Refusal::ReviewOfOwn);
        }
        Ok(match self.state {
            State::Closed { .. } => self,
            State::Open => Self {
                state: State::Closed { by, at: now },
                ..self
            },
        })
    }
}
