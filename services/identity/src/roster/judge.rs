//! A row becomes a person, or everything that is wrong with it: each column is judged, so that an
//! officer corrects a row once.

use std::collections::HashMap;

use chrono::NaiveDate;

use super::cell::{clean_name, clean_number, is_scientific};
use super::finding::{Code, Finding};
use super::header::{Column, plain};
use super::table::{Cell, SheetRow};
use super::{CELL_CHARS_MAX, Table};
use crate::domain::identifier::{Document, DocumentKind, Phone, ResidentError, ResidentNumber};
use crate::domain::name::PersonName;

/// The first number that has more digits than a spreadsheet keeps.
const NUMBER_EXACT_MAX: f64 = 1e15;
/// Characters of a resident number until 1999.
const OLD_RESIDENT_CHARS: usize = 15;

/// Somebody of a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: PersonName,
    /// None for a person verified by 网号.
    pub document: Option<Document>,
    pub phone: Option<Phone>,
}

/// What stands in the columns of a row, cleaned; empty where nothing does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cells {
    pub name: String,
    pub document_type: String,
    pub document_number: String,
    pub phone: String,
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cells")
    }
}

/// A row and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The row in the file.
    pub row: u32,
    /// The row that a correction is for.
    pub corrects: Option<u32>,
    pub cells: Cells,
    /// Who it is, when nothing is wrong.
    pub person: Result<Person, Vec<Finding>>,
}

/// Judges every row of a table, and those that repeat another. `today` is the Shanghai date.
pub fn judge(table: &Table, today: NaiveDate) -> Vec<Judged> {
    table.rows.iter().map(|row| judge_row(row, today)).collect()
}

fn judge_row(row: &SheetRow, today: NaiveDate) -> Judged {
    let mut findings = Vec::new();
    if row.hidden {
        findings.push(Finding::new(Code::RowHidden, None));
    }
    for column in &row.merged {
        findings.push(Finding::new(Code::CellIsMerged, *column));
    }
    let mut take = |column, clean: fn(&str) -> String| match text_of(row.cell(column)) {
        Ok(text) => clean(&text),
        Err((code, shown)) => {
            findings.push(Finding::new(code, column));
            shown
        }
    };
    let cells = Cells {
        name: take(Column::Name, clean_name),
        document_type: take(Column::DocumentType, clean_name),
        document_number: take(Column::DocumentNumber, clean_number),
        phone: take(Column::Phone, clean_number),
    };
    let corrects = match row.cell(Column::Row) {
        Some(Cell::Text(text)) => clean_number(text).parse().ok(),
        Some(cell) => text_of(Some(cell)).ok().and_then(|text| text.parse().ok()),
        None => None,
    };
    // What is said of a cell already is not said again in other words.
    let told: Vec<Option<Column>> = findings.iter().map(|it| it.column).collect();
    let person = match person(&cells, today) {
        Ok(person) if findings.is_empty() => Ok(person),
        Ok(_) => Err(findings),
        Err(more) => {
            findings.extend(more.into_iter().filter(|it| !told.contains(&it.column)));
            Err(findings)
        }
    };
    Judged {
        row: row.number,
        corrects,
        cells,
        person,
    }
}

/// The text of a cell; of one that has none, why, and what to show of it.
fn text_of(cell: Option<&Cell>) -> Result<String, (Code, String)> {
    match cell {
        None => Ok(String::new()),
        Some(Cell::Text(text)) if text.chars().count() > CELL_CHARS_MAX => Err((
            Code::CellTooLong,
            text.chars().take(CELL_CHARS_MAX).collect(),
        )),
        Some(Cell::Text(text)) => Ok(text.clone()),
        Some(Cell::Number(number)) if number.abs() >= NUMBER_EXACT_MAX => {
            Err((Code::NumberEaten, format!("{number:E}")))
        }
        Some(Cell::Number(number)) => Ok(number.to_string()),
        Some(Cell::Date(date)) => Err((Code::CellIsDate, date.clone())),
        Some(Cell::Broken) => Err((Code::CellBroken, String::new())),
    }
}

/// Who these cells are.
///
/// # Errors
/// Everything that is wrong with them.
pub fn person(cells: &Cells, today: NaiveDate) -> Result<Person, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut keep = |finding: Finding| findings.push(finding);
    let name = name(&cells.name).map_err(&mut keep).ok();
    if let Some(swapped) = swapped(cells, today) {
        keep(swapped);
        return Err(findings);
    }
    let document = document(cells, today).map_err(&mut keep).ok();
    let phone = phone(&cells.phone).map_err(&mut keep).ok();
    if matches!((&document, &phone), (Some(None), Some(None))) {
        keep(Finding::new(Code::PhoneMissing, Column::Phone));
    }
    match (name, document, phone) {
        (Some(name), Some(document), Some(phone)) if findings.is_empty() => Ok(Person {
            name,
            document,
            phone,
        }),
        _ => Err(findings),
    }
}

