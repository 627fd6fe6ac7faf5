//! Files that must not be read, each refused by its own name; and that nothing made of bytes
//! makes a reader panic.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::header::Column;
use super::package::{
    ATTRIBUTES_BYTES_MAX, INFLATED_BYTES_MAX, MERGES_MAX, PARTS_MAX, SHARED_TEXTS_MAX,
};
use super::problem::Problem;
use super::table::Cell;
use super::{FILE_BYTES_MAX, read};

const CONTENT_TYPES: &str = "[Content_Types].xml";
const RELATIONS: &str = "_rels/.rels";
const WORKBOOK: &str = "xl/workbook.xml";
const WORKBOOK_RELATIONS: &str = "xl/_rels/workbook.xml.rels";
const SHEET: &str = "xl/worksheets/sheet1.xml";
const SHARED: &str = "xl/sharedStrings.xml";
const STYLES: &str = "xl/styles.xml";

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";

/// The parts of a workbook with one good row, as text by name.
fn parts() -> Vec<(String, Vec<u8>)> {
    let part = |name: &str, text: String| (name.to_owned(), text.into_bytes());
    vec![
        part(
            CONTENT_TYPES,
            format!(
                "<Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"xml\" \
                 ContentType=\"application/xml\"/></Types>"
            ),
        ),
        part(
            RELATIONS,
            format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"r\" \
                 Type=\"{OFFICE}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        ),
        part(
            WORKBOOK,
            format!(
                "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><workbookPr/><sheets>\
                 <sheet name=\"S\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
            ),
        ),
        part(
            WORKBOOK_RELATIONS,
            format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"r1\" \
                 Type=\"{OFFICE}/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>"
            ),
        ),
        part(SHEET, sheet("", "")),
    ]
}

/// A sheet with one good row, then these rows, and this behind its rows.
fn sheet(rows: &str, tail: &str) -> String {
    format!(
        "<worksheet xmlns=\"{MAIN}\"><sheetData>{}{}{rows}</sheetData>{tail}</worksheet>",
        row(1, &["姓名", "手机"]),
        row(2, &["张三", "13812345678"])
    )
}

fn row(number: u32, texts: &[&str]) -> String {
    let mut cells = String::new();
    for (letter, text) in ('A'..='Z').zip(texts) {
        cells += &format!("<c r=\"{letter}{number}\" t=\"inlineStr\"><is><t>{text}</t></is></c>");
    }
    format!("<row r=\"{number}\">{cells}</row>")
}

