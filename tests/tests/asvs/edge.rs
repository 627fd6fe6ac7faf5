//! The example of what ends TLS in front of a gateway, read as text: no server runs it here.

use std::collections::BTreeSet;
use std::fs;

use tests::root;

/// Bytes in the `m` of nginx.
const MEBIBYTE: usize = 1024 * 1024;

/// The statements of the configuration, without comments: name and arguments.
fn statements() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("deploy/edge/nginx.conf")).unwrap();
    let plain: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    plain
        .split([';', '{', '}'])
        .filter_map(|statement| {
            let mut words = statement.split_whitespace().map(str::to_owned);
            words.next().map(|name| (name, words.collect()))
        })
        .collect()
}

fn all_of<'a>(statements: &'a [(String, Vec<String>)], name: &str) -> Vec<&'a [String]> {
    let named = statements.iter().filter(|(found, _)| found == name);
    named.map(|(_, arguments)| arguments.as_slice()).collect()
}

/// TLS 1.2 and 1.3 alone, and of 1.2 what has forward secrecy and authenticates what it encrypts.
/// ASVS V12.1.1, V12.1.2.
#[test]
fn only_recommended_tls_is_spoken() {
    let statements = statements();
    assert_eq!(
        all_of(&statements, "ssl_protocols"),
        [["TLSv1.2", "TLSv1.3"]]
    );
    let ciphers = all_of(&statements, "ssl_ciphers");
    assert_eq!(ciphers.len(), 1, "one list of ciphers");
    for cipher in ciphers[0][0].split(':') {
        let is_sealed = cipher.contains("-GCM-") || cipher.ends_with("-CHACHA20-POLY1305");
        assert!(cipher.starts_with("ECDHE-") && is_sealed, "{cipher}");
    }
    assert_eq!(all_of(&statements, "ssl_session_tickets"), [["off"]]);
}

/// What is passed on came by TLS, stays on the machine, and is the graph, files and notices alone;
/// each union has a name of its own; addresses, which may hold a token, stand in no log.
/// ASVS V3.5.4, V12.2.1, V12.2.2.
#[test]
fn what_is_passed_on_came_by_tls() {
    let statements = statements();
    let listens = all_of(&statements, "listen");
    let plain: Vec<_> = listens.iter().filter(|it| it[0] != "443").collect();
    assert!(
        listens
            .iter()
            .all(|it| it[0] == "80" || it.contains(&"ssl".to_owned()))
    );
    assert!(
        plain.len() == 1 && plain[0].len() == 1,
        "one listener is not TLS"
    );
    let mut after_plain = statements
        .iter()
        .skip_while(|(name, arguments)| name != "listen" || arguments[0] != "80");
    assert!(after_plain.clone().count() > 1, "it comes last");
    assert!(!after_plain.any(|(name, _)| name == "proxy_pass"));
    let passed = all_of(&statements, "proxy_pass");
    assert_eq!(passed.len(), 6);
    assert!(
        passed
            .iter()
            .all(|to| to[0].starts_with("http://127.0.0.1:"))
    );
    let names: BTreeSet<&String> = all_of(&statements, "server_name")
        .iter()
        .flat_map(|names| names.iter())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let form = all_of(&statements, "log_format")[0].join(" ");
    for address in ["$request ", "$request_uri", "$uri", "$args", "$http_"] {
        assert!(!form.contains(address), "{form}");
    }
    assert_eq!(
        all_of(&statements, "error_log"),
        [["/dev/null", "emerg"]],
        "what goes wrong would be told with its address"
    );
    for kept in ["proxy_request_buffering", "proxy_buffering"] {
        assert_eq!(all_of(&statements, kept), [["off"], ["off"]], "{kept}");
    }
}

/// A body is as large as the service behind takes it, and no larger.
#[test]
fn bodies_are_as_large_as_the_services_take_them() {
    let statements = statements();
    let sizes: BTreeSet<&str> = all_of(&statements, "client_max_body_size")
        .iter()
        .map(|size| size[0].as_str())
        .collect();
    let file = format!("{}m", identity::roster::FILE_BYTES_MAX / MEBIBYTE);
    let rest = format!("{}m", kit::http::REST_BODY_BYTES_MAX / MEBIBYTE);
    assert_eq!(
        sizes,
        BTreeSet::from(["128k", file.as_str(), rest.as_str()])
    );
}
