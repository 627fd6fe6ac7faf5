//! Service tests: requests and events against identity on a real PostgreSQL, looked at in its
//! rows, its outbox and its answers.

#![expect(
    clippy::unwrap_used,
    reason = "what a test relies on fails it by unwrapping"
)]

mod access;
mod audited;
mod consents;
mod credentials;
mod desk;
mod devices;
mod graph;
mod held;
mod keys;
mod leaving;
mod limits;
mod logins;
mod memberships;
mod notices;
mod notices_sms;
mod officers;
mod oidc;
mod organisations;
mod parties;
mod people;
mod races;
mod replica;
mod resync;
mod reviews;
mod rosters;
mod rosters_guarded;
mod second_factor;
mod second_factor_life;
mod second_factor_races;
mod sms;
mod takeover;
mod unasked;
mod unguarded;
mod vault;
mod vectors;
mod wechat;
mod world;
