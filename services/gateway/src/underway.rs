//! How many requests are being answered. Beyond a bound more are refused at once, before anything
//! is read of them: what could not be answered in time would only be asked again, and all would
//! wait for answers that nobody takes. And the end waits for them and for nothing else: the server
//! counts connections, and a connection that says nothing more may keep it waiting for the whole
//! of its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hive_router::ntex::http::header::ACCEPT_LANGUAGE;
use hive_router::ntex::service::{Middleware, Service, ServiceCtx};
use hive_router::ntex::web::{DefaultError, Error, WebRequest, WebResponse};
use hive_router::ntex::{self, SharedCfg};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::time::{Instant, sleep};

use crate::door::GATE_HEADER;
use crate::locale::Locale;
use crate::refusal::Refusal;

/// How long nothing must have been underway before the process ends: the last answer is on its
/// way to the socket, and a request whose head is arriving is still answered.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two looks at what is underway.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The requests of people being answered at once, at most. Those that wait for a payment's code do
/// so for up to 5 s each; others take tens of milliseconds.
const PEOPLES_REQUESTS_MAX: usize = 256;
/// The requests of gates being answered at once, at most: apart, so that no run on tickets keeps a
/// queue waiting at a gate. The header is not verified here. Who forges it takes from the gates'
/// room, and the limits of an address hold all the same.
const GATES_REQUESTS_MAX: usize = 256;
/// When to ask again, in seconds.
const RETRY_S: u64 = 1;

/// The requests being answered by all threads; a middleware that counts them.
#[derive(Debug, Clone)]
pub(crate) struct Underway {
    people: Arc<AtomicUsize>,
    gates: Arc<AtomicUsize>,
    turned_away: IntCounterVec,
}

impl Underway {
    /// What is turned away is counted in `registry`, where there is one.
    pub(crate) fn new(registry: Option<&Registry>) -> Result<Self, prometheus::Error> {
        let told = Opts::new(
            "bashu_gateway_turned_away_total",
            "Requests refused since too many were underway, by whose they were",
        );
        let turned_away = IntCounterVec::new(told, &["of"])?;
        if let Some(registry) = registry {
            registry.register(Box::new(turned_away.clone()))?;
        }
        Ok(Self {
            people: Arc::default(),
            gates: Arc::default(),
            turned_away,
        })
    }

    /// Returns when nothing has been underway for a second.
    pub(crate) async fn quiet(&self) {
        let mut since = Instant::now();
        while since.elapsed() < QUIET_TIME {
            sleep(LOOK_PAUSE).await;
            let people = self.people.load(Ordering::Acquire);
            if people + self.gates.load(Ordering::Acquire) > 0 {
                since = Instant::now();
            }
        }
    }

    /// Room for one more; `None` when there is none.
    fn one(&self, is_gates: bool) -> Option<One> {
        let (of, most, name) = if is_gates {
            (&self.gates, GATES_REQUESTS_MAX, "gates")
        } else {
            (&self.people, PEOPLES_REQUESTS_MAX, "people")
        };
        let one = One(Arc::clone(of));
        if of.fetch_add(1, Ordering::AcqRel) < most {
            return Some(one);
        }
        self.turned_away.with_label_values(&[name]).inc();
        None
    }
}

/// One request; it is over when this is dropped, answered or not.
struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S> Middleware<S, SharedCfg> for Underway {
    type Service = Counted<S>;

    fn create(&self, service: S, _: SharedCfg) -> Counted<S> {
        Counted {
            service,
            underway: self.clone(),
        }
    }
}

/// The service whose requests are counted.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    service: S,
    underway: Underway,
}

impl<S> Service<WebRequest<DefaultError>> for Counted<S>
where
    S: Service<WebRequest<DefaultError>, Response = WebResponse, Error = Error>,
{
    type Response = WebResponse;
    type Error = Error;

    ntex::forward_ready!(service);

    async fn call(
        &self,
        request: WebRequest<DefaultError>,
        ctx: ServiceCtx<'_, Self>,
    ) -> Result<WebResponse, Error> {
        let headers = request.headers();
        let Some(_one) = self.underway.one(headers.contains_key(GATE_HEADER)) else {
            let language = headers.get(ACCEPT_LANGUAGE);
            let language = language.and_then(|value| value.to_str().ok());
            let locale = Locale::from_accept_language(language);
            let refusal = Refusal::Overloaded {
                retry_after_s: RETRY_S,
            };
            return Ok(request.into_response(refusal.answer(locale)));
        };
        ctx.call(&self.service, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn underway() -> Underway {
        Underway::new(None).unwrap()
    }

    /// What is underway is waited for, and then the second in which nothing is.
    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_what_is_underway() {
        let underway = underway();
        for is_gates in [false, true] {
            let one = underway.one(is_gates);
            let quiet = underway.quiet();
            tokio::pin!(quiet);
            let waited = tokio::time::timeout(Duration::from_secs(20), &mut quiet).await;
            assert!(waited.is_err(), "it did not wait");
            drop(one);
            quiet.await;
        }
    }

    /// People and gates have room of their own; who is turned away takes none and is counted.
    #[test]
    fn beyond_the_bound_there_is_no_room_until_one_ends() {
        let underway = underway();
        let mut people: Vec<One> = (0..PEOPLES_REQUESTS_MAX)
            .map(|_| underway.one(false).unwrap())
            .collect();
        assert!(underway.one(false).is_none());
        assert!(underway.one(false).is_none());
        let gate = underway.one(true);
        assert!(gate.is_some(), "people took the gates' room");
        people.pop();
        assert!(underway.one(false).is_some());
        let counted = underway.turned_away.with_label_values(&["people"]).get();
        assert_eq!(counted, 2);
    }
}
