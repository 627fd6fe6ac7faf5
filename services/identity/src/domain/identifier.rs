//! Documents and phones: what a number must look like to be one.
//!
//! A resident number says nothing about where its holder lives or works: its first six digits are
//! where it was first registered, often a division that is long gone (Chongqing's numbers began
//! with 51 until 1997). So an unknown division is no error, and no province is read from it.

use std::fmt;

use chrono::NaiveDate;
use zeroize::Zeroizing;

use crate::error::Refusal;

/// GB 11643-1999: the weights of the first seventeen digits, after ISO 7064 MOD 11-2.
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS: &[u8; 11] = b"10X98765432";
/// The longest number of any document, in characters.
const NUMBER_CHARS_MAX: usize = 20;

/// Why text is no resident number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidentError {
    Length,
    Digits,
    Date,
    Check,
}

/// A resident number, GB 11643-1999; permits of residents from Hong Kong, Macao and Taiwan have
/// the same form under 810000, 820000 and 830000. It is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ResidentNumber {
    text: Zeroizing<String>,
    birth: NaiveDate,
}

/// As the number says; odd sequence numbers are male.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    Female,
    Male,
}

impl fmt::Debug for ResidentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResidentNumber")
    }
}

impl ResidentNumber {
    /// Reads a number of eighteen characters; a lower-case x is taken as X. `today` is the
    /// Shanghai date: nobody is born after it.
    ///
    /// # Errors
    /// When length, digits, date of birth or check digit are wrong.
    pub fn parse(text: &str, today: NaiveDate) -> Result<Self, ResidentError> {
        let text = Zeroizing::new(normal(text));
        let bytes = text.as_bytes();
        if bytes.len() != 18 {
            return Err(ResidentError::Length);
        }
        let (body, check) = (&bytes[..17], bytes[17]);
        if !body.iter().all(u8::is_ascii_digit) || !matches!(check, b'0'..=b'9' | b'X') {
            return Err(ResidentError::Digits);
        }
        let birth =
            NaiveDate::parse_from_str(&text[6..14], "%Y%m%d").map_err(|_| ResidentError::Date)?;
        if birth > today {
            return Err(ResidentError::Date);
        }
        let sum: u32 = body
            .iter()
            .zip(WEIGHTS)
            .map(|(digit, weight)| u32::from(digit - b'0') * weight)
            .sum();
        if CHECKS[(sum % 11) as usize] != check {
            return Err(ResidentError::Check);
        }
        Ok(Self { text, birth })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn birth(&self) -> NaiveDate {
        self.birth
    }

    pub fn sex(&self) -> Sex {
        if self.text.as_bytes()[16] % 2 == 1 {
            Sex::Male
        } else {
            Sex::Female
        }
    }

    /// Whether it is a permit of a resident from Hong Kong, Macao or Taiwan.
    fn is_permit(&self) -> bool {
        ["810000", "820000", "830000"]
            .iter()
            .any(|prefix| self.text.starts_with(prefix))
    }
}

/// What kind of document a number is from. Its number is part of a credential's document tag and
/// never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// 居民身份证
    ResidentId,
    /// 港澳台居民居住证
    ResidencePermit,
    /// 中国护照
    Passport,
    /// 港澳居民来往内地通行证
    HomeReturnPermit,
    /// 台湾居民来往大陆通行证
    TaiwanTravelPermit,
    /// 外国人永久居留身份证
    PermanentResidence,
    /// 外国护照
    ForeignPassport,
}

impl DocumentKind {
    pub const ALL: [Self; 7] = [
        Self::ResidentId,
        Self::ResidencePermit,
        Self::Passport,
        Self::HomeReturnPermit,
        Self::TaiwanTravelPermit,
        Self::PermanentResidence,
        Self::ForeignPassport,
    ];

    /// As it is stored, and as it goes into a document tag.
    pub const fn code(self) -> u8 {
        match self {
            Self::ResidentId => 1,
            Self::ResidencePermit => 2,
            Self::Passport => 3,
            Self::HomeReturnPermit => 4,
            Self::TaiwanTravelPermit => 5,
            Self::PermanentResidence => 6,
            Self::ForeignPassport => 7,
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| i16::from(kind.code()) == code)
    }
}

