//! What the people who run a venue may see of it; for others it is as if absent.

use kit::access::{self, Caller};
use kit::types::{GateId, VenueId};
use kit::{Error, Result};
use uuid::Uuid;

use crate::domain::gate::Gate;
use crate::domain::redemption::Redemption;
use crate::store::shift::Shift;
use crate::{Admission, store};

/// Whether the caller may see what happens at a venue: its staff, its supervisors, operators.
///
/// # Errors
/// When the database fails, or identity is not heard of.
pub(crate) async fn may_see(service: &Admission, caller: &Caller, venue: VenueId) -> Result<bool> {
    let seen = service
        .ctx
        .db
        .read("may_see", async |tx| {
            let venue = store::venue::load(tx, venue).await?;
            match access::venue_staff(tx, caller, venue.organisation).await {
                Err(Error::Forbidden(_)) => access::operator(tx, caller).await.map(|_| ()),
                other => other.map(|_| ()),
            }
        })
        .await;
    match seen {
        Ok(()) => Ok(true),
        Err(Error::Forbidden(_) | Error::NotFound | Error::Unauthenticated(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A redemption, for whom its venue concerns; `None` for others as when it is absent.
///
/// # Errors
/// When the database fails, or identity is not heard of.
pub async fn redemption(
    service: &Admission,
    caller: &Caller,
    id: Uuid,
) -> Result<Option<Redemption>> {
    let found = service
        .ctx
        .db
        .read("redemption", async |tx| {
            store::redemption::load(tx, id).await
        })
        .await;
    match found {
        Ok(one) if may_see(service, caller, one.venue).await? => Ok(Some(one)),
        Ok(_) | Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A gate, for whom its venue concerns; `None` for others as when it is absent.
///
/// # Errors
/// When the database fails, or identity is not heard of.
pub async fn gate(service: &Admission, caller: &Caller, id: GateId) -> Result<Option<Gate>> {
    let found = service
        .ctx
        .db
        .read("gate", async |tx| store::gate::load(tx, id).await)
        .await;
    match found {
        Ok(one) if may_see(service, caller, one.venue).await? => Ok(Some(one)),
        Ok(_) | Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The caller's own shift, while it is open; `None` when she has none.
///
/// # Errors
/// When nobody is signed in.
pub async fn my_shift(service: &Admission, caller: &Caller) -> Result<Option<Shift>> {
    service
        .ctx
        .db
        .read("my_shift", async |tx| {
            let member = access::member(tx, caller).await?;
            let open = store::shift::open(tx, member.id).await?;
            Ok(open.filter(|shift| tx.now() < shift.closes_at))
        })
        .await
}
