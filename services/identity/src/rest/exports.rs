//! A person's copy of her data, at an address that the graph gives out and that works once, while
//! the login that asked for it counts. It is never logged, and never kept by what it passes.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kit::graphql::Language;
use kit::http::ApiError;
use kit::{Error, Result};

use crate::Identity;
use crate::commands::exports;
use crate::domain::export::Format;

/// Where copies come from; the secret of the address follows.
pub const FILES_PATH: &str = "/exports/files/";

/// The routes of exports.
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
        exports::file(&identity, &token, language).await
    };
    answer(language, file)
}

fn answer(language: Language, file: Result<(Format, Vec<u8>)>) -> Response {
    let (format, bytes) = match file {
        Ok(file) => file,
        Err(error) => return ApiError::new(&error, language).into_response(),
    };
    let (kind, name) = match format {
        Format::Json => ("application/json", "my-data.json"),
        Format::Xlsx => (super::rosters::XLSX, "my-data.xlsx"),
    };
    super::attachment(kind, name, bytes)
}
