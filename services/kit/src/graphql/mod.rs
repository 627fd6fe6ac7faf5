//! The GraphQL listener: what every subgraph shares of its schema, and the door before it.
//!
//! The door ([`router`]) takes signed POSTs of JSON and nothing else, and measures a document
//! before anything walks it. What a caller may see or do is decided behind it, by
//! [`crate::access`]. `node(id)` lives in identity.

mod connection;
mod document;
mod documents;
mod door;
mod global_id;
mod language;
mod limits;
mod money;
mod payload;
mod signature;
mod size;
mod texts;
mod time;

pub use connection::{Connection, Cursor, PAGE_ROWS_MAX, Page, PageInfo, foreign_cursor};
pub use document::{
    ALIASES_MAX, DIRECTIVES_MAX, ENTITY_FIELDS_MAX, EXPANDED_SELECTIONS_MAX, FRAGMENTS_MAX,
    NESTING_MAX, OPERATIONS_MAX, REPRESENTATIONS_MAX, TOKENS_MAX,
};
pub use door::{BODY_BYTES_MAX, EdgeOptions, REQUEST_SECONDS_MAX, router};
pub use global_id::GlobalId;
pub use language::Language;
pub use limits::{
    COMPLEXITY_MAX, DEPTH_MAX, FIELD_DIRECTIVES_MAX, Mode, RECURSIVE_DEPTH_MAX, limits, sdl,
};
pub use money::Money;
pub use payload::{answer_parts, to_graphql};
pub(crate) use payload::{log_chain, public_parts};
pub use signature::{GatewayKey, SIGNATURE_AGE_SECONDS_MAX, Signed, sign};
pub use size::COST_MAX;
pub(crate) use texts::Text;
pub use time::{Date, Instant, YEAR_MAX, YEAR_MIN};
