//! The two subgraphs of the join, and a key set with a member's token that fits it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use async_graphql::{EmptyMutation, EmptySubscription, ID, Object, ObjectType, Request, Schema};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use kit::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How long the token is good, in seconds: the gateway takes no longer one.
const TOKEN_SECONDS: i64 = 600;

/// Where the subgraphs listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) identity: SocketAddr,
    pub(super) passes: SocketAddr,
}

/// Makes tokens as identity would.
pub(super) struct Signer(SigningKey);

impl Signer {
    pub(super) fn new() -> Self {
        Self(SigningKey::from_bytes(&[11; 32]))
    }

    /// An access token of a member, good for ten minutes.
    pub(super) fn token(&self) -> String {
        let now = Clock::System.now().timestamp();
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k1" });
        let claims = json!({
            "iss": "bashu-50", "aud": "bashu", "sub": "member", "login": "login",
            "iat": now, "nbf": now, "exp": now + TOKEN_SECONDS,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn key_set(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.verifying_key().to_bytes());
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": x,
        });
        json!({ "keys": [key] }).to_string()
    }
}

/// Serves both until this program ends.
pub(super) async fn serve(signer: &Signer) -> Result<Addresses> {
    let identity = Schema::build(Identity, EmptyMutation, EmptySubscription)
        .enable_federation()
        .finish();
    let passes = Schema::build(Passes, EmptyMutation, EmptySubscription)
        .enable_federation()
        .finish();
    let keys = signer.key_set();
    let identity = graph(identity).route("/.well-known/jwks.json", get(async move || keys.clone()));
    Ok(Addresses {
        identity: listen(identity).await?,
        passes: listen(graph(passes)).await?,
    })
}

fn graph<Q: ObjectType + 'static>(schema: Schema<Q, EmptyMutation, EmptySubscription>) -> Router {
    let answer = async move |body: Bytes| {
        let request: Request = match serde_json::from_slice(&body) {
            Ok(request) => request,
            Err(_) => return axum::Json(async_graphql::Response::default()),
        };
        axum::Json(schema.execute(request).await)
    };
    Router::new().route("/graphql", post(answer))
}

async fn listen(routes: Router) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .context("a subgraph finds no port")?;
    let address = listener.local_addr()?;
    #[expect(clippy::disallowed_methods, reason = "ends with this program")]
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

struct Identity;

#[Object]
impl Identity {
    async fn member(&self, id: ID) -> Option<Member> {
        Some(Member { id })
    }

    #[graphql(entity)]
    async fn member_by_id(&self, id: ID) -> Option<Member> {
        Some(Member { id })
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

struct Passes;

#[Object]
impl Passes {
    async fn held(&self) -> Option<String> {
        None
    }

    #[graphql(entity)]
    async fn member_by_id(&self, id: ID) -> Option<Holder> {
        Some(Holder { id })
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
