//! What sellers say: whole, half, twice, too early, and in another's name.

use kit::Error;
use prost::Message;
use proto::passes as event;
use uuid::Uuid;

use crate::world::{World, key};

fn id(request: &event::OrderRequested) -> Uuid {
    Uuid::from_slice(&request.order_id).unwrap()
}

/// The same request any number of times is one order, also within one batch.
#[tokio::test]
async fn a_request_that_comes_again_is_the_same_order() {
    let world = World::still().await;
    let (one, two) = (world.request(&[100, 0, 50], 15), world.request(&[7], 15));
    let batch = [
        world.requested(&one),
        world.requested(&two),
        world.requested(&one),
    ];
    for _ in 0..3 {
        world.apply(&batch).await.unwrap();
    }
    let settled = event::OrderRequested {
        settled: true,
        ..one.clone()
    };
    world.apply(&[world.requested(&settled)]).await.unwrap();
    assert_eq!(world.count("orders").await, 2);
    assert_eq!(world.count("order_line").await, 4);
    assert_eq!(world.count("line_share").await, 4);
    assert_eq!(world.count("due WHERE kind = 'close'").await, 2);
    let number = world
        .text(&format!(
            "SELECT number FROM orders WHERE id = '{}'",
            id(&one)
        ))
        .await;
    assert!(
        number.parse::<billing::domain::OrderNumber>().is_ok(),
        "{number}"
    );
    world.verify().await;
}

/// Many requests in one batch are taken in together, each with a number of its own.
#[tokio::test]
async fn a_batch_is_taken_in_together() {
    let world = World::still().await;
    let requests: Vec<_> = (1..=200).map(|n| world.request(&[n], 15)).collect();
    let records: Vec<_> = requests.iter().map(|one| world.requested(one)).collect();
    world.apply(&records).await.unwrap();
    assert_eq!(world.count("orders").await, 200);
    assert_eq!(
        world
            .text("SELECT count(DISTINCT number) FROM orders")
            .await,
        "200"
    );
    world.verify().await;
}

/// A request that contradicts itself, its seller or what came before is not taken in.
#[tokio::test]
async fn a_contradiction_is_for_a_person() {
    let world = World::still().await;
    let good = world.request(&[100, 50], 15);
    world.apply(&[world.requested(&good)]).await.unwrap();
    let mut other_lines = world.request(&[100], 15);
    other_lines.order_id.clone_from(&good.order_id);
    let mut tampered = world.request(&[100], 15);
    tampered.lines[0].price_fen = 1;
    let mut negative = world.request(&[100, 100], 15);
    negative.lines[1].price_fen = -100;
    negative.total_fen = 0;
    negative.content_hash = billing::consumers::content_hash(&negative.lines);
    let wrong_total = event::OrderRequested {
        total_fen: 99,
        ..world.request(&[100], 15)
    };
    let other_union = event::OrderRequested {
        union: 51,
        ..world.request(&[100], 15)
    };
    let nobody = event::OrderRequested {
        member_id: Vec::new(),
        ..world.request(&[100], 15)
    };
    let no_id = event::OrderRequested {
        order_id: vec![1, 2],
        ..world.request(&[100], 15)
    };
    let name = event::OrderRequested {
        seller: "events".to_owned(),
        ..world.request(&[1], 15)
    };
    let nothing = event::OrderRequested {
        total_fen: 0,
        ..world.request(&[], 15)
    };
    for (at, bad) in [
        other_lines,
        tampered,
        negative,
        wrong_total,
        other_union,
        nobody,
        name,
        nothing,
    ]
    .iter()
    .enumerate()
    {
        let refused = world.apply(&[world.requested(bad)]).await;
        assert!(
            matches!(refused, Err(Error::Permanent(_))),
            "{at}: {refused:?}"
        );
    }
    let kind = "bashu.passes.v1.OrderRequested";
    for payload in [no_id.encode_to_vec(), vec![0xff; 9]] {
        let refused = world.apply(&[world.record(kind, key(), payload)]).await;
        assert!(matches!(refused, Err(Error::Permanent(_))), "{refused:?}");
    }
    assert_eq!(world.count("orders").await, 1);
    world.verify().await;
}

/// Nothing to pay: the order is in force at once, and can be given back for nothing.
#[tokio::test]
async fn a_free_order_is_paid_at_once() {
    let world = World::still().await;
    let order = world.order(&[0]).await;
    assert_eq!(world.order_state(order.id).await, "paid");
    let back = key();
    world
        .apply(&[world.returned(&order, 0, back, 0)])
        .await
        .unwrap();
    assert_eq!(world.kinds(order.id).await, ["OrderPaid", "RefundDone"]);
    let refused = world.order(&[0, 0]).await;
    world.apply(&[world.refused(refused.id)]).await.unwrap();
    assert_eq!(world.order_state(refused.id).await, "closed");
    assert_eq!(
        world.kinds(refused.id).await,
        ["OrderPaid", "RefundDone", "RefundDone", "OrderClosed"]
    );
    let versions: Vec<i64> = world
        .published(refused.id)
        .await
        .iter()
        .map(|one| one.version)
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(world.count("transfer").await, 0);
    world.verify().await;
}

/// What is said of an order before it arrives takes effect when it does.
#[tokio::test]
async fn what_comes_too_early_waits_for_its_order() {
    let world = World::start().await;
    let (lapsing, refusing) = (world.request(&[100], 15), world.request(&[100], 15));
    world
        .apply(&[world.lapsed(id(&lapsing)), world.refused(id(&refusing))])
        .await
        .unwrap();
    assert_eq!(world.count("orders").await, 0);
    let batch = [world.requested(&lapsing), world.requested(&refusing)];
    world.apply(&batch).await.unwrap();
    world
        .until("closed", async || {
            world.count("orders WHERE state = 'closed'").await == 2
        })
        .await;
    assert_eq!(world.count("early_end").await, 0);
    world.verify().await;
}

/// A seller speaks of its own orders alone.
#[tokio::test]
async fn another_seller_ends_nothing() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    for record in [
        world.lapsed(order.id),
        world.refused(order.id),
        world.returned(&order, 0, key(), 100),
    ] {
        let foreign = kit::event::Record {
            topic: "events.v1".to_owned(),
            ..record
        };
        let refused = world.apply(&[foreign]).await;
        assert!(matches!(refused, Err(Error::Permanent(_))), "{refused:?}");
    }
    assert_eq!(world.order_state(order.id).await, "paid");
    assert_eq!(world.count("refund").await, 0);
}

/// A resync says every ended or paid order again, as it is, and changes nothing.
#[tokio::test]
async fn a_resync_says_the_same_again() {
    let world = World::start().await;
    let paid = world.paid(&[100]).await;
    let open = world.order(&[100]).await;
    let before = world.published(paid.id).await;
    let source = billing::publish::Resync {
        union: kit::types::Union::Chongqing,
    };
    kit::resync::run(&world.db.ctx, &source, |_, _| {})
        .await
        .unwrap();
    let after = world.published(paid.id).await;
    assert_eq!(after.len(), 2);
    assert_eq!(
        (after[1].version, &after[1].payload),
        (before[0].version, &before[0].payload)
    );
    assert!(world.published(open.id).await.is_empty());
}
