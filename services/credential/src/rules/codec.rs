//! Rules as bytes, as products publish them and gates keep them.
//!
//! Big-endian: `"CYR"` · form u8 (1) · evaluator_least u16 · product_version u32 ·
//! venues u8 (0 = all; 1 = listed, then ids and tags) · limits per venue · count and (id, limits)
//! of single venues · daily · total · total of province 50 · of 51 · count and blackouts · count
//! and (id, u8 0 or 1, range) of suspensions · flags u8 (bit 0 reservation, 1 document check,
//! 2 photo check) · grace in minutes u16.
//! A count is a u16; an id 16 bytes; a tag a u8 length and UTF-8; a limit u8 0, or u8 1 and u32;
//! limits are daily, then total; a range is two i32, days since 1970-01-01, half-open. Lists rise
//! without repetition. So equal rules have equal bytes, and other bytes are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{Datelike, NaiveDate};

use super::{
    BLACKOUTS_MAX, EVALUATOR_VERSION, GRACE_MINUTES_MAX, ProvinceTotals, Rules, SUSPENSIONS_MAX,
    Suspension, TAG_BYTES_MAX, TAGS_MAX, VENUES_MAX, VenueId, VenueLimits, Venues,
};
use crate::dates::DateRange;
use crate::frame::{FrameError, Reader, Writer};

const MAGIC: &[u8; 3] = b"CYR";
/// The form of the bytes that this version writes and reads.
pub const FORM_VERSION: u8 = 1;
/// 1970-01-01 as chrono counts days.
const EPOCH_DAYS: i32 = 719_163;

/// Why rules cannot be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesError {
    /// The bytes have a form that this version does not read. A gate asks.
    UnknownForm,
    /// The rules need a newer evaluator than this one. A gate asks.
    EvaluatorTooOld,
    /// The bytes are cut short, go on too long or hold what no encoder writes.
    Malformed,
    /// More entries, a longer tag or a longer grace than the limits allow.
    TooLarge,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownForm => "the rules' form is unknown",
            Self::EvaluatorTooOld => "the rules need a newer evaluator",
            Self::Malformed => "the rules' bytes are malformed",
            Self::TooLarge => "the rules exceed a limit",
        })
    }
}

impl std::error::Error for RulesError {}

impl From<FrameError> for RulesError {
    fn from(_: FrameError) -> Self {
        Self::Malformed
    }
}

impl Rules {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`RulesError::TooLarge`] alone.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RulesError> {
        self.write().map_err(|_| RulesError::TooLarge)
    }

    fn write(&self) -> Result<Vec<u8>, FrameError> {
        let mut out = Writer::new(MAGIC);
        out.u8(FORM_VERSION);
        out.u16(self.evaluator_least);
        out.u32(self.product_version);
        write_venues(&mut out, &self.venues)?;
        write_limits(&mut out, self.per_venue);
        out.count(self.venue_limits.len(), VENUES_MAX)?;
        for (venue, limits) in &self.venue_limits {
            out.bytes(&venue.0);
            write_limits(&mut out, *limits);
        }
        out.option_u32(self.daily);
        out.option_u32(self.total);
        out.option_u32(self.province_totals.chongqing);
        out.option_u32(self.province_totals.sichuan);
        out.count(self.blackouts.len(), BLACKOUTS_MAX)?;
        for range in &self.blackouts {
            write_range(&mut out, *range);
        }
        out.count(self.suspensions.len(), SUSPENSIONS_MAX)?;
        for suspension in &self.suspensions {
            out.bytes(&suspension.venue.0);
            out.u8(u8::from(suspension.dates.is_some()));
            if let Some(range) = suspension.dates {
                write_range(&mut out, range);
            }
        }
        out.u8(u8::from(self.reservation_required)
            | u8::from(self.document_check) << 1
            | u8::from(self.photo_check) << 2);
        if self.grace_minutes > GRACE_MINUTES_MAX {
            return Err(FrameError::Value);
        }
        out.u16(self.grace_minutes);
        Ok(out.finish())
    }

    /// Reads what [`Rules::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are of another form, need a newer evaluator or are not canonical;
    /// [`RulesError::decision`] says what a gate answers then.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RulesError> {
        let mut input = Reader::new(bytes);
        if input.bytes(MAGIC.len()) != Ok(MAGIC) || input.u8()? != FORM_VERSION {
            return Err(RulesError::UnknownForm);
        }
        let evaluator_least = input.u16()?;
        // What follows may hold rules that this version cannot even read.
        if evaluator_least > EVALUATOR_VERSION {
            return Err(RulesError::EvaluatorTooOld);
        }
        let product_version = input.u32()?;
        let venues = read_venues(&mut input)?;
        let per_venue = read_limits(&mut input)?;
        let venue_limits = read_venue_limits(&mut input)?;
        let daily = input.option_u32()?;
        let total = input.option_u32()?;
        let province_totals = ProvinceTotals {
            chongqing: input.option_u32()?,
            sichuan: input.option_u32()?,
        };
        let blackouts = read_set(&mut input, BLACKOUTS_MAX, read_range)?;
        let suspensions = read_set(&mut input, SUSPENSIONS_MAX, read_suspension)?;
        let flags = input.u8()?;
        let grace_minutes = input.u16()?;
        input.finish()?;
        if flags & !0b111 != 0 || grace_minutes > GRACE_MINUTES_MAX {
            return Err(RulesError::Malformed);
        }
        Ok(Self {
            evaluator_least,
            product_version,
            venues,
            per_venue,
            venue_limits,
            daily,
            total,
            province_totals,
            blackouts,
            suspensions,
            reservation_required: flags & 1 != 0,
            document_check: flags & 2 != 0,
            photo_check: flags & 4 != 0,
            grace_minutes,
        })
    }
}

