//! How a membership changes over time: kept beyond work, taken up again, and corrected, which
//! somebody else then reviews.

use kit::access::{self, Caller, Role};
use kit::audit::AuditRow;
use kit::due::{self, After, NewDue};
use kit::types::shanghai_date;
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::members::own_membership;
use crate::domain::membership::{Correction, Keep, Membership};
use crate::domain::review::{Dates, Reason, Review, State};
use crate::due::REVIEW;
use crate::error::Refusal;
use crate::publish;
use crate::store::memberships::Ground;
use crate::store::organisations::{self, Lock};
use crate::store::{memberships, people, reviews};

/// Keeps a membership for a person who has retired or is away, or makes one that was kept a full
/// one again; one that stands so already stays as it is.
///
/// # Errors
/// Officers of its organisation and operators only, their second factor shown; to all others it is
/// absent. Refused when it has ended.
pub async fn keep_membership(
    ctx: &Ctx,
    caller: &Caller,
    id: Uuid,
    how: Keep,
) -> Result<Membership> {
    ctx.db
        .tx("keep_membership", async |tx| {
            let (membership, by) = own_membership(tx, caller, id).await?;
            access::stepped_up(tx, caller)?;
            let version = membership.version;
            let kept = membership.keep(how)?;
            if kept.version != version {
                people::save_membership(tx, &kept).await?;
                tx.emit(publish::membership(&kept));
            }
            let act = match how {
                Keep::Retain => "retain_membership",
                Keep::Resume => "resume_membership",
            };
            tx.audit(by.audit(act, id));
            Ok(kept)
        })
        .await
}

/// A person says that a membership is hers by her own will: who has put her there by a name and a
/// phone alone answers for her from then on. Said before, it stays so.
///
/// # Errors
/// Hers alone; to all others it is absent. Refused when it has ended.
pub async fn confirm_membership(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Membership> {
    ctx.db
        .tx("confirm_membership", async |tx| {
            let member = access::member(tx, caller).await?;
            let membership = people::membership(tx, id).await?;
            let membership = membership
                .filter(|it| it.member == member.id)
                .ok_or(Refusal::MembershipNotFound)?;
            membership.must_be_open()?;
            memberships::rest_on(tx, &[id], Ground::Herself).await?;
            tx.audit(member.audit("confirm_membership", id));
            Ok(membership)
        })
        .await
}

/// Corrects the dates of a membership: a new version of it, and a review for somebody else, since
/// what was decided on the dates before may have to be decided again.
///
/// # Errors
/// Officers of its organisation and operators only, their second factor shown; to all others it is
/// absent. Refused when a date makes no sense, lies within another membership of the person there,
/// or nothing differs.
pub async fn correct_membership(
    ctx: &Ctx,
    caller: &Caller,
    id: Uuid,
    correction: Correction,
    reason: Reason,
) -> Result<Membership> {
    ctx.db
        .tx("correct_membership", async |tx| {
            let (membership, by) = own_membership(tx, caller, id).await?;
            access::stepped_up(tx, caller)?;
            let before = Dates::of(&membership);
            let corrected = membership.correct(correction, shanghai_date(tx.now()))?;
            people::save_membership(tx, &corrected).await?;
            if memberships::overlaps(tx, &[corrected.id]).await? {
                return Err(Refusal::SinceInvalid.into());
            }
            tx.emit(publish::membership(&corrected));
            let review = Review {
                id: tx.uuid(),
                membership: id,
                version: corrected.version,
                reason,
                before,
                after: Dates::of(&corrected),
                corrected_by: by.id,
                created_at: tx.now(),
                state: State::Open,
            };
            reviews::insert(tx, &review).await?;
            if let Some(at) = review.due_at(tx.now()) {
                tx.plan(NewDue::new(REVIEW, review.id, at));
            }
            let days = |until: Option<chrono::NaiveDate>| until.map(|day| day.to_string());
            let (until, ended) = (days(before.until), days(corrected.standing.until()));
            let detail = serde_json::json!({
                "review": review.id, "version": corrected.version, "reason": reason.as_str(),
                "since": [before.since.to_string(), corrected.since.to_string()],
                "until": [until, ended],
            });
            tx.audit(by.audit("correct_membership", id).detail(detail));
            Ok(corrected)
        })
        .await
}

/// Closes the review of a correction; one that is closed stays as it is.
///
/// # Errors
/// Operators, and officers above the organisation, their second factor shown; to all others it is
/// absent. Nobody reviews her own correction, or a correction of her own membership.
pub async fn close_review(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Review> {
    ctx.db
        .tx("close_membership_review", async |tx| {
            access::member(tx, caller).await?;
            let absent = Refusal::ReviewNotFound;
            let review = reviews::load(tx, id).await?.ok_or(absent)?;
            let by = match reviewer(tx, caller, &review).await {
                Err(Error::Forbidden(_)) => return Err(absent.into()),
                other => other?,
            };
            access::stepped_up(tx, caller)?;
            let about = memberships::place(tx, review.membership).await?;
            let (_, about) = about.ok_or(absent)?;
            let was = review.state;
            let closed = review.close(by.id, about, tx.now())?;
            if closed.state != was {
                reviews::save(tx, &closed).await?;
                due::cancel(tx, REVIEW, &id.to_string()).await?;
                tx.audit(by.audit("close_membership_review", id));
            }
            Ok(closed)
        })
        .await
}

/// Nobody has looked at a correction for too long: somebody is alarmed, and again as long as it is
/// open.
///
/// # Errors
/// When the database fails.
pub async fn remind_of_review(ctx: &Ctx, id: Uuid) -> Result<After> {
    ctx.db
        .tx("remind_of_review", async |tx| {
            let Some(review) = reviews::load(tx, id).await? else {
                return Ok(After::Done);
            };
            if review.is_overdue(tx.now()) {
                tx.audit(AuditRow::system("review_overdue", id));
                metrics::counter!("bashu_identity_reviews_overdue_total").increment(1);
                tracing::error!(review = %id, "nobody has looked at a correction of a membership");
            }
            Ok(review.due_at(tx.now()).map_or(After::Done, After::At))
        })
        .await
}

/// Who may close it: an operator, or an officer of an organisation above the one it is about.
async fn reviewer(tx: &Tx, caller: &Caller, review: &Review) -> Result<access::Member> {
    match access::operator(tx, caller).await {
        Ok(operator) => return Ok(operator.member),
        Err(Error::Forbidden(_)) => {}
        Err(error) => return Err(error),
    }
    let above = match memberships::place(tx, review.membership).await? {
        None => None,
        Some((id, _)) => organisations::load(tx, id, Lock::Share)
            .await?
            .and_then(|it| it.parent()),
    };
    let above = above.ok_or(Error::Forbidden("operators only"))?;
    access::office(tx, caller, &[Role::Officer], above).await
}
