//! Every code that people may hold under a scanner and that does not open: the decision, its
//! reason, and what is read in Chinese and in English, through the graph.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use credential::keyset::Issuer;
use credential::rules::{Reason, Rules, VenueId as RulesVenueId, Venues};
use credential::token::{Claims, Minute, Token};
use ed25519_dalek::SigningKey;
use proto::v1::{Entitlement, entitlement::State};

use crate::bad_input::scanned;
use crate::keys::{ENTRY, kid};
use crate::world::{World, daily, reason};

const ADMITTED: [&str; 4] = ["ADMIT", "", "请入园。", "Welcome, please enter."];
const BAD_FORMAT: [&str; 4] = [
    "DENY",
    "BAD_FORMAT",
    "无法识别此码，请打开应用中的电子凭证重新扫码。",
    "This is not one of our codes. Open your pass in the app and scan it again.",
];
const UNKNOWN_VERSION: [&str; 4] = [
    "DENY",
    "UNKNOWN_VERSION",
    "此码格式较新，本机尚不能识别，请联系工作人员。",
    "This code is newer than this gate can read. Please ask the staff.",
];
const UNKNOWN_KEY: [&str; 4] = [
    "DENY",
    "UNKNOWN_KEY",
    "无法确认此码的签发方，请刷新电子凭证后重试，或联系工作人员。",
    "The issuer of this code is not known. Refresh the code in the app or ask the staff.",
];
const BAD_SIGNATURE: [&str; 4] = [
    "DENY",
    "BAD_SIGNATURE",
    "此码未通过验证，请打开应用中的电子凭证重新扫码。",
    "This code failed verification. Open your pass in the app and scan it again.",
];
const USED_TODAY: [&str; 4] = [
    "DENY",
    "USED_TODAY",
    "今日已入园1次，明天（4月2日）可再次入园。",
    "Entries today: 1 of 1. You can enter again tomorrow (2 April).",
];

/// Texts that are none of our codes, in part or at all.
#[tokio::test(flavor = "multi_thread")]
async fn codes_that_are_not_ours() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let good = world.token(1);
    let signed = Token::new(world.claims(1))
        .unwrap()
        .signed(&SigningKey::from_bytes(&ENTRY));
    let coded = |bytes: &[u8]| format!("CY1:{}", credential::base45::encode(bytes));
    let versioned = |version: u8| {
        let mut bytes = signed.bytes();
        bytes[0] = bytes[0] & 0x0f | version << 4;
        coded(&bytes)
    };
    let rotating = |suffix: [u8; 12]| coded(&[&signed.bytes()[..], &suffix].concat());
    let tail = &good["CY1:".len() + 3..];
    for (name, text, expected) in [
        ("nothing", String::new(), BAD_FORMAT),
        ("trailing line", format!("{good}\n"), BAD_FORMAT),
        ("leading space", format!(" {good}"), BAD_FORMAT),
        (
            "a web page",
            "https://example.org/CY1:".to_owned(),
            BAD_FORMAT,
        ),
        ("the prefix alone", "CY1:".to_owned(), BAD_FORMAT),
        ("truncated", good[..good.len() - 3].to_owned(), BAD_FORMAT),
        ("trailing", format!("{good}AAA"), BAD_FORMAT),
        ("lower case", good.to_lowercase(), BAD_FORMAT),
        ("not of the alphabet", format!("CY1:{tail}~~~"), BAD_FORMAT),
        (
            "base45 beyond two bytes",
            format!("CY1::::{tail}"),
            BAD_FORMAT,
        ),
        ("4 KB", "CY1:".to_owned() + &"A".repeat(4_092), BAD_FORMAT),
        ("WeChat payment", "wxp://f2f0aBcD123".to_owned(), BAD_FORMAT),
        (
            "DCC",
            "HC1:6BFOXN*TS0BI$ZD4N9:9S6RCVN5+O30K3".to_owned(),
            BAD_FORMAT,
        ),
        (
            "pretix",
            "kfRg2qYBjJ3aLwWY6pCqSFyRC4vvY1Ut".to_owned(),
            BAD_FORMAT,
        ),
        ("version 0", versioned(0), UNKNOWN_VERSION),
        ("version 2", versioned(2), UNKNOWN_VERSION),
        ("version 15", versioned(15), UNKNOWN_VERSION),
        (
            "another prefix",
            good.replace("CY1:", "CY2:"),
            UNKNOWN_VERSION,
        ),
        // There is no rotating form yet: whatever follows a good token, no gate reads it.
        ("rotating", rotating([0; 12]), UNKNOWN_VERSION),
        ("rotating, all ones", rotating([0xff; 12]), UNKNOWN_VERSION),
    ] {
        assert_eq!(scanned(&world, &door, &text).await, expected, "{name}");
    }
    let believed = "SELECT count(*) FROM redemption WHERE entitlement IS NOT NULL";
    assert_eq!(world.count(believed).await, 0, "nothing in them is");
    assert_eq!(scanned(&world, &door, &good).await, ADMITTED);
    world.check().await;
}

