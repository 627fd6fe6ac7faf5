//! What was released can only be added to: a consumer of last year reads the events of today.
//!
//! `released/v1.binpb` holds the descriptors of the last release. `BASHU_RELEASE=1 cargo test -p
//! proto` writes today's there, and only after they were found compatible.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::collections::BTreeMap;
use std::path::Path;

use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor};

const FILES: [&str; 8] = [
    "bashu/audit.proto",
    "bashu/person.proto",
    "bashu/render.proto",
    "bashu/entitlement.proto",
    "bashu/identity.proto",
    "bashu/passes.proto",
    "bashu/billing.proto",
    "bashu/admission.proto",
];

fn today() -> DescriptorPool {
    let set = protox::compile(FILES, [env!("CARGO_MANIFEST_DIR")]).unwrap();
    DescriptorPool::decode(set.encode_to_vec().as_slice()).unwrap()
}

fn pool_of(source: &str) -> DescriptorPool {
    let folder = std::env::temp_dir().join(format!("bashu-proto-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let name = format!(
        "{:x}.proto",
        source.len() * 31 + usize::from(source.as_bytes()[60])
    );
    std::fs::write(folder.join(&name), source).unwrap();
    let set = protox::compile([name], [&folder]).unwrap();
    DescriptorPool::decode(set.encode_to_vec().as_slice()).unwrap()
}

/// Every way in which `new` breaks a reader or a writer of `old`, as sentences.
fn breaks(old: &DescriptorPool, new: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    for message in old.all_messages() {
        match new.get_message_by_name(message.full_name()) {
            None => found.push(format!("message {} is gone", message.full_name())),
            Some(now) => message_breaks(&message, &now, &mut found),
        }
    }
    for old_enum in old.all_enums() {
        match new.get_enum_by_name(old_enum.full_name()) {
            None => found.push(format!("enum {} is gone", old_enum.full_name())),
            Some(now) => enum_breaks(&old_enum, &now, &mut found),
        }
    }
    found
}

fn message_breaks(old: &MessageDescriptor, new: &MessageDescriptor, found: &mut Vec<String>) {
    for field in old.fields() {
        let name = field.full_name().to_owned();
        match new.get_field(field.number()) {
            None if reserves(new, field.number()) => {}
            None => found.push(format!("{name} is gone and its number not reserved")),
            Some(now) if shape(&now) != shape(&field) => {
                found.push(format!(
                    "{name} was {} and is {}",
                    shape(&field),
                    shape(&now)
                ));
            }
            Some(now) if now.name() != field.name() => {
                found.push(format!("{name} is now called {}", now.name()));
            }
            Some(_) => {}
        }
    }
}

fn reserves(message: &MessageDescriptor, number: u32) -> bool {
    message
        .reserved_ranges()
        .any(|range| range.contains(&number))
}

/// What is on the wire and in JSON: type, cardinality, and the oneof it belongs to.
fn shape(field: &FieldDescriptor) -> String {
    let oneof = field
        .containing_oneof()
        .map(|one| one.name().to_owned())
        .unwrap_or_default();
    let kind = field.kind();
    let kind = match (kind.as_message(), kind.as_enum()) {
        (Some(message), _) => message.full_name().to_owned(),
        (None, Some(values)) => values.full_name().to_owned(),
        (None, None) => format!("{kind:?}"),
    };
    format!("{:?} {kind} {oneof}", field.cardinality())
}

fn enum_breaks(old: &EnumDescriptor, new: &EnumDescriptor, found: &mut Vec<String>) {
    let now: BTreeMap<i32, String> = new
        .values()
        .map(|value| (value.number(), value.name().to_owned()))
        .collect();
    for value in old.values() {
        if now.get(&value.number()).map(String::as_str) != Some(value.name()) {
            found.push(format!(
                "{} = {} changed",
                value.full_name(),
                value.number()
            ));
        }
    }
    if new
        .values()
        .all(|value| value.number() != 0 || !value.name().ends_with("UNSPECIFIED"))
    {
        found.push(format!(
            "{} does not start with UNSPECIFIED",
            new.full_name()
        ));
    }
}

#[test]
fn nothing_released_was_changed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("released/v1.binpb");
    let new = today();
    if path.exists() {
        let old = DescriptorPool::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
        let found = breaks(&old, &new);
        assert!(
            found.is_empty(),
            "incompatible with the release:\n{}",
            found.join("\n")
        );
    }
    #[expect(clippy::disallowed_methods, reason = "how a release is written")]
    if std::env::var("BASHU_RELEASE").is_ok() {
        std::fs::write(&path, new.encode_to_vec()).unwrap();
    }
    assert!(
        path.exists(),
        "no released descriptors: run with BASHU_RELEASE=1"
    );
}

#[test]
fn every_kind_of_damage_is_seen() {
    let base = "syntax = \"proto3\"; package t; enum E { E_UNSPECIFIED = 0; A = 1; } \
                message M { int64 a = 1; repeated string b = 2; E e = 3; }";
    let old = pool_of(base);
    for (edit, with, expected) in [
        ("int64 a = 1;", "", "gone"),
        ("int64 a = 1;", "int32 a = 1;", "was"),
        ("int64 a = 1;", "int64 z = 1;", "called"),
        ("repeated string b", "string b", "was"),
        ("A = 1;", "B = 1;", "changed"),
        ("message M", "message N", "gone"),
    ] {
        let found = breaks(&old, &pool_of(&base.replace(edit, with)));
        assert!(
            found.iter().any(|line| line.contains(expected)),
            "{edit} -> {with}: {found:?}"
        );
    }
    let added = base
        .replace("E e = 3;", "E e = 3; string c = 4;")
        .replace("A = 1;", "A = 1; B = 2;");
    assert!(breaks(&old, &pool_of(&added)).is_empty());
    let removed = base.replace("int64 a = 1;", "reserved 1;");
    assert!(breaks(&old, &pool_of(&removed)).is_empty());
}
