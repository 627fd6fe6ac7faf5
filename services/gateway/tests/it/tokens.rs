//! A token that is present and bad never counts as none. What each flaw of a token does is
//! proved beside the check itself; here they go through the whole process.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use hmac::{Hmac, Mac as _};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_LANGUAGE, AUTHORIZATION};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{World, key_set, now_s, send, signed_token, token_claims, token_header};

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

/// A token signed as HS256 with the public key as its secret.
fn confused_token(key: &SigningKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = with(token_header(), "alg", json!("HS256"));
    let signed = format!("{}.{}", part(&header), part(&token_claims("m1")));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.verifying_key().to_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

/// Public fields need no token, a good one passes unchanged, and every bad one is a 401.
/// ASVS V7.2.1, V8.4.1, V9.1.1, V9.1.2, V9.2.1, V9.2.2, V9.2.3.
#[tokio::test]
async fn a_bad_token_is_refused_and_never_anonymous() {
    let world = World::start().await;
    assert_eq!(
        world.ask("{ whoami }").await.data(),
        json!({ "whoami": "anonymous" })
    );
    let good = world.token("m1");
    let answer = world.ask_as(&good, "{ whoami }").await;
    assert_eq!(answer.data(), json!({ "whoami": format!("Bearer {good}") }));
    world.shared.take_received();

    let header = token_header;
    let claims = || token_claims("m1");
    let signed = |header: &Value, claims: &Value| signed_token(&world.key, header, claims);
    let unsigned = {
        let token = signed(&with(header(), "alg", json!("none")), &claims());
        token[..=token.rfind('.').unwrap()].to_owned()
    };
    let flawed = [
        String::new(),
        "x".to_owned(),
        unsigned,
        signed(&with(header(), "alg", json!("none")), &claims()),
        signed(&with(header(), "alg", json!("nOnE")), &claims()),
        confused_token(&world.key),
        signed(&with(header(), "alg", json!("ES256")), &claims()),
        signed(&with(header(), "typ", json!("JWT")), &claims()),
        signed(&with(header(), "kid", json!("k9")), &claims()),
        signed(&with(header(), "kid", json!("../../dev/null")), &claims()),
        signed(&with(header(), "kid", json!("' OR 1=1 --")), &claims()),
        signed(
            &with(header(), "jku", json!("http://127.0.0.1:1/keys")),
            &claims(),
        ),
        signed_token(&SigningKey::from_bytes(&[2; 32]), &header(), &claims()),
        signed(
            &header(),
            &with(claims(), "exp", json!((now_s() + 300).to_string())),
        ),
        signed(
            &header(),
            &with(claims(), "exp", json!(now_s() as f64 + 300.5)),
        ),
        signed(
            &header(),
            &with(claims(), "exp", json!(1_000_000_000_000_000_000_u64)),
        ),
        signed(&header(), &with(claims(), "exp", json!(-1))),
        signed(&header(), &with(claims(), "exp", json!(now_s() - 1))),
        signed(&header(), &with(claims(), "nbf", json!(now_s() + 60))),
        signed(&header(), &with(claims(), "aud", json!(["bashu", "other"]))),
        signed(&header(), &with(claims(), "aud", json!("other"))),
        signed(&header(), &with(claims(), "iss", json!("bashu-51"))),
    ];
    for token in flawed {
        let answer = world.ask_as(&token, "{ whoami }").await;
        assert_eq!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "{token}: {answer:?}"
        );
        assert_eq!(answer.code(), "UNAUTHENTICATED");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    assert!(world.shared.take_received().is_empty());
    assert!(
        !world.log().contains(good.rsplit('.').next().unwrap()),
        "a token was logged"
    );
}

/// The scheme is free in its case; subgraphs take one spelling, and get that.
#[tokio::test]
async fn subgraphs_get_one_spelling_of_the_scheme() {
    let world = World::start().await;
    let good = world.token("m1");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = world
            .post()
            .header(AUTHORIZATION, format!("{scheme} {good}"));
        let answer = send(request.json(&json!({ "query": "{ whoami }" }))).await;
        assert_eq!(answer.data(), json!({ "whoami": format!("Bearer {good}") }));
    }
}

