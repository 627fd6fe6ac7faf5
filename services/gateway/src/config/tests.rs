//! A bad configuration is refused, and the refusal names the field.

use std::path::Path;

use figment::Figment;
use figment::providers::{Format as _, Toml};

use super::{ConfigError, Mode, Settings, check, extract};

const SUPERGRAPH: &str = "enum join__Graph { \
    IDENTITY @join__graph(name: \"identity\", url: \"\") } type Query { a: Int }";

fn good(folder: &Path) -> String {
    std::fs::write(folder.join("supergraph.graphql"), SUPERGRAPH).unwrap();
    std::fs::write(folder.join("key"), format!("{}\n", "07".repeat(32))).unwrap();
    std::fs::write(folder.join("documents.json"), "{}").unwrap();
    let folder = folder.display();
    format!(
        "union = 50\nmode = \"development\"\nsupergraph = \"{folder}/supergraph.graphql\"\n\
         subgraph_key_file = \"{folder}/key\"\n\
         redis_url = \"redis://:hidden@127.0.0.1:6379/0\"\n\
         jwks_url = \"http://127.0.0.1:1/.well-known/jwks.json\"\n\
         [subgraphs]\nidentity = \"http://127.0.0.1:2/graphql\"\n"
    )
}

fn read(text: &str) -> Result<Settings, ConfigError> {
    check(extract(&Figment::from(Toml::string(text)))?)
}

/// A good one is taken, listens where its union listens, and shows no secret.
#[test]
fn a_good_configuration_is_taken_and_keeps_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let settings = read(&good(folder.path())).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:14050");
    assert_eq!(settings.operations.to_string(), "127.0.0.1:14060");
    let shown = format!(
        "{settings:?} {:?} {:?}",
        settings.signer, settings.redis_url
    );
    assert!(
        !shown.contains("hidden") && !shown.contains("0707"),
        "{shown}"
    );
    crate::router_config::build(&settings).unwrap();
}

/// What leaves the machine does so under TLS: an address elsewhere is taken with https.
/// ASVS V12.3.3.
#[test]
fn an_address_elsewhere_is_taken_under_tls() {
    let folder = tempfile::tempdir().unwrap();
    let text = good(folder.path())
        .replace("http://127.0.0.1:1/", "https://identity.example/")
        .replace("http://127.0.0.1:2/", "https://identity.example/");
    let settings = read(&format!(
        "otlp_endpoint = \"https://traces.example\"\n{text}"
    ))
    .unwrap();
    assert_eq!(settings.jwks_url.scheme_str(), Some("https"));
    assert_eq!(settings.subgraphs["identity"].scheme_str(), Some("https"));
    crate::router_config::build(&settings).unwrap();
}

/// Production needs registered documents, and is the default.
#[test]
fn production_is_the_default_and_needs_documents() {
    let folder = tempfile::tempdir().unwrap();
    let text = good(folder.path()).replace("mode = \"development\"\n", "");
    let refused = read(&text).unwrap_err().to_string();
    assert!(refused.contains("`documents`"), "{refused}");
    let documents = format!(
        "documents = \"{}/documents.json\"\n",
        folder.path().display()
    );
    let settings = read(&format!("{documents}{text}")).unwrap();
    assert_eq!(settings.mode, Mode::Production);
    crate::router_config::build(&settings).unwrap();
}

/// Each flaw alone refuses the start and is named.
#[test]
fn a_flaw_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = good(folder.path());
    let changed = |from: &str, to: &str| changed(&good, from, to);
    let prefixed = |line: &str| format!("{line}\n{good}");
    std::fs::write(folder.path().join("short"), "07").unwrap();
    let cases = [
        (prefixed("surprise = 1"), "surprise"),
        (
            prefixed("[limits]\nsurprise = 1").replace("[limits]\n", "limits."),
            "surprise",
        ),
        (changed("union = 50", "union = 52"), "union"),
        (changed("union = 50\n", ""), "union"),
        (changed("\"development\"", "\"test\""), "mode"),
        (prefixed("listen = \"0.0.0.0:1\""), "listen"),
        (prefixed("listen = \"127.0.0.1:0\""), "listen"),
        (prefixed("listen = \"here\""), "listen"),
        (prefixed("operations = \"0.0.0.0:1\""), "operations"),
        (prefixed("operations = \"127.0.0.1:14050\""), "operations"),
        (prefixed("log = \"debug\""), "log"),
        (
            prefixed("limits.login_requests_per_minute = 0"),
            "login_requests_per_minute",
        ),
        (
            prefixed("limits.login_requests_per_minute = -1"),
            "login_requests_per_minute",
        ),
        (changed("redis://:hidden", "hidden"), "redis_url"),
        (changed("http://127.0.0.1:1/", "file:///"), "jwks_url"),
        (
            changed("http://127.0.0.1:2", "http://user:hidden@127.0.0.1:2"),
            "subgraphs.identity",
        ),
        (
            format!("{good}passes = \"http://127.0.0.1:3\""),
            "subgraphs.passes",
        ),
        (
            changed("identity = \"http://127.0.0.1:2/graphql\"\n", ""),
            "subgraphs.identity",
        ),
        (changed("/key\"", "/short\""), "subgraph_key_file"),
        (changed("/key\"", "/none\""), "subgraph_key_file"),
        (
            changed("/supergraph.graphql", "/documents.json"),
            "supergraph",
        ),
        (prefixed("otlp_endpoint = \"nowhere\""), "otlp_endpoint"),
        (
            prefixed(&format!("documents = \"{}\"", folder.path().display())),
            "documents",
        ),
    ];
    for (text, field) in &cases {
        is_refused(text, field);
    }
}

/// What would leave the machine in the clear refuses the start and is named.
#[test]
fn nothing_leaves_the_machine_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let good = good(folder.path());
    let changed = |from: &str, to: &str| changed(&good, from, to);
    let cases = [
        (
            format!("otlp_endpoint = \"http://10.0.0.9:4318\"\n{good}"),
            "otlp_endpoint",
        ),
        (
            changed("hidden@127.0.0.1:6379", "hidden@10.0.0.9:6379"),
            "redis_url",
        ),
        (
            changed("http://127.0.0.1:1/", "http://10.0.0.9:1/"),
            "jwks_url",
        ),
        (
            changed("http://127.0.0.1:2/", "http://identity.example:2/"),
            "subgraphs.identity",
        ),
    ];
    for (text, field) in &cases {
        is_refused(text, field);
    }
}

/// The text with something else in it.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

fn is_refused(text: &str, field: &str) {
    let refused = read(text).unwrap_err().to_string();
    assert!(refused.contains(field), "{field}: {refused}");
    assert!(!refused.contains("hidden"), "{refused}");
}
