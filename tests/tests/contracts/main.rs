//! The public contract of the graph, read from the committed schemas: names that clients rely
//! on, and the form that every mutation and every list keeps.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod keyless;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use async_graphql_parser::parse_schema;
use async_graphql_parser::types::{
    BaseType, FieldDefinition, TypeDefinition, TypeKind, TypeSystemDefinition,
};

use crate::keyless::{KEYLESS, KEYLESS_AT_GATES, KEYLESS_OF_LOGINS, KEYLESS_OF_PEOPLE};

/// What a pass has reserved, yesterday's and today's on, is never more than admission hears.
const _: () = assert!(
    2 * passes::domain::OPEN_RESERVATIONS_MAX <= admission::domain::entitlement::RESERVATIONS_MAX
);

const SUBGRAPHS: [&str; 4] = ["identity", "passes", "billing", "admission"];
/// The names of the main flows, as far as they are built.
const NAMES: [&str; 31] = [
    "requestLoginCode",
    "login",
    "refreshLogin",
    "logout",
    "me",
    "organisations",
    "passProducts",
    "buyPass",
    "activatePass",
    "requestPassRefund",
    "order",
    "payOrder",
    "cancelOrder",
    "venues",
    "enrolGate",
    "redeem",
    "voidRedemption",
    "createOrganisation",
    "addMembership",
    "grantRole",
    "createVenue",
    "createGate",
    "disableGate",
    "createPassProduct",
    "publishPassProduct",
    "stopSale",
    "node",
    "withdrawLogin",
    "withdrawRole",
    "addMemberships",
    "passProduct",
];
/// Codes that every mutation can answer; kit makes them.
const COMMON: [&str; 4] = [
    "IDEMPOTENCY_KEY_REUSED",
    "NOT_FOUND",
    "FORBIDDEN",
    "BAD_INPUT",
];
/// Codes that kit makes as well, where a command asks for them.
const ON_DEMAND: [&str; 1] = ["STEP_UP_REQUIRED"];
/// Refusals that no mutation makes, only the operator's command line.
const OFF_THE_GRAPH: [&str; 1] = ["OPERATOR_EXISTS"];
/// What the federation itself puts into each subgraph.
const FEDERATION: [&str; 4] = ["_service", "_entities", "_Service", "_Entity"];

type Types = BTreeMap<String, TypeDefinition>;

fn read(name: &str) -> String {
    let path = tests::root().join("schema").join(format!("{name}.graphql"));
    fs::read_to_string(path).unwrap()
}

fn subgraph(name: &str) -> Types {
    types(&read(name))
}

fn types(text: &str) -> Types {
    let document = parse_schema(text).unwrap();
    document
        .definitions
        .into_iter()
        .filter_map(|definition| match definition {
            TypeSystemDefinition::Type(kind) => Some((kind.node.name.node.to_string(), kind.node)),
            TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => None,
        })
        .collect()
}

fn fields(types: &Types, name: &str) -> Vec<FieldDefinition> {
    match types.get(name).map(|found| &found.kind) {
        Some(TypeKind::Object(object)) => object
            .fields
            .iter()
            .map(|field| field.node.clone())
            .collect(),
        _ => Vec::new(),
    }
}

fn inputs(types: &Types, name: &str) -> Vec<String> {
    match types.get(name).map(|found| &found.kind) {
        Some(TypeKind::InputObject(input)) => input
            .fields
            .iter()
            .map(|field| field.node.name.node.to_string())
            .collect(),
        _ => Vec::new(),
    }
}

fn named(field: &FieldDefinition) -> String {
    match &field.ty.node.base {
        BaseType::Named(name) => name.to_string(),
        BaseType::List(inner) => inner.to_string(),
    }
}

fn is_ours(name: &str) -> bool {
    !FEDERATION.contains(&name)
}

#[test]
fn the_names_of_the_main_flows_are_there() {
    let mut known = Vec::new();
    for name in SUBGRAPHS {
        let types = subgraph(name);
        for root in ["Query", "Mutation"] {
            known.extend(
                fields(&types, root)
                    .into_iter()
                    .map(|field| field.name.node.to_string()),
            );
        }
    }
    let missing: Vec<&&str> = NAMES
        .iter()
        .filter(|name| !known.iter().any(|known| known == **name))
        .collect();
    assert!(missing.is_empty(), "the graph lacks {missing:?}");
}

