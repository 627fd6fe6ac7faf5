//! What admission decides, as pure functions: venues, gates, shifts, entitlements as this service
//! knows them, and scans. No IO, no clock, no database row and no wire format is in here.

pub mod coordinates;
pub mod desk;
pub mod entitlement;
pub mod gate;
pub mod opening;
pub mod redemption;
pub mod scan;
pub mod venue;
