//! How a request arrives: methods, content types, headers, sizes, paths.

use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{World, send};

const BODY: &str = r#"{"query":"{ whoami }"}"#;

/// Requests that a browser sends to another site without asking are refused: plain, form and
/// multipart POSTs, those with no type, and bare GETs. Asking first lets them in.
/// ASVS V3.5.1, V3.5.2.
#[tokio::test]
async fn cross_site_requests_are_refused() {
    let world = World::start().await;
    let simple = [
        "text/plain",
        "TEXT/PLAIN; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
    ];
    for content_type in simple {
        let answer = send(world.post().header(CONTENT_TYPE, content_type).body(BODY)).await;
        assert_eq!(
            answer.status,
            StatusCode::FORBIDDEN,
            "{content_type}: {answer:?}"
        );
        assert_eq!(answer.code(), "CSRF_PREVENTION_FAILED");
    }
    assert_eq!(
        send(world.post().body(BODY)).await.status,
        StatusCode::FORBIDDEN
    );
    let get = || world.client.get(world.url("/graphql?query=%7Bwhoami%7D"));
    assert_eq!(send(get()).await.status, StatusCode::FORBIDDEN);
    assert!(world.shared.take_received().is_empty());
    let asked = send(get().header("x-bashu-preflight", "1")).await;
    assert_eq!(asked.data(), json!({ "whoami": "anonymous" }));
}

/// GET never changes anything, no other method is known, and a type that is not JSON is refused
/// even when it was asked for first.
/// ASVS V3.4.2, V3.5.3, V13.4.4.
#[tokio::test]
async fn only_json_posts_change_things() {
    let world = World::start().await;
    for query in [
        "query=mutation%7Bredeem%7D",
        "query=mutation%20M%7Bredeem%7D&operationName=M",
    ] {
        let url = world.url(&format!("/graphql?{query}"));
        let answer = send(world.client.get(url).header("x-bashu-preflight", "1")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{answer:?}");
        assert_eq!(answer.code(), "MUTATION_NOT_ALLOWED_OVER_HTTP_GET");
    }
    for method in [
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::TRACE,
    ] {
        let request = world.client.request(method.clone(), world.url("/graphql"));
        let answer = send(request.header(CONTENT_TYPE, "application/json").body(BODY)).await;
        assert_eq!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{method}: {answer:?}"
        );
    }
    for content_type in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/xml",
    ] {
        let request = world.post().header("x-bashu-preflight", "1");
        let answer = send(request.header(CONTENT_TYPE, content_type).body(BODY)).await;
        assert!(
            answer.status.is_client_error(),
            "{content_type}: {answer:?}"
        );
    }
    assert!(world.shared.take_received().is_empty());
}

/// Batches, other JSON, compressed bodies and oversized ones are refused; what is refused does
/// not spoil the connection for the next request.
/// ASVS V15.3.7.
#[tokio::test]
async fn bodies_are_bounded_and_single() {
    let world = World::start().await;
    let batch = format!("[{}]", [BODY; 10].join(","));
    for body in [
        batch.as_str(),
        "[]",
        "1",
        "null",
        "\"x\"",
        "{}",
        "",
        "{\"query\":1}",
    ] {
        let answer = world.ask_raw(body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {answer:?}");
    }
    let twice = r#"{"query":"{ whoami }","query":"mutation { redeem }"}"#;
    assert_eq!(world.ask_raw(twice).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        world.ask_raw(format!("{BODY}{BODY}")).await.status,
        StatusCode::BAD_REQUEST
    );
    let large = format!("{BODY}{}", " ".repeat(200_000));
    assert_eq!(
        world.ask_raw(large).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    for encoding in ["gzip", "br", "zstd", "deflate"] {
        let request = world.post().header(CONTENT_TYPE, "application/json");
        let answer = send(request.header(CONTENT_ENCODING, encoding).body(vec![0; 64])).await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{encoding}: {answer:?}"
        );
    }
    let request = world.post().header("x-large", "x".repeat(20_000));
    let answer = send(request.header(CONTENT_TYPE, "application/json").body(BODY)).await;
    assert_eq!(
        answer.status,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "{answer:?}"
    );
    assert!(world.shared.take_received().is_empty());
    assert_eq!(world.ask("{ whoami }").await.status, StatusCode::OK);
}

/// Depth cannot come in through the parameters of a GET either.
#[tokio::test]
async fn a_get_is_bounded_like_a_post() {
    let world = World::start().await;
    let deep = "%5B".repeat(5_000);
    let url = world.url(&format!(
        "/graphql?query=%7Bwhoami%7D&variables=%7B%22a%22:{deep}"
    ));
    let answer = send(world.client.get(url).header("x-bashu-preflight", "1")).await;
    assert_eq!(answer.code(), "QUERY_TOO_COMPLEX", "{answer:?}");
    assert_eq!(world.ask("{ whoami }").await.status, StatusCode::OK);
}

/// No answer about a person is kept by a cache, whether it is good, refused or cut short.
/// ASVS V3.2.1, V3.4.4, V14.3.2.
#[tokio::test]
async fn answers_are_private() {
    let world = World::start().await;
    let answers = [
        world.ask("{ whoami }").await,
        world.ask("{ nothing }").await,
        world.ask_as("bad", "{ whoami }").await,
        world.ask("{ ...A } fragment A on Query { ...A }").await,
        world.ask_raw("[]").await,
    ];
    for answer in answers {
        assert_eq!(answer.headers["cache-control"], "no-store", "{answer:?}");
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{answer:?}"
        );
    }
}

