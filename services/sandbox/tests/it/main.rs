//! The sandbox over real HTTP, driven by a client that signs for itself and verifies every answer.

#![expect(
    clippy::unwrap_used,
    reason = "helpers outside of #[test] functions are tests too"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "servers of a test end with its runtime"
)]

mod bills;
mod harness;
mod idcheck;
mod notifications;
mod oidc;
mod orders;
mod people;
mod refunds;
mod restart;
mod signatures;
mod wechat_login;
