//! Products: versions, what is published for ever, who may touch them.

use kit::access::Caller;
use kit::graphql::Language;
use kit::migrate::Migration;
use proto::passes::ProductChanged;
use serde_json::json;

use crate::world::{World, caller, code, key, usual_terms};

/// A version that was published never changes, and a pass keeps the one it was sold under.
#[tokio::test]
async fn a_pass_keeps_the_version_it_was_sold_under() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let pass = world.bought(&caller(1), &product).await;
    let terms = usual_terms(&json!({ "priceFen": 30_000, "rules": { "total": 3 } }));
    let input = json!({ "productId": product, "terms": terms, "idempotencyKey": key() });
    let changed = world
        .mutate(&world.operator, "updatePassProduct", input)
        .await;
    assert_eq!(
        changed["product"]["version"], 1,
        "a draft changes nothing on sale"
    );
    assert_eq!(changed["product"]["draft"]["version"], 2);
    let _ = world.emitted().await;
    let publish = json!({ "productId": product, "idempotencyKey": key() });
    let published = world
        .mutate(&world.operator, "publishPassProduct", publish)
        .await;
    assert_eq!(published["product"]["version"], 2);
    let event: ProductChanged = world.last().await;
    assert_eq!(
        (event.version, event.rules_version, event.price_fen),
        (2, 2, 30_000)
    );
    let rules = credential::rules::Rules::from_bytes(&event.rules).unwrap();
    assert_eq!((rules.product_version, rules.total), (2, Some(3)));
    let old = world.pass(&caller(1), &pass).await;
    assert_eq!(old["product"]["version"], 1);
    let new = world.buy(&caller(2), &product).await;
    assert_eq!(new["pass"]["price"]["amountFen"], 30_000);
    let edit = "UPDATE product_version SET price_fen = 1 WHERE number = 1";
    let refused = world.ctx().db.execute(edit, []).await.unwrap_err();
    assert_eq!(refused.constraint().as_deref(), Some("version_immutable"));
    world.verify().await;
}

#[tokio::test]
async fn a_sale_is_stopped_and_resumed() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let run = async |name: &str| {
        let input = json!({ "productId": product, "idempotencyKey": key() });
        let payload = world.mutate(&world.operator, name, input).await;
        let state = payload["product"]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        format!("{}{state}", code(&payload))
    };
    assert_eq!(run("resumeSale").await, "NOT_STOPPED");
    assert_eq!(run("stopSale").await, "STOPPED");
    assert_eq!(run("stopSale").await, "ALREADY_STOPPED");
    assert_eq!(code(&world.buy(&caller(1), &product).await), "NOT_ON_SALE");
    assert_eq!(run("resumeSale").await, "ON_SALE");
    assert_eq!(run("publishPassProduct").await, "NO_DRAFT");
    assert_eq!(code(&world.buy(&caller(1), &product).await), "");
    let lower = usual_terms(&json!({ "saleLimit": 1 }));
    assert_eq!(code(&world.buy(&caller(2), &product).await), "");
    let input = json!({ "productId": product, "terms": lower, "idempotencyKey": key() });
    let _ = world
        .mutate(&world.operator, "updatePassProduct", input)
        .await;
    assert_eq!(run("publishPassProduct").await, "LIMIT_BELOW_SOLD");
    world.verify().await;
}

/// Nobody but an operator writes products, and nobody else sees a draft.
#[tokio::test]
async fn products_are_the_operators() {
    let world = World::new().await;
    let draft = world.draft(json!({})).await;
    let input = json!({ "terms": usual_terms(&json!({})), "idempotencyKey": key() });
    let refused = world.mutate(&caller(1), "createPassProduct", input).await;
    assert_eq!(code(&refused), "FORBIDDEN");
    for name in ["publishPassProduct", "stopSale", "resumeSale"] {
        let input = json!({ "productId": draft, "idempotencyKey": key() });
        assert_eq!(
            code(&world.mutate(&caller(1), name, input).await),
            "FORBIDDEN",
            "{name}"
        );
    }
    let query = "query($id: ID!) { passProduct(id: $id) { state } }";
    let id = json!({ "id": draft });
    assert!(world.ask(&caller(1), query, id.clone()).await["passProduct"].is_null());
    let shown = world.ask(&world.operator, query, id).await;
    assert_eq!(shown["passProduct"]["state"], "DRAFT");
    let query = "{ passProducts(first: 9) { nodes { id } } }";
    let list = world.ask(&caller(1), query, json!({})).await;
    assert_eq!(list["passProducts"]["nodes"], json!([]));
}

/// Terms that make no sense are refused with the field at fault, in both languages.
/// ASVS V2.2.1.
#[tokio::test]
async fn senseless_terms_are_refused_by_field() {
    let world = World::new().await;
    for (change, field) in [
        (json!({ "nameZh": " " }), "nameZh"),
        (json!({ "priceFen": -1 }), "priceFen"),
        (json!({ "saleLimit": 0 }), "saleLimit"),
        (json!({ "memberLimit": 0 }), "memberLimit"),
        (
            json!({ "duration": { "unit": "DAYS", "count": 0 } }),
            "duration",
        ),
        (json!({ "activation": { "mode": "AUTO" } }), "within"),
        (
            json!({ "saleFrom": "2026-05-01T00:00:00Z", "saleUntil": "2026-04-01T00:00:00Z" }),
            "saleUntil",
        ),
        (
            json!({ "refundLadder": [{ "days": 7, "feePercent": 100 }] }),
            "refundLadder",
        ),
        (
            json!({ "rules": { "blackouts": [{ "start": "2026-05-05", "end": "2026-05-01" }] } }),
            "blackouts",
        ),
        (json!({ "rules": { "graceMinutes": 121 } }), "rules"),
    ] {
        let input = json!({ "terms": usual_terms(&change), "idempotencyKey": key() });
        let mut said = Vec::new();
        for language in [Language::Zh, Language::En] {
            let asking = Caller {
                language,
                ..world.operator.clone()
            };
            let refused = world.mutate(&asking, "createPassProduct", input.clone());
            let refused = refused.await;
            assert_eq!(code(&refused), "BAD_INPUT", "{change}: {refused:#}");
            let error = &refused["userErrors"][0];
            let path = error["field"].as_array().unwrap();
            assert_eq!(path.last().unwrap(), field, "{change}");
            said.push(error["message"].as_str().unwrap().to_owned());
        }
        // A reason, not only the name of a field, which is the same in both.
        let is_chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
        assert!(
            said[0].chars().filter(|c| is_chinese(*c)).count() > 4,
            "{}",
            said[0]
        );
        assert!(
            !said[1].chars().any(is_chinese) && said[1].contains(' '),
            "{}",
            said[1]
        );
    }
    assert_eq!(
        world.count("SELECT count(*) AS count FROM product").await,
        0
    );
}

/// Running the migrations again changes nothing.
#[tokio::test]
async fn migrations_run_once() {
    let world = World::new().await;
    let all: Vec<Migration> = passes::ALL_MIGRATIONS.concat();
    let ran = kit::migrate::run(&world.db.owner().await, &all)
        .await
        .unwrap();
    assert!(ran.is_empty(), "{ran:?}");
}