/// No answer is rendered, framed or run, wherever it was made, and its charset is named; browsers
/// are told that this host speaks TLS alone, and to name no address of it elsewhere.
/// ASVS V3.4.1, V3.4.3, V3.4.5, V3.4.6, V4.1.1.
#[tokio::test]
async fn answers_are_nothing_to_a_browser() {
    let world = World::start().await;
    let nowhere = send(world.client.get(world.url("/nowhere"))).await;
    let answers = [
        world.ask("{ whoami }").await,
        world.ask("{ nothing }").await,
        world.ask_as("bad", "{ whoami }").await,
        world.ask_raw("[]").await,
        send(world.post().body(BODY)).await,
        nowhere,
    ];
    for answer in answers {
        let said = |name: &str| {
            let value = answer
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap());
            value.unwrap_or_else(|| panic!("{name}: {answer:?}"))
        };
        let kind = said("content-type");
        assert!(kind.ends_with("json; charset=utf-8"), "{kind}: {answer:?}");
        let policy = said("content-security-policy");
        for part in [
            "default-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert_eq!(said("referrer-policy"), "no-referrer");
        let tls_alone = said("strict-transport-security");
        assert_eq!(tls_alone, "max-age=31536000; includeSubDomains");
        assert!(!answer.headers.contains_key("server"), "{answer:?}");
    }
}

/// What the router counts of each request is what somebody looks at: how long it took here and at
/// the subgraphs, and not how large it was or what it was thought to cost.
#[tokio::test]
async fn what_nobody_looks_at_is_not_counted() {
    let world = World::start().await;
    assert_eq!(world.ask("{ whoami }").await.status, StatusCode::OK);
    let metrics = send(world.client.get(world.operations_url("/metrics"))).await;
    for counted in [
        "http_server_request_duration",
        "http_server_active_requests",
        "http_client_request_duration",
        "plan_cache_requests",
    ] {
        assert!(metrics.text.contains(counted), "{counted}: {metrics:?}");
    }
    for uncounted in [
        "body_size",
        "http_client_active_requests",
        "external_wait",
        "cache_duration",
        "parse_cache_requests",
        "demand_control",
    ] {
        assert!(
            !metrics.text.contains(uncounted),
            "{uncounted}: {metrics:?}"
        );
    }
}

/// There is the graph and nothing else: health and metrics are on a listener of their own, which
/// has no graph.
/// ASVS V4.1.2, V13.4.1, V13.4.3, V13.4.5.
#[tokio::test]
async fn there_are_no_other_paths() {
    let world = World::start().await;
    assert_eq!(world.ask("{ whoami }").await.status, StatusCode::OK);
    let operations = async |path: &str| send(world.client.get(world.operations_url(path))).await;
    for path in ["/live", "/ready"] {
        assert_eq!(operations(path).await.status, StatusCode::OK, "{path}");
    }
    let metrics = operations("/metrics").await;
    assert!(
        metrics.text.contains("http_server_request_duration"),
        "{metrics:?}"
    );
    for path in ["/", "/graphql", "/health"] {
        let status = operations(path).await.status;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in [
        "/",
        "/live",
        "/ready",
        "/metrics",
        "/metrics/",
        "/graphql/../metrics",
        "/health",
        "/readiness",
        "/graphql/",
        "/graphql/x",
        "/graphql/../x",
        "/.git/HEAD",
        "/.svn/entries",
        "//",
    ] {
        let answer = send(
            world
                .client
                .get(world.url(path))
                .header(ACCEPT, "text/html"),
        )
        .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
    }
}

/// What the gateway itself refuses is said in the reader's language.
#[tokio::test]
async fn refusals_speak_the_readers_language() {
    let world = World::start().await;
    for (language, expected) in [("zh-CN", "嵌套"), ("en", "nests")] {
        let body = json!({ "query": "{ ...A } fragment A on Query { ...A }" });
        let answer = send(world.post().header(ACCEPT_LANGUAGE, language).json(&body)).await;
        assert!(answer.text.contains(expected), "{language}: {answer:?}");
        let csrf = send(world.post().header(ACCEPT_LANGUAGE, language).body(BODY)).await;
        let expected = if language == "en" {
            "Send"
        } else {
            "请求头"
        };
        assert!(csrf.text.contains(expected), "{language}: {csrf:?}");
    }
}
