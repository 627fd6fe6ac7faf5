//! Files with names in them, as workbooks: every cell is text, and none of it runs.

use kit::graphql::Language;
use rust_xlsxwriter::{Format, FormatBorder, Workbook, XlsxError};

use crate::domain::rendering::Template;
use crate::roster::cell::escaped;

const NUMBER_WIDTH: f64 = 8.0;
const CELL_WIDTH: f64 = 20.0;
/// Room to sign in, in points.
const ROW_HEIGHT: f64 = 26.0;

/// A row: a name, unless its person was forgotten, and the cells that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: Option<String>,
    pub cells: Vec<String>,
}

/// Number, name and the cells of each person; a place to sign where the template has one.
///
/// # Errors
/// When the workbook cannot be written.
pub fn write(
    template: Template,
    (title, columns): (&str, &[String]),
    lines: &[Line],
    language: Language,
) -> Result<Vec<u8>, XlsxError> {
    let (name, is_signed) = match template {
        Template::SignedReceipts => (language.choose("签收表", "Receipts"), true),
        Template::NameList => (language.choose("名单", "List"), false),
    };
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.set_name(name)?;
    let bold = Format::new().set_bold();
    let text = Format::new()
        .set_num_format("@")
        .set_border(FormatBorder::Thin);
    sheet.write_string_with_format(0, 0, escaped(title), &bold)?;
    let mut names = vec![
        language.choose("序号", "No.").to_owned(),
        language.choose("姓名", "Name").to_owned(),
    ];
    names.extend(columns.iter().map(|it| escaped(it)));
    if is_signed {
        names.push(language.choose("签字", "Signature").to_owned());
    }
    for (at, name) in (0..).zip(&names) {
        let width = if at == 0 { NUMBER_WIDTH } else { CELL_WIDTH };
        sheet.set_column_width(at, width)?;
        sheet.write_string_with_format(1, at, name, &bold)?;
    }
    for (number, line) in (1_u32..).zip(lines) {
        let row = number + 1;
        let name = match &line.name {
            Some(name) => escaped(name),
            None => language.choose("（已注销）", "(erased)").to_owned(),
        };
        let mut cells = vec![number.to_string(), name];
        cells.extend(line.cells.iter().map(|it| escaped(it)));
        if is_signed {
            cells.push(String::new());
        }
        for (at, cell) in (0..).zip(&cells) {
            sheet.write_string_with_format(row, at, cell, &text)?;
        }
        sheet.set_row_height(row, ROW_HEIGHT)?;
    }
    sheet.set_freeze_panes(2, 0)?;
    workbook.save_to_buffer()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use calamine::{Reader, Xlsx};

    use super::*;

    fn rows(template: Template, sheet: &str) -> Vec<Vec<String>> {
        let line = |name: Option<&str>, seat: &str| Line {
            name: name.map(str::to_owned),
            cells: vec![seat.to_owned()],
        };
        let lines = [line(Some("张三"), "=A1"), line(None, "B2")];
        let columns = ["座位".to_owned()];
        let bytes = write(template, ("签收", &columns), &lines, Language::Zh).unwrap();
        let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).unwrap();
        let sheet = book.worksheet_range(sheet).unwrap();
        let row = |at: u32| {
            let cells = (0..4).map(|column| sheet.get_value((at, column)));
            cells
                .map(|it| it.map(ToString::to_string).unwrap_or_default())
                .collect::<Vec<String>>()
        };
        (1..4).map(row).collect()
    }

    /// Each person has her row in the order it was asked for, and nothing in it runs.
    #[test]
    fn receipts_are_to_be_signed() {
        let rows = rows(Template::SignedReceipts, "签收表");
        assert_eq!(rows[0], ["序号", "姓名", "座位", "签字"]);
        assert_eq!(rows[1], ["1", "张三", "'=A1", ""]);
        assert_eq!(rows[2], ["2", "（已注销）", "B2", ""]);
    }

    /// A list is not signed.
    #[test]
    fn a_list_has_nothing_to_sign() {
        let rows = rows(Template::NameList, "名单");
        assert_eq!(rows[0], ["序号", "姓名", "座位", ""]);
        assert_eq!(rows[1], ["1", "张三", "'=A1", ""]);
    }
}
