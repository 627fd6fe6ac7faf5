//! Writes hive-router's configuration, in memory. Every net that the router leaves off by default
//! is set here, so no file and no environment variable can leave one open: the router's own file
//! and environment are not read at all.

use std::collections::BTreeSet;

use document::budget::COST_MAX;
use hive_router::config::HiveRouterConfig;
use hive_router::graphql_tools::parser::parse_schema;
use hive_router::graphql_tools::static_graphql::schema::{
    Definition, Document, EnumType, TypeDefinition, Value,
};
use serde_json::{Map, Value as Json, json};

use crate::config::{LogLevel, Mode, Settings};

/// Deepest selection of an operation; a fragment counts as a level.
pub(crate) const DEPTH_MAX: usize = 12;
/// Most lexical tokens of a document.
pub(crate) const TOKENS_MAX: usize = 1_000;
/// Most aliases of a document.
pub(crate) const ALIASES_MAX: usize = 30;
/// Most directives of a document.
pub(crate) const DIRECTIVES_MAX: usize = 20;
/// Length of a list whose length nobody states, in the estimate of cost.
const LIST_LENGTH_ASSUMED: u64 = 10;
/// Largest body; lists of people go by upload and not through here.
const BODY_SIZE_MAX: &str = "128KiB";
/// Largest head of a request.
const HEADERS_SIZE_MAX: &str = "16KiB";
/// Longest that planning may take.
const PLANNING_TIME_MAX: &str = "500ms";
/// Longest that one subgraph may take; `payOrder` waits up to 2 s within it.
const SUBGRAPH_TIME_MAX: &str = "5s";
/// Longest that a request may take.
const REQUEST_TIME_MAX: &str = "10s";
/// Longest that a head, and a body, may take to arrive.
const ARRIVAL_TIME_MAX: &str = "10s";
/// How long an idle connection of a client stays: longer than the 60 s for which usual load
/// balancers keep theirs, so that none sends into one that we are closing.
const IDLE_TIME_MAX: &str = "75s";
/// How long running requests are waited for when the process is told to end.
const DRAIN_TIME_MAX: &str = "30s";
/// Connections to one subgraph.
const SUBGRAPH_CONNECTIONS_MAX: u32 = 256;

/// What the router would count of each request and nobody looks at: together two thirds of what
/// counting costs. How long requests take, here and at the subgraphs, how many run, their errors,
/// and how many plans were found made remain; a document that has a plan is in the other caches.
const UNCOUNTED: [&str; 16] = [
    "http.server.request.body.size",
    "http.server.response.body.size",
    "http.client.active_requests",
    "http.client.request.body.size",
    "http.client.response.body.size",
    "hive.router.request.external_wait.duration",
    "hive.router.parse_cache.duration",
    "hive.router.parse_cache.requests_total",
    "hive.router.validate_cache.duration",
    "hive.router.validate_cache.requests_total",
    "hive.router.normalize_cache.duration",
    "hive.router.normalize_cache.requests_total",
    "hive.router.plan_cache.duration",
    "hive.router.demand_control.cost.estimated",
    "hive.router.demand_control.cost.actual",
    "hive.router.demand_control.cost.delta",
];

/// A header that no browser sends across sites without asking first. Requests whose content type
/// a browser would send unasked, and those with none, need it.
pub(crate) const PREFLIGHT: &str = "x-bashu-preflight";

/// The path of the graph.
pub(crate) const GRAPH_PATH: &str = "/graphql";

/// Writes and reads back the router's configuration.
pub(crate) fn build(settings: &Settings) -> Result<HiveRouterConfig, serde_json::Error> {
    // Read as a value and not through the router's loader, which would let the environment
    // (PORT, DISABLE_SUBGRAPH_ERROR_MASKING and more) override what is written here.
    serde_json::from_value(written(settings))
}

