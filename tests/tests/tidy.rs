//! Rules about the tree itself: every one that a machine can check is a test here.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::fs;
use std::path::{Path, PathBuf};

const SERVICES: [&str; 4] = ["identity", "passes", "billing", "admission"];
/// What a business service is made of; a name is a file or, when it grew, a folder.
const PARTS: [&str; 9] = [
    "lib",
    "domain",
    "commands",
    "queries",
    "store",
    "publish",
    "consumers",
    "due",
    "graphql",
];
const FILE_LINES_MAX: usize = 500;
const LINE_COLUMNS_MAX: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    ["fuzz", "proto", "services", "tests"]
        .iter()
        .flat_map(|top| files(&root().join(top), ".rs"))
        .collect()
}

/// Every line of every file that breaks a rule, as `path:line: text`.
fn offences(files: &[PathBuf], breaks: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in fs::read_to_string(file).unwrap().lines().enumerate() {
            if breaks(line) {
                found.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    found
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn every_service_has_the_same_inside() {
    let mut missing = Vec::new();
    for service in SERVICES {
        let source = root().join("services").join(service).join("src");
        for part in PARTS.iter().chain(&["error"]) {
            if !source.join(format!("{part}.rs")).exists() && !source.join(part).exists() {
                missing.push(format!("{service}/src/{part}"));
            }
        }
        if !source.parent().unwrap().join("migrations").exists() {
            missing.push(format!("{service}/migrations"));
        }
    }
    assert_none(&missing, "every business service has the same parts");
}

#[test]
fn domains_are_pure() {
    for service in SERVICES {
        let folder = root().join("services").join(service).join("src");
        let mut domain = Vec::new();
        if folder.join("domain").exists() {
            domain = files(&folder.join("domain"), ".rs");
        } else {
            domain.push(folder.join("domain.rs"));
        }
        let impure = offences(&domain, |line| {
            let line = line.trim_start();
            !line.starts_with("//")
                && [
                    "async ", "await;", "await?", "sea_orm", "tokio", "serde", "rand::", "reqwest",
                    "rdkafka",
                ]
                .iter()
                .any(|word| line.contains(word))
        });
        assert_none(
            &impure,
            "a domain knows no IO, no clock, no database, no wire format",
        );
    }
}

/// ASVS V1.2.4.
#[test]
fn only_the_store_speaks_to_the_database() {
    for service in SERVICES {
        let folder = root().join("services").join(service).join("src");
        let others: Vec<PathBuf> = files(&folder, ".rs")
            .into_iter()
            .filter(|path| {
                let inside = path.strip_prefix(&folder).unwrap();
                let first = inside.iter().next().unwrap().to_string_lossy().into_owned();
                !matches!(
                    first.as_str(),
                    "store" | "store.rs" | "queries" | "queries.rs"
                )
            })
            .collect();
        let found = offences(&others, |line| line.contains("sea_orm"));
        assert_none(&found, "only store and queries say sea_orm");
    }
}

/// The tables of a manifest that name dependencies, by their path: `dependencies`,
/// `dev-dependencies`, `target.….build-dependencies`; each entry by the crate it takes, whatever
/// it is called here and wherever it comes from.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let table = manifest.parse::<toml::Table>().unwrap();
    walk(&table, "", &mut found);
    found
}

fn walk(table: &toml::Table, path: &str, found: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let Some(inner) = value.as_table() else {
            continue;
        };
        let path = format!("{path}{name}");
        if !name.ends_with("dependencies") {
            walk(inner, &format!("{path}."), found);
            continue;
        }
        for (called, what) in inner {
            let text = |key: &str| what.get(key).and_then(toml::Value::as_str);
            let folder = text("path").and_then(|path| path.rsplit('/').next());
            let taken = text("package").or(folder).unwrap_or(called);
            found.push((path.clone(), taken.to_owned()));
        }
    }
}

fn manifest(service: &str) -> String {
    let path = root().join("services").join(service).join("Cargo.toml");
    fs::read_to_string(path).unwrap()
}

#[test]
fn dependencies_are_found_however_they_are_written() {
    let text = "[dependencies]\na.workspace = true\nb = \"1\"\nc = { path = \"../passes\" }\n\
                [dev-dependencies]\nd = { package = \"billing\", workspace = true }\n\
                [target.'cfg(unix)'.dependencies.identity]\nworkspace = true\n";
    let crates: Vec<String> = dependencies(text)
        .into_iter()
        .map(|(_, taken)| taken)
        .collect();
    for wanted in ["a", "b", "passes", "billing", "identity"] {
        assert!(
            crates.iter().any(|one| one == wanted),
            "{wanted}: {crates:?}"
        );
    }
}

#[test]
fn no_service_knows_another() {
    for service in SERVICES {
        for (table, taken) in dependencies(&manifest(service)) {
            assert!(
                taken == service || !SERVICES.contains(&taken.as_str()),
                "{service}: {table} names {taken}: services share events only"
            );
        }
    }
}

/// What signs for the provider is not what checks it: an error in both would not be seen.
#[test]
fn client_and_sandbox_share_no_code() {
    let crates: Vec<String> = fs::read_dir(root().join("services"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .chain(["proto".to_owned(), "tests".to_owned()])
        .collect();
    for (table, taken) in dependencies(&manifest("sandbox")) {
        assert!(!crates.contains(&taken), "sandbox: {table} names {taken}");
    }
    for service in SERVICES {
        for (table, taken) in dependencies(&manifest(service)) {
            assert!(
                taken != "sandbox" || table == "dev-dependencies",
                "{service}: {table} names the sandbox"
            );
        }
    }
}

#[test]
fn files_and_lines_stay_readable() {
    let mut found = Vec::new();
    for file in rust_files() {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert_none(&found, "a file has at most 500 lines");
    let long = offences(&rust_files(), |line| {
        line.chars().count() > LINE_COLUMNS_MAX
    });
    assert_none(&long, "a line has at most 100 columns");
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    let here = Path::new(file!()).file_name().unwrap().to_owned();
    let others: Vec<PathBuf> = rust_files()
        .into_iter()
        .filter(|path| path.file_name() != Some(&here))
        .collect();
    let found = offences(&others, |line| {
        [
            "todo!(",
            "unimplemented!(",
            "TODO",
            "FIXME",
            "#[ignore",
            "#[should_panic",
            "#[allow(",
        ]
        .iter()
        .any(|word| line.contains(word))
    });
    assert_none(
        &found,
        "nothing is left undone, ignored or silenced without a reason",
    );
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| {
            !fs::read_to_string(path)
                .unwrap()
                .trim_start()
                .starts_with("//!")
        })
        .map(|path| path.display().to_string())
        .collect();
    assert_none(&silent, "each module opens with what it is");
}

#[test]
fn scripts_stay_short() {
    let mut found = Vec::new();
    for file in files(&root().join("deploy"), "") {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        if text.starts_with("#!") && text.lines().count() > 80 {
            found.push(format!(
                "{}: {} lines",
                file.display(),
                text.lines().count()
            ));
        }
    }
    assert_none(&found, "a shell script has at most 80 lines");
}

/// rustls verifies the certificate and the name of whom it speaks to, unless it is told not to; no
/// cipher mode, hash or generator is used that is weak in what it is for.
/// ASVS V6.5.3, V11.3.1, V12.3.2.
#[test]
fn nobody_weakens_what_cryptography_does_by_default() {
    let here = Path::new(file!()).file_name().unwrap().to_owned();
    let others: Vec<PathBuf> = rust_files()
        .into_iter()
        .filter(|path| path.file_name() != Some(&here))
        .collect();
    let found = offences(&others, |line| {
        [
            "danger_accept_invalid",
            "tls_danger_accept",
            "dangerous()",
            "insecure_skip",
            "sslmode=require",
            "sslmode=prefer",
            "sslmode=disable",
            "PgSslMode::",
            "SmallRng",
            "fastrand",
            "ecb::",
            "cbc::",
            "Md5::",
            "Pkcs1v15Encrypt",
        ]
        .iter()
        .any(|word| line.contains(word))
    });
    assert_none(
        &found,
        "certificates are verified, and no cipher, hash or generator is a weak one",
    );
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let bans = read("clippy.toml");
    for banned in ["rand::rng", "rand::random"] {
        let ban = format!("path = \"{banned}\"");
        assert!(bans.contains(&ban), "{banned} is drawn from everywhere");
    }
    let seed = "ChaCha20Rng::from_os_rng()";
    assert!(read("services/kit/src/ids.rs").contains(seed), "{seed}");
}

#[test]
fn only_the_relay_produces() {
    let kit = root().join("services/kit/src");
    let others: Vec<PathBuf> = files(&root().join("services"), ".rs")
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "src"))
        .filter(|path| !path.starts_with(kit.join("bus")) && !path.starts_with(kit.join("relay")))
        .filter(|path| *path != kit.join("relay.rs") && *path != kit.join("bus.rs"))
        .collect();
    let producers = [
        "ThreadedProducer",
        "BaseProducer",
        "FutureProducer",
        "rdkafka::producer",
        "BaseRecord",
        "FutureRecord",
        ".publisher(",
    ];
    let found = offences(&others, |line| {
        producers.iter().any(|name| line.contains(name))
    });
    assert_none(&found, "only the relay publishes");
}
