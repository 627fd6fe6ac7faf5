//! Rows: what each statement reads and writes, by aggregate. Rows become domain values here and
//! nowhere else; nothing here decides.

pub mod addresses;
pub mod applications;
pub mod codes;
pub mod consents;
pub mod entitlements;
pub mod erasures;
pub mod exports;
pub mod former_phones;
pub mod keks;
pub mod keys;
pub mod limits;
pub mod login_methods;
pub mod logins;
pub mod memberships;
pub mod merges;
pub mod messages;
pub mod network_claims;
pub mod notice_products;
pub mod notices;
pub mod organisations;
pub mod people;
pub mod person_rights;
pub mod phone_changes;
pub mod phone_recoveries;
pub mod phone_settings;
pub mod renderings;
pub mod resync;
pub mod reviews;
pub mod role_proposals;
pub mod roles;
pub mod roster_people;
pub mod roster_rows;
pub mod rosters;
pub mod search;
pub mod second_factors;
pub mod verifications;

use kit::Error;

/// A row that no command writes.
pub(crate) fn broken(what: &'static str) -> Error {
    Error::internal(format!("a stored {what} makes no sense"))
}
