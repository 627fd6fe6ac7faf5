//! Tables as workbooks: the first visible sheet, cell by cell, after the package was checked.

use std::io::Cursor;

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx};

use super::package::{self, SheetMarks};
use super::problem::Problem;
use super::table::{Cell, Collector, Table};

/// # Errors
/// Why it cannot be read.
pub fn read(bytes: &[u8]) -> Result<Table, Problem> {
    let checked = package::check(bytes)?;
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(|_| Problem::Unreadable)?;
    let sheets = workbook.sheets_metadata().to_vec();
    let visible = sheets.iter().enumerate().find(|(_, sheet)| {
        sheet.visible == SheetVisible::Visible && sheet.typ == SheetType::WorkSheet
    });
    let (at, sheet) = visible.ok_or(Problem::HeaderNotFound)?;
    let marks = checked.sheet(at)?;
    let mut cells = workbook
        .worksheet_cells_reader(&sheet.name)
        .map_err(|_| Problem::Unreadable)?;
    let mut collector = Collector::default();
    while let Some(cell) = cells.next_cell().map_err(|_| Problem::Unreadable)? {
        let (row, column) = cell.get_position();
        let value = match cell.get_value() {
            DataRef::Empty => continue,
            DataRef::Int(number) => Cell::text(&number.to_string()),
            DataRef::Float(number) => Cell::Number(*number),
            DataRef::String(text) => Cell::text(text),
            DataRef::SharedString(text) => Cell::text(text),
            DataRef::DateTime(date) => Cell::Date(iso(*date)),
            DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
                Cell::Date(text.chars().take(super::CELL_CHARS_MAX).collect())
            }
            DataRef::Bool(_) | DataRef::Error(_) => Cell::Broken,
        };
        collector.put(row.saturating_add(1), column, value)?;
    }
    let mut table = collector.finish()?;
    mark(&mut table, marks);
    Ok(table)
}

fn mark(table: &mut Table, marks: &SheetMarks) {
    for row in &mut table.rows {
        row.hidden = marks.hidden.contains(&row.number);
        for (at, column) in table.header.places() {
            if marks.is_covered(row.number, at) {
                row.merged.push(column);
            }
        }
    }
}

/// A date of either epoch (1900 or 1904) as ISO 8601; the time of day says nothing here.
fn iso(date: ExcelDateTime) -> String {
    let (year, month, day, ..) = date.to_ymd_hms_milli();
    format!("{year:04}-{month:02}-{day:02}")
}
