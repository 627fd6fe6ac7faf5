//! Where a pass was used and where it opens doors.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::Province;
use kit::graphql::{Cursor, Page, foreign_cursor};
use kit::{Error, Result};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::Passes;
use crate::domain::{Pass, Terms, Venue, Visit};

/// Uses of one pass that its limits are judged by, at most: far above any limit.
pub const VISITS_MAX: i64 = 10_000;

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

/// A venue in a list.
#[derive(Clone, Debug)]
pub struct VenueView {
    pub venue: Venue,
    pub name_zh: String,
    pub name_en: String,
}

#[derive(FromQueryResult)]
struct VenueRow {
    id: Uuid,
    province: i16,
    name_zh: String,
    name_en: String,
    tags: Vec<String>,
    opening_hours: String,
    suspended: bool,
}

impl VenueRow {
    fn view(self) -> Result<VenueView> {
        Ok(VenueView {
            venue: Venue {
                id: self.id,
                province: province(self.province)?,
                tags: self.tags.into_iter().collect::<BTreeSet<String>>(),
                opening_hours: self.opening_hours,
                suspended: self.suspended,
            },
            name_zh: self.name_zh,
            name_en: self.name_en,
        })
    }
}

fn province(code: i16) -> Result<Province> {
    u8::try_from(code)
        .ok()
        .and_then(Province::from_code)
        .ok_or_else(|| Error::internal("a venue row is inconsistent: its province"))
}

const VENUE_COLUMNS: &str = "id, province, name_zh, name_en, tags, opening_hours, suspended";

impl Passes {
    /// A page of the uses of a pass, newest first. The pass must be one the caller may see.
    ///
    /// # Errors
    /// Bad input, for a cursor of another list.
    pub async fn uses(&self, pass: &Pass, page: &Page) -> Result<Vec<UseView>> {
        let from = page.from.as_ref().map(Cursor::to_at::<Uuid>).transpose()?;
        let (at, id) = from.map_or((None, None), |(at, id)| (Some(at), Some(id)));
        let (order, sign) = if page.backwards {
            ("ASC", ">")
        } else {
            ("DESC", "<")
        };
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
        #[derive(FromQueryResult)]
        struct Row {
            venue: Uuid,
            province: i16,
            date: NaiveDate,
            persons: i32,
        }
        let rows = self
            .ctx
            .db
            .all::<Row>(
                "SELECT venue, province, date, persons FROM replica_use
                 WHERE pass = $1 AND entry AND NOT voided ORDER BY at DESC, id DESC LIMIT $2",
                [pass.id.to_i64().into(), VISITS_MAX.into()],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Visit {
                    venue: row.venue,
                    province: province(row.province)?,
                    date: row.date,
                    persons: u16::try_from(row.persons).unwrap_or(u16::MAX),
                })
            })
            .collect()
    }

    /// Those of these venues that admission told of.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn venues(&self, ids: &[Uuid]) -> Result<Vec<Venue>> {
        let sql = format!("SELECT {VENUE_COLUMNS} FROM replica_venue WHERE id = ANY($1)");
        let rows: Vec<VenueRow> = self.ctx.db.all(&sql, [ids.to_vec().into()]).await?;
        rows.into_iter().map(|row| Ok(row.view()?.venue)).collect()
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
        let (order, sign) = if page.backwards {
            ("DESC", "<")
        } else {
            ("ASC", ">")
        };
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
        rows.into_iter().map(VenueRow::view).collect()
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
