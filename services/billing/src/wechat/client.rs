//! Asking the provider: each request signed, each answer verified on its raw bytes, no redirect
//! followed, sizes and times limited.
//!
//! A failure whose outcome is unknown is never a "no": only a verified answer is.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::Fen;
use kit::{Clock, Ids};
use reqwest::{Method, StatusCode, Url, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::merchant::Merchant;
use super::message::{RefundAnswer, Transaction};
use super::rfc3339;
use super::signature::{Proof, Untrusted, request_message};

/// The longest a request may take, in seconds, its answer read: well below a due job's claim.
pub const REQUEST_SECONDS_MAX: u64 = 10;
const CONNECT_SECONDS_MAX: u64 = 3;
/// The largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The largest bill that is read, in bytes.
const BILL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest a bill may take to come, in seconds.
const BILL_SECONDS_MAX: u64 = 40;
const USER_AGENT: &str = concat!("Bashu/", env!("CARGO_PKG_VERSION"));
const DESCRIPTION_CHARS_MAX: usize = 127;

/// Why the provider has not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A verified "no".
    #[error("the provider refused: {code} ({status})")]
    Refused { status: u16, code: String },
    /// No answer, or half of one: what became of the act is unknown.
    #[error("the provider did not answer: {0}")]
    Unreachable(&'static str),
    /// An answer that is not the provider's: what became of the act is unknown.
    #[error("the answer is not to be trusted: {0}")]
    Untrusted(#[from] Untrusted),
    /// A verified answer that cannot be read.
    #[error("the provider's answer cannot be read")]
    Unreadable,
}

impl Failure {
    /// The provider's code, when it is a verified "no".
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unreachable(_) | Self::Untrusted(_) | Self::Unreadable => None,
        }
    }

    /// Whether the same request may be taken later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, code } => {
                *status >= 500 || matches!(code.as_str(), "FREQUENCY_LIMITED" | "SYSTEM_ERROR")
            }
            Self::Unreachable(_) | Self::Untrusted(_) | Self::Unreadable => true,
        }
    }
}

impl From<Failure> for kit::Error {
    fn from(failure: Failure) -> Self {
        tracing::warn!(error = %failure, "wechat pay");
        let is_passing = failure.is_passing();
        match failure {
            Failure::Refused { .. } if is_passing => {
                Self::Unavailable("wechat pay asks to come again later")
            }
            Failure::Refused { code, .. } => Self::internal(format!("wechat pay refused: {code}")),
            Failure::Unreachable(_) => Self::Unavailable("wechat pay did not answer"),
            Failure::Untrusted(_) => Self::Unavailable("wechat pay's answer is not to be trusted"),
            Failure::Unreadable => Self::internal("wechat pay's answer cannot be read"),
        }
    }
}

/// An order to be placed.
#[derive(Clone, Debug)]
pub struct NewOrder {
    pub out_trade_no: String,
    /// What the payer reads.
    pub description: String,
    pub total: Fen,
    pub expires_at: DateTime<Utc>,
}

/// A refund to be asked for.
#[derive(Clone, Debug)]
pub struct RefundRequest {
    pub transaction_id: String,
    pub out_refund_no: String,
    pub refund: Fen,
    /// Of the payment.
    pub total: Fen,
}

/// A merchant's line to the provider.
#[derive(Debug)]
pub struct Client {
    merchant: Merchant,
    http: reqwest::Client,
    clock: Clock,
    ids: Ids,
}

/// A verified answer.
pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
}

