//! WeChat's word on who uses a mini-program: a code that `wx.login` gave it, traded for the
//! person's openid (`code2session`). The session key that comes with it is read past: nothing of
//! ours needs it, and it never leaves.

use std::time::Duration;

use kit::{Error, Result};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::domain::subject::{Kind, OutsideCode, Subject};
use crate::error::Refusal;

/// The section `identity.wechat`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniProgramSettings {
    /// In front of `/sns/jscode2session`.
    pub url: String,
    pub appid: String,
    pub secret: SecretString,
    /// The public half of billing's `wechat.mini_program.payer_key`: who its people are is sealed
    /// to it, so that they can pay inside WeChat; nobody can where it is absent.
    #[serde(default)]
    pub payer_key: Option<String>,
}

/// How long WeChat may take to answer: less than the gateway waits, so that whoever asked hears of
/// it and her code is not traded for nobody.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A code that is none, is over, or was used.
const INVALID_CODES: [i64; 2] = [40_029, 40_163];
/// Too often, for the whole program or for this person.
const TOO_OFTEN: [i64; 2] = [45_009, 45_011];
/// WeChat bars this person.
const BARRED: i64 = 40_226;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errcode: i64,
    openid: Option<String>,
}

/// Trades a code for the person it was given to. A code is good once, so it is never sent again by
/// itself.
///
/// # Errors
/// Refused when the code is not good, the person is barred, or it is asked too often; unavailable
/// when WeChat does not answer, or says something else.
pub async fn subject_of(
    http: &reqwest::Client,
    settings: &MiniProgramSettings,
    code: &OutsideCode,
) -> Result<Subject> {
    let answer = ask(http, settings, code)
        .await
        .map_err(|_| Error::Unavailable("WeChat does not answer"))?;
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| Error::Unavailable("WeChat says what nobody understands"))?;
    match answer.errcode {
        0 => {}
        code if INVALID_CODES.contains(&code) => return Err(Refusal::OutsideCodeInvalid.into()),
        code if TOO_OFTEN.contains(&code) => {
            return Err(kit::Refusal::from(Refusal::TooManyLogins)
                .transient()
                .into());
        }
        BARRED => return Err(Refusal::OutsideBarred.into()),
        code => {
            tracing::error!(status = code, "WeChat refuses");
            return Err(Error::Unavailable("WeChat refuses"));
        }
    }
    answer
        .openid
        .and_then(|openid| Subject::new(Kind::Wechat, &settings.appid, &openid))
        .ok_or(Error::Unavailable("WeChat names nobody"))
}

/// The body of the answer, whatever type it says it has: WeChat calls its JSON plain text. An error
/// is dropped by who calls: it names the address, and in that stands the secret.
async fn ask(
    http: &reqwest::Client,
    settings: &MiniProgramSettings,
    code: &OutsideCode,
) -> std::result::Result<Vec<u8>, Option<reqwest::Error>> {
    let url = format!("{}/sns/jscode2session", settings.url.trim_end_matches('/'));
    let query = [
        ("appid", settings.appid.as_str()),
        ("secret", settings.secret.expose_secret()),
        ("js_code", code.as_str()),
        ("grant_type", "authorization_code"),
    ];
    let url = reqwest::Url::parse_with_params(&url, query).map_err(|_| None)?;
    let request = http.get(url).timeout(ANSWER_TIMEOUT);
    let mut response = request.send().await.map_err(Some)?;
    if !response.status().is_success() {
        return Err(None);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Some)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(None);
        }
    }
    Ok(body)
}
