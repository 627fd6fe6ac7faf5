//! An entitlement as admission knows it: what its granter says, without its holder, or nothing
//! yet but that somebody showed a credential for it.
//!
//! Its state compares by (epoch, version), so what is heard twice or late does nothing.

use chrono::{DateTime, Utc};
use credential::rules::{EntitlementFacts, Reservation, Standing, VenueId};
use credential::token::{Minute, Token};
use kit::types::{EntitlementId, OrderId, Union};

/// How long a grant may be late before the entitlement is blocked, in minutes.
pub const GRANT_MINUTES_MAX: i64 = 15;
/// Visits that are reserved with one entitlement, at most: what is told beyond is no union's.
pub const RESERVATIONS_MAX: usize = 64;
/// People that one scope admits on signatures alone in an hour; the database checks it too.
pub const UNSEEN_PERSONS_PER_HOUR_MAX: u32 = 200;

/// What is known of an entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    pub id: EntitlementId,
    /// The union that grants it.
    pub home: Union,
    /// Its product, session or course.
    pub scope: u32,
    pub grant: Grant,
    /// The first admission on the signature alone.
    pub first_used_at: Option<DateTime<Utc>>,
    /// How often it was blocked or cleared.
    pub block_version: i64,
}

/// What its granter said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Nothing yet.
    Unseen,
    /// Nothing in time: nobody answers for it.
    Blocked,
    Granted(Granted),
}

/// The granter's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub epoch: i64,
    pub version: i64,
    pub state: State,
    /// Half-open.
    pub valid_from: Minute,
    pub valid_until: Minute,
    pub generation: u8,
    pub persons: u16,
    pub document_check: bool,
    /// The version of the product whose rules apply.
    pub rules_version: i64,
    /// The last freeze that waits, or waited, for its uses to be counted; 0: none.
    pub freeze_version: i64,
    pub order: Option<OrderId>,
    /// The visits that are reserved, at any venue; those of long ago are left out.
    pub reservations: Vec<Reserved>,
}

/// A time that is reserved at a venue, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    pub venue: VenueId,
    pub from: Minute,
    pub until: Minute,
}

impl From<&Reserved> for Reservation {
    fn from(one: &Reserved) -> Self {
        Self {
            venue: one.venue,
            from: one.from.instant(),
            until: one.until.instant(),
        }
    }
}

/// Whether it opens doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Frozen,
    Revoked,
}

/// What a word of the granter changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Older than what is known.
    Stale,
    /// What is known already.
    Same,
    /// It is newer.
    Changed {
        /// It had been blocked, and somebody answers for it after all.
        cleared: bool,
    },
}

