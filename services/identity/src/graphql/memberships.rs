//! Memberships over time: kept, taken up again, corrected, and the corrections reviewed.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use kit::access::Caller;
use kit::graphql::{Connection, Cursor, Date, GlobalId, Page};

use super::input::{request, uuid};
use super::members::{self, Member, Membership};
use crate::Identity;
use crate::commands::memberships;
use crate::domain::membership::{Correction, Keep, Membership as Changed};
use crate::domain::review::{Reason, State};
use crate::error::Refusal;
use crate::queries::reviews::{ReviewView, open_reviews, with_memberships};
use crate::queries::{self, MembershipView};

const TYPE: &str = "MembershipReview";

/// Why the dates of a membership are corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Reason")]
pub enum CorrectionReason {
    /// 录入错误: they were entered wrongly.
    EntryError,
    /// 补交材料: papers came later.
    LateEvidence,
    /// 上级决定: an organisation above decided so.
    Decision,
}

/// A correction of a membership that somebody else looks at.
#[derive(Clone, Debug)]
pub struct MembershipReview(pub(crate) ReviewView);

/// A correction of a membership that somebody else looks at: what was decided on the dates before
/// may have to be decided again.
#[Object]
impl MembershipReview {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid(TYPE, self.0.review.id)
    }

    /// The membership as it is now.
    async fn membership(&self) -> Membership {
        Membership(self.0.membership.clone())
    }

    /// Why it was corrected.
    async fn reason(&self) -> CorrectionReason {
        self.0.review.reason.into()
    }

    /// The first day it counted, as was known before.
    async fn since_before(&self) -> Date {
        self.0.review.before.since.into()
    }

    /// The first day it no longer counted, as was known before; null while it did.
    async fn until_before(&self) -> Option<Date> {
        self.0.review.before.until.map(Into::into)
    }

    /// The first day it counts, as corrected.
    async fn since_after(&self) -> Date {
        self.0.review.after.since.into()
    }

    /// The first day it no longer counts, as corrected; null while it does.
    async fn until_after(&self) -> Option<Date> {
        self.0.review.after.until.map(Into::into)
    }

    /// Who corrected it, where the reader may see her.
    #[graphql(complexity = "5 + child_complexity")]
    async fn corrected_by(&self, ctx: &Context<'_>) -> Result<Option<Member>> {
        let id = GlobalId::of_uuid("Member", self.0.review.corrected_by.0);
        members::find(ctx, &id).await
    }

    /// When it was corrected.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.review.created_at
    }

    /// When somebody else had looked at it; null until then.
    async fn closed_at(&self) -> Option<DateTime<Utc>> {
        match self.0.review.state {
            State::Open => None,
            State::Closed { at, .. } => Some(at),
        }
    }
}

/// Which membership is kept, or taken up again.
#[derive(Debug, InputObject)]
pub struct RetainMembershipInput {
    /// Which.
    membership_id: ID,
}

/// Which membership is one's own by one's will.
#[derive(Debug, InputObject)]
pub struct ConfirmMembershipInput {
    /// Which.
    membership_id: ID,
}

/// Which membership is a full one again.
#[derive(Debug, InputObject)]
pub struct ResumeMembershipInput {
    /// Which.
    membership_id: ID,
}

/// Which membership, and what was wrong with its dates.
#[derive(Debug, InputObject)]
pub struct CorrectMembershipInput {
    /// Which.
    membership_id: ID,
    /// The first day it counts, in Shanghai; as it is when absent.
    since: Option<Date>,
    /// The first day it no longer counts, of one that has ended; as it is when absent.
    until: Option<Date>,
    /// Why.
    reason: CorrectionReason,
}

/// Which review is closed.
#[derive(Debug, InputObject)]
pub struct CloseMembershipReviewInput {
    /// From `membershipReviews`.
    review_id: ID,
}

