//! A subgraph with a small schema on a real listener, and a client that signs as the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_graphql::{
    Context, EmptySubscription, ID, InputObject, Json, Object, Schema, SimpleObject,
};
use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{Caller, Who};
use kit::config::Listen;
use kit::graphql::{self, Date, EdgeOptions, GatewayKey, Instant, Language, Mode, Money, Signed};
use kit::serve::{Addresses, Process, Service};
use kit::testing::TestDb;
use kit::token::{self, AccessKey, AccessKeys};
use kit::types::{LoginId, MemberId, Union};
use kit::{Error, Refusal, Result};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) const SUBGRAPH: &str = "passes";
pub(crate) const GATEWAY_KEY: GatewayKey = GatewayKey::new([7; 32]);
pub(crate) const MEMBER: MemberId = MemberId(Uuid::from_u128(0xa));
pub(crate) const LOGIN: LoginId = LoginId(Uuid::from_u128(0xb));

/// What the schema's slow field waits for, and what was executed.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    pub(crate) entered: Notify,
    pub(crate) go_on: Notify,
    pub(crate) mutations: AtomicU32,
}

#[derive(InputObject)]
struct Tree {
    child: Option<Box<Tree>>,
}

#[derive(InputObject)]
struct Span {
    dates: Option<Vec<Date>>,
    until: Option<Instant>,
}

#[derive(SimpleObject)]
#[graphql(complex)]
struct Node {
    id: ID,
    price: Money,
}

#[async_graphql::ComplexObject]
impl Node {
    async fn next(&self) -> Self {
        node("next")
    }

    /// A list that tells its cost, as those of services do.
    #[graphql(complexity = "usize::from(first) * child_complexity + 1")]
    async fn many(&self, first: u16) -> Vec<Self> {
        (0..first).map(|_| node("one")).collect()
    }
}

fn node(id: &str) -> Node {
    Node {
        id: ID(id.to_owned()),
        price: kit::types::Fen::ZERO.into(),
    }
}

pub(crate) struct Query;

#[Object]
impl Query {
    async fn hello(&self) -> &str {
        "hello"
    }

    async fn node(&self) -> Node {
        node("first")
    }

    async fn echo(&self, text: String) -> String {
        text
    }

    async fn tree(&self, tree: Option<Tree>) -> bool {
        tree.is_some_and(|tree| tree.child.is_some())
    }

    async fn numbers(&self, of: Vec<i32>) -> usize {
        of.len()
    }

    async fn date(&self, of: Date) -> Date {
        of
    }

    async fn instant(&self, of: Instant) -> DateTime<Utc> {
        of.0
    }

    async fn span(&self, of: Span) -> Option<Date> {
        of.dates
            .and_then(|dates| dates.first().copied())
            .or(of.until.map(|at| at.0.date_naive().into()))
    }

    async fn caller(&self, context: &Context<'_>) -> Json<BTreeMap<String, String>> {
        let caller = context.data_unchecked::<Caller>();
        let who = match caller.who {
            Who::Anonymous => "anonymous".to_owned(),
            Who::Member { member, login, .. } => format!("{member} {login}"),
        };
        let gate = caller.gate_assertion.clone().unwrap_or_default();
        Json(BTreeMap::from([
            ("who".to_owned(), who),
            ("client".to_owned(), caller.client.clone()),
            ("gate".to_owned(), gate),
        ]))
    }

    /// When the second factor ends that the caller's token speaks of.
    async fn stepped_up(&self, context: &Context<'_>) -> Option<DateTime<Utc>> {
        match context.data_unchecked::<Caller>().who {
            Who::Anonymous => None,
            Who::Member {
                stepped_up_until, ..
            } => stepped_up_until,
        }
    }

    async fn fail(&self, with: String) -> Result<bool> {
        Err(failure(&with))
    }

    async fn leak(&self) -> async_graphql::Result<bool> {
        Ok(std::fs::read_to_string("/secret/place").map(|_| true)?)
    }

    async fn panic(&self) -> bool {
        std::hint::black_box(None::<bool>).expect("this text stays inside")
    }

