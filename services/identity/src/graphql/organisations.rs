//! The organisation tree.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use kit::graphql::{Connection, Cursor, GlobalId, Page};
use kit::types::{OrganisationId, division, shanghai_date};

use super::input::{organisation_id, request};
use super::members::Membership;
use crate::commands::organisations::{self as commands, CreateOrganisation};
use crate::domain::organisation::{self as domain, Kind, Standing, root_id};
use crate::domain::uscc::Uscc;
use crate::error::Refusal;
use crate::queries;

/// What an organisation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Kind")]
pub enum OrganisationKind {
    /// A federation of a province, city, district or county.
    Territorial,
    /// 产业工会: an industrial union.
    Industrial,
    /// 基层工会: a grassroots union.
    Grassroots,
    /// 分会, 工会小组: a group within a grassroots union.
    Group,
    /// A company that runs venues or sells.
    Partner,
}

/// A union at any level, or a partner company.
#[derive(Clone, Debug)]
pub struct Organisation(pub(crate) domain::Organisation);

/// A union at any level, or a partner company.
#[Object]
impl Organisation {
    /// Opaque.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::of_uuid("Organisation", self.0.id.0)
    }

    /// What it is.
    async fn kind(&self) -> OrganisationKind {
        self.0.kind.into()
    }

    /// Its full name.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// 统一社会信用代码, where it has one.
    async fn uscc(&self) -> Option<&str> {
        self.0.uscc.as_ref().map(Uscc::as_str)
    }

    /// Its administrative division, GB/T 2260, six digits.
    async fn division(&self) -> &str {
        &self.0.division
    }

    /// The division's name when the organisation was made.
    async fn division_name(&self) -> Option<&str> {
        division::find(&self.0.division, shanghai_date(self.0.created_at)).map(|it| it.name)
    }

    /// The division's name today, where another took its place.
    async fn division_name_today(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        let (identity, _) = request(ctx)?;
        let today = super::input::today(identity);
        Ok(division::today(&self.0.division, today).map(|it| it.name))
    }

    /// How far below the union's own federation it is: 0 for that itself.
    async fn depth(&self) -> usize {
        self.0.path.len() - 1
    }

    /// When it was closed; null while it takes part.
    async fn closed_at(&self) -> Option<DateTime<Utc>> {
        match self.0.standing {
            Standing::Open => None,
            Standing::Closed { at } => Some(at),
        }
    }

    /// The organisation right above it.
    async fn parent(&self, ctx: &Context<'_>) -> Result<Option<Self>> {
        load(ctx, self.0.parent()).await
    }

    /// The industrial union it also belongs to.
    async fn industrial_parent(&self, ctx: &Context<'_>) -> Result<Option<Self>> {
        load(ctx, self.0.industrial_parent).await
    }

    /// Its memberships, the newest first: for its officers, those above it, and operators.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn memberships(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Membership>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let rows = queries::memberships_in(&identity.ctx, caller, self.0.id, &page).await?;
        let cursor = |row: &queries::MembershipView| {
            Cursor::at(row.membership.created_at, row.membership.id)
        };
        Ok(page.connection(rows, cursor, Membership))
    }
}

async fn load(ctx: &Context<'_>, id: Option<OrganisationId>) -> Result<Option<Organisation>> {
    let (identity, _) = request(ctx)?;
    let Some(id) = id else { return Ok(None) };
    Ok(queries::organisation(&identity.ctx.db, id)
        .await?
        .map(Organisation))
}

/// The tree, read.
#[derive(Debug, Default)]
pub struct OrganisationQuery;

#[Object]
impl OrganisationQuery {
    /// The organisations right below `parentId`, in the order they were made; without it the
    /// union's own federation alone.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn organisations(
        &self,
        ctx: &Context<'_>,
        parent_id: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Organisation>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let parent = match &parent_id {
            None => None,
            Some(id) => Some(OrganisationId(GlobalId::uuid(id, "Organisation")?)),
        };
        let rows = queries::organisations(&identity.ctx, caller, parent, &page).await?;
        let cursor = |row: &domain::Organisation| Cursor::at(row.created_at, row.id.0);
        Ok(page.connection(rows, cursor, Organisation))
    }

    /// One organisation.
    async fn organisation(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Organisation>> {
        find(ctx, &id).await
    }

    /// For the gateway.
    #[graphql(entity)]
    async fn find_organisation_by_id(
        &self,
        ctx: &Context<'_>,
        #[graphql(key)] id: ID,
    ) -> Option<Organisation> {
        find(ctx, &id).await.ok().flatten()
    }
}

