//! What every answer says beside its body: that no cache keeps it, that nothing in it is ever
//! rendered, framed or guessed at, and that this host is spoken to by TLS alone. Clients are apps
//! and scripts; a browser that is sent here by mistake or on purpose finds nothing that it may do.

use hive_router::http::header;
use hive_router::ntex::http::HeaderMap;
use hive_router::ntex::http::header::HeaderValue;

/// For a year, its subdomains included. TLS ends in front of the gateway and the proxy passes this
/// on; over plain HTTP browsers take no notice of it (RFC 6797, 8.1).
const TLS_ALONE: &str = "max-age=31536000; includeSubDomains";
/// An answer loads nothing, runs nothing, sends no form and stands in no frame.
const NOTHING_RENDERED: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// JSON as the router and the gateway write it, and the same with its charset named.
const NAMED: [(&str, &str); 2] = [
    ("application/json", "application/json; charset=utf-8"),
    (
        "application/graphql-response+json",
        "application/graphql-response+json; charset=utf-8",
    ),
];

/// Marks an answer. The page that development offers is rendered and runs scripts, so it alone has
/// no policy; production has no page.
pub(crate) fn mark(headers: &mut HeaderMap) {
    let kind = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    let is_page = kind.is_some_and(|kind| kind.starts_with("text/html"));
    let named = NAMED
        .iter()
        .find(|(bare, _)| kind == Some(*bare))
        .map(|&(_, named)| HeaderValue::from_static(named));
    if let Some(named) = named {
        headers.insert(header::CONTENT_TYPE, named);
    }
    if !is_page {
        let policy = HeaderValue::from_static(NOTHING_RENDERED);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, TLS_ALONE),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(kind: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        mark(&mut headers);
        headers
    }

    fn said<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
        headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// JSON names its charset, and what names one already is left as it is.
    #[test]
    fn json_names_its_charset() {
        for (kind, named) in NAMED {
            assert_eq!(said(&marked(kind), "content-type"), Some(named));
            assert_eq!(said(&marked(named), "content-type"), Some(named));
        }
    }

    /// Nothing may be done with an answer; the page of development alone may run.
    #[test]
    fn a_page_alone_has_no_policy() {
        let name = "content-security-policy";
        assert_eq!(
            said(&marked("application/json"), name),
            Some(NOTHING_RENDERED)
        );
        assert_eq!(said(&marked("text/plain"), name), Some(NOTHING_RENDERED));
        let page = marked("text/html; charset=utf-8");
        assert_eq!(said(&page, name), None);
        assert_eq!(said(&page, "x-content-type-options"), Some("nosniff"));
    }
}
