//! The journeys that must always work, on real processes and real servers: what `make run` shows
//! a person, with every answer checked, and the invariants afterwards.

use tests::{TestWorld, variable};

/// Enough people for every office and every query; `make run` has three thousand.
const MEMBERS: &str = "1500";

/// Milliseconds from the payment to the code on the phone, at most. The design's second is meant
/// for an optimised build on a machine of its own; this one is neither.
const CODE_TIME_MS_MAX: u64 = 5_000;
/// What the step says whose time this is.
const CODE_STEP: &str = "付款 → 二维码 / paid → code  (";

/// A member buys a pass and walks through a gate, in both unions at once; what that leaves in the
/// databases breaks no invariant, which `bashu dev` looks at before it stops them.
#[test]
fn a_member_buys_a_pass_and_a_venue_validates_it() {
    let world = TestWorld::new("journeys").unwrap();
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
}
