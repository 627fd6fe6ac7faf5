//! Only the gateway comes in, once for each signature, and only with JSON of a bounded size.

use std::sync::atomic::Ordering;

use kit::graphql::{GatewayKey, Mode, SIGNATURE_AGE_SECONDS_MAX};
use serde_json::json;

use crate::world::World;

const BATCH_CODE: &str = "BAD_REQUEST";

/// What all other tests stand on: without a fault the request is answered.
#[tokio::test]
async fn a_signed_query_is_answered() {
    let world = World::start(Mode::Production).await;
    let answer = world.query("{ hello }").send().await;
    assert_eq!(
        (answer.status, &answer.body["data"]["hello"]),
        (200, &json!("hello"))
    );
    for name in ["server", "x-powered-by"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("referrer-policy", "no-referrer"),
        (
            "strict-transport-security",
            "max-age=31536000; includeSubDomains",
        ),
    ] {
        assert_eq!(answer.headers[name], value);
    }
    world.end().await;
}

/// A request that comes past the gateway gets nothing, however well formed it is.
#[tokio::test]
async fn a_request_without_the_gateways_signature_is_refused() {
    let world = World::start(Mode::Development).await;
    let plain = world
        .http
        .post(format!("http://{}/graphql", world.graphql()));
    let plain = plain
        .header("content-type", "application/json")
        .body(r#"{"query":"{ hello }"}"#);
    assert_eq!(plain.send().await.unwrap().status(), 401);
    let mut forged = world.query("{ hello }");
    forged.key = GatewayKey::new([8; 32]);
    forged.refused(401, "UNSIGNED").await;
    let mut elsewhere = world.query("{ hello }");
    elsewhere.subgraph = "billing";
    elsewhere.refused(401, "UNSIGNED").await;
    for signature in ["", "00", "é", &"0".repeat(64), &"0".repeat(10_000)] {
        let mut shot = world.query("{ hello }");
        shot.signature = Some(signature.to_owned());
        shot.refused(401, "UNSIGNED").await;
    }
    world.end().await;
}

/// The signature covers the body, the member's token, the gate's assertion, the client's address,
/// the language, the time and the nonce: none can be changed on the way, and none can be doubled.
#[tokio::test]
async fn what_is_signed_cannot_be_changed() {
    let world = World::start(Mode::Development).await;
    let good = world
        .query("{ hello }")
        .header("authorization", "Bearer x")
        .header("accept-language", "en")
        .header("x-bashu-client", "203.0.113.7");
    let signature = good.signature();
    let spoil = |change: fn(&mut crate::world::Shot<'_>)| {
        let mut shot = good.clone();
        shot.signature = Some(signature.clone());
        change(&mut shot);
        shot
    };
    for shot in [
        spoil(|shot| shot.body = br#"{"query":"{ caller }"}"#.to_vec()),
        spoil(|shot| shot.headers[0].1 = "Bearer y".to_owned()),
        spoil(|shot| shot.headers.clear()),
        spoil(|shot| shot.headers.push(("x-bashu-gate", "gate".to_owned()))),
        spoil(|shot| shot.headers.push(("authorization", "Bearer x".to_owned()))),
        spoil(|shot| shot.headers[1].1 = "zh".to_owned()),
        spoil(|shot| shot.headers[2].1 = "2.2.2.2".to_owned()),
        spoil(|shot| _ = shot.headers.remove(1)),
        spoil(|shot| _ = shot.headers.remove(2)),
        spoil(|shot| shot.headers.push(("accept-language", "zh".to_owned()))),
        spoil(|shot| shot.headers.push(("x-bashu-client", "2.2.2.2".to_owned()))),
        spoil(|shot| shot.timestamp = "1775008801".to_owned()),
        spoil(|shot| shot.nonce = "0".repeat(32)),
        spoil(|shot| shot.nonce = "not hexadecimal".to_owned()),
    ] {
        shot.refused(401, "UNSIGNED").await;
    }
    world.end().await;
}

#[tokio::test]
async fn an_old_an_early_and_a_replayed_signature_are_refused() {
    let world = World::start(Mode::Development).await;
    let now = world.now().timestamp();
    for (age, accepted) in [
        (SIGNATURE_AGE_SECONDS_MAX, true),
        (SIGNATURE_AGE_SECONDS_MAX + 1, false),
        (-5, true),
        (-6, false),
        (i64::MAX, false),
    ] {
        let mut shot = world.query("{ hello }");
        shot.timestamp = now.wrapping_sub(age).to_string();
        assert_eq!(shot.send().await.status == 200, accepted, "{age} s old");
    }
    let shot = world.query("{ hello }");
    assert_eq!(shot.clone().send().await.status, 200);
    shot.clone().refused(401, "UNSIGNED").await;
    // The clock goes on for as long as the signature still counts.
    world
        .db
        .ctx
        .clock
        .advance(chrono::TimeDelta::seconds(SIGNATURE_AGE_SECONDS_MAX));
    shot.refused(401, "UNSIGNED").await;
    world.end().await;
}

/// async-graphql's own axum integration takes all of these.
#[tokio::test]
async fn only_a_post_of_json_is_read() {
    let world = World::start(Mode::Development).await;
    let mutation = json!({ "query": "mutation { touch { node { id } } }" }).to_string();
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=gbk",
        "application/jsonp",
        "",
    ] {
        let mut shot = world.shot(mutation.clone());
        shot.content_type = Some(media);
        shot.refused(415, "UNSUPPORTED_MEDIA_TYPE").await;
    }
    let mut untyped = world.shot(mutation.clone());
    untyped.content_type = None;
    untyped.refused(415, "UNSUPPORTED_MEDIA_TYPE").await;
    let packed = world
        .shot(mutation.clone())
        .header("content-encoding", "gzip");
    packed.refused(415, "UNSUPPORTED_MEDIA_TYPE").await;
    for method in [
        reqwest::Method::GET,
        reqwest::Method::PUT,
        reqwest::Method::DELETE,
    ] {
        let mut shot = world.shot(mutation.clone());
        shot.method = method;
        shot.refused(405, "METHOD_NOT_ALLOWED").await;
    }
    let url = format!("http://{}/graphql", world.graphql());
    let by_address = format!("{url}?query=mutation%7Btouch%7Bnode%7Bid%7D%7D%7D");
    let get = world.http.get(by_address).send().await.unwrap();
    assert_eq!(get.status(), 405);
    assert_eq!(
        world.probe.mutations.load(Ordering::SeqCst),
        0,
        "nothing was executed"
    );
    world.end().await;
}

#[tokio::test]
async fn batches_and_broken_json_are_refused() {
    let world = World::start(Mode::Development).await;
    let one = r#"{"query":"mutation { touch { node { id } } }"}"#;
    let deep = format!(
        r#"{{"query":"{{ hello }}","variables":{{"a":{}{}}}}}"#,
        "[".repeat(1_000),
        "]".repeat(1_000)
    );
    for body in [
        format!("[{one},{one}]"),
        format!("[{one}]"),
        "[]".to_owned(),
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        r#"{"query":1}"#.to_owned(),
        r#"{"query":"{ hello }","query":"{ caller }"}"#.to_owned(),
        r#"{"query":"{ hello }","variables":[]}"#.to_owned(),
        format!("{one}{one}"),
        deep,
    ] {
        world.shot(body).refused(400, BATCH_CODE).await;
    }
    world.shot(vec![0xff, 0xfe]).refused(400, BATCH_CODE).await;
    assert_eq!(
        world.probe.mutations.load(Ordering::SeqCst),
        0,
        "nothing was executed"
    );
    world.end().await;
}

/// Refused by its declared length, or where none is declared as soon as it is too long.
#[tokio::test]
async fn a_body_of_twenty_megabytes_is_not_read() {
    let world = World::start(Mode::Development).await;
    let padding = "x".repeat(20_000_000);
    let body = json!({ "query": "{ hello }", "extensions": { "padding": padding } }).to_string();
    world
        .shot(body.clone())
        .refused(413, "BODY_TOO_LARGE")
        .await;
    let chunks: Vec<std::io::Result<Vec<u8>>> = body
        .as_bytes()
        .chunks(64 * 1024)
        .map(|chunk| Ok(chunk.to_vec()))
        .collect();
    let sent = chunked(&world, chunks).await;
    assert_eq!(sent, "HTTP/1.1 413");
    let just = kit::graphql::BODY_BYTES_MAX - r#"{"query":"{ hello }"}"#.len();
    let largest = format!(r#"{{"query":"{{ hello }}"{}}}"#, " ".repeat(just));
    assert_eq!(largest.len(), kit::graphql::BODY_BYTES_MAX);
    assert_eq!(world.shot(largest.clone()).send().await.status, 200);
    world
        .shot(largest + " ")
        .refused(413, "BODY_TOO_LARGE")
        .await;
    world.end().await;
}

/// Writes chunks until the answer has come; its status line.
async fn chunked(world: &World, chunks: Vec<std::io::Result<Vec<u8>>>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.graphql())
        .await
        .unwrap();
    let head = "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = 0;
    for chunk in chunks.into_iter().flatten() {
        let frame = format!("{:x}\r\n", chunk.len());
        let frame = [frame.as_bytes(), &chunk, b"\r\n"].concat();
        if stream.write_all(&frame).await.is_err() {
            break;
        }
        sent += chunk.len();
    }
    assert!(sent < 20_000_000, "the peer read all of it");
    let mut answer = [0; 12];
    // The status is there even where the peer has closed for writing.
    let _ = stream.read_exact(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Nothing else is on this listener.
#[tokio::test]
async fn no_other_path_is_there() {
    let world = World::start(Mode::Development).await;
    for path in [
        "/",
        "/graphiql",
        "/graphql/",
        "/metrics",
        "/live",
        "/health",
        "/graphql/x",
    ] {
        let url = format!("http://{}{path}", world.graphql());
        assert_eq!(
            world.http.get(url).send().await.unwrap().status(),
            404,
            "{path}"
        );
    }
    world.end().await;
}

/// A token that is present and bad is refused; one that is good says who asks.
#[tokio::test]
async fn the_members_token_is_verified_here_again() {
    let world = World::start(Mode::Development).await;
    let anonymous = world.query("{ caller }").send().await;
    assert_eq!(anonymous.body["data"]["caller"]["who"], "anonymous");
    let token = world.token();
    let signed_in = world
        .query("{ caller }")
        .header("authorization", format!("Bearer {token}"))
        .header("x-bashu-client", "203.0.113.7")
        .header("x-bashu-gate", "assertion");
    let answer = signed_in.send().await;
    let caller = &answer.body["data"]["caller"];
    let who = format!("{} {}", crate::world::MEMBER, crate::world::LOGIN);
    assert_eq!(
        caller,
        &json!({"who": who, "client": "203.0.113.7", "gate": "assertion"})
    );
    for bad in [
        String::new(),
        "Bearer".to_owned(),
        token.clone(),
        format!("bearer {token}"),
        format!("Basic {token}"),
        format!("Bearer {token}x"),
        format!("Bearer {token} {token}"),
        format!("Bearer  {token}"),
        format!("Bearer {}", token.replace('.', "")),
    ] {
        let shot = world.query("{ caller }").header("authorization", bad);
        shot.refused(401, "UNAUTHENTICATED").await;
    }
    world.keys.replace([]);
    let keyless = world
        .query("{ caller }")
        .header("authorization", format!("Bearer {token}"));
    keyless.refused(503, "UNAVAILABLE").await;
    world.end().await;
}

/// What a token says of a second factor is what a command hears, and nothing is heard of who has
/// shown none.
#[tokio::test]
async fn a_second_factor_comes_through_the_door() {
    let world = World::start(Mode::Production).await;
    let until = world.now() + chrono::TimeDelta::seconds(300);
    let heard = async |token: String| {
        let shot = world.query("{ steppedUp }");
        let answer = shot
            .header("authorization", format!("Bearer {token}"))
            .send();
        answer.await.body["data"]["steppedUp"].clone()
    };
    assert_eq!(heard(world.token()).await, json!(null));
    let told = heard(world.stepped_up_token(Some(until))).await;
    let told: chrono::DateTime<chrono::Utc> = told.as_str().unwrap().parse().unwrap();
    assert_eq!(told.timestamp(), until.timestamp());
    world.end().await;
}
