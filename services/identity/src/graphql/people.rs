//! People changed by an office: memberships begun and ended, another phone.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, NaiveDate, Utc};
use kit::access::Caller;
use kit::graphql::Date;
use kit::types::OrganisationId;

use super::input::{PersonInput, member_id, organisation_id, request, today, uuid};
use super::members::Membership;
use crate::commands::people::{Joining, PEOPLE_MAX};
use crate::commands::{members, people, phone_settings};
use crate::domain::identifier::Phone;
use crate::domain::membership::End;
use crate::domain::two_operators::Step;
use crate::error::Refusal;
use crate::queries::{self, MembershipView};

/// A person for an organisation.
#[derive(Debug, InputObject)]
pub struct AddMembershipInput {
    /// Which organisation.
    organisation_id: ID,
    /// Who. One who is known by her document already gets another membership.
    person: PersonInput,
    /// The first day it counts, in Shanghai; today when absent.
    since: Option<Date>,
}

/// People for an organisation, all or none of them.
#[derive(Debug, InputObject)]
pub struct AddMembershipsInput {
    /// Which organisation.
    organisation_id: ID,
    /// Who: 1 to 100 people.
    people: Vec<PersonInput>,
    /// The first day they count, in Shanghai; today when absent.
    since: Option<Date>,
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
    date: Option<Date>,
}

/// How far the setting of a phone by two operators has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PhoneSettingState {
    /// Another operator must name the same phone.
    Asked,
    /// The phone is hers, and every login of the person has ended.
    Done,
}

/// Another phone for a person, set by two operators.
#[derive(Clone, Debug, SimpleObject)]
pub struct PhoneSetting {
    /// Whose.
    member_id: ID,
    /// How far it has come.
    state: PhoneSettingState,
    /// Until when another operator must name it too; null when it is done.
    expires_at: Option<DateTime<Utc>>,
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
        /// The first day is in the future, too long ago, or within another membership there.
        SinceInvalid,
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
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
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
        /// The first day is in the future, too long ago, or within another membership there.
        SinceInvalid,
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
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
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
        /// The person is the last operator.
        LastOperator,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the phone.
    pub struct SetPhonePayload / SetPhoneUserError / SetPhoneErrorCode {
        /// How far it has come.
        setting: PhoneSetting,
    }
    refuses {
        /// There is no such member.
        MemberNotFound,
        /// It is no mobile number.
        PhoneInvalid,
        /// It is somebody else's.
        PersonNotMatched,
        /// It is hers already.
        PhoneUnchanged,
        /// Another operator has named another phone, and that waits.
        PhonePending,
        /// Nobody sets her own.
        PhoneOfOwn,
        /// The operator was none for seven days before the first one asked.
        OperatorTooNew,
        /// The person has asked to be forgotten, and that has begun.
        ErasureWaits,
        /// A merge of the record with another one waits for its second operator.
        MergeWaits,
        /// Another record was merged into this one, and can be split from it.
        MergeUndoable,
        /// A recovery of her phone is under way; it is stopped first.
        RecoveryWaits,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
        /// Ten people did not match within the hour.
        TooManyFailures,
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
            let joining = joining(id, input.since);
            let made = people::add_members(ctx, vault, caller, joining, &[person]).await?;
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
            let joining = joining(id, input.since);
            match people::add_members(ctx, vault, caller, joining, &list).await? {
                Ok(made) => Ok(AddMembershipsPayload::done(views(identity, made).await?)),
                Err(refused) => list_payload(caller, refused),
            }
        };
        AddMembershipsPayload::from_result(caller.language, result.await)
    }

    /// Ends a membership, and with it the roles held there. Officers of its
    /// organisation, those above it, and operators.
    async fn end_membership(
        &self,
        ctx: &Context<'_>,
        input: EndMembershipInput,
    ) -> Result<EndMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let absent = Refusal::MembershipNotFound;
            let id = uuid(&input.membership_id, "Membership", absent)?;
            let until = input.date.map_or_else(|| today(identity), |date| date.0);
            let how = input.how.into();
            members::end_membership(&identity.ctx, caller, id, how, until).await?;
            Ok(EndMembershipPayload::done(input.membership_id))
        };
        EndMembershipPayload::from_result(caller.language, result.await)
    }

    /// Names another phone for a person to sign in with; when another operator has named the same
    /// within the last day, it is hers, and all her logins end. Operators of a week at least only;
    /// her phones so far are told of both, and whoever signs in as her meanwhile ends it.
    async fn set_phone(&self, ctx: &Context<'_>, input: SetPhoneInput) -> Result<SetPhonePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let id = member_id(&input.member_id)?;
            let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
            let (state, expires_at) =
                match phone_settings::set_phone(kit_ctx, vault, caller, id, phone).await? {
                    Step::Begins { expires_at } | Step::Waits { expires_at } => {
                        (PhoneSettingState::Asked, Some(expires_at))
                    }
                    Step::Done => (PhoneSettingState::Done, None),
                };
            Ok(SetPhonePayload::done(PhoneSetting {
                member_id: input.member_id,
                state,
                expires_at,
            }))
        };
        SetPhonePayload::from_result(caller.language, result.await)
    }
}

fn joining(organisation: OrganisationId, since: Option<Date>) -> Joining {
    Joining {
        organisation,
        since: since.map(|date| date.0),
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
