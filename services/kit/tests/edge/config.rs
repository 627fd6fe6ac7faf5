//! A wrong configuration does not start, names the field, and shows no value.

use kit::config::{Config, ConfigError};
use kit::graphql::Mode;
use kit::types::Union;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

const ROOT: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// The least that starts.
fn variables() -> Vec<(String, String)> {
    [
        ("BASHU_UNION", "50"),
        ("BASHU_SUBGRAPH_KEY", &"0".repeat(64)),
        ("BASHU_ROOT_PUBLIC_KEY", ROOT),
        ("BASHU_POSTGRES__PASSWORD", "hunter2hunter2"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn load(file: &str, more: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut all = variables();
    for (name, value) in more {
        all.retain(|(known, _)| known != name);
        all.push(((*name).to_owned(), (*value).to_owned()));
    }
    Config::from(Some(file), all)
}

#[test]
fn the_environment_beats_the_file_beats_the_defaults() {
    let file = "mode = 'development'\n[postgres]\nport = 6000\nuser = 'from_file'";
    let config = load(file, &[("BASHU_POSTGRES__PORT", "7000")]).unwrap();
    assert_eq!(
        (config.union, config.mode),
        (Union::Chongqing, Mode::Development)
    );
    assert_eq!(
        (config.postgres.port, config.postgres.user.as_str()),
        (7000, "from_file")
    );
    assert_eq!(config.postgres.connections_max, 10);
    assert_eq!(
        load("", &[]).unwrap().mode,
        Mode::Production,
        "nothing is open by default"
    );
}

/// A password, a key or a merchant number of digits alone is text, however it looks.
#[test]
fn text_that_looks_like_a_number_is_text() {
    let config = load("", &[("BASHU_POSTGRES__PASSWORD", "012345678901")]).unwrap();
    assert_eq!(config.postgres.password.expose_secret(), "012345678901");
    for odd in ["true", "1e5", "[1,2]", "{a=1}", "-0", "\"quoted\" not"] {
        let config = load("", &[("BASHU_POSTGRES__PASSWORD", odd)]).unwrap();
        assert_eq!(config.postgres.password.expose_secret(), odd);
    }
}

#[test]
fn addresses_follow_from_the_base_port() {
    let config = load("[listen]\nbase_port = 26000\nops_port = 9", &[]).unwrap();
    let listen = &config.listen;
    assert_eq!(listen.graphql("identity").to_string(), "127.0.0.1:26000");
    assert_eq!(listen.graphql("admission").to_string(), "127.0.0.1:26005");
    assert_eq!(listen.rest().to_string(), "127.0.0.1:26050");
    assert_eq!(listen.ops().to_string(), "127.0.0.1:9");
    let url = config.postgres.options("passes").url;
    assert_eq!(
        url,
        "postgres://bashu_app:hunter2hunter2@127.0.0.1:5432/passes"
    );
    let odd = load("", &[("BASHU_POSTGRES__PASSWORD", "p@ss/w:rd#%é")]).unwrap();
    assert!(
        odd.postgres
            .options("x")
            .url
            .contains(":p%40ss%2Fw%3Ard%23%25%C3%A9@")
    );
}

#[test]
fn a_bad_value_or_an_unknown_key_names_the_field() {
    for (file, more, field) in [
        ("", [("BASHU_UNION", "52")], "union"),
        ("", [("BASHU_UNION", "fifty")], "union"),
        ("", [("BASHU_MODE", "staging")], "mode"),
        ("", [("BASHU_POSTGRES__PORT", "70000")], "postgres.port"),
        ("", [("BASHU_POSTGRES__PORT", "-1")], "postgres.port"),
        ("", [("BASHU_POSTGRES__PROT", "5432")], "postgres.prot"),
        ("", [("BASHU_POSTGRES", "5432")], "postgres"),
        ("", [("BASHU_POSTGRES__PORT__X", "1")], "postgres.port"),
        ("", [("BASHU_POSTGERS__PORT", "5432")], "postgers"),
        (
            "",
            [("BASHU_POSTGRES__CONNECTIONS_MAX", "0")],
            "postgres.connections_max",
        ),
        (
            "",
            [("BASHU_POSTGRES__CONNECTIONS_MAX", "9999")],
            "postgres.connections_max",
        ),
        ("", [("BASHU_KAFKA__PARTITIONS", "0")], "kafka.partitions"),
        ("", [("BASHU_KAFKA__BROKERS", "localhost")], "kafka.brokers"),
        (
            "",
            [("BASHU_KAFKA__BROKERS", "localhost:0")],
            "kafka.brokers",
        ),
        ("", [("BASHU_SUBGRAPH_KEY", "00")], "subgraph_key"),
        ("", [("BASHU_ROOT_PUBLIC_KEY", "zz")], "root_public_key"),
        ("", [("BASHU_REDIS_URL", "localhost:6379")], "redis_url"),
        (
            "",
            [("BASHU_LISTEN__BASE_PORT", "65530")],
            "listen.base_port",
        ),
        ("", [("BASHU_LISTEN__ADDRESS", "here")], "listen.address"),
        ("nonsense = 1", [("BASHU_LOG", "info")], "nonsense"),
        (
            "[listen]\nnonsense = 1",
            [("BASHU_LOG", "info")],
            "listen.nonsense",
        ),
        ("data_dir = 5", [("BASHU_LOG", "info")], "data_dir"),
    ] {
        let error = load(file, &more).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }
    let named = load("", &[("BASHU_POSTGRES__PORT", "many")]).unwrap_err();
    assert!(
        named.to_string().contains("BASHU_POSTGRES__PORT"),
        "{named}"
    );
    assert!(Config::from(Some("this is no TOML"), variables()).is_err());
    for missing in ["BASHU_UNION", "BASHU_SUBGRAPH_KEY", "BASHU_ROOT_PUBLIC_KEY"] {
        let rest = variables().into_iter().filter(|(name, _)| name != missing);
        let error = Config::from(None, rest).unwrap_err();
        let field = missing.trim_start_matches("BASHU_").to_lowercase();
        assert_eq!((error.field, error.reason.as_str()), (field, "missing"));
    }
}

/// What almost has the name of a key, and sections that nobody types, are not passed over.
#[test]
fn what_nobody_reads_is_refused() {
    for (file, more, field) in [
        // Almost the name of another program's variable, and of one that names the file.
        ("", [("BASHU_CONFIG_FILE", "/x")], "config_file"),
        ("", [("BASHU_BINARY", "/x")], "binary"),
        ("", [("BASHU_DEV_DIRECTORY", "/x")], "dev_directory"),
        ("", [("BASHU_GATEWAYS", "x")], "gateways"),
        ("[ticketing]\nkey = 1", [("BASHU_LOG", "info")], "ticketing"),
        ("[events]\nkey = 1", [("BASHU_LOG", "info")], "events"),
        ("[exchange]\nkey = 1", [("BASHU_LOG", "info")], "exchange"),
        ("[sandbox]\nkey = 1", [("BASHU_LOG", "info")], "sandbox"),
        ("", [("BASHU_SANDBOX__KEY", "1")], "sandbox"),
        (
            "[listen.graphql_ports]\nidenttiy = 1",
            [("BASHU_LOG", "info")],
            "listen.graphql_ports.identtiy",
        ),
    ] {
        let error = load(file, &more).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }
}

/// Nothing leaves the machine in the clear: what has no TLS of its own is spoken to, and listens,
/// on loopback alone, in every mode; to a database elsewhere belong a password and TLS.
/// ASVS V12.3.1.
#[test]
fn nothing_leaves_the_machine_in_the_clear() {
    for (more, field) in [
        (
            (
                "BASHU_REDIS_URL",
                "redis://:longlonglonglong@10.0.0.1:6379/0",
            ),
            "redis_url",
        ),
        (
            ("BASHU_KAFKA__BROKERS", "127.0.0.1:9092,10.0.0.1:9092"),
            "kafka.brokers",
        ),
        (("BASHU_LISTEN__ADDRESS", "0.0.0.0"), "listen.address"),
        (("BASHU_LISTEN__ADDRESS", "10.0.0.1"), "listen.address"),
        (
            ("BASHU_OTLP_ENDPOINT", "http://10.0.0.1:4318"),
            "otlp_endpoint",
        ),
        (("BASHU_OTLP_ENDPOINT", "127.0.0.1:4318"), "otlp_endpoint"),
    ] {
        for mode in ["mode = 'development'", ""] {
            assert_eq!(load(mode, &[more]).unwrap_err().field, field, "{more:?}");
        }
    }
    for more in [
        ("BASHU_REDIS_URL", "redis://127.0.0.1:6379/0"),
        ("BASHU_LISTEN__ADDRESS", "::1"),
        ("BASHU_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ("BASHU_OTLP_ENDPOINT", "https://traces.example.cn"),
    ] {
        load("", &[more]).unwrap();
    }
    let weak = [
        ("BASHU_POSTGRES__HOST", "10.0.0.1"),
        ("BASHU_POSTGRES__PASSWORD", "short"),
    ];
    assert_eq!(load("", &weak).unwrap_err().field, "postgres.password");
}

/// A database elsewhere is known by its certificate, and has no way back to plain text.
/// ASVS V12.3.4.
#[test]
fn a_database_elsewhere_is_known_by_its_name() {
    let elsewhere = ("BASHU_POSTGRES__HOST", "db.example.cn");
    let owner = "[postgres.owner]\nuser = 'o'\npassword = 'p'";
    let config = load(owner, &[elsewhere]).unwrap();
    for options in [
        config.postgres.options("passes"),
        config.postgres.owner_options("passes").unwrap(),
    ] {
        let url = options.url;
        let tls = "@db.example.cn:5432/passes?sslmode=verify-full";
        assert!(url.ends_with(tls), "no TLS");
    }
    let authority = ("BASHU_POSTGRES__CA_FILE", "/etc/bashu/own ca.pem");
    let own = load("", &[elsewhere, authority]).unwrap();
    let url = own.postgres.options("passes").url;
    let named = "?sslmode=verify-full&sslrootcert=%2Fetc%2Fbashu%2Fown%20ca.pem";
    assert!(url.ends_with(named), "another authority");
    let here = load("", &[authority]).unwrap().postgres.options("passes");
    assert!(here.url.ends_with("@127.0.0.1:5432/passes"));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    merchant: String,
    key: SecretString,
    #[serde(default)]
    retries: u32,
}

#[test]
fn a_service_types_its_own_section() {
    let file = "[billing]\nmerchant = '1900000109'\nkey = 'secret'\nretries = 3";
    let section: Section = load(file, &[]).unwrap().section("billing").unwrap();
    assert_eq!(
        (section.merchant.as_str(), section.retries),
        ("1900000109", 3)
    );
    let more = [
        ("BASHU_BILLING__MERCHANT", "1900000110"),
        ("BASHU_BILLING__KEY", "007"),
    ];
    let section: Section = load(file, &more).unwrap().section("billing").unwrap();
    assert_eq!(
        (section.merchant.as_str(), section.key.expose_secret()),
        ("1900000110", "007")
    );
    let unknown = load(&format!("{file}\nmerchnat = 1"), &[]).unwrap();
    let error = unknown.section::<Section>("billing").unwrap_err();
    assert_eq!(error.field, "billing.merchnat");
    let error = load("", &[])
        .unwrap()
        .section::<Section>("billing")
        .unwrap_err();
    assert_eq!(error.field, "billing.merchant");
    let wrong = load(file, &[("BASHU_BILLING__RETRIES", "hunter3")]).unwrap();
    let error = wrong.section::<Section>("billing").unwrap_err();
    assert_eq!(
        (error.field.as_str(), error.source_name.as_str()),
        ("billing.retries", "BASHU_BILLING__RETRIES")
    );
    assert!(!error.to_string().contains("hunter3"), "{error}");
}

/// Other programs of the project have variables with the same beginning.
#[test]
fn variables_of_other_programs_are_passed_over() {
    let more = [
        ("BASHU_GATEWAY_UNION", "x"),
        ("BASHU_DEV_DIR", "/x"),
        ("BASHU_BIN", "/x"),
        ("BASHU_CONFIG", "/x"),
    ];
    assert!(load("", &more).is_ok());
}

#[test]
fn no_secret_is_shown() {
    let more = [
        (
            "BASHU_REDIS_URL",
            "redis://:hunter2hunter2@127.0.0.1:6379/0",
        ),
        ("BASHU_BILLING__KEY", "hunter2hunter2"),
        ("BASHU_SUBGRAPH_KEY", &"ab".repeat(32)),
    ];
    let config = load("", &more).unwrap();
    let shown = format!("{config:?} {:?}", config.postgres.options("passes"));
    for secret in ["hunter2", "abab", "171, 171"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for (name, value) in [
        ("BASHU_SUBGRAPH_KEY", "hunter2"),
        ("BASHU_REDIS_URL", "hunter2:x"),
    ] {
        let error = load("", &[(name, value)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