/// ASVS V15.3.3.
#[test]
fn a_mutation_takes_one_input_and_answers_a_payload() {
    for name in SUBGRAPHS {
        let types = subgraph(name);
        for mutation in fields(&types, "Mutation") {
            let called = mutation.name.node.to_string();
            let arguments: Vec<String> = mutation
                .arguments
                .iter()
                .map(|one| one.node.name.node.to_string())
                .collect();
            assert!(
                arguments == ["input"] || arguments.is_empty(),
                "{name}.{called} takes {arguments:?}"
            );
            assert!(
                !mutation.ty.node.nullable,
                "{name}.{called} may answer null"
            );
            let payload = named(&mutation);
            assert!(
                payload.ends_with("Payload"),
                "{name}.{called} answers {payload}"
            );
            let errors = fields(&types, &payload)
                .into_iter()
                .find(|field| field.name.node == "userErrors")
                .unwrap_or_else(|| panic!("{payload} has no userErrors"));
            let element = named(&errors).trim_matches(['[', ']', '!']).to_owned();
            let code = fields(&types, &element)
                .into_iter()
                .find(|field| field.name.node == "code")
                .unwrap_or_else(|| panic!("{element} has no code"));
            assert!(
                matches!(types[&named(&code)].kind, TypeKind::Enum(_)),
                "the codes of {called} are no enum"
            );
        }
    }
}

/// Whoever adds a mutation gives it a key, or says here why it needs none.
#[test]
fn every_mutation_has_a_key_or_a_reason() {
    let reasons: BTreeMap<&str, &str> = KEYLESS
        .into_iter()
        .chain(KEYLESS_OF_LOGINS)
        .chain(KEYLESS_OF_PEOPLE)
        .chain(KEYLESS_AT_GATES)
        .collect();
    let mut seen = BTreeSet::new();
    for name in SUBGRAPHS {
        let types = subgraph(name);
        for mutation in fields(&types, "Mutation") {
            let called = mutation.name.node.to_string();
            let input = mutation.arguments.first().map(|one| &one.node.ty.node.base);
            let has_key = match input {
                Some(BaseType::Named(input)) => inputs(&types, input)
                    .iter()
                    .any(|field| field == "idempotencyKey"),
                Some(BaseType::List(_)) | None => false,
            };
            assert!(
                has_key || reasons.contains_key(called.as_str()),
                "{name}.{called} has no idempotencyKey, and nothing says why"
            );
            seen.insert(called);
        }
    }
    let gone: Vec<&&str> = reasons
        .keys()
        .filter(|name| !seen.contains(**name))
        .collect();
    assert!(gone.is_empty(), "no such mutations: {gone:?}");
}

/// The codes of a subgraph's mutations are its refusals: each value of an enum can be read back
/// from an idempotency record, and no refusal is without a mutation that names it.
#[test]
fn the_codes_of_the_graph_are_the_refusals() {
    type Known = (&'static str, fn(&str) -> bool, Vec<&'static str>);
    let services: [Known; 4] = [
        (
            "identity",
            |code| identity::error::Refusal::from_code(code).is_some(),
            identity::error::Refusal::all()
                .map(|one| one.code())
                .collect(),
        ),
        (
            "passes",
            |code| passes::error::Refusal::from_code(code).is_some(),
            passes::error::Refusal::all()
                .map(|one| one.code())
                .collect(),
        ),
        (
            "billing",
            |code| billing::error::Refusal::from_code(code).is_some(),
            billing::error::Refusal::ALL
                .iter()
                .map(|one| one.code())
                .collect(),
        ),
        (
            "admission",
            |code| admission::error::Refusal::from_code(code).is_some(),
            admission::error::Refusal::ALL
                .iter()
                .map(|one| one.code())
                .collect(),
        ),
    ];
    for (name, is_known, all) in services {
        let mut offered = BTreeSet::new();
        for (owner, kind) in subgraph(name) {
            let TypeKind::Enum(codes) = kind.kind else {
                continue;
            };
            if !owner.ends_with("ErrorCode") {
                continue;
            }
            let values = codes
                .values
                .iter()
                .map(|one| one.node.value.node.to_string());
            let (common, own): (Vec<String>, Vec<String>) =
                values.partition(|one| COMMON.contains(&one.as_str()));
            // The key of a scan is its number, which has a code of its own.
            let wanted = COMMON.len() - usize::from(owner == "RedeemErrorCode");
            assert_eq!(common.len(), wanted, "{owner} lacks a common code");
            for code in &own {
                let known = is_known(code) || ON_DEMAND.contains(&code.as_str());
                assert!(known, "{name}: {owner}.{code} is no refusal");
            }
            let own = own.into_iter();
            offered.extend(own.filter(|code| !ON_DEMAND.contains(&code.as_str())));
        }
        // One that says what every payload can say, in words of its own, is offered by all.
        let elsewhere = |code: &&str| OFF_THE_GRAPH.contains(code) || COMMON.contains(code);
        let all: BTreeSet<String> = all
            .into_iter()
            .filter(|code| !elsewhere(code))
            .map(str::to_owned)
            .collect();
        assert_eq!(offered, all, "{name}");
    }
}

