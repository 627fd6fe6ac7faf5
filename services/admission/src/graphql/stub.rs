//! Things of other services that are named here.

use async_graphql::{ID, SimpleObject};
use kit::graphql::GlobalId;
use kit::types::{EntitlementId, MemberId, OrganisationId};

/// A union or a partner company; known to identity.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub(super) struct Organisation {
    /// Opaque.
    id: ID,
}

impl Organisation {
    pub(super) fn of(id: OrganisationId) -> Self {
        Self {
            id: GlobalId::of_uuid("Organisation", id.uuid()),
        }
    }
}

/// A person; known to identity.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub(super) struct Member {
    /// Opaque.
    id: ID,
}

impl Member {
    pub(super) fn of(id: MemberId) -> Self {
        Self {
            id: GlobalId::of_uuid("Member", id.uuid()),
        }
    }
}

/// An annual pass; known to passes.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub(super) struct Pass {
    /// Opaque.
    id: ID,
}

impl Pass {
    pub(super) fn of(id: EntitlementId) -> Self {
        Self {
            id: GlobalId::of_entitlement("Pass", id),
        }
    }
}
