//! How a process runs services: their listeners, their loops, their health, and how all of it
//! ends. Everything that runs beside a request is started here and waited for here.
//!
//! GraphQL has a listener for each service; REST has one for the process, with the services'
//! routes and nothing else; `/live`, `/ready` and `/metrics` are on a third.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::config::Listen;
use crate::consumer::{Consumer, Handler};
use crate::migrate::Migration;
use crate::relay::Relay;
use crate::replica::Keys;
use crate::token::AccessKeys;
use crate::{Ctx, Error, Result, audit, drift, due, once, replica, telemetry};

mod health;
mod listener;
mod supervise;

use health::Health;
use listener::Limited;

/// How long requests in flight may take to end when the process stops, in seconds.
pub const DRAIN_SECONDS_MAX: u64 = 30;
/// How long loops may take to end when the process stops, in seconds.
pub const LOOPS_STOP_SECONDS_MAX: u64 = 30;
/// How often forgotten idempotency records are swept, in seconds.
const SWEEP_SECONDS: u64 = 600;

type Run = Arc<dyn Fn(Ctx, CancellationToken) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// One service as a process runs it.
pub struct Service {
    ctx: Ctx,
    graphql: Option<Router>,
    rest: Router,
    loops: Vec<(&'static str, Run)>,
    migrations: Vec<&'static str>,
    access_keys: Option<AccessKeys>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loops: Vec<_> = self.loops.iter().map(|(name, _)| name).collect();
        f.debug_struct("Service")
            .field("name", &self.name())
            .field("loops", &loops)
            .finish()
    }
}

impl Service {
    /// A service that sweeps its idempotency records, seals its audit rows and does nothing else
    /// yet.
    pub fn new(ctx: Ctx) -> Self {
        Self {
            ctx,
            graphql: None,
            rest: Router::new(),
            loops: Vec::new(),
            migrations: Vec::new(),
            access_keys: None,
        }
        .add_loop("sweep", sweep_loop)
        .add_loop("clock", drift::watch)
        .add_loop("seal", audit::seal::run)
    }

    pub fn name(&self) -> &'static str {
        self.ctx.service
    }

    /// The router of [`crate::graphql::router`].
    #[must_use]
    pub fn graphql(self, router: Router) -> Self {
        Self {
            graphql: Some(router),
            ..self
        }
    }

    /// REST routes, whose bodies have at most `body_bytes_max` bytes:
    /// [`crate::http::REST_BODY_BYTES_MAX`] as a rule.
    #[must_use]
    pub fn rest(self, routes: Router, body_bytes_max: usize) -> Self {
        let rest = self
            .rest
            .clone()
            .merge(crate::http::limited(routes, body_bytes_max));
        Self { rest, ..self }
    }

    /// Work that goes on until `stop`; one that ends before, by an error or a panic, is logged
    /// and started again.
    #[must_use]
    pub fn add_loop<F, R>(mut self, name: &'static str, run: F) -> Self
    where
        F: Fn(Ctx, CancellationToken) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.loops
            .push((name, Arc::new(move |ctx, stop| Box::pin(run(ctx, stop)))));
        self
    }

    /// Runs the service's due work.
    #[must_use]
    pub fn due<W: due::Work + 'static>(self, work: W) -> Self {
        let work = Arc::new(work);
        self.add_loop("due", move |ctx, stop| {
            due::run(ctx, Arc::clone(&work), stop)
        })
    }

    /// Publishes the service's events.
    #[must_use]
    pub fn relay(self, bus: &Bus) -> Self {
        let bus = bus.clone();
        self.add_loop("relay", move |ctx, stop| {
            let relay = Relay::new(ctx, bus.clone());
            async move {
                relay.run(stop).await;
                Ok(())
            }
        })
    }

    /// Applies other services' events.
    #[must_use]
    pub fn consume<H: Handler + Clone>(self, bus: &Bus, handler: H) -> Self {
        let bus = bus.clone();
        self.add_loop(handler.name(), move |ctx, stop| {
            let consumer = Consumer::new(ctx, bus.clone(), handler.clone());
            async move {
                consumer.run(stop).await;
                Ok(())
            }
        })
    }

    /// Keeps the key sets fresh, without which it is not ready.
    #[must_use]
    pub fn keys(self, keys: &Keys) -> Self {
        let held = keys.clone();
        self.access_keys(keys.access().clone())
            .add_loop("keys", move |ctx, stop| {
                replica::keys_loop(ctx, held.clone(), stop)
            })
    }

    /// The migrations without which it is not ready.
    #[must_use]
    pub fn migrations(mut self, migrations: &[&[Migration]]) -> Self {
        self.migrations
            .extend(migrations.iter().copied().flatten().map(|one| one.name));
        self
    }

    /// The keys without which it is not ready.
    #[must_use]
    pub fn access_keys(self, keys: AccessKeys) -> Self {
        Self {
            access_keys: Some(keys),
            ..self
        }
    }
}

