//! Where a pass was used and where it opens doors.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::Province;
use kit::graphql::{Cursor, Page, foreign_cursor};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::Passes;
use crate::domain::{Pass, Reservation, Slot, Terms, Venue, Visit};
use crate::store::{
    self, RESERVED, ReservationRow, VENUE_COLUMNS, VISITS, VISITS_MAX, VenueRow, VisitRow,
};

/// One use in a pass's history.
#[derive(Clone, Debug, FromQueryResult)]
pub struct UseView {
    pub id: Uuid,
    pub venue: Uuid,
    pub entry: bool,
    pub at: DateTime<Utc>,
    pub date: NaiveDate,
    pub persons: i32,
    pub voided: bool,
}

/// A day of a venue that takes reservations.
#[derive(Clone, Copy, Debug)]
pub struct VisitDayView {
    pub date: NaiveDate,
    /// How many visits can be reserved in all.
    pub open: i32,
    pub taken: i32,
}

/// A venue in a list.
#[derive(Clone, Debug)]
pub struct VenueView {
    pub venue: Venue,
    pub name_zh: String,
    pub name_en: String,
}

impl TryFrom<VenueRow> for VenueView {
    type Error = Error;

    fn try_from(row: VenueRow) -> Result<Self> {
        Ok(Self {
            venue: row.venue()?,
            name_zh: row.name_zh,
            name_en: row.name_en,
        })
    }
}

impl Passes {
    /// A page of the uses of a pass, newest first. The pass must be one the caller may see.
    ///
    /// # Errors
    /// Bad input, for a cursor of another list.
    pub async fn uses(&self, pass: &Pass, page: &Page) -> Result<Vec<UseView>> {
        let from = page.from.as_ref().map(Cursor::to_at::<Uuid>).transpose()?;
        let (at, id) = from.map_or((None, None), |(at, id)| (Some(at), Some(id)));
        let (order, sign) = page.newest_first();
        let sql = format!(
            "SELECT id, venue, entry, at, date, persons, voided FROM replica_use
             WHERE pass = $1 AND ($2::timestamptz IS NULL OR (at, id) {sign} ($2, $3::uuid))
             ORDER BY at {order}, id {order} LIMIT $4"
        );
        let values = [
            pass.id.to_i64().into(),
            at.into(),
            id.into(),
            page.limit().into(),
        ];
        self.ctx.db.all(&sql, values).await
    }

