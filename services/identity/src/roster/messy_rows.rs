//! Rows as officers send them: what is read all the same, and what is answered with which reason
//! and repair.

use chrono::NaiveDate;
use kit::graphql::Language;
use rust_xlsxwriter::{Format, Workbook, Worksheet};

use super::finding::Code;
use super::header::Column;
use super::judge::{Judged, judge, mark_repeated};
use super::problem::Problem;
use super::{CELL_CHARS_MAX, ROWS_MAX, read};
use crate::domain::identifier::DocumentKind;

const NUMBER: &str = "500103199003071239";

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 24).unwrap()
}

fn judged(bytes: &[u8]) -> Vec<Judged> {
    let mut rows = judge(&read(bytes).unwrap(), today());
    mark_repeated(&mut rows);
    rows
}

/// One row of text under the four columns.
fn one(cells: [&str; 4]) -> Judged {
    let quoted = cells.map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
    let text = format!("姓名,证件类型,证件号码,手机\n{}\n", quoted.join(","));
    let mut rows = judged(text.as_bytes());
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// A workbook of four columns, written by `fill`.
fn sheet(fill: impl FnOnce(&mut Worksheet)) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (at, name) in (0..).zip(["姓名", "证件类型", "证件号码", "手机"]) {
        sheet.write_string(0, at, name).unwrap();
    }
    fill(sheet);
    workbook.save_to_buffer().unwrap()
}

fn codes(judged: &Judged) -> Vec<(Code, Option<Column>)> {
    match &judged.person {
        Ok(_) => Vec::new(),
        Err(findings) => findings.iter().map(|it| (it.code, it.column)).collect(),
    }
}

#[track_caller]
fn finds(cells: [&str; 4], code: Code, column: Column, repair: Option<&str>) {
    let judged = one(cells);
    assert_eq!(codes(&judged), [(code, Some(column))], "{cells:?}");
    let findings = judged.person.unwrap_err();
    assert_eq!(findings[0].repair.as_deref(), repair, "{cells:?}");
    for language in [Language::Zh, Language::En] {
        assert!(!findings[0].message(language).is_empty());
    }
}

/// Whatever stands around a number or a name, it is the same person.
#[test]
fn one_person_in_many_spellings() {
    let plain = one(["张三", "居民身份证", NUMBER, "13812345678"]);
    assert!(plain.person.is_ok());
    for cells in [
        ["\u{FEFF}张三\u{200B}", "", NUMBER, "13812345678"],
        [
            "张　三",
            "身份证",
            "５００１０３１９９００３０７１２３９",
            "１３８１２３４５６７８",
        ],
        [
            "张 三\u{A0}",
            "ID card",
            "500103 19900307 1239",
            "+86 138-1234-5678",
        ],
        [
            "\t张三",
            "Resident ID",
            "'500103199003071239",
            "\u{202D}13812345678\u{202C}",
        ],
        [
            "张三",
            "二代身份证（有效）",
            "=\"500103199003071239\"",
            "138\u{200E}12345678",
        ],
    ] {
        assert_eq!(one(cells).person, plain.person, "{cells:?}");
    }
}

#[test]
fn names_of_all_peoples_are_taken() {
    for (given, name) in [
        ("阿依古丽•买买提", "阿依古丽·买买提"),
        ("阿依古丽‧买买提", "阿依古丽·买买提"),
        ("𠮷田", "𠮷田"),
        ("\u{3106C}明", "\u{3106C}明"),
        ("Anna  Maria", "Anna Maria"),
    ] {
        let person = one([given, "", NUMBER, ""]).person.unwrap();
        assert_eq!(person.name.as_str(), name);
    }
    for bad in [
        "张",
        "张3",
        "=HYPERLINK(\"http://x\")",
        "张三\u{202E}",
        "a\u{0301}b",
        "<b>x</b>",
    ] {
        finds([bad, "", NUMBER, ""], Code::NameInvalid, Column::Name, None);
    }
    finds(["", "", NUMBER, ""], Code::NameMissing, Column::Name, None);
}

/// An eighteen-digit number that a spreadsheet has made a number of is caught and explained, in
/// each of the forms that it then has.
#[test]
fn eaten_numbers_are_caught() {
    for eaten in ["5.10E+17", "5.00103199003071E+17", "500103199003071000"] {
        finds(
            ["张三", "", eaten, ""],
            Code::NumberEaten,
            Column::DocumentNumber,
            None,
        );
    }
    let bytes = sheet(|sheet| {
        sheet.write_string(1, 0, "张三").unwrap();
        sheet
            .write_number(1, 2, 500_103_199_003_071_239_f64)
            .unwrap();
        sheet.write_number(1, 3, 13_812_345_678_f64).unwrap();
    });
    let rows = judged(&bytes);
    let eaten = (Code::NumberEaten, Some(Column::DocumentNumber));
    assert_eq!(codes(&rows[0]), [eaten]);
    // The phone has few enough digits to be whole.
    assert_eq!(rows[0].cells.phone, "13812345678");
    let message = rows[0].person.as_ref().unwrap_err()[0].message(Language::Zh);
    assert!(message.contains("文本格式"), "{message}");
}

