//! `cy1.json`: keys, key sets, tokens and what becomes of each text at a gate.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use credential::base45;
use credential::keyset::{
    Algorithm, Issuer, Key, KeyId, KeySet, KeyState, Purpose, SignedKeySet, TestIssuer,
};
use credential::token::{
    self, Claims, DocumentTag, Flags, GroupSize, Holder, Kind, Minute, PREFIX, Token, idtag,
};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde_json::{Value, json};

use super::{hold, instant, list, load, number, shanghai, text};

const NOW: &str = "2026-04-02T10:00:00+08:00";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn kid(issuer: Issuer, number: u16) -> KeyId {
    KeyId::new(issuer, number).expect("twelve bits")
}

/// Key number n is made from the seed of 32 bytes n: 1 signs for all, 2 for scope 8 alone, 3 is
/// retired, 4 revoked, 5 for access tokens, 6 not valid yet, 7 no longer.
fn key(number: u16) -> Key {
    let (from, until) = match number {
        6 => ("2026-07-01T00:00:00+08:00", "2026-12-01T00:00:00+08:00"),
        7 => ("2025-10-01T00:00:00+08:00", NOW),
        _ => ("2026-01-01T00:00:00+08:00", "2026-06-01T00:00:00+08:00"),
    };
    Key {
        kid: kid(Issuer::Chongqing, number),
        algorithm: Algorithm::Ed25519,
        public: signing(u8::try_from(number).expect("a small number")).verifying_key(),
        purpose: if number == 5 {
            Purpose::Access
        } else {
            Purpose::Entry
        },
        not_before: at(from),
        not_after: at(until),
        scopes: if number == 2 {
            BTreeSet::from([8])
        } else {
            BTreeSet::new()
        },
        state: match number {
            3 => KeyState::Retired,
            4 => KeyState::Revoked,
            _ => KeyState::Active,
        },
    }
}

fn key_set() -> KeySet {
    KeySet::new(9, Issuer::Chongqing, (1..=7).map(key).collect()).expect("a set")
}

fn claims(number: u16) -> Claims {
    Claims {
        kind: Kind::Pass,
        kid: kid(Issuer::Chongqing, number),
        entitlement_id: 0x0123_4567_89AB_CDEF,
        scope: 7,
        valid_from: Minute::floor(at("2026-04-01T00:00:00+08:00")).expect("after 2024"),
        valid_until: Minute::floor(at("2026-05-06T00:00:00+08:00")).expect("before 2055"),
        flags: Flags {
            document_check: false,
            rotating_required: false,
        },
        generation: 3,
        holder: Holder::Document(DocumentTag::from_bits(0x0ABC).expect("twelve bits")),
        home_gate: 0,
    }
}

fn signed(claims: Claims, seed: u8) -> String {
    Token::new(claims).expect("a token").sign(&signing(seed))
}

fn holder(holder: Holder) -> Value {
    match holder {
        Holder::Bearer => Value::Null,
        Holder::Document(tag) => json!({ "document_tag": tag.bits() }),
        Holder::Group { persons } => json!({ "persons": persons.get() }),
    }
}

fn claims_json(claims: &Claims) -> Value {
    json!({
        "kind": claims.kind.code(),
        "kid": claims.kid.to_string(),
        "entitlement_id": format!("{:016x}", claims.entitlement_id),
        "scope": claims.scope,
        "valid_from": shanghai(claims.valid_from.instant()),
        "valid_until": shanghai(claims.valid_until.instant()),
        "document_check": claims.flags.document_check,
        "rotating_required": claims.flags.rotating_required,
        "generation": claims.generation,
        "holder": holder(claims.holder),
        "home_gate": claims.home_gate,
    })
}

/// What a gate makes of a text: the claims, or the reason.
fn read(text: &str, keys: &KeySet, now: DateTime<Utc>) -> Value {
    let verified = token::parse(text)
        .map_err(|error| error.reason())
        .and_then(|signed| signed.verify(keys, now).map_err(|error| error.reason()));
    match verified {
        Ok(token) => json!({ "claims": claims_json(token.claims()) }),
        Err(reason) => json!({ "reason": reason.code() }),
    }
}

/// A ticket with every field at its end.
fn ticket() -> Claims {
    Claims {
        kind: Kind::Ticket,
        flags: Flags {
            document_check: true,
            rotating_required: true,
        },
        home_gate: 255,
        generation: 255,
        scope: u32::MAX,
        entitlement_id: u64::MAX,
        ..claims(1)
    }
}

fn accepted() -> Vec<(&'static str, String)> {
    let flags = Flags {
        document_check: true,
        rotating_required: false,
    };
    let card = Claims {
        valid_until: Minute::MAX,
        flags,
        ..claims(1)
    };
    let holder = Holder::Group {
        persons: GroupSize::new(200).expect("a group"),
    };
    let group = Claims {
        kind: Kind::Group,
        holder,
        ..claims(1)
    };
    let bearer = Claims {
        holder: Holder::Bearer,
        ..claims(1)
    };
    vec![
        ("a pass", signed(claims(1), 1)),
        (
            "a key restricted to its scope",
            signed(
                Claims {
                    scope: 8,
                    ..claims(2)
                },
                2,
            ),
        ),
        ("a retired key", signed(claims(3), 3)),
        ("a bearer", signed(bearer, 1)),
        ("a group", signed(group, 1)),
        ("a printed card", signed(card, 1)),
        (
            "a ticket with a rotating code and a home gate",
            signed(ticket(), 1),
        ),
    ]
}

