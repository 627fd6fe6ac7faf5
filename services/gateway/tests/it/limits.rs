//! Limits in a real Redis, and what passes when it is lost.

use std::time::Instant;

use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::world::{Answer, Options, World, send};

const CATALOGUE: &str = "{ whoami }";
const LOGIN: &str = "mutation { login }";

async fn world_with(limits: &[(&'static str, u32)]) -> World {
    let environment = limits
        .iter()
        .map(|(name, limit)| (*name, limit.to_string()))
        .collect();
    World::start_with(Options {
        environment,
        ..Default::default()
    })
    .await
}

fn limited(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    assert_eq!(answer.code(), "RATE_LIMITED");
    let wait_s: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait_s), "{wait_s}");
}

/// Login fields are counted one by one, however they are written: an alias is an attempt.
/// ASVS V2.4.1.
#[tokio::test]
async fn login_fields_are_counted_each() {
    let world = world_with(&[("BASHU_GATEWAY_LIMITS__ADDRESS_LOGIN_FIELDS_PER_MINUTE", 10)]).await;
    assert_eq!(world.ask(LOGIN).await.status, StatusCode::OK);
    let eight = "mutation { a: login b: login ...F ... on Mutation { c: requestLoginCode } } \
                 fragment F on Mutation { d: login e: login f: login g: login h: login }";
    assert_eq!(world.ask(eight).await.status, StatusCode::OK);
    world.shared.take_received();
    limited(&world.ask("mutation { a: login b: requestLoginCode }").await);
    assert!(
        world.shared.take_received().is_empty(),
        "a refused login reached identity"
    );
    // One more had room, and what else there is goes on.
    assert_eq!(world.ask(LOGIN).await.status, StatusCode::OK);
    limited(&world.ask(LOGIN).await);
    assert_eq!(world.ask(CATALOGUE).await.status, StatusCode::OK);
    assert_eq!(
        world.ask("mutation { redeem }").await.status,
        StatusCode::OK
    );
}

/// An address has its limit, bad tokens use it up, and aliases of mutations count beyond the one
/// request they come in.
#[tokio::test]
async fn an_address_has_its_limit() {
    let world = world_with(&[("BASHU_GATEWAY_LIMITS__ADDRESS_REQUESTS_PER_MINUTE", 20)]).await;
    assert_eq!(
        world.ask_as("bad", CATALOGUE).await.status,
        StatusCode::UNAUTHORIZED
    );
    let many: String = (0..25)
        .map(|number| format!(" a{number}: redeem"))
        .collect();
    limited(&world.ask(&format!("mutation {{{many} }}")).await);
    let mut passed = 0;
    let refusal = loop {
        let answer = world.ask(CATALOGUE).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        passed += 1;
        assert!(passed < 40, "no limit");
    };
    limited(&refusal);
    // 18 were left; while they are used up a few more may flow in.
    assert!((18..=24).contains(&passed), "{passed}");
    limited(&world.ask_as("bad", CATALOGUE).await);
}

/// A login has its own limit, which another's does not touch.
#[tokio::test]
async fn a_login_has_its_limit() {
    let world = world_with(&[("BASHU_GATEWAY_LIMITS__LOGIN_REQUESTS_PER_MINUTE", 5)]).await;
    let (first, second) = (world.token("m1"), world.token("m2"));
    let mut passed = 0;
    while world.ask_as(&first, CATALOGUE).await.status == StatusCode::OK {
        passed += 1;
        assert!(passed < 20, "no limit");
    }
    assert!((5..=8).contains(&passed), "{passed}");
    limited(&world.ask_as(&first, CATALOGUE).await);
    assert_eq!(
        world.ask_as(&second, CATALOGUE).await.status,
        StatusCode::OK
    );
    assert_eq!(world.ask(CATALOGUE).await.status, StatusCode::OK);
}

/// Of a high limit many permits are taken at once, and the next of them before the last is used
/// up; and it holds all the same: no request more passes than the limit says, and of those that
/// it grants few are lost.
#[tokio::test]
async fn a_high_limit_is_taken_in_blocks() {
    const LIMIT: u64 = 2_400;
    let limit = u32::try_from(LIMIT).unwrap();
    let world = world_with(&[("BASHU_GATEWAY_LIMITS__ADDRESS_REQUESTS_PER_MINUTE", limit)]).await;
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(world.ask(CATALOGUE).await.status, StatusCode::OK);
    }
    // A block is of twenty; it and the next may be lost after a second.
    let asked = world.redis_asked().await;
    let most = 5 + 2 + 2 * started.elapsed().as_secs();
    assert!((5..=most).contains(&asked), "{asked} of at most {most}");

    let mut passed = 100;
    let refusal = 'full: loop {
        let one = || world.ask(CATALOGUE);
        let (first, second, third, fourth) = tokio::join!(one(), one(), one(), one());
        for answer in [first, second, third, fourth] {
            if answer.status != StatusCode::OK {
                break 'full answer;
            }
            passed += 1;
        }
        assert!(passed < LIMIT * 2, "no limit");
    };
    limited(&refusal);
    let flown = started.elapsed().as_secs_f64() * f64::from(limit) / 60.0;
    let most = f64::from(limit) + flown;
    let least = most * 0.9;
    let passed = f64::from(u32::try_from(passed).unwrap());
    assert!((least..=most).contains(&passed), "{passed} of {most}");
}

