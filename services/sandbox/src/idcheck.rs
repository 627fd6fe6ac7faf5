//! The service that knows whether a name and a document belong together, in the protocol of a cloud
//! that sells the police's data (cloud API 3.0, TC3-HMAC-SHA256): `IdCardVerification` as it is
//! documented, and in the same form other documents and 网号, of which no protocol is published.
//!
//! It knows whom it was told of, in memory only. Errors come with status 200, as the cloud's do.

use crate::control::Told;
use crate::error::Refusal;
use crate::random;
use crate::{Sandbox, lock};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;

/// People and tokens known, at most.
const KNOWN_MAX: usize = 100_000;
/// Faults that one instruction asks for, at most.
const FAULTS_MAX: u32 = 10_000;
/// A request's time may be off by so much, in seconds.
const SKEW_SECONDS_MAX: i64 = 300;
const ALGORITHM: &str = "TC3-HMAC-SHA256";
const SERVICE: &str = "faceid";
const VERSION: &str = "2018-03-01";

const MATCHES: &str = "0";
const DIFFERS: &str = "-1";
const NO_SUCH_NUMBER: &str = "-2";
const NO_SUCH_NAME: &str = "-3";
const UNKNOWN: &str = "-5";
const RESIDENT: &str = "RESIDENT_ID";
const OTHERS: [&str; 5] = [
    "PASSPORT",
    "HOME_RETURN_PERMIT",
    "TAIWAN_TRAVEL_PERMIT",
    "PERMANENT_RESIDENCE",
    "FOREIGN_PASSPORT",
];

pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/", post(ask))
        .route("/sandbox/people", post(tell))
        .route("/sandbox/people/faults", post(fault))
}

/// Who asks, and with which secret.
pub(crate) struct Account {
    pub(crate) secret_id: String,
    pub(crate) secret_key: String,
}

/// Whom the service knows.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// Kind and number → name.
    documents: HashMap<(String, String), String>,
    /// Token → name and 网号; a token is good once.
    tokens: HashMap<String, (String, String)>,
    /// What the next questions are answered with instead.
    faults: Vec<String>,
    asked: u64,
}

