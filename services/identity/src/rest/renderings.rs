//! Files that other services asked for, at an address that the graph gives out and that works once.
//! It is never logged, and never kept by what it passes.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kit::Error;
use kit::graphql::Language;
use kit::http::ApiError;

use crate::Identity;
use crate::commands::renderings;

/// Where files come from; the secret of the address follows.
pub const FILES_PATH: &str = "/renderings/files/";

/// The routes of renderings.
pub fn routes(identity: &Identity) -> Router {
    Router::new()
        .route(&format!("{FILES_PATH}{{token}}"), get(download))
        .with_state(identity.clone())
}

async fn download(
    State(identity): State<Identity>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let language = Language::from_headers(&headers);
    // Who only asks whether it is there would use it up.
    let file = if method == Method::HEAD {
        Err(Error::NotFound)
    } else {
        renderings::file(&identity, &token, language).await
    };
    match file {
        Ok(bytes) => super::attachment(super::rosters::XLSX, "names.xlsx", bytes),
        Err(error) => ApiError::new(&error, language).into_response(),
    }
}
