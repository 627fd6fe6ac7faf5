//! Rows as they come out of a file, in the columns that are read; shared by both formats, so that
//! both have the same limits.

use super::header::{Column, Header};
use super::problem::Problem;
use super::{CELL_CHARS_MAX, COLUMNS_MAX, HEADER_ROWS_MAX, ROWS_MAX};

/// What stands in a cell.
#[derive(Clone, PartialEq)]
pub enum Cell {
    Text(String),
    /// A number, with the digits that its program has kept.
    Number(f64),
    /// A date as ISO 8601.
    Date(String),
    /// An error, or a truth value.
    Broken,
}

/// What stands there may be anybody's name or number, so it is never shown.
impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Number(_) => "Number",
            Self::Date(_) => "Date",
            Self::Broken => "Broken",
        })
    }
}

impl Cell {
    /// Text, cut where it is too long for any column: one character more than may be there, so
    /// that it is seen.
    pub fn text(text: &str) -> Self {
        Self::Text(text.chars().take(CELL_CHARS_MAX + 1).collect())
    }

    fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => super::cell::clean_name(text).is_empty(),
            Self::Number(_) | Self::Date(_) | Self::Broken => false,
        }
    }
}

/// A row with somebody in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetRow {
    /// As the program shows it, from one.
    pub number: u32,
    pub hidden: bool,
    pub cells: Vec<(Column, Cell)>,
    /// Columns of this row that are part of a merged cell that begins above.
    pub merged: Vec<Column>,
}

impl SheetRow {
    pub fn cell(&self, column: Column) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|(known, _)| *known == column)
            .map(|(_, cell)| cell)
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub header: Header,
    pub rows: Vec<SheetRow>,
}

/// Collects cells that come row by row.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    header: Option<Header>,
    rows: Vec<SheetRow>,
    /// Rows before the column names that had something in them.
    above: usize,
    number: u32,
    cells: Vec<(u32, Cell)>,
}

impl Collector {
    /// A cell at this row and column, counted from one and from zero.
    ///
    /// # Errors
    /// When a limit is passed, or rows come out of order.
    pub(crate) fn put(&mut self, number: u32, at: u32, cell: Cell) -> Result<(), Problem> {
        if number < self.number {
            return Err(Problem::Unreadable);
        }
        if number > self.number {
            self.end_row()?;
            self.number = number;
        }
        if cell.is_blank() {
            return Ok(());
        }
        if at >= COLUMNS_MAX {
            return Err(Problem::TooManyColumns);
        }
        let wanted = self
            .header
            .as_ref()
            .is_none_or(|it| it.column(at).is_some());
        if wanted {
            self.cells.push((at, cell));
        }
        if self.cells.len() > COLUMNS_MAX as usize {
            return Err(Problem::Unreadable);
        }
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), Problem> {
        let cells = std::mem::take(&mut self.cells);
        if cells.is_empty() {
            return Ok(());
        }
        let Some(header) = &self.header else {
            self.header = Header::recognise(&cells)?;
            self.above += 1;
            return if self.header.is_none() && self.above >= HEADER_ROWS_MAX {
                Err(Problem::HeaderNotFound)
            } else {
                Ok(())
            };
        };
        let mut row = SheetRow {
            number: self.number,
            hidden: false,
            cells: Vec::with_capacity(cells.len()),
            merged: Vec::new(),
        };
        for (at, cell) in cells {
            if let Some(column) = header.column(at) {
                if row.cell(column).is_some() {
                    return Err(Problem::Unreadable);
                }
                row.cells.push((column, cell));
            }
        }
        self.rows.push(row);
        if self.rows.len() > ROWS_MAX {
            return Err(Problem::TooManyRows);
        }
        Ok(())
    }

    pub(crate) fn found_header(&self) -> bool {
        self.header.is_some()
    }

    /// # Errors
    /// When there were no column names, or nobody below them.
    pub(crate) fn finish(mut self) -> Result<Table, Problem> {
        self.end_row()?;
        let header = self.header.ok_or(Problem::HeaderNotFound)?;
        if self.rows.is_empty() {
            return Err(Problem::NoRows);
        }
        Ok(Table {
            header,
            rows: self.rows,
        })
    }
}
