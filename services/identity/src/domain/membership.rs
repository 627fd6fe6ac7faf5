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

/// What becomes of a membership of a person who no longer works, or works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// 保留会籍: kept beyond work.
    Retain,
    /// A full one again.
    Resume,
}

/// The first day that a membership can have begun: when the national federation was founded.
pub const SINCE_MIN: NaiveDate = match NaiveDate::from_ymd_opt(1925, 5, 1) {
    Some(day) => day,
    None => NaiveDate::MIN,
};

/// The day a membership begins, where one is given.
///
/// # Errors
/// [`Refusal::SinceInvalid`] in the future, or before there were unions.
pub fn begins(since: Option<NaiveDate>, today: NaiveDate) -> Result<NaiveDate, Refusal> {
    match since {
        None => Ok(today),
        Some(day) if (SINCE_MIN..=today).contains(&day) => Ok(day),
        Some(_) => Err(Refusal::SinceInvalid),
    }
}

/// What was wrong with the dates of a membership; what is absent stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    pub since: Option<NaiveDate>,
    pub until: Option<NaiveDate>,
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

    /// # Errors
    /// When it has ended.
    pub fn must_be_open(&self) -> Result<(), Refusal> {
        match self.standing.until() {
            None => Ok(()),
            Some(_) => Err(Refusal::MembershipEnded),
        }
    }

    /// Keeps it beyond work, or makes one that was kept a full one again. One that stands so
    /// already stays as it is.
    ///
    /// # Errors
    /// When it has ended, or was never decided on.
    pub fn keep(self, how: Keep) -> Result<Self, Refusal> {
        let (from, standing) = match how {
            Keep::Retain => (Standing::Full, Standing::Retained),
            Keep::Resume => (Standing::Retained, Standing::Full),
        };
        if self.standing == standing {
            return Ok(self);
        }
        if self.standing.until().is_some() {
            return Err(Refusal::MembershipEnded);
        }
        if self.standing != from {
            return Err(Refusal::StandingDoesNotFit);
        }
        Ok(Self {
            version: self.version + 1,
            standing,
            ..self
        })
    }

    /// Corrects its dates.
    ///
    /// # Errors
    /// When a date makes no sense, one that has not ended would get a last day, or nothing
    /// differs.
    pub fn correct(self, it: Correction, today: NaiveDate) -> Result<Self, Refusal> {
        let since = begins(Some(it.since.unwrap_or(self.since)), today)?;
        let until = it.until.or(self.standing.until());
        let standing = match (self.standing, until) {
            (Standing::Left { .. }, Some(until)) => Standing::Left { until },
            (Standing::Removed { .. }, Some(until)) => Standing::Removed { until },
            (open, None) => open,
            (_, Some(_)) => return Err(Refusal::StandingDoesNotFit),
        };
        if until.is_some_and(|until| until < since || until > today) {
            return Err(Refusal::DateInvalid);
        }
        if (since, standing) == (self.since, self.standing) {
            return Err(Refusal::NothingCorrected);
        }
        Ok(Self {
            version: self.version + 1,
            since,
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

    fn full() -> Membership {
        Membership {
            id: Uuid::from_u128(1),
            version: 1,
            member: MemberId(Uuid::from_u128(2)),
            organisation: OrganisationId(Uuid::from_u128(3)),
            standing: Standing::Full,
            since: day("2026-01-10"),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_membership_begins_between_the_first_unions_and_today() {
        let today = day("2026-04-01");
        assert_eq!(begins(None, today), Ok(today));
        for good in ["1925-05-01", "2026-04-01"] {
            assert_eq!(begins(Some(day(good)), today), Ok(day(good)));
        }
        for bad in ["1925-04-30", "2026-04-02"] {
            assert_eq!(begins(Some(day(bad)), today), Err(Refusal::SinceInvalid));
        }
    }

    #[test]
    fn a_membership_is_kept_and_taken_up_again() {
        let kept = full().keep(Keep::Retain).unwrap();
        assert_eq!((kept.version, kept.standing), (2, Standing::Retained));
        assert_eq!(kept.clone().keep(Keep::Retain), Ok(kept.clone()));
        let again = kept.clone().keep(Keep::Resume).unwrap();
        assert_eq!((again.version, again.standing), (3, Standing::Full));
        let today = day("2026-04-01");
        let ended = kept.end(End::Left, today, today).unwrap();
        assert_eq!(
            ended.clone().keep(Keep::Retain),
            Err(Refusal::MembershipEnded)
        );
        assert_eq!(ended.keep(Keep::Resume), Err(Refusal::MembershipEnded));
        let applied = Membership {
            standing: Standing::Applied,
            ..full()
        };
        assert_eq!(applied.keep(Keep::Retain), Err(Refusal::StandingDoesNotFit));
    }

    #[test]
    fn dates_are_corrected_within_reason() {
        let today = day("2026-04-01");
        let correct = |it: Membership, since: Option<&str>, until: Option<&str>| {
            let correction = Correction {
                since: since.map(day),
                until: until.map(day),
            };
            it.correct(correction, today)
        };
        let earlier = correct(full(), Some("2019-07-01"), None).unwrap();
        assert_eq!((earlier.version, earlier.since), (2, day("2019-07-01")));
        let refused = |since, until| correct(full(), since, until).unwrap_err();
        assert_eq!(refused(Some("2026-04-02"), None), Refusal::SinceInvalid);
        assert_eq!(refused(Some("2026-01-10"), None), Refusal::NothingCorrected);
        assert_eq!(
            refused(None, Some("2026-02-01")),
            Refusal::StandingDoesNotFit
        );
        let ended = full().end(End::Removed, today, today).unwrap();
        let corrected = correct(ended.clone(), None, Some("2026-03-01")).unwrap();
        let until = day("2026-03-01");
        assert_eq!(corrected.standing, Standing::Removed { until });
        for (since, until) in [
            (None, "2026-01-09"),
            (None, "2026-04-02"),
            (Some("2026-03-01"), "2026-02-01"),
        ] {
            let refused = correct(ended.clone(), since, Some(until));
            assert_eq!(refused, Err(Refusal::DateInvalid));
        }
    }

    #[test]
    fn a_membership_ends_once_between_its_beginning_and_today() {
        let open = full();
        let today = day("2026-04-01");
        for bad in ["2026-01-09", "2026-04-02"] {
            let refused = open.clone().end(End::Left, day(bad), today);
            assert_eq!(refused.err(), Some(Refusal::DateInvalid));
        }
        let ended = open.end(End::Left, today, today).unwrap();
        assert_eq!((ended.version, ended.standing.until()), (2, Some(today)));
        assert_eq!(
            ended.clone().end(End::Removed, today, today).err(),
            Some(Refusal::MembershipEnded)
        );
        assert_eq!(full().must_be_open(), Ok(()));
        assert_eq!(ended.must_be_open(), Err(Refusal::MembershipEnded));
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
