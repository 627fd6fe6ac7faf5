//! The journeys that must always work, on real processes and real servers: what `make run` shows
//! a person, with every answer checked, and the invariants afterwards.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::process::Command;

use tests::{TestWorld, root, variable};

/// Away from the ports of `make run`.
const PORT_OFFSET: u16 = 3_000;
/// Enough people for every office and every query; `make run` has three thousand.
const MEMBERS: &str = "1500";

/// Runs the program; whether it went well, and all it said.
fn bashu(world: &TestWorld, config: Option<&str>, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(variable("BASHU_BIN").unwrap());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BASHU_")) {
        command.env_remove(name);
    }
    if let Some(union) = config {
        command.env("BASHU_CONFIG", world.config(union));
    }
    let output = command
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// A member buys a pass and walks through a gate, in both unions at once; what is left behind in
/// the databases breaks no invariant.
#[test]
fn a_member_buys_a_pass_and_a_venue_validates_it() {
    let offset = PORT_OFFSET + u16::try_from(std::process::id() % 50).unwrap() * 100;
    let world = TestWorld::new("journeys").unwrap();
    let folder = world.folder.display().to_string();
    let gateway = variable("BASHU_GATEWAY_BIN").unwrap();
    let offset = offset.to_string();
    let dev = ["dev", "--once", "--folder", &folder, "--gateway", &gateway];
    let rest = ["--port-offset", &offset, "--members", MEMBERS];
    let (well, said) = bashu(&world, None, &[dev.as_slice(), &rest].concat());
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
    for union in ["50", "51"] {
        let (well, said) = bashu(&world, Some(union), &["verify"]);
        assert!(well, "union {union}: {said}");
    }
}
