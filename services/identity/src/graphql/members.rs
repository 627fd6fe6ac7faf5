//! People: what they read of themselves, and what an office reads and changes of them.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, NaiveDate, Utc};
use kit::access::{Caller, Who};
use kit::graphql::{Connection, Cursor, GlobalId, Page};
use kit::types::MemberId;
use uuid::Uuid;

use super::input::{DocumentType, PersonInput, member_id, organisation_id, request, today, uuid};
use super::logins::Login;
use super::organisations::Organisation;
use super::roles::RoleHolding;
use crate::commands::people::PEOPLE_MAX;
use crate::commands::{members, people};
use crate::domain::identifier::Phone;
use crate::domain::membership::{End, Standing};
use crate::error::Refusal;
use crate::queries::{self, MembershipView, Profile};
use crate::store::logins::LoginRow;

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
        let rows = queries::roles_of(&identity.ctx.db, self.0.id).await?;
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
        let rows = queries::logins_of(&identity.ctx.db, self.0.id, &page).await?;
        let cursor = |row: &LoginRow| Cursor::at(row.created_at, row.id);
        let node = |row: LoginRow| Login {
            is_current: is_current(caller, row.id),
            row,
        };
        Ok(Some(page.connection(rows, cursor, node)))
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
    async fn since(&self) -> NaiveDate {
        self.0.membership.since
    }

    /// The first day it no longer counts; null while it does.
    async fn until(&self) -> Option<NaiveDate> {
        self.0.membership.standing.until()
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

/// A person for an organisation.
#[derive(Debug, InputObject)]
pub struct AddMembershipInput {
    /// Which organisation.
    organisation_id: ID,
    /// Who. One who is known by her document already gets another membership.
    person: PersonInput,
}

/// People for an organisation, all or none of them.
#[derive(Debug, InputObject)]
pub struct AddMembershipsInput {
    /// Which organisation.
    organisation_id: ID,
    /// Who: 1 to 100 people.
    people: Vec<PersonInput>,
}

/// How a membership ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "End")]
pub enum MembershipEnd {
    /// 退会
    Left,
    /// 除名
    Removed,
}

/// Which membership ends, how and when.
#[derive(Debug, InputObject)]
pub struct EndMembershipInput {
    /// Which.
    membership_id: ID,
    /// How.
    how: MembershipEnd,
    /// The first day it no longer counts, in Shanghai; today when absent.
    date: Option<NaiveDate>,
}

/// Which member's phone, and which phone.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a phone is never shown")]
pub struct SetPhoneInput {
    /// Who.
    member_id: ID,
    /// A mobile number, eleven digits.
    phone: String,
}

kit::payload! {
    /// What became of the membership.
    pub struct AddMembershipPayload / AddMembershipUserError / AddMembershipErrorCode {
        /// The membership, new or open already.
        membership: Membership,
    }
    refuses {
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// It is no name.
        PersonNameInvalid,
        /// It is no number of such a document.
        DocumentInvalid,
        /// It is no mobile number.
        PhoneInvalid,
        /// Name, document or phone differ from what is known.
        PersonNotMatched,
        /// Ten people did not match within the hour.
        TooManyFailures,
    }
}

kit::payload! {
    /// What became of the memberships: all of them, or what is wrong with whom, `field` naming
    /// the place in the list: `people`, `3`, `phone`.
    pub struct AddMembershipsPayload / AddMembershipsUserError / AddMembershipsErrorCode {
        /// The memberships in the order of the list, new or open already.
        memberships: Vec<Membership>,
    }
    refuses {
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// The list has nobody, or more than a hundred.
        ListSize,
        /// It is no name.
        PersonNameInvalid,
        /// It is no number of such a document.
        DocumentInvalid,
        /// It is no mobile number.
        PhoneInvalid,
        /// The same document or phone stands in the list twice.
        PersonRepeated,
        /// Name, document or phone differ from what is known.
        PersonNotMatched,
        /// Ten people did not match within the hour.
        TooManyFailures,
    }
}

kit::payload! {
    /// What became of the membership.
    pub struct EndMembershipPayload / EndMembershipUserError / EndMembershipErrorCode {
        /// The membership's id.
        membership_id: ID,
    }
    refuses {
        /// There is no such membership in an organisation of one's own.
        MembershipNotFound,
        /// It has ended already.
        MembershipEnded,
        /// The date is before it began, or in the future.
        DateInvalid,
    }
}

kit::payload! {
    /// What became of the phone. Every login of the person has ended.
    pub struct SetPhonePayload / SetPhoneUserError / SetPhoneErrorCode {
        /// Whose phone.
        member_id: ID,
    }
    refuses {
        /// There is no such member.
        MemberNotFound,
        /// It is no mobile number.
        PhoneInvalid,
        /// It is somebody else's.
        PersonNotMatched,
    }
}

/// People, changed.
#[derive(Debug, Default)]
pub struct MemberMutation;

#[Object]
impl MemberMutation {
    /// Adds a person to an organisation. Its officers, those above it, and operators.
    async fn add_membership(
        &self,
        ctx: &Context<'_>,
        input: AddMembershipInput,
    ) -> Result<AddMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = organisation_id(&input.organisation_id, Refusal::OrganisationNotFound)?;
            let person = input.person.read(today(identity))?;
            let (ctx, vault) = (&identity.ctx, &identity.vault);
            let made = people::add_members(ctx, vault, caller, id, &[person]).await?;
            let made = made.map_err(|refused| {
                refused
                    .first()
                    .map_or(Refusal::PersonNotMatched, |(_, why)| *why)
            })?;
            let views = views(identity, made).await?;
            Ok(AddMembershipPayload::done(views.into_iter().next()))
        };
        AddMembershipPayload::from_result(caller.language, result.await)
    }

    /// Adds up to a hundred people to an organisation, all or none. Its officers, those above
    /// it, and operators.
    async fn add_memberships(
        &self,
        ctx: &Context<'_>,
        input: AddMembershipsInput,
    ) -> Result<AddMembershipsPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            if !(1..=PEOPLE_MAX).contains(&input.people.len()) {
                return Err(Refusal::ListSize.into());
            }
            let id = organisation_id(&input.organisation_id, Refusal::OrganisationNotFound)?;
            let list = match read_all(&input.people, today(identity)) {
                Ok(list) => list,
                Err(refused) => return list_payload(caller, refused),
            };
            let (ctx, vault) = (&identity.ctx, &identity.vault);
            match people::add_members(ctx, vault, caller, id, &list).await? {
                Ok(made) => Ok(AddMembershipsPayload::done(views(identity, made).await?)),
                Err(refused) => list_payload(caller, refused),
            }
        };
        AddMembershipsPayload::from_result(caller.language, result.await)
    }

    /// Ends a membership. Officers of its organisation, those above it, and operators.
    async fn end_membership(
        &self,
        ctx: &Context<'_>,
        input: EndMembershipInput,
    ) -> Result<EndMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let absent = Refusal::MembershipNotFound;
            let id = uuid(&input.membership_id, "Membership", absent)?;
            let until = input.date.unwrap_or_else(|| today(identity));
            let how = input.how.into();
            members::end_membership(&identity.ctx, caller, id, how, until).await?;
            Ok(EndMembershipPayload::done(input.membership_id))
        };
        EndMembershipPayload::from_result(caller.language, result.await)
    }

    /// Gives a person another phone to sign in with, and ends all her logins. Operators only.
    async fn set_phone(&self, ctx: &Context<'_>, input: SetPhoneInput) -> Result<SetPhonePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let id = member_id(&input.member_id)?;
            members::set_phone(&identity.ctx, &identity.vault, caller, id, phone).await?;
            Ok(SetPhonePayload::done(input.member_id))
        };
        SetPhonePayload::from_result(caller.language, result.await)
    }
}

