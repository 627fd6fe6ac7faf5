//! What passes tells identity of a person, what keeps her here, and what it forgets of her. While
//! she is being forgotten nothing is begun for her, whichever comes first.

use kit::bus::Defect;
use kit::consumer::Handler;
use kit::event::Record;
use kit::person::{CONSUMER, barred};
use kit::types::MemberId;
use kit::{Ctx, Result};
use passes::consumers::person::persons;
use prost::{Message, Name};
use proto::identity::erasure_changed::State;
use proto::identity::{DataRequested, ErasureChanged, PersonErased};
use proto::v1::{PersonDataPart, PersonForgotten, PersonHeld};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::races::{buy, product_id, refusal};
use crate::world::{World, caller, code, key};

fn member(number: u128) -> MemberId {
    MemberId(Uuid::from_u128(0x1000 + number))
}

pub(crate) fn record<M: Message + Name>(world: &World, message: &M) -> Record {
    Record {
        topic: "identity.v1".to_owned(),
        ..world.record(&M::full_name(), b"", 1, message.encode_to_vec())
    }
}

pub(crate) async fn apply(ctx: &Ctx, record: &Record) -> Result<()> {
    let persons = persons(ctx.union);
    assert!(persons.handles(&record.kind) && persons.name() == CONSUMER);
    let records = std::slice::from_ref(record);
    let told = async |tx: &kit::Tx| persons.apply(tx, records).await;
    ctx.db.tx("persons", told).await
}

pub(crate) fn told(who: u128, version: i64, state: State) -> ErasureChanged {
    let id = member(who).0.as_bytes().to_vec();
    ErasureChanged {
        member_id: id.clone(),
        version,
        member_ids: vec![id],
        state: state.into(),
    }
}

pub(crate) fn erased(who: u128, version: i64) -> PersonErased {
    let id = member(who).0.as_bytes().to_vec();
    PersonErased {
        member_id: id.clone(),
        version,
        member_ids: vec![id],
        erased_at: 0,
    }
}

pub(crate) async fn hear<M: Message + Name>(world: &World, message: &M) {
    apply(world.ctx(), &record(world, message)).await.unwrap();
}

pub(crate) fn holds(answer: &PersonHeld) -> Vec<(&str, i64)> {
    let hold = |it: &proto::v1::person_held::Hold| (it.kind.clone(), it.count);
    let holds: Vec<(String, i64)> = answer.holds.iter().map(hold).collect();
    assert_eq!(answer.service, "passes");
    ["awaiting_payment", "open_refund", "frozen_pass"]
        .into_iter()
        .filter_map(|kind| {
            let found = holds.iter().find(|(known, _)| known == kind)?;
            Some((kind, found.1))
        })
        .collect()
}

