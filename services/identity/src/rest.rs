//! The public keys that verify access tokens, for the gateway and for whoever else must; the files
//! of rosters, and people's copies of their data.

pub mod exports;
pub mod renderings;
pub mod rosters;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::graphql::Language;
use kit::http::ApiError;
use kit::{Ctx, Result};
use serde_json::{Value, json};

use crate::Identity;
use crate::domain::keys::{Purpose, State as KeyState};
use crate::signing;
use crate::store::keys as store;

/// The path of the key set.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The routes of identity.
pub fn routes(identity: &Identity) -> Router {
    Router::new()
        .route(JWKS_PATH, get(jwks))
        .with_state(identity.clone())
}

/// A file with personal data, to be kept by whoever asked for it and by nothing on its way.
fn attachment(kind: &'static str, name: &str, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, bytes).into_response()
}

async fn jwks(State(identity): State<Identity>, headers: HeaderMap) -> Response {
    match key_set(&identity.ctx).await {
        Ok(keys) => Json(keys).into_response(),
        Err(error) => ApiError::new(&error, Language::from_headers(&headers)).into_response(),
    }
}

/// RFC 7517: the published access keys, those to come included.
///
/// # Errors
/// When the database fails.
pub async fn key_set(ctx: &Ctx) -> Result<Value> {
    let keys = ctx.db.read("jwks", async |tx| store::all(tx).await).await?;
    let now = ctx.clock.now();
    let mut shown = Vec::new();
    for key in keys {
        let span = key.span;
        let counts = span.purpose == Purpose::Access
            && span.published
            && span.state != KeyState::Revoked
            && now < span.not_after;
        if counts {
            shown.push(json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": signing::key_id(ctx.union, span.number)?.to_string(),
                "x": URL_SAFE_NO_PAD.encode(key.public),
            }));
        }
    }
    Ok(json!({ "keys": shown }))
}
