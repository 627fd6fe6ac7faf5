//! hive-router as its own program runs it, without our plugin and with its own defaults: what
//! `make bench` holds the gateway against. `ROUTER_CONFIG_FILE_PATH` names its configuration. It
//! limits, signs and refuses nothing, so it is built by the bench alone and never deployed.

// The router's middlewares nest deeper than the default allows.
#![recursion_limit = "256"]

use hive_router::error::RouterInitError;
// Named by the attribute below.
use hive_router::ntex;
use hive_router::{
    PluginRegistry, RouterGlobalAllocator, configure_global_allocator, init_rustls_crypto_provider,
    router_entrypoint,
};

configure_global_allocator!();

#[hive_router::main]
async fn main() -> Result<(), RouterInitError> {
    init_rustls_crypto_provider();
    router_entrypoint(PluginRegistry::new()).await
}
