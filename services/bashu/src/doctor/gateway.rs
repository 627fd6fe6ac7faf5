//! Whether a gateway refuses what it must: each trap of the router it is built on is tried with
//! one small request. What would harm a gateway that falls into it is tried at a harmless size.

use std::time::Duration;

use kit::graphql::Mode;
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};

use super::Finding;
use crate::output::Text;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Levels of doubling fragments: 4,096 selections, above the gateway's budget and harmless.
const BOMB_LEVELS: u32 = 12;
/// Aliases of one field: above the gateway's limit.
const ALIASES: u32 = 200;
const BODY: &str = "gateway.body";
/// A body above every limit of the gateway, in bytes.
const BODY_BYTES: usize = 3 * 1024 * 1024;

/// One request that must be refused, and how.
struct Trap {
    check: &'static str,
    request: reqwest::RequestBuilder,
    refusals: &'static [StatusCode],
    /// Whether an answer of errors without data is a refusal too: a document that is read and
    /// found invalid has status 200 in GraphQL over HTTP.
    by_errors: bool,
    zh: &'static str,
    en: &'static str,
    to_do: Text,
}

impl Trap {
    fn new(check: &'static str, request: reqwest::RequestBuilder) -> Self {
        let refusals = &[StatusCode::BAD_REQUEST];
        Self {
            check,
            request,
            refusals,
            by_errors: false,
            zh: "",
            en: "",
            to_do: replace(),
        }
    }

    fn refused_by(self, refusals: &'static [StatusCode]) -> Self {
        Self { refusals, ..self }
    }

    fn or_by_errors(self) -> Self {
        Self {
            by_errors: true,
            ..self
        }
    }

    fn called(self, zh: &'static str, en: &'static str) -> Self {
        Self { zh, en, ..self }
    }
}

pub(super) async fn examine(address: &str, mode: Mode) -> Vec<Finding> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let Ok(http) = Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build() else {
        return Vec::new();
    };
    // Its health has a listener that nobody reaches from here: what answers for the graph is ready.
    let url = format!("http://{address}/graphql");
    let asked = http.post(&url).json(&json!({ "query": "{ __typename }" }));
    match asked.send().await {
        Ok(answer) if !answer.status().is_server_error() => {}
        Ok(_) | Err(_) => return vec![away(address)],
    }
    let found = Text::new("网关就绪", "the gateway is ready");
    let mut findings = vec![Finding::ok("gateway.ready", address, found)];
    for trap in traps(&http, &url, mode) {
        findings.push(spring(address, trap).await);
    }
    findings
}

fn away(address: &str) -> Finding {
    Finding::fail(
        "gateway.ready",
        address,
        Text::new("网关没有就绪", "the gateway is not ready"),
        Text::new(
            "启动 bashu-gateway，看它的日志：配置错误会指出字段",
            "start bashu-gateway and see its log: a wrong setting is named",
        ),
    )
}

async fn spring(address: &str, trap: Trap) -> Finding {
    let Trap {
        check,
        request,
        refusals,
        by_errors,
        zh,
        en,
        to_do,
    } = trap;
    let answered = match request.send().await {
        Ok(answer) => {
            let status = answer.status();
            let refused = refusals.contains(&status)
                || (by_errors && is_refusal(&answer.text().await.unwrap_or_default()));
            Some((status.to_string(), refused))
        }
        // It hung up on a body that it did not want.
        Err(error) if check == BODY && !error.is_timeout() => Some(("-".to_owned(), true)),
        Err(_) => None,
    };
    let text = |word_zh: &str, word_en: &str, status: &str| {
        Text::new(
            format!("{zh}：{word_zh}（{status}）"),
            format!("{en}: {word_en} ({status})"),
        )
    };
    match answered {
        Some((status, true)) => Finding::ok(check, address, text("被拒绝", "refused", &status)),
        Some((status, false)) => Finding::fail(
            check,
            address,
            text("没有被拒绝", "not refused", &status),
            to_do,
        ),
        None => Finding::fail(check, address, text("没有应答", "no answer", "-"), to_do),
    }
}

/// Whether a body holds errors and nothing else.
fn is_refusal(body: &str) -> bool {
    let Ok(answer) = serde_json::from_str::<Value>(body) else {
        return false;
    };
    let errors = answer.get("errors").and_then(Value::as_array);
    errors.is_some_and(|errors| !errors.is_empty()) && answer.get("data").is_none_or(Value::is_null)
}

