//! The events of others in any order, repeated, foreign, unreadable: the same end, nothing twice.

use kit::consumer::Handler;
use kit::event::Record;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proto::billing as money;
use proto::passes::FulfilmentRefused;
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, caller, code, entitlement, key};

/// Orders in which a set of events may come, each up to three times, from a fixed seed.
struct Orders(TestRunner);

impl Orders {
    fn new() -> Self {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        Self(TestRunner::new_with_rng(Config::default(), rng))
    }

    fn shuffle(&mut self, events: &[Record]) -> Vec<Record> {
        let copies = prop::collection::vec(1..=3usize, events.len());
        let copies = copies.new_tree(&mut self.0).unwrap().current();
        let all: Vec<Record> = events
            .iter()
            .zip(copies)
            .flat_map(|(event, count)| std::iter::repeat_n(event.clone(), count))
            .collect();
        Just(all)
            .prop_shuffle()
            .new_tree(&mut self.0)
            .unwrap()
            .current()
    }

    fn pieces(&mut self, events: Vec<Record>) -> Vec<Vec<Record>> {
        let size = (1..4usize).new_tree(&mut self.0).unwrap().current();
        events.chunks(size).map(<[Record]>::to_vec).collect()
    }
}

/// What must be the same in the end.
#[derive(Debug, PartialEq, Eq, FromQueryResult)]
struct End {
    state: String,
    start_date: Option<chrono::NaiveDate>,
    order_state: String,
    order_version: i64,
    uses: i64,
    voided: i64,
    venue: String,
}

async fn end(world: &World, pass: &str) -> End {
    let sql = "SELECT p.state, p.start_date, o.state AS order_state, o.version AS order_version,
          (SELECT count(*) FROM replica_use u WHERE u.pass = p.id) AS uses,
          (SELECT count(*) FROM replica_use u WHERE u.pass = p.id AND u.voided) AS voided,
          (SELECT max(v.name_zh) FROM replica_venue v) AS venue
        FROM pass p JOIN replica_order o ON o.id = p.order_id WHERE p.id = $1";
    let id = entitlement(pass).to_i64();
    world
        .ctx()
        .db
        .one::<End>(sql, [id.into()])
        .await
        .unwrap()
        .unwrap()
}

/// A hundred orders of the events of a paid and used pass, in batches of any size.
#[tokio::test]
async fn any_order_of_events_has_the_same_end() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let mut orders = Orders::new();
    let mut ends = Vec::new();
    for round in 0..100u128 {
        let bought = world.buy(&caller(1), &product).await;
        let pass = &bought["pass"];
        let id = pass["id"].as_str().unwrap();
        let foreign = Uuid::from_u128(round).as_bytes().to_vec();
        let events = [
            world.paid(pass, 2),
            world.refunded(pass, &foreign, 0, 3),
            world.venue(1, 1, |_| {}),
            world.venue(1, 2, |venue| venue.name_zh = "新名".to_owned()),
            world.used(id, (round * 2, 1), false),
            world.used(id, (round * 2, 1), true),
            world.used(id, (round * 2 + 1, 1), false),
            world.counted(id, 2, 1, 0),
        ];
        let shuffled = orders.shuffle(&events);
        for piece in orders.pieces(shuffled) {
            world.tell(&piece).await.unwrap();
        }
        ends.push(end(&world, id).await);
    }
    assert_eq!(ends[0].state, "active");
    assert_eq!(
        (ends[0].order_version, ends[0].uses, ends[0].voided),
        (3, 2, 1)
    );
    assert_eq!(ends[0].venue, "新名");
    assert!(ends.iter().all(|one| *one == ends[0]), "{ends:#?}");
    assert_eq!(
        world.count("SELECT sold AS count FROM product_stock").await,
        100
    );
    world.verify().await;
}

/// The same for an order that is closed: its stock comes back once.
#[tokio::test]
async fn any_order_of_a_close_brings_the_stock_back_once() {
    let world = World::new().await;
    let product = world
        .product(json!({ "saleLimit": 1, "memberLimit": null }))
        .await;
    let mut orders = Orders::new();
    for _ in 0..30 {
        let bought = world.buy(&caller(1), &product).await;
        assert_eq!(code(&bought), "", "the stock was not back");
        let pass = &bought["pass"];
        let events = [
            world.closed(pass, 2),
            world.closed(pass, 3),
            world.closed(pass, 4),
        ];
        let shuffled = orders.shuffle(&events);
        for piece in orders.pieces(shuffled) {
            world.tell(&piece).await.unwrap();
        }
        assert_eq!(
            world
                .count("SELECT held + sold AS count FROM product_stock")
                .await,
            0
        );
    }
    world.verify().await;
}

/// The same for the answers to a refund, beside scans that come in late.
#[tokio::test]
async fn any_order_of_a_refunds_events_ends_in_one_refund() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let mut orders = Orders::new();
    for round in 0..30u128 {
        let id = world.bought(&caller(1), &product).await;
        let input = json!({ "passId": id, "idempotencyKey": key() });
        let asked = world.mutate(&caller(1), "requestPassRefund", input).await;
        assert_eq!(code(&asked), "");
        let freeze = world
            .count(&format!(
                "SELECT freeze_version AS count FROM refund WHERE pass = {}",
                entitlement(&id).to_i64()
            ))
            .await;
        let events = [
            world.counted(&id, freeze, 0, 0),
            world.counted(&id, freeze - 1, 5, 0),
            world.used(&id, (round, 1), false),
        ];
        let shuffled = orders.shuffle(&events);
        for piece in orders.pieces(shuffled) {
            world.tell(&piece).await.unwrap();
        }
        let pass = world.pass(&caller(1), &id).await;
        assert_eq!(pass["refund"]["state"], "RETURNED");
        assert_eq!(pass["refund"]["amount"]["amountFen"], 20_000);
    }
    assert_eq!(
        world.count("SELECT count(*) AS count FROM refund").await,
        30
    );
    world.verify().await;
}

