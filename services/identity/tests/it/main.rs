//! Service tests: requests and events against identity on a real PostgreSQL, looked at in its
//! rows, its outbox and its answers.

#![expect(
    clippy::unwrap_used,
    reason = "what a test relies on fails it by unwrapping"
)]

mod access;
mod applications;
mod asvs;
mod audited;
mod authorised;
mod authorised_acts;
mod authorised_rights;
mod consents;
mod copied;
mod credentials;
mod desk;
mod devices;
mod erasure_races;
mod erasures;
mod exports;
mod graph;
mod held;
mod keks;
mod keys;
mod leaving;
mod limits;
mod logins;
mod memberships;
mod merges;
mod messages;
mod network_claims;
mod notices;
mod notices_sms;
mod officers;
mod oidc;
mod organisations;
mod parted;
mod parties;
mod payer_tokens;
mod people;
mod phone_changes;
mod phone_recoveries;
mod phone_recovery_limits;
mod phone_recovery_plays;
mod phone_recovery_races;
mod phone_settings;
mod races;
mod renderings;
mod replica;
mod resync;
mod reviews;
mod role_ends;
mod role_proposals;
mod role_races;
mod rosters;
mod rosters_guarded;
mod rosters_repeated;
mod same_work;
mod sealing;
mod search;
mod second_factor;
mod second_factor_life;
mod second_factor_races;
mod sms;
mod takeover;
mod together;
mod together_merged;
mod told;
mod traces;
mod unasked;
mod undoable;
mod unguarded;
mod unmasked;
mod vault;
mod vectors;
mod verifications;
mod wechat;
mod world;