kit::payload! {
    /// What became of the membership.
    pub struct RetainMembershipPayload / RetainMembershipUserError / RetainMembershipErrorCode {
        /// The membership as it is now.
        membership: Membership,
    }
    refuses {
        /// There is no such membership in an organisation of one's own.
        MembershipNotFound,
        /// It has ended.
        MembershipEnded,
        /// It is not one that can be kept.
        StandingDoesNotFit,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the membership.
    pub struct ConfirmMembershipPayload / ConfirmMembershipUserError
        / ConfirmMembershipErrorCode {
        /// The membership as it is now.
        membership: Membership,
    }
    refuses {
        /// One has no such membership.
        MembershipNotFound,
        /// It has ended.
        MembershipEnded,
    }
}

kit::payload! {
    /// What became of the membership.
    pub struct ResumeMembershipPayload / ResumeMembershipUserError / ResumeMembershipErrorCode {
        /// The membership as it is now.
        membership: Membership,
    }
    refuses {
        /// There is no such membership in an organisation of one's own.
        MembershipNotFound,
        /// It has ended.
        MembershipEnded,
        /// It is not one that was kept.
        StandingDoesNotFit,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the correction.
    pub struct CorrectMembershipPayload / CorrectMembershipUserError / CorrectMembershipErrorCode {
        /// The membership as it is now.
        membership: Membership,
    }
    refuses {
        /// There is no such membership in an organisation of one's own.
        MembershipNotFound,
        /// The first day is in the future, too long ago, or within another membership there.
        SinceInvalid,
        /// The last day is before the first, or in the future.
        DateInvalid,
        /// One that has not ended has no last day to correct.
        StandingDoesNotFit,
        /// Nothing differs from what is known.
        NothingCorrected,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the review.
    pub struct CloseMembershipReviewPayload / CloseMembershipReviewUserError
        / CloseMembershipReviewErrorCode {
        /// The review, closed.
        review: MembershipReview,
    }
    refuses {
        /// There is no such review that the caller may close.
        ReviewNotFound,
        /// It is the caller's own correction.
        ReviewOfOwn,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// Corrections, read.
#[derive(Debug, Default)]
pub struct ReviewQuery;

#[Object]
impl ReviewQuery {
    /// The corrections of memberships that the caller may review, the oldest first: operators all,
    /// officers those of organisations below their own.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn membership_reviews(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<MembershipReview>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let rows = open_reviews(&identity.ctx, caller, &page).await?;
        let cursor = |row: &ReviewView| Cursor::at(row.review.created_at, row.review.id);
        Ok(page.connection(rows, cursor, MembershipReview))
    }
}

/// Memberships over time, changed.
#[derive(Debug, Default)]
pub struct MembershipMutation;

#[Object]
impl MembershipMutation {
    /// Keeps a membership of a person who has retired or is away, without dues. Officers of its
    /// organisation, those above it, and operators.
    async fn retain_membership(
        &self,
        ctx: &Context<'_>,
        input: RetainMembershipInput,
    ) -> Result<RetainMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let kept = keep(identity, caller, &input.membership_id, Keep::Retain).await;
        RetainMembershipPayload::from_result(
            caller.language,
            kept.map(RetainMembershipPayload::done),
        )
    }

    /// Says that a membership is one's own by one's will, where a union knows one by name and phone
    /// alone. Its officers may then see one unmasked.
    async fn confirm_membership(
        &self,
        ctx: &Context<'_>,
        input: ConfirmMembershipInput,
    ) -> Result<ConfirmMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = membership_id(&input.membership_id)?;
            let confirmed = memberships::confirm_membership(&identity.ctx, caller, id).await?;
            Ok(ConfirmMembershipPayload::done(
                view(identity, confirmed).await?,
            ))
        };
        ConfirmMembershipPayload::from_result(caller.language, result.await)
    }

    /// Makes a membership that was kept a full one again. Officers of its organisation, those
    /// above it, and operators.
    async fn resume_membership(
        &self,
        ctx: &Context<'_>,
        input: ResumeMembershipInput,
    ) -> Result<ResumeMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let kept = keep(identity, caller, &input.membership_id, Keep::Resume).await;
        ResumeMembershipPayload::from_result(
            caller.language,
            kept.map(ResumeMembershipPayload::done),
        )
    }

    /// Corrects the dates of a membership and opens a review of that. Officers of its
    /// organisation, those above it, and operators.
    async fn correct_membership(
        &self,
        ctx: &Context<'_>,
        input: CorrectMembershipInput,
    ) -> Result<CorrectMembershipPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = membership_id(&input.membership_id)?;
            let correction = Correction {
                since: input.since.map(|date| date.0),
                until: input.until.map(|date| date.0),
            };
            let reason = input.reason.into();
            let changed =
                memberships::correct_membership(&identity.ctx, caller, id, correction, reason)
                    .await?;
            Ok(CorrectMembershipPayload::done(
                view(identity, changed).await?,
            ))
        };
        CorrectMembershipPayload::from_result(caller.language, result.await)
    }

    /// Closes the review of a correction that somebody else made. Operators, and officers above
    /// the organisation.
    async fn close_membership_review(
        &self,
        ctx: &Context<'_>,
        input: CloseMembershipReviewInput,
    ) -> Result<CloseMembershipReviewPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.review_id, TYPE, Refusal::ReviewNotFound)?;
            let closed = memberships::close_review(&identity.ctx, caller, id).await?;
            let views = with_memberships(&identity.ctx, vec![closed]).await?;
            let review = views.into_iter().next().map(MembershipReview);
            Ok(CloseMembershipReviewPayload::done(review))
        };
        CloseMembershipReviewPayload::from_result(caller.language, result.await)
    }
}

fn membership_id(id: &ID) -> std::result::Result<uuid::Uuid, Refusal> {
    uuid(id, "Membership", Refusal::MembershipNotFound)
}

async fn keep(identity: &Identity, caller: &Caller, id: &ID, how: Keep) -> kit::Result<Membership> {
    let kept = memberships::keep_membership(&identity.ctx, caller, membership_id(id)?, how);
    view(identity, kept.await?).await
}

async fn view(identity: &Identity, membership: Changed) -> kit::Result<Membership> {
    let organisation = queries::organisation(&identity.ctx.db, membership.organisation)
        .await?
        .ok_or_else(|| kit::Error::internal("a membership in no organisation"))?;
    Ok(Membership(MembershipView {
        membership,
        organisation,
    }))
}
