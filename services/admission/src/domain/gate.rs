//! A gate is a key at a door. An operator or supervisor makes it and is given a one-time code;
//! the device shows the code and its own public key and is bound. Binding again raises the
//! enrolment number, which ends the old key at once.
//!
//! The code is `SSSSSSSS-CCCCCCCCCCCC`: a selector that finds the gate and a secret that proves
//! the right to bind it. The secret has 60 random bits, lives for minutes, dies after
//! [`CODE_ATTEMPTS_MAX`] wrong tries and is kept as a hash that the caller computes.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::{GateId, VenueId};

use crate::error::Refusal;

/// How long a code can be used, in minutes.
pub const CODE_MINUTES: i64 = 30;
/// Wrong secrets after which a code is dead.
pub const CODE_ATTEMPTS_MAX: i16 = 5;
/// Gates of one venue, at most: a credential names its home gate in eight bits.
pub const GATES_MAX: i16 = 255;
const SELECTOR_CHARS: usize = 8;
const SECRET_CHARS: usize = 12;
/// Random bytes that make a code.
pub const CODE_BYTES: usize = SELECTOR_CHARS + SECRET_CHARS;
/// Crockford's: without I, L, O and U, which people mistake.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A gate of a venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub id: GateId,
    pub version: i64,
    pub venue: VenueId,
    /// 1 to 255 within the venue.
    pub number: u8,
    pub name: String,
    /// Nobody stands at it: where staff must look at somebody, it asks and does not open.
    pub unattended: bool,
    pub disabled: bool,
    /// `None` before a device was bound.
    pub key: Option<GateKey>,
    /// The code that binds the next device.
    pub code: Option<PendingCode>,
}

/// What people say of a gate that they make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Details<'a> {
    pub name: &'a str,
    pub unattended: bool,
}

/// The bound device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateKey {
    /// Counts the devices bound so far.
    pub enrolment: i32,
    /// Ed25519.
    pub public: [u8; 32],
    pub since: DateTime<Utc>,
}

/// A code that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCode {
    pub selector: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    pub expires_at: DateTime<Utc>,
    pub attempts: i16,
    /// It was used to bind the present key: the same key may ask again when the answer was lost.
    pub used: bool,
}

/// What became of an attempt to bind a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// The key is bound.
    Bound(Gate),
    /// The same code bound the same key before.
    Already(Gate),
    /// A wrong secret, which counts.
    Wrong(Gate),
}

impl Gate {
    /// Gives out a new code; an older one is dead.
    #[must_use]
    pub fn with_code(self, code: &Code, now: DateTime<Utc>) -> Self {
        let pending = PendingCode {
            selector: code.selector.clone(),
            hash: code.secret_hash,
            expires_at: now + TimeDelta::minutes(CODE_MINUTES),
            attempts: 0,
            used: false,
        };
        Self {
            code: Some(pending),
            version: self.version + 1,
            ..self
        }
    }

    /// Binds a device that shows a code.
    ///
    /// # Errors
    /// [`Refusal::EnrolmentCodeExpired`] when the code is too old, was tried too often or was used
    /// by another key.
    pub fn enrol(
        self,
        code: &Code,
        public: [u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Enrolled, Refusal> {
        let Some(pending) = self
            .code
            .clone()
            .filter(|one| one.attempts < CODE_ATTEMPTS_MAX)
        else {
            return Err(Refusal::EnrolmentCodeExpired);
        };
        if pending.hash != code.secret_hash {
            let code = Some(PendingCode {
                attempts: pending.attempts + 1,
                ..pending
            });
            return Ok(Enrolled::Wrong(Self { code, ..self }));
        }
        let same = self.key.as_ref().is_some_and(|key| key.public == public);
        if pending.used && same {
            return Ok(Enrolled::Already(self));
        }
        if pending.used || now >= pending.expires_at {
            return Err(Refusal::EnrolmentCodeExpired);
        }
        let enrolment = self.key.as_ref().map_or(0, |key| key.enrolment) + 1;
        Ok(Enrolled::Bound(Self {
            key: Some(GateKey {
                enrolment,
                public,
                since: now,
            }),
            code: Some(PendingCode {
                used: true,
                ..pending
            }),
            version: self.version + 1,
            ..self
        }))
    }

    /// Switches it off or on; `None` when it is so already.
    pub fn switched(self, disabled: bool) -> Option<Self> {
        (self.disabled != disabled).then(|| Self {
            disabled,
            version: self.version + 1,
            ..self
        })
    }
}

/// A code as typed at the device, its secret hashed already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub selector: String,
    pub secret_hash: [u8; 32],
}

/// Splits a typed code into selector and secret; `None` when it has not the shape of one. Case,
/// spaces and dashes do not matter, and letters are read as Crockford reads them.
pub fn split_code(typed: &str) -> Option<(String, String)> {
    let mut plain = String::with_capacity(CODE_BYTES);
    for c in typed.chars().filter(|c| !matches!(c, ' ' | '-')) {
        let c = match c.to_ascii_uppercase() {
            'I' | 'L' => '1',
            'O' => '0',
            other => other,
        };
        let known = u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte));
        if !known || plain.len() == CODE_BYTES {
            return None;
        }
        plain.push(c);
    }
    if plain.len() != CODE_BYTES {
        return None;
    }
    let secret = plain.split_off(SELECTOR_CHARS);
    Some((plain, secret))
}