/// A document: its kind and its number in normal form. The same document has one normal form, so
/// a person cannot be there twice by writing it differently. The number is wiped when it is
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    kind: DocumentKind,
    number: Zeroizing<String>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Document {
    /// `today` is the Shanghai date.
    ///
    /// # Errors
    /// [`Refusal::DocumentInvalid`] when the number is none of this kind.
    pub fn parse(kind: DocumentKind, number: &str, today: NaiveDate) -> Result<Self, Refusal> {
        let number = Zeroizing::new(normal(number));
        if number.len() > NUMBER_CHARS_MAX {
            return Err(Refusal::DocumentInvalid);
        }
        let kind = match kind {
            DocumentKind::ResidentId | DocumentKind::ResidencePermit => {
                let number =
                    ResidentNumber::parse(&number, today).map_err(|_| Refusal::DocumentInvalid)?;
                if number.is_permit() {
                    DocumentKind::ResidencePermit
                } else {
                    DocumentKind::ResidentId
                }
            }
            DocumentKind::Passport
            | DocumentKind::HomeReturnPermit
            | DocumentKind::TaiwanTravelPermit
            | DocumentKind::PermanentResidence
            | DocumentKind::ForeignPassport => {
                if !fits(kind, &number) {
                    return Err(Refusal::DocumentInvalid);
                }
                kind
            }
        };
        Ok(Self { kind, number })
    }

    /// What the vault kept, without checking it again.
    pub(crate) fn stored(kind: DocumentKind, number: Zeroizing<String>) -> Self {
        Self { kind, number }
    }

    pub fn kind(&self) -> DocumentKind {
        self.kind
    }

    pub fn number(&self) -> &str {
        &self.number
    }

    /// `110105********002X`; shorter numbers keep their first and last character.
    pub fn masked(&self) -> String {
        let chars: Vec<char> = self.number.chars().collect();
        let (head, tail) = if chars.len() >= 15 { (6, 4) } else { (1, 1) };
        mask(&chars, head, tail)
    }
}

/// The forms of other documents are loose: they have no check digit that is published.
fn fits(kind: DocumentKind, number: &str) -> bool {
    let bytes = number.as_bytes();
    let digits = |from: usize| bytes[from..].iter().all(u8::is_ascii_digit);
    let letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_uppercase);
    match kind {
        DocumentKind::ResidentId | DocumentKind::ResidencePermit => false,
        DocumentKind::Passport => {
            bytes.len() == 9
                && matches!(bytes[0], b'D' | b'E' | b'G' | b'P' | b'S')
                && (digits(1)
                    || (bytes[0] == b'E'
                        && letter(1)
                        && !matches!(bytes[1], b'I' | b'O')
                        && digits(2)))
        }
        DocumentKind::HomeReturnPermit => {
            matches!(bytes.len(), 9 | 11) && matches!(bytes[0], b'H' | b'M') && digits(1)
        }
        DocumentKind::TaiwanTravelPermit => matches!(bytes.len(), 8 | 10) && digits(0),
        DocumentKind::PermanentResidence => {
            (bytes.len() == 15 && letter(0) && letter(1) && letter(2) && digits(3))
                || (bytes.len() == 18 && bytes[0] == b'9' && digits(0))
        }
        DocumentKind::ForeignPassport => {
            (5..=17).contains(&bytes.len())
                && bytes.iter().all(u8::is_ascii_alphanumeric)
                && bytes.iter().any(u8::is_ascii_digit)
        }
    }
}

/// A mobile number of mainland China, eleven digits. Ranges change, so carriers are not listed. It
/// is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone(Zeroizing<String>);

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone")
    }
}

impl Phone {
    /// # Errors
    /// [`Refusal::PhoneInvalid`] when it is no mobile number of a person.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = Zeroizing::new(normal(text).replace('-', ""));
        let text = text.strip_prefix("+86").unwrap_or(&text);
        let bytes = text.as_bytes();
        let mobile = bytes.len() == 11
            && bytes[0] == b'1'
            && matches!(bytes[1], b'3'..=b'9')
            && bytes.iter().all(u8::is_ascii_digit);
        if mobile {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(Refusal::PhoneInvalid)
        }
    }

    /// What the vault kept, without checking it again.
    pub(crate) fn stored(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `138****5678`
    pub fn masked(&self) -> String {
        mask(&self.0.chars().collect::<Vec<_>>(), 3, 4)
    }
}

fn mask(chars: &[char], head: usize, tail: usize) -> String {
    let stars = chars.len().saturating_sub(head + tail);
    chars
        .iter()
        .take(head)
        .copied()
        .chain(std::iter::repeat_n('*', stars))
        .chain(
            chars
                .iter()
                .skip(chars.len().saturating_sub(tail).max(head))
                .copied(),
        )
        .collect()
}