#[test]
fn what_is_wrong_with_a_number_is_told_and_repaired_where_it_can_be() {
    let number = Column::DocumentNumber;
    for (text, code, repair) in [
        ("50010319900307123", Code::DocumentLength, None),
        ("500103199002290018", Code::DocumentDate, None),
        ("500103203003071230", Code::DocumentDate, None),
        ("110105194912310020", Code::DocumentCheck, None),
        ("5OO1O3199OO3O71239", Code::DocumentCharacters, Some(NUMBER)),
        ("50010319900307I239", Code::DocumentCharacters, Some(NUMBER)),
        ("5001031990030712З9", Code::DocumentCharacters, None),
        (
            "11010519491231002×",
            Code::DocumentCharacters,
            Some("11010519491231002X"),
        ),
        (
            "11010519491231002*",
            Code::DocumentCharacters,
            Some("11010519491231002X"),
        ),
    ] {
        finds(["张三", "身份证", text, ""], code, number, repair);
    }
    let lower = one(["张三", "", "11010519491231002x", ""]).person.unwrap();
    assert_eq!(lower.document.unwrap().number(), "11010519491231002X");
    let old = one(["张三", "", "440524800101001", ""]).person.unwrap();
    assert_eq!(old.document.unwrap().number(), "440524198001010013");
    let phone = ["张三", "", NUMBER, "l38l2345678"];
    finds(
        phone,
        Code::PhoneInvalid,
        Column::Phone,
        Some("13812345678"),
    );
    finds(
        ["张三", "", NUMBER, "1381234567"],
        Code::PhoneInvalid,
        Column::Phone,
        None,
    );
    let swapped = ["张三", "", "13812345678", NUMBER];
    let repair = format!("{NUMBER} / 13812345678");
    finds(swapped, Code::ColumnsSwapped, number, Some(&repair));
}

#[test]
fn documents_of_all_types_are_taken() {
    use DocumentKind as Kind;
    for (kind, number, known) in [
        ("护照", "E12345678", Kind::Passport),
        ("Passport of China", "e12345678", Kind::Passport),
        (
            "港澳台居民居住证",
            "810000199001010019",
            Kind::ResidencePermit,
        ),
        ("", "830000199001010012", Kind::ResidencePermit),
        ("回乡证", "H12345678", Kind::HomeReturnPermit),
        ("台胞证", "12345678", Kind::TaiwanTravelPermit),
        (
            "Permanent residence",
            "USA110087010115",
            Kind::PermanentResidence,
        ),
        ("外国护照", "C01X00T47", Kind::ForeignPassport),
    ] {
        let person = one(["张三", kind, number, ""]).person.unwrap();
        assert_eq!(person.document.unwrap().kind(), known, "{kind} {number}");
    }
    let kind = Column::DocumentType;
    let missing = Code::DocumentTypeMissing;
    finds(
        ["张三", "", "E12345678", ""],
        missing,
        kind,
        Some("中国护照"),
    );
    finds(["张三", "", "C01X00T47", ""], missing, kind, None);
    finds(
        ["张三", "军官证", "12345678", ""],
        Code::DocumentTypeUnknown,
        kind,
        None,
    );
    let wrong = ["张三", "护照", "X12345678", ""];
    finds(wrong, Code::DocumentInvalid, Column::DocumentNumber, None);
    finds(
        ["张三", "", "", ""],
        Code::DocumentMissing,
        Column::DocumentNumber,
        None,
    );
}

/// Who was verified by 网号 has no number here, and is known by her phone.
#[test]
fn people_without_a_number_need_a_phone() {
    for kind in ["网号", "网证", "国家网络身份认证", "Online ID"] {
        let person = one(["张三", kind, "", "13812345678"]).person.unwrap();
        assert_eq!(person.document, None);
        finds(
            ["张三", kind, "", ""],
            Code::PhoneMissing,
            Column::Phone,
            None,
        );
    }
}

/// Every column of a row is judged, so that it is corrected once.
#[test]
fn a_row_is_told_all_that_is_wrong_with_it() {
    let judged = one(["张", "", "110105194912310020", "138"]);
    let all = [
        (Code::NameInvalid, Some(Column::Name)),
        (Code::DocumentCheck, Some(Column::DocumentNumber)),
        (Code::PhoneInvalid, Some(Column::Phone)),
    ];
    assert_eq!(codes(&judged), all);
    let long = "张".repeat(CELL_CHARS_MAX + 1);
    finds(
        [&long, "", NUMBER, ""],
        Code::CellTooLong,
        Column::Name,
        None,
    );
    finds(
        [&"张".repeat(32_767), "", NUMBER, ""],
        Code::CellTooLong,
        Column::Name,
        None,
    );
}