/// Where a process listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// GraphQL by service: `http://{address}/graphql`.
    pub graphql: BTreeMap<&'static str, SocketAddr>,
    pub rest: SocketAddr,
    pub ops: SocketAddr,
}

/// A process that has its listeners and serves nothing yet.
#[derive(Debug)]
pub struct Process {
    services: Vec<Service>,
    graphql: Vec<(Limited, Router)>,
    rest: Limited,
    ops: Limited,
    addresses: Addresses,
    metrics: Option<PrometheusHandle>,
}

impl Process {
    /// Takes the listeners.
    ///
    /// # Errors
    /// When an address is taken: the message names it.
    pub async fn bind(
        listen: &Listen,
        mut services: Vec<Service>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self> {
        let rest = Limited::bind(listen.rest()).await?;
        let ops = Limited::bind(listen.ops()).await?;
        let mut addresses = Addresses {
            graphql: BTreeMap::new(),
            rest: rest.address(),
            ops: ops.address(),
        };
        let mut graphql = Vec::new();
        for service in &mut services {
            if let Some(router) = service.graphql.take() {
                let listener = Limited::bind(listen.graphql(service.name())).await?;
                addresses.graphql.insert(service.name(), listener.address());
                graphql.push((listener, router));
            }
        }
        Ok(Self {
            services,
            graphql,
            rest,
            ops,
            addresses,
            metrics,
        })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `stop`, then ends in this order: not ready, no new connections, requests in
    /// flight finish, loops end, databases close.
    ///
    /// # Errors
    /// When requests or loops did not end in time; they are cut off then.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let health = Arc::new(Health::of(&self.services, self.metrics.clone()));
        let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
        let loops_stop = CancellationToken::new();
        let (requests, loops) = (TaskTracker::new(), TaskTracker::new());
        let rest = self.services.iter().map(|service| service.rest.clone());
        let rest = crate::http::rest(rest.fold(Router::new(), Router::merge));
        for (listener, router) in self.graphql.into_iter().chain([(self.rest, rest)]) {
            requests.spawn(serve(listener, router, closing.clone()));
        }
        let ops = TaskTracker::new();
        let routes = health::routes(Arc::clone(&health));
        ops.spawn(serve(self.ops, crate::http::rest(routes), ended.clone()));
        for service in &self.services {
            for (name, run) in &service.loops {
                let (ctx, stop) = (service.ctx.clone(), loops_stop.clone());
                loops.spawn(supervise::run(name, Arc::clone(run), ctx, stop));
            }
        }
        if let Some(metrics) = self.metrics {
            loops.spawn(telemetry::keep_up(metrics, loops_stop.clone()));
        }
        tracing::info!(count = self.services.len(), "serving");
        stop.cancelled().await;
        tracing::info!("stopping");
        health.stop();
        closing.cancel();
        let requests_ended = within(DRAIN_SECONDS_MAX, requests).await;
        loops_stop.cancel();
        let loops_ended = within(LOOPS_STOP_SECONDS_MAX, loops).await;
        for service in self.services {
            // The server ends what a failed close leaves open.
            let _ = service.ctx.db.pool().clone().close().await;
        }
        ended.cancel();
        within(1, ops).await;
        tracing::info!("stopped");
        if requests_ended && loops_ended {
            Ok(())
        } else {
            Err(Error::internal("requests or loops did not end in time"))
        }
    }
}

async fn within(seconds: u64, tasks: TaskTracker) -> bool {
    tasks.close();
    tokio::time::timeout(Duration::from_secs(seconds), tasks.wait())
        .await
        .is_ok()
}

async fn serve(listener: Limited, router: Router, closing: CancellationToken) {
    let address = listener.address();
    let service = router.into_make_service();
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(async move { closing.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%address, reason = %error.kind(), "a listener failed");
    }
}

/// A token that is cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn on_termination() -> Result<CancellationToken> {
    let failed = |_| Error::internal("signals cannot be listened for");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    TaskTracker::new().spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(stop)
}

async fn sweep_loop(ctx: Ctx, stop: CancellationToken) -> Result<()> {
    while !stop.is_cancelled() {
        if ctx.db.tx("once_sweep", once::sweep).await? > 0 {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(SWEEP_SECONDS)) => {}
        }
    }
    Ok(())
}
