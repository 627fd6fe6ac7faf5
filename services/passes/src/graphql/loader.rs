//! Products of the venues that one request names are read by one query.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use kit::{Error, Result};
use uuid::Uuid;

use crate::Passes;
use crate::queries::ProductView;

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

fn unshared(error: Arc<Error>) -> Error {
    Arc::into_inner(error).unwrap_or(Error::Unavailable("products could not be read"))
}
