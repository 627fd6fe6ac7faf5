//! Refunds at the provider: what may be given back, once per number. Pure.

use crate::clock;
use crate::error::Refusal;
use crate::orders::{self, Order};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OUT_REFUND_NO_CHARS_MAX: usize = 64;
const REASON_CHARS_MAX: usize = 80;
/// Partial refunds of one order.
const REFUNDS_PER_ORDER_MAX: u32 = 50;
/// A payment can be refunded for one year.
const REFUNDABLE_MS_MAX: i64 = 365 * 24 * 3_600_000;
/// Two refunds of one order must be this far apart.
const REFUND_GAP_MS_MIN: i64 = 60_000;
/// How long a refund stays in `PROCESSING`.
const PROCESSING_MS: i64 = 2_000;

/// mchid and out_refund_no: unique at the provider.
pub(crate) type RefundKey = (String, String);

/// What the merchant asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefundTerms {
    pub(crate) mchid: String,
    pub(crate) transaction_id: Option<String>,
    pub(crate) out_trade_no: Option<String>,
    pub(crate) out_refund_no: String,
    pub(crate) reason: Option<String>,
    pub(crate) notify_url: Option<String>,
    pub(crate) refund_fen: i64,
    pub(crate) total_fen: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RefundState {
    Processing { due_ms: i64 },
    Success { success_ms: i64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) mchid: String,
    pub(crate) refund_id: String,
    pub(crate) out_refund_no: String,
    pub(crate) transaction_id: String,
    pub(crate) out_trade_no: String,
    pub(crate) reason: Option<String>,
    pub(crate) notify_url: Option<String>,
    pub(crate) refund_fen: i64,
    pub(crate) total_fen: i64,
    pub(crate) created_ms: i64,
    pub(crate) state: RefundState,
}

#[derive(Deserialize)]
struct RefundWire {
    transaction_id: Option<String>,
    out_trade_no: Option<String>,
    out_refund_no: String,
    reason: Option<String>,
    notify_url: Option<String>,
    amount: RefundAmountWire,
}

#[derive(Deserialize)]
struct RefundAmountWire {
    refund: i64,
    total: i64,
    currency: String,
}

impl RefundTerms {
    /// Reads and checks the body of a refund as the provider documents its fields.
    pub(crate) fn parse(
        body: &[u8],
        mchid: &str,
        hosts: &BTreeSet<String>,
    ) -> Result<Self, Refusal> {
        let wire: RefundWire = orders::parse_json(body)?;
        check_out_refund_no(&wire.out_refund_no)?;
        if wire.transaction_id.is_none() && wire.out_trade_no.is_none() {
            return Err(Refusal::parameter(
                "transaction_id 和 out_trade_no 二选一 (transaction_id or out_trade_no needed)",
            ));
        }
        if let Some(reason) = &wire.reason {
            orders::check_text("reason", reason, REASON_CHARS_MAX)?;
        }
        if let Some(url) = &wire.notify_url {
            orders::check_notify_url(url, hosts)?;
        }
        orders::check_currency(Some(&wire.amount.currency))?;
        if wire.amount.refund < 1 || wire.amount.total < 1 {
            return Err(Refusal::parameter("退款金额无效 (amount must be positive)"));
        }
        Ok(Self {
            mchid: mchid.to_owned(),
            transaction_id: wire.transaction_id,
            out_trade_no: wire.out_trade_no,
            out_refund_no: wire.out_refund_no,
            reason: wire.reason,
            notify_url: wire.notify_url,
            refund_fen: wire.amount.refund,
            total_fen: wire.amount.total,
        })
    }
}

