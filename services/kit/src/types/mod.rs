//! The words every service shares: unions, money, ids, Shanghai dates, and what needs a consent.
//!
//! Plain values without IO, so that domain code may use them.

pub mod division;
mod fen;
mod id;
mod processing;
mod shanghai;
mod union;

pub use fen::{Fen, FenError};
pub use id::{EntitlementId, GateId, LoginId, MemberId, OrderId, OrganisationId, VenueId};
pub use processing::Processing;
pub use shanghai::{SHANGHAI_OFFSET_SECONDS, Shanghai, day_start, shanghai_date};
pub use union::Union;
