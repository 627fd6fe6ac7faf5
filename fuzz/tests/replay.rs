//! Every input that is kept goes through its target again, so that none rots and no failure that
//! was found comes back; and every target can be run.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target, Verdict};

/// What is fuzzed whatever else is: what a stranger can send.
const PROMISED: [&str; 7] = [
    "roster_csv",
    "roster_xlsx",
    "cy1",
    "jwt",
    "notification",
    "envelope",
    "graphql",
];
/// How a seed's name begins that is accepted, and one that is refused.
const ACCEPTED: &str = "accepted-";
const REFUSED: &str = "refused-";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The names in a folder, without those that begin with a dot.
fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

fn known() -> BTreeSet<String> {
    TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect()
}

/// The verdict on each file of a folder.
fn replayed(target: &Target, folder: &Path) -> Vec<(String, Verdict)> {
    names(folder)
        .into_iter()
        .map(|name| {
            eprintln!("{}: {name}", target.name);
            let bytes = fs::read(folder.join(&name)).unwrap();
            (name, (target.check)(&bytes))
        })
        .collect()
}

/// A seed is what its name says: so a target that takes nothing in, or everything, is seen.
#[test]
fn every_seed_holds() {
    for target in TARGETS {
        let all = replayed(&target, &folder("corpus").join(target.name));
        for kind in [ACCEPTED, REFUSED] {
            let is_kind = |name: &str| name.starts_with(kind);
            assert!(all.iter().any(|(name, _)| is_kind(name)), "{kind}?");
        }
        for (name, verdict) in all {
            let said = if name.starts_with(ACCEPTED) {
                Verdict::Accepted
            } else {
                assert!(name.starts_with(REFUSED), "{name}");
                Verdict::Refused
            };
            assert_eq!(verdict, said, "{}/{name}", target.name);
        }
    }
}

/// What once failed does not any more.
#[test]
fn everything_that_was_found_holds() {
    for name in names(&folder("found")) {
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("{name} is no target"));
        let _verdicts = replayed(target, &folder("found").join(name));
    }
}

/// Nothing at all, and every byte alone, holds for every target.
#[test]
fn the_smallest_inputs_hold() {
    for target in TARGETS {
        let _empty = (target.check)(&[]);
        for byte in 0..=u8::MAX {
            let _single = (target.check)(&[byte]);
        }
    }
}

#[test]
fn what_strangers_send_is_fuzzed() {
    let known = known();
    for name in PROMISED {
        assert!(known.contains(name), "{name}");
    }
    assert_eq!(known, names(&folder("corpus")));
}

/// Each target has its program, and each program its target.
#[test]
fn every_target_has_its_program() {
    let text = fs::read_to_string(folder("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let mut programs = BTreeSet::new();
    for program in manifest["bin"].as_array().unwrap() {
        let name = program["name"].as_str().unwrap();
        assert_eq!(
            program["path"].as_str(),
            Some(&*format!("targets/{name}.rs"))
        );
        let text = fs::read_to_string(folder(&format!("targets/{name}.rs"))).unwrap();
        assert!(
            text.contains(&format!("fuzz::{name}::check(bytes)")),
            "{name}"
        );
        programs.insert(name.to_owned());
    }
    assert_eq!(programs, known());
    let files = known().into_iter().map(|name| format!("{name}.rs"));
    assert_eq!(names(&folder("targets")), files.collect());
}
