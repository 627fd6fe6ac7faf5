//! Passes as they are shown, and to whom.

use kit::access::{self, Caller};
use kit::graphql::{Cursor, Page};
use kit::types::{EntitlementId, MemberId};
use kit::{Error, Result, Tx};

use crate::Passes;
use crate::domain::Pass;
use crate::store::{self, COLUMNS, PassRow};

impl Passes {
    /// A pass that the caller may see.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pass(&self, caller: &Caller, id: EntitlementId) -> Result<Option<Pass>> {
        self.ctx
            .db
            .read("pass", async |tx| {
                let Some(pass) = store::load(tx, id).await? else {
                    return Ok(None);
                };
                let shown = may_see(tx, caller, pass.member).await?;
                Ok(shown.then_some(pass))
            })
            .await
    }

    /// A page of a member's passes, newest first; empty for who may not see them.
    ///
    /// # Errors
    /// Bad input, for a cursor of another list.
    pub async fn passes_of(
        &self,
        caller: &Caller,
        member: MemberId,
        page: &Page,
    ) -> Result<Vec<Pass>> {
        let from = page.from.as_ref().map(Cursor::to_at::<i64>).transpose()?;
        let (at, id) = from.map_or((None, None), |(at, id)| (Some(at), Some(id)));
        let (order, sign) = page.newest_first();
        let sql = format!(
            "SELECT {COLUMNS} FROM pass p
             LEFT JOIN refund r ON r.pass = p.id AND r.ordinal = p.refund
             WHERE p.member = ANY ($1)
               AND ($2::timestamptz IS NULL OR (p.bought_at, p.id) {sign} ($2, $3::bigint))
             ORDER BY p.bought_at {order}, p.id {order} LIMIT $4"
        );
        self.ctx
            .db
            .read("passes", async |tx| {
                if !may_see(tx, caller, member).await? {
                    return Ok(Vec::new());
                }
                let persons = store::persons(tx, member).await?;
                let rows = tx
                    .all::<PassRow>(
                        &sql,
                        [persons.into(), at.into(), id.into(), page.limit().into()],
                    )
                    .await?;
                rows.into_iter().map(PassRow::pass).collect()
            })
            .await
    }
}

/// The cursor of a pass among its holder's.
pub fn cursor_of_pass(pass: &Pass) -> Cursor {
    Cursor::at(pass.bought_at, pass.id.to_i64())
}

pub(super) async fn is_operator(tx: &Tx, caller: &Caller) -> Result<bool> {
    match access::operator(tx, caller).await {
        Ok(_) => Ok(true),
        Err(Error::Forbidden(_) | Error::Unauthenticated(_) | Error::Unavailable(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the caller is this member, or an operator.
async fn may_see(tx: &Tx, caller: &Caller, member: MemberId) -> Result<bool> {
    let signed_in = match access::member(tx, caller).await {
        Ok(signed_in) => signed_in,
        Err(Error::Unauthenticated(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    if signed_in.id == member || store::persons(tx, signed_in.id).await?.contains(&member.0) {
        return Ok(true);
    }
    is_operator(tx, caller).await
}
