//! What can be asked.

use async_graphql::{Context, ID, InputObject, Object, Result};
use kit::Error;
use kit::graphql::{Connection, Cursor, Date, GlobalId, Page};
use kit::types::{GateId, VenueId};
use uuid::Uuid;

use super::redemption::Redemption;
use super::staff::{Shift, VenueFigure};
use super::venue::{Gate, Venue};
use super::{caller, caller_of, loader, named, rows, service, service_of};
use crate::commands::seen;
use crate::domain::coordinates::Wgs84;
use crate::domain::venue::TAG_BYTES_MAX;
use crate::queries::{self, Listed, VenueFilter};

/// The root of queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query;

/// A point to look around.
#[derive(Clone, Copy, Debug, InputObject)]
pub(super) struct VenueNear {
    /// Degrees north, WGS-84.
    latitude: f64,
    /// Degrees east, WGS-84.
    longitude: f64,
    /// No farther than this, in metres.
    within_metres: Option<i64>,
}

/// Which venues.
#[derive(Clone, Debug, Default, InputObject)]
pub(super) struct VenueFilterInput {
    /// Nearest to this point first.
    near: Option<VenueNear>,
    /// With this tag: `museum`, `station`.
    tag: Option<String>,
    /// In this administrative division and those below it, GB/T 2260.
    division: Option<String>,
}

impl VenueFilterInput {
    fn filter(self) -> kit::Result<VenueFilter> {
        let near = self
            .near
            .map(|near| {
                Wgs84::new(near.latitude, near.longitude).ok_or_else(|| {
                    Error::bad_input(
                        "filter.near",
                        "不在川渝境内或附近",
                        "no point in or near the provinces",
                    )
                })
            })
            .transpose()?;
        let division = self
            .division
            .map(|code| {
                let is_code = code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit());
                is_code.then(|| code.parse().ok()).flatten().ok_or_else(|| {
                    Error::bad_input("filter.division", "须为六位数字", "must be six digits")
                })
            })
            .transpose()?;
        if self
            .tag
            .as_ref()
            .is_some_and(|tag| tag.len() > TAG_BYTES_MAX)
        {
            return Err(Error::bad_input(
                "filter.tag",
                "最长 32 字节",
                "at most 32 bytes",
            ));
        }
        let within_metres = self.near.and_then(|near| near.within_metres);
        Ok(VenueFilter {
            near,
            within_metres,
            tag: self.tag,
            division,
        })
    }
}

#[Object]
impl Query {
    /// Venues, suspended ones included; by distance where a point is given. Open to everybody.
    #[graphql(complexity = "rows(first, last) * child_complexity + 5")]
    #[expect(
        clippy::too_many_arguments,
        reason = "the four of a connection, and which"
    )]
    async fn venues(
        &self,
        ctx: &Context<'_>,
        filter: Option<VenueFilterInput>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Venue>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let filter = filter.unwrap_or_default().filter()?;
        let found = queries::venues(service(ctx)?, &filter, &page).await?;
        let node = |listed: Listed| Venue {
            venue: listed.venue,
            metres: listed.metres,
        };
        Ok(page.connection(found, Listed::cursor, node))
    }

    /// A venue by its id. Open to everybody.
    async fn venue(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Venue>> {
        let Some(id) = named(GlobalId::uuid(&id, "Venue"))? else {
            return Ok(None);
        };
        Ok(loader::venue(ctx, id).await?.map(Venue::of))
    }

    /// A gate by its id, for its venue's staff and operators.
    async fn gate(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Gate>> {
        Ok(seen_gate(ctx, &id).await?)
    }

    /// A scan by its id, for its venue's staff and operators.
    async fn redemption(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Redemption>> {
        Ok(seen_redemption(ctx, &id).await?)
    }

    /// The caller's own shift while it is open; null when she has none.
    async fn my_shift(&self, ctx: &Context<'_>) -> Result<Option<Shift>> {
        let open = seen::my_shift(service(ctx)?, caller(ctx)?).await?;
        Ok(open.map(Shift::from))
    }

    /// A venue's scans by time, denials included, for its staff and operators; empty for others.
    #[graphql(complexity = "rows(first, last) * child_complexity + 5")]
    #[expect(
        clippy::too_many_arguments,
        reason = "the four of a connection, and which"
    )]
    async fn redemptions(
        &self,
        ctx: &Context<'_>,
        venue_id: ID,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Redemption>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let found = match seen_venue(ctx, &venue_id).await? {
            Some(venue) => queries::redemptions(&service(ctx)?.ctx, venue, &page).await?,
            None => Vec::new(),
        };
        Ok(page.connection(found, |one| Cursor::at(one.at, one.id), Redemption::of))
    }

    /// A venue's figures per day, hour and gate, from one Shanghai date up to, and without,
    /// another, at most 31 days; for its staff and operators, empty for others.
    #[graphql(complexity = "100 + child_complexity")]
    async fn venue_figures(
        &self,
        ctx: &Context<'_>,
        venue_id: ID,
        from: Date,
        until: Date,
    ) -> Result<Vec<VenueFigure>> {
        let Some(venue) = seen_venue(ctx, &venue_id).await? else {
            return Ok(Vec::new());
        };
        let figures = queries::figures(&service(ctx)?.ctx, venue, from.0, until.0).await?;
        Ok(figures.into_iter().map(VenueFigure::from).collect())
    }

    #[graphql(entity)]
    async fn find_venue_by_id(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Venue>> {
        self.venue(ctx, id).await
    }

    #[graphql(entity)]
    async fn find_gate_by_id(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Gate>> {
        Ok(or_absent(seen_gate(ctx, &id).await)?)
    }

    #[graphql(entity)]
    async fn find_redemption_by_id(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Redemption>> {
        Ok(or_absent(seen_redemption(ctx, &id).await)?)
    }
}

/// What nobody can be asked about while identity is not heard of is not seen: an error here would
/// void all that the same batch of entities asks for, what is public included.
fn or_absent<T>(found: kit::Result<Option<T>>) -> kit::Result<Option<T>> {
    match found {
        Err(Error::Unavailable(_)) => Ok(None),
        other => other,
    }
}

/// The gate, if the caller may see it.
async fn seen_gate(ctx: &Context<'_>, id: &ID) -> kit::Result<Option<Gate>> {
    let Some(id) = named(GlobalId::uuid(id, "Gate"))? else {
        return Ok(None);
    };
    let found = seen::gate(service_of(ctx)?, caller_of(ctx)?, GateId(id)).await?;
    Ok(found.map(Gate))
}

/// The scan, if the caller may see it.
async fn seen_redemption(ctx: &Context<'_>, id: &ID) -> kit::Result<Option<Redemption>> {
    let Some(id) = named(GlobalId::uuid(id, "Redemption"))? else {
        return Ok(None);
    };
    let found = seen::redemption(service_of(ctx)?, caller_of(ctx)?, id).await?;
    Ok(found.map(Redemption::of))
}

/// The venue, if the caller may see what happens there.
async fn seen_venue(ctx: &Context<'_>, id: &ID) -> Result<Option<VenueId>> {
    let id: Option<Uuid> = named(GlobalId::uuid(id, "Venue"))?;
    let Some(venue) = id.map(VenueId) else {
        return Ok(None);
    };
    let may = seen::may_see(service(ctx)?, caller(ctx)?, venue).await?;
    Ok(may.then_some(venue))
}
