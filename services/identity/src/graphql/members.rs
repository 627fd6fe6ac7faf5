//! People: what they read of themselves, and what an office reads of them.

use async_graphql::{Context, Enum, ID, Object, Result};
use chrono::{DateTime, Utc};
use kit::access::{Caller, Who};
use kit::graphql::{Connection, Cursor, Date, GlobalId, Page};
use kit::types::MemberId;
use uuid::Uuid;

use super::consents::Consent;
use super::input::{DocumentType, member_id, request};
use super::logins::Login;
use super::notices::{Notice, NoticePreference};
use super::organisations::Organisation;
use super::outside_logins::LoginMethod;
use super::phone_recoveries::PhoneRecovery;
use super::renderings::RenderedFile;
use super::rights::{DataExport, Erasure};
use super::roles::RoleHolding;
use super::second_factor::SecondFactor;
use super::verifications::IdentityVerification;
use crate::domain::identifier::Phone;
use crate::domain::membership::Standing;
use crate::queries::logins::LoginView;
use crate::queries::notices::NoticeView;
use crate::queries::{self, MembershipView, Profile};

/// A person, once in each union.
#[derive(Clone, Debug)]
pub struct Member(pub(crate) Profile);

/// A person, once in each union. Seen by herself, by officers over an organisation she is in,
/// and by operators; to all others she is absent.
#[Object]
impl Member {
    /// Opaque.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::of_uuid("Member", self.0.id.0)
    }

    /// The full name; only one's own.
    async fn name(&self) -> Option<&str> {
        self.0.is_self.then(|| self.0.name.as_str())
    }

    /// The name as lists show it: 张*三.
    async fn masked_name(&self) -> String {
        self.0.name.masked()
    }

    /// The phone she signs in with, masked: 138****5678.
    async fn masked_phone(&self) -> Option<String> {
        self.0.phone.as_ref().map(Phone::masked)
    }

    /// What kind of document is known of her.
    async fn document_type(&self) -> Option<DocumentType> {
        self.0
            .document
            .as_ref()
            .map(|document| document.kind().into())
    }

    /// The document's number, masked.
    async fn masked_document_number(&self) -> Option<String> {
        self.0
            .document
            .as_ref()
            .map(crate::domain::identifier::Document::masked)
    }

    /// Since when she is known here.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// Her memberships, the newest first.
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
        let (identity, _) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let rows = queries::memberships_of(&identity.ctx.db, self.0.id, &page).await?;
        let cursor =
            |row: &MembershipView| Cursor::at(row.membership.created_at, row.membership.id);
        Ok(page.connection(rows, cursor, Membership))
    }

    /// The roles she holds.
    async fn roles(&self, ctx: &Context<'_>) -> Result<Vec<RoleHolding>> {
        let (identity, _) = request(ctx)?;
        let rows = queries::roles_of(&identity.ctx, self.0.id).await?;
        Ok(rows.into_iter().map(RoleHolding).collect())
    }

    /// One's own signed-in devices, the newest first; nobody else's.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn logins(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Option<Connection<Login>>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        if !self.0.is_self {
            return Ok(None);
        }
        let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
        let rows = queries::logins::logins_of(kit_ctx, vault, self.0.id, &page).await?;
        let cursor = |view: &LoginView| Cursor::at(view.row.created_at, view.row.id);
        let node = |view: LoginView| Login {
            is_current: is_current(caller, view.row.id),
            view,
        };
        Ok(Some(page.connection(rows, cursor, node)))
    }

    /// The ways in which one signs in oneself; of nobody else.
    async fn login_methods(&self, ctx: &Context<'_>) -> Result<Option<Vec<LoginMethod>>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let rows = queries::logins::methods_of(&identity.ctx, self.0.id).await?;
        let methods = rows.into_iter().map(LoginMethod::read);
        Ok(Some(methods.collect::<kit::Result<Vec<LoginMethod>>>()?))
    }

    /// Who one was verified to be, the last time it matched; nobody else's.
    async fn verified_identity(&self, ctx: &Context<'_>) -> Result<Option<IdentityVerification>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let row = queries::verifications::matched(&identity.ctx, self.0.id).await?;
        Ok(row.map(IdentityVerification::read).transpose()?)
    }

    /// One's own last verification, whatever came of it; nobody else's.
    async fn last_verification(&self, ctx: &Context<'_>) -> Result<Option<IdentityVerification>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let row = queries::verifications::last(&identity.ctx, self.0.id).await?;
        Ok(row.map(IdentityVerification::read).transpose()?)
    }

    /// One's own second factor; null where none is set up, and nobody else's.
    async fn second_factor(&self, ctx: &Context<'_>) -> Result<Option<SecondFactor>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let found = queries::logins::second_factor(&identity.ctx, self.0.id).await?;
        Ok(found.map(SecondFactor::from))
    }

    /// What one is asked to agree to, and what one said; nobody else's.
    #[graphql(complexity = "5 * child_complexity")]
    async fn consents(&self, ctx: &Context<'_>) -> Result<Option<Vec<Consent>>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let views = queries::consents::consents_of(&identity.ctx, self.0.id).await?;
        Ok(Some(views.into_iter().map(Consent).collect()))
    }

    /// One's own notices, the newest first; nobody else's.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn notices(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Option<Connection<Notice>>> {
        let (identity, _) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        if !self.0.is_self {
            return Ok(None);
        }
        let rows = queries::notices::notices_of(&identity.ctx, self.0.id, &page).await?;
        let cursor = |row: &NoticeView| Cursor::at(row.kept.created_at, row.kept.id);
        Ok(Some(page.connection(rows, cursor, Notice)))
    }

    /// How many of one's own notices are not read; nobody else's.
    #[graphql(complexity = 5)]
    async fn unread_notices(&self, ctx: &Context<'_>) -> Result<Option<i64>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let count = queries::notices::unread_of(&identity.ctx, self.0.id).await?;
        Ok(Some(count))
    }

    /// Of which kinds an SMS tells one too; nobody else's.
    #[graphql(complexity = "5 * child_complexity")]
    async fn notice_preferences(&self, ctx: &Context<'_>) -> Result<Option<Vec<NoticePreference>>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let all = queries::notices::preferences_of(&identity.ctx, self.0.id).await?;
        Ok(Some(all.into_iter().map(NoticePreference::from).collect()))
    }

    /// The newest twenty files with names in them that services asked for, for one; nobody else's.
    #[graphql(complexity = "20 * child_complexity")]
    async fn rendered_files(&self, ctx: &Context<'_>) -> Result<Option<Vec<RenderedFile>>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let views = queries::renderings::renderings_of(&identity.ctx, self.0.id).await?;
        Ok(Some(views.into_iter().map(RenderedFile).collect()))
    }

    /// The newest copy of one's data that one asked for; nobody else's.
    #[graphql(complexity = "5 + child_complexity")]
    async fn data_export(&self, ctx: &Context<'_>) -> Result<Option<DataExport>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let view = queries::rights::export_of(&identity.ctx, self.0.id).await?;
        Ok(view.map(DataExport))
    }

    /// The recovery of her phone, while one is open, to her and to who vouches for her.
    #[graphql(complexity = "5 + child_complexity")]
    async fn phone_recovery(&self, ctx: &Context<'_>) -> Result<Option<PhoneRecovery>> {
        let (identity, caller) = request(ctx)?;
        let of = (self.0.id, self.0.is_self);
        let found = queries::phone_recoveries::open(&identity.ctx, caller, of).await?;
        Ok(found.map(PhoneRecovery::from))
    }

    /// One's wish to be forgotten; null where there was none, and nobody else's.
    #[graphql(complexity = "5 + child_complexity")]
    async fn erasure(&self, ctx: &Context<'_>) -> Result<Option<Erasure>> {
        let (identity, _) = request(ctx)?;
        if !self.0.is_self {
            return Ok(None);
        }
        let view = queries::rights::erasure_of(&identity.ctx, self.0.id).await?;
        Ok(view.map(Erasure))
    }
}