fn refused_keys() -> Vec<(&'static str, String)> {
    let other = |issuer| Claims {
        kid: kid(issuer, 1),
        ..claims(1)
    };
    vec![
        ("a key for another scope", signed(claims(2), 2)),
        ("a revoked key", signed(claims(4), 4)),
        ("a key for access tokens", signed(claims(5), 5)),
        ("a key that is not valid yet", signed(claims(6), 6)),
        ("a key that is no longer valid", signed(claims(7), 7)),
        ("a key that is not in the set", signed(claims(8), 8)),
        ("another key under a known id", signed(claims(1), 2)),
        (
            "the other union's issuer nibble",
            signed(other(Issuer::Sichuan), 1),
        ),
        ("the test issuer's nibble", signed(other(Issuer::Test), 1)),
    ]
}

fn refused_texts() -> Vec<(&'static str, String)> {
    let good = Token::new(claims(1)).expect("a token").signed(&signing(1));
    let (bytes, text) = (good.bytes(), good.text());
    let formed = |bytes: &[u8]| format!("{PREFIX}{}", base45::encode(bytes));
    let with = |index: usize, value: u8| {
        let mut other = bytes;
        other[index] = value;
        formed(&other)
    };
    vec![
        ("an empty text", String::new()),
        ("lower case", text.to_lowercase()),
        ("a line break behind", format!("{text}\n")),
        ("no prefix", text[PREFIX.len()..].to_owned()),
        ("a later prefix", text.replacen("CY1", "CY2", 1)),
        ("one byte short", formed(&bytes[..91])),
        ("one byte long", formed(&[&bytes[..], &[0]].concat())),
        (
            "the rotating form",
            formed(&[&bytes[..], &[0; 12]].concat()),
        ),
        (
            "a base45 group that overflows",
            format!("{PREFIX}:::{}", &text[7..]),
        ),
        ("version 0", with(0, 0x01)),
        ("version 2", with(0, 0x21)),
        ("an unknown kind", with(0, 0x1F)),
        ("an unknown flag", with(21, 0x04)),
        ("unknown holder bits", with(23, 0x80)),
        ("a pass with a group's count", with(25, 0x20)),
        ("a window that ends before it begins", with(18, 0)),
        ("a life of more than 35 days", with(18, 0xFF)),
        ("another generation than was signed", with(22, 4)),
        ("another signature", with(91, bytes[91] ^ 1)),
        ("a payment code", "134567890123456789".to_owned()),
        ("a text of 4,096 characters", "A".repeat(4096)),
    ]
}

/// What the file must say.
fn expected() -> Value {
    let root = signing(100);
    let set = key_set().sign(&root);
    let cases: Vec<Value> = [accepted(), refused_keys(), refused_texts()]
        .concat()
        .into_iter()
        .map(|(name, text)| {
            json!({ "name": name, "text": text, "expect": read(&text, &key_set(), at(NOW)) })
        })
        .collect();
    let tags: Vec<Value> = [
        (1, "500103199003071239", 1, "00"),
        (1, "500103199003071239", 2, "00"),
        (2, "500103199003071239", 1, "00"),
        (
            1,
            "11010519491231002X",
            u64::MAX,
            "000102030405060708090a0b0c0d0e0f",
        ),
    ]
    .into_iter()
    .map(|(kind, number, id, key)| {
        let bytes = hex::decode(key).expect("hexadecimal");
        json!({
            "document_type": kind, "number": number, "entitlement_id": format!("{id:016x}"),
            "key_hex": key, "document_tag": idtag(kind, number, id, &bytes).bits(),
        })
    })
    .collect();
    json!({
        "about": "CY1 tokens in their static form. Signing key n is the Ed25519 key of the seed \
                  of 32 bytes n; the root's seed is 32 bytes 100. Each text is read at `now` \
                  with the key set: the outcome is the claims or the reason.",
        "now": NOW,
        "root_public_hex": hex::encode(root.verifying_key().as_bytes()),
        "key_set": {
            "bytes_hex": hex::encode(&set.bytes),
            "root_signature_hex": hex::encode(set.root_signature),
        },
        "tokens": cases,
        "document_tags": tags,
    })
}

/// The file says what this implementation does.
#[test]
fn the_tokens_are_golden() {
    hold("cy1.json", &expected());
}

/// Read as somebody else would, from the file alone: the root's signature holds, and every text
/// gives its outcome; what is accepted and refused is as each name says.
#[test]
fn the_golden_tokens_read_from_the_file_alone() {
    let file = load("cy1.json");
    let bytes = |value: &Value, field: &str| hex::decode(text(value, field)).expect("hexadecimal");
    let root: [u8; 32] = bytes(&file, "root_public_hex").try_into().expect("a key");
    let root = VerifyingKey::from_bytes(&root).expect("a key");
    let signature = bytes(&file["key_set"], "root_signature_hex").try_into();
    let set = SignedKeySet {
        bytes: bytes(&file["key_set"], "bytes_hex"),
        root_signature: signature.expect("a signature"),
    };
    let keys = set.verify(&root, TestIssuer::Refuse).expect("a key set");
    assert_eq!(keys, key_set());

    let cases = list(&file, "tokens");
    let (good, bad) = cases.split_at(accepted().len());
    assert!(good.iter().all(|case| case["expect"]["claims"].is_object()));
    assert!(bad.iter().all(|case| case["expect"]["reason"].is_string()));
    for case in cases {
        let outcome = read(text(case, "text"), &keys, instant(&file, "now"));
        assert_eq!(outcome, case["expect"], "{}", text(case, "name"));
    }
    for case in list(&file, "document_tags") {
        let id = u64::from_str_radix(text(case, "entitlement_id"), 16).expect("an id");
        let key = bytes(case, "key_hex");
        let tag = idtag(
            number(case, "document_type"),
            text(case, "number"),
            id,
            &key,
        );
        assert_eq!(tag.bits(), number::<u16>(case, "document_tag"));
    }
}
