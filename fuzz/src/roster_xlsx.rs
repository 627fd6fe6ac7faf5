//! A roster as a workbook: what is read keeps its limits and survives our own file, and nothing
//! that a package claims of itself is believed.
//!
//! An input is a whole package, or one part of a good one in words: its name after a number, a
//! line's end, and its content as often as the number says. Bytes of a package that is packed are
//! hardly ever changed to anything but a damaged one.

use std::io::{Cursor, Write};

use identity::roster::{FILE_BYTES_MAX, read};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::Verdict;
use crate::roster::holds;

/// The name that stands for rows below the good one of the sheet.
const ROWS: &str = "rows";
const SHEET: &str = "xl/worksheets/sheet1.xml";
/// A part that is repeated is cut here.
const PART_BYTES_MAX: usize = FILE_BYTES_MAX / 2;

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";

/// Reads `bytes` as a package, or as a part of one.
pub fn check(bytes: &[u8]) -> Verdict {
    let package = if bytes.starts_with(b"PK") {
        bytes.to_vec()
    } else {
        package(bytes)
    };
    Verdict::of(holds(&read(&package)))
}

/// A good workbook with the part that is told.
fn package(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, content) = bytes.split_at(end.unwrap_or(bytes.len()));
    let content = content.strip_prefix(b"\n").unwrap_or(content);
    let line = String::from_utf8_lossy(line);
    let (times, name) = line.split_once(' ').unwrap_or(("1", &*line));
    let times: usize = times.parse().unwrap_or(1);
    let times_max = PART_BYTES_MAX / content.len().max(1);
    let content = content.repeat(times.min(times_max));
    let mut all = parts();
    let told = if name == ROWS {
        (SHEET.to_owned(), sheet(&content))
    } else {
        (name.to_owned(), content)
    };
    all.retain(|(known, _)| *known != told.0);
    all.push(told);
    zipped(&all)
}

fn zipped(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        let begun = writer.start_file(name, SimpleFileOptions::default());
        // A name that no package can have: the others are read without it.
        if begun.is_ok() {
            writer.write_all(content).expect("memory takes everything");
        }
    }
    let written = writer.finish().expect("memory takes everything");
    written.into_inner()
}

/// The parts of a workbook with one good row.
fn parts() -> Vec<(String, Vec<u8>)> {
    let part = |name: &str, text: String| (name.to_owned(), text.into_bytes());
    vec![
        part(
            "[Content_Types].xml",
            format!(
                "<Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"xml\" \
                 ContentType=\"application/xml\"/></Types>"
            ),
        ),
        part(
            "_rels/.rels",
            format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"r\" \
                 Type=\"{OFFICE}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        ),
        part(
            "xl/workbook.xml",
            format!(
                "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><workbookPr/><sheets>\
                 <sheet name=\"S\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
            ),
        ),
        part(
            "xl/_rels/workbook.xml.rels",
            format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"r1\" \
                 Type=\"{OFFICE}/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>"
            ),
        ),
        (SHEET.to_owned(), sheet(b"")),
    ]
}

/// A sheet with one good row, and these below it.
fn sheet(rows: &[u8]) -> Vec<u8> {
    let head = format!(
        "<worksheet xmlns=\"{MAIN}\"><sheetData>{}{}",
        row(1, ["姓名", "手机"]),
        row(2, ["张三", "13812345678"])
    );
    [head.as_bytes(), rows, b"</sheetData></worksheet>"].concat()
}

fn row(number: u32, [name, phone]: [&str; 2]) -> String {
    let cell = |letter: char, text: &str| {
        format!("<c r=\"{letter}{number}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
    };
    format!(
        "<row r=\"{number}\">{}{}</row>",
        cell('A', name),
        cell('B', phone)
    )
}
