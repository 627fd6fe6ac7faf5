//! Looking for people, and seeing one of them unmasked.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use kit::graphql::{Connection, Cursor, Page};

use super::input::{DocumentType, member_id, organisation_id, request, today};
use super::members::Member;
use crate::commands::searches;
use crate::domain::search::{SEARCH_ROWS_MAX, ShowPurpose, Sought, sought};
use crate::error::Refusal;
use crate::queries::{self, Profile};

/// People, looked for.
#[derive(Debug, Default)]
pub struct SearchQuery;

#[Object]
impl SearchQuery {
    /// People in an organisation and below it, at most 20 on a page: for its officers, those
    /// above it, and operators. `search` is a name or its beginning, its pinyin or the initials of
    /// that up to the end of a syllable, or a whole phone or document number; with `whole` a
    /// beginning of a name is not enough. Ten numbers in an hour that nobody there has, and who
    /// asks must wait. What is found is masked; see `showMember`.
    #[graphql(
        complexity = "first.or(last).unwrap_or(1).clamp(1, 20) as usize * child_complexity + 10"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn members(
        &self,
        ctx: &Context<'_>,
        organisation_id: ID,
        search: String,
        #[graphql(default)] whole: bool,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Member>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        if page.rows > SEARCH_ROWS_MAX {
            let field = if page.backwards { "last" } else { "first" };
            let error = kit::Error::bad_input(field, "须为 1 到 20", "must be from 1 to 20");
            return Err(error.into());
        }
        let organisation = read_organisation(&organisation_id)?;
        let sought = sought(&search, whole, today(identity)).ok_or_else(|| {
            let (zh, en) = ("不是姓名、拼音或号码", "no name, pinyin or number");
            kit::Error::bad_input("search", zh, en)
        })?;
        let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
        let found = match &sought {
            Sought::Name(term) => {
                let what = (organisation, term);
                queries::search::members_named(kit_ctx, vault, caller, what, &page).await?
            }
            // All of them are on the first page.
            Sought::Number { .. } if page.from.is_some() => Vec::new(),
            Sought::Number { phone, documents } => {
                let number = (phone.as_ref(), documents.as_slice());
                searches::find_by_number(kit_ctx, vault, caller, organisation, number).await?
            }
        };
        let cursor = |row: &Profile| Cursor::of(&[&row.id.0]);
        Ok(page.connection(found, cursor, Member))
    }
}

fn read_organisation(id: &ID) -> kit::Result<kit::types::OrganisationId> {
    Ok(organisation_id(id, Refusal::OrganisationNotFound)?)
}

/// For what a person is seen unmasked. Kept in the audit table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "ShowPurpose")]
pub enum ShowMemberPurpose {
    /// To compare with the document that she shows.
    Verify,
    /// To correct what is known of her.
    Correct,
    /// To reach her.
    Contact,
    /// To answer her complaint.
    Complaint,
}

/// Who is to be seen unmasked, and for what.
#[derive(Debug, InputObject)]
pub struct ShowMemberInput {
    /// Who.
    member_id: ID,
    /// For what.
    purpose: ShowMemberPurpose,
}

/// A person unmasked. Not to be kept.
#[derive(SimpleObject)]
#[expect(missing_debug_implementations, reason = "it is never printed")]
pub struct ShownMember {
    /// The person.
    member: Member,
    /// Her full name.
    name: String,
    /// The phone she signs in with.
    phone: Option<String>,
    /// What kind of document is known of her.
    document_type: Option<DocumentType>,
    /// Its number.
    document_number: Option<String>,
}

impl From<Profile> for ShownMember {
    fn from(profile: Profile) -> Self {
        let document = profile.document.as_ref();
        Self {
            name: profile.name.as_str().to_owned(),
            phone: profile.phone.as_ref().map(|it| it.as_str().to_owned()),
            document_type: document.map(|it| it.kind().into()),
            document_number: document.map(|it| it.number().to_owned()),
            member: Member(profile),
        }
    }
}

kit::payload! {
    /// The person, for this one look.
    pub struct ShowMemberPayload / ShowMemberUserError / ShowMemberErrorCode {
        /// The person unmasked.
        shown: ShownMember,
    }
    refuses {
        /// There is no such person among one's own.
        MemberNotFound,
        /// The organisation knows her by a name and a phone alone, and she did not ask for it.
        NotAnsweredFor,
        /// Thirty people within the hour, or a hundred within the day.
        TooManyLookUps,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// People, unmasked.
#[derive(Debug, Default)]
pub struct SearchMutation;

#[Object]
impl SearchMutation {
    /// Shows a person unmasked, for a purpose that the audit table keeps and she is told.
    /// Operators, and officers over an organisation that answers for her: it matched her document,
    /// or she asked for the membership or confirmed it. Who is refused is on record too.
    async fn show_member(
        &self,
        ctx: &Context<'_>,
        input: ShowMemberInput,
    ) -> Result<ShowMemberPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let member = member_id(&input.member_id)?;
            let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
            let purpose = input.purpose.into();
            let shown = searches::show_member(kit_ctx, vault, caller, member, purpose).await?;
            Ok(ShowMemberPayload::done(ShownMember::from(shown)))
        };
        ShowMemberPayload::from_result(caller.language, result.await)
    }
}
