//! Why a whole file cannot be used, with the sentences people read.

use kit::graphql::Language;

/// Why none of a file's rows was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    Empty,
    TooLarge,
    NotATable,
    OldFormat,
    Encrypted,
    Macros,
    ExternalLinks,
    DocumentType,
    Inflates,
    TooManyParts,
    Unreadable,
    EncodingUnknown,
    HeaderNotFound,
    ColumnRepeated,
    NoRows,
    TooManyRows,
    TooManyColumns,
    RowColumnMissing,
    RowUnknown,
    TooManyFailures,
}

struct Said {
    problem: Problem,
    code: &'static str,
    zh: &'static str,
    en: &'static str,
}

const fn said(problem: Problem, code: &'static str, zh: &'static str, en: &'static str) -> Said {
    Said {
        problem,
        code,
        zh,
        en,
    }
}

/// In the order of the enum.
static SAID: [Said; 20] = [
    said(
        Problem::Empty,
        "FILE_EMPTY",
        "文件是空的。",
        "The file is empty.",
    ),
    said(
        Problem::TooLarge,
        "FILE_TOO_LARGE",
        "文件超过 4 MB，请只保留名单所需的列。",
        "The file has more than 4 MB; please keep the columns of the roster only.",
    ),
    said(
        Problem::NotATable,
        "FILE_NOT_A_TABLE",
        "这不是表格文件，请上传 xlsx 或 csv。",
        "This is no table; please upload xlsx or csv.",
    ),
    said(
        Problem::OldFormat,
        "FILE_OLD_FORMAT",
        "这是旧版 xls 文件（可能被改了扩展名），请另存为 xlsx 后上传。",
        "This is an old xls file, whatever its name; please save it as xlsx.",
    ),
    said(
        Problem::Encrypted,
        "FILE_ENCRYPTED",
        "文件设有打开密码，请取消密码后上传。",
        "The file is protected by a password; please take the password off.",
    ),
    said(
        Problem::Macros,
        "FILE_HAS_MACROS",
        "文件含有宏，请另存为不含宏的 xlsx 后上传。",
        "The file has macros; please save it as xlsx without macros.",
    ),
    said(
        Problem::ExternalLinks,
        "FILE_HAS_EXTERNAL_LINKS",
        "文件引用了其他文件或数据源，请断开链接后上传。",
        "The file refers to other files or sources; please break these links.",
    ),
    said(
        Problem::DocumentType,
        "FILE_HAS_DOCUMENT_TYPE",
        "文件含有不允许的定义，请用 Excel 或 WPS 重新另存后上传。",
        "The file has definitions that are not allowed; please save it again.",
    ),
    said(
        Problem::Inflates,
        "FILE_INFLATES_TOO_MUCH",
        "文件解压后过大，请只保留名单所需的行和列。",
        "The file is too large when unpacked; please keep the roster only.",
    ),
    said(
        Problem::TooManyParts,
        "FILE_HAS_TOO_MANY_PARTS",
        "文件内容过于复杂，请把名单复制到新的工作簿后上传。",
        "The file is too complex; please copy the roster into a new workbook.",
    ),
    said(
        Problem::Unreadable,
        "FILE_UNREADABLE",
        "文件已损坏，无法读取，请重新另存后上传。",
        "The file is damaged; please save it again.",
    ),
    said(
        Problem::EncodingUnknown,
        "FILE_ENCODING_UNKNOWN",
        "无法识别文字编码，请另存为 UTF-8 编码的 csv 或 xlsx。",
        "The encoding is unknown; please save it as UTF-8 csv or as xlsx.",
    ),
    said(
        Problem::HeaderNotFound,
        "HEADER_NOT_FOUND",
        "前十行中找不到表头：须有“姓名”列和“证件号码”或“手机号”列。",
        "No column names in the first ten rows: name, and id number or phone.",
    ),
    said(
        Problem::ColumnRepeated,
        "COLUMN_REPEATED",
        "表头中有两列含义相同，请删去一列。",
        "Two columns mean the same; please remove one.",
    ),
    said(
        Problem::NoRows,
        "NO_ROWS",
        "表头下面没有人员。",
        "There is nobody below the column names.",
    ),
    said(
        Problem::TooManyRows,
        "TOO_MANY_ROWS",
        "名单超过 5000 人，请分成几份上传。",
        "The roster has more than 5,000 people; please upload it in parts.",
    ),
    said(
        Problem::TooManyColumns,
        "TOO_MANY_COLUMNS",
        "表格超过 100 列，请只保留名单所需的列。",
        "The table has more than 100 columns; please keep those of the roster.",
    ),
    said(
        Problem::RowColumnMissing,
        "ROW_COLUMN_MISSING",
        "更正文件须保留“行号”列。",
        "A correction must keep the column with the row numbers.",
    ),
    said(
        Problem::RowUnknown,
        "ROW_UNKNOWN",
        "更正文件中有行号不属于待更正的行，请勿改动“行号”列。",
        "A row number is none of those to be corrected; please do not change them.",
    ),
    said(
        Problem::TooManyFailures,
        "TOO_MANY_FAILURES",
        "与登记信息不符的人员过多，名单未采用，请核对后一小时再试。",
        "Too many people do not match; check the roster and try again in an hour.",
    ),
];

impl Problem {
    fn said(self) -> &'static Said {
        &SAID[self as usize]
    }

    /// Stable.
    pub fn code(self) -> &'static str {
        self.said().code
    }

    /// The sentence people read.
    pub fn message(self, language: Language) -> &'static str {
        let said = self.said();
        language.choose(said.zh, said.en)
    }

    /// The problem with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        SAID.iter()
            .find(|said| said.code == code)
            .map(|said| said.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each problem has its own row and its own code; both sentences end as sentences do.
    #[test]
    fn every_problem_is_said_in_both_languages() {
        assert_eq!(SAID.len(), Problem::TooManyFailures as usize + 1);
        for (at, said) in SAID.iter().enumerate() {
            assert_eq!(said.problem as usize, at);
            assert_eq!(Problem::from_code(said.code), Some(said.problem));
            assert!(said.zh.ends_with('。') && said.en.ends_with('.'));
            assert!(said.en.is_ascii(), "{}", said.code);
        }
    }
}