fn zipped(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        writer
            .start_file(name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A good workbook with these parts added, or in place of its own.
fn workbook(changed: &[(&str, &str)]) -> Vec<u8> {
    let mut all = parts();
    for (name, content) in changed {
        let content = content.as_bytes().to_vec();
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = content,
            None => all.push(((*name).to_owned(), content)),
        }
    }
    zipped(&all)
}

#[track_caller]
fn refused(changed: &[(&str, &str)], problem: Problem) {
    assert_eq!(read(&workbook(changed)), Err(problem));
}

/// All that the others refuse is this file with one thing changed.
#[test]
fn the_plain_file_is_read() {
    let table = read(&workbook(&[])).unwrap();
    assert_eq!(table.rows.len(), 1);
    let name = table.rows[0].cell(Column::Name);
    assert_eq!(name, Some(&Cell::text("张三")));
}

/// A part that unpacks without end stops at the limit, whatever its headers claim.
/// ASVS V5.2.3.
#[test]
fn a_bomb_is_counted_while_it_unpacks() {
    let large = vec![b' '; usize::try_from(INFLATED_BYTES_MAX).unwrap() + 1];
    let mut all = parts();
    all.push(("xl/media/large.bin".to_owned(), large));
    let bytes = zipped(&all);
    assert!(bytes.len() < 1024 * 1024, "{}", bytes.len());
    assert_eq!(read(&bytes), Err(Problem::Inflates));

    // Both headers of the part say that ten bytes come out of it.
    let size = (u32::try_from(INFLATED_BYTES_MAX).unwrap() + 1).to_le_bytes();
    let mut lying = bytes;
    let mut patched = 0;
    for at in 0..lying.len() - 4 {
        if lying[at..at + 4] == size {
            lying[at..at + 4].copy_from_slice(&10_u32.to_le_bytes());
            patched += 1;
        }
    }
    assert_eq!(patched, 2);
    assert!(matches!(
        read(&lying),
        Err(Problem::Inflates | Problem::Unreadable)
    ));
}

/// ASVS V5.2.1.
#[test]
fn many_parts_and_large_files_are_refused_unread() {
    let mut all = parts();
    for at in 0..PARTS_MAX {
        all.push((format!("xl/media/{at}.bin"), Vec::new()));
    }
    assert_eq!(read(&zipped(&all)), Err(Problem::TooManyParts));
    assert_eq!(
        read(&vec![b'a'; FILE_BYTES_MAX + 1]),
        Err(Problem::TooLarge)
    );
    assert_eq!(read(b""), Err(Problem::Empty));
}

/// RUSTSEC-2026-0194 and 0195: attributes and namespaces without end, on a sheet that is read
/// with a few of them.
#[test]
fn tags_without_end_are_refused() {
    for attribute in ["a", "xmlns:a"] {
        let with = |bytes: usize| {
            let mut tag = String::from("<worksheet");
            let mut at = 0;
            while tag.len() <= bytes {
                tag += &format!(" {attribute}{at}=\"\"");
                at += 1;
            }
            sheet("", "").replacen("<worksheet", &tag, 1)
        };
        assert!(read(&workbook(&[(SHEET, &with(ATTRIBUTES_BYTES_MAX / 2))])).is_ok());
        let endless = with(ATTRIBUTES_BYTES_MAX + 20);
        refused(&[(SHEET, &endless)], Problem::Unreadable);
    }
}

/// calamine 0.38 reserves memory for as many texts as a file says it shares: a process that
/// believed this one would be ended for want of 24 TB.
#[test]
fn a_claim_of_many_texts_is_not_believed() {
    let claim = |count: &str| format!("<sst xmlns=\"{MAIN}\" uniqueCount=\"{count}\"></sst>");
    for count in ["1000000000000", "99999999999999999999", "-1", "many"] {
        refused(&[(SHARED, &claim(count))], Problem::Inflates);
    }
    assert!(read(&workbook(&[(SHARED, &claim("0"))])).is_ok());
    let texts = "<si/>".repeat(SHARED_TEXTS_MAX + 1);
    let shared = format!("<sst xmlns=\"{MAIN}\">{texts}</sst>");
    refused(&[(SHARED, &shared)], Problem::Inflates);
}

/// ASVS V1.3.6, V5.3.1.
#[test]
fn what_runs_or_fetches_is_refused() {
    let types = |kind: &str| {
        format!("<Types><Override PartName=\"/xl/workbook.xml\" ContentType=\"{kind}\"/></Types>")
    };
    let macros = types("application/vnd.ms-excel.sheet.macroEnabled.main+xml");
    for changed in [
        ("xl/vbaProject.bin", "x"),
        ("XL/VBAPROJECT.BIN", "x"),
        ("xl/macrosheets/sheet1.xml", "<x/>"),
        ("xl/activeX/activeX1.xml", "<x/>"),
        (CONTENT_TYPES, &macros),
    ] {
        refused(&[changed], Problem::Macros);
    }
    let relation = |kind: &str| {
        format!(
            "<Relationships><Relationship Id=\"r\" Type=\"{OFFICE}/{kind}\" \
             Target=\"http://127.0.0.1/\" TargetMode=\"External\"/></Relationships>"
        )
    };
    let (image, link) = (relation("image"), relation("hyperlink"));
    let sheet_relations = "xl/worksheets/_rels/sheet1.xml.rels";
    for changed in [
        ("xl/externalLinks/externalLink1.xml", "<x/>"),
        ("xl/connections.xml", "<x/>"),
        ("xl/queryTables/queryTable1.xml", "<x/>"),
        ("xl/embeddings/oleObject1.bin", "x"),
        (sheet_relations, &image),
    ] {
        refused(&[changed], Problem::ExternalLinks);
    }
    assert!(read(&workbook(&[(sheet_relations, &link)])).is_ok());
}

/// ASVS V1.5.1.
#[test]
fn definitions_and_other_encodings_are_refused() {
    let dtd = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>";
    for part in [SHEET, SHARED, WORKBOOK, RELATIONS, STYLES] {
        refused(
            &[(part, &format!("{dtd}<x>&b;</x>"))],
            Problem::DocumentType,
        );
    }
    let declared = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?>{}",
        sheet("", "")
    );
    refused(&[(SHEET, &declared)], Problem::Unreadable);
    let mut all = parts();
    let utf16 = format!("\u{FEFF}{dtd}{}", sheet("", ""));
    all[4].1 = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read(&zipped(&all)), Err(Problem::Unreadable));
}

