//! What the demonstration world is made of, and that a load which was cut off goes on.

use std::path::Path;

use super::*;
use crate::dev::{GATEWAY_PORT, SANDBOX_PORT};

/// As many as `make run` makes of each union.
const MEMBERS: u32 = 1_500;

/// A load that was cut off after any of its requests is completed by the next one, which sends
/// what is missing and nothing else; a third sends nothing.
#[test]
fn a_load_that_was_cut_off_goes_on() {
    let people: Vec<Person> = (0..600).map(|at| person(50, at)).collect();
    for cut in 0..=people.len() / PEOPLE_MAX {
        let mut there: HashSet<String> = HashSet::new();
        for part in missing(&people, &HashSet::new()).take(cut) {
            there.extend(part.iter().map(seen_as));
        }
        // Somebody else who joined meanwhile hides nobody.
        there.insert(seen_as(&person(50, OFFICES[3].0)));
        let sent: Vec<&Person> = missing(&people, &there).flatten().collect();
        let rest: Vec<&Person> = people.iter().skip(cut * PEOPLE_MAX).collect();
        assert_eq!(sent, rest, "after {cut} requests");
        there.extend(sent.into_iter().map(seen_as));
        assert_eq!(missing(&people, &there).count(), 0);
    }
}

/// Lists show people masked; nobody of an organisation is taken for another.
#[test]
fn a_masked_person_is_recognised() {
    assert_eq!(shown("张*三", "500199********002X"), "张002X");
    let mut next = 0;
    for (_, share) in SHARES {
        let count = MEMBERS * share / 100;
        let seen: HashSet<String> = (next..next + count)
            .map(|at| seen_as(&person(51, at)))
            .collect();
        assert_eq!(seen.len(), usize::try_from(count).unwrap());
        next += count;
    }
    assert_eq!(next, MEMBERS, "the shares make the whole");
}

/// What the readmes print of whom to be and where is what `make run` has.
#[test]
fn the_readmes_name_these_people_and_ports() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, in_english) in [("README.md", true), ("README.zh-CN.md", false)] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let row = |begin: &str| {
            let begin = format!("| {begin}");
            let found = text.lines().find(|line| line.starts_with(&begin));
            found
                .unwrap_or_else(|| panic!("{file} has no row {begin}"))
                .to_owned()
        };
        let both = |phone: &dyn Fn(Union) -> String| Union::ALL.map(phone).join(" | ");
        let members = both(&|union| {
            let last = member_phone(union, MEMBERS - 1);
            format!("{} … {last}", member_phone(union, 0))
        });
        let people = row(if in_english { "members" } else { "职工" });
        assert!(
            people.ends_with(&format!("| {members} |")),
            "{file}: {people}"
        );
        let offices = OFFICES.map(|(number, _, _, title)| (number, title));
        for (number, title) in offices.into_iter().chain([SECOND]) {
            let (zh, en) = title.split_once(' ').unwrap();
            let row = row(if in_english { en } else { zh });
            let phones = both(&|union| person(union.code(), number).phone);
            assert!(row.ends_with(&format!("| {phones} |")), "{file}: {row}");
        }
        for union in Union::ALL {
            let port = GATEWAY_PORT + u16::from(union.code());
            assert!(
                text.contains(&format!("<http://127.0.0.1:{port}/graphql>")),
                "{file}"
            );
        }
        assert!(
            text.contains(&format!("<http://127.0.0.1:{SANDBOX_PORT}/>")),
            "{file}"
        );
    }
}
