//! What identity decides, as pure functions: identifiers and names, the organisation tree, roles,
//! rosters, searches, merges, consents, notices, people's rights, login codes, refresh tokens,
//! second factors, signing keys, and what a credential says.
//!
//! Nothing here reads a clock, a database or a key; time and loaded rows come in as values.

pub mod application;
pub mod code;
pub mod consent;
pub mod erasure;
pub mod export;
pub mod identifier;
pub mod keys;
pub mod membership;
pub mod merge;
pub mod message;
pub mod mint;
pub mod name;
pub mod notice;
pub mod organisation;
pub mod origin;
pub mod phone_recovery;
pub mod phone_setting;
pub mod proposal;
pub mod rendering;
pub mod review;
pub mod role;
pub mod roster;
pub mod search;
pub mod second_factor;
pub mod subject;
pub mod two_operators;
pub mod uscc;
pub mod verification;
