//! What members and operators get wrong: each is answered with its code and a sentence in the
//! language they asked in, and nothing is left of it.

use chrono::TimeDelta;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, caller, key, usual_terms};

const NOT_FOUND: [&str; 3] = ["NOT_FOUND", "没有找到。", "There is no such thing."];
const NOT_ON_SALE: [&str; 3] = [
    "NOT_ON_SALE",
    "该产品目前不在售。",
    "This product is not on sale at present.",
];
const SOLD_OUT: [&str; 3] = [
    "SOLD_OUT",
    "该产品已售罄；未支付的订单关闭后可能恢复余量。",
    "This product is sold out; some may come back when unpaid orders are closed.",
];

/// Sends a mutation in both languages: the code, then what is read in Chinese and in English.
async fn answered(world: &World, who: &Caller, name: &str, input: &Value) -> [String; 3] {
    let mut code = String::new();
    let mut texts = Vec::new();
    for language in [Language::Zh, Language::En] {
        let who = Caller {
            language,
            ..who.clone()
        };
        let payload = world.mutate(&who, name, input.clone()).await;
        let errors = payload["userErrors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{payload:#}");
        for (field, thing) in payload.as_object().unwrap() {
            assert!(field == "userErrors" || thing.is_null(), "{payload:#}");
        }
        code = errors[0]["code"].as_str().unwrap().to_owned();
        texts.push(errors[0]["message"].as_str().unwrap().to_owned());
    }
    let en = texts.pop().unwrap();
    [code, texts.pop().unwrap(), en]
}

fn buys(product: &str) -> Value {
    json!({ "productId": product, "idempotencyKey": key() })
}

fn names(pass: &str) -> Value {
    json!({ "passId": pass, "idempotencyKey": key() })
}

/// What is not on sale now, not on sale at all, gone, or beyond what one person may have.
#[tokio::test]
async fn a_purchase_that_cannot_be() {
    let world = World::new().await;
    let from = json!({ "saleFrom": "2026-04-01T10:00:01+08:00" });
    let early = world.product(from).await;
    let until = json!({ "saleUntil": "2026-04-01T10:00:00+08:00" });
    let late = world.product(until).await;
    let stopped = world.product(json!({})).await;
    let stop = buys(&stopped);
    let _ = world.mutate(&world.operator, "stopSale", stop).await;
    let draft = world.draft(json!({})).await;
    let last = world.product(json!({ "saleLimit": 1 })).await;
    let _ = world.bought(&caller(2), &last).await;
    let once = world.product(json!({})).await;
    let _ = world.bought(&caller(1), &once).await;
    let none = GlobalId::of_uuid("PassProduct", Uuid::from_u128(9)).to_string();
    let over = [
        "SALE_OVER",
        "该产品的发售期已结束。",
        "The sale of this product is over.",
    ];
    let not_yet = [
        "SALE_NOT_OPEN",
        "该产品尚未开售，请在开售后购买。",
        "The sale of this product has not opened yet.",
    ];
    let limit = [
        "MEMBER_LIMIT_REACHED",
        "您已达到该产品的个人限购数量。",
        "You have bought as many of this product as one person may.",
    ];
    for (product, expected) in [
        (early.as_str(), not_yet),
        (&late, over),
        (&stopped, NOT_ON_SALE),
        (&draft, NOT_ON_SALE),
        (&last, SOLD_OUT),
        (&once, limit),
        (&none, NOT_FOUND),
        ("rubbish", NOT_FOUND),
    ] {
        let answer = answered(&world, &caller(1), "buyPass", &buys(product)).await;
        assert_eq!(answer, expected);
    }
    assert_eq!(world.count("SELECT count(*) AS count FROM pass").await, 2);
    // The first second of the one's window, and the last of the other's, were only missed.
    world.ctx().clock.advance(TimeDelta::seconds(1));
    let open = world.buy(&caller(1), &early).await;
    assert_eq!(open["userErrors"], json!([]));
    world.verify().await;
}

/// One key, two requests: of any two kinds.
#[tokio::test]
async fn a_key_with_another_request() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let other = world.product(json!({})).await;
    let key = key();
    let input = |product: &str| json!({ "productId": product, "idempotencyKey": key });
    let first = world.mutate(&caller(1), "buyPass", input(&product)).await;
    let id = first["pass"]["id"].as_str().unwrap();
    world.tell(&[world.paid(&first["pass"], 2)]).await.unwrap();
    let reused = [
        "IDEMPOTENCY_KEY_REUSED",
        "这个幂等键已用于另一个请求，请换一个新的。",
        "This idempotency key was used for another request; use a new one.",
    ];
    let answer = answered(&world, &caller(1), "buyPass", &input(&other)).await;
    assert_eq!(answer, reused);
    let refund = json!({ "passId": id, "idempotencyKey": key });
    let answer = answered(&world, &caller(1), "requestPassRefund", &refund).await;
    assert_eq!(answer, reused);
    assert_eq!(world.pass(&caller(1), id).await["state"], "ACTIVE");
    assert_eq!(world.count("SELECT count(*) AS count FROM pass").await, 1);
    world.verify().await;
}

