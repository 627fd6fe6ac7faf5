//! Every token of which somebody has once made a login: algorithm, key, type, times, audience,
//! issuer, and shape.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::Signer;
use hmac::Mac;
use kit::Error;
use kit::token::{self, AccessKey, AccessKeys, NewToken, Verified};
use kit::types::Union;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{LOGIN, MEMBER, access_keys, signing_key};

fn now() -> DateTime<Utc> {
    kit::testing::start()
}

fn verify(token: &str) -> kit::Result<Verified> {
    token::verify(token, Union::Chongqing, &access_keys(now()), now())
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "1001"})
}

fn claims() -> Value {
    let at = now().timestamp();
    json!({
        "iss": "bashu-50", "aud": "bashu", "sub": MEMBER.uuid(), "login": LOGIN.uuid(),
        "kind": "member", "iat": at, "nbf": at, "exp": at + 600, "jti": Uuid::nil(),
    })
}

fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    object[name] = value.into();
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}

/// A token with this header and these claims, signed as it should be.
fn signed(header: &Value, claims: &Value) -> String {
    signed_text(&header.to_string(), &claims.to_string())
}

fn signed_text(header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = signing_key().0.sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

#[track_caller]
fn refused(token: &str) {
    let answer = verify(token);
    assert!(
        matches!(answer, Err(Error::Unauthenticated(_))),
        "{answer:?} for {token:.200}"
    );
}

fn new_token() -> NewToken {
    NewToken {
        union: Union::Chongqing,
        member: MEMBER,
        login: LOGIN,
        id: Uuid::from_u128(1),
        issued_at: now(),
        life_seconds: 600,
    }
}

/// What the others stand on: the hand-made token is good until something in it is spoilt, and
/// so is what identity signs.
#[test]
fn a_good_token_says_who_is_signed_in() {
    let verified = verify(&signed(&header(), &claims())).unwrap();
    assert_eq!((verified.member, verified.login), (MEMBER, LOGIN));
    assert_eq!(verified.expires_at, now() + TimeDelta::seconds(600));
    let (key, kid) = signing_key();
    let key = token::SigningKey::new(kid, &key).unwrap();
    let token = token::sign(&new_token(), &key).unwrap();
    assert_eq!(verify(&token).unwrap(), verified);
    assert!(
        !format!("{key:?}").contains("[9, 9"),
        "the key is not shown"
    );
    for life_seconds in [0, -1, 601] {
        assert!(
            token::sign(
                &NewToken {
                    life_seconds,
                    ..new_token()
                },
                &key
            )
            .is_err()
        );
    }
}

#[test]
fn another_algorithm_is_refused() {
    for alg in [
        "none", "None", "nOnE", "NONE", "", "HS256", "ES256", "RS256", "Ed25519", "eddsa",
    ] {
        let token = signed(&with(header(), "alg", alg), &claims());
        refused(&token);
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        refused(&format!("{unsigned}."));
        refused(unsigned);
    }
    // The public key as an HMAC secret, in the forms in which it can be had.
    let public = signing_key().0.verifying_key().to_bytes();
    for secret in [
        public.to_vec(),
        hex::encode(public).into_bytes(),
        STANDARD.encode(public).into(),
    ] {
        let head = URL_SAFE_NO_PAD.encode(with(header(), "alg", "HS256").to_string());
        let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()));
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
        mac.update(message.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        refused(&format!("{message}.{signature}"));
    }
}

#[test]
fn another_key_is_refused() {
    let long = "k".repeat(10_000);
    for kid in [
        "1002",
        "2-1",
        "",
        "../../dev/null",
        "1001' OR '1'='1",
        "1001\u{0}",
        "1001 ",
        &long,
    ] {
        refused(&signed(&with(header(), "kid", kid), &claims()));
    }
    refused(&signed(&without(header(), "kid"), &claims()));
    refused(&signed(&with(header(), "kid", json!(["1001"])), &claims()));
    for field in ["jku", "x5u", "jwk", "x5c", "crit", "zip", "b64", "cty"] {
        refused(&signed(
            &with(header(), field, "https://example.invalid/keys"),
            &claims(),
        ));
    }
    let other = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let message = signed(&header(), &claims());
    let (message, _) = message.rsplit_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(other.sign(message.as_bytes()).to_bytes());
    refused(&format!("{message}.{forged}"));
}

