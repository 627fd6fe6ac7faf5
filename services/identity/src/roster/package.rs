//! What must be known of an xlsx before anything builds a workbook of it.
//!
//! Each part is inflated once and counted while it comes, since a zip's own figures are its
//! author's. Each XML part is walked once: a part that declares more than it has (calamine 0.38
//! reserves memory for the `uniqueCount` that a file claims, whatever it is), that defines its
//! own entities, or whose tags are without end is refused here. What the walk meets of hidden
//! rows and merged cells is kept, since the rows are judged by it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::result::ZipError;

use super::problem::Problem;

/// Parts of a workbook, at most.
pub const PARTS_MAX: usize = 500;
/// Bytes of all parts together once inflated, at most.
pub const INFLATED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of the attributes of one tag, at most.
pub const ATTRIBUTES_BYTES_MAX: usize = 16 * 1024;
/// Tags of all parts together, at most.
pub const TAGS_MAX: usize = 2_000_000;
/// Texts that a workbook may share between its cells, at most.
pub const SHARED_TEXTS_MAX: usize = 300_000;
/// Merged cells of one sheet, at most.
pub const MERGES_MAX: usize = 5_000;

const CONTENT_TYPES: &str = "[content_types].xml";
const WORKBOOK: &str = "xl/workbook.xml";
const WORKBOOK_RELATIONS: &str = "xl/_rels/workbook.xml.rels";

/// What the walk found in one sheet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SheetMarks {
    /// Rows, from one.
    pub hidden: BTreeSet<u32>,
    /// First and last cell of each merged one as (row from one, column from zero).
    pub merged: Vec<((u32, u32), (u32, u32))>,
}

/// A package that was walked.
#[derive(Debug, Default)]
pub struct Checked {
    /// The marks of each part that is a sheet, by its path.
    parts: BTreeMap<String, SheetMarks>,
    /// The relation of each sheet, in the order of the workbook.
    sheets: Vec<String>,
    /// The path behind each relation of the workbook.
    targets: BTreeMap<String, String>,
}

impl Checked {
    /// The marks of the sheet at this place of the workbook.
    ///
    /// # Errors
    /// When it leads to no part that was walked as a sheet.
    pub fn sheet(&self, at: usize) -> Result<&SheetMarks, Problem> {
        self.sheets
            .get(at)
            .and_then(|relation| self.targets.get(relation))
            .and_then(|path| self.parts.get(path))
            .ok_or(Problem::Unreadable)
    }
}

/// Walks a whole package.
///
/// # Errors
/// Why it must not be opened.
pub fn check(bytes: &[u8]) -> Result<Checked, Problem> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    if archive.len() > PARTS_MAX {
        return Err(Problem::TooManyParts);
    }
    let mut walk = Walk {
        inflated: INFLATED_BYTES_MAX,
        tags: TAGS_MAX,
        ..Walk::default()
    };
    let mut names = BTreeSet::new();
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).map_err(|error| damaged(&error))?;
        if part.encrypted() {
            return Err(Problem::Encrypted);
        }
        let name = part.name().map_err(|error| damaged(&error))?;
        // Readers forgive case and backslashes, so two parts that differ in those only would be
        // one to one reader and another to the next.
        let name = name.replace('\\', "/").to_ascii_lowercase();
        forbidden(&name)?;
        if !names.insert(name.clone()) {
            return Err(Problem::Unreadable);
        }
        let content = walk.inflate(&mut part)?;
        if is_read(&name) {
            walk.xml(&name, &content)?;
        }
    }
    if !names.contains(CONTENT_TYPES) || !names.contains(WORKBOOK) {
        return Err(Problem::NotATable);
    }
    Ok(walk.checked)
}

fn damaged(error: &ZipError) -> Problem {
    let password = ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED);
    if error.to_string() == password.to_string() {
        Problem::Encrypted
    } else {
        Problem::Unreadable
    }
}