    async fn slow(&self, context: &Context<'_>) -> &str {
        let probe = context.data_unchecked::<Arc<Probe>>();
        probe.entered.notify_one();
        probe.go_on.notified().await;
        "done"
    }

    #[graphql(entity)]
    async fn find_node(&self, id: ID) -> Option<Node> {
        (!id.starts_with("absent")).then(|| node(&id))
    }
}

fn failure(with: &str) -> Error {
    match with {
        "unauthenticated" => Error::Unauthenticated("a reason for logs"),
        "forbidden" => Error::Forbidden("a reason for logs"),
        "not_found" => Error::NotFound,
        "overloaded" => Error::Overloaded,
        "unavailable" => Error::Unavailable("a reason for logs"),
        "bad_input" => Error::bad_input("input.name", "不能为空", "is empty"),
        "sold_out" => sold_out().into(),
        "unlisted" => Refusal::new("UNLISTED", "", "没列出".into(), "not listed".into()).into(),
        _ => Error::internal("secret detail"),
    }
}

fn sold_out() -> Refusal {
    Refusal::new(
        "SOLD_OUT",
        "input.quantity",
        "已售完。".into(),
        "Sold out.".into(),
    )
}

kit::payload! {
    /// What became of a touch.
    pub(crate) struct TouchPayload / TouchUserError / TouchErrorCode {
        /// What was touched.
        node: Node,
    }
    refuses {
        /// None is left.
        SoldOut,
    }
}

pub(crate) struct Mutation;

#[Object]
impl Mutation {
    async fn touch(
        &self,
        context: &Context<'_>,
        fail: Option<String>,
    ) -> async_graphql::Result<TouchPayload> {
        context
            .data_unchecked::<Arc<Probe>>()
            .mutations
            .fetch_add(1, Ordering::SeqCst);
        let result = match fail {
            Some(with) => Err(failure(&with)),
            None => Ok(TouchPayload::done(node("touched"))),
        };
        TouchPayload::from_result(*context.data_unchecked::<Language>(), result)
    }
}

pub(crate) type TestSchema = Schema<Query, Mutation, EmptySubscription>;

pub(crate) fn schema(mode: Mode, probe: Arc<Probe>) -> TestSchema {
    graphql::limits(Schema::build(Query, Mutation, EmptySubscription), mode)
        .data(probe)
        .finish()
}

/// The key that signs tokens here, and the key id it goes by.
pub(crate) fn signing_key() -> (ed25519_dalek::SigningKey, String) {
    (
        ed25519_dalek::SigningKey::from_bytes(&[9; 32]),
        "1001".to_owned(),
    )
}

/// The key set with that key, in force around the tests' time.
pub(crate) fn access_keys(now: DateTime<Utc>) -> AccessKeys {
    let (key, kid) = signing_key();
    AccessKeys::new([AccessKey {
        kid,
        public: key.verifying_key().to_bytes(),
        not_before: now - TimeDelta::days(1),
        not_after: now + TimeDelta::days(1),
    }])
}

pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) addresses: Addresses,
    pub(crate) probe: Arc<Probe>,
    pub(crate) keys: AccessKeys,
    pub(crate) stop: CancellationToken,
    pub(crate) running: tokio::task::JoinHandle<Result<()>>,
    pub(crate) http: reqwest::Client,
}

impl World {
    pub(crate) async fn start(mode: Mode) -> Self {
        Self::start_with(mode, |service| service).await
    }

