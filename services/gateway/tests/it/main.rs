//! The gateway as clients, attackers and subgraphs meet it. Every net that the router leaves open
//! by default has a request here that must not get through.

#![expect(
    clippy::unwrap_used,
    reason = "a broken world fails the test that stands in it"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the world of a test is the real machine's"
)]

mod boot;
mod documents;
mod limits;
mod subgraph_side;
mod subgraphs;
mod tokens;
mod transport;
mod wire;
mod world;
