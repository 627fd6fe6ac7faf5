//! The proposed roles that wait for a second person.

use kit::access::{self, Caller};
use kit::graphql::Page;
use kit::{Ctx, Db, Error, Result};
use uuid::Uuid;

use super::{organisations_by_id, start};
use crate::domain::organisation::Organisation;
use crate::domain::proposal::Proposal;
use crate::store::role_proposals::{COLUMNS, Row};

/// A proposal with the organisation it is about.
#[derive(Clone, Debug)]
pub struct ProposalView {
    pub proposal: Proposal,
    pub organisation: Organisation,
}

/// The proposals that wait, the oldest first, for operators: one of them confirms each. Nobody else
/// has any.
///
/// # Errors
/// Unauthenticated.
pub async fn open_proposals(ctx: &Ctx, caller: &Caller, page: &Page) -> Result<Vec<ProposalView>> {
    let operates = ctx
        .db
        .read("role_proposals", async |tx| {
            match access::operator(tx, caller).await {
                Ok(_) => Ok(true),
                Err(Error::Forbidden(_)) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await?;
    if !operates {
        return Ok(Vec::new());
    }
    let (order, compare) = page.oldest_first();
    let (at, id) = start(page)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM role_proposal
         WHERE state = 'open' AND expires_at > $4
           AND ($1::timestamptz IS NULL OR (created_at, id) {compare} ($1, $2))
         ORDER BY created_at {order}, id {order} LIMIT $3"
    );
    let values = [
        at.into(),
        id.into(),
        page.limit().into(),
        ctx.clock.now().into(),
    ];
    let rows = ctx.db.all::<Row>(&sql, values).await?;
    let proposals = rows
        .into_iter()
        .map(Row::read)
        .collect::<Result<Vec<_>>>()?;
    with_organisations(&ctx.db, proposals).await
}

/// Proposals with their organisations.
///
/// # Errors
/// When the database fails.
pub async fn with_organisations(db: &Db, proposals: Vec<Proposal>) -> Result<Vec<ProposalView>> {
    let places: Vec<Uuid> = proposals
        .iter()
        .map(|it| it.grant.of.organisation.0)
        .collect();
    let organisations = organisations_by_id(db, &places).await?;
    let view = |proposal: Proposal| {
        let organisation = organisations
            .iter()
            .find(|it| it.id == proposal.grant.of.organisation)
            .cloned()
            .ok_or_else(|| Error::internal("a proposal in no organisation"))?;
        Ok(ProposalView {
            proposal,
            organisation,
        })
    };
    proposals.into_iter().map(view).collect()
}
