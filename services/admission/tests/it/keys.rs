//! The keys that credentials are signed with here, and those of the other union.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use credential::keyset::{Algorithm, Issuer, Key, KeyId, KeySet, KeyState, Purpose};
use credential::token::{Claims, Token};
use ed25519_dalek::SigningKey;
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::{Replica, Roots};

use crate::world::{SCOPE, World, record};

pub(crate) const ROOT: [u8; 32] = [1; 32];
pub(crate) const ENTRY: [u8; 32] = [2; 32];
/// The root and the entry key of the other union.
const NEIGHBOUR_ROOT: [u8; 32] = [11; 32];
const NEIGHBOUR: [u8; 32] = [12; 32];

pub(crate) fn roots() -> Roots {
    let root = |secret| SigningKey::from_bytes(&secret).verifying_key();
    Roots::from([
        (Issuer::Chongqing, root(ROOT)),
        (Issuer::Sichuan, root(NEIGHBOUR_ROOT)),
    ])
}

pub(crate) fn kid(issuer: Issuer, number: u16) -> KeyId {
    KeyId::new(issuer, number).unwrap()
}

fn entry_key(kid: KeyId, secret: [u8; 32], now: DateTime<Utc>) -> Key {
    Key {
        kid,
        algorithm: Algorithm::Ed25519,
        public: SigningKey::from_bytes(&secret).verifying_key(),
        purpose: Purpose::Entry,
        not_before: now - TimeDelta::days(30),
        not_after: now + TimeDelta::days(120),
        scopes: BTreeSet::new(),
        state: KeyState::Active,
    }
}

pub(crate) fn key_set(now: DateTime<Utc>) -> KeySet {
    let key = |number, secret, state, scopes| Key {
        scopes,
        state,
        ..entry_key(kid(Issuer::Chongqing, number), secret, now)
    };
    let keys = vec![
        key(1, ENTRY, KeyState::Active, BTreeSet::new()),
        key(2, [3; 32], KeyState::Revoked, BTreeSet::new()),
        key(3, [4; 32], KeyState::Active, BTreeSet::from([SCOPE + 1])),
    ];
    KeySet::new(1, Issuer::Chongqing, keys).unwrap()
}

pub(crate) fn published(set: &KeySet, root: [u8; 32], union: i32) -> Record {
    let signed = set.sign(&SigningKey::from_bytes(&root));
    let event = proto::identity::KeySetPublished {
        version: 1,
        key_set: signed.bytes,
        root_signature: signed.root_signature.to_vec(),
        union,
    };
    record("bashu.identity.v1.KeySetPublished", 1, 1, &event)
}

impl World {
    /// The keys of the other union become known here.
    pub(crate) async fn know_the_neighbour(&self) {
        let key = entry_key(kid(Issuer::Sichuan, 1), NEIGHBOUR, self.now());
        let set = KeySet::new(1, Issuer::Sichuan, vec![key]).unwrap();
        let record = published(&set, NEIGHBOUR_ROOT, 51);
        self.ctx()
            .db
            .tx("neighbour", async |tx| {
                Replica::new(roots())
                    .apply(tx, std::slice::from_ref(&record))
                    .await
            })
            .await
            .unwrap();
        self.admission.keys.load(&self.ctx().db).await.unwrap();
    }

    /// A token of the other union.
    pub(crate) fn neighbours(&self, id: u64) -> String {
        let claims = Claims {
            kid: kid(Issuer::Sichuan, 1),
            ..self.claims(id)
        };
        Token::new(claims)
            .unwrap()
            .sign(&SigningKey::from_bytes(&NEIGHBOUR))
    }
}