    pub(crate) async fn start_with(mode: Mode, change: impl FnOnce(Service) -> Service) -> Self {
        let db = kit::testing::db(SUBGRAPH, &[kit::migrate::KIT]).await;
        let probe = Arc::new(Probe::default());
        let keys = access_keys(db.ctx.clock.now());
        let options = EdgeOptions {
            ctx: db.ctx.clone(),
            gateway_key: GATEWAY_KEY,
            access_keys: keys.clone(),
            mode,
        };
        let router = graphql::router(schema(mode, Arc::clone(&probe)), options);
        let service = Service::new(db.ctx.clone())
            .graphql(router)
            .migrations(&[kit::migrate::KIT])
            .access_keys(keys.clone());
        let process = Process::bind(&Listen::anywhere(), vec![change(service)], None)
            .await
            .unwrap();
        let addresses = process.addresses().clone();
        let stop = CancellationToken::new();
        let running = TaskTracker::new().spawn(process.run(stop.clone()));
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        Self {
            db,
            addresses,
            probe,
            keys,
            stop,
            running,
            http,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.db.ctx.clock.now()
    }

    pub(crate) fn graphql(&self) -> SocketAddr {
        self.addresses.graphql[SUBGRAPH]
    }

    /// A request as the gateway sends it, until something of it is changed.
    pub(crate) fn shot(&self, body: impl Into<Vec<u8>>) -> Shot<'_> {
        Shot {
            world: self,
            method: reqwest::Method::POST,
            body: body.into(),
            timestamp: self.now().timestamp().to_string(),
            nonce: hex::encode(self.db.ctx.ids.bytes16()),
            key: GATEWAY_KEY,
            subgraph: SUBGRAPH,
            content_type: Some("application/json; charset=utf-8"),
            headers: Vec::new(),
            signature: None,
        }
    }

    /// A signed request of a query without variables.
    pub(crate) fn query(&self, query: &str) -> Shot<'_> {
        self.shot(json!({ "query": query }).to_string())
    }

    pub(crate) fn token(&self) -> String {
        self.stepped_up_token(None)
    }

    pub(crate) fn stepped_up_token(&self, until: Option<DateTime<Utc>>) -> String {
        let (key, kid) = signing_key();
        let new = token::NewToken {
            union: Union::Chongqing,
            member: MEMBER,
            login: LOGIN,
            id: Uuid::nil(),
            issued_at: self.now(),
            life_seconds: token::LIFE_SECONDS_MAX,
            stepped_up_until: until,
        };
        token::sign(&new, &token::SigningKey::new(kid, &key).unwrap()).unwrap()
    }

    pub(crate) async fn ops(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.addresses.ops);
        let response = self.http.get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// One request, ready to be spoilt.
#[derive(Clone)]
pub(crate) struct Shot<'a> {
    world: &'a World,
    pub(crate) method: reqwest::Method,
    pub(crate) body: Vec<u8>,
    pub(crate) timestamp: String,
    pub(crate) nonce: String,
    pub(crate) key: GatewayKey,
    pub(crate) subgraph: &'static str,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// In place of the right one.
    pub(crate) signature: Option<String>,
}

impl Shot<'_> {
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn first(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| *header == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub(crate) fn signature(&self) -> String {
        let signed = Signed {
            method: self.method.as_str(),
            subgraph: self.subgraph,
            timestamp: &self.timestamp,
            nonce: &self.nonce,
            body: &self.body,
            authorization: self.first("authorization").as_bytes(),
            gate: self.first("x-bashu-gate").as_bytes(),
            client: self.first("x-bashu-client").as_bytes(),
            language: self.first("accept-language").as_bytes(),
        };
        self.signature
            .clone()
            .unwrap_or_else(|| graphql::sign(&self.key, &signed))
    }

    pub(crate) async fn send(self) -> Answer {
        let signature = self.signature();
        let url = format!("http://{}/graphql", self.world.graphql());
        let mut request = self
            .world
            .http
            .request(self.method, url)
            .header("x-bashu-timestamp", self.timestamp)
            .header("x-bashu-nonce", self.nonce)
            .header("x-bashu-signature", signature)
            .body(self.body);
        if let Some(content_type) = self.content_type {
            request = request.header("content-type", content_type);
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let started = std::time::Instant::now();
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer {
            status,
            headers,
            text,
            body,
            took: started.elapsed(),
        }
    }

    /// Sends it, and asserts that it is refused so.
    pub(crate) async fn refused(self, status: u16, code: &str) {
        let answer = self.send().await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{}",
            answer.text
        );
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        let graphql = &self.body["errors"][0]["extensions"]["code"];
        graphql
            .as_str()
            .or(self.body["error"]["code"].as_str())
            .unwrap_or("none")
    }

    pub(crate) fn message(&self) -> &str {
        self.body["errors"][0]["message"]
            .as_str()
            .unwrap_or_default()
    }
}
