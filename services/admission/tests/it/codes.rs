//! Every code that people may hold under a scanner: what is not ours is denied with its reason,
//! whatever it is, and stored like an admission.
//!
//! Not here, because nothing reads it yet: time steps and suffixes of the rotating form. Whatever
//! is of its length is told to be of a later format (`bad_codes`), until a gate can read it.

use chrono::TimeDelta;
use credential::keyset::Issuer;
use credential::rules::Reason;
use credential::token::{Claims, DocumentTag, Flags, Holder, Minute, Token};
use ed25519_dalek::SigningKey;
use proto::v1::{Entitlement, entitlement::State};

use crate::keys::kid;
use crate::world::{SCOPE, World, admits, daily, reason};

/// What a token is answered whose byte was changed in these bits, by the table of
/// `credential::token`. Where a change may leave fields that make sense together, the signature is
/// what gives it away; where it cannot, the reader does.
fn answers(byte: usize, bits: u8) -> &'static [Reason] {
    match (byte, bits) {
        (0, 0x10..) => &[Reason::UnknownVersion],
        (1 | 2, _) => &[Reason::UnknownKey],
        // A flag without a meaning.
        (21, 0x04..) => &[Reason::BadFormat],
        // Kind, window, flags and holder must fit each other.
        (0 | 15..=21 | 23..=26, _) => &[Reason::BadFormat, Reason::BadSignature],
        // Entitlement, scope, generation, home gate and the signature itself.
        _ => &[Reason::BadSignature],
    }
}

/// Each of the 92 bytes, each of their bits: none of the flipped tokens enters, and each is told
/// what is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_enters() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let signed = Token::new(world.claims(1))
        .unwrap()
        .signed(&SigningKey::from_bytes(&[2; 32]));
    let bytes = signed.bytes();
    let flips = (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        format!("CY1:{}", credential::base45::encode(&flipped))
    });
    let scans = flips.map(|text| world.redeem(&door, world.scan(&door, &text)));
    for (bit, answer) in futures::future::join_all(scans)
        .await
        .into_iter()
        .enumerate()
    {
        let answer = answer.unwrap();
        let expected = answers(bit / 8, 1 << (bit % 8));
        assert!(
            reason(&answer).is_some_and(|told| expected.contains(&told)),
            "bit {bit}: {expected:?}, not {answer:?}"
        );
    }
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 92 * 8);
    assert_eq!(world.events("RedemptionChanged").await.len(), 0);
    assert!(
        admits(&world.enter(&door, &signed.text()).await),
        "the true one still enters"
    );
    world.check().await;
}

/// A key that was revoked, and one that may sign another product only.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_only_while_and_what_it_may() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    for (number, secret) in [(2, [3; 32]), (3, [4; 32])] {
        let claims = Claims {
            kid: kid(Issuer::Chongqing, number),
            ..world.claims(1)
        };
        let text = Token::new(claims)
            .unwrap()
            .sign(&SigningKey::from_bytes(&secret));
        let answer = world.enter(&door, &text).await;
        assert_eq!(reason(&answer), Some(Reason::UnknownKey), "key {number}");
    }
    // Rightly signed for another product than the entitlement's own.
    let claims = Claims {
        kid: kid(Issuer::Chongqing, 3),
        scope: SCOPE + 1,
        ..world.claims(1)
    };
    let text = Token::new(claims)
        .unwrap()
        .sign(&SigningKey::from_bytes(&[4; 32]));
    assert_eq!(
        reason(&world.enter(&door, &text).await),
        Some(Reason::UnknownKey)
    );
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_code_supersedes_the_older_ones() {
    let world = World::new().await;
    world.product(&daily()).await;
    world
        .say(Entitlement {
            r#gen: 2,
            ..world.word(1, 1, State::Active)
        })
        .await;
    let door = world.door("博物馆").await;
    let older = world.sign(Claims {
        generation: 1,
        ..world.claims(1)
    });
    assert_eq!(
        reason(&world.enter(&door, &older).await),
        Some(Reason::Superseded)
    );
    // Newer than what has been heard of: the signature speaks for it.
    let newer = world.sign(Claims {
        generation: 3,
        ..world.claims(1)
    });
    assert!(admits(&world.enter(&door, &newer).await));
    world.check().await;
}