/// Selector and secret of a new code, of that many random bytes.
pub fn new_code(random: [u8; CODE_BYTES]) -> (String, String) {
    let text = |bytes: &[u8]| -> String {
        bytes
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
            .collect()
    };
    (
        text(&random[..SELECTOR_CHARS]),
        text(&random[SELECTOR_CHARS..]),
    )
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-04-01T02:00:00Z".parse().unwrap()
    }

    fn code(secret: u8) -> Code {
        Code {
            selector: "S".to_owned(),
            secret_hash: [secret; 32],
        }
    }

    fn gate() -> Gate {
        Gate {
            id: GateId(Uuid::from_u128(1)),
            version: 1,
            venue: VenueId(Uuid::from_u128(2)),
            number: 1,
            name: "北门".to_owned(),
            unattended: false,
            disabled: false,
            key: None,
            code: None,
        }
        .with_code(&code(7), now())
    }

    #[test]
    fn a_code_binds_one_key_once_and_answers_the_same_key_again() {
        let Ok(Enrolled::Bound(bound)) = gate().enrol(&code(7), [1; 32], now()) else {
            panic!("not bound")
        };
        assert_eq!(bound.key.as_ref().map(|key| key.enrolment), Some(1));
        let late = now() + TimeDelta::days(9);
        assert!(matches!(
            bound.clone().enrol(&code(7), [1; 32], late),
            Ok(Enrolled::Already(_))
        ));
        let other = bound.clone().enrol(&code(7), [2; 32], now());
        assert_eq!(other, Err(Refusal::EnrolmentCodeExpired));
        let again = bound
            .with_code(&code(8), now())
            .enrol(&code(8), [2; 32], now());
        let Ok(Enrolled::Bound(again)) = again else {
            panic!("not bound again")
        };
        assert_eq!(
            again.key.map(|key| (key.enrolment, key.public)),
            Some((2, [2; 32]))
        );
    }

    #[test]
    fn a_code_dies_with_time_and_with_wrong_tries() {
        let end = now() + TimeDelta::minutes(CODE_MINUTES);
        assert_eq!(
            gate().enrol(&code(7), [1; 32], end),
            Err(Refusal::EnrolmentCodeExpired)
        );
        let just = end - TimeDelta::microseconds(1);
        assert!(matches!(
            gate().enrol(&code(7), [1; 32], just),
            Ok(Enrolled::Bound(_))
        ));
        let mut tried = gate();
        for _ in 0..CODE_ATTEMPTS_MAX {
            let Ok(Enrolled::Wrong(next)) = tried.enrol(&code(9), [1; 32], now()) else {
                panic!("a wrong secret did not count")
            };
            tried = next;
        }
        assert_eq!(
            tried.enrol(&code(7), [1; 32], now()),
            Err(Refusal::EnrolmentCodeExpired)
        );
    }

    #[test]
    fn codes_read_as_people_type_them() {
        let (selector, secret) = new_code(std::array::from_fn(|n| u8::try_from(n * 13).unwrap()));
        let typed = format!(" {}-{} ", selector.to_lowercase(), secret);
        assert_eq!(split_code(&typed), Some((selector, secret)));
        assert_eq!(split_code("ol1i0000-000000000000").unwrap().0, "01110000");
        for bad in [
            "",
            "0",
            "U0000000-000000000000",
            &"0".repeat(21),
            &"中".repeat(20),
        ] {
            assert_eq!(split_code(bad), None, "{bad}");
        }
    }
}
