//! The edge of a process, on real listeners: each limit is proven by a request that it refuses,
//! and each request that it refuses is signed as the gateway would, so that nothing else can be
//! what refused it.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod cache;
mod config;
mod door;
mod limits;
mod payload;
mod process;
mod times;
mod tokens;
mod traces;
mod world;
