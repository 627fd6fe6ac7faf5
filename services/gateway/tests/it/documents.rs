//! Documents that ask for too much. None reaches a subgraph, none takes time or memory.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::ACCEPT_LANGUAGE;
use serde_json::json;

use crate::world::{Answer, World, send};

/// Longest that a refusal may take, however the document looks.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Most memory that all bombs together may add.
const MEMORY_GROWTH_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// Fragments of fan-out `fan_out` on `levels` levels.
fn bomb(root: &str, levels: usize, fan_out: usize) -> String {
    let mut text = format!(
        "{} {{ ...F0 }}",
        if root == "Mutation" {
            "mutation"
        } else {
            "query"
        }
    );
    for level in 0..levels {
        write!(text, " fragment F{level} on {root} {{").unwrap();
        for _ in 0..fan_out {
            write!(text, " ...F{}", level + 1).unwrap();
        }
        text.push('}');
    }
    let leaf = if root == "Mutation" {
        "redeem"
    } else {
        "whoami"
    };
    write!(text, " fragment F{levels} on {root} {{ {leaf} }}").unwrap();
    text
}

/// What the gateway refuses is a 400; what the router refuses is a 200 without data for clients
/// that take plain JSON, as GraphQL over HTTP has it. Whoever names no language is told in Chinese.
fn refused(answer: &Answer, expected: &str, what: &str) {
    let code = answer.code();
    assert_eq!(code, expected, "{what}: {answer:?}");
    let message = answer.json()["errors"][0]["message"].clone();
    let message = message.as_str().unwrap();
    assert!(is_chinese(message), "{what}: {message}");
    assert!(answer.json()["data"].is_null(), "{what}: {answer:?}");
    let is_ours = code == "QUERY_TOO_COMPLEX";
    let expected = if is_ours {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    assert_eq!(answer.status, expected, "{what}: {answer:?}");
}

fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

/// The queries that kill a router without a budget are refused at once, with memory flat: those
/// of the research, on mutations, in inline fragments, mixed with fields, and circles.
/// ASVS V15.2.2.
#[tokio::test]
async fn fragment_bombs_are_refused_at_once_with_memory_flat() {
    let world = World::start().await;
    assert_eq!(
        world
            .ask("{ ...F } fragment F on Query { whoami }")
            .await
            .status,
        StatusCode::OK
    );
    world.shared.take_received();
    let mixed = bomb("Query", 5, 20).replace("...F3 ", "whoami ...F3 a: whoami ");
    let inline = bomb("Query", 5, 20).replace(" ...F2", " ... on Query { ...F2 }");
    let below = bomb("Node", 5, 20)
        .replace("query { ...F0 }", "{ tree { ...F0 } }")
        .replace("whoami", "name");
    let complex = "QUERY_TOO_COMPLEX";
    let mut bombs =
        Vec::from([mixed, inline, below, bomb("Mutation", 5, 20)].map(|text| (text, complex)));
    let shapes = [
        (10, 2, complex),
        (16, 2, complex),
        (22, 2, complex),
        (26, 2, complex),
        (5, 20, complex),
        (4, 120, complex),
        (5, 40, complex),
        (5, 80, complex),
        (3, 150, complex),
        (2, 240, complex),
        // So many tokens that it ends even before the budget is asked.
        (2, 300, "TOKEN_LIMIT_EXCEEDED"),
    ];
    bombs.extend(shapes.map(|(levels, fan_out, code)| (bomb("Query", levels, fan_out), code)));
    bombs.extend(
        [
            "{ ...A } fragment A on Query { ...A }",
            "{ ...A } fragment A on Query { whoami ...B } fragment B on Query { ...A }",
            "{ ...A } fragment A on Query { ...B whoami } fragment B on Query { headers ...A }",
            "{ whoami ...A @include(if: true) } fragment A on Query { ...A @include(if: true) }",
            "{ tree { ...A } } fragment A on Node { child { ...A } }",
        ]
        .map(|text| (text.to_owned(), complex)),
    );
    let before = world.peak_memory_bytes();
    for (text, code) in &bombs {
        let started = Instant::now();
        let answer = world.ask(text).await;
        let what = &text[..text.len().min(120)];
        refused(&answer, code, what);
        assert!(
            started.elapsed() < REFUSAL_TIME_MAX,
            "{what}: {:?}",
            started.elapsed()
        );
    }
    let grown = world.peak_memory_bytes().saturating_sub(before);
    assert!(grown < MEMORY_GROWTH_BYTES_MAX, "{grown} bytes more");
    assert!(world.shared.take_received().is_empty());
}

/// Documents and variables that nest: `levels` deep in each way there is.
fn nested(levels: usize) -> [(&'static str, String); 5] {
    let body = |query: &str| json!({ "query": query }).to_string();
    // Those that the brackets around it make are levels too.
    let inner = levels - 2;
    let lists = format!("{}1{}", "[".repeat(inner), "]".repeat(inner));
    let objects = format!("{}1{}", "{a:".repeat(inner), "}".repeat(inner));
    let variables =
        |value: &str| format!(r#"{{"query":"{{ whoami }}","variables":{{"a":{value}}}}}"#);
    let selections = format!("{}{}", "{ tree".repeat(levels), " }".repeat(levels));
    [
        ("selections", body(&selections)),
        ("lists", body(&format!("{{ echo(nested: {lists}) }}"))),
        ("objects", body(&format!("{{ echo(text: {objects}) }}"))),
        ("list variables", variables(&lists)),
        (
            "object variables",
            variables(&objects.replace("a:", "\"a\":")),
        ),
    ]
}

/// A long chain of fragments and a document that nests thousands deep end as a refusal and not
/// with the process; at the limit and just below there is stack enough for all that comes.
#[tokio::test]
async fn chains_and_deep_nesting_do_not_end_the_process() {
    let world = World::start().await;
    for (links, code) in [
        (30, "MAX_DEPTH_EXCEEDED"),
        (31, "QUERY_TOO_COMPLEX"),
        (100, "QUERY_TOO_COMPLEX"),
        (2_000, "TOKEN_LIMIT_EXCEEDED"),
    ] {
        let mut chain = "{ ...F0 }".to_owned();
        for link in 0..links {
            write!(chain, " fragment F{link} on Query {{ ...F{} }}", link + 1).unwrap();
        }
        write!(chain, " fragment F{links} on Query {{ whoami }}").unwrap();
        refused(&world.ask(&chain).await, code, "chain");
    }
    for levels in [30, 31, 32, 33, 64, 500, 10_000] {
        for (what, body) in nested(levels) {
            let started = Instant::now();
            let answer = world.ask_raw(body).await;
            assert!(
                started.elapsed() < REFUSAL_TIME_MAX,
                "{levels} {what}: {answer:?}"
            );
            if levels > 32 {
                refused(&answer, "QUERY_TOO_COMPLEX", what);
            } else {
                assert_ne!(answer.code(), "QUERY_TOO_COMPLEX", "{levels} {what}");
            }
        }
    }
    assert_eq!(world.ask("{ whoami }").await.status, StatusCode::OK);
}

/// Depth, tokens, aliases, directives and cost each have their limit.
/// ASVS V4.3.1.
#[tokio::test]
async fn every_limit_on_a_document_holds() {
    let world = World::start().await;
    let nested = |levels: usize| {
        format!(
            "{{ tree {}{{ name }}{} }}",
            "{ child ".repeat(levels),
            " }".repeat(levels)
        )
    };
    assert_eq!(world.ask(&nested(9)).await.status, StatusCode::OK);
    refused(&world.ask(&nested(11)).await, "MAX_DEPTH_EXCEEDED", "depth");
    // Fragments are levels too: the same tree within them is no shallower.
    let hidden = nested(9).replacen("{ child ", "{ ... on Node { ... on Node { child ", 1);
    refused(
        &world.ask(&format!("{hidden} }} }}")).await,
        "MAX_DEPTH_EXCEEDED",
        "inline",
    );
    let aliased = |field: &str| {
        let fields: String = (0..100)
            .map(|number| format!(" a{number}: {field}"))
            .collect();
        format!("mutation {{{fields} }}")
    };
    let answer = world.ask(&aliased("redeem")).await;
    refused(&answer, "MAX_ALIASES_EXCEEDED", "aliases");
    // A hundred attempts to log in are more than an address has, whatever the limit on aliases.
    assert_eq!(world.ask(&aliased("login")).await.code(), "RATE_LIMITED");
    let answer = world
        .ask(&format!(
            "{{ whoami {} }}",
            "@include(if: true) ".repeat(50)
        ))
        .await;
    refused(&answer, "MAX_DIRECTIVES_EXCEEDED", "directives");
    let answer = world
        .ask(&format!(
            "{{ whoami {} }}",
            "@skip(if: false) ".repeat(10_000)
        ))
        .await;
    assert!(answer.status.is_client_error(), "{answer:?}");
    let answer = world
        .ask(&format!("{{ {} }}", "whoami ".repeat(1_001)))
        .await;
    refused(&answer, "TOKEN_LIMIT_EXCEEDED", "tokens");
    let lists = "{ tree { children { children { children { children { name } } } } } }";
    assert_eq!(world.ask(lists).await.status, StatusCode::OK);
    let wide = lists.replace("{ name }", "{ children { children { name } } }");
    refused(
        &world.ask(&wide).await,
        "COST_ESTIMATED_TOO_EXPENSIVE",
        "cost",
    );
    let repeated = format!("{{ {} }}", "whoami ".repeat(500));
    assert_eq!(
        world.ask(&repeated).await.data(),
        json!({ "whoami": "anonymous" })
    );
}

/// Lists within lists are counted by the rows they ask for, before anything else is looked at: a
/// few dozen fields below a hundred venues are thousands of reads.
#[tokio::test]
async fn rows_within_rows_are_refused() {
    let world = World::start().await;
    let asked = |lists: usize, rows: &str| {
        let lists: String = (0..lists)
            .map(|number| format!(" a{number}: passProducts(first: {rows}) {{ nodes {{ id }} }}"))
            .collect();
        let query =
            format!("query($n: Int = 1) {{ venues(first: 100) {{ nodes {{ {lists} }} }} }}");
        json!({ "query": query, "variables": { "n": 50 } }).to_string()
    };
    for rows in ["50", "1", "$n"] {
        let answer = world.ask_raw(asked(28, rows)).await;
        refused(&answer, "QUERY_TOO_COMPLEX", rows);
        // Within the budget, it is for the router to say that this graph has no such fields.
        let answer = world.ask_raw(asked(1, rows)).await;
        refused(&answer, "GRAPHQL_VALIDATION_FAILED", rows);
    }
    assert!(world.shared.take_received().is_empty());
}

/// The router's own refusals are told in the language that was asked for.
#[tokio::test]
async fn refusals_speak_both_languages() {
    let world = World::start().await;
    let lists = "{ children ".repeat(8);
    let wide = format!("{{ tree {lists}{{ name }}{} }}", " }".repeat(8));
    for query in [
        "{ nothing }",
        "{ whoami",
        "query($n: Int!) { echo(numbers: [$n]) }",
        &wide,
    ] {
        let mut said = Vec::new();
        for language in ["zh", "en"] {
            let request = world.post().header(ACCEPT_LANGUAGE, language);
            let answer = send(request.json(&json!({ "query": query }))).await;
            let message = answer.json()["errors"][0]["message"].clone();
            said.push((answer.code(), message.as_str().unwrap().to_owned()));
        }
        assert_eq!(said[0].0, said[1].0);
        assert!(is_chinese(&said[0].1), "{said:?}");
        assert!(!is_chinese(&said[1].1), "{said:?}");
    }
}

/// What one fragment selects is in the answer where that fragment is spread and nowhere else: an
/// earlier router mixed up the fragments of one type.
#[tokio::test]
async fn fragments_do_not_leak_into_each_other() {
    let world = World::start().await;
    let answer = world
        .ask(
            "{ a: tree { ...A } b: tree { ...B } tree { ... on Node { child { ...A } } ...C } } \
             fragment A on Node { name } fragment B on Node { child { ...A } } \
             fragment C on Node { child { child { ...A } } }",
        )
        .await;
    let name = json!({ "name": "node" });
    let expected = json!({
        "a": name,
        "b": { "child": name },
        "tree": { "child": { "name": "node", "child": name } },
    });
    assert_eq!(answer.data(), expected);
}

/// Values that are malformed, too large or of another type are the client's mistake.
/// ASVS V15.3.5.
#[tokio::test]
async fn malformed_values_are_refused() {
    let world = World::start().await;
    let literal = format!("{{ echo(text: \"{}\") }}", "a".repeat(1_000_000));
    assert_eq!(
        world.ask(&literal).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let numbers = vec!["1"; 100_000].join(",");
    let body = format!(
        r#"{{"query":"query($n: [Int!]) {{ echo(numbers: $n) }}","variables":{{"n":[{numbers}]}}}}"#
    );
    assert_eq!(
        world.ask_raw(body).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    for variables in [
        r#"{"n":["x"]}"#,
        r#"{"n":[9007199254740992]}"#,
        r#"{"n":[1.5]}"#,
    ] {
        let body = format!(
            r#"{{"query":"query($n: [Int!]) {{ echo(numbers: $n) }}","variables":{variables}}}"#
        );
        let answer = world.ask_raw(body).await;
        assert!(!answer.code().is_empty(), "{variables}: {answer:?}");
    }
    for text in [
        "{ nothing }",
        "{ echo(text: 1, text: 2) }",
        "{ whoami",
        "{ }",
        "",
        "query A { whoami } query B { whoami }",
        "subscription { whoami }",
        "{ _service { sdl } }",
        "{ _entities(representations: []) { __typename } }",
        "{ whoami @aa @aa @aa }",
        "query($a: Nothing) { whoami }",
        "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
    ] {
        let answer = world.ask(text).await;
        assert!(
            !answer.code().is_empty() && answer.json()["data"].is_null(),
            "{text}: {answer:?}"
        );
        assert!(
            !answer.text.to_lowercase().contains("did you mean"),
            "{answer:?}"
        );
    }
    assert!(world.shared.take_received().is_empty());
}
