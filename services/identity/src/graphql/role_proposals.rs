//! Roles that one operator proposes and another confirms.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use kit::access::Who;
use kit::graphql::{Connection, Cursor, Date, GlobalId, Page};
use kit::types::shanghai_date;

use super::input::{request, uuid};
use super::members::{self, Member};
use super::organisations::Organisation;
use super::roles::{self, RoleHolding, RoleName};
use crate::Identity;
use crate::commands::role_proposals as commands;
use crate::domain::proposal::{Proposal, State};
use crate::error::Refusal;
use crate::queries::role_proposals::{ProposalView, open_proposals, with_organisations};

const TYPE: &str = "RoleProposal";

/// What became of a proposed role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum RoleProposalState {
    /// It waits for somebody who confirms it.
    Open,
    /// The role was granted.
    Confirmed,
    /// It was taken back.
    Withdrawn,
    /// Nobody confirmed it in time.
    Expired,
}

/// A role that somebody proposed and another confirms.
#[derive(Clone, Debug)]
pub struct RoleProposal(pub(crate) ProposalView);

/// A role that one operator proposes and another confirms, neither of whom is to hold it.
#[Object]
impl RoleProposal {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid(TYPE, self.0.proposal.id)
    }

    /// Which role.
    async fn role(&self) -> RoleName {
        self.0.proposal.grant.of.role.into()
    }

    /// Over which organisation, and all below it.
    async fn organisation(&self) -> Organisation {
        Organisation(self.0.organisation.clone())
    }

    /// Who is to hold it, where the reader may see her.
    #[graphql(complexity = "5 + child_complexity")]
    async fn member(&self, ctx: &Context<'_>) -> Result<Option<Member>> {
        let id = GlobalId::of_uuid("Member", self.0.proposal.grant.of.member.0);
        members::find(ctx, &id).await
    }

    /// Who proposed it, where the reader may see her.
    #[graphql(complexity = "5 + child_complexity")]
    async fn proposed_by(&self, ctx: &Context<'_>) -> Result<Option<Member>> {
        let id = GlobalId::of_uuid("Member", self.0.proposal.by.0);
        members::find(ctx, &id).await
    }

    /// The first Shanghai day on which the role would be held no more.
    async fn until(&self) -> Date {
        shanghai_date(self.0.proposal.grant.ends_at).into()
    }

    /// What became of it.
    async fn state(&self, ctx: &Context<'_>) -> Result<RoleProposalState> {
        let (identity, _) = request(ctx)?;
        let proposal = &self.0.proposal;
        Ok(match proposal.state {
            State::Open if proposal.is_open(identity.ctx.clock.now()) => RoleProposalState::Open,
            State::Open | State::Expired => RoleProposalState::Expired,
            State::Confirmed { .. } => RoleProposalState::Confirmed,
            State::Withdrawn { .. } => RoleProposalState::Withdrawn,
        })
    }

    /// Whether the reader is the other person whom it takes, while it waits.
    async fn can_confirm(&self, ctx: &Context<'_>) -> Result<bool> {
        let (identity, caller) = request(ctx)?;
        let Who::Member { member, .. } = caller.who else {
            return Ok(false);
        };
        let proposal = &self.0.proposal;
        Ok(proposal.is_open(identity.ctx.clock.now()) && proposal.is_for(member))
    }

    /// When it was proposed.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.proposal.created_at
    }

    /// Until when it waits.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.proposal.expires_at
    }
}

/// Which proposal is confirmed.
#[derive(Debug, InputObject)]
pub struct ConfirmRoleInput {
    /// From `roleProposals`.
    proposal_id: ID,
}

/// Which proposal is taken back.
#[derive(Debug, InputObject)]
pub struct WithdrawRoleProposalInput {
    /// From `roleProposals` or `grantRole`.
    proposal_id: ID,
}

kit::payload! {
    /// What became of the proposal.
    pub struct ConfirmRolePayload / ConfirmRoleUserError / ConfirmRoleErrorCode {
        /// The role, held from now on.
        role: RoleHolding,
    }
    refuses {
        /// There is no such proposal.
        ProposalNotFound,
        /// Whoever proposed it does not confirm it.
        ProposalOfOwn,
        /// Nobody confirms a role for herself.
        RoleForOneself,
        /// It was confirmed by another, taken back or is over, or its proposer is no operator now.
        ProposalOver,
        /// There is no such member any more.
        MemberNotFound,
        /// There is no such organisation any more.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// The role can no longer be held there.
        RoleDoesNotFit,
        /// The person has left the organisation.
        LeftOrganisation,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the proposal.
    pub struct WithdrawRoleProposalPayload / WithdrawRoleProposalUserError
        / WithdrawRoleProposalErrorCode {
        /// The proposal, taken back.
        proposal: RoleProposal,
    }
    refuses {
        /// There is no such proposal.
        ProposalNotFound,
        /// It was confirmed or is over.
        ProposalOver,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// Proposed roles, read.
#[derive(Debug, Default)]
pub struct RoleProposalQuery;

#[Object]
impl RoleProposalQuery {
    /// The proposed roles that wait for somebody who confirms them, the oldest first. Operators.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn role_proposals(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<RoleProposal>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let rows = open_proposals(&identity.ctx, caller, &page).await?;
        let cursor = |row: &ProposalView| Cursor::at(row.proposal.created_at, row.proposal.id);
        Ok(page.connection(rows, cursor, RoleProposal))
    }
}

/// Proposed roles, decided.
#[derive(Debug, Default)]
pub struct RoleProposalMutation;

#[Object]
impl RoleProposalMutation {
    /// Confirms a role that another operator proposed. Operators who are neither that one nor who
    /// is to hold it.
    async fn confirm_role(
        &self,
        ctx: &Context<'_>,
        input: ConfirmRoleInput,
    ) -> Result<ConfirmRolePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.proposal_id, TYPE, Refusal::ProposalNotFound)?;
            let held = commands::confirm_role(&identity.ctx, caller, id).await?;
            Ok(ConfirmRolePayload::done(roles::view(identity, held).await?))
        };
        ConfirmRolePayload::from_result(caller.language, result.await)
    }

    /// Takes a proposed role back. Operators, whoever proposed it.
    async fn withdraw_role_proposal(
        &self,
        ctx: &Context<'_>,
        input: WithdrawRoleProposalInput,
    ) -> Result<WithdrawRoleProposalPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.proposal_id, TYPE, Refusal::ProposalNotFound)?;
            let proposal = commands::withdraw_role_proposal(&identity.ctx, caller, id).await?;
            Ok(WithdrawRoleProposalPayload::done(
                view(identity, proposal).await?,
            ))
        };
        WithdrawRoleProposalPayload::from_result(caller.language, result.await)
    }
}

pub(super) async fn view(identity: &Identity, proposal: Proposal) -> kit::Result<RoleProposal> {
    let views = with_organisations(&identity.ctx.db, vec![proposal]).await?;
    let view = views.into_iter().next().map(RoleProposal);
    view.ok_or_else(|| kit::Error::internal("a proposal without a view"))
}