async fn without_redis_only_logging_in_waits(world: &World) {
    for text in [
        LOGIN,
        "mutation { requestLoginCode }",
        "mutation { payOrder login }",
    ] {
        let answer = world.ask(text).await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{text}: {answer:?}"
        );
        assert_eq!(answer.code(), "UNAVAILABLE");
        assert!(answer.headers.contains_key("retry-after"));
    }
    let token = world.token("m1");
    for text in [
        CATALOGUE,
        "mutation { payOrder }",
        "mutation { a: redeem b: redeem }",
    ] {
        let request = world
            .post()
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = send(request.json(&json!({ "query": text }))).await;
        assert_eq!(answer.status, StatusCode::OK, "{text}: {answer:?}");
        answer.data();
    }
}

/// When Redis is lost, nobody guesses login codes uncounted, and no payment and no gate waits.
/// ASVS V16.5.2.
#[tokio::test]
async fn a_lost_redis_stops_logging_in_and_nothing_else() {
    let mut world = World::start().await;
    assert_eq!(world.ask(LOGIN).await.status, StatusCode::OK);
    world.stop_redis().await;
    without_redis_only_logging_in_waits(&world).await;
}

/// The same holds when Redis was never there.
#[tokio::test]
async fn the_gateway_starts_without_redis() {
    let world = World::start_with(Options {
        without_redis: true,
        ..Default::default()
    })
    .await;
    without_redis_only_logging_in_waits(&world).await;
}

/// `FLUSHALL` loses counts alone.
#[tokio::test]
async fn an_emptied_redis_counts_anew() {
    let world = world_with(&[("BASHU_GATEWAY_LIMITS__ADDRESS_LOGIN_FIELDS_PER_MINUTE", 1)]).await;
    assert_eq!(world.ask(LOGIN).await.status, StatusCode::OK);
    limited(&world.ask(LOGIN).await);
    world.flush_redis().await;
    assert_eq!(world.ask(LOGIN).await.status, StatusCode::OK);
}

/// What stands where a count should be, of whatever type, is cleared away: it costs its own count
/// and switches no limit off.
#[tokio::test]
async fn a_key_of_another_type_is_counted_anew() {
    let world = world_with(&[("BASHU_GATEWAY_LIMITS__ADDRESS_LOGIN_FIELDS_PER_MINUTE", 1)]).await;
    assert_eq!(world.ask(LOGIN).await.status, StatusCode::OK);
    limited(&world.ask(LOGIN).await);
    world.spoil_redis().await;
    assert_eq!(world.ask(LOGIN).await.status, StatusCode::OK);
    limited(&world.ask(LOGIN).await);
    assert!(!world.log().contains("limits are off"), "{}", world.log());
}

/// What is beyond the room for requests is refused at once, unbegun, and told when to come again;
/// gates have room of their own; when the others are done there is room as before; and who sends
/// slowly holds no place.
#[tokio::test]
async fn beyond_the_room_for_requests_all_but_gates_are_turned_away() {
    const ADDRESS_MAX: usize = 128;
    let world = world_with(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..=ADDRESS_MAX {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        let head = "POST /graphql HTTP/1.1\r\nhost: gateway\r\ncontent-length: 99\r\n\
                    content-type: application/json\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let mut held = JoinSet::new();
    for _ in 0..ADDRESS_MAX {
        held.spawn(send(world.post().json(&json!({ "query": "{ held }" }))));
    }
    while world.shared.received_count() < ADDRESS_MAX {
        tokio::task::yield_now().await;
    }
    let answer = world.ask(CATALOGUE).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert_eq!(answer.code(), "OVERLOADED");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(world.shared.received_count(), ADDRESS_MAX);
    let gate = world.post().header("x-bashu-gate", "assertion");
    let gate = send(gate.json(&json!({ "query": CATALOGUE }))).await;
    assert_eq!(gate.status, StatusCode::OK, "{gate:?}");
    world.shared.released.send(true).unwrap();
    while let Some(answer) = held.join_next().await {
        assert_eq!(answer.unwrap().data(), json!({ "held": "released" }));
    }
    for _ in 0..=ADDRESS_MAX {
        assert_eq!(world.ask(CATALOGUE).await.status, StatusCode::OK);
    }
    let counted = send(world.client.get(world.operations_url("/metrics"))).await;
    assert!(
        counted
            .text
            .contains("bashu_gateway_turned_away_total{of=\"people\"} 1"),
        "{counted:?}"
    );
}