/// Whether the caller asks with this login.
pub(crate) fn is_current(caller: &Caller, id: Uuid) -> bool {
    matches!(caller.who, Who::Member { login, .. } if login.0 == id)
}

/// How a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum MembershipState {
    /// Asked for, not decided.
    Applied,
    /// Counts.
    Full,
    /// 保留会籍: retired and the like; counts without dues.
    Retained,
    /// 退会: ended by the person or by her leaving.
    Left,
    /// 除名: ended by the union.
    Removed,
}

/// A person in an organisation.
#[derive(Clone, Debug)]
pub struct Membership(pub(crate) MembershipView);

/// A person in an organisation.
#[Object]
impl Membership {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("Membership", self.0.membership.id)
    }

    /// How it stands.
    async fn state(&self) -> MembershipState {
        match self.0.membership.standing {
            Standing::Applied => MembershipState::Applied,
            Standing::Full => MembershipState::Full,
            Standing::Retained => MembershipState::Retained,
            Standing::Left { .. } => MembershipState::Left,
            Standing::Removed { .. } => MembershipState::Removed,
        }
    }

    /// The first day it counts, in Shanghai.
    async fn since(&self) -> Date {
        self.0.membership.since.into()
    }

    /// The first day it no longer counts; null while it does.
    async fn until(&self) -> Option<Date> {
        self.0.membership.standing.until().map(Into::into)
    }

    /// Where.
    async fn organisation(&self) -> Organisation {
        Organisation(self.0.organisation.clone())
    }

    /// Who.
    #[graphql(complexity = "5 + child_complexity")]
    async fn member(&self, ctx: &Context<'_>) -> Result<Option<Member>> {
        load(ctx, self.0.membership.member).await
    }
}

async fn load(ctx: &Context<'_>, id: MemberId) -> Result<Option<Member>> {
    let (identity, caller) = request(ctx)?;
    let profile = queries::member(&identity.ctx, &identity.vault, caller, id).await?;
    Ok(profile.map(Member))
}

/// People, read.
#[derive(Debug, Default)]
pub struct MemberQuery;

#[Object]
impl MemberQuery {
    /// The signed-in person; null without a token.
    async fn me(&self, ctx: &Context<'_>) -> Result<Option<Member>> {
        let (identity, caller) = request(ctx)?;
        Ok(queries::me(&identity.ctx, &identity.vault, caller)
            .await?
            .map(Member))
    }

    /// For the gateway.
    #[graphql(entity)]
    async fn find_member_by_id(&self, ctx: &Context<'_>, #[graphql(key)] id: ID) -> Option<Member> {
        find(ctx, &id).await.ok().flatten()
    }
}

/// A person by her id, as the caller may see her.
pub(crate) async fn find(ctx: &Context<'_>, id: &ID) -> Result<Option<Member>> {
    match member_id(id) {
        Ok(id) => load(ctx, id).await,
        Err(_) => Ok(None),
    }
}
