//! The ledger: transfers of an amount from one account to another, so that debits equal credits
//! by construction. What each account means is written in `CHART_OF_ACCOUNTS.md`.
//!
//! A transfer's cause is unique: the same thing is never booked twice.

use chrono::NaiveDate;
use kit::types::{Fen, OrderId};
use uuid::Uuid;

use super::Total;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// 银行存款
    Bank,
    /// 微信支付待清算
    WechatClearing,
    /// 预收款
    Prepaid,
    /// 待结算款
    Deferred,
    /// 应退款
    RefundsPayable,
    /// 差错待处理款
    Suspense,
    /// 支付手续费
    ProviderFees,
}

impl Account {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::WechatClearing => "wechat_clearing",
            Self::Prepaid => "prepaid",
            Self::Deferred => "deferred",
            Self::RefundsPayable => "refunds_payable",
            Self::Suspense => "suspense",
            Self::ProviderFees => "provider_fees",
        }
    }
}

/// An amount that moves, once for its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub cause: String,
    pub debit: Account,
    pub credit: Account,
    /// Above zero.
    pub fen: Total,
    pub order: Option<OrderId>,
}

/// Money came in. What pays its order is earned at once; what does not waits in suspense.
pub fn receipt_booked(
    transaction_id: &str,
    fen: Fen,
    order: Option<OrderId>,
    pays_order: bool,
) -> Vec<Transfer> {
    let came = |credit| Transfer {
        cause: format!("receipt/{transaction_id}"),
        debit: Account::WechatClearing,
        credit,
        fen: fen.into(),
        order,
    };
    if !pays_order {
        return vec![came(Account::Suspense)];
    }
    let sold = Transfer {
        cause: format!("sold/{transaction_id}"),
        debit: Account::Prepaid,
        credit: Account::Deferred,
        fen: fen.into(),
        order,
    };
    vec![came(Account::Prepaid), sold]
}

/// Money is owed back.
pub fn refund_owed(
    refund: Uuid,
    fen: Fen,
    order: Option<OrderId>,
    of_order: bool,
) -> Vec<Transfer> {
    if fen.is_zero() {
        return Vec::new();
    }
    let debit = if of_order {
        Account::Deferred
    } else {
        Account::Suspense
    };
    let credit = Account::RefundsPayable;
    vec![Transfer {
        cause: format!("refund-owed/{refund}"),
        debit,
        credit,
        fen: fen.into(),
        order,
    }]
}

/// Money has gone back.
pub fn refund_done(refund: Uuid, fen: Fen, order: Option<OrderId>) -> Vec<Transfer> {
    if fen.is_zero() {
        return Vec::new();
    }
    vec![Transfer {
        cause: format!("refund-done/{refund}"),
        debit: Account::RefundsPayable,
        credit: Account::WechatClearing,
        fen: fen.into(),
        order,
    }]
}

/// What the provider kept of a day's payments, by its bill: what of it is not booked yet. `booked`
/// is how often it was booked before: a corrected bill adds a transfer, and changes none.
pub fn fee(date: NaiveDate, booked: usize, more: Total) -> Vec<Transfer> {
    if more.is_zero() {
        return Vec::new();
    }
    let kept = more > Total::ZERO;
    let (debit, credit) = if kept {
        (Account::ProviderFees, Account::WechatClearing)
    } else {
        (Account::WechatClearing, Account::ProviderFees)
    };
    let fen = if kept { more } else { Total::ZERO.sub(more) };
    vec![Transfer {
        cause: fee_cause(date, booked),
        debit,
        credit,
        fen,
        order: None,
    }]
}

/// The cause of a day's fee, and of its corrections.
pub fn fee_cause(date: NaiveDate, booked: usize) -> String {
    if booked == 0 {
        format!("fee/{date}")
    } else {
        format!("fee/{date}/{booked}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn balances(transfers: &[Transfer]) -> HashMap<Account, i64> {
        let mut balances = HashMap::new();
        for one in transfers {
            *balances.entry(one.debit).or_default() += one.fen.get();
            *balances.entry(one.credit).or_default() -= one.fen.get();
        }
        balances.retain(|_, fen| *fen != 0);
        balances
    }

    /// A sale and its full refund leave every account as it was; so does money that came late.
    #[test]
    fn what_comes_and_goes_leaves_nothing_behind() {
        let fen = Fen::new(19_900).unwrap();
        for pays_order in [true, false] {
            let refund = Uuid::from_u128(1);
            let mut book = receipt_booked("42", fen, None, pays_order);
            book.extend(refund_owed(refund, fen, None, pays_order));
            book.extend(refund_done(refund, fen, None));
            assert!(balances(&book).is_empty(), "{book:?}");
        }
    }

    #[test]
    fn a_sale_is_money_at_the_provider_and_a_debt_to_be_settled() {
        let book = receipt_booked("42", Fen::new(5).unwrap(), None, true);
        let expected = HashMap::from([(Account::WechatClearing, 5), (Account::Deferred, -5)]);
        assert_eq!(balances(&book), expected);
        assert!(refund_owed(Uuid::nil(), Fen::ZERO, None, true).is_empty());
    }
    /// A corrected bill moves what it corrects, either way, under a cause of its own.
    #[test]
    fn a_corrected_fee_is_followed() {
        let date = NaiveDate::from_ymd_opt(2026, 4, 1).unwrap();
        let mut book = fee(date, 0, Total::new(60));
        book.extend(fee(date, 1, Total::new(-20)));
        book.extend(fee(date, 2, Total::ZERO));
        let causes: Vec<_> = book.iter().map(|one| one.cause.as_str()).collect();
        assert_eq!(causes, ["fee/2026-04-01", "fee/2026-04-01/1"]);
        let expected = HashMap::from([(Account::ProviderFees, 40), (Account::WechatClearing, -40)]);
        assert_eq!(balances(&book), expected);
        assert!(book.iter().all(|one| one.fen > Total::ZERO));
    }
}