    /// The entries of a pass that count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn visits(&self, pass: &Pass) -> Result<Vec<Visit>> {
        let values = [vec![pass.id.to_i64()].into(), VISITS_MAX.into()];
        let rows = self.ctx.db.all::<VisitRow>(VISITS, values).await?;
        rows.iter().map(VisitRow::visit).collect()
    }

    /// How many entries of a pass count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn uses_counted(&self, pass: &Pass) -> Result<u32> {
        let count = async |tx: &Tx| store::uses_counted(tx, pass.id).await;
        self.ctx.db.read("uses", count).await
    }

    /// What a pass has reserved from `day` on, by date. The pass must be one the caller may see.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reserved(&self, pass: &Pass, day: NaiveDate) -> Result<Vec<Reservation>> {
        let values = [vec![pass.id.to_i64()].into(), day.into()];
        let rows = self.ctx.db.all::<ReservationRow>(RESERVED, values).await?;
        rows.iter().map(ReservationRow::reservation).collect()
    }

    /// Of each of these venues, from its date on, so many days at most that were opened for
    /// reservations, by date.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn visit_days(
        &self,
        asked: &[(Slot, i64)],
    ) -> Result<HashMap<(Slot, i64), Vec<VisitDayView>>> {
        #[derive(FromQueryResult)]
        struct Row {
            at: i64,
            date: NaiveDate,
            open: i32,
            taken: i32,
        }
        let venues: Vec<Uuid> = asked.iter().map(|(slot, _)| slot.venue).collect();
        let dates: Vec<String> = asked
            .iter()
            .map(|(slot, _)| slot.date.to_string())
            .collect();
        let limits: Vec<i64> = asked.iter().map(|(_, rows)| *rows).collect();
        let rows = self
            .ctx
            .db
            .all::<Row>(
                "SELECT a.at, d.date, d.open, d.taken
                 FROM UNNEST($1::uuid[], $2::text[], $3::bigint[]) WITH ORDINALITY
                   AS a (venue, date, rows, at)
                 CROSS JOIN LATERAL (
                   SELECT date, open, taken FROM visit_day
                   WHERE venue = a.venue AND date >= a.date::date ORDER BY date LIMIT a.rows) d
                 ORDER BY a.at, d.date",
                [venues.into(), dates.into(), limits.into()],
            )
            .await?;
        let mut found: HashMap<(Slot, i64), Vec<VisitDayView>> = HashMap::new();
        for row in rows {
            let at = usize::try_from(row.at - 1).unwrap_or(usize::MAX);
            let Some(key) = asked.get(at) else {
                continue;
            };
            found.entry(*key).or_default().push(VisitDayView {
                date: row.date,
                open: row.open,
                taken: row.taken,
            });
        }
        Ok(found)
    }

    /// Those of these venues that admission told of.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn venues(&self, ids: &[Uuid]) -> Result<Vec<Venue>> {
        let sql = format!("SELECT {VENUE_COLUMNS} FROM replica_venue WHERE id = ANY($1)");
        let rows: Vec<VenueRow> = self.ctx.db.all(&sql, [ids.to_vec().into()]).await?;
        rows.iter().map(VenueRow::venue).collect()
    }

    /// A page of the venues that a pass opens at some time, by name.
    ///
    /// # Errors
    /// Bad input, for a cursor of another list.
    pub async fn venues_of(
        &self,
        terms: &Terms,
        province: Option<Province>,
        page: &Page,
    ) -> Result<Vec<VenueView>> {
        let from = page.from.as_ref().map(|cursor| {
            let [id] = cursor.parts().ok_or_else(foreign_cursor)?;
            id.parse::<Uuid>().map_err(|_| foreign_cursor())
        });
        let from = from.transpose()?;
        let (order, sign) = page.oldest_first();
        let (every, ids, tags) = match &terms.rules.venues {
            credential::rules::Venues::All => (true, Vec::new(), Vec::new()),
            credential::rules::Venues::Listed { ids, tags } => (
                false,
                ids.iter()
                    .map(|id| Uuid::from_bytes(id.0))
                    .collect::<Vec<Uuid>>(),
                tags.iter().cloned().collect::<Vec<String>>(),
            ),
        };
        let sql = format!(
            "SELECT {VENUE_COLUMNS} FROM replica_venue
             WHERE ($1::bool OR id = ANY ($2) OR tags && $3)
               AND ($4::smallint IS NULL OR province = $4)
               AND ($5::uuid IS NULL OR (name_zh, id) {sign}
                 (SELECT f.name_zh, f.id FROM replica_venue f WHERE f.id = $5))
             ORDER BY name_zh {order}, id {order} LIMIT $6"
        );
        let province = province.map(|province| i16::from(province.code()));
        let rows = self
            .ctx
            .db
            .all::<VenueRow>(
                &sql,
                [
                    every.into(),
                    ids.into(),
                    tags.into(),
                    province.into(),
                    from.into(),
                    page.limit().into(),
                ],
            )
            .await?;
        rows.into_iter().map(VenueView::try_from).collect()
    }
}

/// The cursor of a venue in a list.
pub fn cursor_of_venue(view: &VenueView) -> Cursor {
    Cursor::of(&[&view.venue.id])
}

/// The cursor of a use in a list.
pub fn cursor_of_use(view: &UseView) -> Cursor {
    Cursor::at(view.at, view.id)
}
