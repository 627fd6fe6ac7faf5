//! What is read without changing anything: venues for the public, figures and redemptions for
//! those who run a venue.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use kit::graphql::{Cursor, Page, foreign_cursor};
use kit::types::{GateId, VenueId};
use kit::{Ctx, Error, Result};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Admission;
use crate::domain::coordinates::Wgs84;
use crate::domain::gate::Gate;
use crate::domain::redemption::Redemption;
use crate::domain::venue::Venue;
use crate::store;
use crate::store::alarm::Alarm;
use crate::store::venue::VenueRow;

/// How long a page of venues is kept, in seconds: a change is seen this much later.
const VENUES_LIFE: Duration = Duration::from_secs(10);
/// Days of figures in one answer, at most.
pub const FIGURE_DAYS_MAX: i64 = 31;

/// Which venues are asked for.
#[derive(Clone, Debug, Default)]
pub struct VenueFilter {
    /// Nearest to this point first.
    pub near: Option<Wgs84>,
    /// No farther than this, in metres.
    pub within_metres: Option<i64>,
    pub tag: Option<String>,
    /// A GB/T 2260 code and all below it.
    pub division: Option<u32>,
}

/// A venue of a page.
#[derive(Clone, Debug)]
pub struct Listed {
    pub venue: Venue,
    /// From the point asked for.
    pub metres: Option<i64>,
}

#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
struct ListedRow {
    metres: i64,
    #[sea_orm(nested)]
    venue: VenueRow,
}

impl Listed {
    /// The sort key of its page.
    pub fn cursor(&self) -> Cursor {
        Cursor::of(&[&self.metres.unwrap_or_default(), &self.venue.id])
    }
}

/// A page of venues, from the cache where it is there.
///
/// # Errors
/// Bad input for another list's cursor; when the database fails.
pub async fn venues(service: &Admission, filter: &VenueFilter, page: &Page) -> Result<Vec<Listed>> {
    // Distances are from a point of the grid, with or without a cache: a page has one key for
    // everybody nearby, and its cursors fit the next one.
    let filter = &VenueFilter {
        near: filter.near.map(Wgs84::on_grid),
        ..filter.clone()
    };
    let load = async || page_of_venues(&service.ctx, filter, page).await;
    let rows = match &service.cache {
        Some(cache) => {
            let key = hex::encode(Sha256::digest(format!("{filter:?}{page:?}")));
            cache
                .get_or(&format!("venues:{key}"), VENUES_LIFE, load)
                .await?
        }
        None => load().await?,
    };
    rows.into_iter()
        .map(|row| {
            let metres = filter.near.map(|_| row.metres);
            Ok(Listed {
                metres,
                venue: row.venue.try_into()?,
            })
        })
        .collect()
}

async fn page_of_venues(ctx: &Ctx, filter: &VenueFilter, page: &Page) -> Result<Vec<ListedRow>> {
    let (metres, id) = match &page.from {
        None if page.backwards => (i64::MAX, Uuid::max()),
        None => (-1, Uuid::nil()),
        Some(cursor) => venue_cursor(cursor)?,
    };
    let (least, most) = filter.division.map_or((0, 999_999), codes_below);
    let (order, compare) = page.oldest_first();
    let distance = "CASE WHEN $1 THEN round(12742017.6 * asin(LEAST(1, sqrt(
        power(sin(radians(latitude_e7 / 1e7 - $2) / 2), 2)
        + cos(radians($2)) * cos(radians(latitude_e7 / 1e7))
          * power(sin(radians(longitude_e7 / 1e7 - $3) / 2), 2)))))::bigint ELSE 0 END";
    let columns = store::venue::COLUMNS
        .split(", ")
        .map(|column| column.trim().trim_start_matches("venue."))
        .map(|column| format!("v.{column}"))
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!(
        "SELECT v.metres, {columns} FROM (SELECT venue.*, {distance} AS metres FROM venue) v
         WHERE (v.metres, v.id) {compare} ($4, $5) AND ($6 = '' OR v.tags @> ARRAY[$6])
           AND v.division BETWEEN $7 AND $8 AND v.metres <= $9
         ORDER BY v.metres {order}, v.id {order} LIMIT $10"
    );
    let (latitude, longitude) = filter
        .near
        .map_or((0.0, 0.0), |near| (near.latitude(), near.longitude()));
    ctx.db
        .all(
            &sql,
            [
                filter.near.is_some().into(),
                latitude.into(),
                longitude.into(),
                metres.into(),
                id.into(),
                filter.tag.clone().unwrap_or_default().into(),
                least.into(),
                most.into(),
                filter.within_metres.unwrap_or(i64::MAX).into(),
                page.limit().into(),
            ],
        )
        .await
}

fn venue_cursor(cursor: &Cursor) -> Result<(i64, Uuid)> {
    let [metres, id] = cursor.parts().ok_or_else(foreign_cursor)?;
    Ok((
        metres.parse().map_err(|_| foreign_cursor())?,
        id.parse().map_err(|_| foreign_cursor())?,
    ))
}

/// The codes of a division and all below it: 510100 is 510100 to 510199.
fn codes_below(code: u32) -> (i32, i32) {
    let least = i32::try_from(code).unwrap_or(i32::MAX);
    let below = match least {
        code if code % 10_000 == 0 => 9_999,
        code if code % 100 == 0 => 99,
        _ => 0,
    };
    (least, least.saturating_add(below))
}