/// An organisation's name is public: whoever has its id may read it.
pub(crate) async fn find(ctx: &Context<'_>, id: &ID) -> Result<Option<Organisation>> {
    let Ok(id) = GlobalId::uuid(id, "Organisation") else {
        return Ok(None);
    };
    load(ctx, Some(OrganisationId(id))).await
}

/// A new organisation.
#[derive(Debug, InputObject)]
pub struct CreateOrganisationInput {
    /// The organisation right above it; the union's own federation when absent.
    parent_id: Option<ID>,
    /// The industrial union it also belongs to.
    industrial_parent_id: Option<ID>,
    /// What it is.
    kind: OrganisationKind,
    /// Its full name, 2 to 100 characters, unique below its parent.
    name: String,
    /// 统一社会信用代码; a union without legal-person status has none.
    uscc: Option<String>,
    /// Its administrative division, GB/T 2260, six digits, as valid today.
    division: String,
}

/// Which organisation is closed.
#[derive(Debug, InputObject)]
pub struct CloseOrganisationInput {
    /// It must have no open branch and no open membership.
    organisation_id: ID,
}

kit::payload! {
    /// What became of the new organisation. The same request again finds it.
    pub struct CreateOrganisationPayload
        / CreateOrganisationUserError / CreateOrganisationErrorCode
    {
        /// The organisation.
        organisation: Organisation,
    }
    refuses {
        /// The name is too short, too long, or has control characters.
        NameInvalid,
        /// Another organisation below the same parent has this name.
        NameTaken,
        /// The code's check character does not hold.
        UsccInvalid,
        /// Another organisation has this code.
        UsccTaken,
        /// There is no such division today.
        DivisionUnknown,
        /// There is no such parent.
        ParentNotFound,
        /// The parent is closed.
        ParentClosed,
        /// The parent has no branches of this kind.
        KindDoesNotFit,
        /// The tree would become too deep.
        TooDeep,
        /// There is no such industrial union.
        IndustrialParentNotFound,
    }
}

kit::payload! {
    /// What became of closing it.
    pub struct CloseOrganisationPayload / CloseOrganisationUserError / CloseOrganisationErrorCode {
        /// The organisation as it is now.
        organisation: Organisation,
    }
    refuses {
        /// There is no such organisation.
        OrganisationNotFound,
        /// It is closed already.
        OrganisationClosed,
        /// It still has branches, or is the root.
        HasBranches,
        /// It still has members.
        HasMembers,
    }
}

/// The tree, changed.
#[derive(Debug, Default)]
pub struct OrganisationMutation;

#[Object]
impl OrganisationMutation {
    /// Adds a union or a partner company. Operators only.
    async fn create_organisation(
        &self,
        ctx: &Context<'_>,
        input: CreateOrganisationInput,
    ) -> Result<CreateOrganisationPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let parent = match &input.parent_id {
                None => root_id(identity.ctx.union),
                Some(id) => organisation_id(id, Refusal::ParentNotFound)?,
            };
            let industrial = input
                .industrial_parent_id
                .as_ref()
                .map(|id| organisation_id(id, Refusal::IndustrialParentNotFound))
                .transpose()?;
            let new = CreateOrganisation {
                parent,
                industrial_parent: industrial,
                kind: input.kind.into(),
                name: input.name,
                uscc: input.uscc.as_deref().map(Uscc::parse).transpose()?,
                division: input.division,
            };
            let made = commands::create_organisation(&identity.ctx, caller, new).await?;
            Ok(CreateOrganisationPayload::done(Organisation(made)))
        };
        CreateOrganisationPayload::from_result(caller.language, result.await)
    }

    /// Closes an empty organisation. Operators only.
    async fn close_organisation(
        &self,
        ctx: &Context<'_>,
        input: CloseOrganisationInput,
    ) -> Result<CloseOrganisationPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = organisation_id(&input.organisation_id, Refusal::OrganisationNotFound)?;
            let closed = commands::close_organisation(&identity.ctx, caller, id).await?;
            Ok(CloseOrganisationPayload::done(Organisation(closed)))
        };
        CloseOrganisationPayload::from_result(caller.language, result.await)
    }
}
