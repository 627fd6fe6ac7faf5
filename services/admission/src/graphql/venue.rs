//! Venues and gates as the graph shows them.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use credential::rules::Hours;
use kit::graphql::{Connection, Cursor, Date, GlobalId, Page};
use kit::types::{division, shanghai_date};

use super::stub::Organisation;
use super::{language, loader, rows, service};
use crate::domain::gate::Gate as GateState;
use crate::domain::opening::{Opening, hours_text};
use crate::domain::venue::{STATION, Venue as VenueState};
use crate::queries;
use crate::store::alarm::Alarm;

const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/// A place with gates.
#[derive(Clone, Debug)]
pub(super) struct Venue {
    pub(super) venue: VenueState,
    pub(super) metres: Option<i64>,
}

/// A point on a map, in degrees.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct VenuePoint {
    /// Degrees north.
    latitude: f64,
    /// Degrees east.
    longitude: f64,
}

/// The hours of one weekday.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct VenueDayHours {
    /// MO to SU.
    weekday: &'static str,
    /// `09:00-17:00`, Shanghai time; null when it is closed.
    hours: Option<String>,
}

/// A date that has hours of its own.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct VenueOpeningException {
    /// The Shanghai date.
    date: Date,
    /// `09:00-17:00`, Shanghai time; null when it is closed.
    hours: Option<String>,
}

impl Venue {
    pub(super) const fn of(venue: VenueState) -> Self {
        Self {
            venue,
            metres: None,
        }
    }

    fn opening(&self) -> Option<&Opening> {
        self.venue.details.opening.as_ref()
    }
}

/// A place with gates: a sight, a museum, a workers' station.
#[Object]
impl Venue {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("Venue", self.venue.id.uuid())
    }

    /// The name in the language of `Accept-Language`.
    async fn name(&self, ctx: &Context<'_>) -> &str {
        let details = &self.venue.details;
        language(ctx).choose(&details.name_zh, &details.name_en)
    }

    /// The name in Chinese.
    async fn name_zh(&self) -> &str {
        &self.venue.details.name_zh
    }

    /// The name in English.
    async fn name_en(&self) -> &str {
        &self.venue.details.name_en
    }

    /// The administrative division, GB/T 2260.
    async fn division(&self) -> String {
        self.venue.details.division.to_string()
    }

    /// The division's name in Chinese.
    async fn division_name(&self) -> &str {
        let code = self.venue.details.division.to_string();
        division::find_any(&code).map_or("", |division| division.name)
    }

    /// Where it is, in WGS-84.
    async fn wgs84(&self) -> VenuePoint {
        let place = self.venue.details.place;
        VenuePoint {
            latitude: place.latitude(),
            longitude: place.longitude(),
        }
    }

    /// Where it is on Chinese maps, in GCJ-02, calculated from WGS-84.
    async fn gcj02(&self) -> VenuePoint {
        let place = self.venue.details.place.to_gcj02();
        VenuePoint {
            latitude: place.latitude,
            longitude: place.longitude,
        }
    }

    /// Where the coordinates come from.
    async fn coordinates_source(&self) -> &str {
        &self.venue.details.place_source
    }

    /// How far it is from the point that was asked for, in metres.
    async fn distance_metres(&self) -> Option<i64> {
        self.metres
    }

    /// What it is, for filters: `museum`, `station`.
    async fn tags(&self) -> Vec<&str> {
        self.venue.details.tags.iter().map(String::as_str).collect()
    }

    /// Whether it is a workers' station (工会驿站).
    async fn is_station(&self) -> bool {
        self.venue.details.tags.contains(STATION)
    }

    /// The hours of each weekday; null when the clock does not decide.
    async fn opening_hours(&self) -> Option<Vec<VenueDayHours>> {
        let day = |(weekday, hours): (&&'static str, Option<Hours>)| VenueDayHours {
            weekday,
            hours: hours.map(hours_text),
        };
        self.opening()
            .map(|opening| WEEKDAYS.iter().zip(opening.week).map(day).collect())
    }

    /// Dates that have hours of their own, today and later.
    async fn opening_exceptions(&self, ctx: &Context<'_>) -> Result<Vec<VenueOpeningException>> {
        let today = shanghai_date(service(ctx)?.ctx.clock.now());
        let exceptions = self
            .opening()
            .map(|opening| opening.exceptions.range(today..));
        Ok(exceptions
            .into_iter()
            .flatten()
            .map(|(date, hours)| VenueOpeningException {
                date: (*date).into(),
                hours: hours.map(hours_text),
            })
            .collect())
    }

    /// Today's hours, `09:00-17:00`; null when it is closed or the clock does not decide.
    async fn hours_today(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let today = shanghai_date(service(ctx)?.ctx.clock.now());
        Ok(self
            .opening()
            .and_then(|opening| opening.on(today))
            .map(hours_text))
    }

    /// Whether it is out of service: its gates deny.
    async fn suspended(&self) -> bool {
        self.venue.suspended
    }

    /// Whether it scans exits, so that who is inside is known.
    async fn tracks_exits(&self) -> bool {
        self.venue.details.tracks_exits
    }

    /// People inside at once, at most; null without a limit.
    async fn capacity(&self) -> Option<u32> {
        self.venue.details.capacity
    }

    /// People inside now; null where exits are not scanned.
    #[graphql(complexity = 5)]
    async fn occupancy(&self, ctx: &Context<'_>) -> Result<Option<u32>> {
        if !self.venue.details.tracks_exits {
            return Ok(None);
        }
        Ok(Some(loader::inside(ctx, self.venue.id).await?))
    }

    /// The company that runs it.
    async fn organisation(&self) -> Organisation {
        Organisation::of(self.venue.organisation)
    }

    /// Its gates, by number; for its staff and operators, empty for others.
    #[graphql(complexity = "20 + 5 * child_complexity")]
    async fn gates(&self, ctx: &Context<'_>) -> Result<Vec<Gate>> {
        let admission = service(ctx)?;
        if !loader::sees(ctx, self.venue.id).await? {
            return Ok(Vec::new());
        }
        let gates = queries::gates(&admission.ctx, self.venue.id).await?;
        Ok(gates.into_iter().map(Gate).collect())
    }

    /// What a person must look at, by time; for its staff and operators, empty for others.
    #[graphql(complexity = "rows(first, last) * child_complexity + 5")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn alarms(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<ScanAlarm>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let admission = service(ctx)?;
        let found = if loader::sees(ctx, self.venue.id).await? {
            queries::alarms(&admission.ctx, self.venue.id, &page).await?
        } else {
            Vec::new()
        };
        Ok(page.connection(found, |one| Cursor::at(one.at, one.id), ScanAlarm::from))
    }
}

