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
    /// As far as is known here: her membership may be on its way.
    NotAMember,
    /// Until that has come to its end, one way or the other.
    ErasureUnderWay,
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
    ReissuedTooOften,
    /// No credential can say a higher generation.
    ReissuesExhausted,
    // Reserved visits.
    NotReservable,
    VenueNotOpened,
    DayNotOpen,
    NoPlacesLeft,
    OutsidePass,
    VisitNotAdmitted,
    VisitsUsedUp,
    AlreadyReserved,
    TooManyReservations,
    NotReserved,
    CancelTooLate,
    CancelledTooOften,
    // Lists of holders.
    NoHolders,
    TooManyHolders,
    TooManyLists,
}

/// A refusal as it is answered.
struct Row {
    refusal: Refusal,
    /// Of the graph and of the idempotency record.
    code: &'static str,
    field: &'static str,
    zh: &'static str,
    en: &'static str,
}

impl Refusal {
    fn row(self) -> &'static Row {
        // The table is in the order of the enum; a test compares it with the enum's own text.
        &TABLE[self as usize]
    }

    /// Every refusal.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.refusal)
    }

    /// The code of the graph and of the idempotency record.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The refusal with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::all().find(|refusal| refusal.code() == code)
    }

    /// Whether it may be gone when the same request comes again, so that it is not recorded.
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::NotAMember
                | Self::ErasureUnderWay
                | Self::ReissuedTooOften
                | Self::CancelledTooOften
                | Self::NoHolders
                | Self::TooManyHolders
                | Self::TooManyLists
        )
    }

    /// Chinese, then English.
    pub fn texts(self) -> (&'static str, &'static str) {
        (self.row().zh, self.row().en)
    }
}

