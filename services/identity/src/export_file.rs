//! A person's copy of her data as a file: JSON for programs, a workbook for people. Every cell of
//! the workbook is text, and none of it runs.

use kit::graphql::Language;
use rust_xlsxwriter::{Format as CellFormat, Workbook, XlsxError};
use serde_json::{Map, Value, json};

use crate::domain::export::{Export, Format, State};
use crate::roster::cell::escaped;

/// The longest text of a cell, in characters: a workbook can hold no longer one.
const CELL_CHARS_MAX: usize = 32_767;
/// Columns of a sheet, at most.
const COLUMNS_MAX: usize = 64;
const COLUMN_WIDTH: f64 = 24.0;
/// The longest name of a sheet, in characters.
const SHEET_CHARS_MAX: usize = 31;

/// What the sections are called. One that is not among them keeps the name its service gave it.
const NAMES: [(&str, &str, &str); 37] = [
    ("person", "本人", "Person"),
    ("document", "证件", "Documents"),
    ("phone", "手机号", "Phone"),
    ("membership", "会籍", "Memberships"),
    ("membership_review", "会籍更正", "Corrected memberships"),
    ("application", "入会申请", "Applications"),
    ("role", "角色", "Roles"),
    ("role_proposal", "授权提议", "Proposed roles"),
    ("verification", "实名核验", "Verifications"),
    ("network_identity", "网号", "Network identities"),
    ("phone_recovery", "手机号找回", "Recoveries of the phone"),
    ("phone_setting", "重新登记手机号", "Other phones set"),
    ("merge", "档案合并", "Merged records"),
    ("consent", "同意记录", "Consents"),
    ("login", "登录记录", "Logins"),
    ("sign_in_method", "登录方式", "Ways to sign in"),
    (
        "former_phone",
        "近期的旧手机号",
        "Phones that you had lately",
    ),
    ("phone_change", "更换手机号", "Change of the phone"),
    ("second_factor", "动态口令", "Second factor"),
    (
        "second_factor_reset",
        "动态口令重置",
        "Resets of the second factor",
    ),
    ("erasure", "注销申请", "Wish to be forgotten"),
    ("data_copy", "个人信息副本", "Copies of your data"),
    ("rendered_file", "取得的文件", "Files you asked for"),
    ("notice", "通知", "Notices"),
    ("notice_preference", "通知偏好", "Notice preferences"),
    ("message", "短信", "Messages"),
    ("roster", "名单", "Rosters"),
    ("pass", "年票", "Passes"),
    ("pass_refund", "年票退款", "Refunds of passes"),
    ("reserved_visit", "预约", "Reserved visits"),
    ("visit", "入园记录", "Visits"),
    ("order", "订单", "Orders"),
    ("order_line", "订单明细", "Lines of orders"),
    ("payment", "支付", "Payments"),
    ("refund", "退款", "Refunds"),
    ("shift", "班次", "Shifts"),
    ("left_out", "未列出的部分", "Left out"),
];

/// Rows of one kind from one service, in the order in which they were told.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    pub service: String,
    pub name: String,
    pub rows: Vec<Map<String, Value>>,
}

/// Adds the rows of a part to the sections they belong to. What is no row is left out.
pub fn add(sections: &mut Vec<Section>, service: &str, rows: Vec<Value>) {
    for row in rows {
        let Value::Object(mut row) = row else {
            continue;
        };
        let (Some(Value::String(name)), Some(Value::Object(row))) =
            (row.remove("section"), row.remove("row"))
        else {
            continue;
        };
        let found = sections
            .iter_mut()
            .find(|it| it.service == service && it.name == name);
        match found {
            Some(section) => section.rows.push(row),
            None => sections.push(Section {
                service: service.to_owned(),
                name,
                rows: vec![row],
            }),
        }
    }
}

/// The file.
///
/// # Errors
/// When the workbook cannot be written.
pub fn write(
    export: &Export,
    sections: &[Section],
    (format, language): (Format, Language),
) -> Result<Vec<u8>, XlsxError> {
    match format {
        Format::Json => Ok(document(export, sections).to_string().into_bytes()),
        Format::Xlsx => tables(sections, language),
    }
}

