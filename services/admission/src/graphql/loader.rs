//! Venues that one request needs are read by one query.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use kit::{Ctx, Error, Result};
use uuid::Uuid;

use crate::domain::venue::Venue;
use crate::queries;

/// Reads venues by id.
#[derive(Clone, Debug)]
pub(super) struct Venues(Ctx);

impl Loader<Uuid> for Venues {
    type Value = Venue;
    type Error = Arc<Error>;

    async fn load(&self, ids: &[Uuid]) -> std::result::Result<HashMap<Uuid, Venue>, Arc<Error>> {
        let found = queries::venues_by_id(&self.0, ids.to_vec())
            .await
            .map_err(Arc::new)?;
        Ok(found
            .into_iter()
            .map(|venue| (venue.id.uuid(), venue))
            .collect())
    }
}

/// The loader of a schema. It keeps nothing between requests.
pub(super) fn venues(ctx: Ctx) -> DataLoader<Venues> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the loader waits a moment for others to join"
    )]
    DataLoader::new(Venues(ctx), tokio::spawn)
}

/// The venue, read together with others that the request asks for at the same moment.
pub(super) async fn venue(ctx: &async_graphql::Context<'_>, id: Uuid) -> Result<Option<Venue>> {
    let loader = ctx
        .data::<DataLoader<Venues>>()
        .map_err(|_| Error::internal("the schema has no loader"))?;
    loader
        .load_one(id)
        .await
        .map_err(|error| match Arc::into_inner(error) {
            Some(error) => error,
            None => Error::Unavailable("venues could not be read"),
        })
}
