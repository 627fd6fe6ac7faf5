//! The files with names in them that wait for an officer.

use kit::types::MemberId;
use kit::{Ctx, Result};

use crate::domain::organisation::Organisation;
use crate::domain::rendering::Rendering;
use crate::store::organisations::{COLUMNS, Row as OrganisationRow};
use crate::store::renderings as store;

/// Files that are shown, at most: the newest.
pub const FILES_MAX: i64 = 20;

/// A file, and whose people are in it.
#[derive(Clone, Debug)]
pub struct RenderingView {
    pub rendering: Rendering,
    pub organisation: Organisation,
}

/// The newest files for a person. Who asks must be this person herself.
///
/// # Errors
/// When the database fails.
pub async fn renderings_of(ctx: &Ctx, member: MemberId) -> Result<Vec<RenderingView>> {
    ctx.db
        .read("rendered_files", async |tx| {
            let files = store::newest_of(tx, member, FILES_MAX).await?;
            let ids: Vec<uuid::Uuid> = files.iter().map(|it| it.organisation.0).collect();
            let sql = format!("SELECT {COLUMNS} FROM organisation WHERE id = ANY ($1)");
            let rows = tx.all::<OrganisationRow>(&sql, [ids.into()]).await?;
            let organisations = rows
                .into_iter()
                .map(OrganisationRow::read)
                .collect::<Result<Vec<Organisation>>>()?;
            let view = |rendering: Rendering| {
                let mut all = organisations.iter();
                let organisation = all.find(|it| it.id == rendering.organisation)?.clone();
                Some(RenderingView {
                    rendering,
                    organisation,
                })
            };
            Ok(files.into_iter().filter_map(view).collect())
        })
        .await
}
