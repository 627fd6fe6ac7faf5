//! The sandbox's own endpoints: the payer, instructions for faults, the clock, and the SMS API.
//!
//! They carry no signature: whoever reaches the listener may play. It belongs on loopback.

use crate::acts::OrderName;
use crate::book::Rule;
use crate::clock::{self, Clock};
use crate::error::Refusal;
use crate::faults::AnswerFault;
use crate::notifications::{Attempt, COPIES_MAX, EventType, Fault, Forgery};
use crate::orders::{self, Order};
use crate::sms::Sending;
use crate::{Sandbox, lock};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;
/// Notifications or answers that one instruction applies to.
const NEXT_MAX: u32 = 10_000;
const DELAY_MS_MAX: i64 = 30 * 24 * 3_600_000;
const ADVANCE_MS_MAX: i64 = 400 * 24 * 3_600_000;

pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/sandbox/pay", post(pay))
        .route("/sandbox/orders", get(list_orders))
        .route(
            "/sandbox/notifications",
            get(list_notifications).post(instruct_notifications),
        )
        .route("/sandbox/notifications/resend", post(resend))
        .route("/sandbox/answers", post(instruct_answers))
        .route("/sandbox/answers/forget", post(forget_answers))
        .route("/sandbox/sms", post(instruct_sms))
        .route("/sandbox/step", post(step))
        .route("/sandbox/clock", post(advance))
        .route("/sms/send", post(send_sms))
        .route("/sms/inbox", get(inbox))
}

type Answer = Result<Json<Value>, Refusal>;

/// A JSON body, only when it says that it is one: a page of another site cannot say so unasked.
pub(crate) struct Told<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Sandbox> for Told<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, sandbox: &Sandbox) -> Result<Self, Refusal> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
            let message = "请用 application/json (content-type must be application/json)";
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "PARAM_ERROR",
                message,
            ));
        }
        let read: Result<Bytes, BytesRejection> = Bytes::from_request(request, sandbox).await;
        let body = read.map_err(|rejection| {
            let message = "请求体过大或不完整 (the body is too large or broken)";
            Refusal::new(rejection.status(), "PARAM_ERROR", message)
        })?;
        orders::parse_json(&body).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayOrder {
    code_url: Option<String>,
    prepay_id: Option<String>,
    out_trade_no: Option<String>,
    mchid: Option<String>,
    openid: Option<String>,
    #[serde(default)]
    force: bool,
}

async fn pay(State(sandbox): State<Sandbox>, Told(told): Told<PayOrder>) -> Answer {
    let name = match (told.code_url, told.prepay_id, told.out_trade_no) {
        (Some(scanned), None, None) | (None, Some(scanned), None) => OrderName::scanned(&scanned),
        (None, None, Some(out_trade_no)) => OrderName::Number {
            mchid: told.mchid,
            out_trade_no,
        },
        _ => {
            return Err(Refusal::parameter(
                "code_url、prepay_id、out_trade_no 三选一 (one of the three is needed)",
            ));
        }
    };
    let order = sandbox.pay(&name, told.openid, told.force)?;
    settled(&sandbox).await?;
    Ok(Json(order.transaction()))
}

/// Which notifications an instruction is for, and what to do with them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instruction {
    out_trade_no: Option<String>,
    next: Option<u32>,
    mchid: Option<String>,
    event_type: Option<EventType>,
    action: Action,
    delay_ms: Option<i64>,
    times: Option<u32>,
    forgery: Option<Forgery>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Delay,
    Repeat,
    Replay,
    Lose,
    Forge,
}

