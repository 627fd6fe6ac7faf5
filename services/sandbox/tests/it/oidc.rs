//! The issuer as a relying party meets it: the code flow with PKCE, and what it refuses.

use crate::harness::World;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::sha2::{Digest, Sha256};
use rsa::signature::Verifier;
use rsa::{BigUint, RsaPublicKey};
use serde_json::{Value, json};
use std::fs;

const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
const BACK: &str = "http://127.0.0.1:1/back";

fn secret(world: &World) -> String {
    fs::read_to_string(world.config.data.join("oidc/client_secret")).unwrap()
}

/// The code that comes back for this person.
async fn code(world: &World, subject: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let url = reqwest::Url::parse_with_params(
        &format!("{}/oidc/authorize", world.base),
        [
            ("response_type", "code"),
            ("scope", "openid"),
            ("client_id", "bashu"),
            ("redirect_uri", BACK),
            ("state", "the state"),
            ("nonce", "the nonce"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("login_hint", subject),
        ],
    )
    .unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let answer = http.get(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 302);
    let back = answer.headers()["location"].to_str().unwrap();
    let back = reqwest::Url::parse(back).unwrap();
    let pairs: Vec<(String, String)> = back.query_pairs().into_owned().collect();
    assert_eq!(pairs[1], ("state".to_owned(), "the state".to_owned()));
    pairs[0].1.clone()
}

async fn trade(world: &World, code: &str, verifier: &str, secret: &str) -> (u16, Value) {
    let form = format!(
        "grant_type=authorization_code&code={code}&code_verifier={verifier}\
         &redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fback"
    );
    let answer = world
        .http
        .post(format!("{}/oidc/token", world.base))
        .header("content-type", "application/x-www-form-urlencoded")
        .basic_auth("bashu", Some(secret))
        .body(form)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// What is signed verifies under the key that is published, and says what was asked for.
#[tokio::test]
async fn an_id_token_verifies_under_the_published_key() {
    let world = World::start().await;
    let found = world.get("/oidc/.well-known/openid-configuration").await;
    let found: Value = serde_json::from_str(&found.text).unwrap();
    assert_eq!(found["issuer"], format!("{}/oidc", world.base));
    let code = code(&world, "one").await;
    let (status, tokens) = trade(&world, &code, VERIFIER, &secret(&world)).await;
    assert_eq!(status, 200, "{tokens}");
    let token = tokens["id_token"].as_str().unwrap();
    let [header, claims, signature] =
        <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
    let keys: Value = serde_json::from_str(&world.get("/oidc/jwks").await.text).unwrap();
    let key = &keys["keys"][0];
    let number = |name: &str| BigUint::from_bytes_be(&decoded(key[name].as_str().unwrap()));
    let public = RsaPublicKey::new(number("n"), number("e")).unwrap();
    let signature = Signature::try_from(decoded(signature).as_slice()).unwrap();
    let message = format!("{header}.{claims}");
    VerifyingKey::<Sha256>::new(public)
        .verify(message.as_bytes(), &signature)
        .unwrap();
    let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&json!("RS256"), &key["kid"])
    );
    let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
    assert_eq!(claims["iss"], found["issuer"]);
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["nonce"]),
        (&json!("one"), &json!("bashu"), &json!("the nonce"))
    );
    let now = world.now_seconds();
    assert_eq!(
        (&claims["iat"], &claims["exp"]),
        (&json!(now), &json!(now + 300))
    );
}

/// A code is good once, for a minute, with its verifier and its client's secret.
#[tokio::test]
async fn a_code_needs_its_verifier_and_its_client() {
    let world = World::start().await;
    let secret = secret(&world);
    let first = code(&world, "one").await;
    assert_eq!(trade(&world, &first, VERIFIER, "wrong").await.0, 401);
    assert_eq!(trade(&world, &first, VERIFIER, &secret).await.0, 200);
    for (code, verifier) in [
        (first, VERIFIER),
        ("none".to_owned(), VERIFIER),
        (code(&world, "one").await, "another verifier"),
    ] {
        let (status, answer) = trade(&world, &code, verifier, &secret).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    }
    let late = code(&world, "one").await;
    world.clock.advance_ms(60_000);
    assert_eq!(trade(&world, &late, VERIFIER, &secret).await.0, 400);
    let incomplete = world.get("/oidc/authorize?response_type=code").await;
    assert_eq!(incomplete.status, 400);
}
