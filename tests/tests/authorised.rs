//! `schema/authorisation.json` has a row for each field of the committed schemas that shows or
//! changes something, and none for another; each service's own tests ask for every one of its
//! fields as every actor (`kit::testing::rights`). Whoever adds a field adds its row.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use async_graphql_parser::parse_schema;
use async_graphql_parser::types::{TypeKind, TypeSystemDefinition};
use serde::Deserialize;
use tests::root;

const SUBGRAPHS: [&str; 4] = ["identity", "passes", "billing", "admission"];
/// How the names of types end that are answers to one field alone, and pages.
const BY_THEIR_FIELD: [&str; 4] = ["Payload", "UserError", "Connection", "Edge"];

#[derive(Deserialize)]
struct Service {
    /// How the actors fare, by the name of the right: outcome, then actors.
    rights: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// The right of each field.
    fields: BTreeMap<String, String>,
    /// Fields that the service's test has nothing for: what is not there is not refused.
    unfilled: BTreeSet<String>,
    /// Types without rows of their own, and why.
    values: BTreeMap<String, String>,
    /// Which mutations ask for the second factor.
    step_up: StepUp,
}

#[derive(Default, Deserialize)]
struct StepUp {
    always: BTreeSet<String>,
    /// Mutations by when they ask.
    at_times: BTreeMap<String, BTreeSet<String>>,
    /// Mutations by why a token alone is enough.
    never: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Table {
    actors: BTreeMap<String, String>,
    #[serde(flatten)]
    services: BTreeMap<String, Service>,
}

fn table() -> Table {
    let text = fs::read_to_string(root().join("schema/authorisation.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn sdl(service: &str) -> String {
    fs::read_to_string(root().join("schema").join(format!("{service}.graphql"))).unwrap()
}

/// The fields of each object type of a schema.
fn objects(sdl: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for definition in parse_schema(sdl).unwrap().definitions {
        let TypeSystemDefinition::Type(kind) = definition else {
            continue;
        };
        let name = kind.node.name.node.to_string();
        if let TypeKind::Object(object) = kind.node.kind {
            let fields = object.fields.iter();
            let names = fields.map(|field| format!("{name}.{}", field.node.name.node));
            found.insert(name.clone(), names.collect());
        }
    }
    found
}

/// Fields and types of a schema that the table does not know, and what it knows of none.
fn differences(sdl: &str, service: &Service) -> Vec<String> {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut values: BTreeSet<String> = BTreeSet::new();
    for (name, fields) in objects(sdl) {
        let by_field = BY_THEIR_FIELD.iter().any(|end| name.ends_with(end));
        if service.values.contains_key(&name) {
            values.insert(name);
        } else if !by_field && name != "PageInfo" {
            wanted.extend(fields);
        }
    }
    let said: BTreeSet<String> = service.fields.keys().cloned().collect();
    let mut found: Vec<String> = wanted.symmetric_difference(&said).cloned().collect();
    let unknown = service.values.keys().filter(|name| !values.contains(*name));
    found.extend(unknown.cloned());
    found
}

/// The mutations of which it is said never or twice whether they ask for the second factor, and
/// what is said of no mutation.
fn unsaid(service: &Service) -> Vec<String> {
    let fields = service.fields.keys();
    let mutations: BTreeSet<&String> = fields.filter(|it| it.starts_with("Mutation.")).collect();
    let step_up = &service.step_up;
    let by_reason = step_up.at_times.values().chain(step_up.never.values());
    let mut said: BTreeMap<&String, u32> = BTreeMap::new();
    for field in by_reason.flatten().chain(&step_up.always) {
        *said.entry(field).or_default() += 1;
    }
    let silent = mutations.iter().filter(|it| !said.contains_key(**it));
    let mut found: Vec<String> = silent.map(|it| (*it).clone()).collect();
    let wrong = said
        .iter()
        .filter(|(field, times)| **times != 1 || !mutations.contains(*field));
    found.extend(wrong.map(|(field, _)| (*field).clone()));
    found
}

/// The actors that a right forgets or names twice.
fn unclear(right: &BTreeMap<String, BTreeSet<String>>, actors: &BTreeSet<String>) -> Vec<String> {
    let times = |actor: &String| right.values().filter(|of| of.contains(actor)).count();
    let mut found: Vec<String> = actors.iter().filter(|it| times(it) != 1).cloned().collect();
    let named: BTreeSet<&String> = right.values().flatten().collect();
    let strangers = named.into_iter().filter(|actor| !actors.contains(*actor));
    found.extend(strangers.cloned());
    found
}

/// ASVS V8.1.1, V8.1.2.
#[test]
fn every_field_has_a_row() {
    let table = table();
    let services: Vec<&str> = table.services.keys().map(String::as_str).collect();
    let mut wanted = SUBGRAPHS.to_vec();
    wanted.sort_unstable();
    assert_eq!(services, wanted);
    for name in SUBGRAPHS {
        let service = &table.services[name];
        let differ = differences(&sdl(name), service);
        assert!(
            differ.is_empty(),
            "schema/authorisation.json and the fields of {name} differ: {differ:?}"
        );
        let unknown = service.unfilled.iter();
        let unknown: Vec<_> = unknown
            .filter(|it| !service.fields.contains_key(*it))
            .collect();
        assert!(
            unknown.is_empty(),
            "{name}: {unknown:?} are no fields with a row"
        );
        for why in service.values.values() {
            assert!(!why.is_empty(), "{name}: a type without rows says why");
        }
    }
}

/// The composed graph has no object that no subgraph's rows know.
#[test]
fn the_supergraph_adds_nothing() {
    let text = fs::read_to_string(root().join("schema/supergraph.graphql")).unwrap();
    let all: BTreeSet<String> = SUBGRAPHS
        .iter()
        .flat_map(|name| objects(&sdl(name)).into_values().flatten())
        .collect();
    let composed: BTreeSet<String> = objects(&text).into_values().flatten().collect();
    assert!(!composed.is_empty());
    let unknown: Vec<&String> = composed.difference(&all).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// A right says of every actor once how she fares, and every right is somebody's.
#[test]
fn every_right_says_how_everybody_fares() {
    let table = table();
    let actors: BTreeSet<String> = table.actors.keys().cloned().collect();
    for (name, service) in &table.services {
        for (right, fares) in &service.rights {
            let unclear = unclear(fares, &actors);
            assert!(unclear.is_empty(), "{name}: {right}: {unclear:?}");
        }
        let used: BTreeSet<&String> = service.fields.values().collect();
        let there: BTreeSet<&String> = service.rights.keys().collect();
        assert_eq!(used, there, "{name}");
    }
}

/// Of each mutation it is said once whether a token alone is enough for it, and why it is.
#[test]
fn every_mutation_asks_for_the_factor_or_says_why_not() {
    for (name, service) in &table().services {
        let unsaid = unsaid(service);
        assert!(unsaid.is_empty(), "{name}: {unsaid:?}");
        let step_up = &service.step_up;
        let mut why = step_up.at_times.keys().chain(step_up.never.keys());
        assert!(why.all(|it| !it.is_empty()), "{name}");
    }
}

/// The table is a promise; the service's own test holds it.
#[test]
fn every_service_asks_as_everybody() {
    for name in SUBGRAPHS {
        let tests = root().join("services").join(name).join("tests/it");
        let main = fs::read_to_string(tests.join("main.rs")).unwrap();
        assert!(main.contains("\nmod authorised;"), "{name}");
        let played = fs::read_to_string(tests.join("authorised.rs")).unwrap();
        assert!(played.contains("rights.assert_complete();"), "{name}");
    }
}

/// The comparison sees a field without a row, a row without a field, a type that is neither, and
/// an actor that was forgotten or is named twice.
#[test]
fn a_gap_in_the_table_is_found() {
    let sdl = "type Query { a: Int b: Int } type Thing { c: Int } type V { d: Int }
        type ThingPayload { e: Int }";
    let right = |name: &str| (name.to_owned(), "open".to_owned());
    let service = Service {
        rights: BTreeMap::new(),
        fields: BTreeMap::from([right("Query.a"), right("Query.gone")]),
        unfilled: BTreeSet::new(),
        values: BTreeMap::from([right("V"), right("W")]),
        step_up: StepUp::default(),
    };
    let found = differences(sdl, &service);
    assert_eq!(found, ["Query.b", "Query.gone", "Thing.c", "W"]);
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let fares = BTreeMap::from([
        ("answered".to_owned(), set(&["a", "b"])),
        ("absent".to_owned(), set(&["b", "x"])),
    ]);
    assert_eq!(unclear(&fares, &set(&["a", "b", "c"])), ["b", "c", "x"]);
    let mutations = ["Mutation.a", "Mutation.b", "Mutation.c"];
    let service = Service {
        fields: mutations.into_iter().map(right).collect(),
        step_up: StepUp {
            always: set(&["Mutation.b", "Mutation.c"]),
            at_times: BTreeMap::new(),
            never: BTreeMap::from([("why".to_owned(), set(&["Mutation.b", "Mutation.x"]))]),
        },
        ..service
    };
    assert_eq!(unsaid(&service), ["Mutation.a", "Mutation.b", "Mutation.x"]);
}
