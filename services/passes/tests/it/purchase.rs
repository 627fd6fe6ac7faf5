//! Buying: what becomes of a purchase, and of every bad one.

use chrono::TimeDelta;
use kit::access::Caller;
use kit::graphql::Language;
use kit::types::{LoginId, MemberId};
use proto::passes::OrderRequested;
use serde_json::json;
use uuid::Uuid;

use crate::members::STRANGERS_FROM;
use crate::world::{World, caller, code, entitlement, key};

/// The pass and its order are there at once; the order asks billing for exactly this.
#[tokio::test]
async fn a_purchase_holds_stock_and_asks_for_an_order() {
    let world = World::new().await;
    let product = world.product(json!({ "saleLimit": 10 })).await;
    let _ = world.emitted().await;
    let bought = world.buy(&caller(1), &product).await;
    let pass = &bought["pass"];
    assert_eq!(pass["state"], "AWAITING_PAYMENT");
    assert_eq!(pass["payBy"], "2026-04-01T02:15:00+00:00");
    let events = world.emitted().await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "bashu.passes.v1.PassChanged",
            "bashu.passes.v1.OrderRequested"
        ]
    );
    assert!(events.iter().all(|event| event.version == 1));
    let asked: OrderRequested = events[1].decode();
    assert_eq!(events[1].key, asked.order_id);
    assert_eq!(
        (asked.total_fen, asked.seller.as_str(), asked.settled),
        (20_000, "passes", false)
    );
    assert_eq!(
        asked.close_at,
        (kit::testing::start() + TimeDelta::minutes(15)).timestamp_millis()
    );
    assert_eq!(asked.lines.len(), 1);
    let id = entitlement(pass["id"].as_str().unwrap());
    assert_eq!(asked.lines[0].entitlement_id, id.0);
    assert_eq!(asked.lines[0].title_zh, "巴蜀职工年票");
    assert_eq!(
        world.count("SELECT held AS count FROM product_stock").await,
        1
    );
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'buy_pass'";
    assert_eq!(world.count(audited).await, 1);
    world.verify().await;
}

/// The same key is the same purchase; the same key with another request is refused.
#[tokio::test]
async fn a_key_buys_once() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let other = world.product(json!({})).await;
    let key = key();
    let input = |product: &str| json!({ "productId": product, "idempotencyKey": key });
    let first = world.mutate(&caller(1), "buyPass", input(&product)).await;
    let again = world.mutate(&caller(1), "buyPass", input(&product)).await;
    assert_eq!(first["pass"]["id"], again["pass"]["id"]);
    assert_eq!(again["userErrors"], json!([]));
    let reused = world.mutate(&caller(1), "buyPass", input(&other)).await;
    assert_eq!(code(&reused), "IDEMPOTENCY_KEY_REUSED");
    let hers = world.mutate(&caller(2), "buyPass", input(&product)).await;
    assert_ne!(
        hers["pass"]["id"], first["pass"]["id"],
        "another member's key is another key"
    );
    assert_eq!(world.count("SELECT count(*) AS count FROM pass").await, 2);
    // A refusal is remembered as well.
    let limited = json!({ "productId": product, "idempotencyKey": crate::world::key() });
    for _ in 0..2 {
        let refused = world.mutate(&caller(1), "buyPass", limited.clone()).await;
        assert_eq!(code(&refused), "MEMBER_LIMIT_REACHED");
    }
    world.verify().await;
}

/// Who is not signed in, or was signed out, buys nothing; it is no business refusal.
#[tokio::test]
async fn only_the_signed_in_buy() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let query = "mutation($input: BuyPassInput!) { buyPass(input: $input) { pass { id } } }";
    let input = json!({ "input": { "productId": product, "idempotencyKey": key() } });
    let login = "INSERT INTO replica_withdrawn_login (id, withdrawn_at) VALUES ($1, now())";
    world
        .ctx()
        .db
        .execute(login, [Uuid::from_u128(0x2001).into()])
        .await
        .unwrap();
    for nobody in [Caller::anonymous(Language::En), caller(1)] {
        let response = world.respond(&nobody, query, input.clone()).await;
        assert_eq!(
            response["errors"][0]["extensions"]["code"],
            "UNAUTHENTICATED"
        );
    }
    assert_eq!(
        world
            .count(
                "SELECT count(*) AS count FROM once WHERE caller <> \
        '00000000-0000-0000-0000-000000001000'"
            )
            .await,
        0
    );
}

