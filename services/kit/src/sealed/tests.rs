//! What opens, and that nothing else does.

use chrono::TimeDelta;

use super::*;
use crate::token::AccessKey;

const LIFE: i64 = 300;

struct Parties {
    ids: Ids,
    now: DateTime<Utc>,
    private: PrivateKey,
    signing: SigningKey,
    keys: AccessKeys,
}

fn private(byte: u8) -> PrivateKey {
    PrivateKey::parse(&STANDARD.encode([byte; KEY_BYTES]).into()).unwrap()
}

fn parties() -> Parties {
    let now = DateTime::from_timestamp(1_775_008_800, 0).unwrap();
    let signing = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let keys = AccessKeys::new([AccessKey {
        kid: "k1".to_owned(),
        public: signing.verifying_key().to_bytes(),
        not_before: now - TimeDelta::days(1),
        not_after: now + TimeDelta::days(1),
    }]);
    Parties {
        ids: Ids::seeded(1),
        now,
        private: private(7),
        signing: SigningKey::new("k1".to_owned(), &signing).unwrap(),
        keys,
    }
}

impl Parties {
    fn fresh(&self) -> NewSealed<'static> {
        NewSealed {
            union: Union::Chongqing,
            audience: "billing",
            member: MemberId(Uuid::from_u128(3)),
            id: Uuid::from_u128(4),
            issued_at: self.now,
            life_seconds: LIFE,
            text: "wx1\noUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        }
    }

    fn seal(&self) -> String {
        seal(
            &self.ids,
            self.fresh(),
            &self.private.public(),
            &self.signing,
        )
        .unwrap()
    }

    fn opener(&self) -> Opener<'_> {
        Opener {
            union: Union::Chongqing,
            audience: "billing",
            key: &self.private,
            access_keys: &self.keys,
        }
    }
}

/// It opens for its service, until its time is over, and shows nothing before.
#[test]
fn a_word_opens_for_its_service_in_time() {
    let parties = parties();
    let word = parties.seal();
    let opened = open(&word, parties.opener(), parties.now).unwrap();
    assert_eq!(opened.text.as_str(), parties.fresh().text);
    assert_eq!(opened.member, parties.fresh().member);
    assert_eq!(opened.id, parties.fresh().id);
    assert_eq!(opened.expires_at, parties.now + TimeDelta::seconds(LIFE));
    for part in word.split('.') {
        let shown = URL_SAFE_NO_PAD.decode(part).unwrap();
        assert!(!String::from_utf8_lossy(&shown).contains("oUpF8"));
    }
    assert!(!format!("{opened:?} {:?}", parties.fresh()).contains("oUpF8"));
    assert_ne!(word, parties.seal(), "sealed anew, it is another");
    let last = parties.now + TimeDelta::seconds(LIFE - 1);
    assert!(open(&word, parties.opener(), last).is_ok());
    let over = parties.now + TimeDelta::seconds(LIFE);
    assert_eq!(
        open(&word, parties.opener(), over).unwrap_err(),
        NotOpened::Expired
    );
    let early = parties.now - TimeDelta::seconds(CLOCK_SKEW_SECONDS_MAX + 1);
    assert_eq!(
        open(&word, parties.opener(), early).unwrap_err(),
        NotOpened::Invalid
    );
}

/// Another service, another union, another key and a changed word open nothing.
#[test]
fn nothing_else_opens() {
    let parties = parties();
    let word = parties.seal();
    let refused = |word: &str, opener: Opener<'_>| {
        open(word, opener, parties.now).unwrap_err() == NotOpened::Invalid
    };
    let other = private(8);
    let none = AccessKeys::default();
    for opener in [
        Opener {
            audience: "passes",
            ..parties.opener()
        },
        Opener {
            union: Union::Sichuan,
            ..parties.opener()
        },
        Opener {
            key: &other,
            ..parties.opener()
        },
        Opener {
            access_keys: &none,
            ..parties.opener()
        },
    ] {
        assert!(refused(&word, opener), "{opener:?}");
    }
    let parts: Vec<&str> = word.split('.').collect();
    let mut claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    claims["sub"] = serde_json::json!(Uuid::from_u128(9));
    let forged = URL_SAFE_NO_PAD.encode(claims.to_string());
    let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
    for bad in [
        "",
        ".",
        "a.b.c",
        &word[1..],
        &forged,
        &"a".repeat(SEALED_BYTES_MAX + 1),
    ] {
        assert!(refused(bad, parties.opener()), "{bad:.40}");
    }
    // Whoever knows the public key can seal, and not sign: another's key is not in force.
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[6; 32]);
    let stranger = SigningKey::new("k1".to_owned(), &stranger).unwrap();
    let public = parties.private.public();
    let word = seal(&parties.ids, parties.fresh(), &public, &stranger).unwrap();
    assert!(refused(&word, parties.opener()));
}

/// An access token is no sealed word, though the same key signs both; nor the other way round.
#[test]
fn it_is_no_access_token() {
    let parties = parties();
    let verified = crate::token::verify(
        &parties.seal(),
        Union::Chongqing,
        &parties.keys,
        parties.now,
    );
    assert!(verified.is_err());
    let token = crate::token::NewToken {
        union: Union::Chongqing,
        member: MemberId(Uuid::from_u128(3)),
        login: crate::types::LoginId(Uuid::from_u128(1)),
        id: Uuid::from_u128(4),
        issued_at: parties.now,
        life_seconds: LIFE,
        stepped_up_until: None,
    };
    let token = crate::token::sign(&token, &parties.signing).unwrap();
    let opened = open(&token, parties.opener(), parties.now);
    assert_eq!(opened.unwrap_err(), NotOpened::Invalid);
}

#[test]
fn what_is_no_key_or_no_word_is_refused() {
    let parties = parties();
    for bad in ["", "AAAA", "not base64", &STANDARD.encode([1; 33])] {
        assert!(PublicKey::parse(bad).is_none(), "{bad}");
        assert!(PrivateKey::parse(&bad.into()).is_none(), "{bad}");
    }
    let public = parties.private.public();
    assert_eq!(PublicKey::parse(&public.text()), Some(public.clone()));
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    for new in [
        NewSealed {
            life_seconds: 0,
            ..parties.fresh()
        },
        NewSealed {
            life_seconds: SEALED_SECONDS_MAX + 1,
            ..parties.fresh()
        },
        NewSealed {
            text: &long,
            ..parties.fresh()
        },
    ] {
        assert!(
            seal(&parties.ids, new, &public, &parties.signing).is_err(),
            "{new:?}"
        );
    }
}
