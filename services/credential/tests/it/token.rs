//! The token against everything a scanner may read (the inputs that concern the static form) and
//! against every key it might name.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use credential::base45;
use credential::keyset::{Algorithm, Issuer, Key, KeyId, KeySet, KeyState, Purpose};
use credential::rules::Reason;
use credential::token::{
    self, ClaimError, Claims, DocumentTag, Flags, GroupSize, Holder, Kind, LIFETIME_MINUTES_MAX,
    Minute, PREFIX, ParseError, Signed, TEXT_CHARS, TOKEN_BYTES, Token, VerifyError,
};
use ed25519_dalek::SigningKey;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

fn now() -> DateTime<Utc> {
    at("2026-04-02T10:00:00+08:00")
}

fn signing() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn kid(issuer: Issuer, number: u16) -> KeyId {
    KeyId::new(issuer, number).expect("twelve bits")
}

fn claims() -> Claims {
    let from = Minute::floor(now()).expect("after 2024");
    Claims {
        kind: Kind::Pass,
        kid: kid(Issuer::Chongqing, 1),
        entitlement_id: 0x0123_4567_89AB_CDEF,
        scope: 7,
        valid_from: from,
        valid_until: Minute::new(from.get() + LIFETIME_MINUTES_MAX).expect("before 2055"),
        flags: Flags {
            document_check: false,
            rotating_required: false,
        },
        generation: 3,
        holder: Holder::Document(DocumentTag::of(1, "500103199003071239", 1, b"key")),
        home_gate: 0,
    }
}

fn signed(claims: Claims) -> Signed {
    Token::new(claims).expect("a token").signed(&signing())
}

fn entry_key() -> Key {
    Key {
        kid: kid(Issuer::Chongqing, 1),
        algorithm: Algorithm::Ed25519,
        public: signing().verifying_key(),
        purpose: Purpose::Entry,
        not_before: now() - TimeDelta::days(1),
        not_after: now() + TimeDelta::days(120),
        scopes: BTreeSet::new(),
        state: KeyState::Active,
    }
}

fn keys(key: Key) -> KeySet {
    let issuer = key.kid.issuer().expect("a known issuer");
    KeySet::new(1, issuer, vec![key]).expect("a set")
}

/// The text has the length that the QR version was chosen for, is alphanumeric to a QR encoder,
/// and reads back as the same token for every kind and every limit of its fields.
#[test]
fn a_token_reads_back() {
    let card = Flags {
        document_check: true,
        rotating_required: true,
    };
    let group = Holder::Group {
        persons: GroupSize::new(4095).expect("a group"),
    };
    let max = Minute::MAX;
    let mut all: Vec<Claims> = Kind::ALL
        .into_iter()
        .filter(|kind| *kind != Kind::Group)
        .map(|kind| Claims { kind, ..claims() })
        .collect();
    all.push(Claims {
        kind: Kind::Group,
        holder: group,
        ..claims()
    });
    all.push(Claims {
        holder: Holder::Bearer,
        home_gate: 255,
        generation: 255,
        ..claims()
    });
    all.push(Claims {
        valid_until: max,
        flags: card,
        scope: u32::MAX,
        ..claims()
    });
    all.push(Claims {
        entitlement_id: u64::MAX,
        kid: kid(Issuer::Test, 0x0FFF),
        ..claims()
    });
    for claims in all {
        let signed = signed(claims);
        let text = signed.text();
        assert_eq!(text.len(), TEXT_CHARS);
        assert!(
            text.bytes()
                .all(|byte| b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:".contains(&byte))
        );
        assert_eq!(token::parse(&text), Ok(signed));
        assert_eq!(Signed::from_bytes(&signed.bytes()), Ok(signed));
        assert_eq!(*signed.unverified().claims(), claims);
        assert_eq!(text, Token::new(claims).expect("a token").sign(&signing()));
    }
}

/// No flip of any of the 736 bits leaves a token that verifies.
#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = signed(claims()).bytes();
    let keys = keys(entry_key());
    assert!(
        Signed::from_bytes(&bytes)
            .expect("a token")
            .verify(&keys, now())
            .is_ok()
    );
    let mut reasons = BTreeSet::new();
    for bit in 0..TOKEN_BYTES * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let reason = match token::parse(&format!("{PREFIX}{}", base45::encode(&flipped))) {
            Err(error) => error.reason(),
            Ok(signed) => signed
                .verify(&keys, now())
                .expect_err("a flipped bit")
                .reason(),
        };
        let _ = reasons.insert(reason);
    }
    let expected = [
        Reason::BadFormat,
        Reason::UnknownVersion,
        Reason::UnknownKey,
        Reason::BadSignature,
    ];
    assert_eq!(reasons, BTreeSet::from(expected));
}

