//! Reserved visits and the places of venues' days. A day's row is locked last, behind the passes
//! and the idempotency record, and days in the order of venue and date.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::Province;
use kit::types::EntitlementId;
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::{Places, Reservation, Slot, Visit};

/// Uses of one pass that its limits are judged by, at most: far above any limit.
pub const VISITS_MAX: i64 = 10_000;

/// What these passes (`$1`) have reserved from a day (`$2`) on, as [`ReservationRow`]s.
pub const RESERVED: &str = "SELECT r.pass, r.venue, r.date, v.province
     FROM reservation r JOIN replica_venue v ON v.id = r.venue
     WHERE r.pass = ANY ($1) AND r.date >= $2 AND r.state = 'held'
     ORDER BY r.pass, r.date, r.venue";

/// The entries of these passes (`$1`) that count, at most so many (`$2`) of each, as [`VisitRow`]s.
pub const VISITS: &str = "SELECT p.id AS pass, u.venue, u.province, u.date, u.persons
     FROM UNNEST($1::bigint[]) AS p (id) CROSS JOIN LATERAL (
       SELECT venue, province, date, persons FROM replica_use
       WHERE pass = p.id AND entry AND NOT voided ORDER BY at DESC, id DESC LIMIT $2) u";

/// One use of a pass.
#[derive(Clone, Debug, FromQueryResult)]
pub struct VisitRow {
    pass: i64,
    venue: Uuid,
    province: i16,
    date: NaiveDate,
    persons: i32,
}

impl VisitRow {
    /// The use.
    ///
    /// # Errors
    /// When the venue's province is none.
    pub fn visit(&self) -> Result<Visit> {
        Ok(Visit {
            venue: self.venue,
            province: province(self.province)?,
            date: self.date,
            persons: u16::try_from(self.persons).unwrap_or(u16::MAX),
        })
    }
}

/// A reservation with its venue's province.
#[derive(Clone, Debug, FromQueryResult)]
pub struct ReservationRow {
    pass: i64,
    venue: Uuid,
    date: NaiveDate,
    province: i16,
}

impl ReservationRow {
    /// The reservation.
    ///
    /// # Errors
    /// When the venue's province is none.
    pub fn reservation(&self) -> Result<Reservation> {
        Ok(Reservation {
            slot: Slot {
                venue: self.venue,
                date: self.date,
            },
            province: province(self.province)?,
        })
    }
}

/// A province by its column.
///
/// # Errors
/// When it is none.
pub fn province(code: i16) -> Result<Province> {
    u8::try_from(code)
        .ok()
        .and_then(Province::from_code)
        .ok_or_else(|| Error::internal("a venue row is inconsistent: its province"))
}

#[derive(FromQueryResult)]
struct PlacesRow {
    open: i32,
    taken: i32,
}

/// The places of a day, locked; `None` when it was never opened.
///
/// # Errors
/// When the database fails.
pub async fn lock_places(tx: &Tx, slot: Slot) -> Result<Option<Places>> {
    let row = tx
        .one::<PlacesRow>(
            "SELECT open, taken FROM visit_day WHERE venue = $1 AND date = $2 FOR UPDATE",
            [slot.venue.into(), slot.date.into()],
        )
        .await?;
    let number = |value: i32| u32::try_from(value).map_err(|_| Error::internal("a day's places"));
    row.map(|row| {
        Ok(Places {
            open: number(row.open)?,
            taken: number(row.taken)?,
        })
    })
    .transpose()
}

