//! An officer asks for a list of those of her people who hold passes. This service knows no names:
//! identity renders the file, for her alone, once.

use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::once;
use kit::types::{OrganisationId, shanghai_date};
use kit::{Error, Result};
use serde_json::json;
use uuid::Uuid;

use super::seen;
use crate::domain::{HolderList, LIST_ROWS_MAX, LISTS_PER_DAY_MAX, ListPurpose};
use crate::error::Refusal;
use crate::{Passes, publish, store};

impl Passes {
    /// Has a list of holders rendered; the file's id.
    ///
    /// # Errors
    /// Forbidden to all but officers of the organisation and above; without the second factor;
    /// while audit rows wait for their seal; refused when nobody is on it, or too many.
    pub async fn request_holder_list(
        &self,
        caller: &Caller,
        (organisation, purpose): (OrganisationId, ListPurpose),
        key: Uuid,
    ) -> Result<Uuid> {
        let asked = [organisation.0.to_string(), purpose.as_str().to_owned()];
        let hash = once::hash("request_pass_holder_list", &[&asked[0], &asked[1]]);
        self.ctx
            .db
            .tx("request_pass_holder_list", async |tx| {
                let officer = access::officer(tx, caller, organisation).await?.member;
                access::stepped_up(tx, caller)?;
                require_sealing(tx).await?;
                if let Some(done) = seen(tx, officer.id.0, key, hash).await? {
                    return Uuid::from_slice(&done)
                        .map_err(|_| Error::internal("an idempotency record names no list"));
                }
                let today = shanghai_date(tx.now());
                if store::count_list(tx, officer.id, today).await? > LISTS_PER_DAY_MAX {
                    return Err(Refusal::TooManyLists.into());
                }
                // One more, to know that there are more.
                let rows_max = i64::try_from(LIST_ROWS_MAX + 1).unwrap_or(i64::MAX);
                let list = HolderList {
                    id: tx.uuid(),
                    asker: officer.id,
                    organisation,
                    purpose,
                    holders: store::holders_in(tx, organisation, today, rows_max).await?,
                };
                let list = list.ask()?;
                tx.emit(publish::holder_list(&list, caller.language));
                let detail = json!({
                    "organisation": organisation.0, "purpose": purpose.as_str(),
                    "rows": list.holders.len(),
                });
                let row = officer.audit("request_pass_holder_list", list.id);
                tx.audit(row.detail(detail));
                once::finish(tx, list.id.as_bytes())?;
                Ok(list.id)
            })
            .await
    }
}
