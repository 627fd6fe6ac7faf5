//! Where the provider posts its notifications. The status alone decides whether one comes again.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use kit::Result;

use crate::Billing;
use crate::commands::{Received, payment_notified, refund_notified};

/// The largest notification, in bytes.
pub const NOTIFICATION_BYTES_MAX: usize = 64 * 1024;
/// The provider waits five seconds for an answer; ours comes before, in milliseconds.
const ANSWER_MS_MAX: u64 = 4_500;

/// The routes of this service.
pub fn routes(billing: &Billing) -> Router {
    Router::new()
        .route("/wechat/notify/payment", post(payment))
        .route("/wechat/notify/refund", post(refund))
        .with_state(billing.clone())
}

async fn payment(State(billing): State<Billing>, headers: HeaderMap, body: Bytes) -> Response {
    answer(payment_notified(&billing, &headers, &body)).await
}

async fn refund(State(billing): State<Billing>, headers: HeaderMap, body: Bytes) -> Response {
    answer(refund_notified(&billing, &headers, &body)).await
}

async fn answer(received: impl Future<Output = Result<Received>>) -> Response {
    let (status, code) =
        match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), received).await {
            Ok(Ok(Received::Accepted)) => return StatusCode::NO_CONTENT.into_response(),
            Ok(Ok(Received::Unbelieved("SIGN_ERROR"))) => (StatusCode::UNAUTHORIZED, "SIGN_ERROR"),
            Ok(Ok(Received::Unbelieved(code))) => (StatusCode::BAD_REQUEST, code),
            Ok(Ok(Received::Doubtful(code))) => (StatusCode::CONFLICT, code),
            Ok(Err(error)) => {
                tracing::error!(%error, "a notification could not be taken in");
                (StatusCode::SERVICE_UNAVAILABLE, "SYSTEM_ERROR")
            }
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "TIMED_OUT"),
        };
    let body = serde_json::json!({ "code": "FAIL", "message": code });
    (status, Json(body)).into_response()
}
