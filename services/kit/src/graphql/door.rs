//! The route `POST /graphql` of a subgraph, in the order in which a request is trusted: method,
//! media type, size, the gateway's signature, JSON, the member's token, the document's size,
//! and only then the schema.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_graphql::{Executor, Request, Variables};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use tracing::Instrument;

use super::Language;
use super::document::TooLarge;
use super::documents::Documents;
use super::limits::Mode;
use super::payload::{log_chain, public_parts};
use super::signature::{self, GatewayKey, Unsigned, Verifier};
use super::texts::Text;
use super::time;
use crate::access::{Caller, Who};
use crate::token::{self, AccessKeys};
use crate::{Ctx, Error};

/// The largest body, in bytes; rosters and files come by REST.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// The longest a request may take, in seconds, from its first header to its answer.
pub const REQUEST_SECONDS_MAX: u64 = 20;
/// The longest gate assertion, in bytes.
const ASSERTION_BYTES_MAX: usize = 4_096;
/// The longest operation name that is logged, in characters.
const OPERATION_CHARS_MAX: usize = 64;
/// The outcome of a request that reached the schema.
const ANSWERED: &str = "answered";

/// What the door needs to know.
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// Names the subgraph, the union, and the clock.
    pub ctx: Ctx,
    /// What the gateway signs with.
    pub gateway_key: GatewayKey,
    /// What members' tokens are verified with; kit's replica keeps it fresh.
    pub access_keys: AccessKeys,
    pub mode: Mode,
}

struct Door<E> {
    schema: E,
    ctx: Ctx,
    verifier: Verifier,
    access_keys: AccessKeys,
    documents: Documents,
    /// How long what was answered took: counted with every request, so it is looked up once, and
    /// at the first of them, when metrics are surely on.
    answered: OnceLock<metrics::Histogram>,
}

/// The router of a subgraph: `POST /graphql`, and nothing else.
pub fn router<E: Executor>(schema: E, options: EdgeOptions) -> Router {
    let EdgeOptions {
        ctx,
        gateway_key,
        access_keys,
        mode,
    } = options;
    let verifier = Verifier::new(gateway_key, ctx.service);
    let door = Arc::new(Door {
        schema,
        ctx,
        verifier,
        access_keys,
        documents: Documents::new(mode),
        answered: OnceLock::new(),
    });
    let route = post(handle::<E>).fallback(crate::http::method_not_allowed);
    let router = Router::new().route("/graphql", route).with_state(door);
    crate::http::wrap(router)
}

async fn handle<E: Executor>(
    State(door): State<Arc<Door<E>>>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let started = Instant::now();
    let language = Language::from_headers(&headers);
    let span = tracing::info_span!("graphql", service = door.ctx.service);
    if let Some(traceparent) = headers.get("traceparent").and_then(|v| v.to_str().ok()) {
        crate::telemetry::continue_from(&span, traceparent);
    }
    let answer = door
        .answer(&method, &headers, body, language)
        .instrument(span);
    let limit = Duration::from_secs(REQUEST_SECONDS_MAX);
    let (outcome, response) = match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => (ANSWERED, response),
        Ok(Err(refused)) => (refused.label, refused.response(language)),
        Err(_) => {
            let refused = Refused::new(StatusCode::GATEWAY_TIMEOUT, Text::TimedOut);
            (refused.label, refused.response(language))
        }
    };
    let took = started.elapsed().as_secs_f64();
    if outcome == ANSWERED {
        let answered = door
            .answered
            .get_or_init(|| seconds(door.ctx.service, outcome));
        answered.record(took);
    } else {
        seconds(door.ctx.service, outcome).record(took);
    }
    response
}

fn seconds(service: &'static str, outcome: &'static str) -> metrics::Histogram {
    metrics::histogram!("bashu_graphql_seconds", "service" => service, "outcome" => outcome)
}

/// Why a request never reaches the schema.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    text: Text,
    label: &'static str,
}

impl Refused {
    const fn new(status: StatusCode, text: Text) -> Self {
        Self {
            status,
            text,
            label: text.code(),
        }
    }

    fn response(&self, language: Language) -> Response {
        let mut message = self.text.message(language).to_owned();
        if self.text == Text::TooComplex {
            message = format!("{message} [{}]", self.label);
        }
        let body = serde_json::json!({
            "errors": [{ "message": message, "extensions": { "code": self.text.code() } }],
        });
        (self.status, axum::Json(body)).into_response()
    }
}

impl From<TooLarge> for Refused {
    fn from(too_large: TooLarge) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            text: too_large.text,
            label: too_large.limit,
        }
    }
}

