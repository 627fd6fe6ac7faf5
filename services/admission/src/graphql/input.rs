//! The input of mutations, and what becomes of it.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use async_graphql::{ID, InputObject};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use credential::rules::Hours;
use credential::token::GROUP_PERSONS_MAX;
use kit::graphql::{Date, GlobalId, Instant};
use kit::types::{GateId, OrganisationId, VenueId};
use kit::{Error, Result};
use uuid::Uuid;

use super::redemption::{ScanDirection, ScanDocument};
use crate::commands::redeem::Scanned;
use crate::domain::coordinates::Wgs84;
use crate::domain::opening::{EXCEPTIONS_MAX, Opening, parse_minute};
use crate::domain::scan::ScanId;
use crate::domain::venue::Details;

/// A point on a map and where it comes from.
#[derive(Clone, Debug, InputObject)]
pub(super) struct VenueCoordinatesInput {
    /// Degrees north, WGS-84.
    latitude: f64,
    /// Degrees east, WGS-84.
    longitude: f64,
    /// Where they come from: a survey, a public map.
    source: String,
}

/// Hours of a day, Shanghai time.
#[derive(Clone, Debug, InputObject)]
pub(super) struct VenueHoursInput {
    /// `HH:MM`.
    opens: String,
    /// `HH:MM`, up to `24:00`.
    closes: String,
}

impl VenueHoursInput {
    fn hours(&self) -> Result<Hours> {
        let bad = || {
            Error::bad_input(
                "opening",
                "须为 HH:MM 到更晚的 HH:MM",
                "HH:MM to a later HH:MM",
            )
        };
        let from = parse_minute(&self.opens).ok_or_else(bad)?;
        let until = parse_minute(&self.closes).ok_or_else(bad)?;
        Hours::new(from, until).map_err(|_| bad())
    }
}

/// The hours of a week; a day that is left out is closed.
#[derive(Clone, Debug, InputObject)]
pub(super) struct VenueOpeningInput {
    /// Monday.
    monday: Option<VenueHoursInput>,
    /// Tuesday.
    tuesday: Option<VenueHoursInput>,
    /// Wednesday.
    wednesday: Option<VenueHoursInput>,
    /// Thursday.
    thursday: Option<VenueHoursInput>,
    /// Friday.
    friday: Option<VenueHoursInput>,
    /// Saturday.
    saturday: Option<VenueHoursInput>,
    /// Sunday.
    sunday: Option<VenueHoursInput>,
    /// The same hours every day, in place of the seven above.
    daily: Option<VenueHoursInput>,
    /// Dates that have hours of their own.
    #[graphql(default)]
    exceptions: Vec<VenueExceptionInput>,
}

/// A date that has hours of its own.
#[derive(Clone, Debug, InputObject)]
pub(super) struct VenueExceptionInput {
    /// The Shanghai date.
    date: Date,
    /// Left out: it is closed.
    hours: Option<VenueHoursInput>,
}

impl VenueOpeningInput {
    fn opening(&self) -> Result<Opening> {
        let days = [
            &self.monday,
            &self.tuesday,
            &self.wednesday,
            &self.thursday,
            &self.friday,
            &self.saturday,
            &self.sunday,
        ];
        let hours =
            |one: &Option<VenueHoursInput>| one.as_ref().map(VenueHoursInput::hours).transpose();
        let mut week = [None; 7];
        for (day, input) in week.iter_mut().zip(days) {
            *day = hours(if self.daily.is_some() {
                &self.daily
            } else {
                input
            })?;
        }
        if self.daily.is_some() && days.into_iter().any(Option::is_some) {
            return Err(Error::bad_input(
                "opening",
                "daily 与星期只能填一种",
                "either daily or weekdays",
            ));
        }
        if self.exceptions.len() > EXCEPTIONS_MAX {
            return Err(Error::bad_input(
                "opening.exceptions",
                "最多 200 条",
                "at most 200",
            ));
        }
        let mut exceptions = BTreeMap::new();
        for one in &self.exceptions {
            if exceptions.insert(one.date.0, hours(&one.hours)?).is_some() {
                return Err(Error::bad_input(
                    "opening.exceptions",
                    "同一日期出现两次",
                    "a date stands there twice",
                ));
            }
        }
        Ok(Opening { week, exceptions })
    }
}

