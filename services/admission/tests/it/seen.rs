//! What the people who run a venue see of it through the graph, and what is seen while nobody
//! knows who they are.

use admission::commands::redeem::Scanned;
use chrono::TimeDelta;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use serde_json::{Value, json};

use crate::bad_input::respond;
use crate::world::{Device, World, daily, refused};

const ALARMS: &str = "query ($venue: ID!, $first: Int!, $after: String) { venue(id: $venue) {
  nameEn alarms(first: $first, after: $after) { nodes { code at gateId redemptionId }
    pageInfo { hasNextPage endCursor } } } }";

/// A scan's number that comes again with `others` other codes.
async fn reused(world: &World, door: &Device, others: u64) -> uuid::Uuid {
    let scanned = world.scan(door, &world.token(1));
    let first = world.redeem(door, scanned.clone()).await.unwrap();
    for other in 2..2 + others {
        world.advance(TimeDelta::seconds(1)).await;
        let text = world.token(other);
        let again = Scanned {
            text,
            ..scanned.clone()
        };
        for _ in 0..2 {
            let answer = world.redeem(door, again.clone()).await;
            assert_eq!(refused(answer), "SCAN_ID_REUSED");
        }
    }
    first.id
}

/// Staff see what they must look at, page by page, and strangers see that the venue is there.
#[tokio::test(flavor = "multi_thread")]
async fn alarms_are_seen_by_those_who_run_the_venue() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let scan = reused(&world, &door, 3).await;
    let elsewhere = world.door("动物园").await;
    reused(&world, &elsewhere, 1).await;
    let venue = GlobalId::of_uuid("Venue", door.venue.uuid());
    let page = async |caller: &Caller, first: i32, after: &Value| -> Value {
        let variables = json!({ "venue": venue, "first": first, "after": after });
        let response = respond(&world, caller, ALARMS, variables).await;
        assert!(response.get("errors").is_none(), "{response:#}");
        assert_eq!(response["data"]["venue"]["nameEn"], "The 博物馆");
        response["data"]["venue"]["alarms"].clone()
    };
    for insider in [&world.staff, &world.manager, &world.operator] {
        let seen = page(insider, 2, &Value::Null).await;
        let nodes = seen["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 2);
        for one in nodes {
            assert_eq!(one["code"], "SCAN_ID_REUSED");
            assert_eq!(
                one["gateId"],
                json!(GlobalId::of_uuid("Gate", door.gate.uuid()))
            );
            assert_eq!(
                one["redemptionId"],
                json!(GlobalId::of_uuid("Redemption", scan))
            );
        }
        assert_eq!(seen["pageInfo"]["hasNextPage"], true);
        let rest = page(insider, 2, &seen["pageInfo"]["endCursor"]).await;
        assert_eq!(rest["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(rest["pageInfo"]["hasNextPage"], false);
    }
    let anonymous = Caller::anonymous(Language::Zh);
    for outsider in [&world.nobody, &world.rival(), &anonymous] {
        assert_eq!(page(outsider, 2, &Value::Null).await["nodes"], json!([]));
    }
    world.check().await;
}

/// While identity is not heard of, nobody's office is known: what needs one is absent from a batch
/// of entities, and takes nothing public with it. Asked for alone, it says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_entities_survives_identitys_silence() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let used = world.enter(&door, &world.token(1)).await;
    let variables = json!({
        "venue": GlobalId::of_uuid("Venue", door.venue.uuid()),
        "gate": GlobalId::of_uuid("Gate", door.gate.uuid()),
        "scan": GlobalId::of_uuid("Redemption", used.id),
    });
    let batch = "query ($venue: ID!, $gate: ID!, $scan: ID!) { _entities(representations: [
        { __typename: \"Redemption\", id: $scan }, { __typename: \"Venue\", id: $venue },
        { __typename: \"Gate\", id: $gate }]) {
        ... on Redemption { decision } ... on Venue { nameEn } ... on Gate { number } } }";
    let asked = async |query: &str| respond(&world, &world.staff, query, variables.clone()).await;
    let seen = asked(batch).await;
    let all = json!([{ "decision": "ADMIT" }, { "nameEn": "The 博物馆" }, { "number": 1 }]);
    assert_eq!(seen["data"]["_entities"], all);
    world.ctx().clock.advance(TimeDelta::seconds(61));
    let seen = asked(batch).await;
    assert!(seen.get("errors").is_none(), "{seen:#}");
    let public = json!([null, { "nameEn": "The 博物馆" }, null]);
    assert_eq!(seen["data"]["_entities"], public);
    for alone in [
        "query ($gate: ID!) { gate(id: $gate) { number } }",
        "query ($scan: ID!) { redemption(id: $scan) { decision } }",
    ] {
        let answer = asked(alone).await;
        assert!(answer.get("errors").is_some(), "{answer:#}");
    }
}
