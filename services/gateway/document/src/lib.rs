//! What the gateway asks of a request's document before the router reads and plans it: how deep
//! its text nests, and what it would come to with its fragments written out.
//!
//! Pure, and apart from the gateway so that it builds without the router: both look at what any
//! stranger may send, and are fuzzed.

pub mod budget;
pub mod nesting;
