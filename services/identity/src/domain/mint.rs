//! What a credential says, from the entitlement as it is known now. Minting stores nothing: the
//! same entitlement gives another credential each time it is asked for.

use chrono::{DateTime, TimeDelta, Utc};
use credential::keyset::KeyId;
use credential::token::{
    Claims, Flags, GroupSize, Holder, Kind, LIFETIME_MINUTES_MAX, Minute, Token,
};
use kit::types::{EntitlementId, MemberId};

/// How long a credential made at a desk for a dead phone lives, in minutes.
pub const DESK_MINUTES: u32 = 10;

/// Whether an entitlement can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Frozen,
    Revoked,
}

/// The right of one person to enter, as its granter last described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entitlement {
    pub id: EntitlementId,
    pub member: MemberId,
    pub kind: Kind,
    pub state: State,
    /// Admission waits in vain for its grant: it is on the list of the revoked.
    pub blocked: bool,
    pub scope: u32,
    /// Half-open, in minutes since 2024-01-01 00:00 +08:00.
    pub valid_from: Minute,
    pub valid_until: Minute,
    pub generation: u8,
    pub document_check: bool,
    pub persons: u16,
}

/// Where a credential is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The holder's own phone, which asks for a new one whenever it likes.
    Phone,
    /// The screen of venue staff, for a holder whose phone is dead.
    Desk,
}

/// The key that signs a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer {
    pub kid: KeyId,
    /// From then on no gate believes it.
    pub not_after: DateTime<Utc>,
}

impl Entitlement {
    /// Whether a credential would say anything: it is not taken away and not over.
    pub fn is_usable(&self, now: DateTime<Utc>) -> bool {
        self.state == State::Active && !self.blocked && now < self.valid_until.instant()
    }

    /// The token to be signed; `None` when there is nothing to show. A pass that begins soon has
    /// a token already, which begins with it. It ends with the key that signs it at the latest: one
    /// that nobody replaced in time signs for less and less, never for what a gate would refuse.
    /// `person` is who shows the code.
    pub fn token(
        &self,
        carrier: Carrier,
        person: Holder,
        signer: Signer,
        now: DateTime<Utc>,
    ) -> Option<Token> {
        if !self.is_usable(now) {
            return None;
        }
        let now = Minute::floor(now)?;
        let life = match carrier {
            Carrier::Phone => LIFETIME_MINUTES_MAX,
            Carrier::Desk => DESK_MINUTES,
        };
        let valid_from = self.valid_from.max(now);
        if carrier == Carrier::Desk && valid_from > now {
            return None;
        }
        let believed_until = Minute::floor(signer.not_after)?;
        let end = Minute::new(now.get() + life)
            .unwrap_or(Minute::MAX)
            .min(believed_until);
        let group = self.kind == Kind::Group;
        let holder = if group {
            Holder::Group {
                persons: GroupSize::new(self.persons)?,
            }
        } else {
            person
        };
        Token::new(Claims {
            kind: self.kind,
            kid: signer.kid,
            entitlement_id: self.id.0,
            scope: self.scope,
            valid_from,
            valid_until: end.min(self.valid_until),
            flags: Flags {
                document_check: self.document_check || carrier == Carrier::Desk,
                rotating_required: false,
            },
            generation: self.generation,
            holder,
            home_gate: 0,
        })
        .ok()
    }
}

/// The first instant at which a token made now must still verify is this far ahead, at most.
pub fn life_max() -> TimeDelta {
    TimeDelta::minutes(i64::from(LIFETIME_MINUTES_MAX))
}

