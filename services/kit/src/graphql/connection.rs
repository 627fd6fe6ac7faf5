//! Relay connections over keyset pages: `first` or `last` is required and at most
//! [`PAGE_ROWS_MAX`]; a cursor is opaque and holds the sort key of its row.

use std::fmt::Display;
use std::str::FromStr;

use async_graphql::OutputType;
use async_graphql::connection::{CursorType, Edge, EmptyFields};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, Utc};

use super::time::{YEAR_MAX, YEAR_MIN};
use crate::{Error, Result};

pub use async_graphql::connection::PageInfo;

/// Rows of one page, at most.
pub const PAGE_ROWS_MAX: i32 = 100;
/// The longest cursor, in characters.
const CURSOR_CHARS_MAX: usize = 512;
const SEPARATOR: char = '|';

/// `PassConnection` for `Connection<Pass>`, with `edges`, `nodes` and `pageInfo`.
pub type Connection<T> = async_graphql::connection::Connection<Cursor, T, EmptyFields, EmptyFields>;

/// The sort key of a row, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<String>);

impl Cursor {
    /// A key of any parts that contain no `|`.
    pub fn of(parts: &[&dyn Display]) -> Self {
        Self(parts.iter().map(ToString::to_string).collect())
    }

    /// The usual key: an instant and an id that breaks ties.
    pub fn at(at: DateTime<Utc>, id: impl Display) -> Self {
        Self::of(&[&at.timestamp_micros(), &id])
    }

    /// The parts, when there are exactly `N`.
    pub fn parts<const N: usize>(&self) -> Option<[&str; N]> {
        let parts: Vec<&str> = self.0.iter().map(String::as_str).collect();
        parts.try_into().ok()
    }

    /// What [`Cursor::at`] was made from.
    ///
    /// # Errors
    /// Bad input, when it is a cursor of another list.
    pub fn to_at<T: FromStr>(&self) -> Result<(DateTime<Utc>, T)> {
        let [at, id] = self.parts().ok_or_else(foreign_cursor)?;
        let micros = at.parse().map_err(|_| foreign_cursor())?;
        let at = DateTime::from_timestamp_micros(micros)
            // What we never gave out PostgreSQL may not be able to hold.
            .filter(|at| (YEAR_MIN..=YEAR_MAX).contains(&at.year()))
            .ok_or_else(foreign_cursor)?;
        Ok((at, id.parse().map_err(|_| foreign_cursor())?))
    }

    fn decode(field: &'static str, text: &str) -> Result<Self> {
        let foreign = || Error::bad_input(field, "不是游标", "no cursor");
        if text.len() > CURSOR_CHARS_MAX {
            return Err(foreign());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        let plain = String::from_utf8(bytes).map_err(|_| foreign())?;
        Ok(Self(plain.split(SEPARATOR).map(str::to_owned).collect()))
    }
}

/// Bad input: a cursor, but of another list.
pub fn foreign_cursor() -> Error {
    Error::bad_input("after", "不是本列表的游标", "no cursor of this list")
}

impl CursorType for Cursor {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> std::result::Result<Self, Self::Error> {
        Self::decode("after", text).map_err(|_| "no cursor")
    }

    fn encode_cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.join(&SEPARATOR.to_string()))
    }
}

/// The four arguments of a connection, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows asked for, 1 to [`PAGE_ROWS_MAX`].
    pub rows: i64,
    /// True for `last`: read the list from its end, in reverse order.
    pub backwards: bool,
    /// The row to go on from: after it, or before it when going backwards.
    pub from: Option<Cursor>,
}

impl Page {
    /// # Errors
    /// Bad input: neither or both of `first` and `last`, a number out of range, a cursor that is
    /// none, or `after` with `last`.
    pub fn new(
        first: Option<i32>,
        after: Option<&str>,
        last: Option<i32>,
        before: Option<&str>,
    ) -> Result<Self> {
        let bad = |field, zh, en| Err(Error::bad_input(field, zh, en));
        let (rows, field, backwards) = match (first, last) {
            (Some(rows), None) => (rows, "first", false),
            (None, Some(rows)) => (rows, "last", true),
            (None, None) => {
                return bad("first", "须给出 first 或 last", "first or last is required");
            }
            (Some(_), Some(_)) => {
                return bad(
                    "first",
                    "first 与 last 不能同时给出",
                    "first and last exclude each other",
                );
            }
        };
        if !(1..=PAGE_ROWS_MAX).contains(&rows) {
            return bad(field, "须为 1 到 100", "must be from 1 to 100");
        }
        let from = match (after, before) {
            (Some(after), None) if !backwards => Some(Cursor::decode("after", after)?),
            (None, Some(before)) if backwards => Some(Cursor::decode("before", before)?),
            (None, None) => None,
            _ => {
                return bad(
                    "after",
                    "after 只与 first 同用，before 只与 last 同用",
                    "after goes with first, before with last",
                );
            }
        };
        Ok(Self {
            rows: rows.into(),
            backwards,
            from,
        })
    }

