//! What the documents of `security/` say, held against the code: limits, acts, crates, tables,
//! metrics and lines of the log. A document that is no longer true fails here, and names what.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::root;

/// Documents that have tables of limits.
const WITH_LIMITS: [&str; 2] = ["authentication", "limits"];
/// Limits in those, at least: fewer would mean that the tables are not read.
const LIMITS_MIN: usize = 50;
/// Names of crates, or what they begin with, that are about cryptography.
const FAMILIES: [&str; 53] = [
    "aes",
    "argon2",
    "aws-lc",
    "bcrypt",
    "blake2",
    "blake3",
    "cbc",
    "chacha20",
    "chacha20poly1305",
    "crypto",
    "ctr",
    "curve25519",
    "des",
    "dsa",
    "ecdsa",
    "ed25519",
    "ed448",
    "elliptic",
    "fiat",
    "ghash",
    "hkdf",
    "hmac",
    "hpke",
    "md-5",
    "md5",
    "ml-kem",
    "openssl",
    "p256",
    "p384",
    "p521",
    "pbkdf2",
    "pkcs1",
    "poly1305",
    "polyval",
    "rfc6979",
    "ring",
    "rsa",
    "rustls",
    "salsa20",
    "scrypt",
    "sec1",
    "sha-1",
    "sha1",
    "sha2",
    "sha3",
    "signature",
    "siphasher",
    "sm2",
    "sm3",
    "sm4",
    "tiny-keccak",
    "webpki",
    "x25519",
];
/// How a metric is named in the code.
const KINDS: [&str; 3] = ["counter!(\"", "gauge!(\"", "histogram!(\""];
/// Services whose logs are those of the inventory; `bashu` speaks to who runs it.
const LOGGING: [&str; 6] = [
    "kit",
    "identity",
    "passes",
    "billing",
    "admission",
    "credential",
];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document(name: &str) -> String {
    read(&format!("security/{name}.md"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}

/// The part of a document below a heading.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text.split_once(heading).unwrap();
    below.split("\n## ").next().unwrap()
}

/// Texts of all sources below a folder.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
}

fn sources_of(services: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for service in services {
        sources(
            &root().join("services").join(service).join("src"),
            &mut found,
        );
    }
    found
}

