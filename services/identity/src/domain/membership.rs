//! A person's membership in one organisation, over time. A person has many; a decision elsewhere
//! uses the facts known when it was made.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::{MemberId, OrganisationId};
use uuid::Uuid;

use crate::error::Refusal;

/// How a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Applied,
    Full,
    /// 保留会籍: retired and the like.
    Retained,
    Left {
        until: NaiveDate,
    },
    Removed {
        until: NaiveDate,
    },
}

impl Standing {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Full => "full",
            Self::Retained => "retained",
            Self::Left { .. } => "left",
            Self::Removed { .. } => "removed",
        }
    }

    /// Reads what is stored; `None` for a contradiction.
    pub fn parse(text: &str, until: Option<NaiveDate>) -> Option<Self> {
        match (text, until) {
            ("applied", None) => Some(Self::Applied),
            ("full", None) => Some(Self::Full),
            ("retained", None) => Some(Self::Retained),
            ("left", Some(until)) => Some(Self::Left { until }),
            ("removed", Some(until)) => Some(Self::Removed { until }),
            _ => None,
        }
    }

    /// The first day it no longer counts.
    pub const fn until(self) -> Option<NaiveDate> {
        match self {
            Self::Left { until } | Self::Removed { until } => Some(until),
            Self::Applied | Self::Full | Self::Retained => None,
        }
    }
}

/// How a membership ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// 退会
    Left,
    /// 除名
    Removed,
}

/// A person in an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub id: Uuid,
    pub version: i64,
    pub member: MemberId,
    pub organisation: OrganisationId,
    pub standing: Standing,
    /// A Shanghai date.
    pub since: NaiveDate,
    pub created_at: DateTime<Utc>,
}

impl Membership {
    /// Ends it on a Shanghai date, the first day it no longer counts.
    ///
    /// # Errors
    /// When it has ended, or the date is before it began or after `today`.
    pub fn end(self, how: End, until: NaiveDate, today: NaiveDate) -> Result<Self, Refusal> {
        if self.standing.until().is_some() {
            return Err(Refusal::MembershipEnded);
        }
        if until < self.since || until > today {
            return Err(Refusal::DateInvalid);
        }
        let standing = match how {
            End::Left => Standing::Left { until },
            End::Removed => Standing::Removed { until },
        };
        Ok(Self {
            version: self.version + 1,
            standing,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_membership_ends_once_between_its_beginning_and_today() {
        let open = Membership {
            id: Uuid::from_u128(1),
            version: 1,
            member: MemberId(Uuid::from_u128(2)),
            organisation: OrganisationId(Uuid::from_u128(3)),
            standing: Standing::Full,
            since: day("2026-01-10"),
            created_at: DateTime::UNIX_EPOCH,
        };
        let today = day("2026-04-01");
        for bad in ["2026-01-09", "2026-04-02"] {
            let refused = open.clone().end(End::Left, day(bad), today);
            assert_eq!(refused.err(), Some(Refusal::DateInvalid));
        }
        let ended = open.end(End::Left, today, today).unwrap();
        assert_eq!((ended.version, ended.standing.until()), (2, Some(today)));
        assert_eq!(
            ended.end(End::Removed, today, today).err(),
            Some(Refusal::MembershipEnded)
        );
    }

    #[test]
    fn what_is_stored_reads_back() {
        let until = day("2026-04-01");
        for standing in [
            Standing::Applied,
            Standing::Full,
            Standing::Retained,
            Standing::Left { until },
            Standing::Removed { until },
        ] {
            assert_eq!(
                Standing::parse(standing.as_str(), standing.until()),
                Some(standing)
            );
        }
        assert_eq!(Standing::parse("full", Some(until)), None);
        assert_eq!(Standing::parse("left", None), None);
    }
}
