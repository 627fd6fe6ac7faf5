//! How long a gate takes for one scan: `cargo run -p credential --example measure`.
//!
//! Prints the mean time to sign, to parse and verify, and to decide, in microseconds. The
//! cryptographic crates are optimised in every build profile; the rest only in release.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::num::NonZeroU16;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use credential::dates::{DateRange, Span, add_days, date_of};
use credential::keyset::{Algorithm, Issuer, Key, KeyId, KeySet, KeyState, Purpose};
use credential::rules::{
    Direction, DocumentReading, EntitlementFacts, Form, History, Mode, Presented, Province, Rules,
    Scan, Standing, Use, VenueFacts, VenueId, VenueLimits, decide,
};
use credential::token::{self, Claims, Flags, Holder, Kind, Minute, Token};
use ed25519_dalek::SigningKey;

const ROUNDS: u32 = 5_000;

fn measure(what: &str, mut act: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        act();
    }
    let each_us = start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    println!("{what:<44} {each_us:>8.1} µs");
}

fn key_set(kid: KeyId, signing: &SigningKey, now: DateTime<Utc>) -> KeySet {
    let key = Key {
        kid,
        algorithm: Algorithm::Ed25519,
        public: signing.verifying_key(),
        purpose: Purpose::Entry,
        not_before: now - TimeDelta::days(1),
        not_after: now + TimeDelta::days(120),
        scopes: BTreeSet::new(),
        state: KeyState::Active,
    };
    KeySet::new(1, Issuer::Test, vec![key]).expect("a set")
}

fn rules(now: DateTime<Utc>) -> Rules {
    let blackout = |offset| {
        let start = add_days(date_of(now), offset).expect("within the calendar");
        DateRange::lasting(start, Span::Days(7)).expect("not empty")
    };
    Rules {
        per_venue: VenueLimits {
            daily: Some(1),
            total: Some(20),
        },
        total: Some(100),
        blackouts: (1..8).map(|n| blackout(n * 7)).collect(),
        ..Rules::unlimited()
    }
}

fn pass(kid: KeyId, now: DateTime<Utc>) -> Token {
    Token::new(Claims {
        kind: Kind::Pass,
        kid,
        entitlement_id: 1,
        scope: 1,
        valid_from: Minute::floor(now).expect("after 2024"),
        valid_until: Minute::floor(now + TimeDelta::days(35)).expect("before 2055"),
        flags: Flags {
            document_check: false,
            rotating_required: false,
        },
        generation: 0,
        holder: Holder::Bearer,
        home_gate: 0,
    })
    .expect("a token")
}

fn main() {
    let now: DateTime<Utc> = "2026-04-02T02:00:00Z".parse().expect("an instant");
    let signing = SigningKey::from_bytes(&[7; 32]);
    let kid = KeyId::new(Issuer::Test, 1).expect("twelve bits");
    let keys = key_set(kid, &signing, now);
    let token = pass(kid, now);
    let text = token.sign(&signing);
    let rules = rules(now);
    let bytes = rules.to_bytes().expect("within the limits");
    let venue = VenueFacts::new(VenueId([1; 16]), Province::Chongqing);
    let entitlement = EntitlementFacts {
        standing: Standing::Granted,
        until: now + TimeDelta::days(365),
        ..EntitlementFacts::from_token(&token, 0)
    };
    let scan = Scan {
        direction: Direction::Entry,
        persons: NonZeroU16::MIN,
        presented: Presented::Token {
            token,
            form: Form::Static,
        },
        gate: 1,
        unattended: false,
        mode: Mode::Online,
        clock_trusted: true,
        document: DocumentReading::NotRead,
    };
    let used = Use {
        venue: venue.id,
        province: venue.province,
        counted_on: date_of(now),
        persons: 1,
    };
    let uses = History::of(&[used], &venue, now);
    let none = History::none();

    measure("sign", || drop(black_box(token.sign(&signing))));
    measure("parse and verify", || {
        let signed = token::parse(black_box(&text)).expect("a token");
        let _ = black_box(signed.verify(&keys, now).expect("a good token"));
    });
    measure("read rules", || {
        drop(black_box(Rules::from_bytes(black_box(&bytes))))
    });
    measure("decide: admit", || {
        let _ = black_box(decide(
            &rules,
            &entitlement,
            &none,
            &venue,
            now,
            black_box(&scan),
        ));
    });
    measure("decide: deny, next time beyond 7 blackouts", || {
        let _ = black_box(decide(
            &rules,
            &entitlement,
            &uses,
            &venue,
            now,
            black_box(&scan),
        ));
    });
}
