//! What a person reads of her own copy and of her wish to be forgotten.

use kit::types::MemberId;
use kit::{Ctx, Result};

use crate::commands::exports::missing;
use crate::domain::erasure::{Erasure, HoldKind, State};
use crate::domain::export::{Export, State as ExportState};
use crate::store::{erasures, exports};

/// A copy, and who has not answered yet.
#[derive(Clone, Debug)]
pub struct ExportView {
    pub export: Export,
    pub missing: Vec<&'static str>,
}

/// A wish, and what keeps her.
#[derive(Clone, Debug)]
pub struct ErasureView {
    pub erasure: Erasure,
    /// By kind, how many of all services together.
    pub holds: Vec<(HoldKind, i64)>,
}

/// The newest copy that a person asked for. Who asks must be this person herself.
///
/// # Errors
/// When the database fails.
pub async fn export_of(ctx: &Ctx, member: MemberId) -> Result<Option<ExportView>> {
    ctx.db
        .read("data_export", async |tx| {
            let Some(export) = exports::newest(tx, member).await? else {
                return Ok(None);
            };
            let missing = match export.state {
                ExportState::Gathering => missing(tx, export.id).await?,
                ExportState::Ready { .. } | ExportState::Expired { .. } => Vec::new(),
            };
            Ok(Some(ExportView { export, missing }))
        })
        .await
}

/// Her wish to be forgotten, with what services said last while it waits for that. Who asks must be
/// this person herself.
///
/// # Errors
/// When the database fails.
pub async fn erasure_of(ctx: &Ctx, member: MemberId) -> Result<Option<ErasureView>> {
    ctx.db
        .read("erasure", async |tx| {
            let Some(erasure) = erasures::load(tx, member).await? else {
                return Ok(None);
            };
            let answers = match erasure.state {
                State::Closing | State::Held => erasures::answers(tx, member).await?,
                State::Asked | State::Recalled { .. } | State::Erased { .. } => Vec::new(),
            };
            let mut holds: Vec<(HoldKind, i64)> = Vec::new();
            for hold in answers.iter().flat_map(|answer| &answer.holds) {
                let kind = HoldKind::parse(&hold.kind);
                match holds.iter_mut().find(|(known, _)| *known == kind) {
                    Some((_, count)) => *count += hold.count,
                    None => holds.push((kind, hold.count)),
                }
            }
            holds.sort_unstable();
            Ok(Some(ErasureView { erasure, holds }))
        })
        .await
}
