//! A lean client of the public graph and of the payer's side of the provider: it sends one
//! operation and says whether it was done, refused, or nobody knows.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::oplog::Outcome;

/// How long an answer may take before the client gives up and knows nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Refusals that are never recorded: the same request may be done a moment later.
const TRANSIENT: [&str; 2] = ["ORDER_NOT_SEEN_YET", "PAYMENT_ENDING"];

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Anonymous,
    /// An access token.
    Member(String),
    /// A gate's assertion.
    Gate(String),
}

/// What came of one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// The payload, the refusal's code, or why nothing is known.
    pub(crate) value: Value,
    /// Whether it was refused for the moment only.
    pub(crate) later: bool,
}

impl Answer {
    fn unknown(why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Unknown,
            value: Value::String(why.into()),
            later: false,
        }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }
}

/// The way to one union.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    graph: String,
    sandbox: String,
}

impl Api {
    /// # Errors
    /// When the client cannot be made.
    pub(crate) fn new(gateway_port: u16, sandbox_port: u16) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            graph: format!("http://127.0.0.1:{gateway_port}/graphql"),
            sandbox: format!("http://127.0.0.1:{sandbox_port}"),
        })
    }

    /// Sends one document; the answer's `data`.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub(crate) async fn send(&self, caller: &Caller, text: &str, input: Value) -> Result<Value> {
        let mut request = self
            .http
            .post(&self.graph)
            .json(&json!({ "query": text, "variables": input }));
        match caller {
            Caller::Anonymous => {}
            Caller::Member(token) => request = request.bearer_auth(token),
            Caller::Gate(assertion) => {
                request = request.header(admission::gate_key::HEADER, assertion);
            }
        }
        let response = request.send().await.context("no answer")?;
        let status = response.status();
        let text = response.text().await.context("half an answer")?;
        let mut answer: Value =
            serde_json::from_str(&text).with_context(|| format!("{status} is no JSON"))?;
        if let Some(errors) = answer.get("errors").filter(|errors| !errors.is_null()) {
            bail!("{status}: {errors}");
        }
        Ok(answer["data"].take())
    }

    /// Sends a mutation with one root field and sorts its answer.
    pub(crate) async fn run(&self, caller: &Caller, text: &str, input: &Value) -> Answer {
        let data = match self.send(caller, text, json!({ "input": input })).await {
            Ok(data) => data,
            Err(error) => return Answer::unknown(format!("{error:#}")),
        };
        let fields = data.as_object();
        let payload = fields.and_then(|fields| fields.values().next()).cloned();
        let Some(payload) = payload.filter(Value::is_object) else {
            return Answer::unknown("no payload");
        };
        match payload.pointer("/userErrors/0/code") {
            None => Answer {
                outcome: Outcome::Ok,
                value: payload,
                later: false,
            },
            Some(code) => {
                let later = TRANSIENT.iter().any(|transient| code == transient);
                Answer {
                    outcome: if later {
                        Outcome::Unknown
                    } else {
                        Outcome::Refused
                    },
                    value: code.clone(),
                    later,
                }
            }
        }
    }

    /// As [`Api::run`], for what must be done.
    ///
    /// # Errors
    /// When it was not.
    pub(crate) async fn done(&self, caller: &Caller, text: &str, input: &Value) -> Result<Value> {
        let answer = self.run(caller, text, input).await;
        if answer.is_ok() {
            return Ok(answer.value);
        }
        let name: String = text.chars().take(60).collect();
        bail!("{name}: {}", answer.value)
    }

    /// The payer pays what a code shows. Paying what is paid already is done as well.
    pub(crate) async fn pay_at_provider(&self, code_url: &str) -> Answer {
        let sent = self
            .http
            .post(format!("{}/sandbox/pay", self.sandbox))
            .json(&json!({ "code_url": code_url }))
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Answer::unknown(error.to_string()),
        };
        let status = response.status().as_u16();
        let value: Value = match response.json().await {
            Ok(value) => value,
            Err(error) => return Answer::unknown(error.to_string()),
        };
        let outcome = match (status, value["code"].as_str()) {
            (200, _) | (409, Some("ORDERPAID")) => Outcome::Ok,
            (400..=499, _) => Outcome::Refused,
            _ => Outcome::Unknown,
        };
        Answer {
            outcome,
            value,
            later: false,
        }
    }

    /// The messages of a phone, newest first.
    ///
    /// # Errors
    /// When the inbox does not answer.
    pub(crate) async fn inbox(&self, phone: &str) -> Result<Value> {
        let url = format!("{}/sms/inbox?phone={phone}&limit=1", self.sandbox);
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    /// Whether an address answers 200.
    pub(crate) async fn is_well(&self, url: &str) -> bool {
        let asked = self.http.get(url).timeout(CONNECT_TIMEOUT).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }
}

/// A string inside an answer, by JSON pointer.
///
/// # Errors
/// When it is not there.
pub(crate) fn text(value: &Value, pointer: &str) -> Result<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("the answer has no {pointer}: {value}"))
}
