//! Who may see and do what.

use kit::access::{Caller, Role};
use kit::graphql::{GlobalId, Language};
use serde_json::{Value, json};

use crate::world::{World, caller, member, payer};

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or("none")
}

/// The books are for operators and the union's own auditors.
#[tokio::test]
async fn the_books_are_for_those_who_keep_and_check_them() {
    let world = World::start().await;
    let _order = world.paid(&[19_900]).await;
    let queries = [
        "{ reconciliations(first: 5) { nodes { date } } }",
        "{ discrepancies(first: 5) { nodes { kind } } }",
        "{ ledgerAccounts { code name debits { fen } credits { fen } } }",
    ];
    let anonymous = Caller::anonymous(Language::En);
    let (auditor, officer) = (caller(30), caller(31));
    world.office(&auditor, Role::Auditor).await;
    world.office(&officer, Role::Officer).await;
    let operator = world.operator().await;
    for query in queries {
        let answer = world.graph(&anonymous, query, json!({})).await;
        assert_eq!(code(&answer), "UNAUTHENTICATED", "{query}");
        for nobody in [&payer(), &officer] {
            assert_eq!(
                code(&world.graph(nobody, query, json!({})).await),
                "FORBIDDEN",
                "{query}"
            );
        }
        for reader in [&auditor, &operator] {
            let answer = world.graph(reader, query, json!({})).await;
            assert_eq!(answer.get("errors"), None, "{query} {answer}");
        }
    }
    let reconcile = "mutation ($input: ReconcileInput!) { reconcile(input: $input) {
        userErrors { code } } }";
    let input = json!({ "input": { "date": "2026-03-31" } });
    for nobody in [&payer(), &auditor] {
        let answer = world.graph(nobody, reconcile, input.clone()).await;
        let refused = &answer["data"]["reconcile"]["userErrors"][0]["code"];
        assert_eq!(refused, "FORBIDDEN", "{answer}");
    }
}

/// A member sees her orders, their timelines and lines; nobody else's; an operator sees all.
#[tokio::test]
async fn orders_are_their_payers() {
    let world = World::start().await;
    let order = world.paid(&[19_900]).await;
    let _second = world.order(&[7]).await;
    let number = world
        .text(&format!(
            "SELECT number FROM orders WHERE id = '{}'",
            order.id
        ))
        .await;
    let operator = world.operator().await;
    let timeline = "query ($number: String!) { orderTimeline(number: $number) {
        number state total { amountFen } payment { state codeUrl }
        lines { title price { amountFen } pass { id } }
        timeline { code what amount { amountFen } } } }";
    for reader in [&payer(), &operator] {
        let typed = json!({ "number": format!(" {} ", number.to_lowercase()) });
        let answer = world.graph(reader, timeline, typed).await;
        let seen = &answer["data"]["orderTimeline"];
        assert_eq!(seen["number"], json!(number), "{answer}");
        assert_eq!(
            seen["payment"],
            json!({"state": "SUCCEEDED", "codeUrl": null})
        );
        assert_eq!(seen["lines"][0]["title"], "Bashu worker pass");
        let codes: Vec<&str> = seen["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["code"].as_str().unwrap())
            .collect();
        assert_eq!(
            codes,
            ["REQUESTED", "PAYMENT_STARTED", "PAYMENT_READY", "PAID"]
        );
    }
    let foreign = world
        .graph(&caller(2), timeline, json!({ "number": number }))
        .await;
    assert_eq!(foreign["data"]["orderTimeline"], json!(null));
    let mistyped = number.replace("-000001-", "-000002-");
    let answer = world
        .graph(&payer(), timeline, json!({ "number": mistyped }))
        .await;
    assert_eq!(answer["data"]["orderTimeline"], json!(null));
    let mine = "{ myOrders(first: 1) { nodes { number } pageInfo { hasNextPage endCursor } } }";
    let answer = world.graph(&payer(), mine, json!({})).await;
    let page = &answer["data"]["myOrders"];
    assert_eq!(page["pageInfo"]["hasNextPage"], true, "{answer}");
    let next = "query ($after: String) { myOrders(first: 5, after: $after) { nodes { number } } }";
    let cursor = json!({ "after": page["pageInfo"]["endCursor"] });
    let rest = world.graph(&payer(), next, cursor).await;
    assert_eq!(
        rest["data"]["myOrders"]["nodes"].as_array().unwrap().len(),
        1
    );
    let without_size = world
        .graph(&payer(), "{ myOrders { nodes { id } } }", json!({}))
        .await;
    assert_eq!(code(&without_size), "BAD_INPUT");
}

