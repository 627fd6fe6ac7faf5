//! Files of rosters: an upload and a download, each at an address that the graph gives out and
//! that works once; and templates, which are everybody's.
//!
//! The address is all that is asked for here, since browsers and forms send no token; so it holds
//! 256 random bits, ends soon, and what it may still do is decided anew when it is used. It is
//! never logged.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use kit::graphql::Language;
use kit::http::ApiError;
use kit::{Error, Result};
use serde::Deserialize;

use crate::Identity;
use crate::commands::rosters;

/// Where files go to and come from; the secret of the address follows.
pub const FILES_PATH: &str = "/rosters/files/";
/// Where an empty roster comes from, `?language=zh` or `en`.
pub const TEMPLATE_PATH: &str = "/rosters/template.xlsx";

pub(crate) const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// The routes of rosters.
pub fn routes(identity: &Identity) -> Router {
    Router::new()
        .route(TEMPLATE_PATH, get(template))
        .route(
            &format!("{FILES_PATH}{{token}}"),
            put(upload).post(upload).get(download),
        )
        .with_state(identity.clone())
}

async fn upload(
    State(identity): State<Identity>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = rosters::receive_file(&identity.ctx, &identity.vault, &token, &body).await;
    answer(
        &headers,
        received.map(|_| StatusCode::ACCEPTED.into_response()),
    )
}

async fn download(
    State(identity): State<Identity>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    // Who only asks whether it is there would use it up.
    if method == Method::HEAD {
        return answer(&headers, Err(Error::NotFound));
    }
    let language = Language::from_headers(&headers);
    let file = rosters::bad_rows(&identity.ctx, &identity.vault, &token, language).await;
    answer(&headers, file.map(|bytes| workbook("bad-rows", bytes)))
}

#[derive(Debug, Deserialize)]
struct TemplateQuery {
    language: Option<String>,
}

async fn template(Query(query): Query<TemplateQuery>, headers: HeaderMap) -> Response {
    let language = match query.language.as_deref() {
        Some(tag) => Language::parse(tag),
        None => Language::from_headers(&headers),
    };
    let file = rosters::template(language).await;
    answer(&headers, file.map(|bytes| workbook("roster", bytes)))
}

fn answer(headers: &HeaderMap, result: Result<Response>) -> Response {
    result.unwrap_or_else(|error| {
        ApiError::new(&error, Language::from_headers(headers)).into_response()
    })
}

fn workbook(name: &str, bytes: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}.xlsx\"");
    let headers = [
        (header::CONTENT_TYPE, XLSX.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, bytes).into_response()
}