/// Two tokens, no scheme and another scheme are bad tokens too, in both languages.
#[tokio::test]
async fn a_bad_authorization_header_is_refused() {
    let world = World::start().await;
    let good = format!("Bearer {}", world.token("m1"));
    let body = json!({ "query": "{ whoami }" });
    let two = world
        .post()
        .header(AUTHORIZATION, &good)
        .header(AUTHORIZATION, &good)
        .json(&body);
    assert_eq!(send(two).await.status, StatusCode::UNAUTHORIZED);
    for value in [
        &good[7..],
        "Basic dTpw",
        "Bearer",
        "Bearer  x",
        "",
        "\u{e9}",
    ] {
        let bytes = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let answer = send(world.post().header(AUTHORIZATION, bytes).json(&body)).await;
        assert_eq!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "{value:?}: {answer:?}"
        );
    }
    for (language, expected) in [("zh", "登录已失效"), ("en", "log in again")] {
        let request = world
            .post()
            .header(AUTHORIZATION, "x")
            .header(ACCEPT_LANGUAGE, language);
        assert!(send(request.json(&body)).await.text.contains(expected));
    }
    assert!(world.shared.take_received().is_empty());
}

/// A new key is fetched when a token first names it; a key that identity has retired is refused
/// from the next fetch on; while identity is down the keys last seen stay good.
/// ASVS V9.1.3.
#[tokio::test]
async fn keys_follow_identity() {
    let world = World::start().await;
    let old = world.token("m1");
    let next = SigningKey::from_bytes(&[3; 32]);
    let renewed = signed_token(
        &next,
        &with(token_header(), "kid", json!("k2")),
        &token_claims("m1"),
    );
    assert_eq!(
        world.ask_as(&old, "{ whoami }").await.status,
        StatusCode::OK
    );
    assert_eq!(
        world.ask_as(&renewed, "{ whoami }").await.status,
        StatusCode::UNAUTHORIZED
    );

    world
        .shared
        .key_set
        .send(Some(key_set(&[("k1", &world.key), ("k2", &next)])))
        .unwrap();
    until_status(&world, &renewed, StatusCode::OK).await;
    assert_eq!(
        world.ask_as(&old, "{ whoami }").await.status,
        StatusCode::OK
    );

    world.shared.key_set.send(None).unwrap();
    let unknown = signed_token(
        &next,
        &with(token_header(), "kid", json!("k3")),
        &token_claims("m1"),
    );
    assert_eq!(
        world.ask_as(&unknown, "{ whoami }").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        world.ask_as(&old, "{ whoami }").await.status,
        StatusCode::OK
    );

    world
        .shared
        .key_set
        .send(Some(key_set(&[("k2", &next)])))
        .unwrap();
    // Any token with an unknown key makes the gateway look again.
    until(Duration::from_secs(20), async || {
        world.ask_as(&unknown, "{ whoami }").await;
        world.ask_as(&old, "{ whoami }").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(
        world.ask_as(&renewed, "{ whoami }").await.status,
        StatusCode::OK
    );
}

/// Without ever having seen a key nothing can be said of a token: that is no 401, which would
/// log everybody out, and it is no anonymous request.
/// ASVS V16.5.3.
#[tokio::test]
async fn without_keys_a_token_is_neither_good_nor_bad() {
    let world = World::start_with(crate::world::Options {
        environment: vec![(
            "BASHU_GATEWAY_JWKS_URL",
            "http://127.0.0.1:9/keys".to_owned(),
        )],
        ..Default::default()
    })
    .await;
    let answer = world.ask_as(&world.token("m1"), "{ whoami }").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert_eq!(answer.code(), "UNAVAILABLE");
    assert!(world.shared.take_received().is_empty());
    assert_eq!(world.ask("{ whoami }").await.status, StatusCode::OK);
}

async fn until_status(world: &World, token: &str, status: StatusCode) {
    until(Duration::from_secs(20), async || {
        world.ask_as(token, "{ whoami }").await.status == status
    })
    .await;
}

async fn until(time_max: Duration, condition: impl AsyncFn() -> bool) {
    let started = std::time::Instant::now();
    while !condition().await {
        assert!(started.elapsed() < time_max, "it never came true");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