fn name(text: &str) -> Result<PersonName, Finding> {
    if text.is_empty() {
        return Err(Finding::new(Code::NameMissing, Column::Name));
    }
    PersonName::parse(text).map_err(|_| Finding::new(Code::NameInvalid, Column::Name))
}

fn phone(text: &str) -> Result<Option<Phone>, Finding> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || {
        if is_scientific(text) {
            return Finding::new(Code::NumberEaten, Column::Phone);
        }
        let repair = similar(text)
            .and_then(|text| Phone::parse(&text).ok())
            .map(|phone| phone.as_str().to_owned());
        Finding::new(Code::PhoneInvalid, Column::Phone).repair(repair)
    };
    Phone::parse(text).map(Some).map_err(|_| invalid())
}

fn swapped(cells: &Cells, today: NaiveDate) -> Option<Finding> {
    let phone = Phone::parse(&cells.document_number).ok()?;
    let number = ResidentNumber::parse(&cells.phone, today).ok()?;
    let repair = format!("{} / {}", number.as_str(), phone.as_str());
    Some(Finding::new(Code::ColumnsSwapped, Column::DocumentNumber).repair(Some(repair)))
}

fn document(cells: &Cells, today: NaiveDate) -> Result<Option<Document>, Finding> {
    let number = &cells.document_number;
    let given = match kind(&cells.document_type) {
        Given::Online => return Ok(None),
        Given::Unknown => {
            return Err(Finding::new(
                Code::DocumentTypeUnknown,
                Column::DocumentType,
            ));
        }
        Given::Missing => None,
        Given::Kind(kind) => Some(kind),
    };
    let wrong = |code| Finding::new(code, Column::DocumentNumber);
    if number.is_empty() {
        return Err(wrong(Code::DocumentMissing));
    }
    if is_scientific(number) {
        return Err(wrong(Code::NumberEaten));
    }
    match given {
        None if looks_resident(number) => resident(number, today).map(Some),
        None => Err(
            Finding::new(Code::DocumentTypeMissing, Column::DocumentType)
                .repair(only_kind(number, today).map(|kind| kind_name(kind).0.to_owned())),
        ),
        Some(DocumentKind::ResidentId | DocumentKind::ResidencePermit) => {
            resident(number, today).map(Some)
        }
        Some(kind) => Document::parse(kind, number, today)
            .map(Some)
            .map_err(|_| wrong(Code::DocumentInvalid)),
    }
}

/// Whether text without a type is meant as a resident number, right or wrong.
fn looks_resident(number: &str) -> bool {
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    digits >= OLD_RESIDENT_CHARS - 1 && digits + 2 >= number.chars().count()
}

fn resident(number: &str, today: NaiveDate) -> Result<Document, Finding> {
    let wrong = |code| {
        let repair = similar(number).filter(|text| ResidentNumber::parse(text, today).is_ok());
        Finding::new(code, Column::DocumentNumber).repair(repair)
    };
    if !number.is_ascii() {
        return Err(wrong(Code::DocumentCharacters));
    }
    let upgraded = upgraded(number, today);
    let number = upgraded.as_deref().unwrap_or(number);
    match ResidentNumber::parse(number, today) {
        Ok(_) => Document::parse(DocumentKind::ResidentId, number, today)
            .map_err(|_| wrong(Code::DocumentInvalid)),
        Err(ResidentError::Length) => Err(wrong(Code::DocumentLength)),
        Err(ResidentError::Digits) => Err(wrong(Code::DocumentCharacters)),
        Err(ResidentError::Date) => Err(wrong(Code::DocumentDate)),
        // Fifteen digits are what a spreadsheet keeps of eighteen.
        Err(ResidentError::Check) if number.ends_with("000") => Err(wrong(Code::NumberEaten)),
        Err(ResidentError::Check) => Err(wrong(Code::DocumentCheck)),
    }
}

/// A number of fifteen digits, as they were until 1999, in its form of today: `19` for the
/// century, and the one check digit that fits.
fn upgraded(number: &str, today: NaiveDate) -> Option<String> {
    let is_old = number.len() == OLD_RESIDENT_CHARS && number.bytes().all(|b| b.is_ascii_digit());
    if !is_old {
        return None;
    }
    let body = format!("{}19{}", &number[..6], &number[6..]);
    "0123456789X"
        .chars()
        .map(|check| format!("{body}{check}"))
        .find(|number| ResidentNumber::parse(number, today).is_ok())
}

