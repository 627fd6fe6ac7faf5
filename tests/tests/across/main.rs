//! What no service can prove alone: two of them deciding about one pass at the same time, both
//! unions under load while a server of theirs loses what it holds, and how soon all of them hear
//! that somebody may no more, or is to be forgotten. Real processes and real servers, and nothing
//! is done but through the gateways, as an app and a gate would; a grace of days alone is a row
//! that is changed.

mod forgotten;
mod lists;
mod redis_loss;
mod refund_race;
mod reservation;
mod running;
mod server;
mod shared;
mod stage;
mod withdrawal;
