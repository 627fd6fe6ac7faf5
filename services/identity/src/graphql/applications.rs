//! Memberships that are asked for, decided and taken back.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use kit::graphql::{Connection, Cursor, GlobalId, Page};
use kit::types::OrganisationId;
use uuid::Uuid;

use super::input::{organisation_id, request, uuid};
use super::members::{self, Member};
use super::organisations::Organisation;
use crate::Identity;
use crate::commands::applications;
use crate::domain::application::{Application, Decision, State};
use crate::error::Refusal;
use crate::queries::applications::{ApplicationView, own, waiting, with_organisations};

const TYPE: &str = "MembershipApplication";

/// How an application stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum MembershipApplicationState {
    /// Nobody has decided.
    Waiting,
    /// She is in.
    Approved,
    /// She is not.
    Refused,
    /// Taken back by who asked.
    Withdrawn,
    /// Nobody decided within sixty days.
    Expired,
}

/// Somebody shall be in an organisation.
#[derive(Clone, Debug)]
pub struct MembershipApplication(pub(crate) ApplicationView);

/// Somebody shall be in an organisation: she applied herself, or was let go by another one.
#[Object]
impl MembershipApplication {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid(TYPE, self.0.application.id)
    }

    /// How it stands.
    async fn state(&self) -> MembershipApplicationState {
        match self.0.application.state {
            State::Waiting => MembershipApplicationState::Waiting,
            State::Approved { .. } => MembershipApplicationState::Approved,
            State::Refused { .. } => MembershipApplicationState::Refused,
            State::Withdrawn { .. } => MembershipApplicationState::Withdrawn,
            State::Expired => MembershipApplicationState::Expired,
        }
    }

    /// Whether another organisation lets her go for it.
    async fn is_transfer(&self) -> bool {
        self.0.application.leaves.is_some()
    }

    /// When it was asked for.
    async fn asked_at(&self) -> DateTime<Utc> {
        self.0.application.asked_at
    }

    /// When it ends undecided.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.application.expires_at()
    }

    /// Where she shall be.
    async fn organisation(&self) -> Organisation {
        Organisation(self.0.organisation.clone())
    }

    /// Who: as an officer sees those who are hers, masked.
    #[graphql(complexity = "5 + child_complexity")]
    async fn member(&self, ctx: &Context<'_>) -> Result<Option<Member>> {
        let id = GlobalId::of_uuid("Member", self.0.application.member.0);
        members::find(ctx, &id).await
    }
}

/// Where one wants to be a member.
#[derive(Debug, InputObject)]
pub struct ApplyForMembershipInput {
    /// Which organisation.
    organisation_id: ID,
    /// Minted by the client, the same when it tries again.
    idempotency_key: Uuid,
}

/// Which member is let go, and where to.
#[derive(Debug, InputObject)]
pub struct OfferTransferInput {
    /// The membership that shall end.
    membership_id: ID,
    /// Where she shall be.
    organisation_id: ID,
    /// Minted by the client, the same when it tries again.
    idempotency_key: Uuid,
}

/// What is decided of an application.
#[derive(Debug, InputObject)]
pub struct DecideApplicationInput {
    /// Which.
    application_id: ID,
    /// Whether she shall be in.
    approve: bool,
    /// Minted by the client, the same when it tries again.
    idempotency_key: Uuid,
}

/// Which application is taken back.
#[derive(Debug, InputObject)]
pub struct WithdrawApplicationInput {
    /// Which.
    application_id: ID,
    /// Minted by the client, the same when it tries again.
    idempotency_key: Uuid,
}

kit::payload! {
    /// What became of the application.
    pub struct ApplyForMembershipPayload / ApplyForMembershipUserError
        / ApplyForMembershipErrorCode {
        /// The application, new or waiting already.
        application: MembershipApplication,
    }
    refuses {
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// People are in grassroots unions and their groups.
        KindHasNoMembers,
        /// She is a member there.
        AlreadyMember,
        /// A transfer to this organisation waits.
        ApplicationWaits,
        /// Three applications wait.
        TooManyApplications,
    }
}