impl Refund {
    /// Decides a refund of `order`. `time_scale` divides the gap and the processing time.
    pub(crate) fn request(
        terms: RefundTerms,
        order: &Order,
        refund_id: String,
        now_ms: i64,
        time_scale: i64,
    ) -> Result<Self, Refusal> {
        let Some(payment) = order.payment() else {
            return Err(Refusal::invalid("订单未支付 (order is not paid)"));
        };
        if terms.total_fen != order.terms.total_fen {
            return Err(amounts_differ());
        }
        if now_ms - payment.paid_ms > REFUNDABLE_MS_MAX {
            return Err(Refusal::invalid(
                "订单已超过可退款期限 (paid more than a year ago)",
            ));
        }
        let returned = order.returned;
        if terms.refund_fen > order.terms.total_fen - returned.fen {
            return Err(Refusal::invalid(
                "申请退款金额超过订单可退金额 (more than what can be refunded)",
            ));
        }
        if returned.times >= REFUNDS_PER_ORDER_MAX {
            return Err(Refusal::invalid(
                "部分退款次数超过 50 次 (more than 50 refunds)",
            ));
        }
        if returned.times > 0 && now_ms - returned.last_ms < REFUND_GAP_MS_MIN / time_scale {
            return Err(Refusal::frequency(
                "同一笔订单多次退款需相隔 1 分钟 (refunds of an order must be 1 min apart)",
            ));
        }
        Ok(Self {
            mchid: terms.mchid,
            refund_id,
            out_refund_no: terms.out_refund_no,
            transaction_id: payment.transaction_id.clone(),
            out_trade_no: order.terms.out_trade_no.clone(),
            reason: terms.reason,
            notify_url: terms.notify_url,
            refund_fen: terms.refund_fen,
            total_fen: terms.total_fen,
            created_ms: now_ms,
            state: RefundState::Processing {
                due_ms: now_ms + PROCESSING_MS / time_scale,
            },
        })
    }

    /// The same number asked for again: the same refund, or a refusal when anything differs.
    pub(crate) fn request_again(&self, terms: &RefundTerms) -> Result<(), Refusal> {
        let same_order = terms
            .transaction_id
            .as_ref()
            .is_none_or(|id| *id == self.transaction_id)
            && terms
                .out_trade_no
                .as_ref()
                .is_none_or(|no| *no == self.out_trade_no);
        if same_order && terms.refund_fen == self.refund_fen && terms.total_fen == self.total_fen {
            return Ok(());
        }
        Err(amounts_differ())
    }

    /// The money has gone back.
    pub(crate) fn succeed(mut self, now_ms: i64) -> Self {
        self.state = RefundState::Success { success_ms: now_ms };
        self
    }

    pub(crate) fn key(&self) -> RefundKey {
        (self.mchid.clone(), self.out_refund_no.clone())
    }

    pub(crate) fn success_ms(&self) -> Option<i64> {
        match self.state {
            RefundState::Success { success_ms } => Some(success_ms),
            RefundState::Processing { .. } => None,
        }
    }

    /// The refund as its request and its query answer it.
    pub(crate) fn view(&self) -> Value {
        let mut view = json!({
            "refund_id": self.refund_id,
            "out_refund_no": self.out_refund_no,
            "transaction_id": self.transaction_id,
            "out_trade_no": self.out_trade_no,
            "channel": "ORIGINAL",
            "user_received_account": "支付用户零钱",
            "create_time": clock::rfc3339(self.created_ms),
            "status": "PROCESSING",
            "funds_account": "AVAILABLE",
            "amount": {
                "total": self.total_fen,
                "refund": self.refund_fen,
                "payer_total": self.total_fen,
                "payer_refund": self.refund_fen,
                "settlement_refund": self.refund_fen,
                "settlement_total": self.total_fen,
                "discount_refund": 0,
                "currency": "CNY",
            },
        });
        if let Some(success_ms) = self.success_ms() {
            view["status"] = json!("SUCCESS");
            view["success_time"] = json!(clock::rfc3339(success_ms));
        }
        view
    }

    /// What its notification carries.
    pub(crate) fn notice(&self) -> Value {
        json!({
            "mchid": self.mchid,
            "out_trade_no": self.out_trade_no,
            "transaction_id": self.transaction_id,
            "out_refund_no": self.out_refund_no,
            "refund_id": self.refund_id,
            "refund_status": "SUCCESS",
            "success_time": clock::rfc3339(self.success_ms().unwrap_or(self.created_ms)),
            "user_received_account": "支付用户零钱",
            "amount": {
                "total": self.total_fen,
                "refund": self.refund_fen,
                "payer_total": self.total_fen,
                "payer_refund": self.refund_fen,
            },
        })
    }
}

fn amounts_differ() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "INVALID_REQUEST",
        "订单金额或退款金额与之前请求不一致,请核实后再试 (amounts differ from the earlier request)",
    )
}

/// 1–64 of digits, letters and `_-|*@`.
fn check_out_refund_no(number: &str) -> Result<(), Refusal> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-|*@".contains(&byte);
    if (1..=OUT_REFUND_NO_CHARS_MAX).contains(&number.len()) && number.bytes().all(known) {
        return Ok(());
    }
    Err(Refusal::parameter(
        "商户退款单号格式错误 (out_refund_no: 1-64 of 0-9 A-Z a-z _ - | * @)",
    ))
}