/// What a constant is set to, as it is written.
fn value_of(source: &str, name: &str) -> Option<String> {
    let (_, rest) = source.split_once(&format!("const {name}: "))?;
    let (_, rest) = rest.split_once('=')?;
    let (value, _) = rest.split_once(';')?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Each limit that is written down is in force.
/// ASVS V2.1.3, V5.1.1, V6.1.1, V7.1.1, V15.1.3.
#[test]
fn limits_are_those_of_the_code() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for name in WITH_LIMITS {
        let text = document(name);
        for line in text.lines().filter(|line| line.ends_with(".rs` |")) {
            let cells = cells(line);
            let said: Vec<&str> = cells.iter().map(|cell| cell.trim_matches('`')).collect();
            let [limit, value, _, path] = said.as_slice() else {
                panic!("{name}: {line}");
            };
            seen += 1;
            let found = value_of(&read(path), limit);
            if found.as_deref() != Some(*value) {
                wrong.push(format!(
                    "{name}: {limit} is {found:?} in {path}, not {value}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= LIMITS_MIN, "{seen} limits");
}

/// What must go together is refused, by the codes that are written down.
/// ASVS V2.1.2.
#[test]
fn what_must_go_together_is_refused() {
    let text = document("limits");
    let all = sources_of(&["identity", "passes", "admission"]);
    let codes: BTreeSet<&str> = quoted(section(&text, "## What must go together")).collect();
    assert!(codes.len() > 15, "{codes:?}");
    for code in codes {
        let refused = format!("\"{code}\"");
        let is_there = all
            .iter()
            .any(|(path, source)| path.ends_with("/error.rs") && source.contains(&refused));
        assert!(is_there, "nobody refuses by {code}");
    }
}

/// Each act that the document names is in the graph, and each way to sign in is in the document.
/// ASVS V6.1.3, V7.1.2.
#[test]
fn ways_to_sign_in_are_those_of_the_graph() {
    let text = document("authentication");
    let graph = read("schema/identity.graphql") + &read("schema/admission.graphql");
    let is_act = |word: &&str| {
        word.chars().all(|c| c.is_ascii_alphabetic())
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.contains(|c: char| c.is_ascii_uppercase())
    };
    let acts: BTreeSet<&str> = quoted(&text).filter(is_act).collect();
    assert!(acts.len() > 5, "{acts:?}");
    for act in acts {
        assert!(graph.contains(act), "{act} is not in the graph");
    }
    let all: Value = serde_json::from_str(&read("schema/acts.json")).unwrap();
    let of_identity = all["identity"].as_object().unwrap();
    let ways = of_identity.keys().filter(|act| act.starts_with("login"));
    for way in ways {
        assert!(
            text.contains(&format!("`{way}`")),
            "{way} is not written down"
        );
    }
}

/// Every crate of cryptography that is locked is in the inventory, and no other.
/// ASVS V11.1.2.
#[test]
fn cryptography_is_inventoried() {
    let text = document("cryptography");
    let lock = read("Cargo.lock");
    let locked: BTreeSet<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    let is_about = |name: &&&str| {
        FAMILIES.iter().any(|family| {
            let rest = name.strip_prefix(family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        })
    };
    let wanted: BTreeSet<&str> = locked.iter().filter(is_about).copied().collect();
    let (_, table) = text.split_once("| Crates of the lock file").unwrap();
    let rows = table.lines().take_while(|line| !line.is_empty());
    let rows = rows.filter(|line| line.starts_with("| `"));
    let named: BTreeSet<&str> = rows.flat_map(|line| quoted(cells(line)[0])).collect();
    let missing: Vec<_> = wanted.difference(&named).collect();
    let gone: Vec<_> = named.difference(&locked).collect();
    assert!(
        missing.is_empty(),
        "not in security/cryptography.md: {missing:?}"
    );
    assert!(gone.is_empty(), "no longer locked: {gone:?}");
}

/// Where the document says that an algorithm is, a file is.
/// ASVS V11.1.1, V11.2.2.
#[test]
fn places_of_cryptography_are_there() {
    let text = document("cryptography");
    let places: Vec<&str> = quoted(&text)
        .filter(|word| word.starts_with("services/"))
        .collect();
    assert!(places.len() > 8, "{places:?}");
    for place in places {
        assert!(root().join(place).exists(), "{place}");
    }
}

/// The tables of secrets and of persons are those that are guarded.
/// ASVS V14.1.1, V14.1.2.
#[test]
fn data_is_classified_as_it_is_guarded() {
    let text = document("data");
    let (_, tables) = text.split_once("The guarded tables").unwrap();
    let said: BTreeSet<&str> = quoted(tables).filter(|word| !word.contains(':')).collect();
    assert_eq!(
        said,
        BTreeSet::from(identity::vault::guarded::GUARDED_TABLES)
    );
    for level in ["1 secret", "2 personal", "3 of a person", "4 open"] {
        assert!(text.contains(&format!("| {level} |")), "{level}");
    }
}

/// Each metric is in the inventory, and each of the inventory is counted.
/// ASVS V16.1.1.
#[test]
fn metrics_are_inventoried() {
    let text = document("logging");
    let said: BTreeSet<&str> = quoted(&text)
        .filter(|it| it.starts_with("bashu_"))
        .collect();
    let mut counted = BTreeSet::new();
    for (_, source) in sources_of(&LOGGING) {
        let dense: String = source.split_whitespace().collect();
        for kind in KINDS {
            let names = dense
                .split(kind)
                .skip(1)
                .filter_map(|rest| rest.split('"').next());
            counted.extend(names.map(str::to_owned));
        }
    }
    let counted: BTreeSet<&str> = counted.iter().map(String::as_str).collect();
    let missing: Vec<_> = counted.difference(&said).collect();
    let gone: Vec<_> = said.difference(&counted).collect();
    assert!(
        missing.is_empty(),
        "not in security/logging.md: {missing:?}"
    );
    assert!(gone.is_empty(), "no longer counted: {gone:?}");
}

/// Each line of the inventory is written somewhere.
#[test]
fn lines_of_the_inventory_are_written() {
    let text = document("logging");
    let mut all = sources_of(&LOGGING);
    all.extend(sources_of(&["gateway"]));
    let rows = section(&text, "## Security events by line").lines();
    let lines: Vec<&str> = rows
        .filter(|row| row.starts_with("| `"))
        .map(|row| cells(row)[0].trim_matches('`'))
        .collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        let written = format!("\"{line}\"");
        let is_there = all.iter().any(|(_, source)| source.contains(&written));
        assert!(is_there, "nobody writes {written}");
    }
}

/// Logs go to standard output through one place: nothing else prints, and nothing writes a file of
/// its own but the root's key, which development makes.
/// ASVS V16.2.3.
#[test]
fn logs_go_where_the_inventory_says() {
    let mut wrong = Vec::new();
    for (path, source) in sources_of(&LOGGING) {
        let is_telemetry = path.contains("/telemetry");
        let is_for_tests = path.contains("/testing");
        let is_of_the_root = path.ends_with("identity/src/commands/keys.rs");
        for line in source.lines() {
            let prints = ["println!(", "print!(", "dbg!("].iter();
            let writes = ["fs::write(", "File::create(", "OpenOptions"].iter();
            let subscribes = ["tracing_subscriber::", "set_global_default"].iter();
            let found = |mut words: std::slice::Iter<'_, &str>| words.any(|it| line.contains(it));
            if (found(prints) && !is_for_tests)
                || (found(writes) && !is_of_the_root && !is_for_tests)
                || (found(subscribes) && !is_telemetry && !is_for_tests)
            {
                wrong.push(format!("{path}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Folders right below one, but for hidden ones.
fn folders_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let visible = entries
        .map(Result::unwrap)
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let paths = visible.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

/// Names of this repository's crates: those that have a manifest, one or two folders down.
fn own_crates() -> BTreeSet<String> {
    let top = folders_of(&root());
    let within = |outer: &[PathBuf]| -> Vec<PathBuf> {
        outer.iter().flat_map(|folder| folders_of(folder)).collect()
    };
    let nested = within(&top);
    let innermost = within(&nested);
    let mut found = BTreeSet::new();
    for folder in top.iter().chain(&nested).chain(&innermost) {
        let Ok(text) = fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let manifest: toml::Table = text.parse().unwrap();
        found.insert(manifest["package"]["name"].as_str().unwrap().to_owned());
    }
    found
}

/// Each crate is this repository's, or comes from crates.io with a checksum.
/// ASVS V15.1.2.
#[test]
fn each_crate_comes_with_a_checksum() {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let own = own_crates();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some(source) = package.get("source") else {
            assert!(own.contains(name), "{name} comes from nowhere");
            continue;
        };
        let index = "registry+https://github.com/rust-lang/crates.io-index";
        assert_eq!(source.as_str(), Some(index), "{name}");
        let checksum = package.get("checksum").and_then(toml::Value::as_str);
        assert!(checksum.is_some_and(|it| it.len() == 64), "{name}");
    }
}

/// Each advisory that is set aside has its reason, and the time frames are there.
/// ASVS V15.1.1, V15.2.1.
#[test]
fn time_frames_and_exceptions_are_written_down() {
    let text = document("dependencies");
    for frame in ["| 3 days |", "| 7 days |", "| 30 days |", "| 90 days |"] {
        assert!(text.contains(frame), "{frame}");
    }
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    for ignored in deny["advisories"]["ignore"].as_array().unwrap() {
        let id = ignored["id"].as_str().unwrap();
        assert!(text.contains(id), "{id}");
        assert!(ignored["reason"].as_str().is_some_and(|it| !it.is_empty()));
    }
}

/// Whom it speaks to stands in settings: each that the document names is one.
/// ASVS V13.1.1.
#[test]
fn whom_it_speaks_to_is_a_setting() {
    let text = document("communication");
    let all = sources_of(&["kit", "identity", "billing", "gateway"]);
    let is_setting = |word: &&str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'))
            && word.contains(['.', '_'])
    };
    let settings: BTreeSet<&str> = quoted(&text).filter(is_setting).collect();
    assert!(settings.len() > 10, "{settings:?}");
    for setting in settings {
        let field = setting.rsplit('.').next().unwrap();
        let named = [format!("    pub {field}: "), format!("    {field}: ")];
        let is_there = all
            .iter()
            .any(|(_, source)| named.iter().any(|name| source.contains(name)));
        assert!(is_there, "{setting} is no setting");
    }
}
