//! A person's copy of all that is kept of her (个人信息保护法 Art. 45): gathered from every service,
//! ready when the last has answered, and forgotten a week later.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::MemberId;
use uuid::Uuid;

use crate::error::Refusal;

/// How long services have to answer before they are asked again and it alarms, in seconds.
pub const ANSWER_SECONDS: i64 = 600;
/// How long a copy can be fetched once it is ready, in days.
pub const READY_DAYS: i64 = 7;
/// Copies that one person may ask for in a day.
pub const EXPORTS_PER_DAY_MAX: i32 = 3;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Gathering,
    Ready {
        at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    },
    /// It was ready, and is forgotten.
    Expired {
        at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    },
}

/// A copy of what is kept of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    pub id: Uuid,
    /// Grows each time services are asked again.
    pub version: i64,
    pub member: MemberId,
    pub state: State,
    pub asked_at: DateTime<Utc>,
    /// By then it is ready.
    pub deadline: DateTime<Utc>,
}

/// The form of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Xlsx,
}

impl Format {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xlsx => "xlsx",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Json, Self::Xlsx]
            .into_iter()
            .find(|it| it.as_str() == text)
    }
}

impl Export {
    /// Everybody has answered. One that was ready stays as it is.
    #[must_use]
    pub fn complete(self, now: DateTime<Utc>) -> Self {
        let state = match self.state {
            State::Gathering => State::Ready {
                at: now,
                expires_at: now + TimeDelta::days(READY_DAYS),
            },
            other @ (State::Ready { .. } | State::Expired { .. }) => other,
        };
        Self { state, ..self }
    }

    /// Services that have not answered are asked again.
    #[must_use]
    pub fn ask_again(self) -> Self {
        Self {
            version: self.version + 1,
            ..self
        }
    }

    /// Its time is over; `None` before.
    pub fn expire(self, now: DateTime<Utc>) -> Option<Self> {
        match self.state {
            State::Ready { at, expires_at } if expires_at <= now => Some(Self {
                state: State::Expired { at, expires_at },
                ..self
            }),
            State::Gathering | State::Ready { .. } | State::Expired { .. } => None,
        }
    }

    /// # Errors
    /// [`Refusal::ExportNotReady`] unless it can be fetched now.
    pub fn must_be_ready(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        match self.state {
            State::Ready { expires_at, .. } if now < expires_at => Ok(()),
            State::Gathering | State::Ready { .. } | State::Expired { .. } => {
                Err(Refusal::ExportNotReady)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is ready once, for a week, and never again.
    #[test]
    fn a_copy_is_ready_for_a_week() {
        let now = DateTime::UNIX_EPOCH;
        let gathering = Export {
            id: Uuid::from_u128(1),
            version: 1,
            member: MemberId(Uuid::from_u128(2)),
            state: State::Gathering,
            asked_at: now,
            deadline: now + TimeDelta::days(15),
        };
        assert_eq!(gathering.must_be_ready(now), Err(Refusal::ExportNotReady));
        assert_eq!(gathering.clone().expire(now), None);
        let ready = gathering.ask_again().complete(now);
        assert_eq!(ready.version, 2);
        let week = now + TimeDelta::days(READY_DAYS);
        assert_eq!(ready.must_be_ready(week - TimeDelta::seconds(1)), Ok(()));
        assert!(ready.must_be_ready(week).is_err());
        assert_eq!(ready.clone().complete(week), ready);
        assert_eq!(ready.clone().expire(week - TimeDelta::seconds(1)), None);
        let over = ready.expire(week).unwrap();
        assert!(over.must_be_ready(now).is_err());
        assert_eq!(over.clone().complete(week), over);
        assert_eq!(over.expire(week), None);
    }
}
