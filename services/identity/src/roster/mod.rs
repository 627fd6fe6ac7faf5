//! Rosters: what an office uploads as a table becomes people, or a reason for each row that does
//! not.
//!
//! All of it is pure: bytes come in, rows or a reason go out. Nothing here knows who is a member:
//! that is decided where the rows are matched. A file is never trusted: what it says of its own
//! size is counted, never believed, and what could run when it is opened is refused.

pub mod cell;
pub mod csv;
pub mod finding;
pub mod header;
pub mod judge;
pub mod package;
pub mod problem;
pub mod table;
pub mod write;
pub mod xlsx;

#[cfg(test)]
mod bad_files;
#[cfg(test)]
mod messy_rows;

pub use finding::{Code, Finding};
pub use header::Column;
pub use judge::{Cells, Judged, Person};
pub use problem::Problem;
pub use table::{SheetRow, Table};

/// Bytes of an uploaded file, at most.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// People in one roster, at most.
pub const ROWS_MAX: usize = 5_000;
/// The last column that may hold anything, counted from one.
pub const COLUMNS_MAX: u32 = 100;
/// Rows above the column names (titles, notes), at most.
pub const HEADER_ROWS_MAX: usize = 10;
/// Characters of a cell that is read, at most.
pub const CELL_CHARS_MAX: usize = 200;

/// The first bytes of every zip, and so of every xlsx.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// The first bytes of a compound file: an old xls, or an xlsx under a password.
const COMPOUND_MAGIC: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Reads a file, whatever its name says it is.
///
/// # Errors
/// Why none of it can be used.
pub fn read(bytes: &[u8]) -> Result<Table, Problem> {
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Problem::TooLarge);
    }
    if bytes.starts_with(COMPOUND_MAGIC) {
        return Err(compound(bytes));
    }
    if bytes.starts_with(ZIP_MAGIC) {
        return xlsx::read(bytes);
    }
    csv::read(bytes)
}

/// What a compound file is: the names in its directory are UTF-16.
fn compound(bytes: &[u8]) -> Problem {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let encrypted = bytes.windows(name.len()).any(|part| part == name);
    if encrypted {
        Problem::Encrypted
    } else {
        Problem::OldFormat
    }
}
