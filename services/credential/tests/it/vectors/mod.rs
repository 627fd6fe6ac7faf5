//! The golden vectors in `proto/vectors/`, for whoever writes a verifier or evaluator elsewhere.
//!
//! Inputs and outcomes of the rules are written by hand and only completed here (canonical bytes
//! and texts); tokens are made here, since a signature cannot be written by hand. `BLESS=1` writes
//! what differs, and the difference is reviewed.

mod dates;
mod facts;
mod rules;
mod tokens;

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../../proto/vectors").join(name)
}

fn load(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name)).expect("the vectors are committed");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

/// Holds the file against what it should say, or writes it when asked to.
fn hold(name: &str, expected: &Value) {
    if std::env::var_os("BLESS").is_some() {
        let text = serde_json::to_string_pretty(expected).expect("JSON");
        std::fs::write(path(name), text + "\n").expect("the vectors are writable");
    }
    assert!(
        load(name) == *expected,
        "{name} differs: review, then run with BLESS=1"
    );
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("text {field} in {value}"))
}

fn number<T: TryFrom<u64>>(value: &Value, field: &str) -> T {
    let number = value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("number {field} in {value}"));
    T::try_from(number).unwrap_or_else(|_| panic!("{field} is out of range"))
}

fn flag(value: &Value, field: &str) -> bool {
    value[field]
        .as_bool()
        .unwrap_or_else(|| panic!("flag {field} in {value}"))
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field]
        .as_array()
        .unwrap_or_else(|| panic!("list {field} in {value}"))
}

fn limit(value: &Value, field: &str) -> Option<u32> {
    (!value[field].is_null()).then(|| number(value, field))
}

fn instant(value: &Value, field: &str) -> DateTime<Utc> {
    text(value, field)
        .parse()
        .unwrap_or_else(|_| panic!("instant {field} in {value}"))
}

fn date(value: &Value, field: &str) -> NaiveDate {
    text(value, field)
        .parse()
        .unwrap_or_else(|_| panic!("date {field} in {value}"))
}

/// An instant as the vectors write it: Shanghai time, to the second.
fn shanghai(at: DateTime<Utc>) -> String {
    let east = chrono::FixedOffset::east_opt(8 * 3600).expect("eight hours");
    at.with_timezone(&east)
        .to_rfc3339_opts(SecondsFormat::Secs, false)
}
