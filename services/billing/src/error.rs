//! Every business "no" of this service: its code, the input field it is about and its text in
//! both languages. Texts carry no figures, so that a repeated request reads the same from its
//! recorded code.

use std::borrow::Cow;

/// Why a command was refused. A lasting refusal is recorded under its code and read back by
/// [`Refusal::from_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The order has not arrived here, or is not the caller's: both look alike.
    OrderNotSeenYet,
    AlreadyPaid,
    OrderClosed,
    OrderClosing,
    /// Too little time is left for the provider to take the payment.
    TooLateToPay,
    /// There is no mini-program to pay in.
    MethodUnavailable,
    /// The last payment's code has expired and is being closed at the provider.
    PaymentEnding,
    /// The caller has no open share of it.
    NothingToPay,
    /// What names the payer is not ours, or not for the caller: both look alike.
    PayerTokenInvalid,
    PayerTokenExpired,
    /// It was used for another payment.
    PayerTokenUsed,
    /// The day is not over, or lies too far back.
    NoBillForDate,
    /// The money has gone back.
    AlreadyRefunded,
    AlreadyExplained,
    /// Its money has not gone back: somebody must go on looking at it.
    RefundStillStuck,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 15] = [
        Self::OrderNotSeenYet,
        Self::AlreadyPaid,
        Self::OrderClosed,
        Self::OrderClosing,
        Self::TooLateToPay,
        Self::MethodUnavailable,
        Self::PaymentEnding,
        Self::NothingToPay,
        Self::PayerTokenInvalid,
        Self::PayerTokenExpired,
        Self::PayerTokenUsed,
        Self::NoBillForDate,
        Self::AlreadyRefunded,
        Self::AlreadyExplained,
        Self::RefundStillStuck,
    ];

    /// The code of the graph and of the idempotency record.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OrderNotSeenYet => "ORDER_NOT_SEEN_YET",
            Self::AlreadyPaid => "ALREADY_PAID",
            Self::OrderClosed => "ORDER_CLOSED",
            Self::OrderClosing => "ORDER_CLOSING",
            Self::TooLateToPay => "TOO_LATE_TO_PAY",
            Self::MethodUnavailable => "METHOD_UNAVAILABLE",
            Self::PaymentEnding => "PAYMENT_ENDING",
            Self::NothingToPay => "NOTHING_TO_PAY",
            Self::PayerTokenInvalid => "PAYER_TOKEN_INVALID",
            Self::PayerTokenExpired => "PAYER_TOKEN_EXPIRED",
            Self::PayerTokenUsed => "PAYER_TOKEN_USED",
            Self::NoBillForDate => "NO_BILL_FOR_DATE",
            Self::AlreadyRefunded => "ALREADY_REFUNDED",
            Self::AlreadyExplained => "ALREADY_EXPLAINED",
            Self::RefundStillStuck => "REFUND_STILL_STUCK",
        }
    }

    /// The refusal with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    const fn field(self) -> &'static str {
        match self {
            Self::OrderNotSeenYet
            | Self::AlreadyPaid
            | Self::OrderClosed
            | Self::OrderClosing
            | Self::TooLateToPay
            | Self::PaymentEnding
            | Self::NothingToPay => "orderId",
            Self::MethodUnavailable => "method",
            Self::PayerTokenInvalid | Self::PayerTokenExpired | Self::PayerTokenUsed => {
                "payerToken"
            }
            Self::NoBillForDate => "date",
            Self::AlreadyRefunded => "refundId",
            Self::AlreadyExplained | Self::RefundStillStuck => "discrepancyId",
        }
    }

    /// Chinese, then English.
    pub const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::OrderNotSeenYet => (
                "没有找到该订单；如刚刚下单，请稍后重试。",
                "There is no such order; if you have just placed it, please try again shortly.",
            ),
            Self::AlreadyPaid => ("该订单已支付。", "This order has already been paid."),
            Self::OrderClosed => (
                "该订单已关闭，请重新下单。",
                "This order is closed; please place a new one.",
            ),
            Self::OrderClosing => (
                "该订单正在关闭，不能再支付。",
                "This order is being closed and cannot be paid any longer.",
            ),
            Self::TooLateToPay => (
                "支付时限将到，请重新下单。",
                "The time to pay is nearly over; please place a new order.",
            ),
            Self::MethodUnavailable => (
                "暂不支持此支付方式，请使用微信扫码支付。",
                "This way of paying is not available; please pay by WeChat QR code.",
            ),
            Self::PaymentEnding => (
                "上一个付款码正在失效，请稍后重试。",
                "The last payment code is just expiring; please try again shortly.",
            ),
            Self::NothingToPay => (
                "该订单没有需要您支付的部分。",
                "There is nothing in this order for you to pay.",
            ),
            Self::PayerTokenInvalid => (
                "付款人凭据无效，请在微信小程序内重新发起支付。",
                "What names the payer is not valid; please pay anew inside WeChat.",
            ),
            Self::PayerTokenExpired => (
                "付款人凭据已过期，请重新发起支付。",
                "What names the payer has expired; please pay anew.",
            ),
            Self::PayerTokenUsed => (
                "付款人凭据已用于另一笔支付，请重新发起支付。",
                "What names the payer was used for another payment; please pay anew.",
            ),
            Self::NoBillForDate => (
                "该日期没有可对账的账单。",
                "There is no bill to reconcile with for this date.",
            ),
            Self::AlreadyRefunded => (
                "该笔退款已到账。",
                "The money of this refund has already gone back.",
            ),
            Self::AlreadyExplained => (
                "该差异已有说明。",
                "This discrepancy has already been explained.",
            ),
            Self::RefundStillStuck => (
                "该笔退款尚未到账，请先重试退款。",
                "The money of this refund has not gone back; please try the refund again first.",
            ),
        }
    }

    const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::OrderNotSeenYet
                | Self::PaymentEnding
                | Self::RefundStillStuck
                // About the token, not the payment: the same key may come with another.
                | Self::PayerTokenInvalid
                | Self::PayerTokenExpired
                | Self::PayerTokenUsed
        )
    }
}

