//! What a person reads of her own notices.

use kit::graphql::Page;
use kit::types::MemberId;
use kit::{Ctx, Result};

use super::listed;
use crate::domain::notice::{Kind, Names};
use crate::store::notices::{self as store, COLUMNS, Kept, Row};

/// A notice, and what the things in it are called now.
#[derive(Clone, Debug)]
pub struct NoticeView {
    pub kept: Kept,
    pub names: Names,
}

/// A page of a person's notices, the newest first. Who asks must be this person herself.
///
/// # Errors
/// Bad input, for a cursor of another list.
pub async fn notices_of(ctx: &Ctx, member: MemberId, page: &Page) -> Result<Vec<NoticeView>> {
    let (sql, values) = listed(COLUMNS, "notice", "member", member.0, page)?;
    ctx.db
        .read("notices", async |tx| {
            let rows = tx.all::<Row>(&sql, values).await?;
            let kept = rows
                .into_iter()
                .map(Row::read)
                .collect::<Result<Vec<Kept>>>()?;
            let names = store::names(tx, &kept).await?;
            let view = |(kept, names)| NoticeView { kept, names };
            Ok(kept.into_iter().zip(names).map(view).collect())
        })
        .await
}

/// How many notices she has not read.
///
/// # Errors
/// When the database fails.
pub async fn unread_of(ctx: &Ctx, member: MemberId) -> Result<i64> {
    let count = async |tx: &kit::Tx| store::unread(tx, member).await;
    ctx.db.read("unread_notices", count).await
}

/// Of each kind that may come by SMS too, whether she wants that.
///
/// # Errors
/// When the database fails.
pub async fn preferences_of(ctx: &Ctx, member: MemberId) -> Result<Vec<(Kind, bool)>> {
    ctx.db
        .read("notice_preferences", async |tx| {
            let unwanted = store::without_sms(tx, member).await?;
            let with_sms = Kind::ALL
                .into_iter()
                .filter(|kind| kind.must_have_sms().is_ok());
            Ok(with_sms
                .map(|kind| (kind, !unwanted.contains(&kind)))
                .collect())
        })
        .await
}
