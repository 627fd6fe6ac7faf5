//! What can go wrong: `Error` stops the sandbox, `Refusal` is an answer to a request.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::path::PathBuf;

/// Why the sandbox does not start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the data folder cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A key file is there but holds no usable key.
    #[error("no usable key in {}: {problem}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A line of the journal that is not the last one cannot be read.
    #[error("line {line} of {} cannot be read: {problem}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Another sandbox works in the same data folder.
    #[error("another sandbox uses {}", path.display())]
    InUse {
        /// The journal both want.
        path: PathBuf,
    },
    /// The client that posts notifications cannot be made.
    #[error("no HTTP client for notifications")]
    Client(#[source] reqwest::Error),
    /// The listener failed.
    #[error("the listener failed")]
    Listen(#[source] std::io::Error),
    /// A background task ended before its time.
    #[error("a task of the sandbox ended before its time")]
    Task(#[source] tokio::task::JoinError),
    /// The journal can no longer be written; memory is ahead of the disk.
    #[error("the journal can no longer be written")]
    JournalLost,
}

/// A refusal in the provider's form: a status and `{code, message}`, the message in zh and en.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self {
            status,
            code,
            message: message.to_owned(),
        }
    }

    pub(crate) fn parameter(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "PARAM_ERROR", message)
    }

    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    pub(crate) fn signature(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "SIGN_ERROR", message)
    }

    pub(crate) fn frequency(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "FREQUENCY_LIMITED", message)
    }

    pub(crate) fn not_enough() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "NOT_ENOUGH",
            "基本账户余额不足 (not enough balance)",
        )
    }

    pub(crate) fn system() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "SYSTEM_ERROR",
            "系统异常,请稍后重试 (system error, try again later)",
        )
    }

    pub(crate) fn no_order() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ORDER_NOT_EXIST",
            "订单不存在 (no such order)",
        )
    }

    pub(crate) fn no_resource(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_NOT_EXISTS", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(json!({ "code": self.code, "message": self.message })),
        )
            .into_response()
    }
}
