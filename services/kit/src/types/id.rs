//! Ids as types, so that an order is never passed where a member is meant.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Declares id types over a UUID. The only macro of the project, beside that for payloads.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// A person, once in each union.
    MemberId
    /// A union at any level, or a partner company.
    OrganisationId
    /// One signed-in device.
    LoginId
    /// A promise to pay.
    OrderId
    /// A place with gates.
    VenueId
    /// A key at a door.
    GateId
}

/// The right of one person to enter: eight random-looking bytes, never a member id. A pass's id
/// is its entitlement's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntitlementId(pub u64);

impl EntitlementId {
    /// As PostgreSQL keeps it: the same 64 bits read as a signed number.
    pub const fn to_i64(self) -> i64 {
        i64::from_be_bytes(self.0.to_be_bytes())
    }

    pub const fn from_i64(value: i64) -> Self {
        Self(u64::from_be_bytes(value.to_be_bytes()))
    }

    /// The Kafka record key of the entitlement and of all that is said about it.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for EntitlementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for EntitlementId {
    type Err = std::num::ParseIntError;
    /// Reads the sixteen hexadecimal digits that [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