/// Whatever is not exactly a token's text is refused, with the reason why.
#[test]
fn other_texts_are_refused() {
    let good = signed(claims()).text();
    let bytes = signed(claims()).bytes();
    let text = |bytes: &[u8]| format!("{PREFIX}{}", base45::encode(bytes));
    let with = |index: usize, value: u8| {
        let mut other = bytes;
        other[index] = value;
        text(&other)
    };
    let body = &good[PREFIX.len()..];
    let bad = Reason::BadFormat;
    let version = Reason::UnknownVersion;
    let cases = [
        (String::new(), bad),
        (PREFIX.to_owned(), bad),
        (body.to_owned(), bad),
        (good.to_lowercase(), bad),
        (format!("{PREFIX}{}", body.to_lowercase()), bad),
        (format!("{good}\n"), bad),
        (format!(" {good}"), bad),
        (good[..TEXT_CHARS - 1].to_owned(), bad),
        (text(&bytes[..TOKEN_BYTES - 1]), bad),
        (text(&bytes[..28]), bad),
        (text(&[&bytes[..], &[0]].concat()), bad),
        (format!("{PREFIX}:::{}", &body[3..]), bad),
        (format!("{PREFIX}{}é", &body[..body.len() - 2]), bad),
        (format!("CY2:{body}"), version),
        (format!("CY0:{body}"), bad),
        (with(0, 0x01), version),
        (with(0, 0x21), version),
        (text(&[&bytes[..], &[0; 12]].concat()), version),
        (with(0, 0x10), bad),
        (with(0, 0x17), bad),
        (with(21, 0b100), bad),
        (with(23, 1), bad),
        (with(0, 0x16), bad),
        ("A".repeat(4096), bad),
        (format!("{PREFIX}{}", "A".repeat(4092)), bad),
        ("川".repeat(50), bad),
        // A pretix ticket, a digital COVID certificate, a WeChat payment code and an order link.
        ("h5xq8sdwnn2qkj9cyvfzq4tfqjdeudxv".to_owned(), bad),
        (
            "HC1:6BFOXN*TS0BI$ZD4N9:9S6RCVN5+O30K3/XIV0W23NTDE".to_owned(),
            bad,
        ),
        ("134567890123456789".to_owned(), bad),
        (
            "weixin://wxpay/bizpayurl?pr=NwY5Mz9&groupid=00".to_owned(),
            bad,
        ),
    ];
    for (text, reason) in cases {
        let error = token::parse(&text).expect_err(&text);
        assert_eq!(error.reason(), reason, "{text:?}: {error}");
    }
}

/// Errors are told apart, so that a log says what was wrong.
#[test]
fn parse_errors_are_distinct() {
    let bytes = signed(claims()).bytes();
    let parse = |change: &dyn Fn(&mut [u8; TOKEN_BYTES])| {
        let mut other = bytes;
        change(&mut other);
        Signed::from_bytes(&other).expect_err("not a token")
    };
    assert_eq!(Signed::from_bytes(&[]), Err(ParseError::Length(0)));
    assert_eq!(
        Signed::from_bytes(&bytes[..91]),
        Err(ParseError::Length(91))
    );
    assert_eq!(parse(&|bytes| bytes[0] = 0x01), ParseError::UnknownVersion);
    assert_eq!(parse(&|bytes| bytes[0] = 0x1F), ParseError::UnknownKind(15));
    assert_eq!(parse(&|bytes| bytes[21] |= 0x80), ParseError::UnknownFlag);
    assert_eq!(parse(&|bytes| bytes[23] = 0x80), ParseError::UnknownHolder);
    let swap = |bytes: &mut [u8; TOKEN_BYTES]| bytes.copy_within(18..21, 15);
    assert_eq!(parse(&swap), ParseError::Claims(ClaimError::EmptyWindow));
    let endless = |bytes: &mut [u8; TOKEN_BYTES]| bytes[18..21].fill(0xFF);
    assert_eq!(
        parse(&endless),
        ParseError::Claims(ClaimError::LifetimeTooLong)
    );
    let group = |bytes: &mut [u8; TOKEN_BYTES]| bytes[0] = 0x16;
    assert_eq!(
        parse(&group),
        ParseError::Claims(ClaimError::HolderOfOtherKind)
    );
    assert_eq!(token::parse(&"A".repeat(161)), Err(ParseError::TooLong));
    assert_eq!(
        token::parse("134567890123456789"),
        Err(ParseError::OtherCode)
    );
}

type Change = fn(&mut Key);

/// What becomes of a good token once its key is changed so.
fn verify_with(change: Change) -> Option<VerifyError> {
    let mut key = entry_key();
    change(&mut key);
    signed(claims()).verify(&keys(key), now()).err()
}

