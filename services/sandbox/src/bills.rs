//! The provider's daily bills as CSV: Chinese headers, a backtick before every field, a summary.
//!
//! A bill of a past day never changes: states are those at the day's end, however late it is asked
//! for. Fees are nil, the rate the provider gives to charities. Formats:
//! <https://pay.weixin.qq.com/docs/merchant/products/bill-download/format-trade.html> and
//! <https://pay.weixin.qq.com/docs/merchant/products/bill-download/format-fundflow.html>.

use crate::clock;
use crate::orders::{Order, Payment};
use crate::refunds::Refund;
use std::ops::Range;

const LINE_END: &str = "\r\n";

const ALL_COLUMNS: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,\
交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,\
充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const SUCCESS_COLUMNS: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,\
用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,商品名称,商户数据包,手续费,费率,\
订单金额,费率备注";
const REFUND_COLUMNS: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,\
用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,退款申请时间,退款成功时间,\
微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,\
订单金额,申请退款金额,费率备注";
const ALL_SUMMARY: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";
const SUCCESS_SUMMARY: &str = "总交易单数,应结订单总金额,手续费总金额,订单总金额";
const FUND_COLUMNS: &str = "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,\
收支金额(元),账户结余(元),资金变更提交申请人,备注,业务凭证号";
const FUND_SUMMARY: &str = "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额";

/// Which rows a trade bill has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BillType {
    All,
    Success,
    Refund,
}

/// A payment or a refund as the bill sees it.
#[derive(Clone, Copy)]
pub(crate) enum Movement<'a> {
    Paid(&'a Order, &'a Payment),
    Refunded(&'a Order, &'a Payment, &'a Refund),
}

impl Movement<'_> {
    /// A refund counts from when it was accepted, not from when it succeeded.
    pub(crate) fn at_ms(&self) -> i64 {
        match self {
            Self::Paid(_, payment) => payment.paid_ms,
            Self::Refunded(_, _, refund) => refund.created_ms,
        }
    }

    fn number(&self) -> &str {
        match self {
            Self::Paid(_, payment) => &payment.transaction_id,
            Self::Refunded(_, _, refund) => &refund.refund_id,
        }
    }

    /// Positive for what comes in, negative for what goes out.
    fn fen(&self) -> i64 {
        match self {
            Self::Paid(order, _) => order.terms.total_fen,
            Self::Refunded(_, _, refund) => -refund.refund_fen,
        }
    }
}