/// A revoked entitlement cannot come back in the same epoch, and one that a union answers for is
/// no other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl Entitlement {
    /// One of which nothing is known but what a credential says.
    pub const fn unseen(id: EntitlementId, home: Union, scope: u32) -> Self {
        Self {
            id,
            home,
            scope,
            grant: Grant::Unseen,
            first_used_at: None,
            block_version: 0,
        }
    }

    /// The union that grants it says so. A credential alone makes nobody's claim good: whoever
    /// shows one of another union with this id first takes it from nobody.
    ///
    /// # Errors
    /// When another union answers for it already.
    pub fn claim(&mut self, home: Union) -> Result<(), Contradiction> {
        if self.home == home {
            return Ok(());
        }
        match &self.grant {
            // Nothing was admitted with it, so there is nothing that the other union owes.
            Grant::Unseen if self.first_used_at.is_none() => {
                self.home = home;
                Ok(())
            }
            Grant::Unseen | Grant::Blocked | Grant::Granted(_) => Err(Contradiction),
        }
    }

    /// Takes the granter's word.
    ///
    /// # Errors
    /// When it would bring back what was revoked.
    pub fn apply(&mut self, scope: u32, word: Granted) -> Result<Applied, Contradiction> {
        let cleared = match &self.grant {
            Grant::Unseen => false,
            Grant::Blocked => true,
            Grant::Granted(known) => {
                let (old, new) = ((known.epoch, known.version), (word.epoch, word.version));
                if new < old {
                    return Ok(Applied::Stale);
                }
                if new == old {
                    return Ok(Applied::Same);
                }
                if known.epoch == word.epoch
                    && known.state == State::Revoked
                    && word.state != State::Revoked
                {
                    return Err(Contradiction);
                }
                false
            }
        };
        if cleared {
            self.block_version += 1;
        }
        self.scope = scope;
        self.grant = Grant::Granted(word);
        Ok(Applied::Changed { cleared })
    }

    /// Gives up waiting for the grant of one that was used; false when there is nothing to do.
    pub fn block(&mut self) -> bool {
        let waits = self.grant == Grant::Unseen && self.first_used_at.is_some();
        if waits {
            self.grant = Grant::Blocked;
            self.block_version += 1;
        }
        waits
    }

    /// The freeze whose uses are to be counted now, if any.
    pub fn freeze_to_answer(&self) -> Option<i64> {
        match &self.grant {
            Grant::Granted(word) if word.state == State::Frozen && word.freeze_version > 0 => {
                Some(word.freeze_version)
            }
            Grant::Granted(_) | Grant::Unseen | Grant::Blocked => None,
        }
    }

    /// What the evaluator is told. `token` is the credential that was shown, `budget_left` what
    /// is left of its scope's hour; one that was only looked up and never granted is unknown.
    pub fn facts(&self, token: Option<&Token>, budget_left: u32) -> EntitlementFacts {
        match (&self.grant, token) {
            (Grant::Granted(word), _) => EntitlementFacts {
                standing: match word.state {
                    State::Active => Standing::Granted,
                    State::Frozen => Standing::Frozen,
                    State::Revoked => Standing::Revoked,
                },
                from: word.valid_from.instant(),
                until: word.valid_until.instant(),
                generation: word.generation,
                persons: word.persons,
                reservations: word.reservations.iter().map(Reservation::from).collect(),
            },
            (Grant::Unseen, Some(token)) => EntitlementFacts::from_token(token, budget_left),
            (Grant::Blocked, Some(token)) => EntitlementFacts {
                standing: Standing::Unknown,
                ..EntitlementFacts::from_token(token, 0)
            },
            (Grant::Unseen | Grant::Blocked, None) => EntitlementFacts {
                standing: Standing::Unknown,
                from: DateTime::<Utc>::MIN_UTC,
                until: DateTime::<Utc>::MIN_UTC,
                generation: 0,
                persons: 1,
                reservations: Vec::new(),
            },
        }
    }

    /// How many persons it is for, as far as its granter said.
    pub fn persons(&self) -> u16 {
        match &self.grant {
            Grant::Granted(word) => word.persons,
            Grant::Unseen | Grant::Blocked => 1,
        }
    }

    /// Whether a supervisor may let its holder in against the rules: only what is granted and
    /// neither frozen nor revoked. A freeze promised its granter that nobody enters.
    pub fn is_overridable(&self) -> bool {
        matches!(&self.grant, Grant::Granted(word) if word.state == State::Active)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word(epoch: i64, version: i64, state: State) -> Granted {
        Granted {
            epoch,
            version,
            state,
            valid_from: Minute::new(0).unwrap(),
            valid_until: Minute::new(10).unwrap(),
            generation: 0,
            persons: 1,
            document_check: false,
            rules_version: 1,
            freeze_version: i64::from(state == State::Frozen) * version,
            order: None,
            reservations: Vec::new(),
        }
    }

    fn unseen() -> Entitlement {
        Entitlement::unseen(EntitlementId(1), Union::Chongqing, 7)
    }

    #[test]
    fn only_what_is_newer_counts() {
        let mut one = unseen();
        let changed = Applied::Changed { cleared: false };
        assert_eq!(one.apply(7, word(1, 2, State::Active)), Ok(changed));
        assert_eq!(one.apply(7, word(1, 2, State::Active)), Ok(Applied::Same));
        assert_eq!(one.apply(7, word(1, 1, State::Revoked)), Ok(Applied::Stale));
        assert_eq!(one.apply(7, word(1, 3, State::Revoked)), Ok(changed));
        assert_eq!(one.apply(7, word(1, 4, State::Active)), Err(Contradiction));
        // After a restore the revocation may never have happened.
        assert_eq!(one.apply(7, word(2, 1, State::Active)), Ok(changed));
    }

    #[test]
    fn one_that_was_used_and_never_granted_is_blocked_until_somebody_answers_for_it() {
        let mut one = unseen();
        assert!(!one.block(), "never used: nothing to block");
        one.first_used_at = Some(DateTime::<Utc>::UNIX_EPOCH);
        assert!(one.block() && !one.block());
        assert_eq!((one.block_version, &one.grant), (1, &Grant::Blocked));
        let cleared = one.apply(7, word(1, 1, State::Active));
        assert_eq!(cleared, Ok(Applied::Changed { cleared: true }));
        assert_eq!(one.block_version, 2);
        assert!(!one.block(), "granted: nothing to block");
    }

    #[test]
    fn a_credential_alone_claims_nothing() {
        let mut one = Entitlement::unseen(EntitlementId(1), Union::Sichuan, 7);
        assert_eq!(one.claim(Union::Chongqing), Ok(()));
        assert_eq!(one.home, Union::Chongqing);
        one.apply(7, word(1, 1, State::Active)).unwrap();
        assert_eq!(one.claim(Union::Sichuan), Err(Contradiction));
        let mut used = unseen();
        used.first_used_at = Some(DateTime::<Utc>::UNIX_EPOCH);
        assert_eq!(used.claim(Union::Sichuan), Err(Contradiction));
    }

    #[test]
    fn a_freeze_is_answered_while_it_lasts() {
        let mut one = unseen();
        assert_eq!(one.freeze_to_answer(), None);
        one.apply(7, word(1, 3, State::Frozen)).unwrap();
        assert_eq!(one.freeze_to_answer(), Some(3));
        assert!(!one.is_overridable());
        one.apply(7, word(1, 4, State::Active)).unwrap();
        assert_eq!(one.freeze_to_answer(), None);
        assert!(one.is_overridable());
    }

    proptest! {
        /// Whatever the order and the repetition, the newest word is what is known.
        #[test]
        fn any_order_ends_with_the_newest(
            words in prop::collection::vec((1i64..3, 1i64..6), 1..20),
        ) {
            let mut one = unseen();
            for (epoch, version) in &words {
                one.apply(7, word(*epoch, *version, State::Active)).unwrap();
            }
            let newest = words.iter().copied().max().unwrap();
            let Grant::Granted(known) = one.grant else { panic!("nothing is known") };
            prop_assert_eq!((known.epoch, known.version), newest);
        }
    }
}