/// The same with signs that look like digits as the digits they look like; `None` if there are
/// none.
fn similar(text: &str) -> Option<String> {
    let repaired: String = text
        .chars()
        .map(|c| match c {
            'O' | 'o' | '〇' | 'О' | 'о' => '0',
            'I' | 'l' | 'L' | '|' | 'i' => '1',
            '×' | 'Х' | 'х' | '*' | 'Ⅹ' | 'ⅹ' => 'X',
            c => c,
        })
        .collect();
    (repaired != text).then_some(repaired)
}

/// What the column of types says.
enum Given {
    Kind(DocumentKind),
    /// 网号: verified by the national service, without a number that may be kept.
    Online,
    Missing,
    Unknown,
}

/// The names of a type of document in both languages, as our files write them.
pub const fn kind_name(kind: DocumentKind) -> (&'static str, &'static str) {
    match kind {
        DocumentKind::ResidentId => ("居民身份证", "Resident ID"),
        DocumentKind::ResidencePermit => ("港澳台居民居住证", "Residence permit"),
        DocumentKind::Passport => ("中国护照", "Passport of China"),
        DocumentKind::HomeReturnPermit => ("港澳居民来往内地通行证", "Home return permit"),
        DocumentKind::TaiwanTravelPermit => ("台湾居民来往大陆通行证", "Taiwan travel permit"),
        DocumentKind::PermanentResidence => ("外国人永久居留身份证", "Permanent residence"),
        DocumentKind::ForeignPassport => ("外国护照", "Foreign passport"),
    }
}

/// Other names of types.
const OTHER_NAMES: [(&str, DocumentKind); 16] = [
    ("身份证", DocumentKind::ResidentId),
    ("二代身份证", DocumentKind::ResidentId),
    ("第二代居民身份证", DocumentKind::ResidentId),
    ("idcard", DocumentKind::ResidentId),
    ("居住证", DocumentKind::ResidencePermit),
    ("港澳居民居住证", DocumentKind::ResidencePermit),
    ("台湾居民居住证", DocumentKind::ResidencePermit),
    ("护照", DocumentKind::Passport),
    ("因私普通护照", DocumentKind::Passport),
    ("passport", DocumentKind::Passport),
    ("回乡证", DocumentKind::HomeReturnPermit),
    ("港澳通行证", DocumentKind::HomeReturnPermit),
    ("港澳居民通行证", DocumentKind::HomeReturnPermit),
    ("台胞证", DocumentKind::TaiwanTravelPermit),
    ("永居证", DocumentKind::PermanentResidence),
    ("外国人永久居留证", DocumentKind::PermanentResidence),
];
/// What 网号 may be called.
const ONLINE_NAMES: [&str; 5] = [
    "网号",
    "网证",
    "国家网络身份认证",
    "网络身份认证",
    "onlineid",
];

fn kind(text: &str) -> Given {
    let plain = plain(text);
    if plain.is_empty() {
        return Given::Missing;
    }
    if ONLINE_NAMES.contains(&plain.as_str()) {
        return Given::Online;
    }
    let ours = DocumentKind::ALL.into_iter().find(|kind| {
        let (zh, en) = kind_name(*kind);
        zh == plain || en.replace(' ', "").to_lowercase() == plain
    });
    let other = || {
        let named = OTHER_NAMES.iter().find(|(name, _)| *name == plain);
        named.map(|(_, kind)| *kind)
    };
    ours.or_else(other).map_or(Given::Unknown, Given::Kind)
}

/// The one type of which this can be a number, foreign passports aside: of those anything is one.
fn only_kind(number: &str, today: NaiveDate) -> Option<DocumentKind> {
    let mut fitting = DocumentKind::ALL.into_iter().filter(|kind| {
        *kind != DocumentKind::ForeignPassport && Document::parse(*kind, number, today).is_ok()
    });
    let one = fitting.next()?;
    fitting.next().is_none().then_some(one)
}

/// What in a row must be in no other.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Unique {
    Document(u8, String),
    Phone(String),
}

/// Marks each row whose document or phone stands in a row before it: in the order of `rows`.
pub fn mark_repeated(rows: &mut [Judged]) {
    let mut first: HashMap<Unique, u32> = HashMap::new();
    for judged in rows {
        let Ok(person) = &judged.person else { continue };
        let document = person.document.as_ref().map(|it| {
            let unique = Unique::Document(it.kind().code(), it.number().to_owned());
            (unique, Column::DocumentNumber)
        });
        let phone = person.phone.as_ref().map(|it| {
            let unique = Unique::Phone(it.as_str().to_owned());
            (unique, Column::Phone)
        });
        let row = judged.row;
        let mut findings = Vec::new();
        for (unique, column) in document.into_iter().chain(phone) {
            let before = *first.entry(unique).or_insert(row);
            if before != row {
                let mut finding = Finding::new(Code::PersonRepeated, column);
                finding.other_row = Some(before);
                findings.push(finding);
            }
        }
        if !findings.is_empty() {
            judged.person = Err(findings);
        }
    }
}
