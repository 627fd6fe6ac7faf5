//! A powerful role that one person proposes and another confirms. Neither is who is to hold it: a
//! person cannot give herself power, nor can one who signs in twice.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::MemberId;
use uuid::Uuid;

use super::role::{Grant, lives};
use crate::error::Refusal;

/// How long a proposal waits for somebody who confirms it, in days.
pub const PROPOSAL_DAYS: i64 = 7;

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Confirmed { by: MemberId, at: DateTime<Utc> },
    Withdrawn { by: MemberId, at: DateTime<Utc> },
    Expired,
}

/// What is proposed, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub id: Uuid,
    pub grant: Grant,
    pub by: MemberId,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub state: State,
}

impl Proposal {
    /// # Errors
    /// [`Refusal::RoleForOneself`].
    pub fn new(id: Uuid, grant: Grant, by: MemberId, now: DateTime<Utc>) -> Result<Self, Refusal> {
        if by == grant.of.member {
            return Err(Refusal::RoleForOneself);
        }
        let waits = now + TimeDelta::days(PROPOSAL_DAYS);
        Ok(Self {
            id,
            grant,
            by,
            created_at: now,
            // A role that is over is granted to nobody.
            expires_at: waits.min(grant.ends_at),
            state: State::Open,
        })
    }

    /// Whether it waits: by the clock, whether or not anybody has written down that it is over.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.state == State::Open && lives(Some(self.expires_at), now)
    }

    /// Whether this person is the other one, whom it takes.
    pub fn is_for(&self, person: MemberId) -> bool {
        self.may_be_confirmed_by(person).is_ok()
    }

    fn may_be_confirmed_by(&self, person: MemberId) -> Result<(), Refusal> {
        if person == self.grant.of.member {
            return Err(Refusal::RoleForOneself);
        }
        if person == self.by {
            return Err(Refusal::ProposalOfOwn);
        }
        Ok(())
    }

    /// Confirmed by the second person; `None` when she has confirmed it before.
    ///
    /// # Errors
    /// By who proposed it or is to hold it; when it is over.
    pub fn confirm(self, by: MemberId, now: DateTime<Utc>) -> Result<Option<Self>, Refusal> {
        self.may_be_confirmed_by(by)?;
        match self.state {
            State::Open if self.is_open(now) => Ok(Some(Self {
                state: State::Confirmed { by, at: now },
                ..self
            })),
            State::Confirmed { by: first, .. } if first == by => Ok(None),
            State::Open | State::Confirmed { .. } | State::Withdrawn { .. } | State::Expired => {
                Err(Refusal::ProposalOver)
            }
        }
    }

    /// Taken back, for which one is enough; `None` when it was before.
    ///
    /// # Errors
    /// [`Refusal::ProposalOver`]: the role is withdrawn then, or there is nothing to take back.
    pub fn withdraw(self, by: MemberId, now: DateTime<Utc>) -> Result<Option<Self>, Refusal> {
        match self.state {
            State::Open => Ok(Some(Self {
                state: State::Withdrawn { by, at: now },
                ..self
            })),
            State::Withdrawn { .. } => Ok(None),
            State::Confirmed { .. } | State::Expired => Err(Refusal::ProposalOver),
        }
    }

    /// Over, when it waits no longer; `None` when it waits still or something became of it.
    pub fn expire(self, now: DateTime<Utc>) -> Option<Self> {
        let over = self.state == State::Open && !self.is_open(now);
        over.then_some(Self {
            state: State::Expired,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use kit::types::OrganisationId;

    use super::super::role::{Of, Role};
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn person(number: u128) -> MemberId {
        MemberId(Uuid::from_u128(number))
    }

    /// Person 3 is to approve; person 1 proposes it.
    fn proposed(days: i64) -> Proposal {
        let of = Of {
            member: person(3),
            organisation: OrganisationId(Uuid::from_u128(9)),
            role: Role::Approver,
        };
        let ends_at = NOW + TimeDelta::days(days);
        Proposal::new(Uuid::nil(), Grant { of, ends_at }, person(1), NOW).unwrap()
    }

    /// It takes two besides the holder, and the same answer again is one.
    #[test]
    fn two_others_are_needed() {
        let open = proposed(100);
        let own = Proposal::new(open.id, open.grant, person(3), NOW);
        assert_eq!(own, Err(Refusal::RoleForOneself));
        assert_eq!(open.confirm(person(1), NOW), Err(Refusal::ProposalOfOwn));
        assert_eq!(open.confirm(person(3), NOW), Err(Refusal::RoleForOneself));
        assert_eq!(
            [1, 2, 3].map(|it| open.is_for(person(it))),
            [false, true, false]
        );
        let confirmed = open.confirm(person(2), NOW).unwrap().unwrap();
        assert_eq!(confirmed.confirm(person(2), NOW), Ok(None));
        assert_eq!(
            confirmed.confirm(person(4), NOW),
            Err(Refusal::ProposalOver)
        );
        assert_eq!(
            confirmed.withdraw(person(1), NOW),
            Err(Refusal::ProposalOver)
        );
        assert_eq!(confirmed.expire(NOW + TimeDelta::days(99)), None);
    }

    /// One takes it back, and what was taken back is not confirmed.
    #[test]
    fn one_takes_it_back() {
        let back = proposed(100).withdraw(person(1), NOW).unwrap().unwrap();
        assert_eq!(back.withdraw(person(2), NOW), Ok(None));
        assert_eq!(back.confirm(person(2), NOW), Err(Refusal::ProposalOver));
        assert!(!back.is_open(NOW));
    }

    /// It waits for a week, or until the role would be over.
    #[test]
    fn it_waits_for_a_week() {
        for (term, waits) in [(100, PROPOSAL_DAYS), (2, 2)] {
            let open = proposed(term);
            let end = NOW + TimeDelta::days(waits);
            assert_eq!(open.expire(end - TimeDelta::seconds(1)), None);
            assert!(!open.is_open(end));
            assert_eq!(open.confirm(person(2), end), Err(Refusal::ProposalOver));
            let over = open.expire(end).unwrap();
            assert_eq!(over.state, State::Expired);
            assert_eq!(over.expire(end), None);
        }
    }
}
