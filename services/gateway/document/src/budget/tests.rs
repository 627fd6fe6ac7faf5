//! What the budget refuses, and what it lets pass.

use std::collections::HashMap;
use std::fmt::Write as _;

use graphql_tools::parser::parse_query;

use super::{Demand, Numbers, SELECTIONS_MAX, TooComplex, measure};

fn measured(text: &str) -> Result<Demand, TooComplex> {
    measured_with(text, &[])
}

fn measured_with(text: &str, numbers: &[(&str, u64)]) -> Result<Demand, TooComplex> {
    let numbers: Numbers = numbers
        .iter()
        .map(|(name, number)| ((*name).to_owned(), *number))
        .collect();
    measure(
        &parse_query::<String>(text).unwrap().into_static(),
        &numbers,
    )
}

/// Fragments of fan-out `fan_out` on `levels` levels: the shape that kills a router.
fn bomb(levels: usize, fan_out: usize) -> String {
    let mut text = "{ ...F0 }".to_owned();
    for level in 0..levels {
        write!(text, " fragment F{level} on Query {{ ").unwrap();
        for _ in 0..fan_out {
            write!(text, "...F{} ", level + 1).unwrap();
        }
        text.push('}');
    }
    write!(text, " fragment F{levels} on Query {{ a }}").unwrap();
    text
}

/// Every bomb of the research is refused, and a plain document is not.
#[test]
fn bombs_are_refused_without_being_written_out() {
    assert!(measured("{ a { b c } ...F } fragment F on Query { d }").is_ok());
    for (levels, fan_out) in [
        (26, 2),
        (22, 2),
        (16, 2),
        (5, 20),
        (4, 120),
        (5, 80),
        (3, 150),
    ] {
        assert_eq!(
            measured(&bomb(levels, fan_out)),
            Err(TooComplex),
            "{levels} {fan_out}"
        );
    }
}

/// A circle is refused whether it is reached, stands beside a field or is used by nobody.
#[test]
fn circles_are_refused() {
    for text in [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { a ...B } fragment B on Query { b ...A }",
        "{ a } fragment A on Query { a { ...A } }",
        "{ ...A @include(if: false) } fragment A on Query { ... on Query { ...A } }",
    ] {
        assert_eq!(measured(text), Err(TooComplex), "{text}");
    }
}

/// A chain of fragments is as deep as it is long, used or not.
#[test]
fn long_chains_are_refused() {
    let chain = |length: usize| {
        let mut text = "{ a }".to_owned();
        for link in 0..length {
            write!(text, " fragment F{link} on Query {{ ...F{} }}", link + 1).unwrap();
        }
        format!("{text} fragment F{length} on Query {{ a }}")
    };
    assert!(measured(&chain(31)).is_ok());
    assert_eq!(measured(&chain(32)), Err(TooComplex));
    assert_eq!(measured(&chain(5_000)), Err(TooComplex));
}

/// The limit is exact, and several operations share it.
#[test]
fn the_limit_is_exact_and_shared() {
    let most = usize::try_from(SELECTIONS_MAX).unwrap();
    let fields = |count: usize| "a ".repeat(count);
    assert!(measured(&format!("{{ {} }}", fields(most))).is_ok());
    assert_eq!(
        measured(&format!("{{ {} }}", fields(most + 1))),
        Err(TooComplex)
    );
    let two = format!("query A {{ {0} }} query B {{ {0} }}", fields(most / 2 + 1));
    assert_eq!(measured(&two), Err(TooComplex));
}

/// Lists within lists are counted by what is asked of them, however the number is given: a
/// few fields can be thousands of reads.
#[test]
fn rows_within_rows_are_counted() {
    let nested = |rows: &str, lists: usize, inner: &str| {
        let lists: String = (0..lists)
            .map(|n| format!("a{n}: passProducts({inner}) {{ nodes {{ id }} }} "))
            .collect();
        format!(
            "query($n: Int, $m: Int = 50) {{ venues({rows}) {{ nodes {{ ...F }} }} }} \
             fragment F on Venue {{ {lists} }}"
        )
    };
    let hundred = [("n", 100)];
    for (rows, inner) in [
        ("first: 100", "first: 50"),
        ("last: 100", "first: 1"),
        ("first: $n", "last: 1"),
        ("first: $n", "first: $m"),
        ("first: 100, last: null", "first: $m"),
    ] {
        let text = nested(rows, 30, inner);
        assert_eq!(measured_with(&text, &hundred), Err(TooComplex), "{text}");
        let text = nested(rows, 1, inner);
        assert!(measured_with(&text, &hundred).is_ok(), "{text}");
    }
    // What is given counts, and not its default.
    let text = nested("first: 1", 30, "first: $m");
    assert!(measured(&text).is_ok());
    assert_eq!(measured_with(&text, &[("m", 1_000)]), Err(TooComplex));
    let huge = "{ venues(first: 2147483647) { nodes { a { b { c } } } } }";
    assert_eq!(measured(huge), Err(TooComplex));
}

/// What the demonstration and the journeys send is within the budget.
#[test]
fn registered_documents_fit() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../schema/documents.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let documents: HashMap<String, String> = serde_json::from_str(&text).unwrap();
    assert!(!documents.is_empty());
    for (id, text) in documents {
        assert!(measured(&text).is_ok(), "{id}");
    }
}

/// Introspection may look at the whole schema once, but not go round in it.
#[test]
fn introspection_does_not_go_round() {
    let usual = "{ __schema { types { fields { args { type { ofType { name } } } } } } }";
    assert!(measured(usual).is_ok());
    for text in [
        "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
        "{ __type(name: \"Query\") { ...A } } \
         fragment A on __Type { fields { type { ...B } } } \
         fragment B on __Type { fields { args { type { possibleTypes { name } } } } }",
    ] {
        assert_eq!(measured(text), Err(TooComplex), "{text}");
    }
    assert!(measured("{ fields { fields { fields { fields { a } } } } }").is_ok());
}

/// Aliases, fragments and inline fragments at the root are each counted.
#[test]
fn root_fields_are_counted_one_by_one() {
    let text = "mutation { a: login { x } b: login { x } ...F ... on Mutation { redeem } } \
                fragment F on Mutation { requestLoginCode login }";
    assert_eq!(
        measured(text),
        Ok(Demand {
            operations: 1,
            login_fields: 4,
            mutation_fields: 5
        })
    );
    let plain = Demand {
        operations: 1,
        ..Demand::default()
    };
    assert_eq!(measured("{ me { login } }"), Ok(plain));
}
