//! The daily trade bill: columns found by their Chinese names, amounts by integer arithmetic.
//! The payer's column is not read.

use std::collections::HashMap;

use kit::types::Fen;

use crate::domain::{BillEntry, BillKind, Settled};

/// Rows of a bill, at most.
const ROWS_MAX: usize = 500_000;

/// A bill as far as it is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    pub entries: Vec<BillEntry>,
    pub paid: Fen,
    pub refunded: Fen,
    pub fees: Fen,
}

/// Why a bill cannot be read, and in which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the bill: {reason}")]
pub struct BillError {
    pub line: usize,
    pub reason: &'static str,
}

/// Yuan with two decimals as fen.
fn fen(text: &str) -> Option<Fen> {
    let (yuan, cents) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(yuan) || !digits(cents) || cents.len() > 5 || yuan.len() > 10 {
        return None;
    }
    // Fees are written with more decimals; anything below a fen is not money here.
    let (whole, rest) = cents.split_at(cents.len().min(2));
    if rest.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let cents: i64 = format!("{whole:0<2}").parse().ok()?;
    Fen::new(yuan.parse::<i64>().ok()? * 100 + cents).ok()
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

impl Columns<'_> {
    fn get<'b>(&self, cells: &[&'b str], name: &'static str) -> Option<&'b str> {
        self.0.get(name).and_then(|&at| cells.get(at)).copied()
    }
}

/// Reads a bill and checks it against its own summary and against `mchid`.
///
/// # Errors
/// The first line that is not as documented: a bill half read is not a bill.
pub fn parse(bytes: &[u8], mchid: &str) -> Result<Bill, BillError> {
    let fail = |line: usize, reason| BillError {
        line: line + 1,
        reason,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| fail(0, "not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.len() < 3 || lines.len() > ROWS_MAX {
        return Err(fail(0, "no header, rows and summary"));
    }
    let columns = Columns(
        lines[0]
            .split(',')
            .enumerate()
            .map(|(at, name)| (name.trim(), at))
            .collect(),
    );
    let (rows, summary) = lines[1..].split_at(lines.len() - 3);
    let mut bill = Bill::default();
    for (at, line) in rows.iter().enumerate() {
        let cells = cells(line);
        if cells.len() != columns.0.len() {
            return Err(fail(at + 1, "another number of cells than columns"));
        }
        if columns.get(&cells, "商户号") != Some(mchid) {
            return Err(fail(at + 1, "another merchant's"));
        }
        let (entry, fee) = row(&columns, &cells).map_err(|reason| fail(at + 1, reason))?;
        let sum = match entry.kind {
            BillKind::Payment => &mut bill.paid,
            BillKind::Refund => &mut bill.refunded,
        };
        *sum = sum
            .add(entry.fen)
            .map_err(|_| fail(at + 1, "more than an amount can be"))?;
        bill.fees = bill
            .fees
            .add(fee)
            .map_err(|_| fail(at + 1, "more than an amount can be"))?;
        bill.entries.push(entry);
    }
    check_summary(&bill, summary).map_err(|reason| fail(lines.len() - 1, reason))?;
    Ok(bill)
}

fn row(columns: &Columns<'_>, cells: &[&str]) -> Result<(BillEntry, Fen), &'static str> {
    let text = |name| columns.get(cells, name).ok_or("a column is missing");
    if text("货币种类")? != "CNY" {
        return Err("another currency than CNY");
    }
    let out_trade_no = text("商户订单号")?.to_owned();
    let fee = fen(text("手续费")?.trim_start_matches('-')).ok_or("a fee cannot be read")?;
    let is_refund = match text("交易状态")? {
        "SUCCESS" => false,
        "REFUND" | "REVOKED" => true,
        _ => return Err("an unknown state"),
    };
    let entry = if is_refund {
        BillEntry {
            kind: BillKind::Refund,
            number: text("商户退款单号")?.to_owned(),
            out_trade_no,
            fen: fen(text("申请退款金额")?).ok_or("an amount cannot be read")?,
            settled: match text("退款状态")? {
                "SUCCESS" => Settled::Yes,
                "PROCESSING" => Settled::NotYet,
                _ => Settled::Stuck,
            },
        }
    } else {
        BillEntry {
            kind: BillKind::Payment,
            number: text("微信订单号")?.to_owned(),
            out_trade_no,
            fen: fen(text("订单金额")?).ok_or("an amount cannot be read")?,
            settled: Settled::Yes,
        }
    };
    Ok((entry, fee))
}

fn check_summary(bill: &Bill, summary: &[&str]) -> Result<(), &'static str> {
    let [names, values] = summary else {
        return Err("no summary");
    };
    let columns = Columns(
        names
            .split(',')
            .enumerate()
            .map(|(at, name)| (name.trim(), at))
            .collect(),
    );
    let cells = cells(values);
    let sum = |name| {
        columns
            .get(&cells, name)
            .and_then(fen)
            .ok_or("the summary cannot be read")
    };
    let count = columns
        .get(&cells, "总交易单数")
        .and_then(|text| text.parse::<usize>().ok());
    let agrees = count == Some(bill.entries.len())
        && sum("订单总金额")? == bill.paid
        && sum("申请退款总金额")? == bill.refunded;
    if agrees {
        Ok(())
    } else {
        Err("the summary does not agree with the rows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "交易时间,公众账号ID,商户号,微信订单号,商户订单号,用户标识,交易状态,货币种类,\
        微信退款单号,商户退款单号,申请退款金额,退款状态,手续费,订单金额";
    const SUMMARY: &str = "总交易单数,订单总金额,申请退款总金额";

    fn bill(rows: &[&str], summary: &str) -> Result<Bill, BillError> {
        let text = format!(
            "\u{feff}{HEAD}\r\n{}\r\n{SUMMARY}\r\n{summary}\r\n",
            rows.join("\r\n")
        );
        parse(text.as_bytes(), "1900000050")
    }

    const PAID: &str = "`2026-04-01 10:00:00,`wx1,`1900000050,`42,`t1,`openid,`SUCCESS,`CNY,\
        `0,`0,`0.00,`,`0.00000,`199.05";
    const BACK: &str = "`2026-04-01 11:00:00,`wx1,`1900000050,`42,`t1,`openid,`REFUND,`CNY,\
        `50,`R1,`9.05,`SUCCESS,`-0.00000,`0.00";

    #[test]
    fn a_bill_is_read_to_the_fen() {
        let bill = bill(&[PAID, BACK], "`2,`199.05,`9.05").unwrap();
        assert_eq!(bill.entries.len(), 2);
        assert_eq!(
            (bill.paid.get(), bill.refunded.get(), bill.fees.get()),
            (19_905, 905, 0)
        );
        assert_eq!(bill.entries[1].number, "R1");
        assert!(!format!("{bill:?}").contains("openid"));
    }

    #[test]
    fn a_bill_that_does_not_add_up_is_refused() {
        assert!(bill(&[PAID, BACK], "`2,`199.06,`9.05").is_err());
        assert!(bill(&[PAID], "`2,`199.05,`0.00").is_err());
        let foreign = PAID.replace("1900000050", "1900000051");
        assert_eq!(bill(&[&foreign], "`1,`199.05,`0.00").unwrap_err().line, 2);
        let dollars = PAID.replace("CNY", "USD");
        assert!(bill(&[&dollars], "`1,`199.05,`0.00").is_err());
        assert!(parse(b"", "1900000050").is_err());
        assert!(parse(&[0xff, 0xfe], "1900000050").is_err());
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
    }
}
