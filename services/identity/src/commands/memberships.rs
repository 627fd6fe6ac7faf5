//! How a membership changes over time: kept beyond work, taken up again, and corrected, which
//! somebody else then reviews.

use kit::access::{self, Caller, Role};
use kit::types::shanghai_date;
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::members::own_membership;
use crate::domain::membership::{Correction, Membership};
use crate::domain::review::{Dates, Reason, Review, State};
use crate::error::Refusal;
use crate::publish;
use crate::store::organisations::{self, Lock};
use crate::store::{memberships, people, reviews};

/// Keeps a membership for a person who has retired or is away; one that is kept stays so.
///
/// # Errors
/// Officers of its organisation and operators only; to all others it is absent. Refused when it
/// has ended.
pub async fn retain_membership(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Membership> {
    change(ctx, caller, id, Kept::Retained).await
}

/// Makes a membership that was kept a full one again.
///
/// # Errors
/// As [`retain_membership`].
pub async fn resume_membership(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Membership> {
    change(ctx, caller, id, Kept::Resumed).await
}

#[derive(Clone, Copy)]
enum Kept {
    Retained,
    Resumed,
}

async fn change(ctx: &Ctx, caller: &Caller, id: Uuid, kept: Kept) -> Result<Membership> {
    ctx.db
        .tx("keep_membership", async |tx| {
            let (membership, by) = own_membership(tx, caller, id).await?;
            let version = membership.version;
            let (changed, act) = match kept {
                Kept::Retained => (membership.retain()?, "retain_membership"),
                Kept::Resumed => (membership.resume()?, "resume_membership"),
            };
            if changed.version != version {
                people::save_membership(tx, &changed).await?;
                tx.emit(publish::membership(&changed));
            }
            tx.audit(by.audit(act, id));
            Ok(changed)
        })
        .await
}

/// Corrects the dates of a membership: a new version of it, and a review for somebody else, since
/// what was decided on the dates before may have to be decided again.
///
/// # Errors
/// Officers of its organisation and operators only; to all others it is absent. Refused when a
/// date makes no sense, lies within another membership of the person there, or nothing differs.
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
/// Operators, and officers above the organisation; to all others it is absent. Nobody reviews
/// her own correction, or a correction of her own membership.
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
            let about = memberships::place(tx, review.membership).await?;
            let (_, about) = about.ok_or(absent)?;
            let was = review.state;
            let closed = review.close(by.id, about, tx.now())?;
            if closed.state != was {
                reviews::save(tx, &closed).await?;
                tx.audit(by.audit("close_membership_review", id));
            }
            Ok(closed)
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
