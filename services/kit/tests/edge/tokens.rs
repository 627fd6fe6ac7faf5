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

/// [`now`] in seconds: small enough to be a float without loss.
const START: i32 = 1_775_008_800;

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

// Why a token is refused, for the logs: each flaw must be found as itself and not by way of
// another.
const TOO_LONG: &str = "a token that is too long";
const NO_TOKEN: &str = "no token";
const UNDECODABLE: &str = "a header that does not decode";
const FIELDS: &str = "a header with other fields than ours";
const HEADER: &str = "another algorithm, type or key id than ours";
const KEY: &str = "an unknown or retired key";
const UNVERIFIED: &str = "a token that does not verify";
const KIND: &str = "a token of another kind";
const LIFE: &str = "a token that lives too long";
const FUTURE: &str = "a token from the future";
const BACKDATED: &str = "a token that counts before it was signed";
const STEPPED_UP: &str = "a second factor that counts too long";
const RANGE: &str = "an instant out of range";

#[track_caller]
fn refused(token: &str, why: &str) {
    let answer = verify(token);
    assert!(
        matches!(answer, Err(Error::Unauthenticated(reason)) if reason == why),
        "{answer:?} for {token:.200}, and not {why}"
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
        stepped_up_until: None,
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
        refused(&token, HEADER);
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        refused(&format!("{unsigned}."), HEADER);
        refused(unsigned, HEADER);
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
        refused(&format!("{message}.{signature}"), HEADER);
    }
}

#[test]
fn another_key_is_refused() {
    for kid in [
        "1002",
        "2-1",
        "",
        "../../dev/null",
        "1001' OR '1'='1",
        "1001\u{0}",
        "1001 ",
    ] {
        refused(&signed(&with(header(), "kid", kid), &claims()), KEY);
    }
    let long = signed(&with(header(), "kid", "k".repeat(10_000)), &claims());
    refused(&long, TOO_LONG);
    let long = signed(&with(header(), "kid", "k".repeat(1_000)), &claims());
    refused(&long, HEADER);
    refused(&signed(&without(header(), "kid"), &claims()), FIELDS);
    let list = with(header(), "kid", json!(["1001"]));
    refused(&signed(&list, &claims()), FIELDS);
    for field in ["jku", "x5u", "jwk", "x5c", "crit", "zip", "b64", "cty"] {
        let other = with(header(), field, "https://example.invalid/keys");
        refused(&signed(&other, &claims()), FIELDS);
    }
    let other = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let message = signed(&header(), &claims());
    let (message, _) = message.rsplit_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(other.sign(message.as_bytes()).to_bytes());
    refused(&format!("{message}.{forged}"), UNVERIFIED);
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
    for typ in [
        "JWT",
        "jwt",
        "at+JWT",
        "id+jwt",
        "gate+jwt",
        "application/at+jwt",
        "",
    ] {
        refused(&signed(&with(header(), "typ", typ), &claims()), HEADER);
    }
    refused(&signed(&without(header(), "typ"), &claims()), FIELDS);
    for iss in [
        json!("bashu-51"),
        json!("bashu"),
        json!(""),
        json!(["bashu-50", "bashu-51"]),
        json!(["bashu-50"]),
        json!(50),
    ] {
        refused(&signed(&header(), &with(claims(), "iss", iss)), UNVERIFIED);
    }
    for aud in [
        json!("other"),
        json!(["bashu", "other"]),
        json!([]),
        json!(null),
        json!(""),
    ] {
        refused(&signed(&header(), &with(claims(), "aud", aud)), UNVERIFIED);
    }
    for kind in ["device", "gate", "Member", ""] {
        refused(&signed(&header(), &with(claims(), "kind", kind)), KIND);
    }
    // A token of the other union, with its own right names, at this one and the reverse.
    let foreign = signed(&header(), &with(claims(), "iss", "bashu-51"));
    refused(&foreign, UNVERIFIED);
    assert!(token::verify(&foreign, Union::Sichuan, &access_keys(now()), now()).is_ok());
}

