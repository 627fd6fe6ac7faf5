//! `/live`: the process runs. `/ready`: it can answer, that is, its databases answer, have the
//! schema it was built for, and its keys are loaded. A missing Kafka makes nothing unready: reads
//! and most commands need only PostgreSQL, and events wait in the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use sea_orm::FromQueryResult;

use super::Service;
use crate::Ctx;
use crate::token::AccessKeys;

/// How long a database may take to say that it is there.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Health {
    stopping: AtomicBool,
    services: Vec<Checked>,
    metrics: Option<PrometheusHandle>,
}

struct Checked {
    ctx: Ctx,
    migrations: Vec<String>,
    access_keys: Option<AccessKeys>,
}

impl Health {
    pub(super) fn of(services: &[Service], metrics: Option<PrometheusHandle>) -> Self {
        let checked = |service: &Service| Checked {
            ctx: service.ctx.clone(),
            migrations: service
                .migrations
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            access_keys: service.access_keys.clone(),
        };
        let services = services.iter().map(checked).collect();
        Self {
            stopping: AtomicBool::new(false),
            services,
            metrics,
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}

pub(super) fn routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let mut states = BTreeMap::new();
    let mut ready = !health.stopping.load(Ordering::SeqCst);
    let checks = health
        .services
        .iter()
        .map(|service| async { (service.ctx.service, service.state().await) });
    for (name, state) in futures::future::join_all(checks).await {
        ready &= state == "ready";
        states.insert(name, state);
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(serde_json::json!({"ready": ready, "services": states})),
    )
        .into_response()
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    match &health.metrics {
        Some(metrics) => metrics.render().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(FromQueryResult)]
struct Missing {
    missing: i64,
}

impl Checked {
    async fn state(&self) -> &'static str {
        let query = self.ctx.db.one::<Missing>(
            "SELECT count(*) AS missing FROM UNNEST($1::text[]) AS wanted (name)
             WHERE NOT EXISTS (SELECT 1 FROM migration m WHERE m.name = wanted.name)",
            [self.migrations.clone().into()],
        );
        match tokio::time::timeout(CHECK_TIMEOUT, query).await {
            Ok(Ok(Some(row))) if row.missing > 0 => return "migrations are missing",
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None) | Err(_)) | Err(_) => return "the database does not answer",
        }
        if self.ctx.db.drift.check().is_err() {
            return "the clock is off";
        }
        match &self.access_keys {
            Some(keys) if !keys.is_loaded() => "keys are not loaded",
            Some(_) | None => "ready",
        }
    }
}
