//! What the gateway answers when it refuses a request itself, and the texts by code that it puts
//! on errors of subgraphs. It decides nothing: whoever refuses says why.

use hive_router::http::StatusCode;
use hive_router::ntex::http::Response;
use serde_json::json;

use crate::headers;
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
    /// Too many requests are underway; this one was not begun.
    Overloaded { retry_after_s: u64 },
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
            Self::Overloaded { .. } | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    /// The stable code in `extensions.code`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TooComplex => "QUERY_TOO_COMPLEX",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::NotFound => "NOT_FOUND",
            Self::BadRequest => "BAD_REQUEST",
        }
    }

    fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_s }
            | Self::Overloaded { retry_after_s }
            | Self::Unavailable { retry_after_s } => Some(retry_after_s),
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
        answer.header("vary", "accept-language");
        if let Some(seconds) = self.retry_after_s() {
            answer.header("retry-after", seconds.to_string());
        }
        if self == Self::Unauthenticated {
            answer.header("www-authenticate", "Bearer error=\"invalid_token\"");
        }
        let mut answer = answer.body(body.to_string());
        headers::mark(answer.headers_mut());
        answer
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

/// Whether what the router says of an error with this code is kept behind our text: it names the
/// place in the client's own document.
pub(crate) fn has_detail(code: &str) -> bool {
    DETAILED.contains(&code)
}

const DETAILED: [&str; 3] = [
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "BAD_USER_INPUT",
];

const fn said(code: &'static str, zh: &'static str, en: &'static str) -> (&'static str, Text) {
    (code, Text { zh, en })
}