/// A new venue.
#[derive(Clone, Debug, InputObject)]
pub(super) struct CreateVenueInput {
    /// Minted by the client: the same key and input make one venue.
    pub(super) idempotency_key: Uuid,
    /// The company that runs it.
    pub(super) organisation_id: ID,
    name_zh: String,
    name_en: String,
    /// GB/T 2260, six digits, of the own province.
    division: String,
    coordinates: VenueCoordinatesInput,
    /// `museum`, `station`; at most 16.
    #[graphql(default)]
    tags: Vec<String>,
    /// Left out: the clock does not decide.
    opening: Option<VenueOpeningInput>,
    /// People inside at once, at most; only where exits are scanned.
    capacity: Option<u32>,
    /// Whether it scans exits.
    #[graphql(default)]
    tracks_exits: bool,
}

fn division(code: &str) -> Result<u32> {
    let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    is_code
        .then(|| code.parse().ok())
        .flatten()
        .ok_or_else(|| Error::bad_input("division", "须为六位数字", "must be six digits"))
}

fn place(input: &VenueCoordinatesInput) -> Result<Wgs84> {
    Wgs84::new(input.latitude, input.longitude).ok_or_else(|| {
        Error::bad_input(
            "coordinates",
            "不在川渝境内或附近",
            "no point in or near the provinces",
        )
    })
}

impl CreateVenueInput {
    pub(super) fn organisation(&self) -> Result<OrganisationId> {
        GlobalId::uuid(&self.organisation_id, "Organisation").map(OrganisationId)
    }

    pub(super) fn details(self) -> Result<Details> {
        Ok(Details {
            division: division(&self.division)?,
            place: place(&self.coordinates)?,
            place_source: self.coordinates.source,
            name_zh: self.name_zh,
            name_en: self.name_en,
            tags: self.tags.into_iter().collect(),
            opening: self.opening.map(|opening| opening.opening()).transpose()?,
            capacity: self.capacity,
            tracks_exits: self.tracks_exits,
        })
    }
}

/// What is to change of a venue; what is left out stays.
#[derive(Clone, Debug, InputObject)]
pub(super) struct UpdateVenueInput {
    pub(super) venue_id: ID,
    name_zh: Option<String>,
    name_en: Option<String>,
    /// GB/T 2260, six digits, of the own province.
    division: Option<String>,
    coordinates: Option<VenueCoordinatesInput>,
    tags: Option<Vec<String>>,
    opening: Option<VenueOpeningInput>,
    /// From now on the clock does not decide.
    #[graphql(default)]
    always_open: bool,
    /// People inside at once, at most; 0: without a limit.
    capacity: Option<u32>,
    /// Whether it scans exits.
    tracks_exits: Option<bool>,
}

impl UpdateVenueInput {
    pub(super) fn apply(&self, mut details: Details) -> Result<Details> {
        let input = self.clone();
        let set = |field: &mut String, value: Option<String>| {
            if let Some(value) = value {
                *field = value;
            }
        };
        set(&mut details.name_zh, input.name_zh);
        set(&mut details.name_en, input.name_en);
        if let Some(code) = &input.division {
            details.division = division(code)?;
        }
        if let Some(coordinates) = input.coordinates {
            details.place = place(&coordinates)?;
            details.place_source = coordinates.source;
        }
        if let Some(tags) = input.tags {
            details.tags = tags.into_iter().collect();
        }
        if let Some(opening) = input.opening {
            details.opening = Some(opening.opening()?);
        }
        if input.always_open {
            details.opening = None;
        }
        if let Some(tracks) = input.tracks_exits {
            details.tracks_exits = tracks;
        }
        match input.capacity {
            Some(0) => details.capacity = None,
            Some(people) => details.capacity = Some(people),
            None => {}
        }
        Ok(details)
    }
}

/// A venue to take out of service, or to bring back.
#[derive(Clone, Debug, InputObject)]
pub(super) struct SuspendVenueInput {
    pub(super) venue_id: ID,
    /// False brings it back.
    #[graphql(default = true)]
    pub(super) suspended: bool,
}

/// A new gate.
#[derive(Clone, Debug, InputObject)]
pub(super) struct CreateGateInput {
    /// Minted by the client: the same key and input make one gate, and show its code once.
    pub(super) idempotency_key: Uuid,
    pub(super) venue_id: ID,
    /// What people call it.
    pub(super) name: String,
    /// Nobody stands at it, as at a station's door: where somebody's document or photo must be
    /// looked at, it asks and does not open.
    #[graphql(default)]
    pub(super) unattended: bool,
}

