//! Who may ask: the gateway's signature on what goes straight to a service, members' tokens,
//! gates' assertions and credentials, all made with the world's own keys, so that the services
//! verify them as they verify everybody's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use admission::gate_key::{self, Assertion, LIFE_SECONDS_MAX};
use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use chrono::TimeDelta;
use credential::keyset::KeyId;
use ed25519_dalek::SigningKey;
use http_body_util::Full;
use hyper::Request;
use identity::vault::Vault;
use kit::graphql::{GatewayKey, Signed};
use kit::token::{LIFE_SECONDS_MAX as TOKEN_SECONDS, NewToken, STEP_UP_SECONDS_MAX};
use kit::types::{GateId, LoginId, MemberId, Union};
use kit::{Clock, Ctx, Db, Ids};
use serde_json::{Value, json};
use tests::load::HttpRequest;
use uuid::Uuid;

use crate::world::Bench;

/// The client's address and language, which the gateway signs too.
const CLIENT: &str = "127.0.0.1";
const LANGUAGE: &str = "zh";
/// An assertion is made anew when it has this long left, in seconds.
const ASSERTION_LEFT_SECONDS: i64 = 20;

/// The keys of the world.
pub(crate) struct Keys {
    union: Union,
    ids: Ids,
    gateway: GatewayKey,
    access: kit::token::SigningKey,
    entry: (KeyId, SigningKey),
    nonce_head: u64,
    nonces: AtomicU64,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caller<'a> {
    /// A member's token.
    pub(crate) token: Option<&'a str>,
    /// A gate's assertion.
    pub(crate) gate: Option<&'a str>,
}

impl Keys {
    /// Opens identity's signing keys with the world's own key-encrypting key.
    ///
    /// # Errors
    /// When identity has no key that signs.
    pub(crate) async fn open(bench: &Bench) -> Result<Self> {
        let config = bench.config();
        let vault = vault(bench)?;
        let ids = Ids::random();
        let options = config.postgres.options(identity::NAME);
        let db = Db::connect(options, Clock::System, ids.clone()).await?;
        let ctx = Ctx::new(config.union, identity::NAME, db);
        let (access, entry) = ctx
            .db
            .tx("bench_keys", async |tx| {
                let access = identity::signing::access_key(config.union, tx, &vault).await?;
                let entry = identity::signing::entry_key(config.union, tx, &vault).await?;
                Ok((access, (entry.0.kid, entry.1)))
            })
            .await?;
        Ok(Self {
            union: config.union,
            gateway: config.subgraph_key.clone(),
            access,
            entry,
            nonce_head: u64::from_be_bytes(first_eight(ids.bytes16())),
            nonces: AtomicU64::new(0),
            ids,
        })
    }

    /// The key that signs credentials now.
    pub(crate) fn entry(&self) -> (KeyId, &SigningKey) {
        (self.entry.0, &self.entry.1)
    }

    /// A new id.
    pub(crate) fn uuid(&self) -> Uuid {
        self.ids.uuid(Clock::System.now())
    }

    /// Thirty-two random bytes: a gate's key.
    pub(crate) fn bytes32(&self) -> [u8; 32] {
        self.ids.bytes32()
    }