#[test]
fn times_are_whole_numbers_and_within_bounds() {
    let at = now().timestamp();
    assert_eq!(at, i64::from(START));
    for (exp, why) in [
        (json!(at), LIFE),
        (json!(at - 1), LIFE),
        (json!(at + 601), LIFE),
        // Each of these would be in force, were it read leniently.
        (json!((at + 600).to_string()), UNVERIFIED),
        (json!(f64::from(START) + 300.5), UNVERIFIED),
        (json!(f64::from(START) + 300.0), UNVERIFIED),
        (json!([at + 600]), UNVERIFIED),
        (json!(-1), UNVERIFIED),
        (json!(1_000_000_000_000_000_000_i64), LIFE),
        (json!(i64::MAX), LIFE),
        (json!(u64::MAX), UNVERIFIED),
        (json!(1e300), UNVERIFIED),
        (json!(null), UNVERIFIED),
        (json!(true), UNVERIFIED),
    ] {
        refused(&signed(&header(), &with(claims(), "exp", exp)), why);
    }
    for (nbf, why) in [
        (json!(at + 6), FUTURE),
        (json!(at + 601), FUTURE),
        (json!(1_000_000_000_000_000_000_i64), FUTURE),
        (json!(at - 1), BACKDATED),
        (json!(0), BACKDATED),
        (json!(-1), UNVERIFIED),
        (json!(i64::MIN), UNVERIFIED),
        (json!(at.to_string()), UNVERIFIED),
        (json!(f64::from(START)), UNVERIFIED),
        (json!(null), UNVERIFIED),
    ] {
        refused(&signed(&header(), &with(claims(), "nbf", nbf)), why);
    }
    // Backdated, a token lives too long; postdated, it is from the future.
    for (iat, why) in [
        (json!(at - 1), LIFE),
        (json!(at + 6), FUTURE),
        (json!(-1), LIFE),
        (json!(i64::MIN), LIFE),
        (json!(at.to_string()), UNVERIFIED),
        (json!(f64::from(START)), UNVERIFIED),
    ] {
        refused(&signed(&header(), &with(claims(), "iat", iat)), why);
    }
    for name in [
        "iss", "aud", "sub", "login", "kind", "iat", "nbf", "exp", "jti",
    ] {
        refused(&signed(&header(), &without(claims(), name)), UNVERIFIED);
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

/// A token says until when a second factor counts, and never for longer than ten minutes after it
/// was signed, whoever signed it.
#[test]
fn a_second_factor_counts_for_ten_minutes() {
    let at = now().timestamp();
    let (key, kid) = signing_key();
    let key = token::SigningKey::new(kid, &key).unwrap();
    let until = |seconds| NewToken {
        stepped_up_until: Some(now() + TimeDelta::seconds(seconds)),
        ..new_token()
    };
    assert_eq!(
        verify(&signed(&header(), &claims()))
            .unwrap()
            .stepped_up_until,
        None
    );
    for seconds in [-1, 1, 600] {
        let told = verify(&token::sign(&until(seconds), &key).unwrap()).unwrap();
        assert_eq!(
            told.stepped_up_until,
            Some(now() + TimeDelta::seconds(seconds))
        );
    }
    assert!(token::sign(&until(601), &key).is_err());
    for (step_up, why) in [
        (json!(at + 601), STEPPED_UP),
        (json!(i64::MAX), STEPPED_UP),
        (json!(i64::MIN), RANGE),
        (json!((at + 1).to_string()), UNVERIFIED),
        (json!(f64::from(START) + 1.0), UNVERIFIED),
        (json!(true), UNVERIFIED),
    ] {
        refused(&signed(&header(), &with(claims(), "step_up", step_up)), why);
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let token = signed(&header(), &claims());
    let claims_text = claims().to_string();
    let doubled = claims_text.replacen('{', r#"{"sub":"00000000-0000-0000-0000-000000000001","#, 1);
    let plain = header().to_string();
    refused(&signed_text(&plain, &doubled), UNVERIFIED);
    let twice = r#"{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"1001"}"#;
    refused(&signed_text(twice, &claims_text), FIELDS);
    refused(&signed_text("null", &claims_text), FIELDS);
    refused(&signed_text(&plain, "null"), UNVERIFIED);
    refused(&signed_text(&plain, "[]"), UNVERIFIED);
    let nobody = with(claims(), "sub", "not a uuid");
    refused(&signed(&header(), &nobody), UNVERIFIED);
    for (bad, why) in [
        ("", NO_TOKEN),
        (".", FIELDS),
        ("..", FIELDS),
        ("...", FIELDS),
        ("a.b.c", UNDECODABLE),
        ("Bearer x", NO_TOKEN),
        ("eyJhbGciOiJub25lIn0..", FIELDS),
        ("\u{1F980}", NO_TOKEN),
    ] {
        refused(bad, why);
    }
    refused(&"a".repeat(1_000_000), TOO_LONG);
    refused(&format!("{token}.x"), UNVERIFIED);
    refused(&format!("{token}="), UNVERIFIED);
    let padded = with(claims(), "padding", "x".repeat(3_000));
    refused(&signed(&header(), &padded), TOO_LONG);
    // Each character of the token counts.
    for at in (0..token.len()).step_by(7) {
        let mut spoilt = token.clone().into_bytes();
        spoilt[at] = if spoilt[at] == b'A' { b'B' } else { b'A' };
        let answer = verify(&String::from_utf8(spoilt).unwrap());
        assert!(
            matches!(answer, Err(Error::Unauthenticated(_))),
            "{answer:?}"
        );
    }
}