/// Whatever bit of the 104 bytes of the longer form is flipped, it is of a later format to a gate,
/// and scanned like any other code.
#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_of_the_longer_form_enters() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let signed = Token::new(world.claims(1))
        .unwrap()
        .signed(&SigningKey::from_bytes(&ENTRY));
    let longer = [&signed.bytes()[..], &[0x5a; 12]].concat();
    let scans = (0..longer.len() * 8).map(|bit| {
        let mut flipped = longer.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let text = format!("CY1:{}", credential::base45::encode(&flipped));
        world.redeem(&door, world.scan(&door, &text))
    });
    let answers = futures::future::join_all(scans).await;
    for (bit, answer) in answers.into_iter().enumerate() {
        let told = reason(&answer.unwrap());
        assert_eq!(told, Some(Reason::UnknownVersion), "bit {bit}");
    }
    let scans = "SELECT count(*) FROM redemption WHERE decision = 'deny' AND entitlement IS NULL";
    assert_eq!(world.count(scans).await, 104 * 8);
    world.check().await;
}

/// Well-formed codes under keys that are unknown, another environment's or another union's.
#[tokio::test(flavor = "multi_thread")]
async fn codes_under_other_keys() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let named = |issuer, number| {
        world.sign(Claims {
            kid: kid(issuer, number),
            ..world.claims(1)
        })
    };
    let foreign = Token::new(world.claims(1))
        .unwrap()
        .sign(&SigningKey::from_bytes(&[9; 32]));
    for (name, text, expected) in [
        ("another environment's key", foreign, BAD_SIGNATURE),
        (
            "an unknown key",
            named(Issuer::Chongqing, 0xABC),
            UNKNOWN_KEY,
        ),
        ("a revoked key", named(Issuer::Chongqing, 2), UNKNOWN_KEY),
        ("the test issuer", named(Issuer::Test, 1), UNKNOWN_KEY),
        ("a swapped issuer", named(Issuer::Sichuan, 1), UNKNOWN_KEY),
        ("an unheard-of union", world.neighbours(1), UNKNOWN_KEY),
    ] {
        assert_eq!(scanned(&world, &door, &text).await, expected, "{name}");
    }
    world.know_the_neighbour().await;
    let swapped = named(Issuer::Sichuan, 1);
    assert_eq!(scanned(&world, &door, &swapped).await, BAD_SIGNATURE);
    // The other province's own pass: until unions exchange, staff decide.
    let asked = [
        "ASK",
        "UNKNOWN_ENTITLEMENT",
        "未找到此凭证的发放记录，请联系发放单位。",
        "No record of this pass was found. Please ask the union that issued it.",
    ];
    let theirs = world.neighbours(2);
    assert_eq!(scanned(&world, &door, &theirs).await, asked);
    assert_eq!(scanned(&world, &door, &world.token(1)).await, ADMITTED);
    world.check().await;
}

