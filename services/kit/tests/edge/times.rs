//! Dates and instants of an input: those that nobody can mean are the client's mistake, whichever
//! way they come in, and reach neither arithmetic nor the database.

use kit::graphql::{Mode, YEAR_MAX, YEAR_MIN, sdl};
use serde_json::{Value, json};

use crate::world::{Answer, World, schema};

async fn ask(world: &World, query: &str, of: &Value) -> Answer {
    let body = json!({ "query": query, "variables": { "of": of } }).to_string();
    world
        .shot(body)
        .header("accept-language", "en")
        .send()
        .await
}

const DATE: &str = "query ($of: Date!) { date(of: $of) }";
const INSTANT: &str = "query ($of: DateTime!) { instant(of: $of) }";
const SPAN: &str = "query ($of: Span!) { span(of: $of) }";

/// A date is called so, and there is one scalar for instants that come in and that go out.
#[test]
fn the_graph_has_one_date_and_one_instant() {
    let sdl = sdl(&schema(Mode::Production, std::sync::Arc::default()));
    assert!(sdl.contains("date(of: Date!): Date!"), "{sdl}");
    assert!(sdl.contains("instant(of: DateTime!): DateTime!"), "{sdl}");
    for scalar in ["scalar Date\n", "scalar DateTime @"] {
        assert_eq!(sdl.matches(scalar).count(), 1, "{scalar}");
    }
    assert!(!sdl.contains("NaiveDate"), "{sdl}");
}

/// What is sensible goes in and comes out.
#[tokio::test]
async fn a_date_and_an_instant_are_read() {
    let world = World::start(Mode::Production).await;
    for date in [
        "2026-04-01",
        "2024-02-29",
        &format!("{YEAR_MIN}-01-01"),
        &format!("{YEAR_MAX}-12-31"),
    ] {
        let answer = ask(&world, DATE, &json!(date)).await;
        assert_eq!(answer.body["data"]["date"], *date, "{}", answer.text);
    }
    let answer = ask(&world, INSTANT, &json!("2026-04-01T08:30:00.25+08:00")).await;
    assert_eq!(
        answer.body["data"]["instant"],
        "2026-04-01T00:30:00.250+00:00"
    );
    let answer = ask(&world, SPAN, &json!({ "dates": ["2026-04-01"] })).await;
    assert_eq!(answer.body["data"]["span"], "2026-04-01");
    world.end().await;
}

/// A year beyond the two bounds, and what is no date at all: `BAD_INPUT`, in both languages, as a
/// variable, in the document, and within an input object.
#[tokio::test]
async fn what_nobody_can_mean_is_bad_input() {
    let world = World::start(Mode::Production).await;
    let mut cases = Vec::new();
    for date in [
        json!("1899-12-31"),
        json!("2201-01-01"),
        json!("0000-01-01"),
        json!("-0044-03-15"),
        json!("+262142-01-01"),
        json!("294277-01-01"),
        json!("2026-02-30"),
        json!("2026-04-01T00:00:00Z"),
        json!(""),
        json!(20_260_401),
    ] {
        cases.push((SPAN, json!({ "dates": ["2026-04-01", date] })));
        cases.push((DATE, date));
    }
    for at in [
        json!("1899-12-31T23:59:59Z"),
        json!("2201-01-01T00:00:00Z"),
        json!("-4713-11-24T00:00:00Z"),
        json!("+262142-12-31T23:59:59Z"),
        json!("294277-01-09T04:00:54.775807Z"),
        json!("2026-04-01"),
        json!("2026-04-01T00:00:00"),
        json!(1_775_008_800),
    ] {
        cases.push((SPAN, json!({ "until": at })));
        cases.push((INSTANT, at));
    }
    for (query, of) in cases {
        let answer = ask(&world, query, &of).await;
        assert_eq!(answer.code(), "BAD_INPUT", "{of}: {}", answer.text);
        assert!(answer.message().starts_with("Bad input"), "{}", answer.text);
        let told = &answer.body["errors"][0]["extensions"];
        assert_eq!(*told, json!({ "code": "BAD_INPUT" }));
        assert!(answer.body["data"].is_null(), "{}", answer.text);
    }
    let literal = world.query("{ date(of: \"9999-01-01\") }").send().await;
    assert_eq!(literal.code(), "BAD_INPUT", "{}", literal.text);
    assert!(
        literal.message().starts_with("输入有误"),
        "{}",
        literal.text
    );
    world.end().await;
}
