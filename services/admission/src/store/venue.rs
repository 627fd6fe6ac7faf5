//! Venues and the counter row of each.

use std::collections::BTreeSet;

use kit::types::{OrganisationId, VenueId, shanghai_date};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::coordinates::Wgs84;
use crate::domain::opening::Opening;
use crate::domain::venue::{Details, Venue};
use crate::error::Refusal;

/// The columns of a venue, for `SELECT`.
pub(crate) const COLUMNS: &str = "venue.id, venue.version, venue.organisation, venue.name_zh, \
    venue.name_en, venue.division, venue.latitude_e7, venue.longitude_e7, \
    venue.coordinates_source, venue.tags, venue.opening, venue.capacity, venue.tracks_exits, \
    venue.suspended";

/// A row of `venue`. Kept in the cache too, so it reads back from text.
#[derive(Clone, Debug, FromQueryResult, serde::Serialize, serde::Deserialize)]
pub(crate) struct VenueRow {
    pub(crate) id: Uuid,
    version: i64,
    organisation: Uuid,
    name_zh: String,
    name_en: String,
    division: i32,
    latitude_e7: i32,
    longitude_e7: i32,
    coordinates_source: String,
    tags: Vec<String>,
    opening: String,
    capacity: Option<i32>,
    tracks_exits: bool,
    suspended: bool,
}

impl TryFrom<VenueRow> for Venue {
    type Error = Error;

    fn try_from(row: VenueRow) -> Result<Self> {
        let broken = || Error::internal(format!("the row of venue {} is broken", row.id));
        let opening = match row.opening.as_str() {
            "" => None,
            text => Some(Opening::parse(text).ok_or_else(broken)?),
        };
        let place = Wgs84::from_e7(row.latitude_e7, row.longitude_e7).ok_or_else(broken)?;
        let details = Details {
            division: u32::try_from(row.division).map_err(|_| broken())?,
            capacity: row
                .capacity
                .map(u32::try_from)
                .transpose()
                .map_err(|_| broken())?,
            name_zh: row.name_zh,
            name_en: row.name_en,
            place,
            place_source: row.coordinates_source,
            tags: row.tags.into_iter().collect::<BTreeSet<_>>(),
            opening,
            tracks_exits: row.tracks_exits,
        };
        Ok(Self {
            id: VenueId(row.id),
            version: row.version,
            organisation: OrganisationId(row.organisation),
            details,
            suspended: row.suspended,
        })
    }
}

/// The venue, locked for a change of itself; `NotFound` when absent.
pub(crate) async fn lock(tx: &Tx, id: VenueId) -> Result<Venue> {
    let sql = format!("SELECT {COLUMNS} FROM venue WHERE id = $1 FOR UPDATE");
    tx.one::<VenueRow>(&sql, [id.uuid().into()])
        .await?
        .ok_or(Error::NotFound)?
        .try_into()
}

/// The venue; `NotFound` when absent.
pub(crate) async fn load(tx: &Tx, id: VenueId) -> Result<Venue> {
    let sql = format!("SELECT {COLUMNS} FROM venue WHERE id = $1");
    tx.one::<VenueRow>(&sql, [id.uuid().into()])
        .await?
        .ok_or(Error::NotFound)?
        .try_into()
}

/// Those that are there of these.
pub(crate) async fn all(tx: &Tx, ids: &BTreeSet<VenueId>) -> Result<Vec<Venue>> {
    let sql = format!("SELECT {COLUMNS} FROM venue WHERE id = ANY ($1)");
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<VenueRow> = tx.all(&sql, [ids.into()]).await?;
    rows.into_iter().map(Venue::try_from).collect()
}