/// By code: ours, those of services that reach the top of an answer, and the router's.
const TEXTS: &[(&str, Text)] = &[
    said(
        "UNAUTHENTICATED",
        "登录已失效，请重新登录",
        "Your login is not valid, please log in again",
    ),
    said("FORBIDDEN", "没有权限进行此操作", "You may not do this"),
    said(
        "QUERY_TOO_COMPLEX",
        "请求的内容过多或嵌套过深",
        "The request selects too much or nests too deep",
    ),
    said(
        "RATE_LIMITED",
        "操作过于频繁，请稍后再试",
        "Too many requests, please try again later",
    ),
    said(
        "OVERLOADED",
        "系统繁忙，请稍后再试",
        "The system is busy, please try again",
    ),
    said(
        "UNAVAILABLE",
        "服务暂时不可用，请稍后再试",
        "Temporarily unavailable, please try again",
    ),
    said(
        "AUDIT_LAGS",
        "审计记录未能及时封存，此项操作暂停，请稍后再试",
        "Audit rows are not sealed in time, please try again later",
    ),
    said(
        "NOT_FOUND",
        "没有这个地址",
        "There is nothing at this address",
    ),
    said("BAD_REQUEST", "请求格式不正确", "The request is malformed"),
    said("BAD_INPUT", "输入有误", "The input cannot be read"),
    said(
        "CSRF_PREVENTION_FAILED",
        "请求须使用 application/json 或带 x-bashu-preflight 请求头",
        "Send application/json or the header x-bashu-preflight",
    ),
    said(
        "INTROSPECTION_DISABLED",
        "不提供结构查询",
        "Introspection is not offered",
    ),
    said(
        "PERSISTED_DOCUMENT_ID_REQUIRED",
        "只接受已登记的查询",
        "Only registered documents are accepted",
    ),
    said(
        "PERSISTED_DOCUMENT_NOT_FOUND",
        "没有登记过这个查询",
        "This document is not registered",
    ),
    said(
        "MUTATION_NOT_ALLOWED_OVER_HTTP_GET",
        "变更操作只能用 POST",
        "A mutation needs POST",
    ),
    said(
        "SUBGRAPH_REQUEST_TIMEOUT",
        "服务响应超时，请稍后再试",
        "A service did not answer in time",
    ),
    said(
        "GATEWAY_TIMEOUT",
        "服务响应超时，请稍后再试",
        "A service did not answer in time",
    ),
    said(
        "TOKEN_LIMIT_EXCEEDED",
        "查询过长",
        "The document is too long",
    ),
    said(
        "MAX_DEPTH_EXCEEDED",
        "查询嵌套过深",
        "The document nests too deep",
    ),
    said(
        "MAX_ALIASES_EXCEEDED",
        "查询的别名过多",
        "The document has too many aliases",
    ),
    said(
        "MAX_DIRECTIVES_EXCEEDED",
        "查询的指令过多",
        "The document has too many directives",
    ),
    said(
        "COST_ESTIMATED_TOO_EXPENSIVE",
        "查询的预计开销过大",
        "The document would cost too much",
    ),
    said(
        "SUBGRAPH_COST_ESTIMATED_TOO_EXPENSIVE",
        "查询的预计开销过大",
        "The document would cost too much",
    ),
    said(
        "METHOD_NOT_ALLOWED",
        "不支持这种请求方法",
        "This method is not supported",
    ),
    said("INVALID_HEADER", "请求头不正确", "A header is malformed"),
    said(
        "MISSING_CONTENT_TYPE_HEADER",
        "请求缺少 content-type",
        "The header content-type is missing",
    ),
    said(
        "UNSUPPORTED_CONTENT_TYPE",
        "请求须使用 application/json",
        "Send application/json",
    ),
    said(
        "UNSUPPORTED_CONTENT_ENCODING",
        "不接受压缩的请求",
        "Compressed requests are not accepted",
    ),
    said(
        "REQUEST_HEADER_FIELDS_TOO_LARGE",
        "请求头过大",
        "The headers are too large",
    ),
    said(
        "MISSING_QUERY_PARAM",
        "请求缺少查询",
        "The request carries no document",
    ),
    said(
        "UNPROCESSABLE_QUERY_PARAMS",
        "请求参数不正确",
        "The parameters of the address are malformed",
    ),
    said(
        "OPERATION_RESOLUTION_FAILURE",
        "查询中没有所指的操作",
        "The document has no such operation",
    ),
    said(
        "SUBSCRIPTIONS_NOT_SUPPORTED",
        "不提供订阅",
        "Subscriptions are not offered",
    ),
    said(
        "SUBSCRIPTIONS_TRANSPORT_NOT_SUPPORTED",
        "不提供订阅",
        "Subscriptions are not offered",
    ),
    said(
        "PERSISTED_DOCUMENT_EXTRACTION_FAILED",
        "登记编号的写法不正确",
        "The document's id is malformed",
    ),
    said(
        "READ_BODY_STREAM_ERROR",
        "请求内容没有收全",
        "The body did not arrive whole",
    ),
    said("PAYLOAD_TOO_LARGE", "请求内容过大", "The body is too large"),
    said(
        "GRAPHQL_PARSE_FAILED",
        "查询无法解析",
        "The document cannot be parsed",
    ),
    said(
        "GRAPHQL_VALIDATION_FAILED",
        "查询与结构不符",
        "The document does not fit the schema",
    ),
    said("BAD_USER_INPUT", "变量有误", "A variable does not fit"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the router answers to a client's mistake, by its source and its limits.
    const OF_THE_ROUTER: [&str; 26] = [
        "METHOD_NOT_ALLOWED",
        "INVALID_HEADER",
        "MISSING_CONTENT_TYPE_HEADER",
        "UNSUPPORTED_CONTENT_TYPE",
        "UNSUPPORTED_CONTENT_ENCODING",
        "REQUEST_HEADER_FIELDS_TOO_LARGE",
        "MISSING_QUERY_PARAM",
        "MUTATION_NOT_ALLOWED_OVER_HTTP_GET",
        "UNPROCESSABLE_QUERY_PARAMS",
        "BAD_REQUEST",
        "GRAPHQL_PARSE_FAILED",
        "PERSISTED_DOCUMENT_NOT_FOUND",
        "PERSISTED_DOCUMENT_ID_REQUIRED",
        "PERSISTED_DOCUMENT_EXTRACTION_FAILED",
        "OPERATION_RESOLUTION_FAILURE",
        "BAD_USER_INPUT",
        "GRAPHQL_VALIDATION_FAILED",
        "CSRF_PREVENTION_FAILED",
        "INTROSPECTION_DISABLED",
        "SUBSCRIPTIONS_NOT_SUPPORTED",
        "GATEWAY_TIMEOUT",
        "COST_ESTIMATED_TOO_EXPENSIVE",
        "TOKEN_LIMIT_EXCEEDED",
        "MAX_DEPTH_EXCEEDED",
        "MAX_ALIASES_EXCEEDED",
        "MAX_DIRECTIVES_EXCEEDED",
    ];

    fn is_chinese(text: &str) -> bool {
        text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
    }

    /// Whoever meets a code reads it in Chinese or in English.
    #[test]
    fn every_code_has_both_texts() {
        for refusal in [
            Refusal::Unauthenticated,
            Refusal::TooComplex,
            Refusal::RateLimited { retry_after_s: 1 },
            Refusal::Overloaded { retry_after_s: 1 },
            Refusal::Unavailable { retry_after_s: 1 },
            Refusal::NotFound,
            Refusal::BadRequest,
        ] {
            assert!(text_of_code(refusal.code()).is_some(), "{refusal:?}");
        }
        for code in OF_THE_ROUTER.iter().chain(&DETAILED) {
            assert!(text_of_code(code).is_some(), "{code}");
        }
        let codes: BTreeSet<&str> = TEXTS.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), TEXTS.len(), "a code stands there twice");
        for (code, text) in TEXTS.iter().chain(&[("", UNEXPECTED)]) {
            assert!(is_chinese(text.zh), "{code}: {}", text.zh);
            assert!(
                text.en.is_ascii() && text.en.len() > 8,
                "{code}: {}",
                text.en
            );
        }
    }
}
