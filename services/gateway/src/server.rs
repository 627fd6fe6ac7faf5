//! Runs the router as a library. This follows the library's own entry point, with some things
//! changed: its configuration is ours and comes from memory, health and metrics have a listener of
//! their own, there is no landing page, its threads have a larger stack, and signals are ours.

use std::io;
use std::net::SocketAddr;
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

use tokio::signal::unix::{SignalKind, signal};

use crate::operations;
use crate::plugin::Plugin;
use crate::room::Room;
use crate::underway::Underway;

/// Stack of a thread that serves requests. The router's futures alone take much of the usual
/// 2 MiB in an unoptimised build; what calls itself per level of a document comes on top.
const STACK_BYTES: usize = 16 * 1_024 * 1_024;

/// Serves until the process is told to end, then lets running requests finish.
pub(crate) fn run(
    config: HiveRouterConfig,
    operations: SocketAddr,
    room: Room,
) -> Result<(), RouterInitError> {
    init_rustls_crypto_provider();
    ntex::rt::System::build()
        .name("gateway")
        .stack_size(STACK_BYTES)
        .build(ntex::rt::DefaultRuntime)
        .block_on(serve(config.into_static(), operations, room))
}

async fn serve(
    config: &'static HiveRouterConfig,
    address: SocketAddr,
    room: Room,
) -> Result<(), RouterInitError> {
    let telemetry = Telemetry::init_global(config)?;
    let mut tasks = BackgroundTasksManager::new();
    let registry = PluginRegistry::new().register::<Plugin>();
    let (shared, schema) =
        configure_app_from_config(config, telemetry.context.clone(), &mut tasks, registry).await?;
    let counted = telemetry
        .prometheus
        .as_ref()
        .and_then(PrometheusRuntime::to_attached);
    if let Some(counted) = &counted {
        room.register(&counted.registry)
            .map_err(|error| RouterInitError::HttpServerStartError(io::Error::other(error)))?;
    }
    let operations = operations::serve(address, Arc::clone(&schema), counted)
        .map_err(|error| RouterInitError::HttpServerBindError(address.to_string(), error))?;
    let served = listen(config, Arc::clone(&shared), schema).await;
    operations.stop(true).await;
    tasks.graceful_shutdown().await;
    telemetry.graceful_shutdown().await;
    invoke_shutdown_hooks(&shared).await;
    served
}

async fn listen(
    config: &'static HiveRouterConfig,
    shared: Arc<RouterSharedState>,
    schema: Arc<SchemaState>,
) -> Result<(), RouterInitError> {
    // Its own health paths are there too, but the door lets in none but the graph's.
    let paths = RouterPaths::new(config.graphql_path().to_owned(), None, None);
    let connections = LongLivedClientLimitService::new(config);
    let compression = ResponseCompressionService::new(config);
    let address = config.address();
    let drain = config.shutdown_timeout();
    let underway = Underway::default();
    let counted = underway.clone();
    let server = web::HttpServer::new(async move || {
        web::App::new()
            .middleware(connections.clone())
            .middleware(PluginService::new(paths.clone(), None))
            .middleware(RequestSummaryService::new(&paths.graphql))
            .middleware(RequestIdentifiersService)
            // What is sent is compressed, and it is underway until then: the last is the outermost.
            .middleware(compression.clone())
            .middleware(counted.clone())
            .state(Arc::clone(&shared))
            .state(Arc::clone(&schema))
            .state(Arc::clone(&shared.telemetry_context))
            .configure(|app| configure_ntex_app(app, &paths, None))
            .default_service(web::to(async || web::HttpResponse::NotFound()))
    });
    let service = SharedCfg::new("GATEWAY").add(build_http_service_config(config));
    let terminated = terminated().map_err(RouterInitError::HttpServerStartError)?;
    let running = server
        .config(service)
        .shutdown_timeout(drain)
        // The server's own handling would also catch a fault of memory, such as a stack that
        // ran over, and return to it for ever: the process would spin where it must end.
        .disable_signals()
        .bind(&address)
        .map_err(|error| RouterInitError::HttpServerBindError(address, error))?
        .run();
    let told = running.clone();
    let finished = async move {
        terminated.await;
        // From here on it takes no connection and closes those that have been answered; one that
        // it fails to close must not keep the process.
        tokio::select! {
            () = told.stop(true) => {}
            () = underway.quiet() => {}
        }
    };
    tokio::select! {
        ended = running => ended.map_err(RouterInitError::HttpServerStartError),
        () = finished => Ok(()),
    }
}

/// Ends when the process is told to, by a supervisor or at a keyboard.
fn terminated() -> io::Result<impl Future<Output = ()>> {
    let mut by_supervisor = signal(SignalKind::terminate())?;
    let mut at_keyboard = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = by_supervisor.recv() => {}
            _ = at_keyboard.recv() => {}
        }
    })
}