async fn instruct_notifications(
    State(sandbox): State<Sandbox>,
    Told(told): Told<Instruction>,
) -> Result<StatusCode, Refusal> {
    let remaining = match (&told.out_trade_no, told.next) {
        (Some(_), None) => 1,
        (None, Some(next)) if (1..=NEXT_MAX).contains(&next) => next,
        _ => {
            return Err(Refusal::parameter(
                "out_trade_no 与 next 二选一 (out_trade_no or next)",
            ));
        }
    };
    let copies = told.times.unwrap_or(1);
    if !(1..COPIES_MAX).contains(&copies) {
        return Err(Refusal::parameter("times 无效 (times: 1-199)"));
    }
    let fault = match (told.action, told.forgery) {
        (Action::Delay, None) => None,
        (Action::Repeat, None) => Some(Fault::Repeat { copies }),
        (Action::Replay, None) => Some(Fault::Replay { copies }),
        (Action::Lose, None) => Some(Fault::Lose {
            attempts: told.times,
        }),
        (Action::Forge, Some(forgery)) => Some(Fault::Forge {
            forgery,
            attempts: copies,
        }),
        (Action::Forge, None) => return Err(Refusal::parameter("缺少 forgery (forgery needed)")),
        (_, Some(_)) => return Err(Refusal::parameter("forgery 仅用于 forge (only for forge)")),
    };
    let delay_ms = told.delay_ms.unwrap_or(0);
    let delayed = matches!(told.action, Action::Delay);
    if !(0..=DELAY_MS_MAX).contains(&delay_ms) || delayed != told.delay_ms.is_some() {
        return Err(Refusal::parameter(
            "delay_ms 用于且仅用于 delay (delay_ms goes with delay)",
        ));
    }
    sandbox.instruct(Rule {
        mchid: told.mchid,
        out_trade_no: told.out_trade_no,
        event_type: told.event_type,
        remaining,
        delay_ms,
        fault,
    })?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resend {
    out_trade_no: String,
    mchid: Option<String>,
    event_type: Option<EventType>,
    forgery: Option<Forgery>,
    times: Option<u32>,
}

async fn resend(State(sandbox): State<Sandbox>, Told(told): Told<Resend>) -> Answer {
    let copies = told.times.unwrap_or(1);
    if !(1..=COPIES_MAX).contains(&copies) {
        return Err(Refusal::parameter("times 无效 (times: 1-200)"));
    }
    let name = OrderName::Number {
        mchid: told.mchid,
        out_trade_no: told.out_trade_no,
    };
    let forged = told.forgery.is_some();
    let notice = sandbox.notification_to_resend(&name, told.event_type, forged)?;
    let attempts = sandbox.resend(notice, told.forgery, copies).await;
    settled(&sandbox).await?;
    let attempts: Vec<Value> = attempts.iter().map(Attempt::view).collect();
    Ok(Json(json!({ "attempts": attempts })))
}

#[derive(Deserialize)]
struct List {
    mchid: Option<String>,
    out_trade_no: Option<String>,
    phone: Option<String>,
    limit: Option<usize>,
}

type ListRead = Result<Query<List>, QueryRejection>;

fn read_list(query: ListRead) -> Result<(List, usize), Refusal> {
    let Ok(Query(list)) = query else {
        return Err(Refusal::parameter("查询参数错误 (bad query)"));
    };
    let limit = list.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    Ok((list, limit))
}

async fn list_orders(State(sandbox): State<Sandbox>, query: ListRead) -> Answer {
    let (list, limit) = read_list(query)?;
    let orders: Vec<Value> = {
        let book = lock(&sandbox.0.book);
        let latest = book.latest_orders(list.mchid.as_deref());
        latest.take(limit).map(listed).collect()
    };
    settled(&sandbox).await?;
    Ok(Json(json!({ "orders": orders })))
}

fn listed(order: &Order) -> Value {
    let mut view = order.transaction();
    view["description"] = json!(order.terms.description);
    view["create_time"] = json!(clock::rfc3339(order.created_ms));
    view["handle"] = json!(order.handle());
    view["refunded"] = json!(order.returned.fen);
    view
}

async fn list_notifications(State(sandbox): State<Sandbox>, query: ListRead) -> Answer {
    let (list, limit) = read_list(query)?;
    let notifications: Vec<Value> = {
        let book = lock(&sandbox.0.book);
        let fits = |mchid: &str, number: &str| {
            list.mchid.as_ref().is_none_or(|wanted| wanted == mchid)
                && list
                    .out_trade_no
                    .as_ref()
                    .is_none_or(|wanted| wanted == number)
        };
        let latest = book.latest_notifications();
        let latest = latest.filter(|notice| fits(&notice.mchid, &notice.out_trade_no));
        latest.take(limit).map(|notice| notice.view()).collect()
    };
    settled(&sandbox).await?;
    Ok(Json(json!({ "notifications": notifications })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerInstruction {
    next: u32,
    #[serde(default)]
    path_prefix: String,
    fault: AnswerFault,
}

async fn instruct_answers(
    State(sandbox): State<Sandbox>,
    Told(told): Told<AnswerInstruction>,
) -> Result<StatusCode, Refusal> {
    let counted = (1..=NEXT_MAX).contains(&told.next);
    if counted && lock(&sandbox.0.faults).add(told.path_prefix, told.next, told.fault) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::parameter(
        "next 无效或指令过多 (next: 1-10000, or too many instructions)",
    ))
}

/// Ends every instruction about answers; how many were still to come.
async fn forget_answers(State(sandbox): State<Sandbox>) -> Answer {
    let left = lock(&sandbox.0.faults).forget();
    Ok(Json(json!({ "left": left })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmsInstruction {
    refuse_next: u32,
}

async fn instruct_sms(
    State(sandbox): State<Sandbox>,
    Told(told): Told<SmsInstruction>,
) -> StatusCode {
    lock(&sandbox.0.sms).refuse_next(told.refuse_next);
    StatusCode::NO_CONTENT
}

async fn step(State(sandbox): State<Sandbox>) -> Answer {
    let done = sandbox.step().await.map_err(|_lost| Refusal::system())?;
    Ok(Json(json!({ "done": done })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: i64,
}

async fn advance(State(sandbox): State<Sandbox>, Told(told): Told<Advance>) -> Answer {
    if !(0..=ADVANCE_MS_MAX).contains(&told.advance_ms) {
        return Err(Refusal::parameter(
            "advance_ms 无效 (advance_ms is out of range)",
        ));
    }
    match &sandbox.0.clock {
        Clock::Manual(manual) => manual.advance_ms(told.advance_ms),
        Clock::System => {
            let message = "系统时钟不可调 (the system's clock cannot be moved)";
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "CLOCK_NOT_MANUAL",
                message,
            ));
        }
    }
    Ok(Json(json!({ "now": clock::rfc3339(sandbox.now_ms()) })))
}

async fn send_sms(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    Told(sending): Told<Sending>,
) -> Answer {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let key = bearer.and_then(|bearer| bearer.strip_prefix("Bearer "));
    let account = key
        .and_then(|key| sandbox.0.keys.sms.get(key))
        .ok_or_else(|| {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "密钥无效 (unknown key)",
            )
        })?;
    let message_id = lock(&sandbox.0.sms).send(account, sending, sandbox.now_ms())?;
    Ok(Json(json!({ "message_id": message_id })))
}

async fn inbox(State(sandbox): State<Sandbox>, query: ListRead) -> Answer {
    let (list, limit) = read_list(query)?;
    let messages = lock(&sandbox.0.sms).inbox(list.phone.as_deref(), limit);
    Ok(Json(json!({ "messages": messages })))
}

/// Waits until everything seen so far is on disk.
pub(crate) async fn settled(sandbox: &Sandbox) -> Result<(), Refusal> {
    sandbox
        .0
        .journal
        .settle()
        .await
        .map_err(|_lost| Refusal::system())
}
