//! Billing on a real PostgreSQL against the sandbox's WeChat Pay: the graph in process, sellers'
//! events by their handler, due work in the background, notifications over HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "helpers outside of #[test] functions are tests too"
)]

mod audited;
mod authorised;
mod bills;
mod books;
mod closed;
mod closing;
mod explaining;
mod jsapi;
mod jsapi_life;
mod notices;
mod orders;
mod paying;
mod persons;
mod provider;
mod races;
mod refunds;
mod rights;
mod seller;
mod settings;
mod step_up;
mod world;