/// One reader would see one part, another the other.
#[test]
fn parts_of_two_meanings_are_refused() {
    for other in ["XL/worksheets/SHEET1.xml", "xl\\worksheets\\sheet1.xml"] {
        let evil = sheet(&row(3, &["李四", "13912345678"]), "");
        refused(&[(other, &evil)], Problem::Unreadable);
    }
    let relations = |target: &str| {
        format!(
            "<Relationships><Relationship Id=\"r\" Type=\"{OFFICE}/officeDocument\" \
             Target=\"{target}\"/></Relationships>"
        )
    };
    refused(
        &[(RELATIONS, &relations("evil/workbook.xml"))],
        Problem::Unreadable,
    );
    let sheets = |target: &str| {
        format!(
            "<Relationships><Relationship Id=\"r1\" Type=\"{OFFICE}/worksheet\" \
             Target=\"{target}\"/></Relationships>"
        )
    };
    let hidden = sheets("worksheets/sheet1.bin");
    let changed = [
        (WORKBOOK_RELATIONS, hidden.as_str()),
        ("xl/worksheets/sheet1.bin", "<x/>"),
    ];
    assert!(read(&workbook(&changed)).is_err());
}

#[test]
fn far_columns_are_refused_and_far_empty_rows_are_not() {
    let far = "<row r=\"3\"><c r=\"XFD3\" t=\"inlineStr\"><is><t>x</t></is></c></row>";
    refused(&[(SHEET, &sheet(far, ""))], Problem::TooManyColumns);
    // A whole column that was once coloured: rows without end and nothing in them.
    let mut empty = String::new();
    for number in 3..50_000 {
        empty += &format!("<row r=\"{number}\"><c r=\"A{number}\" s=\"1\"/></row>");
    }
    empty += &row(1_048_576, &["李四", "13912345678"]);
    let table = read(&workbook(&[(SHEET, &sheet(&empty, ""))])).unwrap();
    let numbers: Vec<u32> = table.rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, [2, 1_048_576]);
    let backwards = row(1, &["李四", "13912345678"]);
    refused(&[(SHEET, &sheet(&backwards, ""))], Problem::Unreadable);
}

#[test]
fn merged_cells_without_end_are_refused() {
    let merge = "<mergeCell ref=\"A1:B1\"/>".repeat(MERGES_MAX + 1);
    let tail = format!("<mergeCells>{merge}</mergeCells>");
    refused(&[(SHEET, &sheet("", &tail))], Problem::TooManyParts);
    for bad in ["", "1A", "A", "A99999999999", "ZZZZZZZZZ1", "A1:"] {
        let tail = format!("<mergeCells><mergeCell ref=\"{bad}\"/></mergeCells>");
        refused(&[(SHEET, &sheet("", &tail))], Problem::Unreadable);
    }
}