/// A late payment for what has lapsed is given back by billing; it brings nothing to life.
#[tokio::test]
async fn a_payment_after_the_close_is_refused() {
    let world = World::new().await;
    let product = world.product(json!({ "saleLimit": 1 })).await;
    let bought = world.buy(&caller(1), &product).await;
    let pass = &bought["pass"];
    world.tell(&[world.closed(pass, 2)]).await.unwrap();
    let _ = world.emitted().await;
    world.tell(&[world.paid(pass, 3)]).await.unwrap();
    let refused: FulfilmentRefused = world.last().await;
    assert_eq!(refused.reason, "LAPSED");
    let id = pass["id"].as_str().unwrap();
    assert_eq!(world.pass(&caller(1), id).await["state"], "LAPSED");
    world.tell(&[world.closed(pass, 4)]).await.unwrap();
    assert_eq!(
        world
            .count("SELECT held + sold AS count FROM product_stock")
            .await,
        0
    );
    world.verify().await;
}

/// Orders of other sellers, and of no pass of ours, are kept out or kept apart.
#[tokio::test]
async fn foreign_orders_change_nothing() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let bought = world.buy(&caller(1), &product).await;
    let mut order = world.order(&bought["pass"], money::order::State::Paid, 2);
    order.seller = "ticketing".to_owned();
    let event = money::OrderPaid {
        order: Some(order.clone()),
    };
    let payload = prost::Message::encode_to_vec(&event);
    let record = world.record("bashu.billing.v1.OrderPaid", &order.id, 2, payload);
    world.tell(&[record]).await.unwrap();
    assert_eq!(
        world
            .count("SELECT count(*) AS count FROM replica_order")
            .await,
        0
    );
    let stranger = kit::graphql::GlobalId::of_uuid("Order", Uuid::from_u128(77)).to_string();
    let pass: Value = json!({ "order": { "id": stranger }, "price": { "amountFen": 5 } });
    world.tell(&[world.paid(&pass, 2)]).await.unwrap();
    let broken = kit::verify::check(&world.ctx().db, invariant("passes.paid_has_pass")).await;
    assert_eq!(
        broken.unwrap().len(),
        1,
        "a paid order without a pass is found by verify"
    );
    world
        .tell(&[world.used("UGFzczoAAAAAAAAAAA", (1, 1), false)])
        .await
        .unwrap();
    assert_eq!(
        world
            .count("SELECT count(*) AS count FROM replica_use")
            .await,
        0
    );
}

fn invariant(id: &str) -> &'static kit::verify::Invariant {
    passes::verify::INVARIANTS
        .iter()
        .find(|one| one.id == id)
        .unwrap()
}

/// What can never be applied is permanent, so that it is parked, and changes nothing.
#[tokio::test]
async fn what_cannot_be_is_permanent() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let bought = world.buy(&caller(1), &product).await;
    let pass = &bought["pass"];
    let id = pass["id"].as_str().unwrap();
    world.tell(&[world.paid(pass, 2)]).await.unwrap();
    let garbage = |kind: &str| world.record(kind, b"key", 1, vec![0xff; 9]);
    let mut venue = world.venue(1, 1, |venue| venue.union = 44);
    venue.version = 1;
    let mut stateless = world.order(pass, money::order::State::Unspecified, 5);
    stateless.paid_at = 0;
    let stateless = money::OrderPaid {
        order: Some(stateless),
    };
    let stateless = prost::Message::encode_to_vec(&stateless);
    for record in [
        world.closed(pass, 3),
        garbage("bashu.billing.v1.OrderPaid"),
        garbage("bashu.admission.v1.RedemptionChanged"),
        garbage("bashu.admission.v1.FreezeApplied"),
        world.record("bashu.billing.v1.OrderPaid", b"key", 1, Vec::new()),
        world.record("bashu.billing.v1.OrderPaid", b"key", 5, stateless),
        world.record("bashu.billing.v1.Unheard", b"key", 1, Vec::new()),
        venue,
    ] {
        let kind = record.kind.clone();
        let error = world.tell(&[record]).await.unwrap_err();
        assert!(
            matches!(error, kit::Error::Permanent(_)),
            "{kind}: {error:?}"
        );
    }
    assert_eq!(world.pass(&caller(1), id).await["state"], "ACTIVE");
    let follower = world.passes.follower();
    assert!(!follower.handles("bashu.identity.v1.Heartbeat"));
    world.verify().await;
}

/// Admission misses a grant: it is said again, with the same version.
#[tokio::test]
async fn a_missed_grant_is_said_again() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let granted: proto::v1::EntitlementChanged = world.last().await;
    let event = proto::admission::EntitlementBlocked {
        entitlement_id: entitlement(&id).0,
        version: 1,
        scope: 1,
        first_used_at: 1,
        cleared: false,
    };
    let payload = prost::Message::encode_to_vec(&event);
    let record = world.record("bashu.admission.v1.EntitlementBlocked", b"k", 1, payload);
    world.tell(&[record]).await.unwrap();
    assert_eq!(world.last::<proto::v1::EntitlementChanged>().await, granted);
}
