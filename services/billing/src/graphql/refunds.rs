//! Money that goes back, as the graph shows it, and what an operator can do when it does not.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::access::Caller;
use kit::graphql::{GlobalId, Money};
use uuid::Uuid;

use super::scope;
use crate::{Billing, commands, domain};

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
    /// The provider closed it again and again; it is tried when an operator says so.
    GivenUp,
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

/// Which refund to try again.
#[derive(Debug, InputObject)]
pub struct RetryRefundInput {
    /// The refund; a discrepancy of one that is stuck names it.
    pub refund_id: ID,
    /// Minted by the client: the same key is the same request.
    pub idempotency_key: Uuid,
}

kit::payload! {
    /// What became of a refund that is to be tried again.
    pub struct RetryRefundPayload / RetryRefundUserError / RetryRefundErrorCode {
        /// The refund: it is tried now, and ends when the provider says so.
        refund: Refund,
    }
    refuses {
        /// The money has gone back.
        AlreadyRefunded,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// What an operator can do about refunds.
#[derive(Debug, Default)]
pub struct RefundMutation;

#[Object]
impl RefundMutation {
    /// Has a refund tried now: one that the provider closed is asked for under a new number, one
    /// that waits does not wait any longer. For operators.
    async fn retry_refund(
        &self,
        ctx: &Context<'_>,
        input: RetryRefundInput,
    ) -> Result<RetryRefundPayload> {
        let (billing, caller) = scope(ctx)?;
        RetryRefundPayload::from_result(caller.language, retry(billing, caller, input).await)
    }
}

async fn retry(
    billing: &Billing,
    caller: &Caller,
    input: RetryRefundInput,
) -> kit::Result<RetryRefundPayload> {
    let id = GlobalId::uuid(&input.refund_id, "Refund")?;
    let refund = commands::retry_refund(billing, caller, id, input.idempotency_key).await?;
    Ok(RetryRefundPayload::done(Refund::from(refund)))
}
