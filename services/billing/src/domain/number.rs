//! The number people quote for an order, 受理号: `B50-20260401-000123-7`.
//!
//! Union, Shanghai date, a running number, and a check digit that catches every single wrong
//! digit and every swap of neighbours (Damm, 2004). It names an order and proves nothing.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use kit::types::Union;

/// The longest number, in characters.
const NUMBER_CHARS_MAX: usize = 40;
const SERIAL_DIGITS_MIN: usize = 6;

/// Damm's quasigroup of order ten: totally anti-symmetric.
const DAMM: [[u8; 10]; 10] = [
    [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
    [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
    [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
    [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
    [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
    [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
    [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
    [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
    [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
    [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
];

fn damm(text: &str) -> u8 {
    text.bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |row, digit| {
            DAMM[usize::from(row)][usize::from(digit - b'0')]
        })
}

/// A 受理号 whose check digit is right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderNumber(String);

/// Why a text is no order number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// It does not look like one.
    Form,
    /// A digit is wrong or two are swapped.
    CheckDigit,
}

impl OrderNumber {
    /// The number of the `serial`-th order, taken in on `date`.
    pub fn new(union: Union, date: NaiveDate, serial: u64) -> Self {
        let body = format!("B{union}-{}-{serial:06}", date.format("%Y%m%d"));
        let check = damm(&body);
        Self(format!("{body}-{check}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for OrderNumber {
    type Err = NumberError;

    /// Reads a number as people type it: in any case, with blanks around it.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        let text = text.trim().to_ascii_uppercase();
        if text.len() > NUMBER_CHARS_MAX {
            return Err(NumberError::Form);
        }
        let parts: Vec<&str> = text.split('-').collect();
        let [union, date, serial, check] = parts.as_slice() else {
            return Err(NumberError::Form);
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_union = union.strip_prefix('B').is_some_and(|code| {
            digits(code) && code.parse().ok().and_then(Union::from_code).is_some()
        });
        let is_date =
            date.len() == 8 && digits(date) && NaiveDate::parse_from_str(date, "%Y%m%d").is_ok();
        let is_serial = serial.len() >= SERIAL_DIGITS_MIN && digits(serial);
        if !(is_union && is_date && is_serial && check.len() == 1 && digits(check)) {
            return Err(NumberError::Form);
        }
        if damm(&text) == 0 {
            Ok(Self(text))
        } else {
            Err(NumberError::CheckDigit)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(serial: u64) -> OrderNumber {
        let date = NaiveDate::from_ymd_opt(2026, 4, 1).unwrap();
        OrderNumber::new(Union::Chongqing, date, serial)
    }

    #[test]
    fn a_number_reads_back() {
        let one = number(123);
        assert!(one.as_str().starts_with("B50-20260401-000123-"), "{one}");
        assert_eq!(one.as_str().parse::<OrderNumber>().unwrap(), one);
        assert_eq!(
            format!(" {} ", one.as_str().to_lowercase()).parse::<OrderNumber>(),
            Ok(one)
        );
        for bad in [
            "",
            "B50",
            "B52-20260401-000123-7",
            "B50-20261301-000123-7",
            "B50-20260401-1-1",
        ] {
            assert_eq!(bad.parse::<OrderNumber>(), Err(NumberError::Form), "{bad}");
        }
    }

    proptest! {
        /// One wrong digit of the running number, or two neighbours swapped, is always noticed.
        #[test]
        fn a_slip_is_noticed(serial in 0_u64..100_000_000, at in 0_usize..8, by in 1_u8..10) {
            let good = number(serial).as_str().to_owned();
            let start = "B50-20260401-".len();
            let length = good.len() - start - 2;
            let at = start + at % length;
            let mut wrong = good.clone().into_bytes();
            wrong[at] = b'0' + (wrong[at] - b'0' + by) % 10;
            let wrong = String::from_utf8(wrong).unwrap();
            prop_assert_eq!(wrong.parse::<OrderNumber>(), Err(NumberError::CheckDigit));
            let mut swapped = good.clone().into_bytes();
            if at + 1 < start + length {
                swapped.swap(at, at + 1);
                let swapped = String::from_utf8(swapped).unwrap();
                prop_assert_eq!(swapped == good, swapped.parse::<OrderNumber>().is_ok());
            }
        }
    }
}