#[test]
fn repeated_people_are_told_the_first_row() {
    let text = format!(
        "姓名,证件号码,手机\n张三,{NUMBER},13812345678\n李四,11010519491231002X,13812345678\n\
         张三,'{NUMBER},13912345678\n王五,510104198511150025,\n"
    );
    let rows = judged(text.as_bytes());
    let other_rows: Vec<_> = rows
        .iter()
        .map(|row| match &row.person {
            Ok(_) => None,
            Err(findings) => Some((findings[0].code, findings[0].column, findings[0].other_row)),
        })
        .collect();
    let repeated = |column| Some((Code::PersonRepeated, Some(column), Some(2)));
    assert_eq!(
        other_rows,
        [
            None,
            repeated(Column::Phone),
            repeated(Column::DocumentNumber),
            None
        ]
    );
}

/// Hidden rows, merged cells, dates, errors: what a spreadsheet shows otherwise than it is.
#[test]
fn what_a_sheet_shows_otherwise_is_told() {
    let bytes = sheet(|sheet| {
        let date = Format::new().set_num_format("yyyy-mm-dd");
        for row in 1..=6 {
            sheet.write_string(row, 0, "张三丰").unwrap();
            let number = [NUMBER, "11010519491231002X", "510104198511150025"];
            let number = number.get(row as usize - 1).copied().unwrap_or_default();
            sheet.write_string(row, 2, number).unwrap();
        }
        sheet.set_row_hidden(2).unwrap();
        sheet
            .write_number_with_format(3, 3, 45_000_f64, &date)
            .unwrap();
        sheet
            .merge_range(4, 2, 5, 2, "360426199101010071", &date)
            .unwrap();
        sheet.write_boolean(6, 2, true).unwrap();
    });
    let rows = judged(&bytes);
    assert_eq!(
        rows.iter().map(|row| row.row).collect::<Vec<_>>(),
        [2, 3, 4, 5, 6, 7]
    );
    assert_eq!(codes(&rows[0]), []);
    assert_eq!(codes(&rows[1]), [(Code::RowHidden, None)]);
    assert_eq!(codes(&rows[2]), [(Code::CellIsDate, Some(Column::Phone))]);
    assert_eq!(rows[2].cells.phone, "2023-03-15");
    assert_eq!(codes(&rows[3]), []);
    assert_eq!(
        codes(&rows[4]),
        [(Code::CellIsMerged, Some(Column::DocumentNumber))]
    );
    assert_eq!(
        codes(&rows[5]),
        [(Code::CellBroken, Some(Column::DocumentNumber))]
    );
}

/// Titles above, columns in another order and others between, a hidden sheet before.
#[test]
fn the_table_is_found_where_it_is() {
    let mut workbook = Workbook::new();
    let hidden = workbook.add_worksheet();
    hidden.set_name("隐藏").unwrap().set_hidden(true);
    hidden.write_string(0, 0, "姓名").unwrap();
    let sheet = workbook.add_worksheet();
    sheet.set_active(true);
    sheet
        .merge_range(0, 0, 0, 4, "某某基层工会会员名册", &Format::new())
        .unwrap();
    for (at, name) in (1..).zip(["序号", "联系电话", "部门", "身份证号码", "姓 名*"])
    {
        sheet.write_string(2, at, name).unwrap();
    }
    for (at, text) in (1..).zip(["1", "13812345678", "一车间", NUMBER, "张三"]) {
        sheet.write_string(3, at, text).unwrap();
    }
    let bytes = workbook.save_to_buffer().unwrap();
    let table = read(&bytes).unwrap();
    assert_eq!(table.header.ignored, ["序号", "部门"]);
    let rows = judge(&table, today());
    assert_eq!((rows.len(), rows[0].row), (1, 4));
    assert_eq!(
        rows[0].person,
        one(["张三", "", NUMBER, "13812345678"]).person
    );
}

#[test]
fn five_thousand_people_fit_and_no_more() {
    let roster = |people: usize| {
        sheet(|sheet| {
            for row in 1..=u32::try_from(people).unwrap() {
                sheet.write_string(row, 0, "张三").unwrap();
                let phone = format!("138{row:08}");
                sheet.write_string(row, 3, phone).unwrap();
            }
        })
    };
    assert_eq!(read(&roster(ROWS_MAX)).unwrap().rows.len(), ROWS_MAX);
    assert_eq!(read(&roster(ROWS_MAX + 1)), Err(Problem::TooManyRows));
    let mut text = String::from("姓名,手机\n");
    text.push_str(&"张三,138\n".repeat(ROWS_MAX + 1));
    assert_eq!(read(text.as_bytes()), Err(Problem::TooManyRows));
}