/// Sets the places of `days` days from `slot.date`; where more are taken, as many as are taken.
///
/// # Errors
/// When the database fails.
pub async fn open_days(tx: &Tx, slot: Slot, (days, open): (i64, u32)) -> Result<()> {
    tx.execute(
        "INSERT INTO visit_day AS d (venue, date, open)
         SELECT $1, $2::date + day::int, $4 FROM generate_series(0, $3::bigint - 1) AS day
         ORDER BY day
         ON CONFLICT (venue, date) DO UPDATE
           SET open = GREATEST(EXCLUDED.open, d.taken)",
        [
            slot.venue.into(),
            slot.date.into(),
            days.into(),
            i32::try_from(open).unwrap_or(i32::MAX).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Whether a day was ever opened.
///
/// # Errors
/// When the database fails.
pub async fn is_opened(tx: &Tx, slot: Slot) -> Result<bool> {
    let row = tx
        .one::<PlacesRow>(
            "SELECT open, taken FROM visit_day WHERE venue = $1 AND date = $2",
            [slot.venue.into(), slot.date.into()],
        )
        .await?;
    Ok(row.is_some())
}

/// Takes one place of the day for each of these passes.
///
/// # Errors
/// When a constraint says no, or the database fails.
pub async fn reserve(tx: &Tx, slot: Slot, passes: &[EntitlementId]) -> Result<()> {
    if passes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = passes.iter().map(|_| tx.uuid()).collect();
    let numbers: Vec<i64> = passes.iter().map(|pass| pass.to_i64()).collect();
    let count = i32::try_from(passes.len()).unwrap_or(i32::MAX);
    tx.execute(
        "INSERT INTO reservation (id, pass, venue, date, state, made_at)
         SELECT id, pass, $3, $4, 'held', $5 FROM UNNEST($1::uuid[], $2::bigint[]) AS t (id, pass)",
        [
            ids.into(),
            numbers.into(),
            slot.venue.into(),
            slot.date.into(),
            tx.now().into(),
        ],
    )
    .await?;
    tx.execute(
        "UPDATE visit_day SET taken = taken + $3 WHERE venue = $1 AND date = $2",
        [slot.venue.into(), slot.date.into(), count.into()],
    )
    .await?;
    Ok(())
}

/// A place that is given back.
#[derive(FromQueryResult)]
struct Freed {
    venue: Uuid,
    date: NaiveDate,
}

/// Gives the place of one visit back.
///
/// # Errors
/// When the database fails.
pub async fn cancel(tx: &Tx, pass: EntitlementId, slot: Slot) -> Result<()> {
    let freed = tx
        .all::<Freed>(
            "UPDATE reservation SET state = 'cancelled', ended_at = $4
             WHERE pass = $1 AND venue = $2 AND date = $3 AND state = 'held'
             RETURNING venue, date",
            [
                pass.to_i64().into(),
                slot.venue.into(),
                slot.date.into(),
                tx.now().into(),
            ],
        )
        .await?;
    give_back(tx, &freed).await
}

/// Gives the places back that passes which have ended hold after `day`.
///
/// # Errors
/// When the database fails.
pub async fn release_after(tx: &Tx, passes: &[EntitlementId], day: NaiveDate) -> Result<()> {
    if passes.is_empty() {
        return Ok(());
    }
    let freed = tx
        .all::<Freed>(
            "UPDATE reservation SET state = 'released', ended_at = $3
             WHERE pass = ANY ($1) AND date > $2 AND state = 'held' RETURNING venue, date",
            [numbers(passes).into(), day.into(), tx.now().into()],
        )
        .await?;
    give_back(tx, &freed).await
}

async fn give_back(tx: &Tx, freed: &[Freed]) -> Result<()> {
    let mut counts: BTreeMap<Slot, i32> = BTreeMap::new();
    for &Freed { venue, date } in freed {
        *counts.entry(Slot { venue, date }).or_default() += 1;
    }
    for (slot, count) in counts {
        tx.execute(
            "UPDATE visit_day SET taken = taken - $3 WHERE venue = $1 AND date = $2",
            [slot.venue.into(), slot.date.into(), count.into()],
        )
        .await?;
    }
    Ok(())
}

/// What these passes have reserved from `day` on, by date; those without are absent.
///
/// # Errors
/// When the database fails.
pub async fn reserved(
    tx: &Tx,
    passes: &[EntitlementId],
    day: NaiveDate,
) -> Result<BTreeMap<EntitlementId, Vec<Reservation>>> {
    let mut found: BTreeMap<EntitlementId, Vec<Reservation>> = BTreeMap::new();
    if passes.is_empty() {
        return Ok(found);
    }
    let values = [numbers(passes).into(), day.into()];
    for row in tx.all::<ReservationRow>(RESERVED, values).await? {
        let pass = EntitlementId::from_i64(row.pass);
        found.entry(pass).or_default().push(row.reservation()?);
    }
    Ok(found)
}

/// The entries of these passes that count; those without are absent.
///
/// # Errors
/// When the database fails.
pub async fn visits(
    tx: &Tx,
    passes: &[EntitlementId],
) -> Result<BTreeMap<EntitlementId, Vec<Visit>>> {
    let values = [numbers(passes).into(), VISITS_MAX.into()];
    let mut found: BTreeMap<EntitlementId, Vec<Visit>> = BTreeMap::new();
    for row in tx.all::<VisitRow>(VISITS, values).await? {
        let pass = EntitlementId::from_i64(row.pass);
        found.entry(pass).or_default().push(row.visit()?);
    }
    Ok(found)
}

/// Each once, in the order of their rows.
fn numbers(passes: &[EntitlementId]) -> Vec<i64> {
    let all: BTreeSet<i64> = passes.iter().map(|pass| pass.to_i64()).collect();
    all.into_iter().collect()
}

/// How often places of a pass were given back by its holder since `since`.
///
/// # Errors
/// When the database fails.
pub async fn cancelled_since(tx: &Tx, pass: EntitlementId, since: DateTime<Utc>) -> Result<u32> {
    #[derive(FromQueryResult)]
    struct Row {
        times: i64,
    }
    let row = tx
        .one::<Row>(
            "SELECT count(*) AS times FROM reservation
             WHERE pass = $1 AND state = 'cancelled' AND ended_at > $2",
            [pass.to_i64().into(), since.into()],
        )
        .await?;
    let times = row.map_or(0, |row| row.times);
    u32::try_from(times).map_err(|_| Error::internal("too many cancellations"))
}