impl From<Unsigned> for Refused {
    fn from(unsigned: Unsigned) -> Self {
        let reason = unsigned.reason();
        metrics::counter!("bashu_unsigned_requests_total", "reason" => reason).increment(1);
        match unsigned {
            Unsigned::Full => Self::new(StatusCode::SERVICE_UNAVAILABLE, Text::Overloaded),
            Unsigned::Absent
            | Unsigned::Repeated
            | Unsigned::Aged
            | Unsigned::Wrong
            | Unsigned::Replayed => Self::new(StatusCode::UNAUTHORIZED, Text::Unsigned),
        }
    }
}

/// One request; a list of them does not parse.
#[derive(Deserialize)]
struct Operation {
    query: String,
    #[serde(default, rename = "operationName")]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
}

impl<E: Executor> Door<E> {
    async fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
        language: Language,
    ) -> Result<Response, Refused> {
        if !crate::http::is_json(headers) {
            return Err(Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Text::MediaType,
            ));
        }
        let body = crate::http::read(headers, body, BODY_BYTES_MAX)
            .await
            .map_err(|(status, text)| Refused::new(status, text))?;
        let now = self.ctx.clock.now();
        self.verifier
            .verify(method, headers, &body, now.timestamp())?;
        let operation = parse(&body)?;
        let caller = self.caller(headers, language)?;
        let variables = operation.variables.unwrap_or_default();
        let variables = Variables::from_json(serde_json::Value::Object(variables));
        let document = self.documents.read(&operation.query, &variables)?;
        let mut request = Request::new(operation.query)
            .variables(variables)
            .data(caller);
        request.set_parsed_query(document);
        if let Some(name) = operation.operation_name {
            let shown: String = name.chars().take(OPERATION_CHARS_MAX).collect();
            tracing::debug!(operation = shown, "graphql operation");
            request = request.operation_name(name);
        }
        let mut response = self.schema.execute(request.data(language)).await;
        for error in &mut response.errors {
            publish(error, language);
        }
        Ok(axum::Json(response).into_response())
    }

    /// Who asks: a token that is present and bad is nobody, not an anonymous caller.
    fn caller(&self, headers: &HeaderMap, language: Language) -> Result<Caller, Refused> {
        let who = match headers.get(header::AUTHORIZATION) {
            None => Who::Anonymous,
            Some(value) => {
                let bad = || Refused::new(StatusCode::UNAUTHORIZED, Text::Unauthenticated);
                let token = value.to_str().ok().and_then(|v| v.strip_prefix("Bearer "));
                let token = token.ok_or_else(bad)?;
                if !self.access_keys.is_loaded() {
                    return Err(Refused::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        Text::Unavailable,
                    ));
                }
                let now = self.ctx.clock.now();
                let verified = token::verify(token, self.ctx.union, &self.access_keys, now)
                    .map_err(|error| {
                        tracing::info!(reason = %error, "a token was refused");
                        bad()
                    })?;
                Who::Member {
                    member: verified.member,
                    login: verified.login,
                    stepped_up_until: verified.stepped_up_until,
                }
            }
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let client = text(signature::CLIENT).and_then(|v| v.parse::<IpAddr>().ok());
        let gate_assertion = match text(signature::GATE) {
            Some(assertion) if assertion.len() > ASSERTION_BYTES_MAX => {
                return Err(Refused::new(
                    StatusCode::UNAUTHORIZED,
                    Text::Unauthenticated,
                ));
            }
            assertion => assertion.map(str::to_owned),
        };
        Ok(Caller {
            who,
            language,
            client: client.map_or_else(String::new, |address| address.to_string()),
            gate_assertion,
        })
    }
}

/// JSON with at most 128 levels, which is what the parser takes.
fn parse(body: &Bytes) -> Result<Operation, Refused> {
    serde_json::from_slice(body)
        .map_err(|_| Refused::new(StatusCode::BAD_REQUEST, Text::BadRequest))
}

/// Makes an error of the schema fit to be shown: one of kit's by its kind; one of another
/// library is ours and hidden; one of async-graphql itself is about the document and gets a code.
fn publish(error: &mut async_graphql::ServerError, language: Language) {
    let extensions = error.extensions.get_or_insert_default();
    if let Some(kit) = error
        .source
        .as_ref()
        .and_then(|s| s.downcast_ref::<Error>())
    {
        let (code, message) = public_parts(kit, language);
        extensions.set("code", code);
        error.message = message;
    } else if extensions.get("code").is_none() && error.source.is_some() {
        log_chain(&Error::internal(error.message.clone()));
        extensions.set("code", Text::Internal.code());
        error.message = Text::Internal.message(language).to_owned();
    } else if extensions.get("code").is_none() {
        let text = match extensions.get(time::UNREADABLE) {
            Some(_) => Text::BadInput,
            None => Text::BadDocument,
        };
        extensions.unset(time::UNREADABLE);
        extensions.set("code", text.code());
        error.message = format!("{} {}", text.message(language), error.message);
    }
}
