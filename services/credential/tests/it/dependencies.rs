//! The crate must build for WebAssembly and stay small enough to audit: it depends on nothing
//! that reads a clock, draws random bytes or does input and output.

use std::collections::BTreeSet;
use std::process::Command;

/// All that may be linked in, the dependencies of dependencies included.
const ALLOWED: [&str; 24] = [
    "block-buffer",
    "cfg-if",
    "chrono",
    "cpufeatures",
    "credential",
    "crypto-common",
    "curve25519-dalek",
    "curve25519-dalek-derive",
    "digest",
    "ed25519",
    "ed25519-dalek",
    "generic-array",
    "hmac",
    "libc",
    "num-traits",
    "proc-macro2",
    "quote",
    "sha2",
    "signature",
    "subtle",
    "syn",
    "typenum",
    "unicode-ident",
    "zeroize",
];
const WASM: &str = "wasm32-unknown-unknown";

fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    let _ = command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let output = cargo()
        .args([
            "tree",
            "--offline",
            "-p",
            "credential",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .args(arguments)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("crate names are ASCII");
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// Nothing beyond the list, neither on this machine nor on a gate's WebAssembly.
#[test]
fn dependencies_are_on_the_list() {
    let allowed: BTreeSet<String> = ALLOWED.iter().map(|&name| name.to_owned()).collect();
    for arguments in [&[][..], &["--target", WASM]] {
        let found = tree(arguments);
        let surplus: Vec<_> = found.difference(&allowed).collect();
        assert!(
            surplus.is_empty(),
            "not on the list with {arguments:?}: {surplus:?}"
        );
        assert!(found.contains("ed25519-dalek"), "the tree was read");
    }
}

/// The features that would bring in a clock or a random number generator stay off.
#[test]
fn features_are_off_that_reach_outside() {
    let output = cargo()
        .args([
            "tree",
            "--offline",
            "-p",
            "credential",
            "-e",
            "normal,features",
        ])
        .args(["--prefix", "none", "--target", WASM])
        .output()
        .expect("cargo runs");
    let text = String::from_utf8(output.stdout).expect("crate names are ASCII");
    assert!(
        text.contains("chrono feature \"std\""),
        "the features were read"
    );
    for feature in [
        "chrono feature \"clock\"",
        "chrono feature \"now\"",
        "feature \"rand_core\"",
        "getrandom",
    ] {
        assert!(!text.contains(feature), "{feature} is on");
    }
}

/// Where the target is installed, the crate compiles for it.
#[test]
fn it_compiles_for_webassembly() {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM])
        .output()
        .expect("rustc runs");
    let libdir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !std::path::Path::new(&libdir).is_dir() {
        eprintln!("{WASM} is not installed here: the list of dependencies alone was checked");
        return;
    }
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/wasm");
    let status = cargo()
        .args([
            "check",
            "--offline",
            "-p",
            "credential",
            "--lib",
            "--ignore-rust-version",
        ])
        .args(["--target", WASM, "--target-dir", target])
        .status()
        .expect("cargo runs");
    assert!(status.success());
}
