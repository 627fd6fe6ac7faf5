//! Who may do what, where.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use kit::graphql::{Date, GlobalId};
use kit::types::shanghai_date;

use super::input::{member_id, organisation_id, request, uuid};
use super::organisations::Organisation;
use super::role_proposals::{self, RoleProposal};
use crate::commands::roles::{self as commands, Asked, Granted};
use crate::domain::role::{Of, Role};
use crate::error::Refusal;
use crate::queries::{self, RoleView};
use crate::store::roles::Held;

/// A role over an organisation and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Role")]
pub enum RoleName {
    /// 经办: acts for a union.
    Officer,
    /// 主席: approves for a union.
    Approver,
    /// 副主席: approves for a union as the chair does.
    Deputy,
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
        self.0.role.of.role.into()
    }

    /// Over which organisation, and all below it.
    async fn organisation(&self) -> Organisation {
        Organisation(self.0.organisation.clone())
    }

    /// The first Shanghai day on which it is held no more; null without an end.
    async fn until(&self) -> Option<Date> {
        self.0.role.ends_at.map(|at| shanghai_date(at).into())
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
    /// The first day without it, in Shanghai: at most five years from today, as when absent.
    until: Option<Date>,
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
        /// The role, new or held already; null while it is only proposed.
        role: RoleHolding,
        /// The proposal, where the role takes another person who confirms it.
        proposal: RoleProposal,
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
        /// The end is not after today, or too far away.
        RoleEndInvalid,
        /// The role takes two others than who is to hold it.
        RoleForOneself,
        /// The role is proposed with another end already.
        ProposalWaits,
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
    /// Grants a role, or proposes it: operators, approvers and deputies are made by two operators,
    /// neither of whom is who is to hold the role. Operators; a venue's manager grants staff roles
    /// of the own company. With another `until` a role that is held gets that end.
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
            let asked = Asked {
                of: Of {
                    member,
                    organisation,
                    role,
                },
                until: input.until.map(|date| date.0),
            };
            match commands::grant_role(&identity.ctx, caller, asked).await? {
                Granted::Held(held) => Ok(GrantRolePayload::done(
                    view(identity, held).await?,
                    None::<RoleProposal>,
                )),
                Granted::Proposed(proposal) => {
                    let proposal = role_proposals::view(identity, proposal).await?;
                    Ok(GrantRolePayload::done(None::<RoleHolding>, proposal))
                }
            }
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

pub(super) async fn view(identity: &crate::Identity, role: Held) -> kit::Result<RoleHolding> {
    let organisation = queries::organisation(&identity.ctx.db, role.of.organisation)
        .await?
        .ok_or_else(|| kit::Error::internal("a role in no organisation"))?;
    Ok(RoleHolding(RoleView { role, organisation }))
}