impl From<Refusal> for kit::Refusal {
    fn from(refusal: Refusal) -> Self {
        let (zh, en) = refusal.texts();
        let kit = Self::new(
            refusal.code(),
            refusal.row().field,
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

/// What a constraint of the tables says no to.
pub fn on_constraint(error: kit::Error) -> kit::Error {
    match error.constraint().as_deref() {
        Some("stock_within_limit") => Refusal::LimitBelowSold.into(),
        Some("pass_renewed_once") => Refusal::AlreadyRenewed.into(),
        Some("reservation_once") => Refusal::AlreadyReserved.into(),
        _ => error,
    }
}

const TABLE: [Row; 44] = [
    Row {
        refusal: Refusal::NoDraft,
        code: "NO_DRAFT",
        field: "productId",
        zh: "没有待发布的版本，请先修改产品。",
        en: "There is no draft to publish; change the product first.",
    },
    Row {
        refusal: Refusal::LimitBelowSold,
        code: "LIMIT_BELOW_SOLD",
        field: "productId",
        zh: "发售总量不能低于已售出和待支付的数量。",
        en: "The sale limit cannot be below what is sold and awaits payment.",
    },
    Row {
        refusal: Refusal::NotPublished,
        code: "NOT_PUBLISHED",
        field: "productId",
        zh: "该产品尚未发布。",
        en: "This product has not been published yet.",
    },
    Row {
        refusal: Refusal::AlreadyStopped,
        code: "ALREADY_STOPPED",
        field: "productId",
        zh: "该产品已经停售。",
        en: "The sale of this product is already stopped.",
    },
    Row {
        refusal: Refusal::NotStopped,
        code: "NOT_STOPPED",
        field: "productId",
        zh: "该产品没有停售。",
        en: "The sale of this product is not stopped.",
    },
    Row {
        refusal: Refusal::NotOnSale,
        code: "NOT_ON_SALE",
        field: "productId",
        zh: "该产品目前不在售。",
        en: "This product is not on sale at present.",
    },
    Row {
        refusal: Refusal::SaleNotOpen,
        code: "SALE_NOT_OPEN",
        field: "productId",
        zh: "该产品尚未开售，请在开售后购买。",
        en: "The sale of this product has not opened yet.",
    },
    Row {
        refusal: Refusal::SaleOver,
        code: "SALE_OVER",
        field: "productId",
        zh: "该产品的发售期已结束。",
        en: "The sale of this product is over.",
    },
    Row {
        refusal: Refusal::SoldOut,
        code: "SOLD_OUT",
        field: "productId",
        zh: "该产品已售罄；未支付的订单关闭后可能恢复余量。",
        en: "This product is sold out; some may come back when unpaid orders are closed.",
    },
    Row {
        refusal: Refusal::MemberLimitReached,
        code: "MEMBER_LIMIT_REACHED",
        field: "productId",
        zh: "您已达到该产品的个人限购数量。",
        en: "You have bought as many of this product as one person may.",
    },
    Row {
        refusal: Refusal::NotRenewable,
        code: "NOT_RENEWABLE",
        field: "renews",
        zh: "这张年票不能续期。",
        en: "This pass cannot be renewed with this product.",
    },
    Row {
        refusal: Refusal::RenewalTooEarly,
        code: "RENEWAL_TOO_EARLY",
        field: "renews",
        zh: "还没有到续期的时间，请在到期前再续期。",
        en: "It is too early to renew this pass; renew it closer to its end.",
    },
    Row {
        refusal: Refusal::AlreadyRenewed,
        code: "ALREADY_RENEWED",
        field: "renews",
        zh: "这张年票已经续期。",
        en: "This pass has already been renewed.",
    },
    Row {
        refusal: Refusal::NotAMember,
        code: "NOT_A_MEMBER",
        field: "productId",
        zh: "年票只售予工会会员；如刚刚入会，请稍后重试。",
        en: "Passes are sold to union members; if you have just joined, please try again shortly.",
    },
    Row {
        refusal: Refusal::ErasureUnderWay,
        code: "ERASURE_UNDER_WAY",
        field: "",
        zh: "您申请的账号注销正在办理，暂不能购票或退票；如需继续，请先撤回注销申请。",
        en: "Your data is being erased as you asked; to go on, please recall that first.",
    },
    Row {
        refusal: Refusal::AwaitingPayment,
        code: "AWAITING_PAYMENT",
        field: "passId",
        zh: "这张年票尚未支付。",
        en: "This pass has not been paid for yet.",
    },
    Row {
        refusal: Refusal::AlreadyActive,
        code: "ALREADY_ACTIVE",
        field: "passId",
        zh: "这张年票已经激活。",
        en: "This pass is already active.",
    },
    Row {
        refusal: Refusal::NotActive,
        code: "NOT_ACTIVE",
        field: "passId",
        zh: "这张年票不在使用中。",
        en: "This pass is not active.",
    },
    Row {
        refusal: Refusal::NotFrozen,
        code: "NOT_FROZEN",
        field: "passId",
        zh: "这张年票没有被冻结。",
        en: "This pass is not frozen.",
    },
    Row {
        refusal: Refusal::PassFrozen,
        code: "PASS_FROZEN",
        field: "passId",
        zh: "这张年票已被冻结，请联系工会。",
        en: "This pass is frozen; please ask your union.",
    },
    Row {
        refusal: Refusal::PassEnded,
        code: "PASS_ENDED",
        field: "passId",
        zh: "这张年票已退款、作废或失效。",
        en: "This pass was refunded, voided or has lapsed.",
    },
    Row {
        refusal: Refusal::ActivationOver,
        code: "ACTIVATION_OVER",
        field: "passId",
        zh: "激活期限已过，这张年票不能再激活。",
        en: "The time to activate this pass is over.",
    },
    Row {
        refusal: Refusal::RefundInProgress,
        code: "REFUND_IN_PROGRESS",
        field: "passId",
        zh: "这张年票正在退款。",
        en: "A refund of this pass is in progress.",
    },
    Row {
        refusal: Refusal::RefundUsed,
        code: "REFUND_USED",
        field: "passId",
        zh: "这张年票已经使用，按购买时的规则不能退款。",
        en: "This pass has been used and by the terms of its sale cannot be refunded.",
    },
    Row {
        refusal: Refusal::RefundTooLate,
        code: "REFUND_TOO_LATE",
        field: "passId",
        zh: "已超过退款期限。",
        en: "The time in which this pass can be refunded is over.",
    },
    Row {
        refusal: Refusal::NotRefundable,
        code: "NOT_REFUNDABLE",
        field: "passId",
        zh: "按购买时的规则，这张年票不能退款。",
        en: "By the terms of its sale this pass cannot be refunded.",
    },
    Row {
        refusal: Refusal::RenewedNotFound,
        code: "NOT_FOUND",
        field: "renews",
        zh: "没有找到要续期的年票。",
        en: "There is no such pass to renew.",
    },
    Row {
        refusal: Refusal::ReissuedTooOften,
        code: "REISSUED_TOO_OFTEN",
        field: "passId",
        zh: "这张年票近期换码次数过多，请稍后再试。",
        en: "The code of this pass has been replaced too often lately; please try again later.",
    },
    Row {
        refusal: Refusal::ReissuesExhausted,
        code: "REISSUES_EXHAUSTED",
        field: "passId",
        zh: "这张年票不能再换码，请联系工会。",
        en: "The code of this pass cannot be replaced any more; please ask your union.",
    },
    Row {
        refusal: Refusal::NotReservable,
        code: "NOT_RESERVABLE",
        field: "passId",
        zh: "这张年票入园无需预约。",
        en: "Visits with this pass need no reservation.",
    },
    Row {
        refusal: Refusal::VenueNotOpened,
        code: "VENUE_NOT_OPENED",
        field: "venueId",
        zh: "这张年票不包含该场馆。",
        en: "This pass does not open this venue.",
    },
    Row {
        refusal: Refusal::DayNotOpen,
        code: "DAY_NOT_OPEN",
        field: "date",
        zh: "该场馆当天未开放预约。",
        en: "This venue takes no reservations for that day.",
    },
    Row {
        refusal: Refusal::NoPlacesLeft,
        code: "NO_PLACES_LEFT",
        field: "date",
        zh: "当天预约名额已满；有人取消后可能恢复。",
        en: "No places are left for that day; some may come back when visits are cancelled.",
    },
    Row {
        refusal: Refusal::OutsidePass,
        code: "OUTSIDE_PASS",
        field: "date",
        zh: "该日期已过或不在年票有效期内。",
        en: "That day is over or outside the days of this pass.",
    },
    Row {
        refusal: Refusal::VisitNotAdmitted,
        code: "VISIT_NOT_ADMITTED",
        field: "date",
        zh: "该场馆当天闭馆、暂停接待或不可使用本年票。",
        en: "The venue is closed or does not take this pass on that day.",
    },
    Row {
        refusal: Refusal::VisitsUsedUp,
        code: "VISITS_USED_UP",
        field: "date",
        zh: "已用和已预约的次数达到年票上限。",
        en: "The visits of this pass are used up by what is used and reserved.",
    },
    Row {
        refusal: Refusal::AlreadyReserved,
        code: "ALREADY_RESERVED",
        field: "date",
        zh: "已经预约了该场馆当天的参观。",
        en: "This visit is already reserved.",
    },
    Row {
        refusal: Refusal::TooManyReservations,
        code: "TOO_MANY_RESERVATIONS",
        field: "passId",
        zh: "同时预约的参观过多，请先取消一些，或待参观日过后再约。",
        en: "Too many visits are reserved at once; cancel one, or wait until its day is over.",
    },
    Row {
        refusal: Refusal::NotReserved,
        code: "NOT_RESERVED",
        field: "date",
        zh: "没有该场馆当天的预约。",
        en: "No visit of that venue and day is reserved.",
    },
    Row {
        refusal: Refusal::CancelTooLate,
        code: "CANCEL_TOO_LATE",
        field: "date",
        zh: "已过取消时间：须在参观日前一天18:00前取消。",
        en: "It is too late to cancel: that is done by 18:00 on the day before.",
    },
    Row {
        refusal: Refusal::CancelledTooOften,
        code: "CANCELLED_TOO_OFTEN",
        field: "passId",
        zh: "这张年票近期取消预约次数过多，请稍后再试。",
        en: "Visits with this pass were cancelled too often lately; please try again later.",
    },
    Row {
        refusal: Refusal::NoHolders,
        code: "NO_HOLDERS",
        field: "organisationId",
        zh: "该组织的会员目前没有可用的年票。",
        en: "No member of this organisation has a pass that can be used.",
    },
    Row {
        refusal: Refusal::TooManyHolders,
        code: "TOO_MANY_HOLDERS",
        field: "organisationId",
        zh: "持有年票的会员过多，请改选下级组织。",
        en: "Too many of its members have passes; please choose an organisation below it.",
    },
    Row {
        refusal: Refusal::TooManyLists,
        code: "TOO_MANY_LISTS",
        field: "organisationId",
        zh: "今天申请的名单过多，请明天再试。",
        en: "Too many lists were asked for today; please try again tomorrow.",
    },
];

#[cfg(test)]
mod tests;