#[cfg(test)]
mod tests {
    use credential::keyset::Issuer;
    use uuid::Uuid;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-04-01T02:00:30Z".parse().unwrap()
    }

    fn entitlement() -> Entitlement {
        let from = Minute::floor(now() - TimeDelta::days(10)).unwrap();
        Entitlement {
            id: EntitlementId(42),
            member: MemberId(Uuid::from_u128(1)),
            kind: Kind::Pass,
            state: State::Active,
            blocked: false,
            scope: 7,
            valid_from: from,
            valid_until: Minute::new(from.get() + 365 * 24 * 60).unwrap(),
            generation: 3,
            document_check: false,
            persons: 1,
        }
    }

    fn token(entitlement: &Entitlement, carrier: Carrier) -> Option<Token> {
        token_by(entitlement, carrier, TimeDelta::days(60))
    }

    /// Signed by a key that is believed for so long still.
    fn token_by(it: &Entitlement, carrier: Carrier, believed: TimeDelta) -> Option<Token> {
        let signer = Signer {
            kid: KeyId::new(Issuer::Chongqing, 1).unwrap(),
            not_after: now() + believed,
        };
        it.token(carrier, Holder::Bearer, signer, now())
    }

    #[test]
    fn nothing_is_shown_longer_than_its_key_is_believed() {
        let it = entitlement();
        let end = |believed| token_by(&it, Carrier::Phone, believed).map(|it| it.valid_until());
        let days = now() + TimeDelta::days(9);
        assert_eq!(end(TimeDelta::days(9)), Some(days - TimeDelta::seconds(30)));
        assert_eq!(end(TimeDelta::seconds(29)), None);
        let desk = token_by(&it, Carrier::Desk, TimeDelta::minutes(4)).unwrap();
        assert!(desk.valid_until() <= now() + TimeDelta::minutes(4));
        let later = Entitlement {
            valid_from: Minute::floor(now() + TimeDelta::days(10)).unwrap(),
            ..it
        };
        assert!(token_by(&later, Carrier::Phone, TimeDelta::days(10)).is_none());
    }

    #[test]
    fn a_phone_shows_at_most_thirty_five_days_of_the_window() {
        let token_of = |days: i64| {
            let mut it = entitlement();
            it.valid_until = Minute::floor(now() + TimeDelta::days(days)).unwrap();
            token(&it, Carrier::Phone)
        };
        let long = token_of(100).unwrap();
        assert_eq!(long.valid_until() - long.valid_from(), TimeDelta::days(35));
        let short = token_of(3).unwrap();
        assert_eq!(short.valid_until() - short.valid_from(), TimeDelta::days(3));
        assert_eq!(short.claims().generation, 3);
        assert!(token_of(0).is_none());
    }

    #[test]
    fn what_begins_later_is_shown_already_but_not_at_a_desk() {
        let mut later = entitlement();
        later.valid_from = Minute::floor(now() + TimeDelta::days(5)).unwrap();
        let shown = token(&later, Carrier::Phone).unwrap();
        assert_eq!(shown.claims().valid_from, later.valid_from);
        assert_eq!(
            shown.valid_until() - shown.valid_from(),
            TimeDelta::days(30)
        );
        assert!(token(&later, Carrier::Desk).is_none());
        later.valid_from = Minute::floor(now() + TimeDelta::days(35)).unwrap();
        assert!(token(&later, Carrier::Phone).is_none());
    }

    #[test]
    fn a_desk_shows_ten_minutes_and_asks_for_the_document() {
        let shown = token(&entitlement(), Carrier::Desk).unwrap();
        assert_eq!(
            shown.valid_until() - shown.valid_from(),
            TimeDelta::minutes(10)
        );
        assert!(shown.claims().flags.document_check);
        assert!(
            !token(&entitlement(), Carrier::Phone)
                .unwrap()
                .claims()
                .flags
                .document_check
        );
    }

    #[test]
    fn nothing_is_shown_of_what_was_taken_away() {
        for change in [
            |it: &mut Entitlement| it.state = State::Frozen,
            |it: &mut Entitlement| it.state = State::Revoked,
            |it: &mut Entitlement| it.blocked = true,
        ] {
            let mut it = entitlement();
            change(&mut it);
            assert!(token(&it, Carrier::Phone).is_none());
            assert!(token(&it, Carrier::Desk).is_none());
        }
    }

    #[test]
    fn a_group_shows_its_size_and_no_document() {
        let group = Entitlement {
            kind: Kind::Group,
            persons: 40,
            ..entitlement()
        };
        assert_eq!(token(&group, Carrier::Phone).unwrap().persons(), 40);
    }
}
