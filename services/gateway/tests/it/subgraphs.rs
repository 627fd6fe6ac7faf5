//! Small real subgraphs: async-graphql behind axum on loopback, which remember what reached them.
//! The graph they serve together is `tests/fixtures`, composed by `schema/compose`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_graphql::{
    Context, EmptySubscription, Error, ErrorExtensions as _, ID, Object, ObjectType, Request,
    Schema,
};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One request as a subgraph saw it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) subgraph: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What the subgraphs share with the test.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    /// `Query.held` answers once this turns true.
    pub(crate) released: watch::Sender<bool>,
    /// The key set that identity publishes; `None` answers 503.
    pub(crate) key_set: watch::Sender<Option<String>>,
}

impl Shared {
    pub(crate) fn new(key_set: String) -> Self {
        Self {
            received: Arc::default(),
            released: watch::Sender::new(false),
            key_set: watch::Sender::new(Some(key_set)),
        }
    }

    /// How many requests reached a subgraph since the last time that they were taken.
    pub(crate) fn received_count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// All requests that reached a subgraph since the last time.
    pub(crate) fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

pub(crate) async fn serve_identity(shared: &Shared) -> SocketAddr {
    let schema = Schema::build(IdentityQuery, IdentityMutation, EmptySubscription)
        .enable_federation()
        .finish();
    serve("identity", schema, shared).await
}

pub(crate) async fn serve_passes(shared: &Shared) -> SocketAddr {
    let schema = Schema::build(PassesQuery, PassesMutation, EmptySubscription)
        .enable_federation()
        .data(shared.released.subscribe())
        .finish();
    serve("passes", schema, shared).await
}

async fn serve<Q, M>(
    name: &'static str,
    schema: Schema<Q, M, EmptySubscription>,
    shared: &Shared,
) -> SocketAddr
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
{
    let log = Arc::clone(&shared.received);
    let graph = post(
        move |headers: HeaderMap, body: axum::body::Bytes| async move {
            let received = Received {
                subgraph: name,
                headers: headers.clone(),
                body: body.to_vec(),
            };
            log.lock().unwrap().push(received);
            let request: Request = serde_json::from_slice(&body).unwrap();
            let answer = schema.execute(request.data(headers)).await;
            axum::Json(answer)
        },
    );
    let key_set = shared.key_set.subscribe();
    let keys = get(
        |State(keys): State<watch::Receiver<Option<String>>>| async move {
            match keys.borrow().clone() {
                Some(text) => text.into_response(),
                None => axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        },
    );
    let routes = Router::new()
        .route("/graphql", graph)
        .route("/.well-known/jwks.json", keys)
        .with_state(key_set);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

struct IdentityQuery;

#[Object]
impl IdentityQuery {
    /// The token that came in, or `anonymous`. Gives way first, so that equal requests overlap.
    async fn whoami(&self, ctx: &Context<'_>) -> String {
        tokio::task::yield_now().await;
        let headers = ctx.data_unchecked::<HeaderMap>();
        headers
            .get("authorization")
            .map_or("anonymous", |value| value.to_str().unwrap())
            .to_owned()
    }

    /// All headers that came in.
    async fn headers(&self, ctx: &Context<'_>) -> Vec<String> {
        let headers = ctx.data_unchecked::<HeaderMap>().iter();
        headers
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    /// Fails and tells more than it should.
    async fn broken(&self) -> Result<Option<String>, Error> {
        Err(
            Error::new("relation members at 10.0.0.7").extend_with(|_, extensions| {
                extensions.set("code", "FORBIDDEN");
                extensions.set("query", "SELECT secret");
            }),
        )
    }

    /// Fails as a subgraph does that cannot read an input.
    async fn unreadable(&self) -> Result<Option<String>, Error> {
        let error = Error::new("Failed to parse \"Date\": input is out of range");
        Err(error.extend_with(|_, extensions| extensions.set("code", "BAD_INPUT")))
    }

    async fn tree(&self) -> Node {
        Node
    }

    async fn member(&self, id: ID) -> Option<Member> {
        Some(Member { id })
    }

    async fn echo(
        &self,
        text: Option<String>,
        numbers: Option<Vec<i32>>,
        nested: Option<Vec<Option<Vec<i32>>>>,
    ) -> usize {
        text.map_or(0, |text| text.len())
            + numbers.map_or(0, |numbers| numbers.len())
            + nested.map_or(0, |nested| nested.len())
    }

    #[graphql(entity)]
    async fn member_by_id(&self, id: ID) -> Option<Member> {
        Some(Member { id })
    }
}

struct IdentityMutation;

#[Object]
impl IdentityMutation {
    async fn request_login_code(&self) -> i32 {
        1
    }

    async fn login(&self) -> i32 {
        1
    }

    async fn redeem(&self) -> i32 {
        1
    }
}

struct Node;

#[Object]
impl Node {
    async fn name(&self) -> &str {
        "node"
    }

    async fn child(&self) -> Node {
        Node
    }

    async fn children(&self) -> Vec<Node> {
        vec![Node]
    }
}

struct Member {
    id: ID,
}

#[Object]
impl Member {
    async fn id(&self) -> &ID {
        &self.id
    }

    async fn login(&self) -> &str {
        "login"
    }
}

struct PassesQuery;

#[Object]
impl PassesQuery {
    /// Answers when the test lets it.
    async fn held(&self, ctx: &Context<'_>) -> Option<String> {
        let mut released = ctx.data_unchecked::<watch::Receiver<bool>>().clone();
        released.wait_for(|released| *released).await.ok()?;
        Some("released".to_owned())
    }

    #[graphql(entity)]
    async fn member_by_id(&self, id: ID) -> Option<Holder> {
        Some(Holder { id })
    }
}

struct PassesMutation;

#[Object]
impl PassesMutation {
    async fn pay_order(&self) -> i32 {
        1
    }
}

struct Holder {
    id: ID,
}

#[Object(name = "Member")]
impl Holder {
    async fn id(&self) -> &ID {
        &self.id
    }

    async fn passes(&self) -> Vec<String> {
        vec![format!("pass of {}", self.id.as_str())]
    }
}