fn write_venues(out: &mut Writer, venues: &Venues) -> Result<(), FrameError> {
    match venues {
        Venues::All => out.u8(0),
        Venues::Listed { ids, tags } => {
            out.u8(1);
            out.count(ids.len(), VENUES_MAX)?;
            for id in ids {
                out.bytes(&id.0);
            }
            out.count(tags.len(), TAGS_MAX)?;
            for tag in tags {
                let length = u8::try_from(tag.len()).map_err(|_| FrameError::Value)?;
                if usize::from(length) > TAG_BYTES_MAX {
                    return Err(FrameError::Value);
                }
                out.u8(length);
                out.bytes(tag.as_bytes());
            }
        }
    }
    Ok(())
}

fn read_venues(input: &mut Reader<'_>) -> Result<Venues, FrameError> {
    if !input.flag()? {
        return Ok(Venues::All);
    }
    let ids = read_set(input, VENUES_MAX, read_venue)?;
    let tags = read_set(input, TAGS_MAX, read_tag)?;
    Ok(Venues::Listed { ids, tags })
}

fn read_venue(input: &mut Reader<'_>) -> Result<VenueId, FrameError> {
    input.array().map(VenueId)
}

fn read_tag(input: &mut Reader<'_>) -> Result<String, FrameError> {
    let length = usize::from(input.u8()?);
    if length > TAG_BYTES_MAX {
        return Err(FrameError::Value);
    }
    let text = std::str::from_utf8(input.bytes(length)?).map_err(|_| FrameError::Value)?;
    Ok(text.to_owned())
}

fn write_limits(out: &mut Writer, limits: VenueLimits) {
    out.option_u32(limits.daily);
    out.option_u32(limits.total);
}

fn read_limits(input: &mut Reader<'_>) -> Result<VenueLimits, FrameError> {
    Ok(VenueLimits {
        daily: input.option_u32()?,
        total: input.option_u32()?,
    })
}

fn read_venue_limits(input: &mut Reader<'_>) -> Result<BTreeMap<VenueId, VenueLimits>, FrameError> {
    let mut all = BTreeMap::new();
    for _ in 0..input.count(VENUES_MAX)? {
        let venue = read_venue(input)?;
        if all.last_key_value().is_some_and(|(last, _)| *last >= venue) {
            return Err(FrameError::Value);
        }
        let _ = all.insert(venue, read_limits(input)?);
    }
    Ok(all)
}

fn read_suspension(input: &mut Reader<'_>) -> Result<Suspension, FrameError> {
    let venue = read_venue(input)?;
    let dates = if input.flag()? {
        Some(read_range(input)?)
    } else {
        None
    };
    Ok(Suspension { venue, dates })
}

fn write_range(out: &mut Writer, range: DateRange) {
    for date in [range.start(), range.end()] {
        out.i32(date.num_days_from_ce() - EPOCH_DAYS);
    }
}

fn read_range(input: &mut Reader<'_>) -> Result<DateRange, FrameError> {
    let start = read_date(input)?;
    let end = read_date(input)?;
    DateRange::new(start, end).ok_or(FrameError::Value)
}

fn read_date(input: &mut Reader<'_>) -> Result<NaiveDate, FrameError> {
    input
        .i32()?
        .checked_add(EPOCH_DAYS)
        .and_then(NaiveDate::from_num_days_from_ce_opt)
        .ok_or(FrameError::Value)
}

/// A list that rises without repetition, as sets are written.
fn read_set<T: Ord>(
    input: &mut Reader<'_>,
    limit: usize,
    read: fn(&mut Reader<'_>) -> Result<T, FrameError>,
) -> Result<BTreeSet<T>, FrameError> {
    let mut all = BTreeSet::new();
    for _ in 0..input.count(limit)? {
        let one = read(input)?;
        if all.last().is_some_and(|last| *last >= one) {
            return Err(FrameError::Value);
        }
        let _ = all.insert(one);
    }
    Ok(all)
}
