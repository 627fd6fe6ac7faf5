//! A roster's way from an address to upload it at, to the difference it makes: what may happen to
//! it in which state. What its rows say is `crate::roster`'s.

use chrono::{DateTime, Utc};
use kit::types::{LoginId, MemberId, OrganisationId};
use uuid::Uuid;

use crate::error::Refusal;

/// What a roster is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Those on it join, and those who are not leave, where it is complete.
    Membership { complete: bool },
    /// An outing, say: nobody's membership changes.
    List,
}

impl Purpose {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Membership { .. } => "membership",
            Self::List => "list",
        }
    }

    pub const fn complete(self) -> bool {
        matches!(self, Self::Membership { complete: true })
    }

    /// Reads what is stored; `None` for a contradiction.
    pub fn parse(text: &str, complete: bool) -> Option<Self> {
        match (text, complete) {
            ("membership", complete) => Some(Self::Membership { complete }),
            ("list", false) => Some(Self::List),
            _ => None,
        }
    }
}

/// How far a roster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Its file has not arrived.
    Awaiting,
    /// The file waits to be read; a correction of rows that are there, or the roster itself.
    Reading {
        correcting: bool,
    },
    /// Its rows are compared with who is known.
    Matching,
    /// The difference can be looked at and committed.
    Ready,
    Committed {
        at: DateTime<Utc>,
    },
    /// None of it can be used; nothing of it is kept.
    Failed,
    /// It was not committed in time; nothing of it is kept.
    Expired,
}

impl State {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Reading { .. } => "reading",
            Self::Matching => "matching",
            Self::Ready => "ready",
            Self::Committed { .. } => "committed",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing more will happen to it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Failed | Self::Expired)
    }
}

/// A roster, without its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    pub id: Uuid,
    pub organisation: OrganisationId,
    pub officer: MemberId,
    pub login: LoginId,
    pub purpose: Purpose,
    pub state: State,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

impl Roster {
    /// Whether rows may be corrected: they must be known.
    ///
    /// # Errors
    /// [`Refusal::RosterNotReady`].
    pub fn must_be_ready(&self) -> Result<(), Refusal> {
        match self.state {
            State::Ready => Ok(()),
            State::Awaiting
            | State::Reading { .. }
            | State::Matching
            | State::Committed { .. }
            | State::Failed
            | State::Expired => Err(Refusal::RosterNotReady),
        }
    }

    /// A file has arrived: the roster itself, or a correction of a roster that is ready.
    ///
    /// # Errors
    /// [`Refusal::RosterNotReady`].
    pub fn receive(self, correcting: bool) -> Result<Self, Refusal> {
        match (self.state, correcting) {
            (State::Awaiting, false) | (State::Ready, true) => Ok(Self {
                state: State::Reading { correcting },
                ..self
            }),
            _ => Err(Refusal::RosterNotReady),
        }
    }

    /// Its rows are to be compared, or compared again.
    ///
    /// # Errors
    /// [`Refusal::RosterNotReady`].
    pub fn compare(self) -> Result<Self, Refusal> {
        match self.state {
            State::Reading { .. } | State::Ready => Ok(Self {
                state: State::Matching,
                ..self
            }),
            State::Awaiting
            | State::Matching
            | State::Committed { .. }
            | State::Failed
            | State::Expired => Err(Refusal::RosterNotReady),
        }
    }

    /// The file cannot be used: a roster fails by it, a correction leaves what was there.
    #[must_use]
    pub fn reject(self) -> Self {
        let state = match self.state {
            State::Reading { correcting: true } => State::Ready,
            State::Awaiting
            | State::Reading { correcting: false }
            | State::Matching
            | State::Ready => State::Failed,
            over @ (State::Committed { .. } | State::Failed | State::Expired) => over,
        };
        Self { state, ..self }
    }

    /// Makes its difference true. Rows that are bad must be corrected, or left out by name.
    ///
    /// # Errors
    /// [`Refusal::RosterNotReady`] or [`Refusal::RosterHasBadRows`].
    pub fn commit(self, bad: Bad, now: DateTime<Utc>) -> Result<Self, Refusal> {
        self.must_be_ready()?;
        if bad == Bad::Left {
            return Err(Refusal::RosterHasBadRows);
        }
        Ok(Self {
            state: State::Committed { at: now },
            ..self
        })
    }

