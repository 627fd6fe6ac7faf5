//! What holds of a roster that was read, whatever file it came from.

use chrono::NaiveDate;
use identity::roster::judge::judge;
use identity::roster::table::Cell;
use identity::roster::write::{BadRow, bad_rows};
use identity::roster::{
    CELL_CHARS_MAX, COLUMNS_MAX, Column, Problem, ROWS_MAX, SheetRow, Table, read,
};
use kit::graphql::Language;

use crate::now;

/// What was read keeps its limits and survives our own file; what was not is refused by name.
pub(crate) fn holds(read: &Result<Table, Problem>) -> bool {
    match read {
        Ok(table) => {
            within_limits(table);
            survives(table);
            true
        }
        Err(problem) => {
            assert_eq!(Problem::from_code(problem.code()), Some(*problem));
            false
        }
    }
}

fn within_limits(table: &Table) {
    assert!((1..=ROWS_MAX).contains(&table.rows.len()));
    let rising = |pair: &[SheetRow]| pair[0].number < pair[1].number;
    assert!(table.rows.windows(2).all(rising), "rows out of order");
    assert!(table.header.places().all(|(at, _)| at < COLUMNS_MAX));
    for row in &table.rows {
        assert!(row.cells.len() <= Column::ALL.len());
        for (column, cell) in &row.cells {
            assert!(table.header.has(*column), "{column:?} of no header");
            if let Cell::Text(text) | Cell::Date(text) = cell {
                assert!(text.chars().count() <= CELL_CHARS_MAX + 1);
            }
        }
    }
}

/// Written as rows to correct, all rows are read again as corrections of themselves, and who was
/// somebody is the same person.
fn survives(table: &Table) {
    let judged = judge(table, today());
    assert_eq!(judged.len(), table.rows.len());
    let bad: Vec<BadRow> = judged
        .iter()
        .map(|one| BadRow {
            row: one.row,
            cells: one.cells.clone(),
            findings: one.person.as_ref().err().cloned().unwrap_or_default(),
        })
        .collect();
    let written = bad_rows(&bad, Language::Zh).expect("what was read is written");
    let again = read(&written).expect("what we write is read");
    let again = judge(&again, today());
    assert_eq!(again.len(), judged.len());
    for (before, after) in judged.iter().zip(&again) {
        assert_eq!(after.corrects, Some(before.row));
        if before.person.is_ok() {
            assert_eq!(after.person, before.person, "row {}", before.row);
        }
    }
}

fn today() -> NaiveDate {
    now().date_naive()
}
