//! What happens to every request before the router reads its body: is there such a path, who
//! calls, is there room. And the limits that depend on what a document asks for. It forwards
//! nothing by itself: what it learnt goes into [`Facts`], from which the plugin fills the
//! subgraph requests, so that no other header of a client ever reaches a subgraph.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use document::budget::Demand;
use document::nesting::{Syntax, is_shallow};
use hive_router::http::HeaderValue;
use hive_router::ntex::http::HeaderMap;
use hive_router::ntex::web::{DefaultError, WebRequest};
use tokio::runtime::Handle;

use crate::ambient::{now_s, random_hex};
use crate::config::{ClientAddress, Settings};
use crate::keys::KeyStore;
use crate::limiter::{Bucket, Limiter, Verdict};
use crate::locale::Locale;
use crate::refusal::Refusal;
use crate::room::{Askers, Place, RETRY_S, Room};
use crate::router_config::GRAPH_PATH;
use crate::sign::{Covered, Said, Signer};
use crate::token::{Caller, TokenFlaw, Tokens};

/// Longest `Accept-Language` that is passed on.
const LANGUAGE_BYTES_MAX: usize = 256;
/// Carries a gate's assertion.
const GATE_HEADER: &str = "x-bashu-gate";
/// Longest gate assertion.
const ASSERTION_BYTES_MAX: usize = 2_048;
/// Bytes of a trace's name.
const TRACE_BYTES: usize = 16;
/// Bytes of the name of a part of a trace.
const SPAN_BYTES: usize = 8;
/// When to ask again for what cannot be asked now.
const UNAVAILABLE_RETRY_S: u64 = 2;

/// What is known of a request once it was let in.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) locale: Locale,
    /// Where the client is.
    pub(crate) address: IpAddr,
    pub(crate) askers: Askers,
    /// Whose token it carries.
    pub(crate) caller: Option<Caller>,
    /// What subgraphs are told of it under signature: `Authorization` with a token that was found
    /// good, the scheme spelt as they want it; the client's address and language; and a gate's
    /// assertion, which admission alone verifies.
    pub(crate) covered: Covered,
    /// The client's own trace where it has one, a new one elsewhere.
    pub(crate) traceparent: Option<HeaderValue>,
}

/// Lets requests in.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) signer: Signer,
    client_address: ClientAddress,
    keys: Arc<KeyStore>,
    tokens: Tokens,
    limiter: Arc<Limiter>,
    room: Room,
    /// Runs what speaks to Redis and identity, beside the router's own threads.
    background: Handle,
}

impl Door {
    /// Takes what it needs of `settings`; its own traffic runs on `background`.
    pub(crate) fn new(
        settings: Settings,
        room: Room,
        background: Handle,
    ) -> Result<Self, reqwest::Error> {
        let keys = Arc::new(KeyStore::new(&settings.jwks_url)?);
        let fresh = Arc::clone(&keys);
        background.spawn(async move { fresh.keep_fresh().await });
        let limiter = Limiter::new(settings.union, settings.limits, &settings.redis_url);
        Ok(Self {
            signer: settings.signer,
            client_address: settings.client_address,
            keys,
            tokens: Tokens::new(settings.union),
            limiter: Arc::new(limiter),
            room,
            background,
        })
    }

    /// Facts of a request for the graph, or why it is refused.
    pub(crate) async fn receive(
        &self,
        request: &WebRequest<DefaultError>,
    ) -> Result<Facts, (Refusal, Locale)> {
        let headers = request.headers();
        let accept_language =
            text(headers, "accept-language").filter(|value| value.len() <= LANGUAGE_BYTES_MAX);
        let locale = Locale::from_accept_language(accept_language.as_deref());
        if request.path() != GRAPH_PATH {
            return Err((Refusal::NotFound, locale));
        }
        let address = self.address_of(request);
        let authenticated = self.authenticate(headers).await;
        let mut wanted = vec![(Bucket::Address(address), 1)];
        if let Ok(Some((caller, _))) = &authenticated {
            wanted.push((Bucket::Login(caller.login.clone()), 1));
        }
        // Without Redis requests pass: their own services limit what is dear.
        if let Verdict::Full { retry_after_s } = self.take(wanted).await {
            return Err((Refusal::RateLimited { retry_after_s }, locale));
        }
        let refused = |refusal| (refusal, locale);
        let (caller, authorization) = authenticated.map_err(refused)?.unzip();
        let gate = gate_assertion(headers).map_err(refused)?;
        if !is_query_shallow(request.query_string()) {
            return Err(refused(Refusal::TooComplex));
        }
        Ok(Facts {
            locale,
            address,
            askers: gate.as_ref().map_or(Askers::People, |_| Askers::Gates),
            caller,
            covered: Covered::new(Said {
                authorization: authorization.as_deref().and_then(value),
                gate: gate.as_deref().and_then(value),
                client: value(&address.to_string()),
                language: accept_language.as_deref().and_then(value),
            }),
            traceparent: value(&traceparent(headers)),
        })
    }

