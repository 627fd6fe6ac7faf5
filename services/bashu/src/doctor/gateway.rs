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

impl Trap {
    fn new(check: &'static str, request: reqwest::RequestBuilder) -> Self {
        let refusals = &[StatusCode::BAD_REQUEST];
        Self {
            check,
            request,
            refusals,
            zh: "",
            en: "",
            to_do: replace(),
        }
    }

    fn refused_by(self, refusals: &'static [StatusCode]) -> Self {
        Self { refusals, ..self }
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
    let Trap {
        check,
        request,
        refusals,
        zh,
        en,
        to_do,
    } = trap;
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
        traps.push(trap.called("自省", "introspection"));
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
        Trap::new("gateway.token", bad_token)
            .refused_by(&[StatusCode::UNAUTHORIZED])
            .called("坏令牌", "a token that is present and bad"),
        Trap::new("gateway.body", http.post(url).json(&large))
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
            .called("成倍展开的片段", "fragments that double at each level"),
        Trap::new("gateway.aliases", post(&json!({ "query": aliases() })))
            .called("大量别名", "hundreds of aliases"),
        Trap::new("gateway.batch", post(&json!([typename, typename])))
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
