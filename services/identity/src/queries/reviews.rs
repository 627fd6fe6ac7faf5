//! The queue of corrections that nobody else has looked at yet.

use kit::access::{self, Caller};
use kit::graphql::Page;
use kit::types::OrganisationId;
use kit::{Ctx, Error, Result};
use uuid::Uuid;

use super::{MembershipView, organisations_by_id, start};
use crate::domain::membership::Membership;
use crate::domain::review::Review;
use crate::store::people::{MEMBERSHIP_COLUMNS, MembershipRow};
use crate::store::reviews::{COLUMNS, Row};

/// A review with the membership it is about, as that is now.
#[derive(Clone, Debug)]
pub struct ReviewView {
    pub review: Review,
    pub membership: MembershipView,
}

/// The open reviews that the caller may close, the oldest first: all for operators, for officers
/// those of organisations below their own. Nobody else has any.
///
/// # Errors
/// Unauthenticated.
pub async fn open_reviews(ctx: &Ctx, caller: &Caller, page: &Page) -> Result<Vec<ReviewView>> {
    let reader = ctx
        .db
        .read("membership_reviews", async |tx| {
            access::member(tx, caller).await.map(|it| it.id)
        })
        .await?;
    let (order, compare) = page.oldest_first();
    let (at, id) = start(page)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM membership_review q
         WHERE closed_at IS NULL AND EXISTS (
           SELECT 1 FROM membership m JOIN organisation o ON o.id = m.organisation
           JOIN role r ON r.member = $1 AND role_held(r.withdrawn_at, r.ends_at, $5)
             AND (r.role = 'operator'
             OR (r.role = 'officer' AND r.organisation = ANY (o.path)
                 AND r.organisation <> o.id))
           WHERE m.id = q.membership)
           AND ($2::timestamptz IS NULL OR (created_at, id) {compare} ($2, $3))
         ORDER BY created_at {order}, id {order} LIMIT $4"
    );
    let values = [
        reader.0.into(),
        at.into(),
        id.into(),
        page.limit().into(),
        ctx.clock.now().into(),
    ];
    let rows = ctx.db.all::<Row>(&sql, values).await?;
    let reviews = rows
        .into_iter()
        .map(Row::read)
        .collect::<Result<Vec<_>>>()?;
    with_memberships(ctx, reviews).await
}

/// Reviews with their memberships.
///
/// # Errors
/// When the database fails.
pub async fn with_memberships(ctx: &Ctx, reviews: Vec<Review>) -> Result<Vec<ReviewView>> {
    let ids: Vec<Uuid> = reviews.iter().map(|it| it.membership).collect();
    let sql = format!("SELECT {MEMBERSHIP_COLUMNS} FROM membership WHERE id = ANY ($1)");
    let rows = ctx.db.all::<MembershipRow>(&sql, [ids.into()]).await?;
    let memberships = rows
        .into_iter()
        .map(MembershipRow::read)
        .collect::<Result<Vec<Membership>>>()?;
    let places: Vec<Uuid> = memberships.iter().map(|it| it.organisation.0).collect();
    let organisations = organisations_by_id(&ctx.db, &places).await?;
    let place = |id: OrganisationId| organisations.iter().find(|it| it.id == id).cloned();
    let view = |review: Review| {
        let found = memberships
            .iter()
            .find(|it| it.id == review.membership)
            .and_then(|it| place(it.organisation).map(|there| (it.clone(), there)));
        let (membership, organisation) =
            found.ok_or_else(|| Error::internal("a review of no membership"))?;
        Ok(ReviewView {
            review,
            membership: MembershipView {
                membership,
                organisation,
            },
        })
    };
    reviews.into_iter().map(view).collect()
}