    /// A place for a request whose body has arrived, to be kept until it is answered.
    pub(crate) fn place(&self, facts: &Facts) -> Result<Place, Refusal> {
        self.room
            .take(facts.askers, facts.address)
            .ok_or(Refusal::Overloaded {
                retry_after_s: RETRY_S,
            })
    }

    /// Counts what a document asks for beyond its one request.
    pub(crate) async fn charge(&self, facts: &Facts, demand: Demand) -> Result<(), Refusal> {
        let beyond = demand.mutation_fields.saturating_sub(1);
        let mut wanted = Vec::new();
        if demand.login_fields > 0 {
            wanted.push((
                Bucket::AddressLoginFields(facts.address),
                demand.login_fields,
            ));
        }
        if beyond > 0 {
            wanted.push((Bucket::Address(facts.address), beyond));
            if let Some(caller) = &facts.caller {
                wanted.push((Bucket::Login(caller.login.clone()), beyond));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        match self.take(wanted).await {
            Verdict::Full { retry_after_s } => Err(Refusal::RateLimited { retry_after_s }),
            // Guessing codes is what the limit is there for, so it does not pass uncounted.
            Verdict::Lost if demand.login_fields > 0 => Err(Refusal::Unavailable {
                retry_after_s: UNAVAILABLE_RETRY_S,
            }),
            Verdict::Taken | Verdict::Lost => Ok(()),
        }
    }

    async fn take(&self, wanted: Vec<(Bucket, u32)>) -> Verdict {
        let payment = self.limiter.pay(wanted);
        if payment.asked.is_empty() {
            return Verdict::Taken;
        }
        let is_complete = payment.is_complete();
        let limiter = Arc::clone(&self.limiter);
        // Of its own, so that it settles even where the client is gone.
        let task = self
            .background
            .spawn(async move { limiter.take(&payment).await });
        if is_complete {
            return Verdict::Taken;
        }
        task.await.unwrap_or(Verdict::Lost)
    }

    /// The caller of a good token and the header to pass on, `None` without a token; a bad one is
    /// never taken for none.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<(Caller, String)>, Refusal> {
        let mut values = headers.get_all("authorization");
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Refusal::Unauthenticated);
        }
        let token = value
            .to_str()
            .ok()
            .and_then(bearer)
            .ok_or(Refusal::Unauthenticated)?;
        let mut checked = self.check(token);
        if matches!(checked, None | Some(Err(TokenFlaw::UnknownKey))) {
            self.refresh_keys().await;
            checked = self.check(token);
        }
        match checked {
            Some(Ok(caller)) => Ok(Some((caller, format!("Bearer {token}")))),
            Some(Err(flaw)) => {
                tracing::info!(target: "bashu::gateway", %flaw, "token refused");
                Err(Refusal::Unauthenticated)
            }
            None => Err(Refusal::Unavailable {
                retry_after_s: UNAVAILABLE_RETRY_S,
            }),
        }
    }

    /// Checks against the keys known now; without any, nothing can be said of the token.
    fn check(&self, token: &str) -> Option<Result<Caller, TokenFlaw>> {
        let keys = self.keys.known()?;
        Some(self.tokens.check(token, &keys, now_s()))
    }

    async fn refresh_keys(&self) {
        let keys = Arc::clone(&self.keys);
        let task = self.background.spawn(async move { keys.refresh().await });
        if task.await.is_err() {
            tracing::error!(target: "bashu::gateway", "fetching keys broke off");
        }
    }

    fn address_of(&self, request: &WebRequest<DefaultError>) -> IpAddr {
        let peer = request.peer_addr().map(|address| address.ip());
        let seen = match self.client_address {
            ClientAddress::Peer => peer,
            // Only the last hop is our proxy's word; those before it are the client's.
            ClientAddress::Forwarded => request
                .headers()
                .get_all("x-forwarded-for")
                .last()
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.rsplit(',').next())
                .and_then(|hop| hop.trim().parse().ok())
                .or(peer),
        };
        seen.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// The only value of a header, where it is plain text.
