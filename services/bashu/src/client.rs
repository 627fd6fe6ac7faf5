//! A GraphQL client as any app would write one: it knows the public contract and nothing of the
//! services behind it. The demonstration world and the journeys go through it, so that whatever
//! they make or show, a person can make and see by the same door.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

/// Where a gate says who it is.
pub(crate) const GATE_HEADER: &str = "x-bashu-gate";
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that rested for longer is not used again: the gateway closes one after five
/// seconds, and what is sent at that moment has no answer.
const IDLE_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a patient client asks again, and how long it waits in between.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
/// Codes that leave open what became of a request.
const UNANSWERED: [&str; 4] = [
    "SUBGRAPH_REQUEST_TIMEOUT",
    "GATEWAY_TIMEOUT",
    "OVERLOADED",
    "UNAVAILABLE",
];

/// One signed-in (or anonymous) client of one union's gateway.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    gate: Option<String>,
    language: &'static str,
    patient: bool,
}

/// Nothing is known of what became of a request.
#[derive(Debug)]
struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway has no answer")
    }
}

impl Client {
    /// An anonymous client of the gateway at `address`, `host:port`.
    pub fn new(address: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .build()?;
        let url = format!("http://{address}/graphql");
        Ok(Self {
            http,
            url,
            token: None,
            gate: None,
            language: "zh",
            patient: false,
        })
    }

    /// The same client asking again, for a while, what was not answered: only for what acts once
    /// however often it is asked, as all do that carry an idempotency key or a scan id.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self {
            patient: true,
            ..self.clone()
        }
    }

    /// The same client with an access token.
    pub fn signed_in(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same client with a gate's assertion.
    pub(crate) fn at_gate(&self, assertion: String) -> Self {
        Self {
            gate: Some(assertion),
            ..self.clone()
        }
    }

    /// The same client reading English.
    pub(crate) fn in_english(&self) -> Self {
        Self {
            language: "en",
            ..self.clone()
        }
    }

    /// Sends one operation; the `data` of the answer.
    ///
    /// # Errors
    /// When there is no answer, or it has top-level errors.
    pub async fn send(&self, query: &str, variables: Value) -> Result<Value> {
        let body = json!({ "query": query, "variables": variables });
        let began = Instant::now();
        loop {
            match self.ask(&body).await {
                Err(error) if self.patient && error.is::<Unanswered>() => {
                    if began.elapsed() > PATIENCE {
                        return Err(error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn ask(&self, body: &Value) -> Result<Value> {
        let mut request = self
            .http
            .post(&self.url)
            .header("accept-language", self.language)
            .json(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(assertion) = &self.gate {
            request = request.header(GATE_HEADER, assertion);
        }
        let response = request.send().await.context(Unanswered)?;
        let status = response.status();
        let text = response.text().await.context(Unanswered)?;
        let mut answer: Value = serde_json::from_str(&text)
            .with_context(|| format!("the gateway answered {status}: {text}"))?;
        if let Some(errors) = answer.get("errors").filter(|errors| !errors.is_null()) {
            let error = anyhow!("the gateway answered {status}: {errors}");
            let codes = errors.as_array().into_iter().flatten();
            let mut codes = codes.filter_map(|error| error["extensions"]["code"].as_str());
            if codes.any(|code| UNANSWERED.contains(&code)) {
                return Err(error.context(Unanswered));
            }
            return Err(error);
        }
        Ok(answer["data"].take())
    }

    /// Sends one mutation with one root field and gives its payload, which must not carry user
    /// errors.
    ///
    /// # Errors
    /// When there is no answer, or it has errors of either kind.
    pub async fn run(&self, query: &str, variables: Value) -> Result<Value> {
        let payload = only_field(self.send(query, variables).await?)?;
        match payload.get("userErrors").and_then(Value::as_array) {
            Some(errors) if !errors.is_empty() => {
                bail!("refused: {}", Value::Array(errors.clone()))
            }
            Some(_) | None => Ok(payload),
        }
    }
}

/// The value of the only field of an object.
///
/// # Errors
/// When there is none.
pub(crate) fn only_field(data: Value) -> Result<Value> {
    let Value::Object(fields) = data else {
        bail!("the answer has no data")
    };
    fields
        .into_iter()
        .next()
        .map(|(_, value)| value)
        .ok_or_else(|| anyhow!("the answer is empty"))
}

/// A string inside an answer, by JSON pointer.
///
/// # Errors
/// When it is not there.
pub fn text(value: &Value, pointer: &str) -> Result<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("the answer has no {pointer}: {value}"))
}