/// Adds a venue with its counter row.
pub(crate) async fn insert(tx: &Tx, venue: &Venue) -> Result<()> {
    let details = &venue.details;
    let added = tx
        .execute(
            "INSERT INTO venue (id, version, organisation, name_zh, name_en, division,
               latitude_e7, longitude_e7, coordinates_source, tags, opening, capacity,
               tracks_exits, suspended, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            [
                venue.id.uuid().into(),
                venue.version.into(),
                venue.organisation.uuid().into(),
                details.name_zh.clone().into(),
                details.name_en.clone().into(),
                i32::try_from(details.division).unwrap_or_default().into(),
                details.place.latitude_e7().into(),
                details.place.longitude_e7().into(),
                details.place_source.clone().into(),
                details.tags.iter().cloned().collect::<Vec<_>>().into(),
                opening_text(details).into(),
                details
                    .capacity
                    .and_then(|people| i32::try_from(people).ok())
                    .into(),
                details.tracks_exits.into(),
                venue.suspended.into(),
                tx.now().into(),
            ],
        )
        .await;
    added.map_err(name_taken)?;
    tx.execute(
        "INSERT INTO venue_counter (venue, day, inside) VALUES ($1, $2, 0)",
        [venue.id.uuid().into(), shanghai_date(tx.now()).into()],
    )
    .await?;
    Ok(())
}

/// Writes a changed venue back.
pub(crate) async fn save(tx: &Tx, venue: &Venue) -> Result<()> {
    let details = &venue.details;
    let saved = tx
        .execute(
            "UPDATE venue SET version = $2, name_zh = $3, name_en = $4, division = $5,
               latitude_e7 = $6, longitude_e7 = $7, coordinates_source = $8, tags = $9,
               opening = $10, capacity = $11, tracks_exits = $12, suspended = $13
             WHERE id = $1",
            [
                venue.id.uuid().into(),
                venue.version.into(),
                details.name_zh.clone().into(),
                details.name_en.clone().into(),
                i32::try_from(details.division).unwrap_or_default().into(),
                details.place.latitude_e7().into(),
                details.place.longitude_e7().into(),
                details.place_source.clone().into(),
                details.tags.iter().cloned().collect::<Vec<_>>().into(),
                opening_text(details).into(),
                details
                    .capacity
                    .and_then(|people| i32::try_from(people).ok())
                    .into(),
                details.tracks_exits.into(),
                venue.suspended.into(),
            ],
        )
        .await;
    saved.map_err(name_taken)?;
    Ok(())
}

/// The opening hours as text; empty when the clock does not decide.
pub(crate) fn opening_text(details: &Details) -> String {
    details
        .opening
        .as_ref()
        .map(Opening::to_text)
        .unwrap_or_default()
}

fn name_taken(error: Error) -> Error {
    match error.constraint().as_deref() {
        Some("venue_name_once") => Refusal::VenueNameTaken.into(),
        _ => error,
    }
}

/// Whether the organisation is known here, and still there.
pub(crate) async fn organisation_is_open(tx: &Tx, id: OrganisationId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        closed: bool,
    }
    let row = tx
        .one::<Row>(
            "SELECT closed FROM replica_organisation WHERE id = $1",
            [id.uuid().into()],
        )
        .await?;
    Ok(row.is_some_and(|row| !row.closed))
}

/// Venues after an id, locked so that nothing older can be said after them.
pub(crate) async fn after(tx: &Tx, after: Uuid, rows_max: i64) -> Result<Vec<Venue>> {
    let sql = format!("SELECT {COLUMNS} FROM venue WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE");
    let rows: Vec<VenueRow> = tx.all(&sql, [after.into(), rows_max.into()]).await?;
    rows.into_iter().map(Venue::try_from).collect()
}

/// Those of the venues that a company runs.
pub(crate) async fn of_company(
    tx: &Tx,
    company: OrganisationId,
    venues: BTreeSet<VenueId>,
) -> Result<BTreeSet<VenueId>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let venues: Vec<Uuid> = venues.into_iter().map(VenueId::uuid).collect();
    let rows: Vec<Id> = tx
        .all(
            "SELECT id FROM venue WHERE id = ANY ($1) AND organisation = $2",
            [venues.into(), company.uuid().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| VenueId(row.id)).collect())
}
