//! Asking for a membership: by a person for herself, or by the office of a union that lets her go
//! to another one. Somebody else than who asked decides.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::{MemberId, OrganisationId};
use uuid::Uuid;

use super::organisation::Kind;
use crate::error::Refusal;

/// How long an application waits for a decision, in days.
pub const WAIT_DAYS: i64 = 60;
/// Applications of one person that wait at the same time, at most.
pub const WAITING_MAX: i64 = 3;

/// What was decided of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Approve,
    Refuse,
}

/// How an application stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    /// With the membership that came of it.
    Approved {
        by: MemberId,
        at: DateTime<Utc>,
        membership: Uuid,
    },
    Refused {
        by: MemberId,
        at: DateTime<Utc>,
    },
    /// Taken back by who asked.
    Withdrawn {
        by: MemberId,
        at: DateTime<Utc>,
    },
    Expired,
}

impl State {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved { .. } => "approved",
            Self::Refused { .. } => "refused",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

/// Somebody shall be in an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    pub id: Uuid,
    pub member: MemberId,
    pub organisation: OrganisationId,
    /// The membership that ends where the new one begins; `None` for one who joins.
    pub leaves: Option<Uuid>,
    /// Herself, or the officer who lets her go.
    pub asked_by: MemberId,
    pub asked_at: DateTime<Utc>,
    pub state: State,
}

/// Whether people are in organisations of this kind: in grassroots unions and their groups.
///
/// # Errors
/// [`Refusal::KindHasNoMembers`].
pub fn must_have_members(kind: Kind) -> Result<(), Refusal> {
    match kind {
        Kind::Grassroots | Kind::Group => Ok(()),
        Kind::Territorial | Kind::Industrial | Kind::Partner => Err(Refusal::KindHasNoMembers),
    }
}

impl Application {
    /// When it ends undecided.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.asked_at + TimeDelta::days(WAIT_DAYS)
    }

    /// Whether the person herself may decide: where an office let her go, her word is enough.
    pub fn is_hers_to_decide(&self) -> bool {
        self.leaves.is_some() && self.asked_by != self.member
    }

    /// Whether it waits, and `by` may decide it.
    ///
    /// # Errors
    /// When it is decided or over, or `by` asked for it, or is the person and it is not hers to
    /// decide.
    pub fn must_be_decidable(&self, by: MemberId, now: DateTime<Utc>) -> Result<(), Refusal> {
        if self.state != State::Waiting || now >= self.expires_at() {
            return Err(Refusal::ApplicationOver);
        }
        if by == self.asked_by || (by == self.member && !self.is_hers_to_decide()) {
            return Err(Refusal::ApplicationOfOwn);
        }
        Ok(())
    }

    /// The application as it was decided. [`Application::must_be_decidable`] said that it may be.
    #[must_use]
    pub fn decided(self, by: MemberId, at: DateTime<Utc>, membership: Option<Uuid>) -> Self {
        let state = match membership {
            Some(membership) => State::Approved { by, at, membership },
            None => State::Refused { by, at },
        };
        Self { state, ..self }
    }

    /// Takes it back.
    ///
    /// # Errors
    /// When it is decided or over.
    pub fn withdraw(self, by: MemberId, now: DateTime<Utc>) -> Result<Self, Refusal> {
        if self.state != State::Waiting || now >= self.expires_at() {
            return Err(Refusal::ApplicationOver);
        }
        Ok(Self {
            state: State::Withdrawn { by, at: now },
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(number: u128) -> MemberId {
        MemberId(Uuid::from_u128(number))
    }

    fn application(asked_by: u128, leaves: Option<u128>) -> Application {
        Application {
            id: Uuid::from_u128(9),
            member: who(1),
            organisation: OrganisationId(Uuid::from_u128(2)),
            leaves: leaves.map(Uuid::from_u128),
            asked_by: who(asked_by),
            asked_at: DateTime::UNIX_EPOCH,
            state: State::Waiting,
        }
    }

    #[test]
    fn somebody_else_decides() {
        let now = DateTime::UNIX_EPOCH;
        let own = Err(Refusal::ApplicationOfOwn);
        let joins = application(1, None);
        assert_eq!(joins.must_be_decidable(who(1), now), own);
        assert_eq!(joins.must_be_decidable(who(3), now), Ok(()));
        let let_go = application(3, Some(8));
        assert_eq!(let_go.must_be_decidable(who(3), now), own);
        for other in [1, 4] {
            assert_eq!(let_go.must_be_decidable(who(other), now), Ok(()));
        }
        // An officer who lets herself go has no second word.
        let herself = application(1, Some(8));
        assert_eq!(herself.must_be_decidable(who(1), now), own);
    }

    #[test]
    fn what_is_over_stays_so() {
        let over = Err(Refusal::ApplicationOver);
        let end = application(1, None).expires_at();
        assert_eq!(application(1, None).must_be_decidable(who(3), end), over);
        assert!(application(1, None).withdraw(who(1), end).is_err());
        let now = DateTime::UNIX_EPOCH;
        let refused = application(1, None).decided(who(3), now, None);
        assert_eq!(refused.must_be_decidable(who(3), now), over);
        let back = application(1, None).withdraw(who(1), now).unwrap();
        assert_eq!(back.must_be_decidable(who(3), now), over);
    }
}