/// These venues, in no order; absent ones are left out.
///
/// # Errors
/// When the database fails.
pub async fn venues_by_id(ctx: &Ctx, ids: Vec<Uuid>) -> Result<Vec<Venue>> {
    let sql = format!(
        "SELECT {} FROM venue WHERE id = ANY ($1)",
        store::venue::COLUMNS
    );
    let rows: Vec<VenueRow> = ctx.db.all(&sql, [ids.into()]).await?;
    rows.into_iter().map(Venue::try_from).collect()
}

/// These gates, in no order; absent ones are left out.
///
/// # Errors
/// When the database fails.
pub async fn gates_by_id(ctx: &Ctx, ids: &[GateId]) -> Result<Vec<Gate>> {
    store::gate::of_ids(&ctx.db, ids).await
}

/// People inside venues that scan exits, today; a venue where nobody came in is left out.
///
/// # Errors
/// When the database fails.
pub async fn inside_of(ctx: &Ctx, venues: &[VenueId]) -> Result<HashMap<VenueId, u32>> {
    #[derive(FromQueryResult)]
    struct Row {
        venue: Uuid,
        inside: i32,
    }
    let today = kit::types::shanghai_date(ctx.clock.now());
    let ids: Vec<Uuid> = venues.iter().map(|venue| venue.uuid()).collect();
    let sql = "SELECT venue, inside FROM venue_counter WHERE venue = ANY ($1) AND day = $2";
    let rows = ctx.db.all::<Row>(sql, [ids.into(), today.into()]).await?;
    let inside = |row: Row| {
        (
            VenueId(row.venue),
            u32::try_from(row.inside).unwrap_or_default(),
        )
    };
    Ok(rows.into_iter().map(inside).collect())
}

/// A venue's gates, by number.
///
/// # Errors
/// When the database fails.
pub async fn gates(ctx: &Ctx, venue: VenueId) -> Result<Vec<Gate>> {
    store::gate::of_venue(&ctx.db, venue).await
}

/// What happened at a gate in an hour.
#[derive(Clone, Debug)]
pub struct Figure {
    pub day: NaiveDate,
    pub gate: GateId,
    /// 0 to 23, Shanghai time.
    pub hour: i16,
    /// `entry`, `exit`, `override`, `void`, `deny:` or `ask:` and the reason.
    pub what: String,
    pub times: i64,
    pub persons: i64,
}

/// A venue's figures from one Shanghai date up to, and without, another.
///
/// # Errors
/// Bad input when there are too many days; when the database fails.
pub async fn figures(
    ctx: &Ctx,
    venue: VenueId,
    from: NaiveDate,
    until: NaiveDate,
) -> Result<Vec<Figure>> {
    #[derive(FromQueryResult)]
    struct Row {
        day: NaiveDate,
        gate: Uuid,
        hour: i16,
        what: String,
        times: i64,
        persons: i64,
    }
    let days = until.signed_duration_since(from).num_days();
    if !(1..=FIGURE_DAYS_MAX).contains(&days) {
        let (zh, en) = ("须在 from 之后 1 到 31 天", "1 to 31 days after from");
        return Err(Error::bad_input("until", zh, en));
    }
    let rows: Vec<Row> = ctx
        .db
        .all(
            "SELECT day, gate, hour, what, times, persons FROM figure
             WHERE venue = $1 AND day >= $2 AND day < $3
             ORDER BY day, gate, hour, what",
            [venue.uuid().into(), from.into(), until.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Figure {
            day: row.day,
            gate: GateId(row.gate),
            hour: row.hour,
            what: row.what,
            times: row.times,
            persons: row.persons,
        })
        .collect())
}

/// A page of a venue's redemptions by time.
///
/// # Errors
/// Bad input for another list's cursor; when the database fails.
pub async fn redemptions(ctx: &Ctx, venue: VenueId, page: &Page) -> Result<Vec<Redemption>> {
    let listed = format!("SELECT {} FROM redemption r", store::redemption::COLUMNS);
    let rows: Vec<store::redemption::Row> = by_time(ctx, &listed, venue, page).await?;
    rows.into_iter().map(Redemption::try_from).collect()
}

/// A page of a venue's alarms by time.
///
/// # Errors
/// Bad input for another list's cursor; when the database fails.
pub async fn alarms(ctx: &Ctx, venue: VenueId, page: &Page) -> Result<Vec<Alarm>> {
    let listed = format!("SELECT {} FROM scan_alarm r", store::alarm::COLUMNS);
    let rows: Vec<store::alarm::Row> = by_time(ctx, &listed, venue, page).await?;
    Ok(rows.into_iter().map(Alarm::from).collect())
}

/// A page of what happened at a venue, by its instant and id; `listed` selects it as `r`.
async fn by_time<R: FromQueryResult>(
    ctx: &Ctx,
    listed: &str,
    venue: VenueId,
    page: &Page,
) -> Result<Vec<R>> {
    let (at, id) = match &page.from {
        None if page.backwards => (
            DateTime::<Utc>::from_timestamp(253_402_300_799, 0),
            Uuid::max(),
        ),
        None => (Some(DateTime::<Utc>::UNIX_EPOCH), Uuid::nil()),
        Some(cursor) => cursor.to_at().map(|(at, id)| (Some(at), id))?,
    };
    let (order, compare) = page.oldest_first();
    let sql = format!(
        "{listed} WHERE r.venue = $1 AND (r.at, r.id) {compare} ($2, $3)
         ORDER BY r.at {order}, r.id {order} LIMIT $4"
    );
    let values = [
        venue.uuid().into(),
        at.into(),
        id.into(),
        page.limit().into(),
    ];
    ctx.db.all(&sql, values).await
}