/// Old and protected files are told apart, whatever they are called.
#[test]
fn old_and_protected_files_are_told_apart() {
    let mut compound = super::COMPOUND_MAGIC.to_vec();
    compound.extend_from_slice(&[0; 504]);
    let mut protected = compound.clone();
    compound.extend("Workbook".encode_utf16().flat_map(u16::to_le_bytes));
    protected.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(read(&compound), Err(Problem::OldFormat));
    assert_eq!(read(&protected), Err(Problem::Encrypted));
    // The flag "encrypted" of every part, in both of its headers.
    let mut bytes = workbook(&[]);
    for at in 0..bytes.len() - 10 {
        match &bytes[at..at + 4] {
            b"PK\x03\x04" => bytes[at + 6] |= 1,
            b"PK\x01\x02" => bytes[at + 8] |= 1,
            _ => {}
        }
    }
    assert_eq!(read(&bytes), Err(Problem::Encrypted));
}

/// ASVS V5.2.2.
#[test]
fn other_packages_are_no_tables() {
    let text = [("word/document.xml".to_owned(), b"<x/>".to_vec())];
    assert_eq!(read(&zipped(&text)), Err(Problem::NotATable));
    assert_eq!(read(b"PK\x03\x04"), Err(Problem::Unreadable));
}

/// Tags of a sheet in no order.
const TAGS: &str = "<(row|c|v|is|t|f)( (r|s|t|si)=\"[A-Z]{0,3}[0-9]{0,7}\"){0,2}/?>\
                    |</(row|c|v|is|t)>|[0-9E+.]{1,5}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Cut short or with bytes changed, a workbook is read or refused.
    #[test]
    fn a_damaged_workbook_never_panics(
        cut in 0_usize..4_000,
        changes in proptest::collection::vec((0_usize..4_000, any::<u8>()), 0..6),
    ) {
        let mut bytes = workbook(&[]);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if cut < 1_000 {
            bytes.truncate(cut % bytes.len());
        }
        let _ = read(&bytes);
    }

    /// With bytes of one part changed before it was packed, so that only its own content is wrong.
    #[test]
    fn a_damaged_part_never_panics(
        part in 0_usize..5,
        changes in proptest::collection::vec((0_usize..2_000, "[<>/\"=a-z0-9!& -]"), 1..5),
    ) {
        let mut all = parts();
        let content = &mut all[part].1;
        for (at, byte) in changes {
            let at = at % content.len();
            content[at] = byte.as_bytes()[0];
        }
        let _ = read(&zipped(&all));
    }

    /// A sheet of any tags is read or refused.
    #[test]
    fn a_made_up_sheet_never_panics(
        tags in proptest::collection::vec(TAGS, 0..30),
    ) {
        let _ = read(&workbook(&[(SHEET, &sheet(&tags.concat(), ""))]));
    }

    /// Text of any bytes is read or refused.
    #[test]
    fn made_up_text_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let mut named = "姓名,手机\n".as_bytes().to_vec();
        named.extend(bytes);
        let _ = read(&named);
    }
}

/// Cells of a date in either epoch, by the same number.
#[test]
fn dates_of_both_epochs_are_dates() {
    let styles = format!(
        "<styleSheet xmlns=\"{MAIN}\"><cellXfs count=\"2\"><xf numFmtId=\"0\"/>\
         <xf numFmtId=\"14\" applyNumberFormat=\"1\"/></cellXfs></styleSheet>"
    );
    let dated = "<row r=\"3\"><c r=\"A3\" t=\"inlineStr\"><is><t>李四</t></is></c>\
                 <c r=\"B3\" s=\"1\"><v>45000</v></c></row>";
    for (epoch, date) in [("0", "2023-03-15"), ("1", "2027-03-16")] {
        let book = String::from_utf8(parts()[2].1.clone()).unwrap();
        let book = book.replace(
            "<workbookPr/>",
            &format!("<workbookPr date1904=\"{epoch}\"/>"),
        );
        let changed = [
            (WORKBOOK, book.as_str()),
            (STYLES, &styles),
            (SHEET, &sheet(dated, "")),
        ];
        let table = read(&workbook(&changed)).unwrap();
        let phone = table.rows[1].cell(Column::Phone);
        assert_eq!(phone, Some(&Cell::Date(date.to_owned())), "epoch {epoch}");
    }
}
