//! The daily trade bill: columns found by their Chinese names, amounts by integer arithmetic.
//! The payer's column is not read. A row that cannot be read is handed on as it stands: it is a
//! difference for a person, and no reason to leave the others uncompared.

use std::collections::HashMap;

use kit::types::Fen;

use crate::domain::{BillEntry, BillKind, RowProblem, Settled, Total, UnreadRow};

/// Lines of a bill, at most.
const ROWS_MAX: usize = 500_000;
/// How much of a row that was not read is kept, in characters.
const ROW_CHARS_MAX: usize = 240;
/// Without these columns a file is no trade bill.
const COLUMNS: [&str; 11] = [
    "商户号",
    "微信订单号",
    "商户订单号",
    "交易状态",
    "货币种类",
    "商户退款单号",
    "申请退款金额",
    "退款状态",
    "手续费",
    "订单金额",
    "交易时间",
];
/// What a person needs of a row that was not read, and nothing of who paid.
const SHOWN: [&str; 9] = [
    "微信订单号",
    "商户订单号",
    "商户退款单号",
    "交易状态",
    "退款状态",
    "货币种类",
    "订单金额",
    "申请退款金额",
    "手续费",
];

/// A bill as far as it is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    pub entries: Vec<BillEntry>,
    /// Sums of the entries.
    pub paid: Total,
    pub refunded: Total,
    /// What the provider kept, less what it gave back of it.
    pub fees: Total,
    pub unread: Vec<UnreadRow>,
    pub summary: Summary,
}

/// What the bill's own summary says of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Summary {
    #[default]
    Agrees,
    Differs,
    /// Rows are missing from our sums, so that nothing can be said.
    NotCompared,
}

/// Why a file is no bill, and in which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the bill: {reason}")]
pub struct BillError {
    pub line: usize,
    pub reason: &'static str,
}

/// Yuan with decimals as fen, below zero too.
fn signed_fen(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (yuan, cents) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(yuan) || !digits(cents) || cents.len() > 5 || yuan.len() > 13 {
        return None;
    }
    // Fees are written with more decimals; anything below a fen is not money here.
    let (whole, rest) = cents.split_at(cents.len().min(2));
    if rest.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let cents: i64 = format!("{whole:0<2}").parse().ok()?;
    Some(sign * (yuan.parse::<i64>().ok()? * 100 + cents))
}

/// Yuan with two decimals as an amount.
fn fen(text: &str) -> Option<Fen> {
    signed_fen(text).and_then(|fen| Fen::new(fen).ok())
}

/// The cells of a row: each begins with a backtick, and none of ours holds a comma.
fn cells(line: &str) -> Vec<&str> {
    line.strip_prefix('`')
        .unwrap_or(line)
        .split(",`")
        .map(str::trim)
        .collect()
}

struct Columns<'a>(HashMap<&'a str, usize>);

impl<'a> Columns<'a> {
    fn of(names: &'a str) -> Self {
        let names = names.split(',').enumerate();
        Self(names.map(|(at, name)| (name.trim(), at)).collect())
    }

    fn get<'b>(&self, cells: &[&'b str], name: &'static str) -> Option<&'b str> {
        self.0.get(name).and_then(|&at| cells.get(at)).copied()
    }
}

/// Reads a bill and compares it with its own summary. Rows that are not `mchid`'s, not in CNY or
/// not as documented are listed apart and are no part of the sums.
///
/// # Errors
/// When the file as a whole is no trade bill.
pub fn parse(bytes: &[u8], mchid: &str) -> Result<Bill, BillError> {
    let fail = |line: usize, reason| BillError {
        line: line + 1,
        reason,
    };
    // A broken character spoils its own cell alone.
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.len() < 3 {
        return Err(fail(0, "no header, rows and summary"));
    }
    if lines.len() > ROWS_MAX {
        return Err(fail(ROWS_MAX, "more rows than are read"));
    }
    let columns = Columns::of(lines[0]);
    if COLUMNS.iter().any(|name| !columns.0.contains_key(name)) {
        return Err(fail(0, "a column is missing"));
    }
    let (rows, summary) = lines[1..].split_at(lines.len() - 3);
    let mut bill = Bill::default();
    for (at, line) in rows.iter().enumerate() {
        let cells = cells(line);
        match row(&columns, &cells, mchid) {
            Ok((entry, fee)) => {
                let sum = match entry.kind {
                    BillKind::Payment => &mut bill.paid,
                    BillKind::Refund => &mut bill.refunded,
                };
                *sum = sum.add(entry.fen.into());
                bill.fees = bill.fees.add(fee);
                bill.entries.push(entry);
            }
            // The header is line one.
            Err(problem) => bill.unread.push(unread(&columns, &cells, at + 2, problem)),
        }
    }
    bill.summary = if bill.unread.is_empty() {
        compare_summary(&bill, summary)
    } else {
        Summary::NotCompared
    };
    Ok(bill)
}

