//! What people, gates and events can make admission do: one function, one transaction.

pub mod by_hand;
pub mod entitlement;
pub mod gate;
pub mod look_up;
pub mod redeem;
pub mod seen;
pub mod shift;
pub mod venue;

use kit::access::{self, Caller, Member};
use kit::types::OrganisationId;
use kit::{Error, Result, Tx};

/// An operator, or a supervisor of the company that runs the venue.
async fn operator_or_manager(tx: &Tx, caller: &Caller, company: OrganisationId) -> Result<Member> {
    match access::operator(tx, caller).await {
        Ok(operator) => Ok(operator.member),
        Err(Error::Forbidden(_)) => Ok(access::venue_manager(tx, caller, company).await?.member),
        Err(error) => Err(error),
    }
}

/// A thing that is not public looks absent to whom it does not concern.
fn as_absent(error: Error) -> Error {
    if matches!(error, Error::Forbidden(_)) {
        Error::NotFound
    } else {
        error
    }
}
