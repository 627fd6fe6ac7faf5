//! Rows of this service's tables. Only here and in `queries` is SQL written; everything else sees
//! the types of `domain`.

pub(crate) mod alarm;
pub(crate) mod desk;
pub(crate) mod entitlement;
pub mod gate;
pub(crate) mod order;
pub(crate) mod product;
pub mod redemption;
pub mod shift;
pub(crate) mod staff;
pub(crate) mod venue;

/// How the rows that decide are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Locked, if all of them are known.
    Known,
    /// A row is made of each that is not known; then all are locked.
    Made,
    /// Made and not locked, as naive code would: so the tests show what the locks are for.
    Loose,
}

impl Hold {
    /// The end of a statement that reads so.
    pub(crate) const fn lock(self) -> &'static str {
        match self {
            Self::Known | Self::Made => "FOR UPDATE",
            Self::Loose => "",
        }
    }
}