fn read_all(
    people: &[PersonInput],
    today: NaiveDate,
) -> std::result::Result<Vec<people::NewPerson>, people::Refused> {
    let mut list = Vec::with_capacity(people.len());
    let mut refused = Vec::new();
    for (at, person) in people.iter().enumerate() {
        match person.read(today) {
            Ok(person) => list.push(person),
            Err(why) => refused.push((at, why)),
        }
    }
    if refused.is_empty() {
        Ok(list)
    } else {
        Err(refused)
    }
}

/// One user error for each refused person, its field naming the place in the list.
fn list_payload(caller: &Caller, refused: people::Refused) -> kit::Result<AddMembershipsPayload> {
    let mut user_errors = Vec::with_capacity(refused.len());
    for (at, why) in refused {
        let error = kit::Error::from(why);
        let parts = kit::graphql::answer_parts(caller.language, error);
        let (code, field, message) =
            parts.map_err(|_| kit::Error::internal("a refusal of no known code"))?;
        let place = ["people".to_owned(), at.to_string()];
        let field = Some(
            place
                .into_iter()
                .chain(field.into_iter().flatten())
                .collect(),
        );
        user_errors.push(AddMembershipsUserError {
            code,
            field,
            message,
        });
    }
    Ok(AddMembershipsPayload {
        memberships: None,
        user_errors,
    })
}

async fn views(
    identity: &crate::Identity,
    made: Vec<crate::domain::membership::Membership>,
) -> kit::Result<Vec<Membership>> {
    let Some(first) = made.first() else {
        return Ok(Vec::new());
    };
    let organisation = queries::organisation(&identity.ctx.db, first.organisation)
        .await?
        .ok_or_else(|| kit::Error::internal("a membership in no organisation"))?;
    let view = |membership| {
        Membership(MembershipView {
            membership,
            organisation: organisation.clone(),
        })
    };
    Ok(made.into_iter().map(view).collect())
}
