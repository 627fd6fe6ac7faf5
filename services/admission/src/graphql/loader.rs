//! Venues and gates that one request needs are read by one query of each.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use kit::types::GateId;
use kit::{Ctx, Error, Result};
use uuid::Uuid;

use crate::domain::gate::Gate;
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

/// Reads gates by id, whoever may see them.
#[derive(Clone, Debug)]
pub(super) struct Gates(Ctx);

impl Loader<GateId> for Gates {
    type Value = Gate;
    type Error = Arc<Error>;

    async fn load(&self, ids: &[GateId]) -> std::result::Result<HashMap<GateId, Gate>, Arc<Error>> {
        let found = queries::gates_by_id(&self.0, ids).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|gate| (gate.id, gate)).collect())
    }
}

/// The loaders of a schema. They keep nothing between requests.
#[expect(
    clippy::disallowed_methods,
    reason = "a loader waits a moment for others to join"
)]
pub(super) fn loaders(ctx: &Ctx) -> (DataLoader<Venues>, DataLoader<Gates>) {
    let venues = DataLoader::new(Venues(ctx.clone()), tokio::spawn);
    (venues, DataLoader::new(Gates(ctx.clone()), tokio::spawn))
}

/// The venue, read together with others that the request asks for at the same moment.
pub(super) async fn venue(ctx: &async_graphql::Context<'_>, id: Uuid) -> Result<Option<Venue>> {
    ctx.data::<DataLoader<Venues>>()
        .map_err(|_| no_loader())?
        .load_one(id)
        .await
        .map_err(unshared)
}

/// The gate, read together with others that the request asks for at the same moment. Whether the
/// caller may see it is decided before.
pub(super) async fn gate(ctx: &async_graphql::Context<'_>, id: GateId) -> Result<Option<Gate>> {
    ctx.data::<DataLoader<Gates>>()
        .map_err(|_| no_loader())?
        .load_one(id)
        .await
        .map_err(unshared)
}

fn no_loader() -> Error {
    Error::internal("the schema has no loader")
}

fn unshared(error: Arc<Error>) -> Error {
    Arc::into_inner(error).unwrap_or(Error::Unavailable("venues or gates could not be read"))
}
