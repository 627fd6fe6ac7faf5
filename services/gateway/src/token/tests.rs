//! Each flaw of a token alone, with all else right, is enough to refuse it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use super::{Caller, Keys, TOKENS_MAX, TokenFlaw, Tokens};
use crate::config::Union;

const NOW_S: u64 = 1_800_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn token(header: &Value, claims: &Value, key: &SigningKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).to_bytes());
    format!("{signed}.{signature}")
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k1" })
}

fn claims() -> Value {
    json!({
        "iss": "bashu-50", "aud": "bashu", "sub": "m1", "login": "l1",
        "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 600,
    })
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

fn checked(token: &str) -> Result<Caller, TokenFlaw> {
    let keys = Keys::from([("k1".to_owned(), key(1).verifying_key())]);
    Tokens::new(Union::Chongqing).check(token, &keys, NOW_S)
}

/// A good token names the login; without one, the member stands for it.
#[test]
fn a_good_token_names_its_login() {
    let good = token(&header(), &claims(), &key(1));
    assert_eq!(
        checked(&good),
        Ok(Caller {
            login: "l1".to_owned()
        })
    );
    let plain = token(&header(), &without(claims(), "login"), &key(1));
    assert_eq!(
        checked(&plain),
        Ok(Caller {
            login: "m1".to_owned()
        })
    );
}

/// Headers that choose another algorithm, type or place to look for a key.
#[test]
fn bad_headers_are_refused() {
    use TokenFlaw::{Header, Malformed, UnknownKey};
    let flawed = [
        (with(header(), "alg", json!("none")), Header),
        (with(header(), "alg", json!("None")), Header),
        (with(header(), "alg", json!("nOnE")), Header),
        (with(header(), "alg", json!("HS256")), Header),
        (with(header(), "alg", json!("ES256")), Header),
        (with(header(), "alg", json!("eddsa")), Header),
        (with(header(), "typ", json!("JWT")), Header),
        (with(header(), "typ", json!("gate+jwt")), Header),
        (with(header(), "typ", json!("application/at+jwt")), Header),
        (without(header(), "typ"), Malformed),
        (without(header(), "kid"), Malformed),
        (with(header(), "kid", json!("")), Malformed),
        (with(header(), "kid", json!("k2")), UnknownKey),
        (with(header(), "kid", json!("../../dev/null")), UnknownKey),
        (with(header(), "kid", json!("k1' OR '1'='1")), UnknownKey),
        (with(header(), "kid", json!("k".repeat(1_000))), Malformed),
        (with(header(), "kid", json!("k".repeat(10_000))), Malformed),
        (with(header(), "kid", json!(1)), Malformed),
        (
            with(header(), "jku", json!("http://evil.invalid/keys")),
            Malformed,
        ),
        (
            with(header(), "x5u", json!("http://evil.invalid/keys")),
            Malformed,
        ),
        (with(header(), "jwk", json!({ "kty": "OKP" })), Malformed),
        (with(header(), "crit", json!(["exp"])), Malformed),
    ];
    for (header, flaw) in flawed {
        let answer = checked(&token(&header, &claims(), &key(1)));
        assert_eq!(answer, Err(flaw), "{header}");
    }
}

/// Claims of another union, another purpose or another time, and numbers that are none.
#[test]
fn bad_claims_are_refused() {
    use TokenFlaw::{Malformed, Purpose, Time};
    let ages = json!(1_000_000_000_000_000_000_u64);
    let flawed = [
        (with(claims(), "iss", json!("bashu-51")), Purpose),
        (with(claims(), "iss", json!("bashu-50 ")), Purpose),
        (without(claims(), "iss"), Malformed),
        (with(claims(), "aud", json!("other")), Purpose),
        (with(claims(), "aud", json!(["bashu", "other"])), Malformed),
        (with(claims(), "aud", json!(["bashu"])), Malformed),
        (without(claims(), "aud"), Malformed),
        (with(claims(), "sub", json!("")), Purpose),
        (without(claims(), "sub"), Malformed),
        (without(claims(), "exp"), Malformed),
        (with(claims(), "exp", json!(NOW_S)), Time),
        (with(claims(), "exp", json!(NOW_S - 1)), Time),
        // Both would be in force, were they read leniently.
        (
            with(claims(), "exp", json!((NOW_S + 600).to_string())),
            Malformed,
        ),
        (with(claims(), "exp", json!(1_800_000_300.5)), Malformed),
        (with(claims(), "exp", json!(-1)), Malformed),
        (with(claims(), "exp", ages.clone()), Time),
        (with(claims(), "exp", json!(NOW_S + 606)), Time),
        (with(claims(), "exp", Value::Null), Malformed),
        (with(claims(), "nbf", json!(NOW_S + 6)), Time),
        (with(claims(), "nbf", ages), Time),
        (with(claims(), "nbf", json!(-1)), Malformed),
        (with(claims(), "nbf", json!(NOW_S.to_string())), Malformed),
        (with(claims(), "nbf", json!(1_800_000_000.0)), Malformed),
        (with(claims(), "iat", json!(NOW_S + 6)), Time),
        (with(claims(), "iat", json!(NOW_S.to_string())), Malformed),
    ];
    for (claims, flaw) in flawed {
        let answer = checked(&token(&header(), &claims, &key(1)));
        assert_eq!(answer, Err(flaw), "{claims}");
    }
}

/// A signature by another key, none at all, one that is cut, and a body that was changed.
#[test]
fn bad_signatures_are_refused() {
    let good = token(&header(), &claims(), &key(1));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = token(&header(), &with(claims(), "sub", json!("m2")), &key(1));
    let (other_signed, _) = other.rsplit_once('.').unwrap();
    let flawed = [
        (token(&header(), &claims(), &key(2)), TokenFlaw::Signature),
        (format!("{signed}."), TokenFlaw::Signature),
        (signed.to_owned(), TokenFlaw::Malformed),
        (
            format!("{signed}.{}", &signature[..80]),
            TokenFlaw::Signature,
        ),
        (format!("{signed}.{signature}="), TokenFlaw::Malformed),
        (format!("{good}.{signature}"), TokenFlaw::Signature),
        (format!("{other_signed}.{signature}"), TokenFlaw::Signature),
        (format!(" {good}"), TokenFlaw::Malformed),
        (format!("{good}\n"), TokenFlaw::Malformed),
        (String::new(), TokenFlaw::Malformed),
        (".".to_owned(), TokenFlaw::Malformed),
        ("..".to_owned(), TokenFlaw::Malformed),
        ("a.b.c".to_owned(), TokenFlaw::Malformed),
    ];
    for (token, flaw) in flawed {
        assert_eq!(checked(&token), Err(flaw), "{token:?}");
    }
}

/// The same field twice: readers disagree on which one counts, so neither does.
#[test]
fn a_field_written_twice_is_refused() {
    let twice = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1","kid":"k2"}"#;
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(twice),
        URL_SAFE_NO_PAD.encode(claims().to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(key(1).sign(signed.as_bytes()).to_bytes());
    assert_eq!(
        checked(&format!("{signed}.{signature}")),
        Err(TokenFlaw::Malformed)
    );
}

/// What is remembered is the signature alone: a token's time runs out, and its key's withdrawal
/// ends it, though it was found good before.
#[test]
fn a_remembered_token_ends_with_its_time_and_its_key() {
    let tokens = Tokens::new(Union::Chongqing);
    let good = token(&header(), &claims(), &key(1));
    let keys = |id: &str, seed| Keys::from([(id.to_owned(), key(seed).verifying_key())]);
    for _ in 0..2 {
        assert!(tokens.check(&good, &keys("k1", 1), NOW_S + 599).is_ok());
        let late = tokens.check(&good, &keys("k1", 1), NOW_S + 600);
        assert_eq!(late, Err(TokenFlaw::Time));
        let early = tokens.check(&good, &keys("k1", 1), NOW_S - 6);
        assert_eq!(early, Err(TokenFlaw::Time));
        let withdrawn = tokens.check(&good, &keys("k2", 1), NOW_S);
        assert_eq!(withdrawn, Err(TokenFlaw::UnknownKey));
        let exchanged = tokens.check(&good, &keys("k1", 2), NOW_S);
        assert_eq!(exchanged, Err(TokenFlaw::Signature));
    }
    let (signed, _) = good.rsplit_once('.').unwrap();
    let forged = token(&header(), &claims(), &key(2));
    let (_, signature) = forged.rsplit_once('.').unwrap();
    let mixed = tokens.check(&format!("{signed}.{signature}"), &keys("k1", 1), NOW_S);
    assert_eq!(mixed, Err(TokenFlaw::Signature));
}

/// Memory stays bounded: what has ended makes room, and without room a token is verified again.
#[test]
fn no_more_tokens_are_remembered_than_there_is_room_for() {
    let tokens = Tokens::new(Union::Chongqing);
    let keys = Keys::from([("k1".to_owned(), key(1).verifying_key())]);
    let good = token(&header(), &claims(), &key(1));
    assert!(tokens.check(&good, &keys, NOW_S).is_ok());
    let one = tokens.all().values().next().unwrap().clone();
    for number in 1..TOKENS_MAX {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        tokens.all().insert(digest, one.clone());
    }
    let later = with(claims(), "exp", json!(NOW_S + 605));
    let later = token(&header(), &later, &key(1));
    assert!(tokens.check(&later, &keys, NOW_S).is_ok());
    assert_eq!(tokens.all().len(), TOKENS_MAX);
    assert!(tokens.check(&later, &keys, NOW_S + 600).is_ok());
    assert_eq!(tokens.all().len(), 1);
}
