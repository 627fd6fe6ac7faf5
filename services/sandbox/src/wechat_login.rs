//! WeChat's login of mini-programs: codes that `wx.login` would give, and `code2session`, which
//! trades each once for the openid of its user.
//!
//! Codes live in memory only and the oldest make room for new ones. Errors come with status 200 and
//! an `errcode`, and every answer calls itself plain text, as WeChat's do.

use crate::control::Told;
use crate::error::Refusal;
use crate::keys::MiniProgram;
use crate::random;
use crate::{Sandbox, lock};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

/// A code is good for so long.
const CODE_MS: i64 = 5 * 60_000;
/// Codes remembered; the oldest go first.
const CODES_MAX: usize = 10_000;
const USER_CHARS_MAX: usize = 64;
/// An openid has 28 characters, of which the first is an `o`.
const OPENID_CHARS: usize = 28;
const SESSION_KEY_BYTES: usize = 16;

const INVALID_APPID: i64 = 40_013;
const INVALID_CODE: i64 = 40_029;
const INVALID_GRANT: i64 = 40_002;
const INVALID_SECRET: i64 = 40_125;
const CODE_USED: i64 = 40_163;

pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/sns/jscode2session", get(code2session))
        .route("/sandbox/wechat/code", post(give_code))
}

#[derive(Debug)]
struct Given {
    appid: String,
    user: String,
    given_ms: i64,
    used: bool,
    /// What is answered to it instead of an openid.
    errcode: Option<i64>,
}

/// The codes that were given.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    by_code: HashMap<String, Given>,
    by_age: VecDeque<String>,
}

impl Codes {
    fn give(&mut self, given: Given) -> String {
        let code = random::text(random::ALPHANUMERIC, 32);
        let _new = self.by_code.insert(code.clone(), given);
        self.by_age.push_back(code.clone());
        if self.by_age.len() > CODES_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            let _gone = self.by_code.remove(&oldest);
        }
        code
    }

    /// Whose code it is, once; or the error that WeChat has for it.
    fn trade(&mut self, appid: &str, code: &str, now_ms: i64) -> Result<String, i64> {
        let given = self
            .by_code
            .get_mut(code)
            .filter(|given| given.appid == appid)
            .ok_or(INVALID_CODE)?;
        if given.used {
            return Err(CODE_USED);
        }
        if now_ms >= given.given_ms + CODE_MS {
            return Err(INVALID_CODE);
        }
        given.used = true;
        match given.errcode {
            Some(errcode) => Err(errcode),
            None => Ok(given.user.clone()),
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    appid: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    js_code: String,
    #[serde(default)]
    grant_type: String,
}

async fn code2session(
    State(sandbox): State<Sandbox>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let answer = match asked {
        Ok(Query(asked)) => session(&sandbox, &asked).unwrap_or_else(error),
        Err(_) => error(INVALID_CODE),
    };
    let kind = (header::CONTENT_TYPE, "text/plain");
    ([kind], answer.to_string()).into_response()
}

fn session(sandbox: &Sandbox, asked: &Asked) -> Result<Value, i64> {
    let programs = &sandbox.0.keys.mini_programs;
    let program: &MiniProgram = programs.get(&asked.appid).ok_or(INVALID_APPID)?;
    if program.secret != asked.secret {
        return Err(INVALID_SECRET);
    }
    if asked.grant_type != "authorization_code" {
        return Err(INVALID_GRANT);
    }
    let user =
        lock(&sandbox.0.wechat_codes).trade(&asked.appid, &asked.js_code, sandbox.now_ms())?;
    Ok(json!({
        "openid": openid(&asked.appid, &user),
        "session_key": STANDARD.encode(random::bytes::<SESSION_KEY_BYTES>()),
    }))
}

fn error(errcode: i64) -> Value {
    let rid = random::text(random::LOWER_HEX, 8);
    json!({ "errcode": errcode, "errmsg": format!("refused, rid: {rid}") })
}

/// The same for a user of a program for ever, and another one for each program.
fn openid(appid: &str, user: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{appid}\n{user}").as_bytes());
    let text = URL_SAFE_NO_PAD.encode(hash);
    format!("o{}", &text[..OPENID_CHARS - 1])
}

/// Which user of which program opens it now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    appid: String,
    user: String,
    errcode: Option<i64>,
}

async fn give_code(
    State(sandbox): State<Sandbox>,
    Told(told): Told<Opening>,
) -> Result<axum::Json<Value>, Refusal> {
    let chars = told.user.chars().count();
    if !(1..=USER_CHARS_MAX).contains(&chars) {
        return Err(Refusal::parameter("user 无效 (user: 1-64 characters)"));
    }
    if !sandbox.0.keys.mini_programs.contains_key(&told.appid) {
        return Err(Refusal::no_resource("无此小程序 (no such mini-program)"));
    }
    let code = lock(&sandbox.0.wechat_codes).give(Given {
        appid: told.appid,
        user: told.user,
        given_ms: sandbox.now_ms(),
        used: false,
        errcode: told.errcode,
    });
    Ok(axum::Json(json!({ "code": code })))
}
