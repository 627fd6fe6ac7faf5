//! Money that goes back.

use chrono::{DateTime, Utc};
use kit::types::{Fen, OrderId};
use uuid::Uuid;

/// How often a refund that the provider closes is asked for by itself: of one payment it takes
/// fifty refunds, and each attempt is one.
pub const REFUND_ATTEMPTS_MAX: i32 = 10;
/// The first pause, in seconds: the provider takes one refund a minute of the same payment.
pub const REFUND_PAUSE_SECONDS: i64 = 61;

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundCause {
    /// The seller took a line back.
    Returned,
    /// The seller cannot give what was sold.
    Refused,
    /// It came when the order was paid or closed.
    Late,
    /// It was another amount than was asked for.
    Mismatch,
    /// Nobody knows what it was for.
    Unknown,
}

impl RefundCause {
    pub const ALL: [Self; 5] = [
        Self::Returned,
        Self::Refused,
        Self::Late,
        Self::Mismatch,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Refused => "refused",
            Self::Late => "late",
            Self::Mismatch => "mismatch",
            Self::Unknown => "unknown",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }

    /// Whether the money had paid an order, so that its figures change.
    pub const fn is_of_order(self) -> bool {
        matches!(self, Self::Returned | Self::Refused)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// The provider is being asked.
    Requested,
    /// The provider took it on.
    Processing,
    /// It does not go on by itself: somebody must look at it, and it is asked about meanwhile.
    Abnormal,
    /// The provider closed it as often as it is asked for by itself: it waits for a person.
    GivenUp,
    Done,
}

impl RefundState {
    pub const ALL: [Self; 5] = [
        Self::Requested,
        Self::Processing,
        Self::Abnormal,
        Self::GivenUp,
        Self::Done,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Processing => "processing",
            Self::Abnormal => "abnormal",
            Self::GivenUp => "given_up",
            Self::Done => "done",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    pub id: Uuid,
    pub order: Option<OrderId>,
    pub transaction_id: Option<String>,
    pub cause: RefundCause,
    pub fen: Fen,
    pub state: RefundState,
    pub attempt: i32,
    pub out_refund_no: String,
    pub requested_at: DateTime<Utc>,
    pub accepted_at: Option<DateTime<Utc>>,
    pub done_at: Option<DateTime<Utc>>,
}

/// Our number of a refund at the provider: derived, so that a repeat is the same request.
pub fn out_refund_no(refund: Uuid, attempt: i32) -> String {
    if attempt <= 1 {
        format!("R{}", refund.simple())
    } else {
        format!("R{}-{attempt}", refund.simple())
    }
}

/// How long a refund rests after the provider closed its `attempt`-th request, in seconds: each
/// pause is twice the one before. The last one is some four hours.
pub fn refund_pause_seconds(attempt: i32) -> i64 {
    let doublings = attempt.clamp(1, REFUND_ATTEMPTS_MAX - 1) - 1;
    REFUND_PAUSE_SECONDS << doublings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<i64> = (0..=11).map(refund_pause_seconds).collect();
        assert_eq!(pauses[..4], [61, 61, 122, 244]);
        assert_eq!(pauses[9..], [61 * 256; 3]);
    }
}