/// Another member's pass by its id is answered to the letter as one that does not exist.
#[tokio::test]
async fn another_members_pass_is_absent() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let hers = world.bought(&caller(1), &product).await;
    let absent = "UGFzczoAAAAAAAAAAA";
    for name in ["activatePass", "requestPassRefund"] {
        for pass in [hers.as_str(), absent] {
            let answer = answered(&world, &caller(2), name, &names(pass)).await;
            assert_eq!(answer, NOT_FOUND, "{name} {pass}");
        }
    }
    for pass in [hers.as_str(), absent] {
        let renewal = json!({ "productId": product, "renews": pass, "idempotencyKey": key() });
        let answer = answered(&world, &caller(2), "buyPass", &renewal).await;
        let text = [
            "NOT_FOUND",
            "没有找到要续期的年票。",
            "There is no such pass to renew.",
        ];
        assert_eq!(answer, text, "{pass}");
        assert!(world.pass(&caller(2), pass).await.is_null());
    }
    assert_eq!(world.pass(&caller(1), &hers).await["state"], "ACTIVE");
    world.verify().await;
}

/// A refund of what is not paid, was used, is refunded already, comes too late or never can be.
#[tokio::test]
async fn a_refund_that_cannot_be() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let strict = world.product(json!({ "refundLadder": [] })).await;
    let unpaid = world.buy(&caller(1), &product).await;
    let unpaid = unpaid["pass"]["id"].as_str().unwrap();
    let never = world.bought(&caller(1), &strict).await;
    let used = world.bought(&caller(1), &product).await;
    let scan = world.used(&used, (1, 1), false);
    world.tell(&[scan]).await.unwrap();
    let running = world.bought(&caller(1), &product).await;
    let asked = world
        .mutate(&caller(1), "requestPassRefund", names(&running))
        .await;
    assert_eq!(asked["userErrors"], json!([]));
    let late = world.bought(&caller(1), &product).await;
    let cases = [
        (
            unpaid,
            "AWAITING_PAYMENT",
            "这张年票尚未支付。",
            "This pass has not been paid for yet.",
        ),
        (
            &never,
            "NOT_REFUNDABLE",
            "按购买时的规则，这张年票不能退款。",
            "By the terms of its sale this pass cannot be refunded.",
        ),
        (
            &used,
            "REFUND_USED",
            "这张年票已经使用，按购买时的规则不能退款。",
            "This pass has been used and by the terms of its sale cannot be refunded.",
        ),
        (
            &running,
            "REFUND_IN_PROGRESS",
            "这张年票正在退款。",
            "A refund of this pass is in progress.",
        ),
    ];
    for (pass, code, zh, en) in cases {
        let answer = answered(&world, &caller(1), "requestPassRefund", &names(pass)).await;
        assert_eq!(answer, [code, zh, en]);
    }
    world.ctx().clock.advance(TimeDelta::days(7));
    let answer = answered(&world, &caller(1), "requestPassRefund", &names(&late)).await;
    let text = [
        "REFUND_TOO_LATE",
        "已超过退款期限。",
        "The time in which this pass can be refunded is over.",
    ];
    assert_eq!(answer, text);
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 1);
}

/// Dates beyond what a database keeps, or anybody means, are refused where the input is read:
/// they reach no statement.
#[tokio::test]
async fn absurd_years_are_bad_input() {
    let world = World::new().await;
    let range = |start: &str, end: &str| {
        let dates = json!({ "start": start, "end": end });
        json!({ "rules": { "blackouts": [dates] } })
    };
    let absurd = [
        json!({ "saleFrom": "+275000-01-01T00:00:00Z" }),
        json!({ "saleFrom": "1899-12-31T23:59:59Z" }),
        json!({ "saleUntil": "2201-01-01T00:00:00Z" }),
        json!({ "saleUntil": "-4800-01-01T00:00:00Z" }),
        range("1899-12-31", "2026-05-01"),
        range("2026-05-01", "2201-01-01"),
        range("-4800-01-01", "2026-05-01"),
        range("2026-05-01", "+262000-01-01"),
        range("2026-02-30", "2026-05-01"),
    ];
    let create = "mutation($input: CreatePassProductInput!) {
        createPassProduct(input: $input) { product { id } userErrors { code } } }";
    for change in absurd {
        let input = json!({ "terms": usual_terms(&change), "idempotencyKey": key() });
        let input = json!({ "input": input });
        let response = world.respond(&world.operator, create, input).await;
        // The door of the service gives what is marked so the code `BAD_INPUT`.
        let error = &response["errors"][0];
        assert_eq!(error["extensions"]["unreadable"], true, "{change}: {error}");
    }
    let products = "SELECT count(*) AS count FROM product";
    assert_eq!(world.count(products).await, 0);
    let sane = json!({ "saleFrom": "1900-01-01T00:00:00Z", "saleUntil": "2200-12-31T00:00:00Z" });
    let _ = world.product(sane).await;
}
