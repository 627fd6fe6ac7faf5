//! The steps of an order's timeline, as people read them.

/// Something that happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Requested,
    PaymentStarted,
    PaymentReady,
    PaymentFailed,
    PaymentExpired,
    Paid,
    PaidWithoutMoney,
    LatePayment,
    AmountDiffers,
    ClosingExpired,
    ClosingCancelled,
    ClosingHoldLapsed,
    ClosingRefused,
    Closed,
    FulfilmentRefused,
    ReturnTaken,
    RefundRequested,
    RefundAccepted,
    RefundStuck,
    RefundAskedAgain,
    RefundDone,
    FoundByQuery,
    FoundByBill,
}

impl Step {
    pub const ALL: [Self; 23] = [
        Self::Requested,
        Self::PaymentStarted,
        Self::PaymentReady,
        Self::PaymentFailed,
        Self::PaymentExpired,
        Self::Paid,
        Self::PaidWithoutMoney,
        Self::LatePayment,
        Self::AmountDiffers,
        Self::ClosingExpired,
        Self::ClosingCancelled,
        Self::ClosingHoldLapsed,
        Self::ClosingRefused,
        Self::Closed,
        Self::FulfilmentRefused,
        Self::ReturnTaken,
        Self::RefundRequested,
        Self::RefundAccepted,
        Self::RefundStuck,
        Self::RefundAskedAgain,
        Self::RefundDone,
        Self::FoundByQuery,
        Self::FoundByBill,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::PaymentStarted => "PAYMENT_STARTED",
            Self::PaymentReady => "PAYMENT_READY",
            Self::PaymentFailed => "PAYMENT_FAILED",
            Self::PaymentExpired => "PAYMENT_EXPIRED",
            Self::Paid => "PAID",
            Self::PaidWithoutMoney => "PAID_WITHOUT_MONEY",
            Self::LatePayment => "LATE_PAYMENT",
            Self::AmountDiffers => "AMOUNT_DIFFERS",
            Self::ClosingExpired => "CLOSING_EXPIRED",
            Self::ClosingCancelled => "CLOSING_CANCELLED",
            Self::ClosingHoldLapsed => "CLOSING_HOLD_LAPSED",
            Self::ClosingRefused => "CLOSING_REFUSED",
            Self::Closed => "CLOSED",
            Self::FulfilmentRefused => "FULFILMENT_REFUSED",
            Self::ReturnTaken => "RETURN_TAKEN",
            Self::RefundRequested => "REFUND_REQUESTED",
            Self::RefundAccepted => "REFUND_ACCEPTED",
            Self::RefundStuck => "REFUND_STUCK",
            Self::RefundAskedAgain => "REFUND_ASKED_AGAIN",
            Self::RefundDone => "REFUND_DONE",
            Self::FoundByQuery => "FOUND_BY_QUERY",
            Self::FoundByBill => "FOUND_BY_BILL",
        }
    }

    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.code() == code)
    }

    /// Chinese, then English.
    pub const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Requested => ("订单已受理", "The order was taken in"),
            Self::PaymentStarted => ("开始支付", "A payment was started"),
            Self::PaymentReady => ("付款码已生成", "The payment code is ready"),
            Self::PaymentFailed => ("支付未能发起", "The payment could not be started"),
            Self::PaymentExpired => ("付款码已失效", "The payment code expired"),
            Self::Paid => ("已支付", "Paid"),
            Self::PaidWithoutMoney => (
                "无需支付，订单生效",
                "Nothing to pay; the order is in force",
            ),
            Self::LatePayment => (
                "收到迟到的付款，将全额退回",
                "A payment came too late and goes back in full",
            ),
            Self::AmountDiffers => (
                "收到的金额不符，将全额退回",
                "Another amount was received and goes back in full",
            ),
            Self::ClosingExpired => ("支付时限已到，正在关闭", "The time to pay is over; closing"),
            Self::ClosingCancelled => ("付款人取消，正在关闭", "Cancelled by the payer; closing"),
            Self::ClosingHoldLapsed => ("名额保留已到期，正在关闭", "The hold lapsed; closing"),
            Self::ClosingRefused => ("无法提供所购内容，正在关闭", "Cannot be provided; closing"),
            Self::Closed => ("订单已关闭", "The order was closed"),
            Self::FulfilmentRefused => (
                "无法提供所购内容，全额退款",
                "What was bought cannot be provided; all is refunded",
            ),
            Self::ReturnTaken => ("已受理退货", "A return was taken in"),
            Self::RefundRequested => ("退款已提交", "The refund was requested"),
            Self::RefundAccepted => ("支付渠道已受理退款", "The provider took the refund on"),
            Self::RefundStuck => (
                "退款受阻，工作人员正在处理",
                "The refund is stuck and looked into",
            ),
            Self::RefundAskedAgain => ("退款已重新提交", "The refund was requested again"),
            Self::RefundDone => ("退款已到账", "The refund was paid out"),
            Self::FoundByQuery => (
                "经主动查询确认了付款",
                "The payment was found by asking the provider",
            ),
            Self::FoundByBill => (
                "经对账确认了付款",
                "The payment was found in the daily bill",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_reads_back_and_says_something() {
        for step in Step::ALL {
            assert_eq!(Step::from_code(step.code()), Some(step));
            let (zh, en) = step.texts();
            assert!(!zh.is_empty() && en.is_ascii());
        }
    }
}