/// Without spaces, full-width letters and digits as half-width ones, in upper case.
fn normal(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| match u32::from(c) {
            wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).unwrap_or(c),
            _ => c,
        })
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 23).unwrap()
    }

    #[test]
    fn phones_are_taken_as_people_write_them() {
        for text in [
            "13812345678",
            "+86 138 1234 5678",
            "138-1234-5678",
            "１３８12345678",
        ] {
            assert_eq!(
                Phone::parse(text).unwrap().as_str(),
                "13812345678",
                "{text}"
            );
        }
        for text in [
            "",
            "1381234567",
            "138123456789",
            "12812345678",
            "1064812345678",
            "1381234567a",
        ] {
            assert_eq!(Phone::parse(text), Err(Refusal::PhoneInvalid), "{text}");
        }
    }

    #[test]
    fn a_permit_given_as_a_resident_card_is_still_a_permit() {
        let number = "810000199001010019";
        let given = Document::parse(DocumentKind::ResidentId, number, today()).unwrap();
        assert_eq!(given.kind(), DocumentKind::ResidencePermit);
        let old = Document::parse(DocumentKind::ResidencePermit, "500103199003071239", today());
        assert_eq!(old.unwrap().kind(), DocumentKind::ResidentId);
    }

    #[test]
    fn other_documents_are_checked_loosely() {
        use DocumentKind as Kind;
        for (kind, number, fits) in [
            (Kind::Passport, "E12345678", true),
            (Kind::Passport, "ek1234567", true),
            (Kind::Passport, "EI1234567", false),
            (Kind::Passport, "X12345678", false),
            (Kind::HomeReturnPermit, "H12345678", true),
            (Kind::HomeReturnPermit, "M1234567801", true),
            (Kind::HomeReturnPermit, "H1234567", false),
            (Kind::TaiwanTravelPermit, "12345678", true),
            (Kind::TaiwanTravelPermit, "123456789", false),
            (Kind::PermanentResidence, "USA110087010115", true),
            (Kind::ForeignPassport, "C01X00T47", true),
            (Kind::ForeignPassport, "ABCDEFG", false),
            (Kind::ForeignPassport, "1234567890123456789012", false),
            (Kind::ForeignPassport, "12'; DROP", false),
        ] {
            assert_eq!(
                Document::parse(kind, number, today()).is_ok(),
                fits,
                "{kind:?} {number}"
            );
        }
    }

    #[test]
    fn nobody_is_born_tomorrow() {
        let birth = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        let number = "500157202601010018";
        assert!(ResidentNumber::parse(number, birth).is_ok());
        let eve = birth.pred_opt().unwrap();
        assert_eq!(
            ResidentNumber::parse(number, eve).err(),
            Some(ResidentError::Date)
        );
    }

    #[test]
    fn short_texts_do_not_break_the_mask() {
        assert_eq!(mask(&['a'], 3, 4), "a");
        assert_eq!(mask(&['a', 'b', 'c', 'd'], 3, 4), "abcd");
    }

    proptest! {
        /// Whatever is typed, reading never panics, and what was read reads back as itself.
        #[test]
        fn a_normal_form_is_normal(text in "\\PC{0,24}", kind in 1i16..=7) {
            let kind = DocumentKind::from_code(kind).unwrap();
            if let Ok(document) = Document::parse(kind, &text, today()) {
                let again = Document::parse(document.kind(), document.number(), today());
                prop_assert_eq!(again, Ok(document));
            }
            if let Ok(phone) = Phone::parse(&text) {
                prop_assert_eq!(Phone::parse(phone.as_str()), Ok(phone));
            }
        }

        /// One digit of a resident number changed, or two neighbours swapped, is noticed.
        #[test]
        fn a_slip_of_the_pen_is_noticed(
            day in 0i64..20_000,
            sequence in 0u32..1_000,
            at in 0usize..17,
        ) {
            let birth = NaiveDate::from_ymd_opt(1950, 1, 1).unwrap() + TimeDelta::days(day);
            let body = format!("500103{}{sequence:03}", birth.format("%Y%m%d"));
            let sum: u32 =
                body.bytes().zip(WEIGHTS).map(|(b, weight)| u32::from(b - b'0') * weight).sum();
            let good = format!("{body}{}", char::from(CHECKS[(sum % 11) as usize]));
            prop_assert!(ResidentNumber::parse(&good, today()).is_ok());
            let mut changed = good.clone().into_bytes();
            changed[at] = b'0' + (changed[at] - b'0' + 1) % 10;
            let changed = String::from_utf8(changed).unwrap();
            prop_assert!(ResidentNumber::parse(&changed, today()).is_err());
            let mut swapped = good.clone().into_bytes();
            if at < 16 && swapped[at] != swapped[at + 1] {
                swapped.swap(at, at + 1);
                prop_assert!(
                    ResidentNumber::parse(&String::from_utf8(swapped).unwrap(), today()).is_err()
                );
            }
        }
    }
}
