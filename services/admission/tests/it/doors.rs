//! Doors at which nobody stands: where staff must look at somebody, they ask and do not open.

use admission::commands::redeem::Scanned;
use admission::domain::gate::Details;
use credential::rules::{Decision, Direction, DocumentReading, Reason, Rules};
use credential::token::{Claims, Flags};
use prost::Message;
use proto::admission::GateChanged;

use crate::bad_input::scanned;
use crate::world::{Device, World, admits, details, id, reason};

/// A venue with a gate at which somebody stands, and a door at which nobody does.
async fn doors() -> (World, Device, Device) {
    let world = World::new().await;
    let venue = world.venue(details("工会驿站")).await;
    let gate = world.device(venue.id).await;
    let unattended = Details {
        name: "驿站门",
        unattended: true,
    };
    let door = world.device_at(venue.id, unattended).await;
    (world, gate, door)
}

async fn go(world: &World, at: &Device, text: &str, document: DocumentReading) -> Option<Reason> {
    let scanned = Scanned {
        document,
        ..world.scan(at, text)
    };
    reason(&world.redeem(at, scanned).await.unwrap())
}

/// A real-name product: the hint that opens an attended gate opens no door, a reader that finds
/// the document the holder's does.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_name_product_opens_no_door_unread() {
    let (world, gate, door) = doors().await;
    let rules = Rules {
        document_check: true,
        ..Rules::unlimited()
    };
    world.product(&rules).await;
    world.grant(1).await;
    let text = world.token(1);
    let asked = [
        "ASK",
        "UNATTENDED",
        "须核验持有人，而此入口无人值守，请在读卡器上核验证件，或走人工通道。",
        "The holder must be checked and nobody is at this gate. \
         Have the document read here or use a gate with staff.",
    ];
    assert_eq!(scanned(&world, &door, &text).await, asked);
    assert_eq!(world.events("RedemptionChanged").await.len(), 0);
    let other = go(&world, &door, &text, DocumentReading::Other).await;
    assert_eq!(other, Some(Reason::IdMismatch));
    assert_eq!(go(&world, &door, &text, DocumentReading::Same).await, None);
    let answer = world.enter(&gate, &text).await;
    let Decision::Admit { hints, .. } = answer.decision else {
        panic!("{answer:?}")
    };
    assert!(hints.document_check, "staff look at it");
    world.check().await;
}

/// The code that a desk gives out for a dead phone says itself that a document must be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_desks_code_opens_no_door_unread() {
    let (world, _, door) = doors().await;
    world.product(&Rules::unlimited()).await;
    world.grant(1).await;
    let flags = Flags {
        document_check: true,
        rotating_required: false,
    };
    let text = world.sign(Claims {
        flags,
        ..world.claims(1)
    });
    let unread = go(&world, &door, &text, DocumentReading::NotRead).await;
    assert_eq!(unread, Some(Reason::Unattended));
    assert_eq!(go(&world, &door, &text, DocumentReading::Same).await, None);
    let plain = world.token(1);
    assert!(
        admits(&world.enter(&door, &plain).await),
        "nobody need look"
    );
    world.check().await;
}

/// A photo is compared by people alone. Nobody is kept inside, whatever is to be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_photo_is_compared_by_nobody_there_and_everybody_leaves() {
    let (world, gate, door) = doors().await;
    let rules = Rules {
        photo_check: true,
        ..Rules::unlimited()
    };
    world.product(&rules).await;
    world.grant(1).await;
    let text = world.token(1);
    let read = go(&world, &door, &text, DocumentReading::Same).await;
    assert_eq!(read, Some(Reason::Unattended));
    assert!(admits(&world.enter(&gate, &text).await));
    let exit = Scanned {
        direction: Direction::Exit,
        ..world.scan(&door, &text)
    };
    let left = world.redeem(&door, exit).await.unwrap();
    assert!(admits(&left) && left.entitlement == Some(id(1)));
    world.check().await;
}

/// Others hear which doors nobody stands at.
#[tokio::test(flavor = "multi_thread")]
async fn the_event_says_that_nobody_stands_there() {
    let (world, gate, door) = doors().await;
    let events = world.events("GateChanged").await;
    let said: Vec<(Vec<u8>, bool)> = events
        .iter()
        .map(|event| GateChanged::decode(event.payload.as_slice()).unwrap())
        .map(|event| (event.id, event.unattended))
        .collect();
    let of = |device: &Device| device.gate.uuid().as_bytes().to_vec();
    assert!(said.contains(&(of(&gate), false)) && said.contains(&(of(&door), true)));
    assert!(!said.contains(&(of(&door), false)));
}
