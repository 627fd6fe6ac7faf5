//! A business "no" is in the payload, in the caller's language; everything else is on top, with
//! a code and without a detail.

use async_graphql::resolver_utils::EnumType;
use kit::graphql::Mode;
use serde_json::json;

use crate::world::{Answer, TouchErrorCode, World};

async fn touch(world: &World, fail: &str, language: &str) -> Answer {
    let query = format!(
        "mutation {{ touch(fail: \"{fail}\") {{ node {{ id }} \
         userErrors {{ code field message }} }} }}"
    );
    world
        .query(&query)
        .header("accept-language", language)
        .send()
        .await
}

#[tokio::test]
async fn a_refusal_is_a_user_error() {
    let world = World::start(Mode::Production).await;
    let query =
        "mutation { touch { node { id price { amountFen currency } } userErrors { code } } }";
    let done = world.query(query).send().await;
    let node = json!({"id": "touched", "price": {"amountFen": 0, "currency": "CNY"}});
    assert_eq!(
        done.body["data"]["touch"],
        json!({"node": node, "userErrors": []})
    );
    for (fail, code, field, zh, en) in [
        (
            "sold_out",
            "SOLD_OUT",
            json!(["input", "quantity"]),
            "已售完。",
            "Sold out.",
        ),
        (
            "not_found",
            "NOT_FOUND",
            json!(null),
            "没有找到。",
            "There is no such thing.",
        ),
        (
            "forbidden",
            "FORBIDDEN",
            json!(null),
            "您没有权限进行此操作。",
            "You are not allowed to do this.",
        ),
        (
            "bad_input",
            "BAD_INPUT",
            json!(["input", "name"]),
            "输入有误（input.name）：不能为空。",
            "Bad input in input.name: is empty.",
        ),
    ] {
        for (language, message) in [("zh-CN,zh;q=0.9", zh), ("en-GB", en)] {
            let answer = touch(&world, fail, language).await;
            let user_error = json!({"code": code, "field": field, "message": message});
            let expected = json!({"node": null, "userErrors": [user_error]});
            assert_eq!(answer.body["data"]["touch"], expected, "{}", answer.text);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_ours_is_on_top_and_tells_nothing() {
    let world = World::start(Mode::Production).await;
    for (fail, code) in [
        ("unauthenticated", "UNAUTHENTICATED"),
        ("overloaded", "OVERLOADED"),
        ("unavailable", "UNAVAILABLE"),
        ("internal", "INTERNAL"),
        ("unlisted", "INTERNAL"),
    ] {
        let in_mutation = touch(&world, fail, "en").await;
        assert_eq!(in_mutation.code(), code, "{}", in_mutation.text);
        // In a query `?` alone must come out the same.
        let query = format!("{{ fail(with: \"{fail}\") }}");
        let in_query = world
            .query(&query)
            .header("accept-language", "en")
            .send()
            .await;
        let expected = if fail == "unlisted" { "UNLISTED" } else { code };
        assert_eq!(in_query.code(), expected, "{}", in_query.text);
        for text in [&in_mutation.text, &in_query.text] {
            for hidden in ["reason for logs", "secret", "kit::"] {
                assert!(!text.contains(hidden), "{text}");
            }
        }
    }
    let leak = world.query("{ leak }").send().await;
    assert_eq!(leak.code(), "INTERNAL");
    assert!(!leak.text.contains("No such file"), "{}", leak.text);
    world.query("{ panic }").refused(500, "INTERNAL").await;
    assert_eq!(
        world.query("{ hello }").send().await.status,
        200,
        "a panic ends one request"
    );
    world.end().await;
}

#[test]
fn every_mutation_has_the_common_codes() {
    let names: Vec<&str> = TouchErrorCode::items()
        .iter()
        .map(|item| item.name)
        .collect();
    let common = [
        "SOLD_OUT",
        "IDEMPOTENCY_KEY_REUSED",
        "NOT_FOUND",
        "FORBIDDEN",
        "BAD_INPUT",
    ];
    assert_eq!(names, common);
}
