//! When a signing key is announced, signs, and is believed.
//!
//! A key signs only after everyone had time to learn of it, and is believed until the last token
//! it signed has ended. Two purposes with their own rhythm: entry keys live a quarter and more,
//! since gates may be without a network for days; access keys overlap by an hour.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::mint;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Credentials, shown at gates.
    Entry,
    /// Access tokens, shown to services.
    Access,
}

impl Purpose {
    pub const ALL: [Self; 2] = [Self::Entry, Self::Access];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Access => "access",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
    }

    /// How long before its first use a key is announced.
    pub const fn announcement(self) -> TimeDelta {
        match self {
            Self::Entry => TimeDelta::hours(48),
            Self::Access => TimeDelta::hours(1),
        }
    }

    /// How long a key signs: a quarter.
    pub const fn signing(self) -> TimeDelta {
        TimeDelta::days(92)
    }

    /// How long a key is believed after it last signed.
    pub fn overlap(self) -> TimeDelta {
        match self {
            Self::Entry => mint::life_max() + TimeDelta::days(1),
            Self::Access => TimeDelta::hours(1),
        }
    }
}

/// Whether a key signs, or is only believed, or not even that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Retired,
    Revoked,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Active, Self::Retired, Self::Revoked];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A key's place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub number: u16,
    pub purpose: Purpose,
    pub state: State,
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
    /// Whether a signed key set names it.
    pub published: bool,
}

/// What a rotation does: the new key, and the ends of those it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub new: Span,
    /// The older keys of this purpose that end earlier now.
    pub shortened: Vec<Span>,
}

/// The next key of a purpose. The first one is good at once, for there is nobody to tell.
///
/// `keys` are all keys of both purposes.
pub fn rotate(keys: &[Span], purpose: Purpose, now: DateTime<Utc>) -> Rotation {
    let now = now.duration_trunc(TimeDelta::seconds(1)).unwrap_or(now);
    let number = keys.iter().map(|key| key.number).max().unwrap_or(0) + 1;
    let mine = || {
        keys.iter()
            .filter(|key| key.purpose == purpose && key.state == State::Active)
    };
    let not_before = if mine().any(|key| key.not_after > now) {
        now + purpose.announcement()
    } else {
        now
    };
    let new = Span {
        number,
        purpose,
        state: State::Active,
        not_before,
        not_after: not_before + purpose.signing() + purpose.overlap(),
        published: false,
    };
    let end = not_before + purpose.overlap();
    let shortened = mine()
        .filter(|key| key.not_after > end && key.not_before < end)
        .map(|key| Span {
            not_after: end,
            ..*key
        })
        .collect();
    Rotation { new, shortened }
}

/// The key that signs now: the youngest that was announced and has begun. What it signs ends with
/// it at the latest, see [`mint::Entitlement::token`].
pub fn signing_key(keys: &[Span], purpose: Purpose, now: DateTime<Utc>) -> Option<Span> {
    keys.iter()
        .filter(|key| key.purpose == purpose && key.state == State::Active && key.published)
        .filter(|key| key.not_before <= now && now < key.not_after)
        .max_by_key(|key| key.not_before)
        .copied()
}

/// Whether it is time to make the next key: the youngest one will soon have signed for a quarter.
pub fn is_due(keys: &[Span], purpose: Purpose, now: DateTime<Utc>) -> bool {
    keys.iter()
        .filter(|key| key.purpose == purpose && key.state == State::Active)
        .map(|key| key.not_before + purpose.signing() - purpose.announcement())
        .max()
        .is_none_or(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_775_008_800 + hours * 3_600, 0).unwrap()
    }

    fn turn(keys: &mut Vec<Span>, purpose: Purpose, now: DateTime<Utc>) {
        let rotation = rotate(keys, purpose, now);
        for change in rotation.shortened {
            *keys
                .iter_mut()
                .find(|key| key.number == change.number)
                .unwrap() = change;
        }
        keys.push(Span {
            published: true,
            ..rotation.new
        });
    }

    #[test]
    fn a_new_key_is_announced_before_it_signs_and_the_old_one_dies_an_hour_after() {
        let mut keys = Vec::new();
        turn(&mut keys, Purpose::Access, at(0));
        assert_eq!(
            signing_key(&keys, Purpose::Access, at(0)).unwrap().number,
            1
        );
        turn(&mut keys, Purpose::Access, at(10));
        let signs = |hours| signing_key(&keys, Purpose::Access, at(hours)).map(|key| key.number);
        assert_eq!((signs(10), signs(11)), (Some(1), Some(2)));
        assert_eq!(keys[0].not_after, at(12));
    }

    #[test]
    fn an_entry_key_is_believed_until_its_last_credential_has_ended() {
        let mut keys = Vec::new();
        turn(&mut keys, Purpose::Entry, at(0));
        turn(&mut keys, Purpose::Entry, at(1_000));
        let last_signed = keys[1].not_before;
        assert!(keys[0].not_after >= last_signed + mint::life_max());
    }

    #[test]
    fn what_nobody_was_told_of_signs_nothing() {
        let made = rotate(&[], Purpose::Entry, at(0)).new;
        assert_eq!(signing_key(&[made], Purpose::Entry, at(1)), None);
        let revoked = Span {
            published: true,
            state: State::Revoked,
            ..made
        };
        assert_eq!(signing_key(&[revoked], Purpose::Entry, at(1)), None);
    }

    #[test]
    fn numbers_are_never_used_twice() {
        let mut keys = Vec::new();
        for round in 0..6 {
            for purpose in Purpose::ALL {
                turn(&mut keys, purpose, at(round * 100));
            }
        }
        let mut numbers: Vec<u16> = keys.iter().map(|key| key.number).collect();
        numbers.dedup();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn a_rotation_comes_due_once_a_quarter() {
        let mut keys = Vec::new();
        assert!(is_due(&keys, Purpose::Entry, at(0)));
        turn(&mut keys, Purpose::Entry, at(0));
        assert!(!is_due(&keys, Purpose::Entry, at(24 * 89)));
        assert!(is_due(&keys, Purpose::Entry, at(24 * 90)));
    }
}
