//! Venues as admission told of them.

use std::collections::BTreeSet;

use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::reservation::province;
use crate::domain::Venue;

/// What [`VenueRow`] reads.
pub const VENUE_COLUMNS: &str = "id, province, name_zh, name_en, tags, opening_hours, suspended";

/// A venue with its names.
#[derive(Clone, Debug, FromQueryResult)]
pub struct VenueRow {
    id: Uuid,
    province: i16,
    pub name_zh: String,
    pub name_en: String,
    tags: Vec<String>,
    opening_hours: String,
    suspended: bool,
}

impl VenueRow {
    /// The venue.
    ///
    /// # Errors
    /// When its province is none.
    pub fn venue(&self) -> Result<Venue> {
        Ok(Venue {
            id: self.id,
            province: province(self.province)?,
            tags: self.tags.iter().cloned().collect::<BTreeSet<String>>(),
            opening_hours: self.opening_hours.clone(),
            suspended: self.suspended,
        })
    }
}

/// A venue; `None` when admission has not told of it.
///
/// # Errors
/// When the database fails.
pub async fn venue(tx: &Tx, id: Uuid) -> Result<Option<Venue>> {
    let sql = format!("SELECT {VENUE_COLUMNS} FROM replica_venue WHERE id = $1");
    let row = tx.one::<VenueRow>(&sql, [id.into()]).await?;
    row.map(|row| row.venue()).transpose()
}
