//! The subgraph `identity`: home of `Member`, `Organisation`, `Credential` and of `node(id)`.
//!
//! Input becomes values that cannot be invalid here; what they mean is decided behind it.

pub mod applications;
pub mod consents;
pub mod input;
pub mod logins;
pub mod members;
pub mod memberships;
pub mod merges;
pub mod node;
pub mod notices;
pub mod oidc_logins;
pub mod organisations;
pub mod outside_logins;
pub mod pass;
pub mod payer_tokens;
pub mod people;
pub mod phone_changes;
pub mod phone_recoveries;
pub mod renderings;
pub mod rights;
pub mod role_proposals;
pub mod roles;
pub mod roster_mutations;
pub mod rosters;
pub mod search;
pub mod second_factor;
pub mod verifications;

use async_graphql::{EmptySubscription, MergedObject, Schema, SchemaBuilder};
use kit::graphql::Mode;

use crate::Identity;

pub use consents::Consent;
pub use input::{DocumentType, PersonInput};
pub use logins::{Login, LoginTokens};
pub use members::{Member, Membership, MembershipState};
pub use memberships::MembershipReview;
pub use node::Node;
pub use notices::Notice;
pub use organisations::{Organisation, OrganisationKind};
pub use pass::{Credential, Pass};
pub use renderings::RenderedFile;
pub use rights::{DataExport, Erasure};
pub use role_proposals::RoleProposal;
pub use roles::{RoleHolding, RoleName};
pub use rosters::{RosterImport, RosterRow};

/// What can be read.
#[derive(Debug, Default, MergedObject)]
pub struct Query(
    members::MemberQuery,
    memberships::ReviewQuery,
    role_proposals::RoleProposalQuery,
    organisations::OrganisationQuery,
    rosters::RosterQuery,
    search::SearchQuery,
    applications::ApplicationQuery,
    node::NodeQuery,
);

/// What can be done.
#[derive(Debug, Default, MergedObject)]
pub struct Mutation(
    logins::LoginMutation,
    second_factor::SecondFactorMutation,
    outside_logins::OutsideLoginMutation,
    oidc_logins::OidcLoginMutation,
    payer_tokens::PayerTokenMutation,
    phone_changes::PhoneChangeMutation,
    phone_recoveries::PhoneRecoveryMutation,
    verifications::VerificationMutation,
    organisations::OrganisationMutation,
    people::MemberMutation,
    search::SearchMutation,
    merges::MergeMutation,
    applications::ApplicationMutation,
    memberships::MembershipMutation,
    roles::RoleMutation,
    role_proposals::RoleProposalMutation,
    roster_mutations::RosterMutation,
    pass::CredentialMutation,
    consents::ConsentMutation,
    notices::NoticeMutation,
    rights::RightsMutation,
    renderings::RenderingMutation,
);

/// The schema as it is served.
pub type IdentitySchema = Schema<Query, Mutation, EmptySubscription>;

fn builder(mode: Mode) -> SchemaBuilder<Query, Mutation, EmptySubscription> {
    let builder = Schema::build(Query::default(), Mutation::default(), EmptySubscription);
    kit::graphql::limits(builder, mode)
}

/// The schema over a service.
pub fn schema(identity: &Identity, mode: Mode) -> IdentitySchema {
    builder(mode).data(identity.clone()).finish()
}

/// The subgraph's SDL; needs no database.
pub fn sdl() -> String {
    kit::graphql::sdl(&builder(Mode::Production).finish())
}