/// A gate.
#[derive(Clone, Debug, InputObject)]
pub(super) struct GateInput {
    pub(super) gate_id: ID,
}

/// A device that is to be bound to a gate.
#[derive(Clone, Debug, InputObject)]
pub(super) struct EnrolGateInput {
    /// The one-time code.
    pub(super) code: String,
    /// The device's own Ed25519 public key: 32 bytes in base64url without padding.
    public_key: String,
}

impl EnrolGateInput {
    pub(super) fn public(&self) -> Result<[u8; 32]> {
        let bad = || {
            Error::bad_input(
                "publicKey",
                "须为 base64url 编码的 32 字节",
                "must be 32 bytes in base64url",
            )
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(&self.public_key)
            .map_err(|_| bad())?;
        bytes.try_into().map_err(|_| bad())
    }
}

/// A shift to open.
#[derive(Clone, Debug, InputObject)]
pub(super) struct OpenShiftInput {
    pub(super) venue_id: ID,
    /// The gate, when it is at one.
    pub(super) gate_id: Option<ID>,
}

/// The number a device gives a scan, once and for ever.
#[derive(Clone, Debug, InputObject)]
pub(super) struct ScanIdInput {
    /// The gate's id.
    device_id: ID,
    /// How often the gate was enrolled.
    enrolment: i32,
    /// Counts the device's scans, from 1, without gaps.
    seq: i64,
}

/// A scan.
#[derive(Clone, Debug, InputObject)]
pub(super) struct RedeemInput {
    /// Takes the place of an idempotency key: the same number is answered the same.
    scan_id: ScanIdInput,
    /// Exactly what the scanner read.
    token: String,
    /// In or out.
    direction: ScanDirection,
    /// The device's own clock.
    device_time: Instant,
    /// How many persons go, at most 4095: the largest group that a credential can name.
    #[graphql(default = 1)]
    persons: u16,
    /// What a document reader or staff found.
    #[graphql(default_with = "ScanDocument::NotChecked")]
    document: ScanDocument,
    /// Where the device believes to stand; refused when its gate is elsewhere.
    venue_id: Option<ID>,
}

impl RedeemInput {
    pub(super) fn scanned(self) -> Result<Scanned> {
        let id = ScanId {
            gate: GateId(GlobalId::uuid(&self.scan_id.device_id, "Gate")?),
            enrolment: self.scan_id.enrolment,
            seq: self.scan_id.seq,
        };
        if id.enrolment < 1 || id.seq < 1 {
            return Err(Error::bad_input(
                "scanId",
                "编号从 1 开始",
                "numbers begin with 1",
            ));
        }
        let persons = NonZeroU16::new(self.persons)
            .filter(|persons| persons.get() <= GROUP_PERSONS_MAX)
            .ok_or_else(|| Error::bad_input("persons", "1 到 4095", "1 to 4095"))?;
        let venue = self
            .venue_id
            .map(|id| GlobalId::uuid(&id, "Venue").map(VenueId));
        Ok(Scanned {
            id,
            text: self.token,
            direction: self.direction.into(),
            persons,
            document: self.document.into(),
            device_at: self.device_time.0,
            venue: venue.transpose()?,
        })
    }
}

/// A pass to look up.
#[derive(Clone, Debug, InputObject)]
pub(super) struct LookUpPassInput {
    /// Where the caller is at work.
    pub(super) venue_id: ID,
    /// The number of the pass, or of its order (受理号).
    pub(super) number: String,
}

/// Somebody to let in against the rules: a scan that was denied, or a pass that was looked up.
#[derive(Clone, Debug, InputObject)]
pub(super) struct OverrideAdmissionInput {
    /// Minted by the client: the same key and input let in once.
    pub(super) idempotency_key: Uuid,
    /// The scan that was denied.
    pub(super) redemption_id: Option<ID>,
    /// Where, for a pass that was looked up.
    pub(super) venue_id: Option<ID>,
    /// The number of a pass that was looked up.
    pub(super) pass_number: Option<String>,
    /// Why; kept for ever.
    pub(super) reason: String,
}

/// An admission to take back.
#[derive(Clone, Debug, InputObject)]
pub(super) struct VoidRedemptionInput {
    /// Minted by the client: the same key and input take back once.
    pub(super) idempotency_key: Uuid,
    pub(super) redemption_id: ID,
    /// Why; kept for ever.
    pub(super) reason: String,
}