fn document(export: &Export, sections: &[Section]) -> Value {
    let mut services = Map::new();
    for section in sections {
        let service = services
            .entry(section.service.clone())
            .or_insert_with(|| json!({}));
        if let Value::Object(service) = service {
            let rows = section.rows.iter().cloned().map(Value::Object);
            service.insert(section.name.clone(), rows.collect());
        }
    }
    let ready_at = match export.state {
        State::Gathering => None,
        State::Ready { at, .. } | State::Expired { at, .. } => Some(at),
    };
    json!({
        "export": export.id,
        "member": export.member.0,
        "asked_at": export.asked_at,
        "ready_at": ready_at,
        "services": services,
    })
}

fn tables(sections: &[Section], language: Language) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    let (bold, text) = (
        CellFormat::new().set_bold(),
        CellFormat::new().set_num_format("@"),
    );
    for (number, section) in (1..).zip(sections) {
        let sheet = workbook.add_worksheet();
        sheet.set_name(sheet_name(number, section, language))?;
        let mut columns: Vec<&str> = Vec::new();
        for key in section.rows.iter().flat_map(Map::keys) {
            if !columns.contains(&key.as_str()) && columns.len() < COLUMNS_MAX {
                columns.push(key);
            }
        }
        for (at, column) in (0..).zip(&columns) {
            sheet.set_column_width(at, COLUMN_WIDTH)?;
            sheet.write_string_with_format(0, at, *column, &bold)?;
        }
        for (line, row) in (1..).zip(&section.rows) {
            for (at, column) in (0..).zip(&columns) {
                let value = row.get(*column).unwrap_or(&Value::Null);
                sheet.write_string_with_format(line, at, cell(value), &text)?;
            }
        }
        sheet.set_freeze_panes(1, 0)?;
    }
    workbook.save_to_buffer()
}

/// A number in front keeps two of one name apart.
fn sheet_name(number: u32, section: &Section, language: Language) -> String {
    let named = NAMES.iter().find(|(name, ..)| *name == section.name);
    let name = match named {
        Some((_, zh, en)) => language.choose(zh, en),
        None => section.name.as_str(),
    };
    let allowed = |c: &char| !matches!(c, '[' | ']' | ':' | '*' | '?' | '/' | '\\' | '\'');
    let name = format!("{number} {name}");
    name.chars().filter(allowed).take(SHEET_CHARS_MAX).collect()
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    text.chars().take(CELL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use calamine::{Reader, Xlsx};
    use chrono::DateTime;
    use kit::types::MemberId;
    use uuid::Uuid;

    use super::*;

    fn export() -> Export {
        Export {
            id: Uuid::from_u128(1),
            version: 1,
            member: MemberId(Uuid::from_u128(2)),
            state: State::Gathering,
            asked_at: DateTime::UNIX_EPOCH,
            deadline: DateTime::UNIX_EPOCH,
        }
    }

    fn sections() -> Vec<Section> {
        let mut sections = Vec::new();
        let row = |name: &str, row: Value| json!({ "section": name, "row": row });
        add(
            &mut sections,
            "identity",
            vec![row("person", json!({ "name": "=1+1" })), json!("no row")],
        );
        for state in ["active", "voided"] {
            let pass = row("pass", json!({ "state": state, "price_fen": 20_000 }));
            add(&mut sections, "passes", vec![pass]);
        }
        add(&mut sections, "passes", vec![row("a/new:kind", json!({}))]);
        sections
    }

    #[test]
    fn json_holds_every_row_by_service_and_kind() {
        let way = (Format::Json, Language::Zh);
        let bytes = write(&export(), &sections(), way).unwrap();
        let read: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read["services"]["passes"]["pass"][1]["state"], "voided");
        assert_eq!(read["services"]["identity"]["person"][0]["name"], "=1+1");
    }

    /// A sheet for each kind, its names in the reader's language, and what would run is text.
    #[test]
    fn a_workbook_holds_the_same_and_does_not_run() {
        for (language, passes) in [(Language::Zh, "2 年票"), (Language::En, "2 Passes")] {
            let bytes = write(&export(), &sections(), (Format::Xlsx, language)).unwrap();
            let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).unwrap();
            let names = book.sheet_names();
            assert_eq!(names[1], passes);
            assert_eq!(names[2], "3 anewkind");
            let sheet = book.worksheet_range(&names[0]).unwrap();
            let name = sheet.get_value((1, 0)).unwrap();
            assert_eq!(name.to_string(), "'=1+1");
            let sheet = book.worksheet_range(passes).unwrap();
            assert_eq!(sheet.height(), 3);
        }
    }
}
