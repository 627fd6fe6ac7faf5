//! Documents that cost more than they look, each signed and sent to a real listener, each
//! answered within a second.

use std::time::Duration;

use kit::graphql::{self, Mode};
use serde_json::{Value, json};

use crate::world::{Answer, World, schema};

const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);

async fn ask(world: &World, query: &str) -> Answer {
    let answer = world.query(query).send().await;
    assert!(
        answer.took < REFUSAL_TIME_MAX,
        "{:?} for {:.60}",
        answer.took,
        query
    );
    answer
}

async fn too_complex(world: &World, query: &str, limit: &str) {
    let answer = ask(world, query).await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "QUERY_TOO_COMPLEX"),
        "{:.80}",
        query
    );
    assert!(
        answer.message().ends_with(&format!("[{limit}]")),
        "{}",
        answer.message()
    );
}

fn fan_out(levels: usize, width: usize) -> String {
    let mut query = "{ ...F0 }".to_owned();
    for level in 0..levels {
        let spreads = format!("...F{} ", level + 1).repeat(width);
        query.push_str(&format!(" fragment F{level} on Query {{ {spreads} }}"));
    }
    query + &format!(" fragment F{levels} on Query {{ hello }}")
}

/// 26 levels that double took more than a minute and 12 GB without the budget.
#[tokio::test]
async fn fragment_bombs_are_refused_at_once() {
    let world = World::start(Mode::Production).await;
    for (levels, width) in [
        (10, 2),
        (16, 2),
        (22, 2),
        (26, 2),
        (5, 20),
        (3, 150),
        (2, 240),
    ] {
        too_complex(&world, &fan_out(levels, width), "expanded selections").await;
    }
    let on_mutation = fan_out(26, 2).replace("{ ...F0 }", "mutation { ...F0 }");
    too_complex(&world, &on_mutation, "expanded selections").await;
    let inline = fan_out(26, 2).replace("{ ...F0 }", "{ ... { ... on Query { ...F0 } } }");
    too_complex(&world, &inline, "expanded selections").await;
    for cycle in [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { hello ...B } fragment B on Query { ...A hello }",
        "{ ...A } fragment A on Query { ...A @include(if: false) }",
    ] {
        too_complex(&world, cycle, "expanded selections").await;
    }
    let long = |length| fan_out(length, 1);
    too_complex(&world, &long(5_000), "tokens").await;
    too_complex(&world, &long(200), "fragments").await;
    // Within all budgets of size, but deeper than the schema's own limit.
    assert_eq!(
        ask(&world, &long(60)).await.code(),
        "GRAPHQL_VALIDATION_FAILED"
    );
    assert_eq!(ask(&world, &long(20)).await.body["data"]["hello"], "hello");
    world.end().await;
}