    /// A member's token, as identity would give it at a login, for ten minutes.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn token(&self, member: Uuid) -> Result<String> {
        let now = Clock::System.now();
        let new = NewToken {
            union: self.union,
            member: MemberId(member),
            login: LoginId(self.uuid()),
            id: self.uuid(),
            issued_at: now,
            life_seconds: TOKEN_SECONDS,
            // As in a development world: nobody there has an authenticator.
            stepped_up_until: Some(now + TimeDelta::seconds(STEP_UP_SECONDS_MAX)),
        };
        Ok(kit::token::sign(&new, &self.access)?)
    }

    /// A request as the gateway sends it to a service.
    pub(crate) fn signed(&self, service: &str, body: Bytes, caller: Caller<'_>) -> HttpRequest {
        let bearer = caller.token.map(|token| format!("Bearer {token}"));
        let timestamp = Clock::System.now().timestamp().to_string();
        let count = self.nonces.fetch_add(1, Ordering::Relaxed);
        let nonce = format!("{:016x}{count:016x}", self.nonce_head);
        let signature = kit::graphql::sign(
            &self.gateway,
            &Signed {
                method: "POST",
                subgraph: service,
                timestamp: &timestamp,
                nonce: &nonce,
                body: &body,
                authorization: bearer.as_deref().unwrap_or_default().as_bytes(),
                gate: caller.gate.unwrap_or_default().as_bytes(),
                client: CLIENT.as_bytes(),
                language: LANGUAGE.as_bytes(),
            },
        );
        let mut request = post()
            .header("x-bashu-timestamp", timestamp)
            .header("x-bashu-nonce", nonce)
            .header("x-bashu-signature", signature)
            .header("x-bashu-client", CLIENT);
        if let Some(bearer) = bearer {
            request = request.header("authorization", bearer);
        }
        if let Some(gate) = caller.gate {
            request = request.header(gate_key::HEADER, gate);
        }
        request.body(Full::new(body)).unwrap_or_default()
    }

    /// Asks a service one thing and gives the payload of the only field, which must not carry
    /// user errors.
    ///
    /// # Errors
    /// When it refuses.
    pub(crate) async fn ask(
        &self,
        bench: &Bench,
        (service, caller): (&str, Caller<'_>),
        (query, variables): (&str, Value),
    ) -> Result<Value> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let (parts, _) = self
            .signed(service, Bytes::from(body.clone()), caller)
            .into_parts();
        let answer = reqwest::Client::new()
            .post(format!("http://{}/graphql", bench.graphql(service)))
            .headers(parts.headers)
            .body(body)
            .send()
            .await
            .with_context(|| format!("{service} does not answer"))?;
        payload(answer.json().await?)
    }
}

/// Identity's vault, with the world's own keys.
///
/// # Errors
/// When the configuration lacks them.
pub(crate) fn vault(bench: &Bench) -> Result<Vault> {
    let settings: identity::Settings = bench.config().section("identity")?;
    Ok(settings.vault()?)
}

/// The payload of the only field of an answer.
///
/// # Errors
/// When the answer has errors of either kind.
pub(crate) fn payload(answer: Value) -> Result<Value> {
    ensure!(answer.get("errors").is_none_or(Value::is_null), "{answer}");
    let field = answer["data"]
        .as_object()
        .and_then(|fields| fields.values().next())
        .cloned()
        .ok_or_else(|| anyhow!("no data: {answer}"))?;
    let errors = field["userErrors"].as_array().map_or(0, Vec::len);
    ensure!(errors == 0, "refused: {answer}");
    Ok(field)
}

/// The body of an operation with one variable, `input`, given as JSON. Put together by hand, since
/// the generator shares the cores with what it measures.
pub(crate) fn operation(query: &str, input: &str) -> Bytes {
    Bytes::from(format!(
        "{{\"query\":\"{query}\",\"variables\":{{\"input\":{input}}}}}"
    ))
}

/// A request of a GraphQL operation, without a body.
pub(crate) fn post() -> hyper::http::request::Builder {
    Request::post("/graphql")
        .header("host", "bench")
        .header("content-type", "application/json")
        .header("accept-language", LANGUAGE)
}

fn first_eight(bytes: [u8; 16]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[..8]);
    eight
}

/// An enrolled gate, which signs an assertion of its own for each minute.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) id: Uuid,
    /// As the graph names it.
    pub(crate) global: String,
    pub(crate) enrolment: i32,
    union: Union,
    key: SigningKey,
    seq: AtomicU64,
    assertion: Mutex<(i64, String)>,
}

impl Gate {
    pub(crate) fn new(
        (id, global): (Uuid, String),
        enrolment: i32,
        union: Union,
        key: SigningKey,
    ) -> Self {
        Self {
            id,
            global,
            enrolment,
            union,
            key,
            seq: AtomicU64::new(1),
            assertion: Mutex::default(),
        }
    }

    /// A number of a scan that this gate never gave before.
    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// The assertion of this minute.
    pub(crate) fn assertion(&self, keys: &Keys) -> String {
        let now = Clock::System.now().timestamp();
        let mut kept = self
            .assertion
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if kept.0 - now < ASSERTION_LEFT_SECONDS {
            let assertion = Assertion {
                gate: GateId(self.id),
                union: self.union,
                enrolment: self.enrolment,
                id: keys.uuid(),
                issued_at: now,
                expires_at: now + LIFE_SECONDS_MAX,
            };
            *kept = (assertion.expires_at, gate_key::sign(&assertion, &self.key));
        }
        kept.1.clone()
    }
}
