//! What subgraphs get and what clients get back from them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac as _};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_LANGUAGE, AUTHORIZATION};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::subgraphs::Received;
use crate::world::{Options, SUBGRAPH_KEY, World, now_s, send};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn header<'a>(received: &'a Received, name: &str) -> &'a str {
    let mut values = received.headers.get_all(name).iter();
    let value = values.next().map_or("", |value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} came twice");
    value
}

fn expected_signature(received: &Received) -> String {
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let text = [
        "bashu-gateway-v1",
        "POST",
        received.subgraph,
        header(received, "x-bashu-timestamp"),
        header(received, "x-bashu-nonce"),
        &hash(&received.body),
        &hash(header(received, "authorization").as_bytes()),
        &hash(header(received, "x-bashu-gate").as_bytes()),
        &hash(header(received, "x-bashu-client").as_bytes()),
        &hash(header(received, "accept-language").as_bytes()),
    ]
    .join("\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&SUBGRAPH_KEY).unwrap();
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Every subgraph request carries a signature that the subgraph can verify, with a fresh nonce;
/// so do the requests for entities.
/// ASVS V13.2.1.
#[tokio::test]
async fn every_subgraph_request_is_signed() {
    let world = World::start().await;
    let token = world.token("m1");
    for _ in 0..3 {
        let answer = world
            .ask_as(&token, "{ member(id: \"7\") { login passes } }")
            .await;
        let expected = json!({ "member": { "login": "login", "passes": ["pass of 7"] } });
        assert_eq!(answer.data(), expected);
    }
    world.ask("{ whoami }").await;
    let received = world.shared.take_received();
    assert_eq!(received.len(), 7);
    let mut nonces = HashSet::new();
    for one in &received {
        assert_eq!(
            header(one, "x-bashu-signature"),
            expected_signature(one),
            "{one:?}"
        );
        let at_s: u64 = header(one, "x-bashu-timestamp").parse().unwrap();
        assert!(now_s().abs_diff(at_s) <= 5);
        assert_eq!(header(one, "x-bashu-nonce").len(), 32);
        assert!(nonces.insert(header(one, "x-bashu-nonce").to_owned()));
    }
}

/// A subgraph gets the headers it should and nothing else of the client's; what the client says
/// in the gateway's name is not believed.
/// ASVS V1.2.3, V4.1.3, V10.1.1, V15.3.4.
#[tokio::test]
async fn only_known_headers_pass_and_none_is_spoofed() {
    let world = World::start().await;
    let token = world.token("m1");
    let request = world
        .post()
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(ACCEPT_LANGUAGE, "en-GB")
        .header("traceparent", TRACE)
        .header("x-bashu-gate", "gate assertion")
        .header("x-bashu-timestamp", "1")
        .header("x-bashu-nonce", "spoofed")
        .header("x-bashu-signature", "spoofed")
        .header("x-bashu-client", "spoofed")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-member-id", "spoofed")
        .header("cookie", "spoofed=1");
    send(request.json(&json!({ "query": "{ whoami }" }))).await;
    let received = world.shared.take_received();
    let one = &received[0];
    assert_eq!(header(one, "authorization"), format!("Bearer {token}"));
    assert_eq!(header(one, "accept-language"), "en-GB");
    assert_eq!(header(one, "traceparent"), TRACE);
    assert_eq!(header(one, "x-bashu-gate"), "gate assertion");
    assert_eq!(header(one, "x-bashu-client"), "127.0.0.1");
    assert_eq!(header(one, "x-bashu-signature"), expected_signature(one));
    let known = [
        "accept-encoding",
        "accept-language",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "traceparent",
        "x-bashu-client",
        "x-bashu-gate",
        "x-bashu-nonce",
        "x-bashu-signature",
        "x-bashu-timestamp",
    ];
    for name in one.headers.keys() {
        assert!(known.contains(&name.as_str()), "{name} passed");
    }
    for value in one.headers.values() {
        assert!(!value.to_str().unwrap().contains("spoofed"), "{value:?}");
    }
}

/// A request without a trace gets one, two gate assertions are refused, and behind our own proxy
/// the last hop is the client.
#[tokio::test]
async fn headers_are_completed_and_checked() {
    let world = World::start_with(Options {
        environment: vec![("BASHU_GATEWAY_CLIENT_ADDRESS", "forwarded".to_owned())],
        ..Default::default()
    })
    .await;
    let body = json!({ "query": "{ whoami }" });
    let spoofed = "198.51.100.1, 203.0.113.9";
    send(
        world
            .post()
            .header("x-forwarded-for", spoofed)
            .header("traceparent", "x")
            .json(&body),
    )
    .await;
    let received = world.shared.take_received();
    assert_eq!(header(&received[0], "x-bashu-client"), "203.0.113.9");
    let trace = header(&received[0], "traceparent");
    assert!(
        trace.starts_with("00-") && trace.len() == TRACE.len(),
        "{trace}"
    );
    let two = world
        .post()
        .header("x-bashu-gate", "a")
        .header("x-bashu-gate", "b")
        .json(&body);
    assert_eq!(send(two).await.status, StatusCode::BAD_REQUEST);
    assert!(world.shared.take_received().is_empty());
}

/// Where traces are collected, the gateway's own span stands between, in the client's trace.
/// ASVS V16.2.4.
#[tokio::test]
async fn a_collected_trace_goes_on() {
    let collector = "http://127.0.0.1:9/v1/traces".to_owned();
    let world = World::start_with(Options {
        environment: vec![("BASHU_GATEWAY_OTLP_ENDPOINT", collector)],
        ..Default::default()
    })
    .await;
    let request = world.post().header("traceparent", TRACE);
    send(request.json(&json!({ "query": "{ whoami }" }))).await;
    let received = world.shared.take_received();
    let trace = header(&received[0], "traceparent");
    assert_eq!(trace.split('-').nth(1), TRACE.split('-').nth(1), "{trace}");
    assert_ne!(trace.split('-').nth(2), TRACE.split('-').nth(2), "{trace}");
    assert_eq!(
        header(&received[0], "x-bashu-signature"),
        expected_signature(&received[0])
    );
}

/// Equal requests of two people at the same time never share an answer, in a thousand.
#[tokio::test]
async fn two_people_never_share_an_answer() {
    let world = World::start().await;
    let tokens = [world.token("m1"), world.token("m2")];
    for _ in 0..10 {
        let mut running = Vec::new();
        for number in 0..100 {
            let token = tokens[number % 2].clone();
            let request = world
                .post()
                .header(AUTHORIZATION, format!("Bearer {token}"));
            let request = request.json(&json!({ "query": "{ whoami }" }));
            running.push(tokio::spawn(async move { (token, send(request).await) }));
        }
        for one in running {
            let (token, answer) = one.await.unwrap();
            assert_eq!(
                answer.data(),
                json!({ "whoami": format!("Bearer {token}") })
            );
        }
    }
    // Not even one person's equal requests are merged: each is signed and counted.
    assert_eq!(world.shared.take_received().len(), 1_000);
}

/// Of a subgraph's error the client gets the code and our text, in its language.
/// ASVS V16.5.1.
#[tokio::test]
async fn a_subgraphs_error_tells_its_code_alone() {
    let world = World::start().await;
    for (language, expected) in [("zh", "没有权限进行此操作"), ("en", "You may not do this")]
    {
        let request = world.post().header(ACCEPT_LANGUAGE, language);
        let answer = send(request.json(&json!({ "query": "{ broken whoami }" }))).await;
        let errors = answer.json()["errors"].clone();
        assert_eq!(errors[0]["message"], expected, "{answer:?}");
        assert_eq!(errors[0]["extensions"], json!({ "code": "FORBIDDEN" }));
        assert_eq!(answer.json()["data"]["whoami"], "anonymous");
        for secret in ["10.0.0.7", "SELECT", "identity"] {
            assert!(!answer.text.contains(secret), "{answer:?}");
        }
    }
    for (language, expected) in [("zh", "输入有误"), ("en", "The input cannot be read")] {
        let request = world.post().header(ACCEPT_LANGUAGE, language);
        let answer = send(request.json(&json!({ "query": "{ unreadable }" }))).await;
        let error = &answer.json()["errors"][0];
        assert_eq!(error["message"], expected, "{answer:?}");
        assert_eq!(error["extensions"], json!({ "code": "BAD_INPUT" }));
    }
}

/// A subgraph that is dead or slow costs its own fields and no others, in bounded time, and its
/// address stays within.
#[tokio::test]
async fn a_dead_or_slow_subgraph_costs_its_own_fields() {
    let world = World::start().await;
    let dead = world.ask("{ orders whoami }").await;
    assert_eq!(
        dead.json()["data"],
        json!({ "orders": null, "whoami": "anonymous" })
    );
    assert!(!dead.text.contains("127.0.0.1"), "{dead:?}");
    let started = Instant::now();
    let slow = world.ask("{ held whoami }").await;
    assert_eq!(
        slow.json()["data"],
        json!({ "held": null, "whoami": "anonymous" })
    );
    assert_eq!(slow.code(), "SUBGRAPH_REQUEST_TIMEOUT", "{slow:?}");
    assert!(!slow.text.contains("127.0.0.1"), "{slow:?}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    world.shared.released.send(true).unwrap();
    assert_eq!(
        world.ask("{ held }").await.data(),
        json!({ "held": "released" })
    );
}
