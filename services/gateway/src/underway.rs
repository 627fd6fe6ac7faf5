//! How many requests are being answered, so that the end waits for them and for nothing else. The
//! server counts connections, and a connection that says nothing more may keep it waiting for the
//! whole of its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hive_router::ntex::service::{Middleware, Service, ServiceCtx};
use hive_router::ntex::web::{DefaultError, Error, WebRequest, WebResponse};
use hive_router::ntex::{self, SharedCfg};
use tokio::time::{Instant, sleep};

/// How long nothing must have been underway before the process ends: the last answer is on its
/// way to the socket, and a request whose head is arriving is still answered.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two looks at what is underway.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The requests being answered by all threads; a middleware that counts them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Underway(Arc<AtomicUsize>);

impl Underway {
    /// Returns when nothing has been underway for a second.
    pub(crate) async fn quiet(&self) {
        let mut since = Instant::now();
        while since.elapsed() < QUIET_TIME {
            sleep(LOOK_PAUSE).await;
            if self.0.load(Ordering::Acquire) > 0 {
                since = Instant::now();
            }
        }
    }

    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::AcqRel);
        One(Arc::clone(&self.0))
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
        let _one = self.underway.one();
        ctx.call(&self.service, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is underway is waited for, and then the second in which nothing is.
    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_what_is_underway() {
        let underway = Underway::default();
        let one = underway.one();
        let quiet = underway.quiet();
        tokio::pin!(quiet);
        let waited = tokio::time::timeout(Duration::from_secs(20), &mut quiet).await;
        assert!(waited.is_err(), "it did not wait");
        drop(one);
        quiet.await;
    }
}
