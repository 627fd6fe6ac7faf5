//! The limits of a schema. What must be known before a document is walked at all is measured in
//! `document`; these are async-graphql's own, for what comes after.

use async_graphql::{ObjectType, SDLExportOptions, Schema, SchemaBuilder, SubscriptionType};

/// Fields within fields, at most: a Relay-shaped query of depth 12 at the gateway comes here
/// under `_entities`.
pub const DEPTH_MAX: usize = 15;
/// Fields, fragments and inline fragments within each other, at most.
pub const RECURSIVE_DEPTH_MAX: usize = 30;
/// Cost of one operation, at most: one for each field, times what a list is asked for where its
/// field says so (`#[graphql(complexity = "…")]`).
pub const COMPLEXITY_MAX: usize = 5_000;
/// Directives on one field, at most.
pub const FIELD_DIRECTIVES_MAX: usize = 5;

/// Where the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Introspection is on; seeds and sandboxes are allowed.
    Development,
    Production,
}

/// Sets every limit, and switches federation on.
pub fn limits<Q, M, S>(builder: SchemaBuilder<Q, M, S>, mode: Mode) -> SchemaBuilder<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let builder = builder
        .enable_federation()
        .limit_depth(DEPTH_MAX)
        .limit_recursive_depth(RECURSIVE_DEPTH_MAX)
        .limit_complexity(COMPLEXITY_MAX)
        .limit_directives(FIELD_DIRECTIVES_MAX)
        .disable_suggestions();
    match mode {
        Mode::Development => builder,
        Mode::Production => builder.disable_introspection(),
    }
}

/// The subgraph's SDL for federation, the same bytes for the same schema: committed under
/// `schema/` and composed there.
pub fn sdl<Q, M, S>(schema: &Schema<Q, M, S>) -> String
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let options = SDLExportOptions::new()
        .federation()
        .include_specified_by()
        .sorted_fields()
        .sorted_arguments()
        .sorted_enum_items();
    let mut sdl = schema.sdl_with_options(options).trim_end().to_owned();
    sdl.push('\n');
    sdl
}