fn row(
    columns: &Columns<'_>,
    cells: &[&str],
    mchid: &str,
) -> Result<(BillEntry, Total), RowProblem> {
    let unreadable = RowProblem::Unreadable;
    if cells.len() != columns.0.len() {
        return Err(unreadable("another number of cells than columns"));
    }
    let text = |name| {
        let cell = columns.get(cells, name);
        cell.ok_or(unreadable("a column is missing"))
    };
    if text("商户号")? != mchid {
        return Err(RowProblem::Merchant);
    }
    if text("货币种类")? != "CNY" {
        return Err(RowProblem::Currency);
    }
    let out_trade_no = text("商户订单号")?.to_owned();
    let fee = signed_fen(text("手续费")?).ok_or(unreadable("a fee cannot be read"))?;
    let amount = |name| fen(text(name)?).ok_or(unreadable("an amount cannot be read"));
    let (kind, number, fen, settled) = match text("交易状态")? {
        "SUCCESS" => (
            BillKind::Payment,
            text("微信订单号")?,
            amount("订单金额")?,
            Settled::Yes,
        ),
        "REFUND" | "REVOKED" => (
            BillKind::Refund,
            text("商户退款单号")?,
            amount("申请退款金额")?,
            match text("退款状态")? {
                "SUCCESS" => Settled::Yes,
                "PROCESSING" => Settled::NotYet,
                _ => Settled::Stuck,
            },
        ),
        _ => return Err(unreadable("an unknown state")),
    };
    let entry = BillEntry {
        kind,
        number: number.to_owned(),
        out_trade_no,
        fen,
        settled,
    };
    Ok((entry, Total::new(fee)))
}

