//! Every business "no" of this service: its code, the input field it is about and its text in
//! both languages. Texts carry no figures, so that a repeated request reads the same from its
//! recorded code.

use std::borrow::Cow;

/// Why a command was refused. A refusal is recorded under its code and read back by
/// [`Refusal::from_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    // Products.
    NoDraft,
    LimitBelowSold,
    NotPublished,
    AlreadyStopped,
    NotStopped,
    // Purchase.
    NotOnSale,
    SaleNotOpen,
    SaleOver,
    SoldOut,
    MemberLimitReached,
    NotRenewable,
    RenewalTooEarly,
    AlreadyRenewed,
    // What may be done to a pass.
    AwaitingPayment,
    AlreadyActive,
    NotActive,
    NotFrozen,
    PassFrozen,
    PassEnded,
    ActivationOver,
    RefundInProgress,
    RefundUsed,
    RefundTooLate,
    NotRefundable,
    /// The pass to be renewed is absent, or another member's.
    RenewedNotFound,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 25] = [
        Self::NoDraft,
        Self::LimitBelowSold,
        Self::NotPublished,
        Self::AlreadyStopped,
        Self::NotStopped,
        Self::NotOnSale,
        Self::SaleNotOpen,
        Self::SaleOver,
        Self::SoldOut,
        Self::MemberLimitReached,
        Self::NotRenewable,
        Self::RenewalTooEarly,
        Self::AlreadyRenewed,
        Self::AwaitingPayment,
        Self::AlreadyActive,
        Self::NotActive,
        Self::NotFrozen,
        Self::PassFrozen,
        Self::PassEnded,
        Self::ActivationOver,
        Self::RefundInProgress,
        Self::RefundUsed,
        Self::RefundTooLate,
        Self::NotRefundable,
        Self::RenewedNotFound,
    ];

    /// The code of the graph and of the idempotency record.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoDraft => "NO_DRAFT",
            Self::LimitBelowSold => "LIMIT_BELOW_SOLD",
            Self::NotPublished => "NOT_PUBLISHED",
            Self::AlreadyStopped => "ALREADY_STOPPED",
            Self::NotStopped => "NOT_STOPPED",
            Self::NotOnSale => "NOT_ON_SALE",
            Self::SaleNotOpen => "SALE_NOT_OPEN",
            Self::SaleOver => "SALE_OVER",
            Self::SoldOut => "SOLD_OUT",
            Self::MemberLimitReached => "MEMBER_LIMIT_REACHED",
            Self::NotRenewable => "NOT_RENEWABLE",
            Self::RenewalTooEarly => "RENEWAL_TOO_EARLY",
            Self::AlreadyRenewed => "ALREADY_RENEWED",
            Self::AwaitingPayment => "AWAITING_PAYMENT",
            Self::AlreadyActive => "ALREADY_ACTIVE",
            Self::NotActive => "NOT_ACTIVE",
            Self::NotFrozen => "NOT_FROZEN",
            Self::PassFrozen => "PASS_FROZEN",
            Self::PassEnded => "PASS_ENDED",
            Self::ActivationOver => "ACTIVATION_OVER",
            Self::RefundInProgress => "REFUND_IN_PROGRESS",
            Self::RefundUsed => "REFUND_USED",
            Self::RefundTooLate => "REFUND_TOO_LATE",
            Self::NotRefundable => "NOT_REFUNDABLE",
            Self::RenewedNotFound => "NOT_FOUND",
        }
    }

    /// The refusal with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    const fn field(self) -> &'static str {
        match self {
            Self::NoDraft
            | Self::NotPublished
            | Self::AlreadyStopped
            | Self::NotStopped
            | Self::NotOnSale
            | Self::SaleNotOpen
            | Self::SaleOver
            | Self::SoldOut
            | Self::MemberLimitReached => "productId",
            Self::LimitBelowSold => "saleLimit",
            Self::NotRenewable
            | Self::RenewalTooEarly
            | Self::AlreadyRenewed
            | Self::RenewedNotFound => "renews",
            Self::AwaitingPayment
            | Self::AlreadyActive
            | Self::NotActive
            | Self::NotFrozen
            | Self::PassFrozen
            | Self::PassEnded
            | Self::ActivationOver
            | Self::RefundInProgress
            | Self::RefundUsed
            | Self::RefundTooLate
            | Self::NotRefundable => "passId",
        }
    }

    /// Chinese, then English.
    pub const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::NoDraft => (
                "没有待发布的版本，请先修改产品。",
                "There is no draft to publish; change the product first.",
            ),
            Self::LimitBelowSold => (
                "发售总量不能低于已售出和待支付的数量。",
                "The sale limit cannot be below what is sold and awaits payment.",
            ),
            Self::NotPublished => {
                ("该产品尚未发布。", "This product has not been published yet.")
            }
            Self::AlreadyStopped => {
                ("该产品已经停售。", "The sale of this product is already stopped.")
            }
            Self::NotStopped => ("该产品没有停售。", "The sale of this product is not stopped."),
            Self::NotOnSale => {
                ("该产品目前不在售。", "This product is not on sale at present.")
            }
            Self::SaleNotOpen => (
                "该产品尚未开售，请在开售后购买。",
                "The sale of this product has not opened yet.",
            ),
            Self::SaleOver => {
                ("该产品的发售期已结束。", "The sale of this product is over.")
            }
            Self::SoldOut => (
                "该产品已售罄；未支付的订单关闭后可能恢复余量。",
                "This product is sold out; some may come back when unpaid orders are closed.",
            ),
            Self::MemberLimitReached => (
                "您已达到该产品的个人限购数量。",
                "You have bought as many of this product as one person may.",
            ),
            Self::NotRenewable => {
                ("这张年票不能续期。", "This pass cannot be renewed with this product.")
            }
            Self::RenewalTooEarly => (
                "还没有到续期的时间，请在到期前再续期。",
                "It is too early to renew this pass; renew it closer to its end.",
            ),
            Self::AlreadyRenewed => ("这张年票已经续期。", "This pass has already been renewed."),
            Self::AwaitingPayment => {
                ("这张年票尚未支付。", "This pass has not been paid for yet.")
            }
            Self::AlreadyActive => ("这张年票已经激活。", "This pass is already active."),
            Self::NotActive => ("这张年票不在使用中。", "This pass is not active."),
            Self::NotFrozen => ("这张年票没有被冻结。", "This pass is not frozen."),
            Self::PassFrozen => (
                "这张年票已被冻结，请联系工会。",
                "This pass is frozen; please ask your union.",
            ),
            Self::PassEnded => (
                "这张年票已退款、作废或失效。",
                "This pass was refunded, voided or has lapsed.",
            ),
            Self::ActivationOver => (
                "激活期限已过，这张年票不能再激活。",
                "The time to activate this pass is over.",
            ),
            Self::RefundInProgress => {
                ("这张年票正在退款。", "A refund of this pass is in progress.")
            }
            Self::RefundUsed => (
                "这张年票已经使用，按购买时的规则不能退款。",
                "This pass has been used and by the terms of its sale cannot be refunded.",
            ),
            Self::RefundTooLate => (
                "已超过退款期限。",
                "The time in which this pass can be refunded is over.",
            ),
            Self::NotRefundable => (
                "按购买时的规则，这张年票不能退款。",
                "By the terms of its sale this pass cannot be refunded.",
            ),
            Self::RenewedNotFound => {
                ("没有找到要续期的年票。", "There is no such pass to renew.")
            }
        }
    }
}

impl From<Refusal> for kit::Refusal {
    fn from(refusal: Refusal) -> Self {
        let (zh, en) = refusal.texts();
        Self::new(refusal.code(), refusal.field(), Cow::Borrowed(zh), Cow::Borrowed(en))
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

/// What a constraint of the tables says no to.
pub fn on_constraint(error: kit::Error) -> kit::Error {
    match error.constraint().as_deref() {
        Some("stock_within_limit") => Refusal::LimitBelowSold.into(),
        Some("pass_renewed_once") => Refusal::AlreadyRenewed.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every refusal reads back from its code and speaks both languages.
    #[test]
    fn codes_read_back() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
            let (zh, en) = refusal.texts();
            assert!(zh.ends_with('。') && en.ends_with('.'), "{refusal:?}");
        }
        assert_eq!(Refusal::from_code("SOLD"), None);
    }
}
