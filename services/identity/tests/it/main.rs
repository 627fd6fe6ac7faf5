//! Service tests: requests and events against identity on a real PostgreSQL, looked at in its
//! rows, its outbox and its answers.

mod access;
mod credentials;
mod keys;
mod limits;
mod logins;
mod organisations;
mod people;
mod resync;
mod sms;
mod vault;
mod vectors;
mod world;