    /// What to put behind `LIMIT`: one row more tells whether there is a next page.
    pub fn limit(&self) -> i64 {
        self.rows + 1
    }

    /// How to read a list that begins with its oldest row: what to put behind `ORDER BY`, and how
    /// a row compares with the one to go on from.
    pub const fn oldest_first(&self) -> (&'static str, &'static str) {
        if self.backwards {
            ("DESC", "<")
        } else {
            ("ASC", ">")
        }
    }

    /// As [`Page::oldest_first`], for a list that begins with its newest row.
    pub const fn newest_first(&self) -> (&'static str, &'static str) {
        if self.backwards {
            ("ASC", ">")
        } else {
            ("DESC", "<")
        }
    }

    /// Makes the page of the rows read with [`Page::limit`], in the order they were read:
    /// reversed when going backwards.
    pub fn connection<R, T: OutputType>(
        &self,
        rows: Vec<R>,
        cursor: impl Fn(&R) -> Cursor,
        node: impl Fn(R) -> T,
    ) -> Connection<T> {
        let wanted = usize::try_from(self.rows).unwrap_or_default();
        let more = rows.len() > wanted;
        let mut edges: Vec<_> = rows
            .into_iter()
            .take(wanted)
            .map(|row| Edge::new(cursor(&row), node(row)))
            .collect();
        if self.backwards {
            edges.reverse();
        }
        let came_from = self.from.is_some();
        let (previous, next) = if self.backwards {
            (more, came_from)
        } else {
            (came_from, more)
        };
        let mut connection = Connection::new(previous, next);
        connection.edges = edges;
        connection
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_page_without_a_size_or_with_a_silly_one_is_refused() {
        for (first, last) in [
            (None, None),
            (Some(1), Some(1)),
            (Some(0), None),
            (Some(-1), None),
            (Some(101), None),
            (Some(i32::MAX), None),
            (None, Some(101)),
        ] {
            let page = Page::new(first, None, last, None);
            assert!(
                matches!(page, Err(Error::BadInput { .. })),
                "{first:?} {last:?}"
            );
        }
        assert!(Page::new(Some(100), None, None, None).is_ok());
        assert!(Page::new(Some(1), None, None, Some("MQ")).is_err());
    }

    #[test]
    fn a_forged_cursor_is_bad_input_and_an_own_one_reads_back() {
        for forged in ["%", "_", &"A".repeat(600), "gICA"] {
            assert!(
                Page::new(Some(1), Some(forged), None, None).is_err(),
                "{forged}"
            );
        }
        let at = DateTime::from_timestamp_micros(1_777_000_000_000_123).unwrap();
        let cursor = Cursor::at(at, Uuid::from_u128(3));
        let page = Page::new(Some(1), Some(&cursor.encode_cursor()), None, None).unwrap();
        assert_eq!(
            page.from.unwrap().to_at::<Uuid>().unwrap(),
            (at, Uuid::from_u128(3))
        );
        assert!(Cursor::of(&[&"zone", &4]).to_at::<Uuid>().is_err());
        // The years 4714 BC and 10000: what a client makes up can be any number.
        for micros in [-210_866_803_200_000_001_i64, 253_402_300_800_000_000] {
            let made_up = Cursor::of(&[&micros, &Uuid::from_u128(3)]);
            assert!(made_up.to_at::<Uuid>().is_err(), "{micros}");
        }
    }

    #[test]
    fn pages_know_their_neighbours() {
        let page = Page::new(None, None, Some(2), None).unwrap();
        let cursor = |n: &i32| Cursor::of(&[n]);
        let connection = page.connection(vec![9, 8, 7], cursor, |n| n);
        assert_eq!(
            connection.edges.iter().map(|e| e.node).collect::<Vec<_>>(),
            [8, 9]
        );
        assert!(connection.has_previous_page && !connection.has_next_page);
    }
}