/// What she bought, gave back and visited, and nothing of another's.
#[tokio::test]
async fn a_person_is_told_what_is_kept() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let pass = world.bought(&caller(1), &product).await;
    world.bought(&caller(2), &product).await;
    world.tell(&[world.venue(1, 1, |_| {})]).await.unwrap();
    world
        .tell(&[world.used(&pass, (1, 1), false)])
        .await
        .unwrap();
    let id = member(1).0.as_bytes().to_vec();
    let asked = DataRequested {
        id: vec![7; 16],
        version: 3,
        member_id: id.clone(),
        member_ids: vec![id.clone()],
    };
    world.emitted().await;
    hear(&world, &asked).await;
    let answer: PersonDataPart = world.last().await;
    assert_eq!((answer.request_id, answer.member_id), (vec![7; 16], id));
    assert_eq!((answer.version, answer.part, answer.parts), (3, 1, 1));
    let rows: Vec<Value> = serde_json::from_slice(&answer.json).unwrap();
    let of = |section: &str| {
        let rows = rows.iter().filter(|it| it["section"] == section);
        rows.map(|it| it["row"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!((of("pass").len(), of("visit").len()), (1, 1));
    assert_eq!(of("visit")[0]["venue"], "场馆1");
    let nobody = DataRequested {
        member_ids: vec![vec![9; 16]],
        ..asked
    };
    hear(&world, &nobody).await;
    let answer: PersonDataPart = world.last().await;
    assert_eq!((answer.json, answer.parts), (b"[]".to_vec(), 1));
}

/// An unpaid pass and an open refund keep her; when they have ended nothing does. Meanwhile she can
/// begin nothing, and when she has thought better of it she can.
#[tokio::test]
async fn what_is_open_keeps_her_and_nothing_is_begun() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let strict = world.product(json!({ "refundLadder": [] })).await;
    let pass = world.bought(&caller(1), &strict).await;
    let unpaid = world.buy(&caller(1), &product).await["pass"].clone();
    world.emitted().await;
    hear(&world, &told(1, 2, State::Closing)).await;
    let answer: PersonHeld = world.last().await;
    assert_eq!(holds(&answer), [("awaiting_payment", 1)]);
    let barred = world.buy(&caller(1), &product).await;
    assert_eq!(code(&barred), "ERASURE_UNDER_WAY");
    let input = json!({ "passId": pass, "idempotencyKey": key() });
    let same = input.clone();
    let refund = world.mutate(&caller(1), "requestPassRefund", input).await;
    assert_eq!(code(&refund), "ERASURE_UNDER_WAY");
    assert_eq!(code(&world.buy(&caller(2), &product).await), "");

    hear(&world, &told(1, 3, State::Open)).await;
    // An older word is no news.
    hear(&world, &told(1, 2, State::Closing)).await;
    let refund = world.mutate(&caller(1), "requestPassRefund", same).await;
    assert_eq!(
        code(&refund),
        "NOT_REFUNDABLE",
        "the same request is judged: {refund}"
    );
    world.tell(&[world.closed(&unpaid, 2)]).await.unwrap();
    world.bought(&caller(1), &product).await;
    world.emitted().await;
    hear(&world, &told(1, 4, State::Closing)).await;
    let answer: PersonHeld = world.last().await;
    assert_eq!(answer.version, 4);
    assert_eq!(holds(&answer), [("open_refund", 1)]);
    world.verify().await;
}

/// Forgotten she stays, whatever is said later; where she has been goes, now and when it is told
/// again, and what she paid for stays.
#[tokio::test]
async fn what_no_law_keeps_is_forgotten() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let pass = world.bought(&caller(1), &product).await;
    let visit = world.used(&pass, (1, 1), false);
    world.tell(std::slice::from_ref(&visit)).await.unwrap();
    let uses = "SELECT count(*) AS count FROM replica_use";
    assert_eq!(world.count(uses).await, 1);
    for _ in 0..2 {
        world.emitted().await;
        hear(&world, &erased(1, 3)).await;
        let answer: PersonForgotten = world.last().await;
        assert_eq!((answer.service.as_str(), answer.version), ("passes", 3));
        assert_eq!(world.count(uses).await, 0);
    }
    world
        .tell(&[world.used(&pass, (2, 1), false)])
        .await
        .unwrap();
    assert_eq!(world.count(uses).await, 0);
    hear(&world, &told(1, 9, State::Open)).await;
    let barred = world.buy(&caller(1), &product).await;
    assert_eq!(code(&barred), "ERASURE_UNDER_WAY");
    let passes = "SELECT count(*) AS count FROM pass";
    assert_eq!(world.count(passes).await, 1);
    world.verify().await;
}

/// A purchase and the question at once, in two processes: she is refused, or what she bought keeps
/// her.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_and_an_erasure_do_not_pass_each_other() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({})).await);
    let other = world.db.process().await;
    for who in 1..=16 {
        world.emitted().await;
        let closing = record(&world, &told(who, 2, State::Closing));
        let (bought, asked) = tokio::join!(
            buy(&world.passes, who, product, key()),
            apply(&other, &closing)
        );
        asked.unwrap();
        let answer: PersonHeld = world.last().await;
        let kept = match refusal(&bought) {
            "" => vec![("awaiting_payment", 1)],
            refused => {
                assert_eq!(refused, "ERASURE_UNDER_WAY");
                Vec::new()
            }
        };
        assert_eq!(holds(&answer), kept, "{who}");
    }
    world.verify().await;
}

/// Without the lock the purchase looks, the question is answered that nothing keeps her, and the
/// purchase goes on: she would be forgotten with an open order.
#[tokio::test]
async fn without_the_lock_a_purchase_passes_the_erasure() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({})).await);
    let other = world.db.process().await;
    world.ctx().db.faults().switch_on(Defect::PersonUnlocked);
    let closing = record(&world, &told(1, 2, State::Closing));
    world.emitted().await;
    let look = world.ctx().db.tx("unlocked_purchase", async |tx| {
        let found = barred(tx, &[member(1)]).await?;
        assert!(found.is_empty());
        apply(&other, &closing).await?;
        // What a purchase writes last.
        tx.execute(
            "INSERT INTO member_sale (product, member, bought) VALUES ($1, $2, 1)",
            [product.0.into(), member(1).0.into()],
        )
        .await
    });
    assert_eq!(look.await.unwrap(), 1);
    let answer: PersonHeld = world.last().await;
    assert!(holds(&answer).is_empty(), "and she has bought meanwhile");
}
