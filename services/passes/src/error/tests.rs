//! Every refusal has its row, its code and its texts.

use super::*;

/// The names of the enum's variants, as they stand in this file.
fn variants() -> Vec<&'static str> {
    let source = include_str!("../error.rs");
    let body = source.split_once("pub enum Refusal {").unwrap().1;
    let body = body.split_once("\n}").unwrap().0;
    let names = body
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','));
    names.collect()
}

/// No variant is without a row: one that is would panic where it is answered.
#[test]
fn every_variant_has_its_row() {
    let rows: Vec<String> = TABLE
        .iter()
        .map(|row| format!("{:?}", row.refusal))
        .collect();
    assert_eq!(rows, variants());
}

/// Every refusal has its row, reads back from its code and speaks both languages.
#[test]
fn codes_read_back() {
    for (index, row) in TABLE.iter().enumerate() {
        assert_eq!(
            row.refusal as usize, index,
            "{:?} is out of its place",
            row.refusal
        );
        assert_eq!(Refusal::from_code(row.code), Some(row.refusal));
        assert!(
            row.zh.ends_with('。') && row.en.ends_with('.'),
            "{:?}",
            row.refusal
        );
        assert!(!row.zh.is_ascii() && row.en.is_ascii(), "{:?}", row.refusal);
    }
    assert_eq!(Refusal::from_code("SOLD"), None);
}
