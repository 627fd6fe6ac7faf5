//! What every listener shares: answers in JSON, limits on size and time, and a panic that ends
//! one request and not the process. No `Server` header, no stack trace, no text of a library.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::Error;
use crate::graphql::Language;
use crate::graphql::Text;

/// The largest body on a REST route, in bytes, unless its service says otherwise.
pub const REST_BODY_BYTES_MAX: usize = 1024 * 1024;
/// The longest a REST request may take, in seconds.
pub const REST_SECONDS_MAX: u64 = 30;
/// For a year, its subdomains included; over plain HTTP browsers take no notice (RFC 6797, 8.1).
const TLS_ALONE: &str = "max-age=31536000; includeSubDomains";
/// An answer loads nothing, runs nothing, sends no form and stands in no frame.
const NOTHING_RENDERED: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// JSON as libraries name it, and the same with its charset.
const BARE_JSON: &str = "application/json";
const NAMED_JSON: &str = "application/json; charset=utf-8";

/// An answer that is an error: `{"error": {"code", "message"}}`, zh or en.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    /// Stable, `SCREAMING_SNAKE_CASE`.
    pub code: String,
    pub message: String,
}

impl ApiError {
    /// What became of a command behind a REST route; logs what is ours, once.
    pub fn new(error: &Error, language: Language) -> Self {
        let status = match error {
            Error::Refused(refusal) if refusal.transient => StatusCode::SERVICE_UNAVAILABLE,
            Error::Refused(_) => StatusCode::CONFLICT,
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::BadInput { .. } => StatusCode::BAD_REQUEST,
            Error::Overloaded | Error::Unavailable(_) | Error::AuditLags => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Db(_) | Error::Kafka(_) if error.is_transient() => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Db(_) | Error::Kafka(_) | Error::Permanent(_) | Error::Internal(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let (code, message) = crate::graphql::public_parts(error, language);
        Self {
            status,
            code,
            message,
        }
    }

    fn of(status: StatusCode, text: Text, language: Language) -> Self {
        let message = text.message(language).to_owned();
        Self {
            status,
            code: text.code().to_owned(),
            message,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"error": {"code": self.code, "message": self.message}});
        (self.status, axum::Json(body)).into_response()
    }
}

/// A service's REST routes with their limits. `body_bytes_max` is [`REST_BODY_BYTES_MAX`] as a
/// rule.
pub fn limited(routes: Router, body_bytes_max: usize) -> Router {
    routes
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(RequestBodyLimitLayer::new(body_bytes_max))
        .layer(axum::middleware::from_fn(within_time))
}

/// The router of a REST listener: the routes, and answers in JSON for what no route takes.
pub fn rest(routes: Router) -> Router {
    wrap(
        routes
            .fallback(no_route)
            .method_not_allowed_fallback(method_not_allowed),
    )
}

/// The layers every listener has: a caught panic, and headers that keep answers from being
/// stored, guessed at or rendered, and addresses, which may hold a token, from being told on.
pub(crate) fn wrap(router: Router) -> Router {
    router
        .layer(CatchPanicLayer::custom(|_| {
            tracing::error!("a request panicked");
            metrics::counter!("bashu_panics_total").increment(1);
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ApiError::of(status, Text::Internal, Language::default()).into_response()
        }))
        .layer(axum::middleware::map_response(private))
}

async fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == BARE_JSON)
    {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NAMED_JSON));
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, NOTHING_RENDERED),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, TLS_ALONE),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn within_time(request: Request, next: Next) -> Response {
    let language = Language::from_headers(request.headers());
    match tokio::time::timeout(Duration::from_secs(REST_SECONDS_MAX), next.run(request)).await {
        Ok(response) if response.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::of(response.status(), Text::BodyTooLarge, language).into_response()
        }
        Ok(response) => response,
        Err(_) => {
            ApiError::of(StatusCode::GATEWAY_TIMEOUT, Text::TimedOut, language).into_response()
        }
    }
}

pub(crate) async fn method_not_allowed(headers: HeaderMap) -> ApiError {
    let language = Language::from_headers(&headers);
    ApiError::of(
        StatusCode::METHOD_NOT_ALLOWED,
        Text::MethodNotAllowed,
        language,
    )
}

pub(crate) async fn no_route(headers: HeaderMap) -> ApiError {
    ApiError::of(
        StatusCode::NOT_FOUND,
        Text::NoRoute,
        Language::from_headers(&headers),
    )
}

/// Whether the body is declared to be `application/json`, in UTF-8 if it says, not compressed.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(Ok(value)), None) = (values.next().map(HeaderValue::to_str), values.next()) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let media = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    media && parts.all(|part| part.eq_ignore_ascii_case("charset=utf-8"))
}

/// Reads a body of at most `max` bytes; a declared length above it is refused unread.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    max: usize,
) -> Result<Bytes, (StatusCode, Text)> {
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, Text::BodyTooLarge);
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if declared
        .and_then(|v| v.parse::<usize>().ok())
        .is_some_and(|declared| declared > max)
    {
        return Err(too_large);
    }
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| (StatusCode::BAD_REQUEST, Text::BadRequest))?;
        if bytes.len() + chunk.len() > max {
            return Err(too_large);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}
