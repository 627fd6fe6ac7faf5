//! A lost phone: another one in its place, by a person's document, by two people of the union who
//! answer for having seen her, and by time in which whoever has the old phone can take it back.
//!
//! Asked for, until the service of the state has said that name and document belong together; then
//! claimed, until an office has seen her; confirmed, until an operator who is another person says
//! so too; approved, until its time has come. Each of these ends by itself when nobody goes on.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::MemberId;
use uuid::Uuid;

use crate::error::Refusal;

/// How long a claim waits to be confirmed, and a confirmed one to be approved, in hours.
pub const RECOVERY_CLAIM_HOURS: i64 = 72;
/// How long the phone and the logins so far have to take an approved one back, in hours.
pub const RECOVERY_WAIT_HOURS: i64 = 72;
/// Recoveries that may be asked for by one document from one address in a day, whether or not
/// anybody has it.
pub const RECOVERIES_PER_DOCUMENT_DAY_MAX: i32 = 3;
/// Recoveries that may be asked for from one address in an hour.
pub const RECOVERIES_PER_ADDRESS_HOUR_MAX: i32 = 10;
/// Codes to new phones that may be asked for in an hour, of the whole union.
pub const RECOVERY_CODES_PER_HOUR_MAX: i32 = 300;

/// How long the service of the state is asked whose a 网号 is, in minutes: longer than what she has
/// shown is good for.
pub const NETWORK_CLAIM_MINUTES: i64 = 60;

/// What a record was claimed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Her document, which an office that has seen her can name.
    Document,
    /// Her 网号: nobody here knows a number of hers, and an office names her by her name.
    NetworkIdentity,
}

impl Basis {
    pub const ALL: [Self; 2] = [Self::Document, Self::NetworkIdentity];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::NetworkIdentity => "network_identity",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// Who has said so, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub by: MemberId,
    pub at: DateTime<Utc>,
}

/// How far a recovery has come that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The service of the state is being asked.
    Asked,
    /// Name and document belong together.
    Claimed,
    /// Somebody has seen her with her document.
    Confirmed(Said),
    /// And somebody else agrees.
    Approved {
        confirmed: Said,
        approved: Said,
        due_at: DateTime<Utc>,
    },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The phone is hers.
    Done,
    /// Name and document do not belong together.
    NotMatched,
    /// Nobody went on with it in time.
    Expired,
    /// She has taken it back.
    Recalled,
    /// An office has stopped it, or something else came before it.
    Stopped,
}

impl End {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotMatched => "not_matched",
            Self::Expired => "expired",
            Self::Recalled => "recalled",
            Self::Stopped => "stopped",
        }
    }
}

/// What is due of one now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until then.
    Waits(DateTime<Utc>),
    /// Nobody went on with it.
    Expires,
    /// It is carried out.
    Executes,
}

/// A recovery that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub id: Uuid,
    pub member: MemberId,
    pub state: State,
    /// When it ends by itself, unless it is approved.
    pub expires_at: DateTime<Utc>,
}

impl Recovery {
    /// The service says that name and document belong together; nothing for one that has gone on.
    pub fn verified(self) -> Option<Self> {
        match self.state {
            State::Asked => Some(Self {
                state: State::Claimed,
                ..self
            }),
            State::Claimed | State::Confirmed(_) | State::Approved { .. } => None,
        }
    }

    /// Somebody has seen her; nothing when somebody has said so before.
    ///
    /// # Errors
    /// [`Refusal::RecoveryOfOwn`] to herself; [`Refusal::RecoveryNotFound`] when it is not claimed,
    /// or over.
    pub fn confirm(self, by: MemberId, now: DateTime<Utc>) -> Result<Option<Self>, Refusal> {
        if by == self.member {
            return Err(Refusal::RecoveryOfOwn);
        }
        match self.state {
            State::Claimed if now < self.expires_at => Ok(Some(Self {
                state: State::Confirmed(Said { by, at: now }),
                expires_at: now + TimeDelta::hours(RECOVERY_CLAIM_HOURS),
                ..self
            })),
            State::Asked | State::Claimed => Err(Refusal::RecoveryNotFound),
            State::Confirmed(_) | State::Approved { .. } => Ok(None),
        }
    }