kit::payload! {
    /// What became of the transfer.
    pub struct OfferTransferPayload / OfferTransferUserError / OfferTransferErrorCode {
        /// The application, which the other organisation's officers or the member decide.
        application: MembershipApplication,
    }
    refuses {
        /// There is no such membership in an organisation of one's own.
        MembershipNotFound,
        /// It has ended already.
        MembershipEnded,
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// People are in grassroots unions and their groups.
        KindHasNoMembers,
        /// She is a member there.
        AlreadyMember,
        /// An application to this organisation waits.
        ApplicationWaits,
        /// Three applications wait.
        TooManyApplications,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What was decided.
    pub struct DecideApplicationPayload / DecideApplicationUserError
        / DecideApplicationErrorCode {
        /// The application as it stands now.
        application: MembershipApplication,
    }
    refuses {
        /// There is no such application for oneself to decide.
        ApplicationNotFound,
        /// It is decided, taken back or over.
        ApplicationOver,
        /// Who asked for it does not decide.
        ApplicationOfOwn,
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// People are in grassroots unions and their groups.
        KindHasNoMembers,
        /// There is no such person any more.
        MemberNotFound,
        /// The membership that she would leave has ended.
        MembershipEnded,
        /// It begins tomorrow at the earliest.
        DateInvalid,
        /// The last operator would leave by it.
        LastOperator,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the application.
    pub struct WithdrawApplicationPayload / WithdrawApplicationUserError
        / WithdrawApplicationErrorCode {
        /// The application as it stands now.
        application: MembershipApplication,
    }
    refuses {
        /// There is no such application of one's own.
        ApplicationNotFound,
        /// It is decided, taken back or over.
        ApplicationOver,
    }
}

/// Applications, read.
#[derive(Debug, Default)]
pub struct ApplicationQuery;

#[Object]
impl ApplicationQuery {
    /// Applications for memberships: with an organisation those that wait there, the oldest first,
    /// for its officers, those above it, and operators; without, all about oneself, the newest
    /// first.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn membership_applications(
        &self,
        ctx: &Context<'_>,
        organisation_id: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<MembershipApplication>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let rows = match organisation_id {
            None => own(&identity.ctx, caller, &page).await?,
            Some(id) => {
                let absent = Refusal::OrganisationNotFound;
                let id = read_organisation(&id, absent)?;
                waiting(&identity.ctx, caller, id, &page).await?
            }
        };
        let cursor =
            |row: &ApplicationView| Cursor::at(row.application.asked_at, row.application.id);
        Ok(page.connection(rows, cursor, MembershipApplication))
    }
}

/// Applications, changed.
#[derive(Debug, Default)]
pub struct ApplicationMutation;

#[Object]
impl ApplicationMutation {
    /// Asks to be a member of a grassroots union or of a group of it. Its officers decide.
    async fn apply_for_membership(
        &self,
        ctx: &Context<'_>,
        input: ApplyForMembershipInput,
    ) -> Result<ApplyForMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let absent = Refusal::OrganisationNotFound;
            let organisation = organisation_id(&input.organisation_id, absent)?;
            let key = input.idempotency_key;
            let made = applications::apply(&identity.ctx, caller, organisation, key).await?;
            Ok(ApplyForMembershipPayload::done(view(identity, made).await?))
        };
        ApplyForMembershipPayload::from_result(caller.language, result.await)
    }

    /// Lets a member go to another organisation, where the membership goes on when its officers or
    /// she herself agree. Officers of the membership's organisation, those above it, and operators.
    async fn offer_transfer(
        &self,
        ctx: &Context<'_>,
        input: OfferTransferInput,
    ) -> Result<OfferTransferPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let absent = Refusal::MembershipNotFound;
            let membership = uuid(&input.membership_id, "Membership", absent)?;
            let absent = Refusal::OrganisationNotFound;
            let to = organisation_id(&input.organisation_id, absent)?;
            let (kit_ctx, key) = (&identity.ctx, input.idempotency_key);
            let made = applications::offer_transfer(kit_ctx, caller, membership, to, key).await?;
            Ok(OfferTransferPayload::done(view(identity, made).await?))
        };
        OfferTransferPayload::from_result(caller.language, result.await)
    }

    /// Approves an application or refuses it. Officers of its organisation, those above it, and
    /// operators; of a transfer the member herself too. Never who asked for it.
    async fn decide_application(
        &self,
        ctx: &Context<'_>,
        input: DecideApplicationInput,
    ) -> Result<DecideApplicationPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = application_id(&input.application_id)?;
            let decision = if input.approve {
                Decision::Approve
            } else {
                Decision::Refuse
            };
            let (kit_ctx, key) = (&identity.ctx, input.idempotency_key);
            let decided = applications::decide(kit_ctx, caller, id, decision, key).await?;
            Ok(DecideApplicationPayload::done(
                view(identity, decided).await?,
            ))
        };
        DecideApplicationPayload::from_result(caller.language, result.await)
    }

    /// Takes an application back that nobody has decided. Who asked for it, and of a transfer the
    /// officers who let her go.
    async fn withdraw_application(
        &self,
        ctx: &Context<'_>,
        input: WithdrawApplicationInput,
    ) -> Result<WithdrawApplicationPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = application_id(&input.application_id)?;
            let key = input.idempotency_key;
            let back = applications::withdraw(&identity.ctx, caller, id, key).await?;
            Ok(WithdrawApplicationPayload::done(
                view(identity, back).await?,
            ))
        };
        WithdrawApplicationPayload::from_result(caller.language, result.await)
    }
}

fn application_id(id: &ID) -> std::result::Result<Uuid, Refusal> {
    uuid(id, TYPE, Refusal::ApplicationNotFound)
}

async fn view(identity: &Identity, it: Application) -> kit::Result<MembershipApplication> {
    let views = with_organisations(&identity.ctx, vec![it]).await?;
    let found = views.into_iter().next().map(MembershipApplication);
    found.ok_or_else(|| kit::Error::internal("an application without an organisation"))
}

fn read_organisation(id: &ID, absent: Refusal) -> kit::Result<OrganisationId> {
    Ok(organisation_id(id, absent)?)
}