impl From<Refusal> for kit::Refusal {
    fn from(refusal: Refusal) -> Self {
        let (zh, en) = refusal.texts();
        let kit = Self::new(
            refusal.code(),
            refusal.field(),
            Cow::Borrowed(zh),
            Cow::Borrowed(en),
        );
        if refusal.is_transient() {
            kit.transient()
        } else {
            kit
        }
    }
}

impl From<Refusal> for kit::Error {
    fn from(refusal: Refusal) -> Self {
        kit::Refusal::from(refusal).into()
    }
}

/// The refusal that an idempotency record holds.
///
/// # Errors
/// Always: the refusal itself, or that the record names none of ours.
pub fn recorded<T>(code: &str) -> kit::Result<T> {
    Err(Refusal::from_code(code).map_or_else(
        || kit::Error::internal("an idempotency record names a refusal that does not exist"),
        kit::Error::from,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// None is left out of the list: one that is would not read back from its record.
    #[test]
    fn every_variant_is_listed() {
        let source = include_str!("error.rs");
        let body = source.split_once("pub enum Refusal {").unwrap().1;
        let body = body.split_once("\n}").unwrap().0;
        let names = body
            .lines()
            .filter_map(|line| line.trim().strip_suffix(','));
        let listed = Refusal::ALL.map(|refusal| format!("{refusal:?}"));
        assert_eq!(names.collect::<Vec<_>>(), listed);
    }

    /// Every refusal reads back from its code and speaks both languages.
    #[test]
    fn codes_read_back() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
            let (zh, en) = refusal.texts();
            assert!(zh.ends_with('。') && en.ends_with('.'), "{refusal:?}");
        }
        assert_eq!(Refusal::from_code("PAID"), None);
    }
}
