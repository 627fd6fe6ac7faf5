//! Runs the router as a library. This follows the library's own entry point, with three things
//! changed: its configuration is ours and comes from memory, its health paths are the ones that
//! all services of the project have, and there is no landing page.

use std::sync::Arc;

use hive_router::background_tasks::BackgroundTasksManager;
use hive_router::config::HiveRouterConfig;
use hive_router::error::RouterInitError;
use hive_router::ntex::{self, SharedCfg, web};
use hive_router::pipeline::long_lived_client_limit::LongLivedClientLimitService;
use hive_router::pipeline::request_identifiers::RequestIdentifiersService;
use hive_router::pipeline::request_summary::RequestSummaryService;
use hive_router::pipeline::response_compression::ResponseCompressionService;
use hive_router::plugins::plugins_service::PluginService;
use hive_router::telemetry::{PrometheusRuntime, Telemetry};
use hive_router::{
    PluginRegistry, RouterPaths, RouterSharedState, SchemaState, build_http_service_config,
    configure_app_from_config, configure_ntex_app, init_rustls_crypto_provider,
    invoke_shutdown_hooks,
};

use crate::door::{LIVE_PATH, READY_PATH};
use crate::plugin::Plugin;

/// Serves until the process is told to end, then lets running requests finish.
pub(crate) fn run(config: HiveRouterConfig) -> Result<(), RouterInitError> {
    init_rustls_crypto_provider();
    ntex::rt::System::build()
        .name("gateway")
        .build(ntex::rt::DefaultRuntime)
        .block_on(serve(config.into_static()))
}

async fn serve(config: &'static HiveRouterConfig) -> Result<(), RouterInitError> {
    let telemetry = Telemetry::init_global(config)?;
    let mut tasks = BackgroundTasksManager::new();
    let registry = PluginRegistry::new().register::<Plugin>();
    let (shared, schema) =
        configure_app_from_config(config, telemetry.context.clone(), &mut tasks, registry).await?;
    let served = listen(config, &telemetry, Arc::clone(&shared), schema).await;
    tasks.graceful_shutdown().await;
    telemetry.graceful_shutdown().await;
    invoke_shutdown_hooks(&shared).await;
    served
}

async fn listen(
    config: &'static HiveRouterConfig,
    telemetry: &Telemetry,
    shared: Arc<RouterSharedState>,
    schema: Arc<SchemaState>,
) -> Result<(), RouterInitError> {
    let prometheus = telemetry
        .prometheus
        .as_ref()
        .and_then(PrometheusRuntime::to_attached);
    let mut paths = RouterPaths::new(config.graphql_path().to_owned(), None, None);
    LIVE_PATH.clone_into(&mut paths.health);
    READY_PATH.clone_into(&mut paths.readiness);
    paths.detect_conflicts(&prometheus)?;
    let connections = LongLivedClientLimitService::new(config);
    let compression = ResponseCompressionService::new(config);
    let address = config.address();
    let drain = config.shutdown_timeout();
    let server = web::HttpServer::new(async move || {
        let prometheus = prometheus.clone();
        let metrics_path = prometheus
            .as_ref()
            .map(|attached| attached.endpoint.clone());
        web::App::new()
            .middleware(connections.clone())
            .middleware(PluginService::new(paths.clone(), metrics_path))
            .middleware(RequestSummaryService::new(&paths.graphql))
            .middleware(RequestIdentifiersService)
            // The last is the outermost: it alone meets what is really sent.
            .middleware(compression.clone())
            .state(Arc::clone(&shared))
            .state(Arc::clone(&schema))
            .state(Arc::clone(&shared.telemetry_context))
            .configure(|app| configure_ntex_app(app, &paths, prometheus))
            .default_service(web::to(async || web::HttpResponse::NotFound()))
    });
    let service = SharedCfg::new("GATEWAY").add(build_http_service_config(config));
    server
        .config(service)
        .shutdown_timeout(drain)
        .bind(&address)
        .map_err(|error| RouterInitError::HttpServerBindError(address, error))?
        .run()
        .await
        .map_err(RouterInitError::HttpServerStartError)
}
