//! Tables as text: UTF-8 and UTF-16 with and without a mark, GBK with GB18030, and commas,
//! semicolons or tabs between.

use encoding_rs::{Encoding, GB18030, UTF_8, UTF_16BE, UTF_16LE};

use super::HEADER_ROWS_MAX;
use super::problem::Problem;
use super::table::{Cell, Collector, Table};

const DELIMITERS: [u8; 3] = [b',', b'\t', b';'];
/// Bytes at the beginning that show whether text without a mark is UTF-16.
const SAMPLE_BYTES: usize = 512;

/// # Errors
/// Why it cannot be read.
pub fn read(bytes: &[u8]) -> Result<Table, Problem> {
    if is_markup(bytes) {
        return Err(Problem::NotATable);
    }
    let text = decode(bytes)?;
    for delimiter in DELIMITERS {
        if has_header(&text, delimiter)? {
            let mut collector = Collector::default();
            fill(&mut collector, &text, delimiter, usize::MAX)?;
            return collector.finish();
        }
    }
    Err(Problem::HeaderNotFound)
}

/// Web pages and other documents, which some programs name `.xls` or `.csv`.
fn is_markup(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    text.starts_with(b"<") || text.starts_with(b"%PDF") || text.starts_with(b"{\\rtf")
}

fn has_header(text: &str, delimiter: u8) -> Result<bool, Problem> {
    let mut collector = Collector::default();
    match fill(&mut collector, text, delimiter, HEADER_ROWS_MAX + 1) {
        // With the wrong delimiter anything may be wrong; the right one will say it again.
        Ok(()) | Err(Problem::HeaderNotFound | Problem::TooManyColumns) => {}
        Err(problem) => return Err(problem),
    }
    Ok(collector.found_header())
}

fn fill(
    collector: &mut Collector,
    text: &str,
    delimiter: u8,
    records_max: usize,
) -> Result<(), Problem> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let (mut read, mut number, mut line) = (0, 0_u32, reader.position().line());
    while read < records_max {
        let more = reader
            .read_record(&mut record)
            .map_err(|_| Problem::Unreadable)?;
        if !more {
            break;
        }
        read += 1;
        // The row that a program shows: blank lines count, line breaks within a cell do not.
        let breaks = record.iter().flat_map(str::bytes).filter(|b| *b == b'\n');
        let own = 1 + u64::try_from(breaks.count()).unwrap_or(u64::MAX);
        let end = reader.position().line();
        let blank = u32::try_from((end - line).saturating_sub(own)).unwrap_or(u32::MAX);
        (line, number) = (end, number.saturating_add(blank).saturating_add(1));
        for (at, field) in (0..).zip(&record) {
            collector.put(number, at, Cell::text(field))?;
        }
    }
    // The last row of a sample ends only when another one begins.
    collector.put(u32::MAX, 0, Cell::text(""))
}

fn decode(bytes: &[u8]) -> Result<String, Problem> {
    let (encoding, marked) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (encoding, &bytes[mark..]),
        None => (guess(bytes), bytes),
    };
    let (text, broken) = encoding.decode_without_bom_handling(marked);
    if broken {
        return Err(Problem::EncodingUnknown);
    }
    if text.contains('\0') {
        return Err(Problem::NotATable);
    }
    Ok(text.into_owned())
}

/// UTF-16 has zeros in every ASCII character; what is no UTF-8 is the encoding of old Chinese
/// programs, of which GB18030 is the widest.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let zeros = |odd: usize| {
        let bytes = sample.iter().skip(odd).step_by(2);
        bytes.filter(|byte| **byte == 0).count()
    };
    match (zeros(0), zeros(1)) {
        (0, 0) if std::str::from_utf8(bytes).is_ok() => UTF_8,
        (0, 0) => GB18030,
        (0, _) => UTF_16LE,
        (_, 0) => UTF_16BE,
        _ => UTF_8,
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Column;
    use super::*;

    const PLAIN: &str = "姓名,证件号码,手机号\r\n张三,500103199003071239,13812345678\r\n";

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn every_encoding_in_use_is_read_alike() {
        let expected = read(PLAIN.as_bytes()).unwrap();
        assert_eq!(expected.rows.len(), 1);
        assert_eq!(expected.rows[0].number, 2);
        assert_eq!(
            expected.rows[0].cell(Column::Name),
            Some(&Cell::text("张三"))
        );
        let marked = |mark: &[u8], text: Vec<u8>| [mark, &text].concat();
        for (what, bytes) in [
            ("UTF-8 with mark", marked(b"\xEF\xBB\xBF", PLAIN.into())),
            ("GBK", encoding_rs::GBK.encode(PLAIN).0.into_owned()),
            ("GB18030", GB18030.encode(PLAIN).0.into_owned()),
            (
                "UTF-16 LE",
                marked(b"\xFF\xFE", utf16(PLAIN, u16::to_le_bytes)),
            ),
            (
                "UTF-16 BE",
                marked(b"\xFE\xFF", utf16(PLAIN, u16::to_be_bytes)),
            ),
            ("UTF-16 LE without mark", utf16(PLAIN, u16::to_le_bytes)),
            ("UTF-16 BE without mark", utf16(PLAIN, u16::to_be_bytes)),
        ] {
            assert_eq!(read(&bytes).as_ref(), Ok(&expected), "{what}");
        }
        for delimiter in [";", "\t"] {
            let text = PLAIN.replace(',', delimiter);
            assert_eq!(read(text.as_bytes()).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn rare_characters_of_gb18030_survive() {
        let text = PLAIN.replace("张三", "𠮷田");
        let (bytes, _, lost) = GB18030.encode(&text);
        assert!(!lost);
        let table = read(&bytes).unwrap();
        assert_eq!(table.rows[0].cell(Column::Name), Some(&Cell::text("𠮷田")));
    }

    #[test]
    fn quotes_titles_and_blank_lines_are_borne() {
        let text =
            "某某工会名单,,\n\n\"姓\n名\",手机,备注\n\"张三\",138,\"a,\"\"b\"\"\"\n,,\n李四,139,\n";
        let table = read(text.as_bytes()).unwrap();
        let names: Vec<_> = table
            .rows
            .iter()
            .map(|row| row.cell(Column::Name).cloned())
            .collect();
        assert_eq!(names, [Some(Cell::text("张三")), Some(Cell::text("李四"))]);
        assert_eq!(table.header.ignored, ["备注"]);
        let numbers: Vec<u32> = table.rows.iter().map(|row| row.number).collect();
        assert_eq!(numbers, [4, 6]);
    }

    #[test]
    fn what_is_no_table_is_refused_by_name() {
        for (bytes, problem) in [
            (&b"<html><table><tr><td>x"[..], Problem::NotATable),
            (b"%PDF-1.7", Problem::NotATable),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", Problem::NotATable),
            (b"\xff\xff\xff\xff", Problem::EncodingUnknown),
            (b"hello", Problem::HeaderNotFound),
            ("姓名,手机\n".as_bytes(), Problem::NoRows),
        ] {
            assert_eq!(read(bytes), Err(problem), "{bytes:?}");
        }
    }
}