/// Both keys verify while one replaces the other, then the old one is dead, and a key set
/// without a key is dead at once.
#[test]
fn keys_come_and_go() {
    let token = signed(&header(), &claims());
    let public = signing_key().0.verifying_key().to_bytes();
    let key = |kid: &str, from: i64, to: i64| AccessKey {
        kid: kid.to_owned(),
        public,
        not_before: now() + TimeDelta::seconds(from),
        not_after: now() + TimeDelta::seconds(to),
    };
    let check = |keys: &AccessKeys| token::verify(&token, Union::Chongqing, keys, now()).is_ok();
    let keys = AccessKeys::new([key("1001", -60, 1), key("1002", -1, 60)]);
    assert!(check(&keys));
    keys.replace([key("1001", -60, 0), key("1002", -1, 60)]);
    assert!(!check(&keys), "retired");
    keys.replace([key("1001", 1, 60)]);
    assert!(!check(&keys), "not yet");
    let clone = keys.clone();
    keys.replace([key("1001", -1, 60)]);
    assert!(check(&clone), "a clone sees the refresh");
    assert!(
        token::verify(&token, Union::Sichuan, &keys, now()).is_err(),
        "what was found good for one union is not for the other"
    );
    let mut another = key("1001", -1, 60);
    another.public = ed25519_dalek::SigningKey::from_bytes(&[77; 32])
        .verifying_key()
        .to_bytes();
    keys.replace([another]);
    assert!(!check(&keys), "another key under the same id");
    keys.replace([]);
    assert!(!check(&clone) && !clone.is_loaded());
}

#[test]
fn another_type_issuer_audience_or_kind_is_refused() {
    for typ in ["JWT", "jwt", "at+JWT", "id+jwt", "application/at+jwt", ""] {
        refused(&signed(&with(header(), "typ", typ), &claims()));
    }
    refused(&signed(&without(header(), "typ"), &claims()));
    for iss in [
        json!("bashu-51"),
        json!("bashu"),
        json!(""),
        json!(["bashu-50", "bashu-51"]),
        json!(["bashu-50"]),
        json!(50),
    ] {
        refused(&signed(&header(), &with(claims(), "iss", iss)));
    }
    for aud in [
        json!("other"),
        json!(["bashu", "other"]),
        json!([]),
        json!(null),
        json!(""),
    ] {
        refused(&signed(&header(), &with(claims(), "aud", aud)));
    }
    for kind in ["device", "gate", "Member", ""] {
        refused(&signed(&header(), &with(claims(), "kind", kind)));
    }
    // A token of the other union, with its own right names, at this one and the reverse.
    let foreign = signed(&header(), &with(claims(), "iss", "bashu-51"));
    refused(&foreign);
    assert!(token::verify(&foreign, Union::Sichuan, &access_keys(now()), now()).is_ok());
}

#[test]
fn times_are_whole_numbers_and_within_bounds() {
    let at = now().timestamp();
    for exp in [
        json!(at),
        json!(at - 1),
        json!(at + 601),
        json!(at.to_string()),
        json!("9999999999"),
        json!(1.5e9),
        json!(600.5 + 1.775e9),
        json!(-1),
        json!(1_000_000_000_000_000_000_i64),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!(null),
        json!([at + 600]),
        json!(true),
    ] {
        refused(&signed(&header(), &with(claims(), "exp", exp)));
    }
    for nbf in [
        json!(at + 6),
        json!(at + 601),
        json!(at.to_string()),
        json!(0.5),
        json!(null),
    ] {
        refused(&signed(&header(), &with(claims(), "nbf", nbf)));
    }
    // Backdated, a token lives too long; postdated, it is from the future.
    for iat in [
        json!(at - 1),
        json!(at + 6),
        json!(-1),
        json!(i64::MIN),
        json!("0"),
        json!(0.0),
    ] {
        refused(&signed(&header(), &with(claims(), "iat", iat)));
    }
    for name in [
        "iss", "aud", "sub", "login", "kind", "iat", "nbf", "exp", "jti",
    ] {
        refused(&signed(&header(), &without(claims(), name)));
    }
    let ahead = with(with(claims(), "iat", at + 5), "nbf", at + 5);
    assert!(
        verify(&signed(&header(), &ahead)).is_ok(),
        "five seconds are skew"
    );
    let token = signed(&header(), &claims());
    let keys = access_keys(now());
    for (later, good) in [(599, true), (600, false), (604, false)] {
        let then = now() + TimeDelta::seconds(later);
        let answer = token::verify(&token, Union::Chongqing, &keys, then);
        assert_eq!(answer.is_ok(), good, "{later} s later");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let token = signed(&header(), &claims());
    let claims_text = claims().to_string();
    let doubled = claims_text.replacen('{', r#"{"sub":"00000000-0000-0000-0000-000000000001","#, 1);
    refused(&signed_text(&header().to_string(), &doubled));
    refused(&signed_text(
        r#"{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"1001"}"#,
        &claims_text,
    ));
    refused(&signed_text("null", &claims_text));
    refused(&signed_text(&header().to_string(), "null"));
    refused(&signed_text(&header().to_string(), "[]"));
    refused(&signed(&header(), &with(claims(), "sub", "not a uuid")));
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "Bearer x",
        "eyJhbGciOiJub25lIn0..",
        "\u{1F980}",
    ] {
        refused(bad);
    }
    refused(&"a".repeat(1_000_000));
    refused(&format!("{token}.x"));
    refused(&format!("{token}="));
    refused(&signed(
        &header(),
        &with(claims(), "padding", "x".repeat(3_000)),
    ));
    // Each character of the token counts.
    for at in (0..token.len()).step_by(7) {
        let mut spoilt = token.clone().into_bytes();
        spoilt[at] = if spoilt[at] == b'A' { b'B' } else { b'A' };
        refused(&String::from_utf8(spoilt).unwrap());
    }
}
