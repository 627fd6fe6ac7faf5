//! Every mutation of the graph leaves an audit row: `schema/acts.json` says which, for each that
//! the committed schemas have, and each service's own tests play every one of theirs and read the
//! audit table after it (`kit::testing::acts`). Whoever adds a mutation adds both.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use async_graphql_parser::parse_schema;
use async_graphql_parser::types::{TypeKind, TypeSystemDefinition};

const SUBGRAPHS: [&str; 4] = ["identity", "passes", "billing", "admission"];

/// The acts of each mutation, by service.
type Table = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn table() -> Table {
    let text = fs::read_to_string(tests::root().join("schema/acts.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn service(name: &str) -> PathBuf {
    tests::root().join("services").join(name)
}

/// The mutations of a schema.
fn mutations(sdl: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for definition in parse_schema(sdl).unwrap().definitions {
        let TypeSystemDefinition::Type(kind) = definition else {
            continue;
        };
        if kind.node.name.node != "Mutation" {
            continue;
        }
        if let TypeKind::Object(object) = kind.node.kind {
            let names = object.fields.iter();
            found.extend(names.map(|field| field.node.name.node.to_string()));
        }
    }
    found
}

/// What the table lacks of a schema, and what it says of mutations that are none.
fn differences(sdl: &str, table: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let there = mutations(sdl);
    let said: BTreeSet<String> = table
        .iter()
        .filter(|(_, acts)| !acts.is_empty())
        .map(|(name, _)| name.clone())
        .collect();
    there.symmetric_difference(&said).cloned().collect()
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

#[test]
fn every_mutation_has_an_act() {
    let table = table();
    let services: Vec<&str> = table.keys().map(String::as_str).collect();
    let mut wanted = SUBGRAPHS.to_vec();
    wanted.sort_unstable();
    assert_eq!(services, wanted);
    for name in SUBGRAPHS {
        let path = tests::root().join("schema").join(format!("{name}.graphql"));
        let sdl = fs::read_to_string(path).unwrap();
        assert!(!mutations(&sdl).is_empty(), "{name}");
        let differ = differences(&sdl, &table[name]);
        assert!(
            differ.is_empty(),
            "schema/acts.json and the mutations of {name} differ: {differ:?}"
        );
    }
}

/// An act that no command of the service leaves stands for none.
#[test]
fn every_act_is_left_by_a_command() {
    for (name, mutations) in table() {
        let commands = sources(&service(&name).join("src/commands"));
        for (mutation, acts) in mutations {
            for act in acts {
                let written = commands.contains(&format!("\"{act}\""));
                assert!(written, "{name}.{mutation}: no command says {act}");
            }
        }
    }
}

/// The table is a promise; the service's own test holds it for each of its mutations.
#[test]
fn every_service_plays_its_mutations() {
    for name in SUBGRAPHS {
        let tests = service(name).join("tests/it");
        let main = fs::read_to_string(tests.join("main.rs")).unwrap();
        assert!(main.contains("\nmod audited;"), "{name} runs no audited.rs");
        let mut played = fs::read_to_string(tests.join("audited.rs")).unwrap();
        assert!(played.contains("acts.assert_complete();"), "{name}");
        for entry in fs::read_dir(&tests).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with("_plays.rs") {
                played.push_str(&fs::read_to_string(path).unwrap());
            }
        }
        for mutation in table()[name].keys() {
            let is_played = played.contains(&format!("\"{mutation}\""));
            assert!(is_played, "{name}/tests/it plays no {mutation}");
        }
    }
}

/// The comparison sees a mutation without an act, one with none of its acts said, and an act of a
/// mutation that is no more.
#[test]
fn a_gap_in_the_table_is_found() {
    let sdl = "type Query { q: Int } type Mutation { a: Int b: Int c: Int }";
    let acts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let table = BTreeMap::from([
        ("a".to_owned(), acts(&["did_a"])),
        ("b".to_owned(), acts(&[])),
        ("d".to_owned(), acts(&["did_d"])),
    ]);
    assert_eq!(differences(sdl, &table), ["b", "c", "d"]);
}
