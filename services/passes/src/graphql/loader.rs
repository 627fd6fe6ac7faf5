//! Products and days of the venues that one request names are read by one query each.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use kit::{Error, Result};
use uuid::Uuid;

use crate::Passes;
use crate::domain::Slot;
use crate::queries::{ProductView, VisitDayView};

/// Reads the products on sale that open a venue.
#[derive(Clone, Debug)]
pub(super) struct VenueProducts(Passes);

impl Loader<Uuid> for VenueProducts {
    type Value = Vec<ProductView>;
    type Error = Arc<Error>;

    async fn load(
        &self,
        venues: &[Uuid],
    ) -> std::result::Result<HashMap<Uuid, Vec<ProductView>>, Arc<Error>> {
        self.0.products_of_venues(venues).await.map_err(Arc::new)
    }
}

/// The loader of a schema. It keeps nothing between requests.
#[expect(
    clippy::disallowed_methods,
    reason = "a loader waits a moment for others to join"
)]
pub(super) fn venue_products(passes: &Passes) -> DataLoader<VenueProducts> {
    DataLoader::new(VenueProducts(passes.clone()), tokio::spawn)
}

/// The products of the venue, read together with those of others that the request asks for at
/// the same moment: a page of a hundred venues costs what one venue does.
pub(super) async fn products_of_venue(
    ctx: &async_graphql::Context<'_>,
    venue: Uuid,
) -> Result<Vec<ProductView>> {
    let found = ctx
        .data::<DataLoader<VenueProducts>>()
        .map_err(|_| Error::internal("the schema has no loader"))?
        .load_one(venue)
        .await
        .map_err(unshared)?;
    Ok(found.unwrap_or_default())
}

/// Reads the days of venues that take reservations: from a date on, so many at most.
#[derive(Clone, Debug)]
pub(super) struct VisitDays(Passes);

impl Loader<(Slot, i64)> for VisitDays {
    type Value = Vec<VisitDayView>;
    type Error = Arc<Error>;

    async fn load(
        &self,
        asked: &[(Slot, i64)],
    ) -> std::result::Result<HashMap<(Slot, i64), Vec<VisitDayView>>, Arc<Error>> {
        self.0.visit_days(asked).await.map_err(Arc::new)
    }
}

/// The loader of a schema. It keeps nothing between requests.
#[expect(
    clippy::disallowed_methods,
    reason = "a loader waits a moment for others to join"
)]
pub(super) fn visit_days(passes: &Passes) -> DataLoader<VisitDays> {
    DataLoader::new(VisitDays(passes.clone()), tokio::spawn)
}

/// The days of a venue from `first` on, read together with those of others.
pub(super) async fn days_of_venue(
    ctx: &async_graphql::Context<'_>,
    first: Slot,
    rows: i64,
) -> Result<Vec<VisitDayView>> {
    let found = ctx
        .data::<DataLoader<VisitDays>>()
        .map_err(|_| Error::internal("the schema has no loader"))?
        .load_one((first, rows))
        .await
        .map_err(unshared)?;
    Ok(found.unwrap_or_default())
}

fn unshared(error: Arc<Error>) -> Error {
    Arc::into_inner(error).unwrap_or(Error::Unavailable("venues could not be read"))
}
