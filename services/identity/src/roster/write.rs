//! Workbooks we hand out: a template to fill in, and the rows that need another look with what is
//! wrong with them. Every cell is text, and none of it runs.

use kit::graphql::Language;
use rust_xlsxwriter::{Color, DataValidation, Format, Workbook, Worksheet, XlsxError};

use super::cell::escaped;
use super::finding::Finding;
use super::judge::{Cells, kind_name};
use crate::domain::identifier::DocumentKind;

/// How wide columns are, in characters.
const WIDTHS: [f64; 7] = [8.0, 16.0, 26.0, 26.0, 18.0, 60.0, 30.0];
/// Rows of a template that offer the types of document, the header not counted.
const TEMPLATE_ROWS: u32 = 5_000;

/// A row that needs another look.
#[derive(Debug)]
pub struct BadRow {
    /// In the file it came from.
    pub row: u32,
    pub cells: Cells,
    pub findings: Vec<Finding>,
}

const fn columns(language: Language) -> [&'static str; 7] {
    match language {
        Language::Zh => [
            "行号",
            "姓名",
            "证件类型",
            "证件号码",
            "手机号",
            "原因",
            "建议",
        ],
        Language::En => [
            "Row",
            "Name",
            "Document type",
            "ID number",
            "Phone",
            "Reason",
            "Repair",
        ],
    }
}

/// # Errors
/// When the workbook cannot be written.
pub fn bad_rows(rows: &[BadRow], language: Language) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.set_name(language.choose("待更正", "To correct"))?;
    head(sheet, &columns(language), &WIDTHS)?;
    let text = Format::new().set_num_format("@");
    let wrapped = Format::new().set_num_format("@").set_text_wrap();
    for (at, bad) in (1..).zip(rows) {
        let reasons: Vec<String> = bad
            .findings
            .iter()
            .map(|finding| finding.message(language))
            .collect();
        let repairs: Vec<&str> = bad
            .findings
            .iter()
            .filter_map(|finding| finding.repair.as_deref())
            .collect();
        let (row, reasons, repairs) = (bad.row.to_string(), reasons.join("\n"), repairs.join("\n"));
        let Cells {
            name,
            document_type,
            document_number,
            phone,
        } = &bad.cells;
        let values = [
            &row,
            name,
            document_type,
            document_number,
            phone,
            &reasons,
            &repairs,
        ];
        for (column, value) in (0..).zip(values) {
            let format = if column < 5 { &text } else { &wrapped };
            sheet.write_string_with_format(at, column, escaped(value), format)?;
        }
    }
    workbook.save_to_buffer()
}

/// A table to fill in, with the types of document to choose from.
///
/// # Errors
/// When the workbook cannot be written.
pub fn template(language: Language) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.set_name(language.choose("名单", "Roster"))?;
    let columns = columns(language);
    head(sheet, &columns[1..5], &WIDTHS[1..5])?;
    let names = DocumentKind::ALL.map(|kind| {
        let (zh, en) = kind_name(kind);
        language.choose(zh, en)
    });
    let mut choices: Vec<&str> = names.to_vec();
    choices.push(language.choose("网号", "Online ID"));
    let choices = DataValidation::new().allow_list_strings(&choices)?;
    sheet.add_data_validation(1, 1, TEMPLATE_ROWS, 1, &choices)?;
    let notes = workbook.add_worksheet();
    notes.set_name(language.choose("填写说明", "Notes"))?;
    notes.set_column_width(0, NOTES_WIDTH)?;
    for (at, (zh, en)) in (0..).zip(NOTES) {
        notes.write_string(at, 0, language.choose(zh, en))?;
    }
    workbook.save_to_buffer()
}

const NOTES_WIDTH: f64 = 90.0;
/// What the second sheet of a template says.
const NOTES: [(&str, &str); 6] = [
    (
        "每人一行，最多 5000 人；列的顺序可以变，多余的列会被忽略。",
        "One person in each row, 5,000 at most; columns in any order, others are ignored.",
    ),
    (
        "姓名须与证件一致，间隔号写作“·”。",
        "Write the name as the document has it.",
    ),
    (
        "证件类型留空时按居民身份证处理；以网号核验的人员填“网号”并填写手机号，不填号码。",
        "Without a type the number is a resident number; who is verified online needs a phone.",
    ),
    (
        "证件号码须为文本格式，不能是数值，否则末几位会丢失。",
        "Keep numbers as text: as numbers they lose their last digits.",
    ),
    (
        "手机号用于登录，每人一个，不能与他人相同；可以不填。",
        "The phone is what she signs in with: her own, or none.",
    ),
    (
        "请勿隐藏行、合并单元格，也不要加密或使用宏。",
        "No hidden rows, merged cells, passwords or macros, please.",
    ),
];

/// Column names that stay in sight, over columns of text: so no number is ever eaten.
fn head(sheet: &mut Worksheet, names: &[&str], widths: &[f64]) -> Result<(), XlsxError> {
    let bold = Format::new()
        .set_bold()
        .set_background_color(Color::RGB(0x00DD_EBF7));
    let text = Format::new().set_num_format("@");
    for (at, (name, width)) in (0..).zip(names.iter().zip(widths)) {
        sheet.set_column_width(at, *width)?;
        sheet.set_column_format(at, &text)?;
        sheet.write_string_with_format(0, at, *name, &bold)?;
    }
    sheet.set_freeze_panes(1, 0)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Code;
    use super::super::header::Column;
    use super::*;

    #[test]
    fn templates_read_as_empty_rosters() {
        for language in [Language::Zh, Language::En] {
            let bytes = template(language).unwrap();
            let read = super::super::read(&bytes);
            assert_eq!(read, Err(super::super::Problem::NoRows));
        }
    }

    /// What was wrong comes back with its row number, and what would run is text when it is read.
    /// ASVS V1.1.2.
    #[test]
    fn bad_rows_come_back_and_do_not_run() {
        let cells = Cells {
            name: "=HYPERLINK(\"http://x\")".to_owned(),
            document_number: "+cmd|' /C calc'!A0".to_owned(),
            phone: "@SUM(1)".to_owned(),
            ..Cells::default()
        };
        let finding = Finding::new(Code::PhoneInvalid, Column::Phone).repair(Some("-1".to_owned()));
        let bad = BadRow {
            row: 17,
            cells,
            findings: vec![finding],
        };
        for language in [Language::Zh, Language::En] {
            let bytes = bad_rows(std::slice::from_ref(&bad), language).unwrap();
            let table = super::super::read(&bytes).unwrap();
            assert!(table.header.ignored.is_empty());
            let row = &table.rows[0];
            for (column, expected) in [
                (Column::Row, "17"),
                (Column::Name, "'=HYPERLINK(\"http://x\")"),
                (Column::DocumentNumber, "'+cmd|' /C calc'!A0"),
                (Column::Phone, "'@SUM(1)"),
            ] {
                let cell = super::super::table::Cell::text(expected);
                assert_eq!(row.cell(column), Some(&cell), "{column:?}");
            }
        }
    }
}