/// The window is half-open to the minute, and the grace after midnight counts on the day before.
#[tokio::test(flavor = "multi_thread")]
async fn a_border_minute_belongs_to_one_side() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let now = Minute::floor(world.now()).unwrap().get();
    let word = |id, from, until| Entitlement {
        valid_from: from,
        valid_until: until,
        ..world.word(id, 1, State::Active)
    };
    for (id, from, until, expected) in [
        (1, now, now + 60, None),
        (2, now + 1, now + 60, Some(Reason::NotYetValid)),
        (3, now - 60, now + 1, None),
        (4, now - 60, now, Some(Reason::Expired)),
    ] {
        world.say(word(id, from, until)).await;
        let minute = |minutes| Minute::new(minutes).unwrap();
        let claims = Claims {
            valid_from: minute(from),
            valid_until: minute(until),
            ..world.claims(id)
        };
        let answer = world.enter(&door, &world.sign(claims)).await;
        assert_eq!(reason(&answer), expected, "{id}");
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_token_of_a_good_pass_asks_for_a_fresh_one() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let text = world.token(1);
    world.advance(TimeDelta::days(30)).await;
    assert_eq!(
        reason(&world.enter(&door, &text).await),
        Some(Reason::StaleCode)
    );
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    world.check().await;
}

/// Documents and gates that the code itself names.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_binds_to_its_document_and_its_gate() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let venue = world.venue(crate::world::details("博物馆")).await;
    let (first, second) = (world.device(venue.id).await, world.device(venue.id).await);
    let flags = Flags {
        document_check: true,
        rotating_required: false,
    };
    let tag = DocumentTag::of(1, "500103199003071239", 1, b"key");
    let claims = Claims {
        flags,
        holder: Holder::Document(tag),
        home_gate: 2,
        ..world.claims(1)
    };
    let text = world.sign(claims);
    assert_eq!(
        reason(&world.enter(&first, &text).await),
        Some(Reason::WrongGate)
    );
    let document = credential::rules::DocumentReading::Other;
    let other = admission::commands::redeem::Scanned {
        document,
        ..world.scan(&second, &text)
    };
    let answer = world.redeem(&second, other).await.unwrap();
    assert_eq!(reason(&answer), Some(Reason::IdMismatch));
    let answer = world.enter(&second, &text).await;
    let credential::rules::Decision::Admit { hints, .. } = answer.decision else {
        panic!("{answer:?}")
    };
    assert!(hints.document_check, "nobody looked at the document yet");
    let rotating = Flags {
        document_check: false,
        rotating_required: true,
    };
    let text = world.sign(Claims {
        flags: rotating,
        ..world.claims(1)
    });
    assert_eq!(
        reason(&world.enter(&second, &text).await),
        Some(Reason::StaleCode)
    );
    world.check().await;
}

/// An entitlement that was revoked takes no other down, however alike their ids are: in all bytes
/// but the last, in all but the first, or in the halves that a short form would keep.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_id_shares_no_prefix_with_its_neighbours() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let revoked: u64 = 0x3a5c_0f17_9b2e_4d61;
    world.say(world.word(revoked, 1, State::Revoked)).await;
    let alike = [
        revoked ^ 1,
        revoked ^ 1 << 63,
        revoked ^ 0xffff_ffff,
        revoked ^ 0xffff_ffff << 32,
        revoked.swap_bytes(),
    ];
    for id in alike {
        world.grant(id).await;
        let answer = world.enter(&door, &world.token(id)).await;
        assert!(admits(&answer), "{id:016x}: {answer:?}");
    }
    let answer = world.enter(&door, &world.token(revoked)).await;
    assert_eq!(reason(&answer), Some(Reason::Revoked));
    world.check().await;
}
