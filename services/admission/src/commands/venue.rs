//! Venues: made, changed and taken out of service.

use kit::access::Caller;
use kit::once::{self, Once, Request};
use kit::types::{OrganisationId, VenueId, shanghai_date};
use kit::{Ctx, Error, Result};
use uuid::Uuid;

use super::operator_or_manager;
use crate::domain::venue::{Details, Venue};
use crate::error::{Refusal, recorded};
use crate::{publish, store};

/// Makes a venue of a company.
///
/// # Errors
/// When the caller may not, the input is at fault or the name is taken.
pub async fn create_venue(
    ctx: &Ctx,
    caller: &Caller,
    key: Uuid,
    company: OrganisationId,
    details: Details,
) -> Result<Venue> {
    let details = checked(ctx, details)?;
    let hash = once::hash(
        "create_venue",
        &[&company.to_string(), &format!("{details:?}")],
    );
    ctx.db
        .tx("create_venue", async |tx| {
            let member = operator_or_manager(tx, caller, company).await?;
            match once::begin(
                tx,
                &Request {
                    caller: member.id.uuid(),
                    key,
                    hash,
                },
            )
            .await?
            {
                Once::First => {}
                Once::Done(id) => {
                    let id = Uuid::from_slice(&id).map_err(|_| Error::internal("no venue id"))?;
                    return store::venue::load(tx, VenueId(id)).await;
                }
                Once::Refused(code) => return Err(recorded(&code)),
            }
            if !store::venue::organisation_is_open(tx, company).await? {
                return Err(Refusal::OrganisationUnknown.into());
            }
            let venue = Venue {
                id: VenueId(tx.uuid()),
                version: 1,
                organisation: company,
                details: details.clone(),
                suspended: false,
            };
            store::venue::insert(tx, &venue).await?;
            tx.audit(member.audit("create_venue", venue.id));
            tx.emit(publish::venue(&venue, ctx.union));
            once::finish(tx, venue.id.uuid().as_bytes())?;
            Ok(venue)
        })
        .await
}

/// Changes what people may change of a venue. The same details again change nothing.
///
/// # Errors
/// When the caller may not, the input is at fault or the name is taken.
pub async fn update_venue(
    ctx: &Ctx,
    caller: &Caller,
    id: VenueId,
    change: impl Fn(Details) -> Result<Details>,
) -> Result<Venue> {
    ctx.db
        .tx("update_venue", async |tx| {
            let venue = store::venue::lock(tx, id).await?;
            let member = operator_or_manager(tx, caller, venue.organisation).await?;
            let details = checked(ctx, change(venue.details.clone())?)?;
            if details == venue.details {
                return Ok(venue);
            }
            let venue = Venue {
                version: venue.version + 1,
                details,
                ..venue
            };
            store::venue::save(tx, &venue).await?;
            tx.audit(member.audit("update_venue", venue.id));
            tx.emit(publish::venue(&venue, ctx.union));
            Ok(venue)
        })
        .await
}

/// Takes a venue out of service, or brings it back: its gates deny, or judge again.
///
/// # Errors
/// When the caller may not, or there is no such venue.
pub async fn suspend_venue(
    ctx: &Ctx,
    caller: &Caller,
    id: VenueId,
    suspended: bool,
) -> Result<Venue> {
    ctx.db
        .tx("suspend_venue", async |tx| {
            let venue = store::venue::lock(tx, id).await?;
            let member = operator_or_manager(tx, caller, venue.organisation).await?;
            if venue.suspended == suspended {
                return Ok(venue);
            }
            let venue = Venue {
                version: venue.version + 1,
                suspended,
                ..venue
            };
            store::venue::save(tx, &venue).await?;
            let act = if suspended {
                "suspend_venue"
            } else {
                "resume_venue"
            };
            tx.audit(member.audit(act, venue.id));
            tx.emit(publish::venue(&venue, ctx.union));
            Ok(venue)
        })
        .await
}

fn checked(ctx: &Ctx, details: Details) -> Result<Details> {
    let today = shanghai_date(ctx.clock.now());
    details
        .checked(ctx.union, today)
        .map_err(|(field, zh, en)| Error::bad_input(field, zh, en))
}