fn text(headers: &HeaderMap, name: &'static str) -> Option<String> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        None
    } else {
        Some(value.to_owned())
    }
}

/// As a header's value. What was read as plain text always is one.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Some(token)
    } else {
        None
    }
}

fn gate_assertion(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    if !headers.contains_key(GATE_HEADER) {
        return Ok(None);
    }
    match text(headers, GATE_HEADER) {
        Some(value) if value.len() <= ASSERTION_BYTES_MAX => Ok(Some(value)),
        _ => Err(Refusal::BadRequest),
    }
}

/// The client's W3C trace context where it is well formed, a new one elsewhere.
fn traceparent(headers: &HeaderMap) -> String {
    text(headers, "traceparent")
        .filter(|value| is_traceparent(value))
        .unwrap_or_else(|| {
            let both = random_hex::<{ TRACE_BYTES + SPAN_BYTES }>();
            let (trace, span) = both.split_at(TRACE_BYTES * 2);
            format!("00-{trace}-{span}-01")
        })
}

fn is_traceparent(value: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = value.split('-').collect();
    match parts.as_slice() {
        ["00", trace, span, flags] => {
            is_hex(trace, 32)
                && is_set(trace)
                && is_hex(span, 16)
                && is_set(span)
                && is_hex(flags, 2)
        }
        _ => false,
    }
}

/// Whether each parameter of a GET nests no deeper than a body may. The document is looked at
/// again before it is parsed, whatever name it came under.
fn is_query_shallow(query: &str) -> bool {
    query.split('&').all(|parameter| {
        let is_document = parameter.starts_with("query=");
        let syntax = if is_document {
            Syntax::GraphQl
        } else {
            Syntax::Json
        };
        is_shallow(&percent_decoded(parameter), syntax)
    })
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let mut byte = [0_u8];
        match tail {
            [high, low, after @ ..]
                if *first == b'%' && hex::decode_to_slice([*high, *low], &mut byte).is_ok() =>
            {
                decoded.push(byte[0]);
                rest = after;
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use hive_router::ntex::http::HeaderMap;

    use super::{bearer, is_query_shallow, is_traceparent, traceparent};

    /// Only a well-formed trace context is passed on.
    #[test]
    fn a_trace_context_is_checked() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert!(is_traceparent(&format!("00-{trace}-b7ad6b7169203331-01")));
        for flawed in [
            String::new(),
            format!("00-{trace}-b7ad6b7169203331"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
            format!("ff-{trace}-b7ad6b7169203331-01"),
            format!("00-{trace}-b7ad6b7169203331-01-x"),
        ] {
            assert!(!is_traceparent(&flawed), "{flawed}");
        }
    }

    /// The scheme's case is free, everything else about it is not.
    #[test]
    fn only_bearer_carries_a_token() {
        assert_eq!(bearer("Bearer t"), Some("t"));
        assert_eq!(bearer("bearer t"), Some("t"));
        assert_eq!(bearer("Basic t"), None);
        assert_eq!(bearer("t"), None);
    }

    /// A request without a trace context gets a new one, well formed and of its own.
    #[test]
    fn a_trace_context_is_made() {
        let headers = HeaderMap::new();
        let made = traceparent(&headers);
        assert!(is_traceparent(&made), "{made}");
        assert_ne!(made, traceparent(&headers));
    }

    /// Depth cannot hide behind percent encoding.
    #[test]
    fn a_get_is_looked_into() {
        assert!(is_query_shallow("query=%7Ba%7D&variables=%7B%7D"));
        assert!(!is_query_shallow(&format!(
            "variables={}",
            "%5B".repeat(33)
        )));
        assert!(!is_query_shallow(&format!("variables={}", "[".repeat(33))));
    }
}
