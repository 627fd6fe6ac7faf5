//! Which column is which: names in either language, in any order, with the marks people add.

use super::problem::Problem;
use super::table::Cell;

/// A column that is read. All others are ignored, and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// The row's number in the file before, in a correction.
    Row,
    Name,
    DocumentType,
    DocumentNumber,
    Phone,
}

impl Column {
    pub const ALL: [Self; 5] = [
        Self::Row,
        Self::Name,
        Self::DocumentType,
        Self::DocumentNumber,
        Self::Phone,
    ];

    /// Stable.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Row => "ROW",
            Self::Name => "NAME",
            Self::DocumentType => "DOCUMENT_TYPE",
            Self::DocumentNumber => "DOCUMENT_NUMBER",
            Self::Phone => "PHONE",
        }
    }

    /// The column with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.code() == code)
    }

    /// What it may be called, in the form of [`plain`]; the first is how we write it.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Row => &["行号", "row", "原行号", "rownumber"],
            Self::Name => &[
                "姓名",
                "name",
                "名字",
                "会员姓名",
                "职工姓名",
                "员工姓名",
                "人员姓名",
                "真实姓名",
                "fullname",
                "membername",
            ],
            Self::DocumentType => &[
                "证件类型",
                "documenttype",
                "证件种类",
                "证件类别",
                "证件名称",
                "idtype",
                "doctype",
                "身份证件类型",
                "有效证件类型",
            ],
            Self::DocumentNumber => &[
                "证件号码",
                "idnumber",
                "证件号",
                "身份证号",
                "身份证号码",
                "身份证",
                "公民身份号码",
                "居民身份证号",
                "居民身份证号码",
                "身份证件号码",
                "有效证件号码",
                "documentnumber",
                "idno",
                "documentno",
                "idcard",
                "idcardnumber",
            ],
            Self::Phone => &[
                "手机号",
                "phone",
                "手机",
                "手机号码",
                "电话",
                "电话号码",
                "联系电话",
                "联系方式",
                "移动电话",
                "本人手机",
                "mobile",
                "mobilephone",
                "phonenumber",
                "mobilenumber",
                "tel",
                "telephone",
            ],
        }
    }

    /// Also of a name in two languages: `姓名 / Name`.
    fn of(text: &str) -> Option<Self> {
        let known = |text: &str| {
            let text = plain(text);
            let named = |column: &Self| column.names().contains(&text.as_str());
            Self::ALL.into_iter().find(named)
        };
        known(text).or_else(|| text.split(['/', '／', '|', '\n']).find_map(known))
    }
}

/// Where the columns are, counted from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    places: Vec<(u32, Column)>,
    /// The names of the columns that are not read, as they stand there.
    pub ignored: Vec<String>,
}

impl Header {
    /// `None` when these cells are no column names: a name and a number or phone must be there.
    ///
    /// # Errors
    /// [`Problem::ColumnRepeated`].
    pub fn recognise(cells: &[(u32, Cell)]) -> Result<Option<Self>, Problem> {
        let mut places: Vec<(u32, Column)> = Vec::new();
        let mut ignored = Vec::new();
        let mut repeated = false;
        for (at, cell) in cells {
            let Cell::Text(text) = cell else { continue };
            match Column::of(text) {
                Some(column) => {
                    repeated |= places.iter().any(|(_, known)| *known == column);
                    places.push((*at, column));
                }
                None if is_ours(text) => {}
                None => ignored.push(super::cell::clean_name(text)),
            }
        }
        let has = |column| places.iter().any(|(_, known)| *known == column);
        if !has(Column::Name) || !(has(Column::DocumentNumber) || has(Column::Phone)) {
            return Ok(None);
        }
        if repeated {
            return Err(Problem::ColumnRepeated);
        }
        Ok(Some(Self { places, ignored }))
    }

    /// What stands in this place.
    pub fn column(&self, at: u32) -> Option<Column> {
        self.places
            .iter()
            .find(|(place, _)| *place == at)
            .map(|(_, column)| *column)
    }

    pub fn places(&self) -> impl Iterator<Item = (u32, Column)> {
        self.places.iter().copied()
    }

    pub fn has(&self, column: Column) -> bool {
        self.places.iter().any(|(_, known)| *known == column)
    }
}

/// Columns that our own files have beside those that are read.
fn is_ours(text: &str) -> bool {
    ["原因", "建议", "reason", "repair"].contains(&plain(text).as_str())
}

/// Without spaces, marks, remarks in brackets and case: `＊姓 名（必填）` is `姓名`.
pub(super) fn plain(text: &str) -> String {
    let mut depth = 0_u32;
    let mut plain = String::new();
    for c in super::cell::half_width(text).chars() {
        match c {
            '(' | '[' | '【' => depth += 1,
            ')' | ']' | '】' => depth = depth.saturating_sub(1),
            c if depth == 0 && c.is_alphanumeric() => plain.extend(c.to_lowercase()),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(names: &[&str]) -> Vec<(u32, Cell)> {
        (0..)
            .zip(names.iter().map(|name| Cell::Text((*name).to_owned())))
            .collect()
    }

    #[test]
    fn columns_are_known_in_any_order_and_either_language() {
        for (names, order) in [
            (
                ["手机号码", "＊姓 名（必填）", "身份证号", "证件类型"],
                [
                    Column::Phone,
                    Column::Name,
                    Column::DocumentNumber,
                    Column::DocumentType,
                ],
            ),
            (
                ["Document Type", "ID Number", "NAME*", "Mobile phone"],
                [
                    Column::DocumentType,
                    Column::DocumentNumber,
                    Column::Name,
                    Column::Phone,
                ],
            ),
        ] {
            let header = Header::recognise(&cells(&names)).unwrap().unwrap();
            for (at, column) in (0..).zip(order) {
                assert_eq!(header.column(at), Some(column), "{names:?}");
            }
        }
    }

    #[test]
    fn other_columns_are_ignored_and_told_and_repeated_ones_refused() {
        let header = Header::recognise(&cells(&["序号", "姓名", "部门", "手机", "原因"]))
            .unwrap()
            .unwrap();
        assert_eq!(header.ignored, ["序号", "部门"]);
        assert_eq!(header.column(0), None);
        let twice = Header::recognise(&cells(&["姓名", "手机", "联系电话"]));
        assert_eq!(twice, Err(Problem::ColumnRepeated));
        for none in [["姓名", "部门"], ["证件号码", "手机"], ["某某工会名单", ""]] {
            assert_eq!(Header::recognise(&cells(&none)), Ok(None));
        }
    }

    #[test]
    fn no_name_stands_for_two_columns() {
        let mut all: Vec<&str> = Column::ALL
            .iter()
            .flat_map(|column| column.names().iter().copied())
            .collect();
        assert!(all.iter().all(|name| plain(name) == *name));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
