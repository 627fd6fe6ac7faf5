//! Venues, gates and counts that one request needs are read by one query of each, and what its
//! caller may see of a venue is asked once, however many fields want to know.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use kit::access::{Caller, Who};
use kit::graphql::Language;
use kit::types::{GateId, LoginId, MemberId, VenueId};
use kit::{Ctx, Error, Result};
use uuid::Uuid;

use super::caller_of;
use crate::Admission;
use crate::commands::seen::may_see;
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

/// Counts who is inside.
#[derive(Clone, Debug)]
pub(super) struct Inside(Ctx);

impl Loader<VenueId> for Inside {
    type Value = u32;
    type Error = Arc<Error>;

    async fn load(
        &self,
        venues: &[VenueId],
    ) -> std::result::Result<HashMap<VenueId, u32>, Arc<Error>> {
        queries::inside_of(&self.0, venues).await.map_err(Arc::new)
    }
}

/// Who looks at which venue.
type Sight = (MemberId, LoginId, VenueId);

/// Asks what is shown to whom.
#[derive(Clone, Debug)]
pub(super) struct Sights(Admission);

impl Loader<Sight> for Sights {
    type Value = bool;
    type Error = Arc<Error>;

    async fn load(&self, asked: &[Sight]) -> std::result::Result<HashMap<Sight, bool>, Arc<Error>> {
        let mut found = HashMap::new();
        for sight in asked {
            let (member, login, venue) = *sight;
            let caller = Caller::member(member, login, Language::default());
            let seen = may_see(&self.0, &caller, venue).await.map_err(Arc::new)?;
            found.insert(*sight, seen);
        }
        Ok(found)
    }
}

/// The loaders of a schema. They keep nothing between requests.
pub(super) struct Loaders {
    venues: DataLoader<Venues>,
    gates: DataLoader<Gates>,
    inside: DataLoader<Inside>,
    sights: DataLoader<Sights>,
}

impl Loaders {
    #[expect(
        clippy::disallowed_methods,
        reason = "a loader waits a moment for others to join"
    )]
    pub(super) fn new(admission: &Admission) -> Self {
        let ctx = &admission.ctx;
        Self {
            venues: DataLoader::new(Venues(ctx.clone()), tokio::spawn),
            gates: DataLoader::new(Gates(ctx.clone()), tokio::spawn),
            inside: DataLoader::new(Inside(ctx.clone()), tokio::spawn),
            sights: DataLoader::new(Sights(admission.clone()), tokio::spawn),
        }
    }
}

fn loaders<'a>(ctx: &async_graphql::Context<'a>) -> Result<&'a Loaders> {
    ctx.data()
        .map_err(|_| Error::internal("the schema has no loaders"))
}

/// The venue, read together with others that the request asks for at the same moment.
pub(super) async fn venue(ctx: &async_graphql::Context<'_>, id: Uuid) -> Result<Option<Venue>> {
    loaders(ctx)?.venues.load_one(id).await.map_err(unshared)
}

/// The gate, read together with others that the request asks for at the same moment. Whether the
/// caller may see it is decided before.
pub(super) async fn gate(ctx: &async_graphql::Context<'_>, id: GateId) -> Result<Option<Gate>> {
    loaders(ctx)?.gates.load_one(id).await.map_err(unshared)
}

/// People inside a venue today.
pub(super) async fn inside(ctx: &async_graphql::Context<'_>, venue: VenueId) -> Result<u32> {
    let found = loaders(ctx)?.inside.load_one(venue).await;
    Ok(found.map_err(unshared)?.unwrap_or_default())
}

/// Whether the caller may see what happens at a venue; nobody who is not signed in may.
pub(super) async fn sees(ctx: &async_graphql::Context<'_>, venue: VenueId) -> Result<bool> {
    let Who::Member { member, login, .. } = caller_of(ctx)?.who else {
        return Ok(false);
    };
    let found = loaders(ctx)?.sights.load_one((member, login, venue)).await;
    Ok(found.map_err(unshared)?.unwrap_or_default())
}

fn unshared(error: Arc<Error>) -> Error {
    Arc::into_inner(error).unwrap_or(Error::Unavailable("venues could not be read"))
}
