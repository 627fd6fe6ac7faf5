//! The door of the provider: each request is authenticated on its raw bytes before anything else,
//! each answer to an authenticated request is on disk and then signed.

use crate::error::Refusal;
use crate::faults::AnswerFault;
use crate::keys::Merchant;
use crate::notifications::SIGNTEST_PREFIX;
use crate::random;
use crate::signature::{self, Authorization, TIMESTAMP_SKEW_SECONDS_MAX};
use crate::{BODY_BYTES_MAX, Sandbox, lock};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Answers larger than this are not signed but refused; only a bill comes near.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The merchant whose signature was verified.
#[derive(Clone, Debug)]
pub(crate) struct Signer(pub(crate) String);

/// Marks an answer that the provider does not sign.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned;

/// Lets an authentic request through and signs what comes back.
pub(crate) async fn guard(
    State(sandbox): State<Sandbox>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        let message = "请求体过大 (the body is too large)";
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "PARAM_ERROR", message).into_response();
    };
    let mchid = match sandbox.authenticate(&parts, &body) {
        Ok(merchant) => merchant.mchid.clone(),
        Err(refusal) => return refusal.into_response(),
    };
    let fault = lock(&sandbox.0.faults).take(parts.uri.path());
    let answer = match fault.and_then(AnswerFault::refusal) {
        Some(refusal) => refusal.into_response(),
        None => {
            let _none = parts.extensions.insert(Signer(mchid));
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
    };
    sandbox.seal_answer(answer, fault).await
}

/// The same answer, in a currency that nobody asked for.
fn in_dollars(body: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(body);
    Bytes::from(text.replace("\"currency\":\"CNY\"", "\"currency\":\"USD\""))
}

impl Sandbox {
    /// Which merchant signed exactly this request, now, for the first time.
    fn authenticate(&self, parts: &Parts, body: &[u8]) -> Result<&Merchant, Refusal> {
        let text = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        if text(header::USER_AGENT).is_none() || text(header::ACCEPT).is_none() {
            return Err(Refusal::parameter(
                "Http头缺少Accept或User-Agent (Accept or User-Agent is missing)",
            ));
        }
        let header = text(header::AUTHORIZATION).and_then(Authorization::parse);
        let authorization = header.ok_or_else(|| {
            Refusal::signature(
                "Authorization 头缺失或格式错误 (Authorization missing or malformed)",
            )
        })?;
        let known = self.0.keys.merchants.get(&authorization.mchid);
        let merchant = known.filter(|merchant| merchant.serial == authorization.serial);
        let merchant = merchant.ok_or_else(|| {
            Refusal::signature("商户证书序列号有误 (unknown merchant or certificate serial)")
        })?;
        let now_seconds = self.now_ms() / 1_000;
        if (now_seconds - authorization.timestamp).abs() >= TIMESTAMP_SKEW_SECONDS_MAX {
            return Err(Refusal::signature(
                "Http头Authorization时间戳过期 (timestamp too far off)",
            ));
        }
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let message =
            signature::request_message(parts.method.as_str(), target, &authorization, body);
        if !merchant.public.verify(&message, &authorization.signature) {
            return Err(Refusal::signature(
                "签名错误 (the signature does not verify)",
            ));
        }
        let Authorization { mchid, nonce, .. } = &authorization;
        if !lock(&self.0.nonces).remember(mchid, nonce, now_seconds) {
            return Err(Refusal::signature("随机串重复 (the nonce was used before)"));
        }
        Ok(merchant)
    }

    /// Waits until the act is on disk, then signs the answer, or spoils it when told to.
    async fn seal_answer(&self, answer: Response, fault: Option<AnswerFault>) -> Response {
        let answer = match self.0.journal.settle().await {
            Ok(()) => answer,
            Err(_lost) => Refusal::system().into_response(),
        };
        let unsigned = answer.extensions().get::<Unsigned>().is_some();
        let (mut parts, body) = answer.into_parts();
        let Ok(body) = to_bytes(body, ANSWER_BYTES_MAX).await else {
            return Refusal::system().into_response();
        };
        if fault == Some(AnswerFault::Lose) {
            return cut_off();
        }
        let body = if fault == Some(AnswerFault::ForeignCurrency) {
            in_dollars(&body)
        } else {
            body
        };
        if !unsigned {
            self.sign_answer(&mut parts.headers, &body, fault);
        }
        Response::from_parts(parts, Body::from(body))
    }

    fn sign_answer(&self, headers: &mut HeaderMap, body: &[u8], fault: Option<AnswerFault>) {
        let stale = fault == Some(AnswerFault::StaleTimestamp);
        let skew = if stale {
            2 * TIMESTAMP_SKEW_SECONDS_MAX
        } else {
            0
        };
        let timestamp = self.now_ms() / 1_000 - skew;
        let nonce = random::text(random::LOWER_HEX, 32);
        let mut message = signature::answer_message(timestamp, &nonce, body);
        if fault == Some(AnswerFault::BadSignature) {
            message.push(b' ');
        }
        let signed = match fault {
            Some(AnswerFault::Signtest) => {
                format!(
                    "{SIGNTEST_PREFIX}{}",
                    random::text(random::ALPHANUMERIC, 344)
                )
            }
            _ => self.0.keys.platform.sign(&message),
        };
        let serial = match fault {
            Some(AnswerFault::OtherSerial) => {
                format!("PUB_KEY_ID_{}", random::text(random::DIGITS, 34))
            }
            _ => self.0.keys.platform_serial.clone(),
        };
        for (name, value) in [
            ("wechatpay-timestamp", timestamp.to_string()),
            ("wechatpay-nonce", nonce),
            ("wechatpay-signature", signed),
            ("wechatpay-serial", serial),
            ("wechatpay-signature-type", signature::SCHEME.to_owned()),
            ("request-id", random::text(random::UPPER_HEX, 40)),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                let _none = headers.insert(name, value);
            }
        }
    }

    pub(crate) fn merchant(&self, signer: &Signer) -> Result<&Merchant, Refusal> {
        self.0
            .keys
            .merchants
            .get(&signer.0)
            .ok_or_else(Refusal::system)
    }
}

/// An answer whose body breaks before its first byte.
fn cut_off() -> Response {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let body = futures::stream::once(async { Err::<Bytes, _>(broken) });
    Response::new(Body::from_stream(body))
}