/// Whether a reader of workbooks ever looks into a part. Others (comments' drawings, what document
/// systems add) are counted and left alone: not all programs write those well.
fn is_read(name: &str) -> bool {
    let is_xml = name.ends_with(".xml") || name.ends_with(".rels");
    is_xml && (name.starts_with("xl/") || name.starts_with("_rels/") || name == CONTENT_TYPES)
}

/// Parts that run, or that fetch something.
fn forbidden(name: &str) -> Result<(), Problem> {
    let has = |part: &str| name.contains(part);
    if has("vbaproject") || has("xl/macrosheets/") || has("activex") {
        return Err(Problem::Macros);
    }
    let fetches = ["xl/externallinks/", "xl/connections.xml", "xl/querytables/"];
    if fetches.into_iter().any(has) || has("xl/embeddings/") {
        return Err(Problem::ExternalLinks);
    }
    Ok(())
}

#[derive(Default)]
struct Walk {
    /// What is left of each limit.
    inflated: u64,
    tags: usize,
    checked: Checked,
}

impl Walk {
    fn inflate(&mut self, part: &mut impl Read) -> Result<Vec<u8>, Problem> {
        let mut content = Vec::new();
        let read = part
            .take(self.inflated + 1)
            .read_to_end(&mut content)
            .map_err(|_| Problem::Unreadable)?;
        self.inflated = self
            .inflated
            .checked_sub(read as u64)
            .ok_or(Problem::Inflates)?;
        Ok(content)
    }

    fn xml(&mut self, name: &str, content: &[u8]) -> Result<(), Problem> {
        let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
        // Excel, WPS and LibreOffice write UTF-8. Anything else could read otherwise elsewhere.
        let text = std::str::from_utf8(content).map_err(|_| Problem::Unreadable)?;
        let is_sheet = name.starts_with("xl/worksheets/") && name.ends_with(".xml");
        let mut marks = SheetMarks::default();
        let mut reader = Reader::from_str(text);
        let (mut shared, mut row) = (0, 0);
        loop {
            let tag = match reader.read_event().map_err(|_| Problem::Unreadable)? {
                Event::Eof => break,
                Event::DocType(_) => return Err(Problem::DocumentType),
                Event::Decl(declaration) => {
                    let encoding = declaration.encoding();
                    let other = |it: &str| !it.eq_ignore_ascii_case("utf-8");
                    if encoding.is_some_and(|it| it.is_ok_and(|it| other(&it))) {
                        return Err(Problem::Unreadable);
                    }
                    continue;
                }
                Event::Start(tag) | Event::Empty(tag) => tag,
                Event::End(_)
                | Event::Text(_)
                | Event::CData(_)
                | Event::Comment(_)
                | Event::PI(_)
                | Event::GeneralRef(_) => continue,
            };
            self.tags = self.tags.checked_sub(1).ok_or(Problem::Inflates)?;
            if tag.attributes_raw().len() > ATTRIBUTES_BYTES_MAX {
                return Err(Problem::Unreadable);
            }
            match tag.local_name().as_ref() {
                "si" => shared += 1,
                "sst" => claims(&tag)?,
                "Relationship" => self.checked.relationship(name, &tag)?,
                "sheet" if name == WORKBOOK => self.checked.sheets.push(id_of(&tag)?),
                "Override" | "Default" => content_type(&tag)?,
                "row" if is_sheet => marks.row(&tag, &mut row)?,
                "mergeCell" if is_sheet => marks.merge(&tag)?,
                _ => {}
            }
            if shared > SHARED_TEXTS_MAX {
                return Err(Problem::Inflates);
            }
        }
        if is_sheet {
            self.checked.parts.insert(name.to_owned(), marks);
        }
        Ok(())
    }
}