    /// Whether those who are not on it leave. A row that is bad may be anybody's: while one is
    /// left out, nobody leaves.
    pub fn ends_memberships(&self, bad: Bad) -> bool {
        self.purpose.complete() && bad == Bad::None
    }

    /// Its time is over.
    #[must_use]
    pub fn expire(self) -> Self {
        let state = match self.state {
            over @ (State::Committed { .. } | State::Failed) => over,
            State::Awaiting
            | State::Reading { .. }
            | State::Matching
            | State::Ready
            | State::Expired => State::Expired,
        };
        Self { state, ..self }
    }
}

/// Rows with something wrong when a roster is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    None,
    /// There are some, and the officer leaves them out.
    LeftOut,
    /// There are some, and nothing was said of them.
    Left,
}

impl Bad {
    pub const fn of(rows: i64, leave_out: bool) -> Self {
        match (rows, leave_out) {
            (0, _) => Self::None,
            (_, true) => Self::LeftOut,
            (_, false) => Self::Left,
        }
    }
}

/// What a row changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Not compared yet.
    Pending,
    New,
    Changed,
    Unchanged,
    Leaving,
    Bad,
}

impl Change {
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::New,
        Self::Changed,
        Self::Unchanged,
        Self::Leaving,
        Self::Bad,
    ];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Leaving => "leaving",
            Self::Bad => "bad",
        }
    }

    /// The change of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: [State; 3] = [
        State::Committed {
            at: DateTime::UNIX_EPOCH,
        },
        State::Failed,
        State::Expired,
    ];

    fn roster(state: State) -> Roster {
        Roster {
            id: Uuid::from_u128(1),
            organisation: OrganisationId(Uuid::from_u128(2)),
            officer: MemberId(Uuid::from_u128(3)),
            login: LoginId(Uuid::from_u128(4)),
            purpose: Purpose::Membership { complete: true },
            state,
            created_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH,
        }
    }

    fn states() -> Vec<State> {
        let running = [
            State::Awaiting,
            State::Reading { correcting: false },
            State::Reading { correcting: true },
            State::Matching,
            State::Ready,
        ];
        running.into_iter().chain(OVER).collect()
    }

    /// Each step happens in its own states and in no other.
    #[test]
    fn a_roster_takes_one_way() {
        for state in states() {
            let it = roster(state);
            let is = |other: State| state == other;
            assert_eq!(it.clone().receive(false).is_ok(), is(State::Awaiting));
            assert_eq!(it.clone().receive(true).is_ok(), is(State::Ready));
            let comparable = is(State::Ready) || matches!(state, State::Reading { .. });
            assert_eq!(it.clone().compare().is_ok(), comparable);
            let committed = it.clone().commit(Bad::None, DateTime::UNIX_EPOCH);
            assert_eq!(committed.is_ok(), is(State::Ready));
            if OVER.contains(&state) {
                assert_eq!(it.clone().reject().state, state);
                assert_eq!(it.expire().state, state);
            } else {
                assert_eq!(it.clone().expire().state, State::Expired);
                let kept = is(State::Reading { correcting: true });
                let rejected = if kept { State::Ready } else { State::Failed };
                assert_eq!(it.reject().state, rejected);
            }
        }
    }

    #[test]
    fn nobody_leaves_by_a_roster_with_a_row_that_may_be_hers() {
        let now = DateTime::UNIX_EPOCH;
        let it = roster(State::Ready);
        let refused = it.clone().commit(Bad::of(1, false), now);
        assert_eq!(refused, Err(Refusal::RosterHasBadRows));
        assert!(it.clone().commit(Bad::of(1, true), now).is_ok());
        assert!(!it.ends_memberships(Bad::of(1, true)));
        assert!(it.ends_memberships(Bad::of(0, false)));
        for purpose in [Purpose::List, Purpose::Membership { complete: false }] {
            let it = Roster {
                purpose,
                ..it.clone()
            };
            assert!(!it.ends_memberships(Bad::None));
            assert_eq!(
                Purpose::parse(purpose.as_str(), purpose.complete()),
                Some(purpose)
            );
        }
        assert_eq!(Purpose::parse("list", true), None);
    }

    #[test]
    fn changes_read_back() {
        for change in Change::ALL {
            assert_eq!(Change::parse(change.as_str()), Some(change));
        }
    }
}