fn written(settings: &Settings) -> Json {
    let is_development = settings.mode == Mode::Development;
    json!({
        "http": {
            "host": settings.listen.ip().to_string(),
            "port": settings.listen.port(),
            "graphql_endpoint": GRAPH_PATH,
            "shutdown_timeout": DRAIN_TIME_MAX,
        },
        "log": { "level": level(settings.log), "format": "json", "log_internals": false },
        "supergraph": { "source": "file", "path": settings.supergraph },
        "override_subgraph_urls": { "subgraphs": addresses(settings) },
        "introspection": is_development,
        "laboratory": { "enabled": is_development },
        "csrf": { "enabled": true, "required_headers": [PREFLIGHT] },
        "limits": limits(),
        "demand_control": demand_control(),
        "query_planner": { "allow_expose": false, "timeout": PLANNING_TIME_MAX },
        "traffic_shaping": traffic(),
        // Subgraph requests cannot be signed on the router's subscription paths.
        "subscriptions": { "enabled": false },
        "websocket": { "enabled": false },
        "persisted_documents": documents(settings),
        "error_masking": {
            "enabled": true,
            "all": { "enabled": true, "extensions": { "mode": "allow", "keys": ["code"] } },
        },
        "telemetry": telemetry(settings),
        "plugins": {
            crate::plugin::NAME: { "enabled": true, "warn_on_error": false, "config": {} },
        },
    })
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

fn addresses(settings: &Settings) -> Map<String, Json> {
    settings
        .subgraphs
        .iter()
        .map(|(name, uri)| (name.clone(), json!({ "url": uri.to_string() })))
        .collect()
}

fn limits() -> Json {
    json!({
        // Without flattening, each fragment is a level, so depth cannot hide in them.
        "max_depth": { "n": DEPTH_MAX, "flatten_fragments": false, "ignore_introspection": true },
        "max_tokens": { "n": TOKENS_MAX },
        "max_aliases": { "n": ALIASES_MAX },
        "max_directives": { "n": DIRECTIVES_MAX },
        "max_request_body_size": BODY_SIZE_MAX,
        "max_request_header_size": HEADERS_SIZE_MAX,
    })
}

fn demand_control() -> Json {
    json!({
        "enabled": true,
        "operation_cost": { "max": COST_MAX, "mode": "enforce" },
        "default_list_size": { "all": LIST_LENGTH_ASSUMED },
        "subgraphs_budget": { "mode": "measure" },
    })
}

fn traffic() -> Json {
    json!({
        "max_connections_per_host": SUBGRAPH_CONNECTIONS_MAX,
        "all": {
            // Two people's equal requests must never share an answer.
            "dedupe_enabled": false,
            "request_timeout": SUBGRAPH_TIME_MAX,
            "websocket": { "reuse_connections": false, "execute_mode": "http" },
        },
        "router": {
            "dedupe": { "enabled": false },
            "keep_alive": IDLE_TIME_MAX,
            "request_timeout": REQUEST_TIME_MAX,
            "header_read_timeout": ARRIVAL_TIME_MAX,
            "body_read_timeout": ARRIVAL_TIME_MAX,
            // A small compressed body can be a large one.
            "compression": { "request": { "enabled": false } },
        },
    })
}

fn documents(settings: &Settings) -> Json {
    match &settings.documents {
        None => json!({ "enabled": false }),
        Some(path) => json!({
            "enabled": true,
            "require_id": true,
            "storage": { "type": "file", "path": path, "watch": false },
        }),
    }
}

fn telemetry(settings: &Settings) -> Json {
    let exporters: Vec<Json> = settings
        .otlp_endpoint
        .iter()
        .map(|uri| json!({ "kind": "otlp", "protocol": "http", "endpoint": uri.to_string() }))
        .collect();
    let instruments: Map<String, Json> = UNCOUNTED
        .iter()
        .map(|name| ((*name).to_owned(), json!(false)))
        .collect();
    json!({
        "metrics": {
            "exporters": [{ "kind": "prometheus", "path": "/metrics" }],
            "instrumentation": { "instruments": instruments },
        },
        "tracing": { "exporters": exporters },
    })
}

/// Names of the subgraphs that a supergraph joins.
pub(crate) fn subgraph_names(supergraph: &str) -> Result<BTreeSet<String>, String> {
    let document: Document = parse_schema::<String>(supergraph)
        .map_err(|error| error.to_string())?
        .into_static();
    let mut names = BTreeSet::new();
    for definition in &document.definitions {
        if let Definition::TypeDefinition(TypeDefinition::Enum(graphs)) = definition
            && graphs.name == "join__Graph"
        {
            names.extend(graph_names(graphs));
        }
    }
    if names.is_empty() {
        Err("is no composed supergraph".to_owned())
    } else {
        Ok(names)
    }
}

fn graph_names(graphs: &EnumType) -> impl Iterator<Item = String> {
    let directives = graphs.values.iter().flat_map(|value| &value.directives);
    directives
        .filter(|directive| directive.name == "join__graph")
        .flat_map(|directive| &directive.arguments)
        .filter_map(|(name, value)| {
            if let Value::String(text) = value
                && name == "name"
            {
                return Some(text.clone());
            }
            None
        })
}

#[cfg(test)]
mod tests {
    use super::subgraph_names;

    /// The names come from the join directive and not from the enum's values.
    #[test]
    fn subgraphs_are_read_from_the_join() {
        let text = "enum join__Graph { \
                    IDENTITY @join__graph(name: \"identity\", url: \"http://identity.invalid\") \
                    PASSES @join__graph(name: \"passes\", url: \"\") } type Query { a: Int }";
        let names = subgraph_names(text).unwrap();
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["identity", "passes"]
        );
        assert!(subgraph_names("type Query { a: Int }").is_err());
        assert!(subgraph_names("type {").is_err());
    }
}