/// What is answered: a result with its text and maybe a 网号, or an error of the cloud.
type Said = Result<(&'static str, &'static str, Option<String>), String>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ResidentCard {
    id_card: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OtherDocument {
    document_type: String,
    document_number: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Network {
    token: String,
    name: String,
}

impl People {
    fn compare(&self, kind: &str, number: &str, name: &str) -> Said {
        let length = number.chars().count();
        if number.is_empty() || (kind == RESIDENT && length != 18) {
            return Ok((NO_SUCH_NUMBER, "非法身份证号（长度、校验位等不正确）", None));
        }
        if name.is_empty() {
            return Ok((NO_SUCH_NAME, "非法姓名（长度、格式等不正确）", None));
        }
        let known = self.documents.get(&(kind.to_owned(), number.to_owned()));
        Ok(match known {
            Some(known) if known == name => (MATCHES, "姓名和身份证号一致", None),
            Some(_) => (DIFFERS, "姓名和身份证号不一致", None),
            None => (UNKNOWN, "证件库中无此身份证记录", None),
        })
    }

    fn trade(&mut self, token: &str, name: &str) -> Said {
        Ok(match self.tokens.remove(token) {
            Some((known, id)) if known == name => (MATCHES, "一致", Some(id)),
            Some(_) => (DIFFERS, "不一致", None),
            None => (UNKNOWN, "凭证无效或已使用", None),
        })
    }

    fn answer(&mut self, action: &str, body: &[u8]) -> Said {
        self.asked += 1;
        if !self.faults.is_empty() {
            return Err(self.faults.remove(0));
        }
        let bad = |_| "InvalidParameter".to_owned();
        match action {
            "IdCardVerification" => {
                let asked: ResidentCard = serde_json::from_slice(body).map_err(bad)?;
                self.compare(RESIDENT, &asked.id_card, &asked.name)
            }
            "DocumentVerification" => {
                let asked: OtherDocument = serde_json::from_slice(body).map_err(bad)?;
                if !OTHERS.contains(&asked.document_type.as_str()) {
                    return Err("InvalidParameterValue".to_owned());
                }
                self.compare(&asked.document_type, &asked.document_number, &asked.name)
            }
            "NetworkIdVerification" => {
                let asked: Network = serde_json::from_slice(body).map_err(bad)?;
                self.trade(&asked.token, &asked.name)
            }
            _ => Err("InvalidAction".to_owned()),
        }
    }
}

async fn ask(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> axum::Json<Value> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let said = sandbox.believed(&headers, &body).and_then(|()| {
        if text("x-tc-version") != Some(VERSION) {
            return Err("NoSuchVersion".to_owned());
        }
        let action = text("x-tc-action").unwrap_or_default();
        lock(&sandbox.0.people).answer(action, &body)
    });
    let request = random::text(random::LOWER_HEX, 32);
    axum::Json(match said {
        Ok((result, text, network)) => {
            let mut said = json!({
                "Result": result, "Description": text, "RequestId": request,
            });
            if let Some(id) = network {
                said["NetworkId"] = json!(id);
            }
            json!({ "Response": said })
        }
        Err(code) => json!({ "Response": {
            "Error": { "Code": code, "Message": "refused" }, "RequestId": request,
        }}),
    })
}

impl Sandbox {
    /// Whether exactly this request was signed by the account, now.
    fn believed(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
        let missing = || "AuthFailure.SignatureFailure".to_owned();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let stamp = text("x-tc-timestamp").ok_or_else(missing)?;
        let at: i64 = stamp.parse().map_err(|_| missing())?;
        if (self.now_ms() / 1_000 - at).abs() > SKEW_SECONDS_MAX {
            return Err("AuthFailure.SignatureExpire".to_owned());
        }
        let date = chrono::DateTime::from_timestamp(at, 0).ok_or_else(missing)?;
        let date = date.format("%Y-%m-%d").to_string();
        let kind = text("content-type").ok_or_else(missing)?;
        let host = text("host").ok_or_else(missing)?;
        let account = &self.0.keys.verification;
        let request = format!(
            "POST\n/\n\ncontent-type:{kind}\nhost:{host}\n\ncontent-type;host\n{}",
            sha256(body)
        );
        let scope = format!("{date}/{SERVICE}/tc3_request");
        let signed = format!("{ALGORITHM}\n{at}\n{scope}\n{}", sha256(request.as_bytes()));
        let key = mac(format!("TC3{}", account.secret_key).as_bytes(), &date);
        let key = mac(&mac(&key, SERVICE), "tc3_request");
        let expected = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders=content-type;host, Signature={}",
            account.secret_id,
            hex(&mac(&key, &signed))
        );
        if text("authorization") == Some(expected.as_str()) {
            Ok(())
        } else {
            Err(missing())
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Somebody whom the service knows from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    name: String,
    /// `RESIDENT_ID` or another kind, with `number`; a token is made where it is missing.
    document_type: Option<String>,
    number: Option<String>,
}

async fn tell(
    State(sandbox): State<Sandbox>,
    Told(told): Told<Person>,
) -> Result<axum::Json<Value>, Refusal> {
    let mut people = lock(&sandbox.0.people);
    if people.documents.len() + people.tokens.len() >= KNOWN_MAX {
        return Err(Refusal::system());
    }
    match (told.document_type, told.number) {
        (Some(kind), Some(number)) if kind == RESIDENT || OTHERS.contains(&kind.as_str()) => {
            let _before = people.documents.insert((kind, number), told.name);
            Ok(axum::Json(json!({ "asked": people.asked })))
        }
        (None, None) => {
            let token = random::text(random::ALPHANUMERIC, 64);
            let id = format!("N{}", network_id(&told.name));
            let _none = people.tokens.insert(token.clone(), (told.name, id));
            Ok(axum::Json(json!({ "token": token, "asked": people.asked })))
        }
        _ => Err(Refusal::parameter(
            "document_type 与 number 须同时给出 (both, or neither)",
        )),
    }
}

/// The same for a name for ever: here nobody has another's.
fn network_id(name: &str) -> String {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

/// What the next questions are answered with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    next: u32,
    code: String,
}

async fn fault(
    State(sandbox): State<Sandbox>,
    Told(told): Told<Faults>,
) -> Result<StatusCode, Refusal> {
    if told.next > FAULTS_MAX {
        return Err(Refusal::parameter("next 过大 (next is too large)"));
    }
    let faults = (0..told.next).map(|_| told.code.clone());
    lock(&sandbox.0.people).faults = faults.collect();
    Ok(StatusCode::NO_CONTENT)
}
