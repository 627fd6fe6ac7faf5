//! The listener of those who run the gateway, apart from the graph's so that no proxy passes it on
//! by mistake: whether it lives, whether it is ready, and what it has counted. It knows no token
//! and no limit, and names what is within: it is for the machine itself.

use std::net::SocketAddr;
use std::sync::Arc;

use hive_router::SchemaState;
use hive_router::ntex::server::Server;
use hive_router::ntex::time::Seconds;
use hive_router::ntex::web::types::State;
use hive_router::ntex::web::{self, HttpRequest, HttpResponse};
use hive_router::telemetry::PrometheusAttached;
use prometheus::{Encoder as _, TextEncoder};

/// Whether the process runs.
const LIVE_PATH: &str = "/live";
/// Whether it can answer requests.
const READY_PATH: &str = "/ready";
/// What it has counted, for Prometheus.
const METRICS_PATH: &str = "/metrics";

/// How long it is waited for at the end: its answers are short, and whoever asks keeps a
/// connection that may say nothing more.
const DRAIN_TIME_MAX: Seconds = Seconds(1);

/// Takes the listener and serves until it is stopped.
pub(crate) fn serve(
    address: SocketAddr,
    schema: Arc<SchemaState>,
    counted: Option<PrometheusAttached>,
) -> std::io::Result<Server> {
    let server = web::HttpServer::new(async move || {
        web::App::new()
            .state(Arc::clone(&schema))
            .state(counted.clone())
            .route(LIVE_PATH, web::get().to(live))
            .route(READY_PATH, web::get().to(ready))
            .route(METRICS_PATH, web::get().to(metrics))
            .default_service(web::to(async || HttpResponse::NotFound()))
    });
    let server = server.workers(1).shutdown_timeout(DRAIN_TIME_MAX);
    Ok(server.disable_signals().bind(address)?.run())
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().body("live\n")
}

async fn ready(request: HttpRequest, schema: State<Arc<SchemaState>>) -> HttpResponse {
    if schema.is_ready(&request).await {
        HttpResponse::Ok().body("ready\n")
    } else {
        HttpResponse::ServiceUnavailable().body("not ready\n")
    }
}

async fn metrics(counted: State<Option<PrometheusAttached>>) -> HttpResponse {
    let Some(counted) = counted.as_ref() else {
        return HttpResponse::NotFound().finish();
    };
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&counted.registry.gather(), &mut text) {
        Ok(()) => HttpResponse::Ok()
            .content_type(encoder.format_type())
            .body(text),
        Err(error) => {
            tracing::error!(target: "bashu::gateway", %error, "cannot write the metrics out");
            HttpResponse::InternalServerError().finish()
        }
    }
}
