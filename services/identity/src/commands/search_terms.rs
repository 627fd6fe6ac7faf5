//! What people are found by, made for those who have none yet: who were here before people could
//! be looked for by name, or whose terms were made by older rules.

use kit::{Ctx, Result};

use super::matching::stored_name;
use crate::domain::name::PersonName;
use crate::domain::search::{SEARCH_VERSION, terms};
use crate::spelling::readings;
use crate::store::search as store;
use crate::vault::Vault;

/// People in one transaction.
pub const CHUNK_ROWS: i64 = 500;

/// What a person of this name is found by.
///
/// # Errors
/// Overloaded, when too much was hashed lately.
pub fn terms_of(vault: &Vault, name: &PersonName) -> Result<Vec<i64>> {
    vault.blind_terms(&terms(name, &readings(name)))
}

/// Makes the terms of some people who have none; how many they were. Fewer than [`CHUNK_ROWS`]:
/// there is nobody left.
///
/// # Errors
/// When the database fails, or a name does not open.
pub async fn make_terms(ctx: &Ctx, vault: &Vault) -> Result<i64> {
    ctx.db
        .tx("make_search_terms", async |tx| {
            let rows = store::outdated(tx, SEARCH_VERSION, CHUNK_ROWS).await?;
            let mut people = Vec::with_capacity(rows.len());
            for row in &rows {
                let name = stored_name(vault, row)?;
                people.push((row.member, terms_of(vault, &name)?));
            }
            if !people.is_empty() {
                store::replace(tx, SEARCH_VERSION, &people).await?;
            }
            Ok(i64::try_from(people.len()).unwrap_or(CHUNK_ROWS))
        })
        .await
}
