//! What is wrong with a row, in which column, and the sentence people read.

use kit::graphql::Language;

use super::header::Column;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    NameMissing,
    NameInvalid,
    DocumentMissing,
    DocumentTypeMissing,
    DocumentTypeUnknown,
    DocumentInvalid,
    DocumentLength,
    DocumentCharacters,
    DocumentDate,
    DocumentCheck,
    NumberEaten,
    PhoneMissing,
    PhoneInvalid,
    ColumnsSwapped,
    CellIsDate,
    CellIsMerged,
    CellTooLong,
    CellBroken,
    RowHidden,
    PersonRepeated,
    PersonNotMatched,
}

struct Said {
    code: Code,
    name: &'static str,
    zh: &'static str,
    en: &'static str,
}

const fn said(code: Code, name: &'static str, zh: &'static str, en: &'static str) -> Said {
    Said { code, name, zh, en }
}

/// In the order of the enum. `{row}` becomes the number of another row.
static SAID: [Said; 21] = [
    said(
        Code::NameMissing,
        "NAME_MISSING",
        "缺少姓名。",
        "The name is missing.",
    ),
    said(
        Code::NameInvalid,
        "NAME_INVALID",
        "姓名须为 2 至 30 个字，不含数字和符号。",
        "The name must have 2 to 30 letters, without digits or signs.",
    ),
    said(
        Code::DocumentMissing,
        "DOCUMENT_MISSING",
        "缺少证件号码；以网号核验的人员，证件类型请填“网号”并填写手机号。",
        "The number is missing; for someone verified online write that as the type.",
    ),
    said(
        Code::DocumentTypeMissing,
        "DOCUMENT_TYPE_MISSING",
        "号码不是身份证号，请填写证件类型。",
        "The number is no resident number; please write the type of document.",
    ),
    said(
        Code::DocumentTypeUnknown,
        "DOCUMENT_TYPE_UNKNOWN",
        "证件类型无法识别，请按模板中的类型填写。",
        "The type of document is unknown; please use one of the template.",
    ),
    said(
        Code::DocumentInvalid,
        "DOCUMENT_INVALID",
        "号码不符合该证件类型的格式。",
        "The number is none of this type of document.",
    ),
    said(
        Code::DocumentLength,
        "DOCUMENT_LENGTH",
        "身份证号应为 18 位。",
        "A resident number has 18 characters.",
    ),
    said(
        Code::DocumentCharacters,
        "DOCUMENT_CHARACTERS",
        "身份证号含有不允许的字符：前 17 位为数字，末位为数字或 X。",
        "A resident number has 17 digits, then a digit or X.",
    ),
    said(
        Code::DocumentDate,
        "DOCUMENT_DATE",
        "身份证号中的出生日期不存在或晚于今天。",
        "The date of birth in the number does not exist or is in the future.",
    ),
    said(
        Code::DocumentCheck,
        "DOCUMENT_CHECK",
        "身份证号的校验位不符，至少有一位写错，请核对证件。",
        "The check digit does not fit: at least one digit is wrong.",
    ),
    said(
        Code::NumberEaten,
        "NUMBER_EATEN",
        "表格软件把号码当成了数值，末几位已丢失；请把该列设为文本格式后重新填写完整号码。",
        "The program made a number of it and lost digits; format as text, type it again.",
    ),
    said(
        Code::PhoneMissing,
        "PHONE_MISSING",
        "没有证件号码的人员须填写手机号。",
        "Who has no document number needs a phone.",
    ),
    said(
        Code::PhoneInvalid,
        "PHONE_INVALID",
        "手机号码有误，应为 11 位。",
        "The mobile number is wrong; it has 11 digits.",
    ),
    said(
        Code::ColumnsSwapped,
        "COLUMNS_SWAPPED",
        "证件号码与手机号似乎填反了。",
        "The document number and the phone seem to be swapped.",
    ),
    said(
        Code::CellIsDate,
        "CELL_IS_DATE",
        "单元格是日期格式，请设为文本格式后重新填写。",
        "The cell is a date; please format it as text and type it again.",
    ),
    said(
        Code::CellIsMerged,
        "CELL_IS_MERGED",
        "单元格与上方合并，请取消合并并逐行填写。",
        "The cell is merged with one above; please split it and fill in each row.",
    ),
    said(
        Code::CellTooLong,
        "CELL_TOO_LONG",
        "单元格超过 200 个字。",
        "The cell has more than 200 characters.",
    ),
    said(
        Code::CellBroken,
        "CELL_BROKEN",
        "单元格是公式错误或逻辑值，请填写文字。",
        "The cell has an error or a truth value; please write text.",
    ),
    said(
        Code::RowHidden,
        "ROW_HIDDEN",
        "该行被隐藏或筛选掉：需要的请取消隐藏，不需要的请删除。",
        "The row is hidden: show it if it is wanted, delete it if not.",
    ),
    said(
        Code::PersonRepeated,
        "PERSON_REPEATED",
        "与第 {row} 行是同一人，或证件、手机号重复。",
        "The person, document or phone stands in row {row} already.",
    ),
    said(
        Code::PersonNotMatched,
        "PERSON_NOT_MATCHED",
        "姓名、证件或手机号与登记信息不符。",
        "The name, document or phone does not match what is registered.",
    ),
];

impl Code {
    fn said(self) -> &'static Said {
        &SAID[self as usize]
    }

    /// Stable.
    pub fn name(self) -> &'static str {
        self.said().name
    }

    /// The code of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        SAID.iter().find(|said| said.name == name).map(|it| it.code)
    }
}

/// What is wrong with a row.
#[derive(Clone, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    /// `None` when it is the whole row.
    pub column: Option<Column>,
    /// What should stand in the column, where it can be known.
    pub repair: Option<String>,
    /// The row it is about as well.
    pub other_row: Option<u32>,
}

/// A repair holds what identifies a person, so it is never shown here.
impl std::fmt::Debug for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finding")
            .field("code", &self.code)
            .field("column", &self.column)
            .field("has_repair", &self.repair.is_some())
            .field("other_row", &self.other_row)
            .finish()
    }
}

impl Finding {
    pub fn new(code: Code, column: impl Into<Option<Column>>) -> Self {
        Self {
            code,
            column: column.into(),
            repair: None,
            other_row: None,
        }
    }

    #[must_use]
    pub fn repair(self, repair: Option<String>) -> Self {
        Self { repair, ..self }
    }

    /// The sentence people read.
    pub fn message(&self, language: Language) -> String {
        let said = self.code.said();
        let row = self.other_row.map(|row| row.to_string());
        language
            .choose(said.zh, said.en)
            .replace("{row}", row.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_said_in_both_languages() {
        assert_eq!(SAID.len(), Code::PersonNotMatched as usize + 1);
        for (at, said) in SAID.iter().enumerate() {
            assert_eq!(said.code as usize, at);
            assert_eq!(Code::from_name(said.name), Some(said.code));
            assert!(said.zh.ends_with('。') && said.en.ends_with('.'));
            assert!(said.en.is_ascii(), "{}", said.name);
        }
        let mut repeated = Finding::new(Code::PersonRepeated, Column::Phone);
        repeated.other_row = Some(7);
        assert!(repeated.message(Language::Zh).contains("第 7 行"));
        assert!(repeated.message(Language::En).contains("row 7"));
    }
}