#[test]
fn a_list_without_bound_is_a_connection_with_both_ends() {
    for name in SUBGRAPHS {
        let types = subgraph(name);
        for (owner, kind) in &types {
            let TypeKind::Object(_) = kind.kind else {
                continue;
            };
            for field in fields(&types, owner) {
                if !named(&field).ends_with("Connection") {
                    continue;
                }
                let arguments: Vec<String> = field
                    .arguments
                    .iter()
                    .map(|one| one.node.name.node.to_string())
                    .collect();
                for wanted in ["first", "after", "last", "before"] {
                    assert!(
                        arguments.iter().any(|one| one == wanted),
                        "{name}: {owner}.{} has no {wanted}",
                        field.name.node
                    );
                }
            }
        }
    }
}

/// ASVS V2.1.1.
#[test]
fn everything_is_described() {
    let mut silent = Vec::new();
    for name in SUBGRAPHS {
        let types = subgraph(name);
        for (owner, kind) in types.iter().filter(|(owner, _)| is_ours(owner)) {
            let is_root = ["Query", "Mutation"].contains(&owner.as_str());
            let generated = owner.ends_with("Connection") || owner.ends_with("Edge");
            if kind.description.is_none() && !kind.extend && !is_root && !generated {
                silent.push(format!("{name}: {owner}"));
            }
            for field in fields(&types, owner) {
                let called = field.name.node.as_str();
                if field.description.is_none() && is_ours(called) && !generated {
                    silent.push(format!("{name}: {owner}.{called}"));
                }
            }
        }
    }
    assert!(
        silent.is_empty(),
        "without a description:\n{}",
        silent.join("\n")
    );
}

/// What a type is made of: the names of its fields, input fields or values.
fn members(kind: &TypeKind) -> BTreeSet<String> {
    let names: Vec<String> = match kind {
        TypeKind::Object(it) => it
            .fields
            .iter()
            .map(|one| one.node.name.to_string())
            .collect(),
        TypeKind::Interface(it) => it
            .fields
            .iter()
            .map(|one| one.node.name.to_string())
            .collect(),
        TypeKind::InputObject(it) => it
            .fields
            .iter()
            .map(|one| one.node.name.to_string())
            .collect(),
        TypeKind::Enum(it) => it
            .values
            .iter()
            .map(|one| one.node.value.to_string())
            .collect(),
        TypeKind::Union(it) => it.members.iter().map(|one| one.node.to_string()).collect(),
        TypeKind::Scalar => Vec::new(),
    };
    names.into_iter().filter(|name| is_ours(name)).collect()
}

/// What one of two graphs has and the other lacks, as `Type.member`.
fn lacking(graph: &Types, other: &Types) -> Vec<String> {
    let mut lacking = Vec::new();
    for (name, kind) in graph.iter().filter(|(name, _)| is_ours(name)) {
        let found = other.get(name).map(|found| members(&found.kind));
        match found {
            None => lacking.push(name.clone()),
            Some(found) => lacking.extend(
                members(&kind.kind)
                    .difference(&found)
                    .map(|member| format!("{name}.{member}")),
            ),
        }
    }
    lacking
}

/// The committed supergraph has what the subgraphs have, also where no Node composes it anew.
#[test]
fn the_supergraph_is_of_these_subgraphs() {
    let supergraph = types(&read("supergraph"));
    let subgraphs = SUBGRAPHS.map(subgraph);
    for (name, own) in SUBGRAPHS.iter().zip(&subgraphs) {
        let lacks = lacking(own, &supergraph);
        assert!(
            lacks.is_empty(),
            "run make schema; the supergraph lacks {name}'s {lacks:?}"
        );
    }
    for (name, kind) in &supergraph {
        if name.starts_with("join__") || name.starts_with("link__") {
            continue;
        }
        let of_subgraphs = subgraphs.iter().filter_map(|types| types.get(name));
        let known: BTreeSet<String> = of_subgraphs.flat_map(|one| members(&one.kind)).collect();
        let gone: Vec<String> = members(&kind.kind).difference(&known).cloned().collect();
        let is_known = subgraphs.iter().any(|types| types.contains_key(name));
        assert!(
            is_known && gone.is_empty(),
            "run make schema: {name} {gone:?} is no more"
        );
    }
}

/// The comparison sees a type, a field, an input field and a value that the other graph lacks.
#[test]
fn a_stale_supergraph_is_found() {
    let graph = types("type A { a: Int b: Int } input I { x: Int y: Int } enum E { V W } scalar S");
    let stale = types("type A { a: Int } input I { x: Int } enum E { V }");
    assert_eq!(lacking(&graph, &stale), ["A.b", "E.W", "I.y", "S"]);
    assert!(lacking(&stale, &graph).is_empty());
}