impl Checked {
    fn relationship(&mut self, part: &str, tag: &BytesStart<'_>) -> Result<(), Problem> {
        let kind = value(tag, "Type")?.unwrap_or_default();
        let target = value(tag, "Target")?.unwrap_or_default();
        // A link that somebody must click fetches nothing by itself.
        let is_link = kind.ends_with("/hyperlink");
        if value(tag, "TargetMode")?.as_deref() == Some("External") && !is_link {
            return Err(Problem::ExternalLinks);
        }
        if kind.ends_with("/officeDocument") && target.trim_start_matches('/') != WORKBOOK {
            return Err(Problem::Unreadable);
        }
        if part == WORKBOOK_RELATIONS {
            let path = match target.strip_prefix('/') {
                Some(absolute) => absolute.to_ascii_lowercase(),
                None => format!("xl/{target}").to_ascii_lowercase(),
            };
            let id = value(tag, "Id")?.unwrap_or_default();
            self.targets.insert(id, path);
        }
        Ok(())
    }
}

impl SheetMarks {
    fn row(&mut self, tag: &BytesStart<'_>, last: &mut u32) -> Result<(), Problem> {
        *last = match value(tag, "r")? {
            Some(number) => number.parse().map_err(|_| Problem::Unreadable)?,
            None => last.saturating_add(1),
        };
        if matches!(value(tag, "hidden")?.as_deref(), Some("1" | "true")) {
            self.hidden.insert(*last);
        }
        Ok(())
    }

    fn merge(&mut self, tag: &BytesStart<'_>) -> Result<(), Problem> {
        let range = value(tag, "ref")?.ok_or(Problem::Unreadable)?;
        let (first, last) = range.split_once(':').unwrap_or((&range, &range));
        let place = |text: &str| place_of(text).ok_or(Problem::Unreadable);
        self.merged.push((place(first)?, place(last)?));
        if self.merged.len() > MERGES_MAX {
            return Err(Problem::TooManyParts);
        }
        Ok(())
    }

    /// Whether the cell is covered by a merged one that begins in a row above.
    pub fn is_covered(&self, row: u32, column: u32) -> bool {
        self.merged.iter().any(|(first, last)| {
            first.0 < row && row <= last.0 && (first.1..=last.1).contains(&column)
        })
    }
}

/// `B3` as (3, 1).
fn place_of(text: &str) -> Option<(u32, u32)> {
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let (letters, row) = text.split_at(digits);
    let mut column = 0_u32;
    for letter in letters.bytes() {
        if !letter.is_ascii_uppercase() {
            return None;
        }
        column = column
            .checked_mul(26)?
            .checked_add(u32::from(letter - b'A') + 1)?;
    }
    Some((row.parse().ok()?, column.checked_sub(1)?))
}

/// The relation of a sheet: an `id` of any prefix, while `sheetId` is another thing.
fn id_of(tag: &BytesStart<'_>) -> Result<String, Problem> {
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| Problem::Unreadable)?;
        if attribute.key.local_name().as_ref() == "id" {
            return Ok(attribute.value.into_owned());
        }
    }
    Err(Problem::Unreadable)
}

/// How much is shared is counted by what is there. Who claims more would have a reader reserve
/// the memory for it.
fn claims(tag: &BytesStart<'_>) -> Result<(), Problem> {
    let Some(claimed) = value(tag, "uniqueCount")? else {
        return Ok(());
    };
    match claimed.parse::<usize>() {
        Ok(claimed) if claimed <= SHARED_TEXTS_MAX => Ok(()),
        _ => Err(Problem::Inflates),
    }
}

fn content_type(tag: &BytesStart<'_>) -> Result<(), Problem> {
    let kind = value(tag, "ContentType")?.unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    if kind.contains("macroenabled") || kind.contains("vbaproject") {
        return Err(Problem::Macros);
    }
    if kind.contains("externallink") {
        return Err(Problem::ExternalLinks);
    }
    Ok(())
}

fn value(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Problem> {
    let attribute = tag
        .try_get_attribute(name)
        .map_err(|_| Problem::Unreadable)?;
    Ok(attribute.map(|attribute| attribute.value.into_owned()))
}