/// Good codes of passes that do not open this gate now.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn codes_of_passes_that_do_not_open() {
    let world = World::new().await;
    let door = world.door("博物馆").await;
    let elsewhere = world.door("动物园").await;
    let ids = BTreeSet::from([RulesVenueId(*door.venue.uuid().as_bytes())]);
    world
        .product(&Rules {
            venues: Venues::Listed {
                ids,
                tags: BTreeSet::new(),
            },
            ..daily()
        })
        .await;
    let now = Minute::floor(world.now()).unwrap().get();
    let minute = |minutes| Minute::new(minutes).unwrap();
    let active = |id| world.word(id, 1, State::Active);
    let frozen = Entitlement {
        freeze_version: 2,
        ..world.word(2, 2, State::Frozen)
    };
    let refunded = world.word(3, 2, State::Revoked);
    let newer = Entitlement {
        r#gen: 2,
        ..active(4)
    };
    let tomorrow = Entitlement {
        valid_from: now + 24 * 60,
        ..active(5)
    };
    let over = Entitlement {
        valid_until: now,
        ..active(6)
    };
    for word in [active(1), frozen, refunded, newer, tomorrow, over] {
        world.say(word).await;
    }
    let stale = world.sign(Claims {
        valid_from: minute(now - 60),
        valid_until: minute(now),
        ..world.claims(1)
    });
    let early = world.sign(Claims {
        valid_from: minute(now + 24 * 60),
        ..world.claims(5)
    });
    let late = world.sign(Claims {
        valid_until: minute(now),
        ..world.claims(6)
    });
    let text = |id| world.token(id);
    for (at, code, reason, zh, en) in [
        (
            &door,
            stale,
            "STALE_CODE",
            "此码已失效，请打开应用刷新电子凭证，勿使用截图。",
            "This code is no longer fresh. Refresh it in the app; do not use a screenshot.",
        ),
        (
            &door,
            text(2),
            "FROZEN",
            "此凭证已冻结，请在应用中查看原因，或联系发放单位。",
            "This pass is frozen. See the reason in the app or ask the union that issued it.",
        ),
        (
            &door,
            text(3),
            "REVOKED",
            "此凭证已作废，如有疑问请联系发放单位。",
            "This pass was withdrawn. Please ask the union that issued it.",
        ),
        (
            &door,
            text(4),
            "SUPERSEDED",
            "此凭证已重新签发，旧码失效，请在应用中使用最新的电子凭证。",
            "This code was replaced. Use the newest code in the app.",
        ),
        (
            &door,
            early,
            "NOT_YET_VALID",
            "尚未到有效期，明天（4月2日）10:00起可入园。",
            "This pass is not valid yet. You can enter tomorrow (2 April) at 10:00 or later.",
        ),
        (
            &door,
            late,
            "EXPIRED",
            "有效期截至4月1日，现已过期，请在应用中续期或重新购买。",
            "The last valid day was 1 April. Renew it or buy a new one in the app.",
        ),
        (
            &elsewhere,
            text(1),
            "WRONG_VENUE",
            "此凭证不适用于本场馆，请在应用中查看可用场馆。",
            "This pass is not for this venue. See in the app where you can go.",
        ),
    ] {
        let answer = scanned(&world, at, &code).await;
        assert_eq!(answer, ["DENY", reason, zh, en]);
    }
    // Replayed at the same gate, and at another one of the venue.
    let beside = world.device(door.venue).await;
    assert_eq!(scanned(&world, &door, &text(1)).await, ADMITTED);
    for gate in [&door, &beside] {
        assert_eq!(scanned(&world, gate, &text(1)).await, USED_TODAY);
    }
    world.check().await;
}

/// A pass used before its event arrived, and one whose event never arrives.
#[tokio::test(flavor = "multi_thread")]
async fn codes_whose_event_is_late_or_never_comes() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    for pass in [1, 2] {
        let text = world.token(pass);
        assert_eq!(scanned(&world, &door, &text).await, ADMITTED);
        assert_eq!(scanned(&world, &door, &text).await, USED_TODAY);
    }
    world.grant(1).await;
    world.advance(TimeDelta::minutes(15)).await;
    world.run_due().await;
    world.advance(TimeDelta::days(1)).await;
    let late = scanned(&world, &door, &world.token(1)).await;
    assert_eq!(late, ADMITTED);
    let never = [
        "DENY",
        "UNKNOWN_ENTITLEMENT",
        "未找到此凭证的发放记录，请联系发放单位。",
        "No record of this pass was found. Please ask the union that issued it.",
    ];
    assert_eq!(scanned(&world, &door, &world.token(2)).await, never);
    let unpaid = "SELECT count(*) FROM redemption WHERE NOT payable AND decision = 'admit'";
    assert_eq!(world.count(unpaid).await, 1);
    assert_eq!(world.events("EntitlementBlocked").await.len(), 1);
    world.check().await;
}