impl Client {
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(merchant: Merchant, clock: Clock, ids: Ids) -> kit::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .timeout(Duration::from_secs(REQUEST_SECONDS_MAX))
            .user_agent(USER_AGENT)
            .build()
            .map_err(|_| kit::Error::internal("the client of wechat pay cannot be made"))?;
        Ok(Self {
            merchant,
            http,
            clock,
            ids,
        })
    }

    pub fn merchant(&self) -> &Merchant {
        &self.merchant
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Places an order; the address for its QR code. The same order placed again is the same.
    ///
    /// # Errors
    /// As [`Failure`].
    pub async fn native(&self, order: &NewOrder) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Body {
            code_url: String,
        }
        let body = self.order_body(order, &self.merchant.appid);
        let answer = self
            .call(Method::POST, "/v3/pay/transactions/native", Some(&body))
            .await?;
        read::<Body>(&answer).map(|body| body.code_url)
    }

    /// What every order says, however it is paid.
    pub(super) fn order_body(&self, order: &NewOrder, appid: &str) -> Value {
        let description: String = order
            .description
            .chars()
            .take(DESCRIPTION_CHARS_MAX)
            .collect();
        json!({
            "appid": appid,
            "mchid": self.merchant.mchid,
            "description": description,
            "out_trade_no": order.out_trade_no,
            "time_expire": rfc3339(order.expires_at),
            "notify_url": format!("{}/wechat/notify/payment", self.merchant.notify_url),
            "amount": { "total": order.total.get(), "currency": "CNY" },
        })
    }

    /// What became of an order.
    ///
    /// # Errors
    /// As [`Failure`]; `ORDER_NOT_EXIST` when it was never placed.
    pub async fn query(&self, out_trade_no: &str) -> Result<Transaction, Failure> {
        let target = format!(
            "/v3/pay/transactions/out-trade-no/{out_trade_no}?mchid={}",
            self.merchant.mchid
        );
        let transaction: Transaction = read(&self.call(Method::GET, &target, None).await?)?;
        let asked = transaction.out_trade_no == out_trade_no
            && self
                .merchant
                .is_ours(&transaction.mchid, &transaction.appid);
        if asked {
            Ok(transaction)
        } else {
            Err(Failure::Unreadable)
        }
    }

    /// Closes an order: it cannot be paid any longer.
    ///
    /// # Errors
    /// As [`Failure`]; `ORDERPAID` when it was paid, `ORDER_NOT_EXIST` when never placed.
    pub async fn close(&self, out_trade_no: &str) -> Result<(), Failure> {
        let target = format!("/v3/pay/transactions/out-trade-no/{out_trade_no}/close");
        let body = json!({ "mchid": self.merchant.mchid });
        self.call(Method::POST, &target, Some(&body))
            .await
            .map(|_| ())
    }

    /// Asks for a refund. The same one asked for again is the same.
    ///
    /// # Errors
    /// As [`Failure`].
    pub async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, Failure> {
        let body = json!({
            "transaction_id": request.transaction_id,
            "out_refund_no": request.out_refund_no,
            "notify_url": format!("{}/wechat/notify/refund", self.merchant.notify_url),
            "amount": {
                "refund": request.refund.get(),
                "total": request.total.get(),
                "currency": "CNY",
            },
        });
        let answer = self
            .call(Method::POST, "/v3/refund/domestic/refunds", Some(&body))
            .await?;
        let refund: RefundAnswer = read(&answer)?;
        let asked = refund.out_refund_no == request.out_refund_no
            && refund.transaction_id == request.transaction_id
            && refund.amount.refund == request.refund.get();
        if asked {
            Ok(refund)
        } else {
            Err(Failure::Unreadable)
        }
    }

    /// What became of a refund.
    ///
    /// # Errors
    /// As [`Failure`]; `RESOURCE_NOT_EXISTS` when it was never asked for.
    pub async fn refund_query(&self, out_refund_no: &str) -> Result<RefundAnswer, Failure> {
        let target = format!("/v3/refund/domestic/refunds/{out_refund_no}");
        let refund: RefundAnswer = read(&self.call(Method::GET, &target, None).await?)?;
        let asked = refund.out_refund_no == out_refund_no;
        if asked {
            Ok(refund)
        } else {
            Err(Failure::Unreadable)
        }
    }

    /// A day's trade bill as it was written, with the hash it was announced by; `None` when
    /// nothing happened that day.
    ///
    /// # Errors
    /// As [`Failure`]; `STATEMENT_CREATING` when it is not ready.
    pub async fn trade_bill(&self, date: NaiveDate) -> Result<Option<(Vec<u8>, String)>, Failure> {
        #[derive(Deserialize)]
        struct Place {
            hash_type: String,
            hash_value: String,
            download_url: String,
        }
        let target = format!("/v3/bill/tradebill?bill_date={date}&bill_type=ALL");
        let place: Place = match self.call(Method::GET, &target, None).await {
            Ok(answer) => read(&answer)?,
            Err(failure) if failure.code() == Some("NO_STATEMENT_EXIST") => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let url: Url = place
            .download_url
            .parse()
            .map_err(|_| Failure::Unreadable)?;
        // A signed answer could still name a place that is not the provider's.
        if place.hash_type != "SHA1" || url.origin() != self.merchant.base_url.origin() {
            return Err(Failure::Unreadable);
        }
        let limit = Duration::from_secs(BILL_SECONDS_MAX);
        let request = self.signed(Method::GET, url, None)?.timeout(limit);
        let response = request.send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Unreachable("the bill could not be downloaded"));
        }
        let bytes = read_body(response, BILL_BYTES_MAX).await?;
        let legacy = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
        let hash = hex::encode(aws_lc_rs::digest::digest(legacy, &bytes));
        if !hash.eq_ignore_ascii_case(&place.hash_value) {
            return Err(Failure::Unreachable(
                "the bill does not have the hash it should",
            ));
        }
        Ok(Some((bytes, hash)))
    }

    pub(super) async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let url = self
            .merchant
            .base_url
            .join(target)
            .map_err(|_| Failure::Unreadable)?;
        let body = body.map(Value::to_string);
        let response = self
            .signed(method, url, body)?
            .send()
            .await
            .map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(response, ANSWER_BYTES_MAX).await?;
        let now = self.clock.now().timestamp();
        Proof::from_headers(&headers)
            .and_then(|proof| proof.verify(&self.merchant.platform_keys, &body, now))
            .inspect_err(|why| {
                let reason = why.label();
                tracing::error!(
                    reason,
                    status = status.as_u16(),
                    "an answer is not believed"
                );
                metrics::counter!("bashu_wechat_untrusted_total", "reason" => reason).increment(1);
            })?;
        if status.is_success() {
            return Ok(Answer { status, body });
        }
        let error: ErrorBody = serde_json::from_slice(&body).map_err(|_| Failure::Unreadable)?;
        Err(Failure::Refused {
            status: status.as_u16(),
            code: error.code,
        })
    }

    fn signed(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
    ) -> Result<reqwest::RequestBuilder, Failure> {
        let body = body.unwrap_or_default();
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let timestamp = self.clock.now().timestamp();
        let nonce = hex::encode_upper(self.ids.bytes16());
        let message = request_message(method.as_str(), &target, timestamp, &nonce, &body);
        let signature = self
            .merchant
            .key
            .sign(&message)
            .ok_or(Failure::Unreachable("not signed"))?;
        let Merchant { mchid, serial, .. } = &self.merchant;
        let authorization = format!(
            "WECHATPAY2-SHA256-RSA2048 mchid=\"{mchid}\",nonce_str=\"{nonce}\",\
             signature=\"{signature}\",timestamp=\"{timestamp}\",serial_no=\"{serial}\""
        );
        let mut request = self
            .http
            .request(method, url)
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body);
        }
        Ok(request)
    }
}

fn unreachable(error: reqwest::Error) -> Failure {
    Failure::Unreachable(if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    })
}

async fn read_body(response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut response = response;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Failure::Unreachable("the answer is too large"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(super) fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    if answer.status != StatusCode::OK {
        return Err(Failure::Unreadable);
    }
    serde_json::from_slice(&answer.body).map_err(|_| Failure::Unreadable)
}