/// `Member.orders` over the federation: her own and an operator's view, no one else's.
#[tokio::test]
async fn orders_of_a_member_over_the_federation() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let operator = world.operator().await;
    let query = "query ($of: [_Any!]!) { _entities(representations: $of) {
        ... on Member { orders(first: 5) { nodes { id } } } ... on Order { number } } }";
    let of_member = json!({ "of": [
        { "__typename": "Member", "id": GlobalId::of_uuid("Member", member(1)).0 } ] });
    for reader in [&payer(), &operator] {
        let answer = world.graph(reader, query, of_member.clone()).await;
        let nodes = answer["data"]["_entities"][0]["orders"]["nodes"]
            .as_array()
            .unwrap();
        assert_eq!(nodes.len(), 1, "{answer}");
    }
    let answer = world.graph(&caller(2), query, of_member).await;
    let nodes = &answer["data"]["_entities"][0]["orders"]["nodes"];
    assert_eq!(nodes, &json!([]), "{answer}");
    let of_order = json!({ "of": [
        { "__typename": "Order", "id": GlobalId::of_uuid("Order", order.id).0 } ] });
    let answer = world.graph(&caller(2), query, of_order.clone()).await;
    assert_eq!(answer["data"]["_entities"], json!([null]), "{answer}");
    let answer = world.graph(&payer(), query, of_order).await;
    assert!(
        answer["data"]["_entities"][0]["number"].is_string(),
        "{answer}"
    );
}

/// Records of one person that were merged are hers, whichever member id they were written with.
/// ASVS V7.4.2.
#[tokio::test]
async fn a_merged_member_keeps_her_orders() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    let merge = format!(
        "INSERT INTO replica_member (id, epoch, version, state, merged_into)
         VALUES ('{}', 1, 1, 'merged', '{}')",
        member(1),
        member(5)
    );
    world.db.ctx.db.execute(&merge, []).await.unwrap();
    let paying = world
        .pay_order(&caller(5), order.id, crate::world::key())
        .await;
    assert_eq!(paying["payment"]["state"], "WAITING", "{paying}");
    let query = "query ($id: ID!) { order(id: $id) { number } }";
    let id = json!({ "id": GlobalId::of_uuid("Order", order.id).0 });
    let answer = world.graph(&caller(5), query, id.clone()).await;
    assert!(answer["data"]["order"]["number"].is_string(), "{answer}");
    // The record that was merged away is no login any longer.
    assert_eq!(
        code(&world.graph(&payer(), query, id).await),
        "UNAUTHENTICATED"
    );
}

/// Everything in the graph says what it is.
#[test]
fn everything_is_described() {
    let sdl = billing::sdl();
    let (mut inside, mut described) = (false, false);
    let mut silent = Vec::new();
    for line in sdl.lines().map(str::trim) {
        if line.starts_with("\"\"\"") {
            inside = !inside;
            described = true;
            continue;
        }
        let of_the_schema = [
            "schema",
            "extend",
            "scalar",
            "directive",
            "union",
            "}",
            "_",
            "url:",
            "import:",
            ")",
        ];
        let is_item = !line.is_empty() && !of_the_schema.iter().any(|own| line.starts_with(own));
        let made = ["type Query", "type Mutation"]
            .iter()
            .any(|root| line.starts_with(root))
            || line.ends_with("Connection @shareable {");
        if !inside && is_item && !made && !described {
            silent.push(line.to_owned());
        }
        described = inside;
    }
    assert!(sdl.len() > 5_000 && silent.is_empty(), "{silent:#?}");
}

/// Fifty orders by their ids, one of them another's, while identity is not heard of: the fifty are
/// answered, and the one is not seen. Without a token none is, and nothing fails.
#[tokio::test]
async fn one_foreign_order_spoils_no_other() {
    let world = World::still().await;
    let mut asked = Vec::new();
    for _ in 0..49 {
        asked.push(world.order(&[100]).await.id);
    }
    let foreign = world.request_of(2, &[100]);
    world.apply(&[world.requested(&foreign)]).await.unwrap();
    asked.insert(20, uuid::Uuid::from_slice(&foreign.order_id).unwrap());
    let query = "query ($of: [_Any!]!) { _entities(representations: $of) {
        ... on Order { number } } }";
    let of: Vec<Value> = asked
        .iter()
        .map(|id| json!({ "__typename": "Order", "id": GlobalId::of_uuid("Order", *id).0 }))
        .collect();
    let answer = world.graph(&payer(), query, json!({ "of": of })).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let seen = answer["data"]["_entities"].as_array().unwrap();
    assert_eq!(seen.len(), 50);
    for (at, one) in seen.iter().enumerate() {
        assert_eq!(one.is_null(), at == 20, "{at}: {one}");
    }
    let anonymous = Caller::anonymous(Language::En);
    let answer = world.graph(&anonymous, query, json!({ "of": of })).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let seen = answer["data"]["_entities"].as_array().unwrap();
    assert!(seen.len() == 50 && seen.iter().all(Value::is_null));
    // Asked for by itself it is not known whether the caller is an operator.
    let alone = "query ($id: ID!) { order(id: $id) { number } }";
    let id = json!({ "id": GlobalId::of_uuid("Order", asked[20]).0 });
    assert_eq!(code(&world.graph(&payer(), alone, id).await), "UNAVAILABLE");
}
