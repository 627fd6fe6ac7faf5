//! The review that a correction of a membership opens: somebody else looks at what was decided on
//! the dates that were known before.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use kit::types::MemberId;
use uuid::Uuid;

use super::membership::Membership;
use crate::error::Refusal;

/// How long a review may stay open before somebody is alarmed, and how long it is until the next
/// alarm, in days.
pub const OVERDUE_DAYS: i64 = 7;

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
    /// When it must be looked at again; `None` when it is closed.
    pub fn due_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = |from: DateTime<Utc>| from + TimeDelta::days(OVERDUE_DAYS);
        match self.state {
            State::Closed { .. } => None,
            State::Open if self.is_overdue(now) => Some(after(now)),
            State::Open => Some(after(self.created_at)),
        }
    }

    /// Whether nobody has looked at it for too long.
    pub fn is_overdue(&self, now: DateTime<Utc>) -> bool {
        self.state == State::Open && now >= self.created_at + TimeDelta::days(OVERDUE_DAYS)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// It is looked at when it is overdue, then after as long again, and no more once it is
    /// closed.
    #[test]
    fn an_open_review_is_looked_at_again() {
        let opened = DateTime::UNIX_EPOCH;
        let day = |text: &str| text.parse().unwrap();
        let dates = |since| Dates { since, until: None };
        let [by, about, other] = [1, 2, 3].map(|id| MemberId(Uuid::from_u128(id)));
        let review = Review {
            id: Uuid::from_u128(1),
            membership: Uuid::from_u128(2),
            version: 2,
            reason: Reason::Decision,
            before: dates(day("2026-01-10")),
            after: dates(day("2020-01-10")),
            corrected_by: by,
            created_at: opened,
            state: State::Open,
        };
        let late = opened + TimeDelta::days(OVERDUE_DAYS);
        for early in [opened, late - TimeDelta::seconds(1)] {
            assert_eq!(review.due_at(early), Some(late));
            assert!(!review.is_overdue(early));
        }
        let next = late + TimeDelta::days(OVERDUE_DAYS);
        assert!(review.is_overdue(late));
        assert_eq!(review.due_at(late), Some(next));
        let closed = review.close(other, about, late).unwrap();
        assert_eq!(closed.due_at(next), None);
        assert!(!closed.is_overdue(next));
    }
}
