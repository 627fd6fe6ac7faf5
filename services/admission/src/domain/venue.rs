//! A venue: what must be true of it before it is kept. Its opening hours are in `opening`, its
//! place on the map in `coordinates`.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use kit::types::{OrganisationId, Union, VenueId, division};

use super::coordinates::Wgs84;
use super::opening::Opening;

/// The tag of a workers' station (工会驿站).
pub const STATION: &str = "station";
/// Characters of a name, at most.
pub const NAME_CHARS_MAX: usize = 60;
/// Characters of the note where coordinates come from, at most.
pub const SOURCE_CHARS_MAX: usize = 200;
pub const TAGS_MAX: usize = 16;
pub const TAG_BYTES_MAX: usize = 32;
/// People inside at once, at most.
pub const CAPACITY_PERSONS_MAX: u32 = 500_000;

/// What people may change of a venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    pub name_zh: String,
    pub name_en: String,
    /// GB/T 2260, six digits as a number; of the own province.
    pub division: u32,
    pub place: Wgs84,
    /// Where the coordinates come from.
    pub place_source: String,
    pub tags: BTreeSet<String>,
    /// `None`: the clock does not decide.
    pub opening: Option<Opening>,
    /// `None`: without a limit.
    pub capacity: Option<u32>,
    /// It scans exits, so who is inside is known.
    pub tracks_exits: bool,
}

/// A place with gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Venue {
    pub id: VenueId,
    pub version: i64,
    /// The company that runs it.
    pub organisation: OrganisationId,
    pub details: Details,
    pub suspended: bool,
}

/// The field at fault, and why in zh and en.
pub type Fault = (&'static str, &'static str, &'static str);

impl Details {
    /// Looks at what people typed; `today` is the Shanghai date on which the division must exist.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn checked(self, union: Union, today: NaiveDate) -> Result<Self, Fault> {
        let name = |text: &str| is_line(text, NAME_CHARS_MAX);
        if !name(&self.name_zh) {
            return Err((
                "nameZh",
                "须为一行 1 到 60 个字符",
                "must be 1 to 60 characters on one line",
            ));
        }
        if !name(&self.name_en) {
            return Err((
                "nameEn",
                "须为一行 1 到 60 个字符",
                "must be 1 to 60 characters on one line",
            ));
        }
        if !is_line(&self.place_source, SOURCE_CHARS_MAX) {
            return Err((
                "coordinates.source",
                "须为一行 1 到 200 个字符",
                "must be 1 to 200 characters on one line",
            ));
        }
        let found = division::find(&self.division.to_string(), today);
        if found.is_none_or(|one| one.province() != u32::from(union.code())) {
            return Err((
                "division",
                "不是本省市现行的行政区划",
                "no division of this province today",
            ));
        }
        if self.tags.len() > TAGS_MAX || !self.tags.iter().all(|tag| is_tag(tag)) {
            return Err((
                "tags",
                "最多 16 个，每个为 1 到 32 个 a-z、0-9 或 -",
                "at most 16, each of 1 to 32 of a-z, 0-9 and -",
            ));
        }
        if self
            .capacity
            .is_some_and(|people| people == 0 || people > CAPACITY_PERSONS_MAX)
        {
            return Err(("capacity", "须为 1 到 500000", "must be from 1 to 500000"));
        }
        if self.capacity.is_some() && !self.tracks_exits {
            return Err((
                "capacity",
                "只有扫码出场的场馆才能限定人数",
                "can only be kept where exits are scanned",
            ));
        }
        Ok(self)
    }
}

/// One line of visible text, without spaces around it.
pub fn is_line(text: &str, chars_max: usize) -> bool {
    let count = text.chars().take(chars_max + 1).count();
    (1..=chars_max).contains(&count)
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || is_invisible(c))
}

/// Characters that change how a line reads and cannot be seen: marks of direction, zero widths.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}')
}

fn is_tag(tag: &str) -> bool {
    (1..=TAG_BYTES_MAX).contains(&tag.len())
        && tag
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> Details {
        Details {
            name_zh: "重庆中国三峡博物馆".to_owned(),
            name_en: "Three Gorges Museum".to_owned(),
            division: 500_103,
            place: Wgs84::new(29.562, 106.550).unwrap(),
            place_source: "general knowledge".to_owned(),
            tags: BTreeSet::from(["museum".to_owned()]),
            opening: None,
            capacity: None,
            tracks_exits: false,
        }
    }

    fn fault(change: impl FnOnce(&mut Details)) -> Option<&'static str> {
        let mut details = details();
        change(&mut details);
        let today = "2026-04-01".parse().unwrap();
        details
            .checked(Union::Chongqing, today)
            .err()
            .map(|(field, ..)| field)
    }

    #[test]
    fn each_field_is_looked_at() {
        assert_eq!(fault(|_| {}), None);
        assert_eq!(fault(|d| d.name_zh.clear()), Some("nameZh"));
        assert_eq!(fault(|d| d.name_zh = "字".repeat(61)), Some("nameZh"));
        assert_eq!(
            fault(|d| d.name_en = "two\nlines".to_owned()),
            Some("nameEn")
        );
        assert_eq!(
            fault(|d| d.name_en = "\u{202e}esrever".to_owned()),
            Some("nameEn")
        );
        assert_eq!(
            fault(|d| d.place_source = " ".to_owned()),
            Some("coordinates.source")
        );
        // Abolished in 2025, another province's, and none at all.
        for division in [500_112, 510_104, 0, 999_999] {
            assert_eq!(
                fault(|d| d.division = division),
                Some("division"),
                "{division}"
            );
        }
        assert_eq!(
            fault(|d| d.tags = BTreeSet::from(["Museum".to_owned()])),
            Some("tags")
        );
        assert_eq!(
            fault(|d| d.tags.extend((0..17).map(|n| n.to_string()))),
            Some("tags")
        );
        assert_eq!(fault(|d| d.capacity = Some(10)), Some("capacity"));
        assert_eq!(
            fault(|d| {
                d.tracks_exits = true;
                d.capacity = Some(0);
            }),
            Some("capacity")
        );
    }
}
