//! The journeys that must always work, on real processes and real servers: what `make run` shows
//! a person, with every answer checked, and the invariants afterwards. Then it is looked for those
//! who were there, everywhere but in the vault: nobody is found, but in files that were made for
//! her.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod exports;
mod metrics;
mod places;
mod restored;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bashu::demo;
use bashu::journey::purchase::players;
use bashu::journey::roster;
use kit::types::Union;
use tests::{TestWorld, variable};

use crate::metrics::{METRICS, Processes};
use crate::places::{DATABASES, FILES, REDIS, TOPICS, TRACES, Watch, look_at, plant, uproot};
use crate::restored::RESTORED;
use crate::search::Search;

/// Enough people for every office and every query; `make run` has three thousand.
const MEMBERS: &str = "1500";

/// Milliseconds from the payment to the code on the phone, at most. The design's second is meant
/// for an optimised build on a machine of its own; this one is neither.
const CODE_TIME_MS_MAX: u64 = 5_000;
/// What the step says whose time this is.
const CODE_STEP: &str = "付款 → 二维码 / paid → code  (";

/// Of each union: its two operators, its venue's supervisor and staff, an officer, another
/// company's staff, the federation's auditor, who asks to be forgotten, and who is.
const AT_WORK: [u32; 9] = [
    900_001,
    900_002,
    900_003,
    900_007,
    900_008,
    900_009,
    900_010,
    demo::LEAVER,
    demo::FORGOTTEN,
];
/// Of each union, who may be the journeys' member, whose turn comes within twelve minutes.
const PLAYERS: usize = 37;
/// A name of two characters stands in other words by chance.
const TEXT_CHARS_MIN: usize = 3;
/// How many people are looked for by name, phone and number of their document.
const WHOLE_MIN: usize = 20;
const PLACES: [&str; 7] = [FILES, DATABASES, RESTORED, TOPICS, REDIS, METRICS, TRACES];

/// Who somebody is, for whoever reads what was found.
fn who(union: Union, index: u32) -> String {
    format!("member {index} of union {union}")
}

/// Fifty-one people of each union, among them all who sign in and all of the roster: who each is,
/// and a text that says so.
fn canaries() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for union in Union::ALL {
        let members = MEMBERS.parse().unwrap();
        let players = players(members).take(PLAYERS);
        let listed = roster::FIRST..roster::FIRST + roster::PEOPLE;
        for index in AT_WORK.into_iter().chain(listed).chain(players) {
            let who = who(union, index);
            let texts = demo::known_by(union, index).into_iter();
            let told = texts.filter(|text| text.chars().count() >= TEXT_CHARS_MIN);
            all.extend(told.map(|text| (who.clone(), text)));
        }
    }
    all
}

/// How many are looked for by all that says who they are.
fn whole(canaries: &[(String, String)]) -> usize {
    let mut texts: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (who, text) in canaries {
        let _new = texts.entry(who).or_default().insert(text);
    }
    let known = demo::known_by(Union::Chongqing, demo::LEAVER).len();
    texts.values().filter(|of| of.len() == known).count()
}

/// The phones of those who signed in while the journeys went on, as the demonstration keeps them.
fn signed_in(world: &TestWorld) -> BTreeSet<String> {
    let mut phones = BTreeSet::new();
    for union in Union::ALL {
        let keys = world.folder.join(union.to_string()).join("keys");
        for entry in std::fs::read_dir(keys).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            phones.extend(name.strip_prefix("login-").map(str::to_owned));
        }
    }
    phones
}

/// That nobody is found where it was looked, that it was looked everywhere, and that somebody who
/// is planted is found in each of the places.
fn nobody_is_in_plain(
    world: &TestWorld,
    (search, known): (&Arc<Search>, &BTreeSet<String>),
    watch: Watch,
) {
    look_at(search, world);
    let signed_in = signed_in(world);
    assert!(signed_in.len() > AT_WORK.len(), "{signed_in:?}");
    assert!(signed_in.is_subset(known), "{signed_in:?}");
    let looked = search.looked();
    for place in PLACES {
        assert!(
            looked.get(place).is_some_and(|bytes| *bytes > 0),
            "{place}: {looked:?}"
        );
    }
    assert_eq!(search.found(), [""; 0]);
    let [_, phone, _] = demo::known_by(Union::Chongqing, AT_WORK[0]);
    plant(world, &watch.collector, &phone);
    Processes::of(world).plant(search, &phone);
    look_at(search, world);
    uproot();
    watch.end();
    let found = search.found();
    let kinds: BTreeSet<&str> = found
        .iter()
        .filter_map(|place| place.split(' ').next())
        .collect();
    assert_eq!(kinds, BTreeSet::from(PLACES), "{found:?}");
}

/// A member buys a pass and walks through a gate, an officer imports a roster, a member uses her
/// rights and an auditor reads the trail, in both unions; what that leaves in the databases breaks
/// no invariant, which `bashu dev` looks at before it stops them.
/// ASVS V9.2.4, V14.2.2, V16.2.5.
#[test]
fn a_member_buys_a_pass_and_a_venue_validates_it() {
    let world = TestWorld::new("journeys").unwrap();
    let canaries = canaries();
    let whole = whole(&canaries);
    assert!(whole >= WHOLE_MIN, "{whole} people by all three");
    let search = Arc::new(Search::of(&canaries));
    let numbers = canaries.iter().filter(|(_, text)| text.is_ascii());
    let numbers = Search::of(&numbers.cloned().collect::<Vec<_>>());
    let known: BTreeSet<String> = canaries.into_iter().map(|(_, text)| text).collect();
    let watch = Watch::begin(&search, &world);
    world.tell("BASHU_OTLP_ENDPOINT", &watch.collector).unwrap();
    let folder = world.folder.display().to_string();
    let gateway = variable("BASHU_GATEWAY_BIN").unwrap();
    let offset = TestWorld::port_offset().to_string();
    let dev = ["dev", "--once", "--folder", &folder, "--gateway", &gateway];
    let rest = ["--port-offset", &offset, "--members", MEMBERS];
    let (well, said) = world
        .bashu(None, &[dev.as_slice(), &rest].concat())
        .unwrap();
    assert!(well, "{said}");
    // Both unions said both journeys.
    for step in [
        "USED_TODAY",
        "voidRedemption, redeem",
        "venueFigures",
        "付款到入园",
        "downloadBadRows, correctRoster",
        "downloadRenderedFile",
        "withdrawConsent → lookUpPass",
        "downloadMyData",
        "recallErasure",
        "bashu audit verify",
    ] {
        assert_eq!(said.matches(step).count(), 2, "{step} in:\n{said}");
    }
    let times = said.split(CODE_STEP).skip(1);
    let times: Vec<u64> = times
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(times.len(), 2, "{said}");
    assert!(
        times.iter().all(|time| *time <= CODE_TIME_MS_MAX),
        "{times:?} in:\n{said}"
    );
    assert!(said.contains("union 50, 51: "), "{said}");
    assert!(said.contains(" promises checked, 0 broken"), "{said}");
    exports::name_whom_they_are_for(&world, &numbers);
    nobody_is_in_plain(&world, (&search, &known), watch);
}
