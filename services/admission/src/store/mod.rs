//! Rows of this service's tables. Only here and in `queries` is SQL written; everything else sees
//! the types of `domain`.

pub(crate) mod alarm;
pub(crate) mod desk;
pub(crate) mod entitlement;
pub(crate) mod gate;
pub(crate) mod order;
pub(crate) mod product;
pub(crate) mod redemption;
pub(crate) mod shift;
pub(crate) mod staff;
pub(crate) mod venue;
