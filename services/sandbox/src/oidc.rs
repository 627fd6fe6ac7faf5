//! An OpenID Connect issuer: discovery, keys, the authorization endpoint and the token endpoint,
//! for the code flow with PKCE and nothing else.
//!
//! Whoever is hinted at is signed in at once, since a program has no hands. Codes live in memory
//! only. On instruction the next ID tokens are such as no client may believe.

use crate::control::Told;
use crate::error::Refusal;
use crate::random;
use crate::{Sandbox, lock};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

/// A code is good for so long.
const CODE_MS: i64 = 60_000;
const CODES_MAX: usize = 10_000;
const TOKEN_SECONDS: i64 = 300;
const TEXT_BYTES_MAX: usize = 512;
/// Faulty tokens that one instruction asks for, at most.
const NEXT_MAX: usize = 100;

pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/oidc/.well-known/openid-configuration", get(metadata))
        .route("/oidc/jwks", get(keys))
        .route("/oidc/authorize", get(authorize))
        .route("/oidc/token", post(token))
        .route("/sandbox/oidc/faults", post(instruct))
}

/// What is wrong with an ID token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    Issuer,
    Audience,
    AnotherAudience,
    AuthorizedParty,
    Nonce,
    NoNonce,
    Expired,
    Future,
    Signature,
    Key,
    Unsigned,
}

/// Who was signed in, and for what client.
#[derive(Clone, Debug)]
struct Granted {
    subject: String,
    client_id: String,
    redirect_uri: String,
    nonce: String,
    challenge: String,
    given_ms: i64,
}

/// The codes that were given, and the faults to come.
#[derive(Debug, Default)]
pub(crate) struct Issuer {
    by_code: HashMap<String, Granted>,
    by_age: VecDeque<String>,
    faults: VecDeque<Fault>,
}

impl Issuer {
    fn give(&mut self, granted: Granted) -> String {
        let code = random::text(random::ALPHANUMERIC, 32);
        let _new = self.by_code.insert(code.clone(), granted);
        self.by_age.push_back(code.clone());
        if self.by_age.len() > CODES_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            let _gone = self.by_code.remove(&oldest);
        }
        code
    }
}

impl Sandbox {
    fn issuer(&self) -> String {
        let base = self.0.base_url.get().map_or("", String::as_str);
        format!("{base}/oidc")
    }
}

async fn metadata(State(sandbox): State<Sandbox>) -> Json<Value> {
    let issuer = sandbox.issuer();
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid"],
    }))
}

async fn keys(State(sandbox): State<Sandbox>) -> Json<Value> {
    let client = &sandbox.0.keys.oidc;
    Json(json!({ "keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": client.kid,
        "n": client.modulus, "e": client.exponent,
    }] }))
}

#[derive(Deserialize)]
struct Asked {
    response_type: String,
    scope: String,
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    /// Who signs in.
    login_hint: String,
}

async fn authorize(
    State(sandbox): State<Sandbox>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(asked) =
        asked.map_err(|_| Refusal::parameter("缺少参数 (a parameter is missing)"))?;
    let is_right = asked.response_type == "code"
        && asked.scope.split(' ').any(|one| one == "openid")
        && asked.code_challenge_method == "S256"
        && asked.client_id == sandbox.0.keys.oidc.client_id;
    let texts = [
        &asked.redirect_uri,
        &asked.state,
        &asked.nonce,
        &asked.login_hint,
    ];
    let fits = texts
        .iter()
        .all(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()));
    if !is_right || !fits {
        return Err(Refusal::parameter("参数错误 (a parameter is wrong)"));
    }
    let code = lock(&sandbox.0.oidc).give(Granted {
        subject: asked.login_hint,
        client_id: asked.client_id,
        redirect_uri: asked.redirect_uri.clone(),
        nonce: asked.nonce,
        challenge: asked.code_challenge,
        given_ms: sandbox.now_ms(),
    });
    let back = reqwest::Url::parse_with_params(
        &asked.redirect_uri,
        [("code", code.as_str()), ("state", asked.state.as_str())],
    )
    .map_err(|_| Refusal::parameter("redirect_uri 无效 (redirect_uri is no address)"))?;
    Ok((StatusCode::FOUND, [(header::LOCATION, back.to_string())]).into_response())
}