/// Something that a person must look at.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct ScanAlarm {
    /// Opaque.
    id: ID,
    /// What happened: `SCAN_ID_REUSED`, a scan's number that came again with another scan.
    code: String,
    /// When it was first seen.
    at: DateTime<Utc>,
    /// The gate's id.
    gate_id: ID,
    /// The id of the scan whose number it was.
    redemption_id: ID,
}

impl From<Alarm> for ScanAlarm {
    fn from(alarm: Alarm) -> Self {
        Self {
            id: GlobalId::of_uuid("ScanAlarm", alarm.id),
            code: alarm.code,
            at: alarm.at,
            gate_id: GlobalId::of_uuid("Gate", alarm.gate.uuid()),
            redemption_id: GlobalId::of_uuid("Redemption", alarm.redemption),
        }
    }
}

/// A key at a door.
#[derive(Clone, Debug)]
pub(super) struct Gate(pub(super) GateState);

/// A key at a door.
#[Object]
impl Gate {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("Gate", self.0.id.uuid())
    }

    /// The number within its venue, 1 to 255.
    async fn number(&self) -> u8 {
        self.0.number
    }

    /// What people call it.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether nobody stands at it: where somebody must be looked at, it asks and does not open.
    async fn unattended(&self) -> bool {
        self.0.unattended
    }

    /// Whether it is switched off.
    async fn disabled(&self) -> bool {
        self.0.disabled
    }

    /// How often a device was bound to it; 0 before the first. Part of each scan's number.
    async fn enrolment(&self) -> i32 {
        self.0.key.as_ref().map_or(0, |key| key.enrolment)
    }

    /// When the present device was bound.
    async fn enrolled_at(&self) -> Option<DateTime<Utc>> {
        self.0.key.as_ref().map(|key| key.since)
    }

    /// When the one-time code that was given out ends; null when none can be used.
    async fn code_expires_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime<Utc>>> {
        let now = service(ctx)?.ctx.clock.now();
        let code = self
            .0
            .code
            .as_ref()
            .filter(|code| !code.used && now < code.expires_at);
        Ok(code.map(|code| code.expires_at))
    }

    /// The venue it stands at.
    #[graphql(complexity = "5 + child_complexity")]
    async fn venue(&self, ctx: &Context<'_>) -> Result<Option<Venue>> {
        Ok(loader::venue(ctx, self.0.venue.uuid())
            .await?
            .map(Venue::of))
    }
}
