//! A roster as text, in any encoding: what is read keeps its limits, survives our own file, and is
//! the same in every encoding.

use identity::roster::csv::read;

use crate::Verdict;
use crate::roster::holds;

/// Column names, for inputs that are rows alone.
const HEADER: &str = "姓名,证件类型,证件号码,手机号\n";
const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";
const UTF16_MARK: &[u8] = b"\xFF\xFE";

/// Reads `bytes` as a file, and as what stands below the column names in one.
pub fn check(bytes: &[u8]) -> Verdict {
    let mut accepted = false;
    for bytes in [bytes.to_vec(), [HEADER.as_bytes(), bytes].concat()] {
        accepted |= holds(&read(&bytes));
        alike(&bytes);
    }
    Verdict::of(accepted)
}

/// Text that is read without a mark is read alike with one, and as UTF-16.
fn alike(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if text.starts_with('\u{FEFF}') || text.contains('\0') {
        return;
    }
    let Ok(table) = read(bytes) else {
        return;
    };
    assert_eq!(read(&[UTF8_MARK, bytes].concat()).as_ref(), Ok(&table));
    let mut utf16 = UTF16_MARK.to_vec();
    utf16.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(read(&utf16).as_ref(), Ok(&table));
}
