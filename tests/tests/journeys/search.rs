//! Looks for people in bytes, however a program may have written them, and counts what it looked
//! at: a search of nothing finds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use encoding_rs::GBK;

/// A shorter piece is found everywhere by chance.
const NEEDLE_BYTES_MIN: usize = 6;

/// A search for people, by what says who they are.
#[derive(Debug)]
pub(crate) struct Search {
    needles: AhoCorasick,
    /// Whose needle each is, by number.
    whose: Vec<String>,
    found: Mutex<BTreeSet<String>>,
    looked: Mutex<BTreeMap<&'static str, usize>>,
}

impl Search {
    /// For people by number, and their texts.
    pub(crate) fn of(people: &[(String, String)]) -> Self {
        let mut all = Vec::new();
        let mut whose = Vec::new();
        for (who, text) in people {
            for needle in writings(text) {
                assert!(
                    needle.len() >= NEEDLE_BYTES_MIN,
                    "{who} is too short to be told"
                );
                all.push(needle);
                whose.push(who.clone());
            }
        }
        Self {
            needles: AhoCorasick::new(&all).unwrap(),
            whose,
            found: Mutex::default(),
            looked: Mutex::default(),
        }
    }

    /// Looks at what lies somewhere; what was found is named, never shown.
    pub(crate) fn look(&self, kind: &'static str, place: &str, bytes: &[u8]) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        *looked.entry(kind).or_default() += bytes.len();
        drop(looked);
        for hit in self.needles.find_iter(bytes) {
            let who = &self.whose[hit.pattern().as_usize()];
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            let _new = found.insert(format!("{kind} {place}: {who}"));
        }
    }

    /// Who stands in these bytes; nothing is written down.
    pub(crate) fn people_in(&self, bytes: &[u8]) -> BTreeSet<String> {
        let hits = self.needles.find_iter(bytes);
        hits.map(|hit| self.whose[hit.pattern().as_usize()].clone())
            .collect()
    }

    /// Where somebody was found, and who.
    pub(crate) fn found(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().cloned().collect()
    }

    /// Bytes that were looked at, by kind of place.
    pub(crate) fn looked(&self) -> BTreeMap<&'static str, usize> {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.clone()
    }
}

/// Every way in which a text may be written: in three encodings, as they are, in hexadecimal and in
/// base64 behind any neighbour; with JSON's escapes; with those of an address.
fn writings(text: &str) -> BTreeSet<Vec<u8>> {
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (old, _, _) = GBK.encode(text);
    let mut all = BTreeSet::new();
    for bytes in [text.as_bytes(), &little, &big, &old] {
        all.insert(bytes.to_vec());
        all.insert(hex::encode(bytes).into_bytes());
        all.insert(hex::encode_upper(bytes).into_bytes());
        for shift in 0..3 {
            let behind = [&vec![0; shift][..], bytes].concat();
            for digits in [
                STANDARD_NO_PAD.encode(&behind),
                URL_SAFE_NO_PAD.encode(&behind),
            ] {
                all.insert(inside(&digits, shift, bytes));
            }
        }
    }
    for upper in [false, true] {
        all.insert(escaped(text, upper).into_bytes());
        all.insert(percent(text, upper).into_bytes());
    }
    all
}

/// The digits of base64 that no neighbour has a part in, `shift` bytes standing before.
fn inside(digits: &str, shift: usize, bytes: &[u8]) -> Vec<u8> {
    let first = (shift * 8).div_ceil(6);
    let last = (shift + bytes.len()) * 8 / 6;
    digits.as_bytes()[first..last].to_vec()
}

/// As JSON may write it: every character beyond ASCII as `\uXXXX`.
fn escaped(text: &str, upper: bool) -> String {
    let unit = |unit: u16| match (char::from_u32(unit.into()), upper) {
        (Some(plain), _) if plain.is_ascii() => plain.to_string(),
        (_, false) => format!("\\u{unit:04x}"),
        (_, true) => format!("\\u{unit:04X}"),
    };
    text.encode_utf16().map(unit).collect()
}

/// As an address writes it.
fn percent(text: &str, upper: bool) -> String {
    let byte = |byte: u8| match (byte.is_ascii_alphanumeric(), upper) {
        (true, _) => char::from(byte).to_string(),
        (false, false) => format!("%{byte:02x}"),
        (false, true) => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search() -> Search {
        let of = |text: &str| ("member 1".to_owned(), text.to_owned());
        Search::of(&[of("张三丰"), of("19950000001")])
    }

    /// Whoever is there is found however a program wrote it, and nobody is where nobody is.
    #[test]
    fn a_planted_person_is_found_in_every_writing() {
        for text in ["张三丰", "19950000001"] {
            for before in ["", "a", "ab", "abc"] {
                let line = format!("{before}{text}, and more");
                let wide: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let big: Vec<u8> = line.encode_utf16().flat_map(u16::to_be_bytes).collect();
                for written in [
                    line.clone().into_bytes(),
                    hex::encode(&line).into_bytes(),
                    hex::encode_upper(&line).into_bytes(),
                    STANDARD_NO_PAD.encode(&line).into_bytes(),
                    URL_SAFE_NO_PAD.encode(&line).into_bytes(),
                    STANDARD_NO_PAD.encode(&wide).into_bytes(),
                    hex::encode(&big).into_bytes(),
                    wide,
                    big,
                    escaped(&line, false).into_bytes(),
                    escaped(&line, true).into_bytes(),
                    percent(&line, false).into_bytes(),
                    percent(&line, true).into_bytes(),
                    GBK.encode(&line).0.into_owned(),
                    hex::encode(GBK.encode(&line).0).into_bytes(),
                ] {
                    let search = search();
                    search.look("test", "here", &written);
                    assert_eq!(search.found(), ["test here: member 1"], "{written:?}");
                }
            }
        }
        let search = search();
        let others = "李四, 张三, 19950000002, e5bca0e4b889";
        search.look("test", "here", others.as_bytes());
        assert_eq!(search.found(), [""; 0]);
        assert_eq!(search.looked(), BTreeMap::from([("test", others.len())]));
    }
}
