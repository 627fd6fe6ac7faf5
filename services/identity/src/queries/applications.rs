//! Applications for memberships: one's own, and those that wait for an office.

use kit::access::{self, Caller};
use kit::graphql::Page;
use kit::types::OrganisationId;
use kit::{Ctx, Error, Result};

use super::{organisations_by_id, start};
use crate::commands::people::officer_or_operator;
use crate::domain::application::Application;
use crate::domain::organisation::Organisation;
use crate::store::applications::{COLUMNS, Row};

/// An application with the organisation it is to.
#[derive(Clone, Debug)]
pub struct ApplicationView {
    pub application: Application,
    pub organisation: Organisation,
}

/// All applications about the caller, the newest first.
///
/// # Errors
/// Unauthenticated.
pub async fn own(ctx: &Ctx, caller: &Caller, page: &Page) -> Result<Vec<ApplicationView>> {
    let member = ctx
        .db
        .read("own_applications", async |tx| {
            access::member(tx, caller).await.map(|it| it.id)
        })
        .await?;
    let (order, compare) = page.newest_first();
    let (at, id) = start(page)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM membership_application
         WHERE member = $1 AND ($2::timestamptz IS NULL OR (asked_at, id) {compare} ($2, $3))
         ORDER BY asked_at {order}, id {order} LIMIT $4"
    );
    let values = [member.0.into(), at.into(), id.into(), page.limit().into()];
    read(ctx, ctx.db.all::<Row>(&sql, values).await?).await
}

/// The applications that wait for the officers of an organisation, the oldest first.
///
/// # Errors
/// Officers over it and operators only.
pub async fn waiting(
    ctx: &Ctx,
    caller: &Caller,
    organisation: OrganisationId,
    page: &Page,
) -> Result<Vec<ApplicationView>> {
    ctx.db
        .read("waiting_applications", async |tx| {
            officer_or_operator(tx, caller, organisation)
                .await
                .map(|_| ())
        })
        .await?;
    let (order, compare) = page.oldest_first();
    let (at, id) = start(page)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM membership_application
         WHERE organisation = $1 AND state = 'waiting'
           AND ($2::timestamptz IS NULL OR (asked_at, id) {compare} ($2, $3))
         ORDER BY asked_at {order}, id {order} LIMIT $4"
    );
    let values = [
        organisation.0.into(),
        at.into(),
        id.into(),
        page.limit().into(),
    ];
    read(ctx, ctx.db.all::<Row>(&sql, values).await?).await
}

async fn read(ctx: &Ctx, rows: Vec<Row>) -> Result<Vec<ApplicationView>> {
    let applications = rows
        .into_iter()
        .map(Row::read)
        .collect::<Result<Vec<_>>>()?;
    with_organisations(ctx, applications).await
}

/// Applications with their organisations.
///
/// # Errors
/// When the database fails.
pub async fn with_organisations(
    ctx: &Ctx,
    applications: Vec<Application>,
) -> Result<Vec<ApplicationView>> {
    let ids: Vec<uuid::Uuid> = applications.iter().map(|it| it.organisation.0).collect();
    let organisations = organisations_by_id(&ctx.db, &ids).await?;
    let view = |application: Application| {
        let organisation = organisations
            .iter()
            .find(|it| it.id == application.organisation)
            .cloned()
            .ok_or_else(|| Error::internal("an application to no organisation"))?;
        Ok(ApplicationView {
            application,
            organisation,
        })
    };
    applications.into_iter().map(view).collect()
}