/// Membership counts on the day of the purchase: who applied, left, was removed, joins tomorrow or
/// has not been heard of buys nothing, is told so, and buys with the same key once it is known.
#[tokio::test]
async fn only_members_of_a_union_buy() {
    use proto::identity::membership_changed::State;
    let world = World::new().await;
    let product = world.product(json!({ "saleLimit": 9 })).await;
    let stranger = u128::try_from(STRANGERS_FROM).unwrap();
    let text = [
        (Language::Zh, "年票只售予工会会员；如刚刚入会，请稍后重试。"),
        (
            Language::En,
            "Passes are sold to union members; if you have just joined, please try again shortly.",
        ),
    ];
    let input = json!({ "productId": product, "idempotencyKey": key() });
    let refused = async |number: u128| {
        for (language, text) in text {
            let who = Caller {
                language,
                ..caller(number)
            };
            let answer = world.mutate(&who, "buyPass", input.clone()).await;
            assert_eq!(code(&answer), "NOT_A_MEMBER", "{number}");
            assert_eq!(answer["userErrors"][0]["message"], text);
            assert!(answer["pass"].is_null());
        }
    };
    refused(stranger).await;
    let past = "2026-03-31";
    for (at, (version, state, dates)) in [
        (1, State::Applied, ("2026-01-01", "")),
        (2, State::Full, ("2026-04-02", "")),
        (3, State::Left, ("2020-01-01", past)),
        (4, State::Removed, ("2020-01-01", past)),
    ]
    .into_iter()
    .enumerate()
    {
        let number = stranger + 1 + u128::try_from(at).unwrap();
        world.membership(number, (version, state), dates).await;
        refused(number).await;
    }
    assert_eq!(world.count("SELECT count(*) AS count FROM pass").await, 0);
    let kept = "SELECT count(*) AS count FROM once WHERE caller::text LIKE '%13e_'";
    assert_eq!(
        world.count(kept).await,
        0,
        "a refusal of the moment is not kept"
    );
    world
        .membership(stranger, (1, State::Full), ("2026-04-01", ""))
        .await;
    world
        .membership(stranger + 4, (5, State::Retained), ("2020-01-01", ""))
        .await;
    for number in [stranger, stranger + 4] {
        let bought = world
            .mutate(&caller(number), "buyPass", input.clone())
            .await;
        assert_eq!(bought["userErrors"], json!([]), "{number}");
    }
    // Who has left keeps what she bought, and does not renew it.
    let id = world.bought(&caller(1), &product).await;
    world.ctx().clock.advance(TimeDelta::days(320));
    let leave = "UPDATE replica_membership SET state = 'left', until = '2027-01-01'
                 WHERE member = '00000000-0000-0000-0000-000000001001'";
    world.ctx().db.execute(leave, []).await.unwrap();
    let renewal = json!({ "productId": product, "renews": id, "idempotencyKey": key() });
    let renewed = world.mutate(&caller(1), "buyPass", renewal).await;
    assert_eq!(code(&renewed), "NOT_A_MEMBER");
    assert_eq!(world.pass(&caller(1), &id).await["state"], "ACTIVE");
    world.verify().await;
}

/// The last one is sold once; what an unpaid order held comes back only when it is closed.
#[tokio::test]
async fn sold_out_until_billing_closes() {
    let world = World::new().await;
    let product = world.product(json!({ "saleLimit": 1 })).await;
    let first = world.buy(&caller(1), &product).await;
    assert_eq!(code(&world.buy(&caller(2), &product).await), "SOLD_OUT");
    world.ctx().clock.advance(TimeDelta::minutes(20));
    let _ = world.emitted().await;
    world.due().await;
    let lapsed: proto::passes::HoldLapsed = world.last().await;
    assert_eq!(lapsed.order_id.len(), 16);
    assert_eq!(
        code(&world.buy(&caller(2), &product).await),
        "SOLD_OUT",
        "not by time alone"
    );
    for _ in 0..2 {
        world
            .tell(&[
                world.closed(&first["pass"], 2),
                world.closed(&first["pass"], 2),
            ])
            .await
            .unwrap();
    }
    assert_eq!(
        world
            .count("SELECT held + sold AS count FROM product_stock")
            .await,
        0
    );
    let id = first["pass"]["id"].as_str().unwrap();
    assert_eq!(world.pass(&caller(1), id).await["state"], "LAPSED");
    assert_eq!(code(&world.buy(&caller(2), &product).await), "");
    assert_eq!(code(&world.buy(&caller(3), &product).await), "SOLD_OUT");
    world.verify().await;
}

/// A person who was merged into another has bought what the other one counts.
/// ASVS V2.3.2.
#[tokio::test]
async fn the_limit_is_a_persons_not_a_records() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    assert_eq!(code(&world.buy(&caller(1), &product).await), "");
    let merge = "INSERT INTO replica_member (id, epoch, version, state, merged_into)
                 VALUES ($1, 1, 2, 'merged', $2)";
    let (old, new) = (Uuid::from_u128(0x1001), Uuid::from_u128(0x1002));
    world
        .ctx()
        .db
        .execute(merge, [old.into(), new.into()])
        .await
        .unwrap();
    let refused = world.buy(&caller(2), &product).await;
    assert_eq!(code(&refused), "MEMBER_LIMIT_REACHED");
    let hers = Caller::member(MemberId(new), LoginId(Uuid::from_u128(7)), Language::En);
    let query = "{ myPasses(first: 5) { nodes { state } } }";
    let data = world.ask(&hers, query, json!({})).await;
    assert_eq!(
        data["myPasses"]["nodes"],
        json!([{ "state": "AWAITING_PAYMENT" }])
    );
    world.verify().await;
}

/// A free pass has an order too, which billing settles at once.
#[tokio::test]
async fn a_free_pass_is_ordered_like_any() {
    let world = World::new().await;
    let product = world.product(json!({ "priceFen": 0 })).await;
    let id = world.bought(&caller(1), &product).await;
    assert_eq!(world.pass(&caller(1), &id).await["state"], "ACTIVE");
    world.verify().await;
}

/// Many purchases at once are batched; each has its own answer, and the limit holds.
#[tokio::test]
async fn a_crowd_is_served_in_batches() {
    let world = World::new().await;
    let product = world.product(json!({ "saleLimit": 100 })).await;
    let buyers: Vec<Caller> = (1..=150).map(caller).collect();
    let answers =
        futures::future::join_all(buyers.iter().map(|buyer| world.buy(buyer, &product))).await;
    let sold = answers
        .iter()
        .filter(|answer| code(answer).is_empty())
        .count();
    assert_eq!(sold, 100);
    assert!(
        answers
            .iter()
            .all(|answer| ["", "SOLD_OUT"].contains(&code(answer)))
    );
    let ids: std::collections::BTreeSet<&str> = answers
        .iter()
        .filter_map(|answer| answer["pass"]["id"].as_str())
        .collect();
    assert_eq!(ids.len(), 100);
    assert_eq!(world.count("SELECT count(*) AS count FROM pass").await, 100);
    world.verify().await;
}
