//! `security/asvs.csv`: what of OWASP ASVS 5.0 up to level 2 is met, by which test, and what not.
//! What is said to be met names a test that is there and says so itself; all else says why. And
//! what the documents beside it say is held against the code.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod documents;
mod edge;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tests::root;

const HEADER: &str = "id,level,requirement,status,reason,path,test";
const FIELDS: usize = 7;
const STATUSES: [&str; 4] = ["met", "partly", "not", "not applicable"];
/// Requirements of levels 1 and 2 in ASVS 5.0.0, of chapters V1 to V17.
const BY_LEVEL: [(&str, usize); 2] = [("1", 70), ("2", 183)];
const CHAPTERS: usize = 17;
/// How the line of a test's comment begins that names the requirements it touches.
const TOUCHES: &str = "/// ASVS ";
/// In two pieces, since tidy lets no file say it.
const IGNORED: &str = concat!("#[", "ignore");
const TESTS: [&str; 3] = ["#[test]", "#[tokio::test]", "#[tokio::test("];

fn table() -> String {
    fs::read_to_string(root().join("security/asvs.csv")).unwrap()
}

/// Whether a file has a test of this name that runs and says in its comment that it touches this
/// requirement: comment and attributes stand in the lines before it.
fn has_test(text: &str, name: &str, id: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let found = |at: &usize| {
        let before = lines[..*at].iter().rev();
        let of_it = |line: &&&str| line.starts_with("#[") || line.starts_with("///");
        let before: Vec<&str> = before.take_while(of_it).copied().collect();
        let has = |starts: &[&str]| {
            let mut each = before.iter();
            each.any(|line| starts.iter().any(|start| line.starts_with(start)))
        };
        let told = before.iter().filter_map(|line| line.strip_prefix(TOUCHES));
        let mut ids = told.flat_map(|ids| ids.trim_end_matches('.').split(", "));
        has(&TESTS) && !has(&[IGNORED]) && ids.any(|told| told == id)
    };
    let mut heads = (0..lines.len()).filter(|at| lines[*at].contains(&head));
    heads.any(|at| found(&at))
}

/// What is wrong with a row.
fn wrong(row: &str) -> Option<String> {
    let fields: Vec<&str> = row.split(',').collect();
    let [id, _, requirement, status, reason, path, test] = fields.as_slice() else {
        return Some(format!(
            "{} fields instead of {FIELDS}: {row}",
            fields.len()
        ));
    };
    if requirement.is_empty() || !STATUSES.contains(status) {
        return Some(format!("{id} is no requirement with a status"));
    }
    if *status != "met" && reason.is_empty() {
        return Some(format!("{id} is {status} and does not say why"));
    }
    if path.is_empty() && test.is_empty() {
        return (*status == "met").then(|| format!("{id} is met by no test"));
    }
    let text = fs::read_to_string(root().join(path));
    let there = text.is_ok_and(|text| has_test(&text, test, id));
    (!there).then(|| format!("{id}: {path} has no test {test} that says it touches it"))
}

#[test]
fn what_is_met_is_tested_and_what_is_not_says_why() {
    let table = table();
    let mut rows = table.lines();
    assert_eq!(rows.next(), Some(HEADER));
    let found: Vec<String> = rows.filter_map(wrong).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_requirement_is_there_once() {
    let table = table();
    let mut by_level: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut ids, mut chapters) = (BTreeSet::new(), BTreeSet::new());
    for row in table.lines().skip(1) {
        let mut fields = row.split(',');
        let (id, level) = (fields.next().unwrap(), fields.next().unwrap());
        assert!(ids.insert(id), "{id} is there twice");
        let _new = chapters.insert(id.split('.').next().unwrap());
        *by_level.entry(level).or_default() += 1;
    }
    assert_eq!(by_level, BTreeMap::from(BY_LEVEL));
    let all: Vec<String> = (1..=CHAPTERS).map(|number| format!("V{number}")).collect();
    let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(chapters, all);
}

/// The check sees each way in which a row may promise too much.
/// ASVS V0.0.1, V0.0.11.
#[test]
fn an_empty_promise_is_found() {
    let path = "tests/tests/asvs/main.rs";
    let good = format!("V0.0.1,1,r,met,,{path},an_empty_promise_is_found");
    assert_eq!(wrong(&good), None);
    for bad in [
        "V0.0.1,1,r,met,,,".to_owned(),
        format!("V0.0.1,1,r,met,,{path},no_test_of_this_name"),
        format!("V0.0.1,1,r,met,,{path},has_test"),
        format!("V0.0.1,1,r,met,,{path},every_requirement_is_there_once"),
        format!("V0.0.2,1,r,met,,{path},an_empty_promise_is_found"),
        format!("V0.0.111,1,r,met,,{path},an_empty_promise_is_found"),
        "V0.0.1,1,r,met,,tests/tests/nowhere.rs,wrong".to_owned(),
        "V0.0.1,1,r,partly,,,".to_owned(),
        "V0.0.1,1,r,done,why,,".to_owned(),
        "V0.0.1,1,r,not,why,".to_owned(),
    ] {
        assert!(wrong(&bad).is_some(), "{bad}");
    }
    let with = |attribute: &str| format!("/// ASVS V1.1.1.\n{attribute}\nfn it() {{}}");
    let is_one = |attribute: &str| has_test(&with(attribute), "it", "V1.1.1");
    assert!(is_one("#[test]") && is_one("#[tokio::test(start_paused = true)]"));
    let ignored = format!("#[test]\n{IGNORED} = \"slow\"]");
    for none in ["", "#[cfg(test)]", &ignored] {
        assert!(!is_one(none), "{none}");
    }
}