#[tokio::test]
async fn counts_are_bounded() {
    let world = World::start(Mode::Production).await;
    let many = |count: usize, each: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(each).collect();
        format!("{{ {} }}", all.join(" "))
    };
    too_complex(&world, &many(20_000, &|n| format!("a{n}:hello")), "tokens").await;
    too_complex(&world, &many(51, &|n| format!("a{n}:hello")), "aliases").await;
    too_complex(
        &world,
        &format!("{{ hello {} }}", "@aa".repeat(20_000)),
        "tokens",
    )
    .await;
    let skips = "@skip(if:false)".repeat(51);
    too_complex(&world, &format!("{{ hello {skips} }}"), "directives").await;
    let skips = |count| format!("{{ hello {} }}", "@skip(if: false) ".repeat(count));
    for (count, why) in [(5, "Duplicate directive"), (6, "number of directives")] {
        let answer = ask(&world, &skips(count)).await;
        assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED");
        assert!(answer.message().contains(why), "{}", answer.message());
    }
    too_complex(
        &world,
        &many(2_001, &|_| "hello".to_owned()),
        "expanded selections",
    )
    .await;
    let operations: String = (0..9).map(|n| format!("query Q{n} {{ hello }} ")).collect();
    too_complex(&world, &operations, "operations").await;
    let comments = format!("{{ hello }} #{}", "x".repeat(200_000));
    assert_eq!(ask(&world, &comments).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn depth_is_bounded_in_selections_and_values() {
    let world = World::start(Mode::Production).await;
    let deep = |levels: usize| {
        format!(
            "{{ node {{ {} id {} }} }}",
            "next { ".repeat(levels),
            "}".repeat(levels)
        )
    };
    assert_eq!(ask(&world, &deep(10)).await.status, 200);
    assert!(ask(&world, &deep(10)).await.body["errors"].is_null());
    assert_eq!(
        ask(&world, &deep(20)).await.code(),
        "GRAPHQL_VALIDATION_FAILED"
    );
    too_complex(&world, &deep(1_000), "nesting").await;
    too_complex(&world, &"{".repeat(100_000), "nesting").await;
    let inline = format!("{{ {} hello {} }}", "... { ".repeat(40), "}".repeat(40));
    assert_eq!(
        ask(&world, &inline).await.code(),
        "GRAPHQL_VALIDATION_FAILED"
    );
    let tree = format!(
        "{{ tree(tree: {}{}) }}",
        "{child:".repeat(1_000),
        "}".repeat(1_000)
    );
    too_complex(&world, &tree, "nesting").await;
    let lists = format!(
        "{{ numbers(of: {}{}) }}",
        "[".repeat(1_000),
        "]".repeat(1_000)
    );
    too_complex(&world, &lists, "nesting").await;
    let variables = format!(
        r#"{{"query":"query($t:Tree){{tree(tree:$t)}}","variables":{{"t":{}null{}}}}}"#,
        r#"{"child":"#.repeat(1_000),
        "}".repeat(1_000)
    );
    world.shot(variables).refused(400, "BAD_REQUEST").await;
    world.end().await;
}

/// `_entities` is a query by a list of ids: bounded, and one absent entry is null, not the end
/// of all the others.
#[tokio::test]
async fn representations_are_bounded() {
    let world = World::start(Mode::Production).await;
    let entities = |count: usize| {
        let one = |n: usize| match n {
            1 => json!({"__typename": "Node", "id": "absent"}),
            _ => json!({"__typename": "Node", "id": n.to_string()}),
        };
        let list: Vec<Value> = (0..count).map(one).collect();
        let query =
            "query ($r: [_Any!]!) { _entities(representations: $r) { ... on Node { id } } }";
        json!({ "query": query, "variables": { "r": list } }).to_string()
    };
    let answer = world.shot(entities(100)).send().await;
    let found = answer.body["data"]["_entities"].as_array().unwrap();
    assert_eq!(
        (found.len(), &found[1], &found[2]["id"]),
        (100, &Value::Null, &json!("2"))
    );
    world
        .shot(entities(101))
        .refused(400, "QUERY_TOO_COMPLEX")
        .await;
    // 100,000 do not even fit into a body; the most that fits is refused as well.
    world
        .shot(entities(100_000))
        .refused(413, "BODY_TOO_LARGE")
        .await;
    let short = vec![1; 100_000];
    let query = "query ($r: [_Any!]!) { _entities(representations: $r) { __typename } }";
    let body = json!({ "query": query, "variables": { "r": short } }).to_string();
    world.shot(body).refused(400, "QUERY_TOO_COMPLEX").await;
    let inline = "{__typename:\"Node\",id:\"1\"}".repeat(101);
    let inline = format!("{{ _entities(representations: [{inline}]) {{ __typename }} }}");
    too_complex(&world, &inline, "representations").await;
    let default = "1,".repeat(101);
    let default = format!(
        "query ($r: [_Any!]! = [{default}]) {{ _entities(representations: $r) {{ __typename }} }}"
    );
    too_complex(&world, &default, "representations").await;
    world.end().await;
}

/// What a list says it costs is counted before anything runs.
#[tokio::test]
async fn rows_are_counted_before_they_are_read() {
    let world = World::start(Mode::Production).await;
    let rows = |count| {
        format!(
            "{{ node {{ many(first: {count}) {{ id price {{ amountFen }} next {{ id }} }} }} }}"
        )
    };
    let most = ask(&world, &rows(990)).await;
    let read = most.body["data"]["node"]["many"].as_array().map(Vec::len);
    assert_eq!(read, Some(990), "{}", most.text);
    let more = ask(&world, &rows(1_000)).await;
    assert_eq!(more.code(), "GRAPHQL_VALIDATION_FAILED");
    assert!(more.message().contains("too complex"), "{}", more.message());
    assert!(more.body["data"].is_null());
    world.end().await;
}

/// A list below `_entities` is read once for each of them, which no count of fields shows.
#[tokio::test]
async fn lists_of_many_entities_are_refused() {
    let world = World::start(Mode::Production).await;
    let asked = |entities: usize, lists: usize, rows: usize| {
        let one = |n: usize| json!({ "__typename": "Node", "id": n.to_string() });
        let list: Vec<Value> = (0..entities).map(one).collect();
        let lists: String = (0..lists)
            .map(|n| format!("a{n}: many(first: {rows}) {{ id }} "))
            .collect();
        let query = format!(
            "query ($r: [_Any!]!) {{ _entities(representations: $r) \
             {{ ... on Node {{ {lists} }} }} }}"
        );
        json!({ "query": query, "variables": { "r": list } }).to_string()
    };
    let usual = world.shot(asked(100, 2, 50)).send().await;
    assert!(usual.body["errors"].is_null(), "{}", usual.text);
    for (lists, rows) in [(30, 50), (30, 1)] {
        let refused = world.shot(asked(100, lists, rows)).send().await;
        assert_eq!(refused.code(), "QUERY_TOO_COMPLEX", "{lists} {rows}");
        assert!(
            refused.message().ends_with("[cost]"),
            "{}",
            refused.message()
        );
    }
    world.end().await;
}

/// `_service{sdl}` answers in async-graphql even where introspection is off.
#[tokio::test]
async fn production_shows_no_schema() {
    let world = World::start(Mode::Production).await;
    for query in [
        "{ __schema { types { name } } }",
        "{ __type(name: \"Node\") { name } }",
        "{ _service { sdl } }",
        "{ s: _service { sdl } }",
        "{ ...F } fragment F on Query { ... on Query { _service { sdl } } }",
        "query A { hello } query B { _service { sdl } }",
    ] {
        world
            .query(query)
            .refused(400, "INTROSPECTION_DISABLED")
            .await;
    }
    let typo = ask(&world, "{ hell }").await;
    assert_eq!(typo.code(), "GRAPHQL_VALIDATION_FAILED");
    assert!(
        !typo.text.contains("hello") && !typo.text.contains("mean"),
        "{}",
        typo.text
    );
    assert_eq!(
        ask(&world, "{ __typename }").await.body["data"]["__typename"],
        "Query"
    );
    world.end().await;
    let world = World::start(Mode::Development).await;
    let shown = ask(
        &world,
        "{ _service { sdl } __schema { queryType { name } } }",
    )
    .await;
    assert_eq!(shown.body["data"]["__schema"]["queryType"]["name"], "Query");
    assert!(shown.text.contains("type Node"));
    world.end().await;
}

/// Odd documents are answered with a code, not with a crash.
#[tokio::test]
async fn garbage_is_answered_with_a_code() {
    let world = World::start(Mode::Production).await;
    for query in [
        "",
        "}",
        "{",
        "\u{0}",
        "query",
        "{ hello(",
        "\"",
        "\"\"\"",
        "{ echo(text: \"\\u0000\") ",
        "subscription { hello }",
        "query A { hello } query B { hello }",
        "query A { hello } query A { hello }",
        "{ echo(text: 1) }",
        "{ echo }",
        "{ numbers(of: [9007199254740993]) }",
        "{ ...Nowhere }",
        "query ($a: Int!) { hello }",
    ] {
        let answer = ask(&world, query).await;
        assert_eq!(
            answer.code(),
            "GRAPHQL_VALIDATION_FAILED",
            "{query}: {}",
            answer.text
        );
    }
    let long = "x".repeat(200_000);
    let answer = ask(&world, &format!("{{ echo(text: \"{long}\") }}")).await;
    assert_eq!(
        answer.body["data"]["echo"].as_str().map(str::len),
        Some(200_000)
    );
    world.end().await;
}

/// The SDL that is committed: the same bytes each time, for federation 2.
#[test]
fn the_schema_file_is_deterministic() {
    let one = graphql::sdl(&schema(Mode::Production, std::sync::Arc::default()));
    let two = graphql::sdl(&schema(Mode::Development, std::sync::Arc::default()));
    assert_eq!(one, two);
    assert!(one.contains("type Money @shareable"), "{one}");
    assert!(one.contains("type Node @key(fields: \"id\")"), "{one}");
    assert!(
        one.contains("https://specs.apollo.dev/federation/v2"),
        "{one}"
    );
}
