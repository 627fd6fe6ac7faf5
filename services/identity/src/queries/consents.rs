//! What a person reads of her own consents: what is asked, what she said, and what it is worth.

use kit::graphql::Page;
use kit::types::{MemberId, Processing};
use kit::{Ctx, Db, Error, Result};
use uuid::Uuid;

use super::listed;
use crate::domain::consent::{self, Consent, Standing, Text};
use crate::store::consents::{self as store, ACT_COLUMNS, ActRow};

/// One thing that is asked for, and what the person said to it.
#[derive(Clone, Debug)]
pub struct ConsentView {
    /// The text in force.
    pub text: Text,
    /// `None` while she said nothing.
    pub said: Option<Consent>,
}

impl ConsentView {
    pub fn standing(&self) -> Standing {
        Standing::of(self.said.as_ref(), &self.text)
    }
}

/// Everything that is asked for now. Who asks must be this person herself.
///
/// # Errors
/// When the database fails.
pub async fn consents_of(ctx: &Ctx, member: MemberId) -> Result<Vec<ConsentView>> {
    ctx.db
        .read("consents", async |tx| {
            let texts = store::texts(tx).await?;
            let said = store::of_member(tx, member).await?;
            let view = |processing: Processing| {
                let text = consent::in_force(&texts, processing, tx.now())?.clone();
                let said = said.iter().find(|it| it.processing == processing).cloned();
                Some(ConsentView { text, said })
            };
            Ok(Processing::ALL.into_iter().filter_map(view).collect())
        })
        .await
}

/// One of them.
///
/// # Errors
/// When nothing is asked for this, or the database fails.
pub async fn consent_of(
    ctx: &Ctx,
    member: MemberId,
    processing: Processing,
) -> Result<ConsentView> {
    let all = consents_of(ctx, member).await?;
    all.into_iter()
        .find(|it| it.text.processing == processing)
        .ok_or_else(|| Error::internal("nothing is asked for this purpose"))
}

/// What was said of a consent, the newest first. Who asks must be the person herself.
///
/// # Errors
/// When the database fails.
pub async fn acts_of(db: &Db, consent: Uuid, page: &Page) -> Result<Vec<ActRow>> {
    let (sql, values) = listed(ACT_COLUMNS, "consent_act", "consent", consent, page)?;
    db.all(&sql, values).await
}