/// Sorts movements as every bill lists them: by time, then by the provider's number.
pub(crate) fn sort(movements: &mut [Movement<'_>]) {
    movements.sort_by(|a, b| (a.at_ms(), a.number()).cmp(&(b.at_ms(), b.number())));
}

/// The trade bill of `day`; `None` when nothing happened.
pub(crate) fn trade_bill(
    movements: &[Movement<'_>],
    day: &Range<i64>,
    bill_type: BillType,
) -> Option<String> {
    let listed: Vec<&Movement<'_>> = movements
        .iter()
        .filter(|movement| day.contains(&movement.at_ms()))
        .filter(|movement| match (bill_type, movement) {
            (BillType::All, _)
            | (BillType::Success, Movement::Paid(..))
            | (BillType::Refund, Movement::Refunded(..)) => true,
            (BillType::Success, Movement::Refunded(..))
            | (BillType::Refund, Movement::Paid(..)) => false,
        })
        .collect();
    if listed.is_empty() {
        return None;
    }
    let columns = match bill_type {
        BillType::All => ALL_COLUMNS,
        BillType::Success => SUCCESS_COLUMNS,
        BillType::Refund => REFUND_COLUMNS,
    };
    let mut csv = format!("{columns}{LINE_END}");
    for movement in &listed {
        push_row(
            &mut csv,
            columns
                .split(',')
                .map(|column| cell(movement, column, day.end)),
        );
    }
    push_trade_summary(&mut csv, &listed, bill_type);
    Some(csv)
}

fn push_trade_summary(csv: &mut String, listed: &[&Movement<'_>], bill_type: BillType) {
    let paid: i64 = listed.iter().map(|movement| movement.fen().max(0)).sum();
    let refunded: i64 = listed.iter().map(|movement| (-movement.fen()).max(0)).sum();
    let count = listed.len().to_string();
    let (header, cells) = match bill_type {
        BillType::Success => (SUCCESS_SUMMARY, vec![count, yuan(paid), fee(), yuan(paid)]),
        BillType::All | BillType::Refund => {
            let cells = vec![
                count,
                yuan(paid),
                yuan(refunded),
                yuan(0),
                fee(),
                yuan(paid),
                yuan(refunded),
            ];
            (ALL_SUMMARY, cells)
        }
    };
    csv.push_str(header);
    csv.push_str(LINE_END);
    push_row(csv, cells.into_iter());
}

/// The bill of the merchant's basic account; `movements` are all there ever were, sorted.
pub(crate) fn fund_bill(movements: &[Movement<'_>], day: &Range<i64>) -> Option<String> {
    let mut csv = format!("{FUND_COLUMNS}{LINE_END}");
    let (mut balance, mut income, mut income_count) = (0_i64, 0_i64, 0_usize);
    let (mut expense, mut expense_count) = (0_i64, 0_usize);
    for movement in movements {
        let fen = movement.fen();
        balance += fen;
        if !day.contains(&movement.at_ms()) {
            continue;
        }
        let (name, direction, voucher) = match movement {
            Movement::Paid(order, _) => ("交易", "收入", &order.terms.out_trade_no),
            Movement::Refunded(_, _, refund) => ("退款", "支出", &refund.out_refund_no),
        };
        let cells = [
            clock::bill_time(movement.at_ms()),
            movement.number().to_owned(),
            // One movement of money per payment or refund: its number tells them apart.
            format!("{}01", movement.number()),
            name.to_owned(),
            name.to_owned(),
            direction.to_owned(),
            yuan(fen.abs()),
            yuan(balance),
            "system".to_owned(),
            match movement {
                Movement::Paid(..) => String::new(),
                Movement::Refunded(_, _, refund) => plain(refund.reason.as_deref().unwrap_or("")),
            },
            voucher.clone(),
        ];
        push_row(&mut csv, cells.into_iter());
        if fen >= 0 {
            income += fen;
            income_count += 1;
        } else {
            expense -= fen;
            expense_count += 1;
        }
    }
    if income_count + expense_count == 0 {
        return None;
    }
    csv.push_str(FUND_SUMMARY);
    csv.push_str(LINE_END);
    let summary = [
        (income_count + expense_count).to_string(),
        income_count.to_string(),
        yuan(income),
        expense_count.to_string(),
        yuan(expense),
    ];
    push_row(&mut csv, summary.into_iter());
    Some(csv)
}

fn push_row(csv: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.map(|cell| format!("`{cell}")).collect();
    csv.push_str(&cells.join(","));
    csv.push_str(LINE_END);
}

fn cell(movement: &Movement<'_>, column: &str, day_end_ms: i64) -> String {
    let (order, payment, refund) = match movement {
        Movement::Paid(order, payment) => (*order, *payment, None),
        Movement::Refunded(order, payment, refund) => (*order, *payment, Some(*refund)),
    };
    if let Some(text) = refund.and_then(|refund| refund_cell(refund, column, day_end_ms)) {
        return text;
    }
    match column {
        "交易时间" => clock::bill_time(movement.at_ms()),
        "公众账号ID" => order.terms.appid.clone(),
        "商户号" => order.terms.mchid.clone(),
        "特约商户号" | "微信退款单号" | "商户退款单号" => "0".to_owned(),
        "微信订单号" => payment.transaction_id.clone(),
        "商户订单号" => order.terms.out_trade_no.clone(),
        "用户标识" => payment.openid.clone(),
        "交易类型" => order.terms.trade_type.name().to_owned(),
        "交易状态" => "SUCCESS".to_owned(),
        "付款银行" => "OTHERS".to_owned(),
        "货币种类" => "CNY".to_owned(),
        "应结订单金额" | "订单金额" => yuan(order.terms.total_fen),
        "代金券金额" | "退款金额" | "充值券退款金额" | "申请退款金额" => {
            yuan(0)
        }
        "商品名称" => plain(&order.terms.description),
        "商户数据包" => plain(order.terms.attach.as_deref().unwrap_or("")),
        "手续费" => fee(),
        "费率" => "0.00%".to_owned(),
        // 设备号, 退款类型, 退款状态, 费率备注: empty for a payment.
        _ => String::new(),
    }
}

/// What a refund's row shows otherwise than a payment's.
fn refund_cell(refund: &Refund, column: &str, day_end_ms: i64) -> Option<String> {
    let success_ms = refund
        .success_ms()
        .filter(|success_ms| *success_ms < day_end_ms);
    let text = match column {
        "交易状态" => "REFUND".to_owned(),
        "应结订单金额" | "订单金额" => yuan(0),
        "退款申请时间" => clock::bill_time(refund.created_ms),
        "退款成功时间" => success_ms.map(clock::bill_time).unwrap_or_default(),
        "微信退款单号" => refund.refund_id.clone(),
        "商户退款单号" => refund.out_refund_no.clone(),
        "退款金额" | "申请退款金额" => yuan(refund.refund_fen),
        "退款类型" => "ORIGINAL".to_owned(),
        "退款状态" => if success_ms.is_some() {
            "SUCCESS"
        } else {
            "PROCESSING"
        }
        .to_owned(),
        _ => return None,
    };
    Some(text)
}

/// Fen as yuan with two decimals, exactly.
fn yuan(fen: i64) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", fen.abs() / 100, fen.abs() % 100)
}

fn fee() -> String {
    "0.00000".to_owned()
}

/// A merchant's own text, so that it cannot break a row.
fn plain(text: &str) -> String {
    text.replace([',', '`'], " ")
        .replace('\r', "\\r")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Money is written without a detour over fractions.
    #[test]
    fn fen_become_yuan_exactly() {
        for (fen, text) in [(0, "0.00"), (5, "0.05"), (100, "1.00"), (20_019, "200.19")] {
            assert_eq!(yuan(fen), text);
        }
        assert_eq!(yuan(-5), "-0.05");
        assert_eq!(yuan(10_000_000_000_001), "100000000000.01");
    }

    /// A merchant's text cannot add a field or a line.
    #[test]
    fn texts_of_merchants_cannot_break_a_row() {
        assert_eq!(plain("a,b`c\r\nd"), "a b c\\r\\nd");
    }
}
