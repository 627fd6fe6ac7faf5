//! Money that goes back, as the graph shows it.

use async_graphql::{Enum, ID, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::{GlobalId, Money};

use crate::domain;

/// The state of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::RefundState")]
pub enum RefundState {
    /// The provider is being asked.
    Requested,
    /// The provider took it on.
    Processing,
    /// It does not go on by itself; somebody looks at it.
    Abnormal,
    /// The money is back.
    Done,
}

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::RefundCause")]
pub enum RefundCause {
    /// A line was taken back.
    Returned,
    /// What was sold could not be given.
    Refused,
    /// It came too late.
    Late,
    /// It was another amount than was asked for.
    Mismatch,
    /// Nobody knows what it was for.
    Unknown,
}

/// Money that goes back.
#[derive(Debug, SimpleObject)]
pub struct Refund {
    /// The refund's id.
    pub id: ID,
    /// How much goes back.
    pub amount: Money,
    /// How far it is.
    pub state: RefundState,
    /// Why it goes back.
    pub cause: RefundCause,
    /// When it was decided.
    pub requested_at: DateTime<Utc>,
    /// When the money was back.
    pub done_at: Option<DateTime<Utc>>,
}

impl From<domain::Refund> for Refund {
    fn from(refund: domain::Refund) -> Self {
        Self {
            id: GlobalId::of_uuid("Refund", refund.id),
            amount: refund.fen.into(),
            state: refund.state.into(),
            cause: refund.cause.into(),
            requested_at: refund.requested_at,
            done_at: refund.done_at,
        }
    }
}