fn traps(http: &Client, url: &str, mode: Mode) -> Vec<Trap> {
    let mut traps = transport(http, url);
    traps.extend(documents(http, url));
    if mode == Mode::Production {
        let body = json!({ "query": "{ __schema { queryType { name } } }" });
        let mut trap = Trap::new("gateway.introspection", http.post(url).json(&body));
        trap.refusals = &[StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN];
        trap.to_do = Text::new(
            "网关的 mode 改为 production",
            "set the gateway's mode to production",
        );
        traps.push(trap.or_by_errors().called("自省", "introspection"));
    }
    traps
}

/// What is wrong before the document is read.
fn transport(http: &Client, url: &str) -> Vec<Trap> {
    let typename = json!({ "query": "{ __typename }" });
    let plain = http
        .post(url)
        .header(header::CONTENT_TYPE, "text/plain")
        .body(typename.to_string());
    let get = http.get(format!("{url}?query=%7B__typename%7D"));
    let metrics = http.get(url.replace("/graphql", "/metrics"));
    let bad_token = http.post(url).json(&typename).bearer_auth("e30.e30.AA");
    let large = json!({ "query": " ".repeat(BODY_BYTES) });
    vec![
        Trap::new("gateway.csrf", plain)
            .refused_by(&[
                StatusCode::BAD_REQUEST,
                StatusCode::FORBIDDEN,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ])
            .called("text/plain 的 POST", "a POST as text/plain"),
        Trap::new("gateway.csrf", get)
            .refused_by(&[
                StatusCode::BAD_REQUEST,
                StatusCode::FORBIDDEN,
                StatusCode::METHOD_NOT_ALLOWED,
            ])
            .called("没有客户端名的 GET", "a GET without the client's name"),
        Trap::new("gateway.metrics", metrics)
            .refused_by(&[StatusCode::NOT_FOUND])
            .called("图的端口上的 /metrics", "/metrics where the graph is"),
        Trap::new("gateway.token", bad_token)
            .refused_by(&[StatusCode::UNAUTHORIZED])
            .called("坏令牌", "a token that is present and bad"),
        Trap::new(BODY, http.post(url).json(&large))
            .refused_by(&[StatusCode::PAYLOAD_TOO_LARGE, StatusCode::BAD_REQUEST])
            .called("3 MiB 的请求体", "a body of 3 MiB"),
    ]
}

/// What is wrong with the document.
fn documents(http: &Client, url: &str) -> Vec<Trap> {
    let post = |body: &Value| http.post(url).json(body);
    let typename = json!({ "query": "{ __typename }" });
    vec![
        Trap::new("gateway.fragments", post(&json!({ "query": bomb() })))
            .or_by_errors()
            .called("成倍展开的片段", "fragments that double at each level"),
        Trap::new("gateway.aliases", post(&json!({ "query": aliases() })))
            .or_by_errors()
            .called("大量别名", "hundreds of aliases"),
        Trap::new("gateway.batch", post(&json!([typename, typename])))
            .or_by_errors()
            .called("批量请求", "a batch of requests"),
    ]
}

fn replace() -> Text {
    Text::new(
        "该地址上不是本项目的网关，或被换过设置：用 bashu-gateway 重新启动",
        "what answers there is not this project's gateway, or was changed: start bashu-gateway",
    )
}

/// A query whose fragments double at each level.
fn bomb() -> String {
    let mut query = String::from("{ ...f0 }");
    for level in 0..BOMB_LEVELS {
        let next = level + 1;
        query.push_str(&format!(
            " fragment f{level} on Query {{ ...f{next} ...f{next} }}"
        ));
    }
    query.push_str(&format!(
        " fragment f{BOMB_LEVELS} on Query {{ __typename }}"
    ));
    query
}

fn aliases() -> String {
    let fields: Vec<String> = (0..ALIASES).map(|n| format!("a{n}: __typename")).collect();
    format!("{{ {} }}", fields.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only errors without data are a refusal: a part that failed is an answer.
    #[test]
    fn a_refusal_is_errors_without_data() {
        assert!(is_refusal(r#"{"errors":[{"message":"no"}]}"#));
        assert!(is_refusal(r#"{"data":null,"errors":[{"message":"no"}]}"#));
        for answer in [
            r#"{"data":{}}"#,
            r#"{"data":{},"errors":[{}]}"#,
            r#"{"errors":[]}"#,
            "",
        ] {
            assert!(!is_refusal(answer), "{answer}");
        }
    }
}
