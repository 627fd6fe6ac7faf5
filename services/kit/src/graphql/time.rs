//! Dates and instants as the graph takes and shows them. What a client gives lies in years that
//! PostgreSQL holds and that a few centuries' arithmetic never leaves; what we show is our own and
//! is not judged again.

use std::borrow::Cow;

use async_graphql::registry::Registry;
use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{DateTime, Datelike, NaiveDate, Utc};

/// The first year that an input may name.
pub const YEAR_MIN: i32 = 1900;
/// The last year that an input may name.
pub const YEAR_MAX: i32 = 2200;

/// Marks, on its way to the door, the error of an input that cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";

/// A date of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub NaiveDate);

/// A date in Shanghai, as `2026-04-01`; its year is 1900 to 2200.
#[Scalar(name = "Date")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else {
            return Err(unreadable("a date is a string"));
        };
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(unreadable)?;
        check_year(date.year())?;
        Ok(Self(date))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.format("%Y-%m-%d").to_string())
    }
}

impl From<NaiveDate> for Date {
    fn from(date: NaiveDate) -> Self {
        Self(date)
    }
}

/// An instant that a client gives: the graph's `DateTime`, in a year of 1900 to 2200. Fields that
/// show an instant are a plain `DateTime<Utc>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub DateTime<Utc>);

type Shown = DateTime<Utc>;

/// By hand, so that both sides of the graph share one scalar.
impl InputType for Instant {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        <Shown as InputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Shown as InputType>::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let Some(Value::String(text)) = &value else {
            return Err(unreadable("an instant is a string"));
        };
        let at = DateTime::parse_from_rfc3339(text).map_err(unreadable)?;
        check_year(at.year())?;
        Ok(Self(at.with_timezone(&Utc)))
    }

    fn to_value(&self) -> Value {
        InputType::to_value(&self.0)
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}

fn check_year<T: InputType>(year: i32) -> Result<(), InputValueError<T>> {
    if (YEAR_MIN..=YEAR_MAX).contains(&year) {
        return Ok(());
    }
    Err(unreadable(format!(
        "the year {year} is not within {YEAR_MIN} and {YEAR_MAX}"
    )))
}

fn unreadable<T: InputType>(reason: impl std::fmt::Display) -> InputValueError<T> {
    InputValueError::custom(reason).with_extension(UNREADABLE, true)
}