/// The key must be one that may sign this token at this time.
#[test]
fn only_the_right_key_verifies() {
    let cases: [(Change, VerifyError); 8] = [
        (
            |key| key.kid = kid(Issuer::Sichuan, 1),
            VerifyError::OtherIssuer,
        ),
        (
            |key| key.kid = kid(Issuer::Test, 1),
            VerifyError::OtherIssuer,
        ),
        (
            |key| key.kid = kid(Issuer::Chongqing, 2),
            VerifyError::UnknownKey,
        ),
        (
            |key| key.purpose = Purpose::Access,
            VerifyError::OtherPurpose,
        ),
        (|key| key.state = KeyState::Revoked, VerifyError::KeyRevoked),
        (
            |key| key.not_before = now() + TimeDelta::seconds(1),
            VerifyError::KeyTooEarly,
        ),
        (|key| key.not_after = now(), VerifyError::KeyTooLate),
        (
            |key| key.scopes = BTreeSet::from([8]),
            VerifyError::ScopeNotAllowed,
        ),
    ];
    for (change, error) in cases {
        assert_eq!(verify_with(change), Some(error));
        assert_eq!(error.reason(), Reason::UnknownKey);
    }
    assert_eq!(verify_with(|_| {}), None);
    assert_eq!(verify_with(|key| key.state = KeyState::Retired), None);
    assert_eq!(verify_with(|key| key.scopes = BTreeSet::from([7, 8])), None);
}

/// Another environment's key under the same id did not sign it, and an issuer nibble that nobody
/// has, or the other union's, does not find the key that did.
#[test]
fn a_stranger_does_not_verify() {
    let foreign = |key: &mut Key| key.public = SigningKey::from_bytes(&[8; 32]).verifying_key();
    assert_eq!(verify_with(foreign), Some(VerifyError::BadSignature));
    for bits in [0x0001, 0x3001, 0x2001, 0xF001] {
        let stranger = signed(Claims {
            kid: KeyId::from_bits(bits),
            ..claims()
        });
        assert_eq!(
            stranger.verify(&keys(entry_key()), now()),
            Err(VerifyError::OtherIssuer)
        );
    }
}

/// A signature made for something else is none for a token: the context is part of what is signed.
#[test]
fn a_signature_without_the_context_is_none() {
    use ed25519_dalek::Signer as _;
    let mut bytes = signed(claims()).bytes();
    let signature = signing().sign(&bytes[..28]).to_bytes();
    bytes[28..].copy_from_slice(&signature);
    let other = Signed::from_bytes(&bytes).expect("the form of a token");
    assert_eq!(
        other.verify(&keys(entry_key()), now()),
        Err(VerifyError::BadSignature)
    );
}

/// A signature with its scalar raised by the group's order holds by a lax check and not by ours,
/// so that one use has one text.
#[test]
fn a_signature_cannot_be_rewritten() {
    const ORDER: [u8; 32] = [
        0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = signed(claims()).bytes();
    let mut carry = 0;
    for (byte, order) in bytes[60..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    let other = Signed::from_bytes(&bytes).expect("the form of a token");
    assert_eq!(
        other.verify(&keys(entry_key()), now()),
        Err(VerifyError::BadSignature)
    );
}

/// A token lives for 35 days at most, a printed card with document check as long as its pass.
#[test]
fn lifetimes_are_bounded() {
    let from = claims().valid_from;
    let until = |minutes| Minute::new(from.get() + minutes).expect("before 2055");
    let flags = Flags {
        document_check: true,
        rotating_required: false,
    };
    let too_long = Claims {
        valid_until: until(LIFETIME_MINUTES_MAX + 1),
        ..claims()
    };
    assert_eq!(Token::new(too_long), Err(ClaimError::LifetimeTooLong));
    assert!(Token::new(Claims { flags, ..too_long }).is_ok());
    let empty = Claims {
        valid_until: from,
        ..claims()
    };
    assert_eq!(Token::new(empty), Err(ClaimError::EmptyWindow));
}

/// Minutes count from 2024-01-01T00:00+08:00 and end in 2055.
#[test]
fn minutes_are_counted_in_shanghai() {
    assert_eq!(
        Minute::floor(at("2024-01-01T00:00:59+08:00")),
        Minute::new(0)
    );
    assert_eq!(
        Minute::floor(at("2024-01-02T00:00:00+08:00")),
        Minute::new(1440)
    );
    assert_eq!(Minute::floor(at("2023-12-31T23:59:59+08:00")), None);
    let last = Minute::MAX.instant();
    assert_eq!(last, at("2055-11-24T20:15:00+08:00"));
    assert_eq!(Minute::floor(last), Some(Minute::MAX));
    assert_eq!(Minute::floor(last + TimeDelta::minutes(1)), None);
    assert_eq!(Minute::new(0x0100_0000), None);
}