/// What is kept of a row that was not read.
fn unread(columns: &Columns<'_>, cells: &[&str], line: usize, problem: RowProblem) -> UnreadRow {
    let whole = cells.len() == columns.0.len();
    let named = |name| columns.get(cells, name).filter(|_| whole);
    let number = match named("交易状态") {
        Some("SUCCESS") => named("微信订单号"),
        _ => named("商户退款单号")
            .filter(|number| !matches!(*number, "" | "0"))
            .or_else(|| named("微信订单号")),
    };
    let text = if whole {
        let shown = SHOWN.iter().map(|name| {
            let cell = columns.get(cells, name).unwrap_or_default();
            format!("{name}={cell}")
        });
        shown.collect::<Vec<_>>().join(" ")
    } else {
        // Which cell names the payer is not known: what looks like a name of any kind is left out.
        let shown = cells.iter().map(|cell| {
            let plain = cell.bytes().all(|byte| !byte.is_ascii_alphabetic());
            if plain || cell.len() <= 7 {
                cell
            } else {
                "…"
            }
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    UnreadRow {
        line,
        problem,
        number: number.map(str::to_owned),
        text: text.chars().take(ROW_CHARS_MAX).collect(),
    }
}

fn compare_summary(bill: &Bill, summary: &[&str]) -> Summary {
    let [names, values] = summary else {
        return Summary::Differs;
    };
    let columns = Columns::of(names);
    let cells = cells(values);
    let sum = |name| columns.get(&cells, name).and_then(signed_fen);
    let count = columns
        .get(&cells, "总交易单数")
        .and_then(|text| text.parse::<usize>().ok());
    let agrees = count == Some(bill.entries.len())
        && sum("订单总金额") == Some(bill.paid.get())
        && sum("申请退款总金额") == Some(bill.refunded.get());
    if agrees {
        Summary::Agrees
    } else {
        Summary::Differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "交易时间,公众账号ID,商户号,微信订单号,商户订单号,用户标识,交易状态,货币种类,\
        微信退款单号,商户退款单号,申请退款金额,退款状态,手续费,订单金额";
    const SUMMARY: &str = "总交易单数,订单总金额,申请退款总金额";

    fn bill(rows: &[&str], summary: &str) -> Bill {
        let text = format!(
            "\u{feff}{HEAD}\r\n{}\r\n{SUMMARY}\r\n{summary}\r\n",
            rows.join("\r\n")
        );
        parse(text.as_bytes(), "1900000050").unwrap()
    }

    const PAID: &str = "`2026-04-01 10:00:00,`wx1,`1900000050,`42,`t1,`openid-of-her,`SUCCESS,`CNY,\
        `0,`0,`0.00,`,`0.60000,`199.05";
    const BACK: &str = "`2026-04-01 11:00:00,`wx1,`1900000050,`42,`t1,`openid-of-her,`REFUND,`CNY,\
        `50,`R1,`9.05,`SUCCESS,`-0.02000,`0.00";

    #[test]
    fn a_bill_is_read_to_the_fen() {
        let bill = bill(&[PAID, BACK], "`2,`199.05,`9.05");
        assert_eq!(bill.entries.len(), 2);
        assert_eq!(
            (bill.paid.get(), bill.refunded.get(), bill.fees.get()),
            (19_905, 905, 58)
        );
        assert_eq!(bill.entries[1].number, "R1");
        assert_eq!(bill.summary, Summary::Agrees);
        assert!(!format!("{bill:?}").contains("openid"));
    }

    /// Whatever is wrong with one row, the others are read, and its payer is not kept.
    #[test]
    fn a_row_that_cannot_be_read_spoils_no_other() {
        use RowProblem::{Currency, Merchant, Unreadable};
        for (from, to, problem) in [
            ("CNY", "USD", Currency),
            ("1900000050", "1900000051", Merchant),
            ("SUCCESS", "USERPAYING", Unreadable("an unknown state")),
            ("199.05", "a lot", Unreadable("an amount cannot be read")),
            (
                "199.05",
                "100000000.01",
                Unreadable("an amount cannot be read"),
            ),
            ("0.60000", "0.60001", Unreadable("a fee cannot be read")),
            (
                ",`0,",
                ",`0,`1,",
                Unreadable("another number of cells than columns"),
            ),
        ] {
            let odd = PAID.replacen(from, to, 1);
            let bill = bill(&[BACK, &odd], "`2,`199.05,`9.05");
            assert_eq!(bill.entries.len(), 1, "{to}");
            let [row] = bill.unread.as_slice() else {
                panic!("{to}: {bill:?}");
            };
            assert_eq!((row.line, row.problem), (3, problem));
            assert!(row.text.contains("42"), "{to}: {}", row.text);
            assert!(!format!("{bill:?}").contains("openid"), "{to}");
            assert_eq!(bill.summary, Summary::NotCompared);
        }
        let foreign = PAID.replace("CNY", "USD");
        let row = &bill(&[&foreign], "`1,`199.05,`0.00").unread[0];
        assert_eq!(row.number.as_deref(), Some("42"));
        let stuck = BACK.replace("CNY", "USD");
        let row = &bill(&[&stuck], "`1,`0.00,`9.05").unread[0];
        assert_eq!(row.number.as_deref(), Some("R1"));
    }

    #[test]
    fn a_summary_that_does_not_add_up_is_told() {
        for summary in ["`2,`199.06,`9.05", "`1,`199.05,`9.05", "`2,`199.05", "`"] {
            let bill = bill(&[PAID, BACK], summary);
            assert_eq!(
                (bill.entries.len(), bill.summary),
                (2, Summary::Differs),
                "{summary}"
            );
        }
    }

    /// Bytes that are no text spoil the cell they are in.
    #[test]
    fn broken_bytes_spoil_their_cell() {
        let text = format!("{HEAD}\n{PAID}\n{BACK}\n{SUMMARY}\n`2,`199.05,`9.05\n");
        let mut bytes = text.into_bytes();
        let at = bytes.windows(6).position(|w| w == b"openid").unwrap();
        bytes[at] = 0xff;
        let read = parse(&bytes, "1900000050").unwrap();
        assert_eq!((read.entries.len(), read.unread.len()), (2, 0));
    }

    #[test]
    fn what_is_no_bill_is_refused() {
        for bytes in [b"".as_slice(), &[0xff, 0xfe], b"a\nb\nc\nd"] {
            assert!(parse(bytes, "1900000050").is_err());
        }
    }

    /// A great day is more than any one order can be.
    #[test]
    fn a_great_day_is_added_up() {
        let great = PAID.replace("199.05", "100000000.00");
        let bill = bill(&[&great, &great, &great], "`3,`300000000.00,`0.00");
        assert_eq!(bill.paid.get(), 30_000_000_000);
        assert_eq!(bill.summary, Summary::Agrees);
    }

    #[test]
    fn amounts_are_integers() {
        for (text, expected) in [
            ("0.00", Some(0)),
            ("199.05", Some(19_905)),
            ("7", Some(700)),
            ("7.5", Some(750)),
            ("0.00000", Some(0)),
            ("0.001", None),
            ("-1.00", None),
            ("1e3", None),
            ("", None),
            (".5", None),
        ] {
            assert_eq!(fen(text).map(Fen::get), expected, "{text}");
        }
        assert_eq!(signed_fen("-1.05000"), Some(-105));
        assert_eq!(signed_fen("--1"), None);
    }
}
