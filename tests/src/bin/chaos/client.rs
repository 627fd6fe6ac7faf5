//! A lean client of the public graph and of the payer's side of the provider: it sends one
//! operation and says whether it was done, refused, or nobody knows.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::oplog::Outcome;

/// How long an answer may take before the client gives up and knows nothing.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The code of what is wrong with a token.
const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// Refusals that are never recorded: the same request may be done a moment later. A gate of this
/// world is always enrolled, so one that is not recognised has met a clock that is off.
const TRANSIENT: [&str; 3] = [
    "ORDER_NOT_SEEN_YET",
    "PAYMENT_ENDING",
    "GATE_NOT_RECOGNISED",
];

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Anonymous,
    /// An access token.
    Member(String),
    /// A gate's assertion.
    Gate(String),
}

/// Why nobody knows whether something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It is known.
    None,
    /// It was refused for the moment only.
    Later,
    /// The caller's token was not taken: she needs another one.
    Stranger,
    /// Whoever answered had no room for it or nobody to ask, and did not begin it.
    TurnedAway,
    /// There was no answer that says anything.
    Lost,
}

/// What came of one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// The payload, the refusal's code, or why nothing is known.
    pub(crate) value: Value,
    /// Why an unknown outcome is unknown.
    pub(crate) doubt: Doubt,
}

/// An answer that is none: what the gateway said instead.
#[derive(Debug)]
pub(crate) struct Failed {
    status: u16,
    errors: Value,
}

impl Failed {
    /// A token that is present and bad is refused as a whole; one that a service does not take is
    /// told as an error of a field.
    fn doubt(&self) -> Doubt {
        let mut codes = self
            .errors
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| error.pointer("/extensions/code"));
        match self.status {
            401 => Doubt::Stranger,
            429 | 503 => Doubt::TurnedAway,
            _ if codes.any(|code| code == UNAUTHENTICATED) => Doubt::Stranger,
            _ => Doubt::Lost,
        }
    }
}

impl Display for Failed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status, self.errors)
    }
}

impl std::error::Error for Failed {}

impl Answer {
    fn unknown(why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Unknown,
            value: Value::String(why.into()),
            doubt: Doubt::Lost,
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
            return Err(Failed {
                status: status.as_u16(),
                errors: errors.clone(),
            }
            .into());
        }
        Ok(answer["data"].take())
    }

    /// Sends a mutation with one root field and sorts its answer.
    pub(crate) async fn run(&self, caller: &Caller, text: &str, input: &Value) -> Answer {
        let data = match self.send(caller, text, json!({ "input": input })).await {
            Ok(data) => data,
            Err(error) => {
                let failed = error.downcast_ref::<Failed>();
                return Answer {
                    doubt: failed.map_or(Doubt::Lost, Failed::doubt),
                    ..Answer::unknown(format!("{error:#}"))
                };
            }
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
                doubt: Doubt::None,
            },
            Some(code) => {
                let later = TRANSIENT.iter().any(|transient| code == transient);
                let (outcome, doubt) = if later {
                    (Outcome::Unknown, Doubt::Later)
                } else {
                    (Outcome::Refused, Doubt::None)
                };
                Answer {
                    outcome,
                    value: code.clone(),
                    doubt,
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
        let (outcome, doubt) = match (status, value["code"].as_str()) {
            (200, _) | (409, Some("ORDERPAID")) => (Outcome::Ok, Doubt::None),
            (400..=499, _) => (Outcome::Refused, Doubt::None),
            _ => (Outcome::Unknown, Doubt::Lost),
        };
        Answer {
            outcome,
            value,
            doubt,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Doubt, Failed};

    /// A refused token is told from a gateway that has no room and from an answer that says
    /// nothing: only the first needs another token, only the second was surely not begun.
    #[test]
    fn failures_are_told_apart() {
        let doubt = |status, code| {
            let errors = json!([{ "message": "…", "extensions": { "code": code } }]);
            Failed { status, errors }.doubt()
        };
        assert_eq!(doubt(401, "UNAUTHENTICATED"), Doubt::Stranger);
        assert_eq!(doubt(200, "UNAUTHENTICATED"), Doubt::Stranger);
        assert_eq!(doubt(429, "RATE_LIMITED"), Doubt::TurnedAway);
        assert_eq!(doubt(503, "UNAVAILABLE"), Doubt::TurnedAway);
        assert_eq!(doubt(200, "INTERNAL"), Doubt::Lost);
    }
}