    /// Somebody else agrees, and time begins to run; nothing when it is approved already.
    ///
    /// # Errors
    /// [`Refusal::RecoveryOfOwn`] to herself and to who confirmed it;
    /// [`Refusal::RecoveryNotFound`] when nobody has confirmed it, or it is over.
    pub fn approve(self, by: MemberId, now: DateTime<Utc>) -> Result<Option<Self>, Refusal> {
        if by == self.member {
            return Err(Refusal::RecoveryOfOwn);
        }
        match self.state {
            State::Confirmed(confirmed) if confirmed.by == by => Err(Refusal::RecoveryOfOwn),
            State::Confirmed(confirmed) if now < self.expires_at => Ok(Some(Self {
                state: State::Approved {
                    confirmed,
                    approved: Said { by, at: now },
                    due_at: now + TimeDelta::hours(RECOVERY_WAIT_HOURS),
                },
                ..self
            })),
            State::Asked | State::Claimed | State::Confirmed(_) => Err(Refusal::RecoveryNotFound),
            State::Approved { .. } => Ok(None),
        }
    }

    /// When something is due of it next.
    pub const fn next_at(&self) -> DateTime<Utc> {
        match self.state {
            State::Asked | State::Claimed | State::Confirmed(_) => self.expires_at,
            State::Approved { due_at, .. } => due_at,
        }
    }

    /// What is due of it now.
    pub fn step(&self, now: DateTime<Utc>) -> Step {
        if now < self.next_at() {
            return Step::Waits(self.next_at());
        }
        match self.state {
            State::Asked | State::Claimed | State::Confirmed(_) => Step::Expires,
            State::Approved { .. } => Step::Executes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERSELF: MemberId = MemberId(Uuid::from_u128(1));
    const OFFICER: MemberId = MemberId(Uuid::from_u128(2));
    const OPERATOR: MemberId = MemberId(Uuid::from_u128(3));
    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn hours(hours: i64) -> DateTime<Utc> {
        START + TimeDelta::hours(hours)
    }

    fn asked() -> Recovery {
        Recovery {
            id: Uuid::from_u128(9),
            member: HERSELF,
            state: State::Asked,
            expires_at: hours(RECOVERY_CLAIM_HOURS),
        }
    }

    fn confirmed() -> Recovery {
        let claimed = asked().verified().unwrap();
        claimed.confirm(OFFICER, hours(1)).unwrap().unwrap()
    }

    #[test]
    fn a_basis_is_read_back_as_it_is_stored() {
        for basis in Basis::ALL {
            assert_eq!(Basis::parse(basis.as_str()), Some(basis));
        }
        assert_eq!(Basis::parse("name"), None);
    }

    /// Two who are neither she nor one person carry it to its time, and no earlier.
    #[test]
    fn two_others_and_time_carry_it() {
        let confirmed = confirmed();
        assert_eq!(
            confirmed.expires_at,
            hours(1 + RECOVERY_CLAIM_HOURS),
            "its time begins anew"
        );
        for by in [HERSELF, OFFICER] {
            assert_eq!(confirmed.approve(by, hours(2)), Err(Refusal::RecoveryOfOwn));
        }
        let approved = confirmed.approve(OPERATOR, hours(2)).unwrap().unwrap();
        let due = hours(2 + RECOVERY_WAIT_HOURS);
        assert_eq!(approved.step(hours(2)), Step::Waits(due));
        assert_eq!(approved.step(due - TimeDelta::seconds(1)), Step::Waits(due));
        assert_eq!(approved.step(due), Step::Executes);
        assert_eq!(approved.approve(OPERATOR, hours(3)), Ok(None));
        assert_eq!(approved.confirm(OFFICER, hours(3)), Ok(None));
    }

    /// Nobody confirms what the service has not answered, nor approves what nobody has confirmed;
    /// what is over is over for both.
    #[test]
    fn each_comes_after_the_one_before_and_in_time() {
        let absent = Err(Refusal::RecoveryNotFound);
        assert_eq!(asked().confirm(OFFICER, START), absent);
        assert_eq!(asked().approve(OPERATOR, START), absent);
        let claimed = asked().verified().unwrap();
        assert_eq!(claimed.verified(), None);
        assert_eq!(claimed.approve(OPERATOR, START), absent);
        assert_eq!(claimed.confirm(HERSELF, START), Err(Refusal::RecoveryOfOwn));
        let over = claimed.expires_at;
        assert_eq!(claimed.step(over), Step::Expires);
        assert_eq!(claimed.confirm(OFFICER, over), absent);
        let over = confirmed().expires_at;
        assert_eq!(confirmed().step(over), Step::Expires);
        assert_eq!(confirmed().approve(OPERATOR, over), absent);
    }
}