/// The refusal of a token endpoint, RFC 6749 §5.2.
fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn token(State(sandbox): State<Sandbox>, headers: HeaderMap, body: String) -> Response {
    let client = &sandbox.0.keys.oidc;
    let expected = STANDARD.encode(format!("{}:{}", client.client_id, client.client_secret));
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if given != Some(format!("Basic {expected}").as_str()) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let address = format!("http://form/?{body}");
    let Ok(form) = reqwest::Url::parse(&address) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_request");
    };
    let form: HashMap<String, String> = form.query_pairs().into_owned().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("grant_type") != "authorization_code" {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let (granted, fault) = {
        let mut issuer = lock(&sandbox.0.oidc);
        // A code is good once, whatever comes with it.
        let Some(granted) = issuer.by_code.remove(field("code")) else {
            return refused(StatusCode::BAD_REQUEST, "invalid_grant");
        };
        (granted, issuer.faults.pop_front())
    };
    let challenge = digest::digest(&digest::SHA256, field("code_verifier").as_bytes());
    if sandbox.now_ms() >= granted.given_ms + CODE_MS
        || field("redirect_uri") != granted.redirect_uri
        || URL_SAFE_NO_PAD.encode(challenge) != granted.challenge
    {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant");
    }
    Json(json!({
        "access_token": random::text(random::ALPHANUMERIC, 40),
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "id_token": id_token(&sandbox, &granted, fault),
    }))
    .into_response()
}

fn id_token(sandbox: &Sandbox, granted: &Granted, fault: Option<Fault>) -> String {
    let now = sandbox.now_ms() / 1_000;
    let is = |one: Fault| fault == Some(one);
    let issued_at = if is(Fault::Future) { now + 3_600 } else { now };
    let expires_at = issued_at + if is(Fault::Expired) { 0 } else { TOKEN_SECONDS };
    let mut claims = json!({
        "iss": sandbox.issuer(),
        "sub": granted.subject,
        "aud": granted.client_id,
        "iat": issued_at,
        "exp": expires_at,
        "nonce": granted.nonce,
    });
    if is(Fault::Issuer) {
        claims["iss"] = "https://other.example.cn".into();
    }
    if is(Fault::Audience) {
        claims["aud"] = "another".into();
    }
    if is(Fault::AnotherAudience) {
        claims["aud"] = json!([granted.client_id, "another"]);
    }
    if is(Fault::AuthorizedParty) {
        claims["azp"] = "another".into();
    }
    if is(Fault::Nonce) {
        claims["nonce"] = "another".into();
    }
    if is(Fault::NoNonce)
        && let Some(all) = claims.as_object_mut()
    {
        let _gone = all.remove("nonce");
    }
    let keys = &sandbox.0.keys;
    let header = if is(Fault::Unsigned) {
        json!({ "alg": "none", "typ": "JWT" })
    } else {
        json!({ "alg": "RS256", "typ": "JWT", "kid": keys.oidc.kid })
    };
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    if is(Fault::Unsigned) {
        return format!("{message}.");
    }
    // Another party's key: the one that signs payments.
    let signing = if is(Fault::Key) {
        &keys.platform
    } else {
        &keys.oidc.signing
    };
    let signed = if is(Fault::Signature) {
        signing.sign(b"another message")
    } else {
        signing.sign(message.as_bytes())
    };
    let signature = STANDARD.decode(signed).unwrap_or_default();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Which ID tokens come next.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instruction {
    faults: Vec<Fault>,
}

async fn instruct(
    State(sandbox): State<Sandbox>,
    Told(told): Told<Instruction>,
) -> Result<StatusCode, Refusal> {
    if told.faults.len() > NEXT_MAX {
        return Err(Refusal::parameter("faults 过多 (too many faults)"));
    }
    lock(&sandbox.0.oidc).faults = told.faults.into();
    Ok(StatusCode::NO_CONTENT)
}
