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
/// A body above every limit of the gateway, in bytes.
const BODY_BYTES: usize = 3 * 1024 * 1024;

/// One request that must be refused, and by which statuses.
struct Trap {
    check: &'static str,
    request: reqwest::RequestBuilder,
    refusals: &'static [StatusCode],
    zh: &'static str,
    en: &'static str,
    to_do: Text,
}

pub(super) async fn examine(address: &str, mode: Mode) -> Vec<Finding> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let Ok(http) = Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build() else {
        return Vec::new();
    };
    let ready = http.get(format!("http://{address}/ready")).send().await;
    match ready {
        Ok(answer) if answer.status() == StatusCode::OK => {}
        Ok(_) | Err(_) => return vec![away(address)],
    }
    let found = Text::new("网关就绪", "the gateway is ready");
    let mut findings = vec![Finding::ok("gateway.ready", address, found)];
    for trap in traps(&http, &format!("http://{address}/graphql"), mode) {
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
    let Trap { check, request, refusals, zh, en, to_do } = trap;
    let answer = match request.send().await {
        Ok(answer) => answer.status(),
        // It hung up on a body that it did not want.
        Err(error) if check == "gateway.body" && !error.is_timeout() => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        Err(_) => {
            let found = Text::new(format!("{zh}：没有应答"), format!("{en}: no answer"));
            return Finding::fail(check, address, found, to_do);
        }
    };
    let text = |word_zh: &str, word_en: &str| {
        Text::new(
            format!("{zh}：{word_zh}（{answer}）"),
            format!("{en}: {word_en} ({answer})"),
        )
    };
    if refusals.contains(&answer) {
        return Finding::ok(check, address, text("被拒绝", "refused"));
    }
    Finding::fail(check, address, text("没有被拒绝", "not refused"), to_do)
}

fn traps(http: &Client, url: &str, mode: Mode) -> Vec<Trap> {
    let post = |body: &Value| http.post(url).json(body);
    let typename = json!({ "query": "{ __typename }" });
    let plain = http
        .post(url)
        .header(header::CONTENT_TYPE, "text/plain")
        .body(typename.to_string());
    let get = http.get(format!("{url}?query=%7B__typename%7D"));
    let mut traps = vec![
        Trap {
            check: "gateway.csrf",
            request: plain,
            refusals: &[
                StatusCode::BAD_REQUEST,
                StatusCode::FORBIDDEN,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ],
            zh: "text/plain 的 POST",
            en: "a POST as text/plain",
            to_do: replace(),
        },
        Trap {
            check: "gateway.csrf",
            request: get,
            refusals: &[
                StatusCode::BAD_REQUEST,
                StatusCode::FORBIDDEN,
                StatusCode::METHOD_NOT_ALLOWED,
            ],
            zh: "没有客户端名的 GET",
            en: "a GET without the client's name",
            to_do: replace(),
        },
        Trap {
            check: "gateway.token",
            request: post(&typename).bearer_auth("e30.e30.AA"),
            refusals: &[StatusCode::UNAUTHORIZED],
            zh: "坏令牌",
            en: "a token that is present and bad",
            to_do: replace(),
        },
        Trap {
            check: "gateway.fragments",
            request: post(&json!({ "query": bomb() })),
            refusals: &[StatusCode::BAD_REQUEST],
            zh: "成倍展开的片段",
            en: "fragments that double at each level",
            to_do: replace(),
        },
        Trap {
            check: "gateway.aliases",
            request: post(&json!({ "query": aliases() })),
            refusals: &[StatusCode::BAD_REQUEST],
            zh: "大量别名",
            en: "hundreds of aliases",
            to_do: replace(),
        },
        Trap {
            check: "gateway.batch",
            request: post(&json!([typename, typename])),
            refusals: &[StatusCode::BAD_REQUEST],
            zh: "批量请求",
            en: "a batch of requests",
            to_do: replace(),
        },
        Trap {
            check: "gateway.body",
            request: post(&json!({ "query": " ".repeat(BODY_BYTES) })),
            refusals: &[StatusCode::PAYLOAD_TOO_LARGE, StatusCode::BAD_REQUEST],
            zh: "3 MiB 的请求体",
            en: "a body of 3 MiB",
            to_do: replace(),
        },
    ];
    if mode == Mode::Production {
        traps.push(Trap {
            check: "gateway.introspection",
            request: post(&json!({ "query": "{ __schema { queryType { name } } }" })),
            refusals: &[StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN],
            zh: "自省",
            en: "introspection",
            to_do: Text::new(
                "网关的 mode 改为 production",
                "set the gateway's mode to production",
            ),
        });
    }
    traps
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
        query.push_str(&format!(" fragment f{level} on Query {{ ...f{next} ...f{next} }}"));
    }
    query.push_str(&format!(" fragment f{BOMB_LEVELS} on Query {{ __typename }}"));
    query
}

fn aliases() -> String {
    let fields: Vec<String> = (0..ALIASES).map(|n| format!("a{n}: __typename")).collect();
    format!("{{ {} }}", fields.join(" "))
}
