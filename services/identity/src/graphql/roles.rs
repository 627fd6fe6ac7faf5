//! Who may do what, where.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use kit::graphql::GlobalId;

use super::input::{member_id, organisation_id, request, uuid};
use super::organisations::Organisation;
use crate::commands::roles as commands;
use crate::domain::role::Role;
use crate::error::Refusal;
use crate::queries::{self, RoleView};
use crate::store::roles::Held;

/// A role over an organisation and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Role")]
pub enum RoleName {
    /// 经办: acts for a union.
    Officer,
    /// 主席 and deputy: approves for a union.
    Approver,
    /// 经审: audits a union.
    Auditor,
    /// Works at a partner's venues.
    VenueStaff,
    /// Supervises a partner's venues.
    VenueManager,
    /// Runs the union's stack.
    Operator,
}

/// A role that a person holds in an organisation.
#[derive(Clone, Debug)]
pub struct RoleHolding(pub(crate) RoleView);

/// A role that a person holds in an organisation.
#[Object]
impl RoleHolding {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("RoleHolding", self.0.role.id)
    }

    /// Which.
    async fn role(&self) -> RoleName {
        self.0.role.role.into()
    }

    /// Over which organisation, and all below it.
    async fn organisation(&self) -> Organisation {
        Organisation(self.0.organisation.clone())
    }

    /// Whether it was withdrawn.
    async fn withdrawn(&self) -> bool {
        self.0.role.withdrawn
    }
}

/// Who is granted what, where.
#[derive(Debug, InputObject)]
pub struct GrantRoleInput {
    /// Who.
    member_id: ID,
    /// Where.
    organisation_id: ID,
    /// What.
    role: RoleName,
}

/// Which role is withdrawn.
#[derive(Debug, InputObject)]
pub struct WithdrawRoleInput {
    /// From `grantRole` or `Member.roles`.
    role_id: ID,
}

kit::payload! {
    /// What became of the role.
    pub struct GrantRolePayload / GrantRoleUserError / GrantRoleErrorCode {
        /// The role, new or held already.
        role: RoleHolding,
    }
    refuses {
        /// There is no such member.
        MemberNotFound,
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// Union offices belong to unions, venue work to partners, operators to the root.
        RoleDoesNotFit,
        /// The person has left the organisation.
        LeftOrganisation,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the role.
    pub struct WithdrawRolePayload / WithdrawRoleUserError / WithdrawRoleErrorCode {
        /// The role, withdrawn.
        role: RoleHolding,
    }
    refuses {
        /// There is no such role that the caller may withdraw.
        RoleNotFound,
        /// It is the last operator's.
        LastOperator,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// Roles, changed.
#[derive(Debug, Default)]
pub struct RoleMutation;

#[Object]
impl RoleMutation {
    /// Grants a role. Operators; a venue's manager grants staff roles of the own company.
    async fn grant_role(
        &self,
        ctx: &Context<'_>,
        input: GrantRoleInput,
    ) -> Result<GrantRolePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let member = member_id(&input.member_id)?;
            let organisation =
                organisation_id(&input.organisation_id, Refusal::OrganisationNotFound)?;
            let role = input.role.into();
            let held =
                commands::grant_role(&identity.ctx, caller, member, organisation, role).await?;
            Ok(GrantRolePayload::done(view(identity, held).await?))
        };
        GrantRolePayload::from_result(caller.language, result.await)
    }

    /// Withdraws a role; all services act on it within seconds.
    async fn withdraw_role(
        &self,
        ctx: &Context<'_>,
        input: WithdrawRoleInput,
    ) -> Result<WithdrawRolePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.role_id, "RoleHolding", Refusal::RoleNotFound)?;
            let held = commands::withdraw_role(&identity.ctx, caller, id).await?;
            Ok(WithdrawRolePayload::done(view(identity, held).await?))
        };
        WithdrawRolePayload::from_result(caller.language, result.await)
    }
}

async fn view(identity: &crate::Identity, role: Held) -> kit::Result<RoleHolding> {
    let organisation = queries::organisation(&identity.ctx.db, role.organisation)
        .await?
        .ok_or_else(|| kit::Error::internal("a role in no organisation"))?;
    Ok(RoleHolding(RoleView { role, organisation }))
}
