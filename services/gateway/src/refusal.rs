//! What the gateway answers when it refuses a request itself, and the texts by code that it puts
//! on errors of subgraphs. It decides nothing: whoever refuses says why.

use hive_router::http::StatusCode;
use hive_router::ntex::http::Response;
use serde_json::json;

use crate::locale::{Locale, Text};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A token is present and bad. Its flaw is not told: only its issuer needs it.
    Unauthenticated,
    /// The document selects too much, nests too deep or runs in a circle.
    TooComplex,
    /// A limit is used up; it has room again after this many seconds.
    RateLimited { retry_after_s: u64 },
    /// Something that this request needs cannot be asked now.
    Unavailable { retry_after_s: u64 },
    /// No such path.
    NotFound,
    /// The body is no JSON the gateway is willing to read.
    BadRequest,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::TooComplex | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    /// The stable code in `extensions.code`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TooComplex => "QUERY_TOO_COMPLEX",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::NotFound => "NOT_FOUND",
            Self::BadRequest => "BAD_REQUEST",
        }
    }

    fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_s } | Self::Unavailable { retry_after_s } => {
                Some(retry_after_s)
            }
            Self::Unauthenticated | Self::TooComplex | Self::NotFound | Self::BadRequest => None,
        }
    }

    /// The whole HTTP answer: a GraphQL error with its code, text and headers.
    pub(crate) fn answer(self, locale: Locale) -> Response {
        let message = text_of_code(self.code()).map_or(self.code(), |text| locale.pick(text));
        let body = json!({
            "errors": [{ "message": message, "extensions": { "code": self.code() } }]
        });
        let mut answer = Response::build(self.status());
        answer.content_type("application/json");
        answer.header("cache-control", "no-store");
        answer.header("x-content-type-options", "nosniff");
        answer.header("vary", "accept-language");
        if let Some(seconds) = self.retry_after_s() {
            answer.header("retry-after", seconds.to_string());
        }
        if self == Self::Unauthenticated {
            answer.header("www-authenticate", "Bearer error=\"invalid_token\"");
        }
        answer.body(body.to_string())
    }
}

/// The text of a code that people may meet; `None` for codes that have none.
pub(crate) fn text_of_code(code: &str) -> Option<Text> {
    TEXTS
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, text)| *text)
}

/// What is said of an error whose code is unknown or absent.
pub(crate) const UNEXPECTED: Text = Text {
    zh: "服务出现意外错误，请稍后再试",
    en: "Unexpected error, please try again later",
};

const TEXTS: &[(&str, Text)] = &[
    (
        "UNAUTHENTICATED",
        Text {
            zh: "登录已失效，请重新登录",
            en: "Your login is not valid, please log in again",
        },
    ),
    (
        "FORBIDDEN",
        Text {
            zh: "没有权限进行此操作",
            en: "You may not do this",
        },
    ),
    (
        "QUERY_TOO_COMPLEX",
        Text {
            zh: "请求的内容过多或嵌套过深",
            en: "The request selects too much or nests too deep",
        },
    ),
    (
        "RATE_LIMITED",
        Text {
            zh: "操作过于频繁，请稍后再试",
            en: "Too many requests, please try again later",
        },
    ),
    (
        "OVERLOADED",
        Text {
            zh: "系统繁忙，请稍后再试",
            en: "The system is busy, please try again",
        },
    ),
    (
        "UNAVAILABLE",
        Text {
            zh: "服务暂时不可用，请稍后再试",
            en: "Temporarily unavailable, please try again",
        },
    ),
    (
        "NOT_FOUND",
        Text {
            zh: "没有这个地址",
            en: "There is nothing at this address",
        },
    ),
    (
        "BAD_REQUEST",
        Text {
            zh: "请求格式不正确",
            en: "The request is malformed",
        },
    ),
    (
        "BAD_INPUT",
        Text {
            zh: "输入有误",
            en: "The input cannot be read",
        },
    ),
    (
        "CSRF_PREVENTION_FAILED",
        Text {
            zh: "请求须使用 application/json 或带 x-bashu-preflight 请求头",
            en: "Send application/json or the header x-bashu-preflight",
        },
    ),
    (
        "INTROSPECTION_DISABLED",
        Text {
            zh: "不提供结构查询",
            en: "Introspection is not offered",
        },
    ),
    (
        "PERSISTED_DOCUMENT_ID_REQUIRED",
        Text {
            zh: "只接受已登记的查询",
            en: "Only registered documents are accepted",
        },
    ),
    (
        "PERSISTED_DOCUMENT_NOT_FOUND",
        Text {
            zh: "没有登记过这个查询",
            en: "This document is not registered",
        },
    ),
    (
        "MUTATION_NOT_ALLOWED_OVER_HTTP_GET",
        Text {
            zh: "变更操作只能用 POST",
            en: "A mutation needs POST",
        },
    ),
    (
        "SUBGRAPH_REQUEST_TIMEOUT",
        Text {
            zh: "服务响应超时，请稍后再试",
            en: "A service did not answer in time",
        },
    ),
    (
        "GATEWAY_TIMEOUT",
        Text {
            zh: "服务响应超时，请稍后再试",
            en: "A service did not answer in time",
        },
    ),
];
