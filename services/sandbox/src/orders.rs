//! Orders at the provider: what a merchant may place, and what may become of it. Pure.
//!
//! An order that passed its time stays unpaid until it is closed, as with the provider; only the
//! payer is turned away.

use crate::clock;
use crate::error::Refusal;
use crate::keys::Merchant;
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OUT_TRADE_NO_CHARS_MIN: usize = 6;
const OUT_TRADE_NO_CHARS_MAX: usize = 32;
const DESCRIPTION_CHARS_MAX: usize = 127;
const ATTACH_CHARS_MAX: usize = 128;
const NOTIFY_URL_BYTES_MAX: usize = 255;
const OPENID_CHARS_MAX: usize = 128;
const TOTAL_FEN_MAX: i64 = 100_000_000_000;
/// `time_expire` must be at least this far ahead.
const EXPIRY_MS_MIN: i64 = 60_000;
const EXPIRY_MS_MAX: i64 = 365 * 24 * 3_600_000;
const EXPIRY_MS_DEFAULT: i64 = 7 * 24 * 3_600_000;
/// A `code_url` or `prepay_id` can be used this long.
const TOKEN_MS_MAX: i64 = 2 * 3_600_000;
pub(crate) const CODE_URL_PREFIX: &str = "weixin://wxpay/bizpayurl?pr=";

/// How the payer is led to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum TradeType {
    Native,
    Jsapi,
}

impl TradeType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "NATIVE",
            Self::Jsapi => "JSAPI",
        }
    }
}

/// mchid and out_trade_no: unique at the provider.
pub(crate) type OrderKey = (String, String);

/// What the merchant asked for; a repeat must be equal to the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) mchid: String,
    pub(crate) appid: String,
    pub(crate) out_trade_no: String,
    pub(crate) trade_type: TradeType,
    pub(crate) description: String,
    pub(crate) attach: Option<String>,
    pub(crate) notify_url: String,
    pub(crate) total_fen: i64,
    pub(crate) openid: Option<String>,
    pub(crate) time_expire_ms: Option<i64>,
}

/// A payment that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) transaction_id: String,
    pub(crate) paid_ms: i64,
    pub(crate) openid: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OrderState {
    Unpaid,
    Paid(Payment),
    Closed { closed_ms: i64 },
}

/// What has been given back so far; derived from the refunds, not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) fen: i64,
    pub(crate) times: u32,
    pub(crate) last_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) terms: Terms,
    pub(crate) created_ms: i64,
    /// What stands in the `code_url`, or the `prepay_id`.
    pub(crate) token: String,
    pub(crate) token_ms: i64,
    pub(crate) state: OrderState,
    #[serde(skip)]
    pub(crate) returned: Returned,
}

#[derive(Deserialize)]
struct OrderWire {
    appid: String,
    mchid: String,
    description: String,
    out_trade_no: String,
    time_expire: Option<String>,
    attach: Option<String>,
    notify_url: String,
    amount: AmountWire,
    payer: Option<PayerWire>,
}

#[derive(Deserialize)]
struct AmountWire {
    total: i64,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct PayerWire {
    openid: String,
}

impl Terms {
    /// Reads and checks the body of an order as the provider documents its fields.
    pub(crate) fn parse(
        body: &[u8],
        trade_type: TradeType,
        merchant: &Merchant,
        hosts: &BTreeSet<String>,
    ) -> Result<Self, Refusal> {
        let wire: OrderWire = parse_json(body)?;
        if wire.mchid != merchant.mchid {
            return Err(Refusal::parameter(
                "商户号与签名不符 (mchid is not the signer's)",
            ));
        }
        if !merchant.is_bound_to(&wire.appid) {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "APPID_MCHID_NOT_MATCH",
                "appid 和 mchid 不匹配 (appid and mchid do not match)",
            ));
        }
        check_out_trade_no(&wire.out_trade_no)?;
        check_text("description", &wire.description, DESCRIPTION_CHARS_MAX)?;
        if let Some(attach) = &wire.attach {
            check_text("attach", attach, ATTACH_CHARS_MAX)?;
        }
        check_notify_url(&wire.notify_url, hosts)?;
        check_currency(wire.amount.currency.as_deref())?;
        if !(1..=TOTAL_FEN_MAX).contains(&wire.amount.total) {
            return Err(Refusal::parameter(
                "订单金额无效 (amount.total is out of range)",
            ));
        }
        let openid = match (trade_type, wire.payer) {
            (TradeType::Native, _) => None,
            (TradeType::Jsapi, Some(payer)) => {
                check_text("payer.openid", &payer.openid, OPENID_CHARS_MAX)?;
                Some(payer.openid)
            }
            (TradeType::Jsapi, None) => {
                return Err(Refusal::parameter(
                    "缺少 payer.openid (payer.openid is missing)",
                ));
            }
        };
        let bad = || Refusal::parameter("time_expire 格式错误 (time_expire is not RFC 3339)");
        let parse = |text: String| clock::parse_rfc3339(&text).ok_or_else(bad);
        Ok(Self {
            mchid: wire.mchid,
            appid: wire.appid,
            out_trade_no: wire.out_trade_no,
            trade_type,
            description: wire.description,
            attach: wire.attach,
            notify_url: wire.notify_url,
            total_fen: wire.amount.total,
            openid,
            time_expire_ms: wire.time_expire.map(parse).transpose()?,
        })
    }

    pub(crate) fn key(&self) -> OrderKey {
        (self.mchid.clone(), self.out_trade_no.clone())
    }
}

impl Order {
    /// A new order; `token` is random.
    pub(crate) fn place(terms: Terms, token: String, now_ms: i64) -> Result<Self, Refusal> {
        check_expiry(terms.time_expire_ms, now_ms)?;
        let state = OrderState::Unpaid;
        let returned = Returned::default();
        Ok(Self {
            terms,
            created_ms: now_ms,
            token,
            token_ms: now_ms,
            state,
            returned,
        })
    }

    /// The same order asked for again: the same terms get the same token, or a new one when the
    /// first can no longer be used.
    pub(crate) fn place_again(
        mut self,
        terms: &Terms,
        token: String,
        now_ms: i64,
    ) -> Result<Self, Refusal> {
        let used = |message| Refusal::new(StatusCode::FORBIDDEN, "OUT_TRADE_NO_USED", message);
        match self.state {
            OrderState::Paid(_) => return Err(order_paid()),
            OrderState::Closed { .. } => {
                return Err(used(
                    "商户订单号重复,订单已关闭 (out_trade_no of a closed order)",
                ));
            }
            OrderState::Unpaid => {}
        }
        if self.terms != *terms {
            return Err(used(
                "商户订单号重复,参数不一致 (out_trade_no with other content)",
            ));
        }
        check_expiry(terms.time_expire_ms, now_ms)?;
        if now_ms - self.token_ms >= TOKEN_MS_MAX {
            self.token = token;
            self.token_ms = now_ms;
        }
        Ok(self)
    }

    /// The payer pays. `force` pays after the order's time: the race that makes late payments.
    pub(crate) fn pay(mut self, payment: Payment, force: bool) -> Result<Self, Refusal> {
        let conflict = |code, message| Refusal::new(StatusCode::CONFLICT, code, message);
        match self.state {
            OrderState::Unpaid => {}
            OrderState::Paid(_) => return Err(conflict("ORDERPAID", "订单已支付 (order is paid)")),
            OrderState::Closed { .. } => {
                return Err(conflict("ORDER_CLOSED", "订单已关闭 (order is closed)"));
            }
        }
        if !force && payment.paid_ms >= self.payable_until_ms() {
            return Err(conflict("ORDER_EXPIRED", "订单已过期 (order has expired)"));
        }
        self.state = OrderState::Paid(payment);
        Ok(self)
    }

    /// The merchant closes; closing twice is the same as once.
    pub(crate) fn close(mut self, now_ms: i64) -> Result<Self, Refusal> {
        match self.state {
            OrderState::Unpaid => self.state = OrderState::Closed { closed_ms: now_ms },
            OrderState::Closed { .. } => {}
            OrderState::Paid(_) => return Err(order_paid()),
        }
        Ok(self)
    }

    fn payable_until_ms(&self) -> i64 {
        let expires = self
            .terms
            .time_expire_ms
            .unwrap_or(self.created_ms + EXPIRY_MS_DEFAULT);
        expires.min(self.token_ms + TOKEN_MS_MAX)
    }

    /// `weixin://…` for a native order, the `prepay_id` for a JSAPI one.
    pub(crate) fn handle(&self) -> String {
        match self.terms.trade_type {
            TradeType::Native => format!("{CODE_URL_PREFIX}{}", self.token),
            TradeType::Jsapi => self.token.clone(),
        }
    }

    pub(crate) fn payment(&self) -> Option<&Payment> {
        match &self.state {
            OrderState::Paid(payment) => Some(payment),
            OrderState::Unpaid | OrderState::Closed { .. } => None,
        }
    }

    /// `trade_state` and its text.
    pub(crate) fn trade_state(&self) -> (&'static str, &'static str) {
        match &self.state {
            OrderState::Unpaid => ("NOTPAY", "订单未支付"),
            OrderState::Closed { .. } => ("CLOSED", "订单已关闭"),
            OrderState::Paid(_) if self.returned.times > 0 => ("REFUND", "订单发生过退款"),
            OrderState::Paid(_) => ("SUCCESS", "支付成功"),
        }
    }

    /// The transaction as the query answers it and a notification carries it.
    pub(crate) fn transaction(&self) -> Value {
        let (trade_state, trade_state_desc) = self.trade_state();
        let mut view = json!({
            "appid": self.terms.appid,
            "mchid": self.terms.mchid,
            "out_trade_no": self.terms.out_trade_no,
            "trade_state": trade_state,
            "trade_state_desc": trade_state_desc,
            "amount": { "total": self.terms.total_fen, "currency": "CNY" },
        });
        if let Some(attach) = &self.terms.attach {
            view["attach"] = json!(attach);
        }
        if let Some(payment) = self.payment() {
            view["transaction_id"] = json!(payment.transaction_id);
            view["trade_type"] = json!(self.terms.trade_type.name());
            view["bank_type"] = json!("OTHERS");
            view["success_time"] = json!(clock::rfc3339(payment.paid_ms));
            view["payer"] = json!({ "openid": payment.openid });
            view["amount"]["payer_total"] = json!(self.terms.total_fen);
            view["amount"]["payer_currency"] = json!("CNY");
        }
        view
    }
}

fn order_paid() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "ORDERPAID",
        "该订单已支付 (order is paid)",
    )
}

fn check_expiry(time_expire_ms: Option<i64>, now_ms: i64) -> Result<(), Refusal> {
    let ahead_ms = time_expire_ms.map_or(EXPIRY_MS_DEFAULT, |expires| expires - now_ms);
    if (EXPIRY_MS_MIN..=EXPIRY_MS_MAX).contains(&ahead_ms) {
        return Ok(());
    }
    Err(Refusal::parameter(
        "time_expire 须在 1 分钟之后 (time_expire must be 1 min ahead)",
    ))
}

/// 6–32 of digits, letters and `_-|*`.
pub(crate) fn check_out_trade_no(number: &str) -> Result<(), Refusal> {
    let lengths = OUT_TRADE_NO_CHARS_MIN..=OUT_TRADE_NO_CHARS_MAX;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-|*".contains(&byte);
    if lengths.contains(&number.len()) && number.bytes().all(known) {
        return Ok(());
    }
    Err(Refusal::parameter(
        "商户订单号格式错误 (out_trade_no: 6-32 of 0-9 A-Z a-z _ - | *)",
    ))
}

/// Only CNY, which is also the default.
pub(crate) fn check_currency(currency: Option<&str>) -> Result<(), Refusal> {
    match currency {
        None | Some("CNY") => Ok(()),
        Some(_) => Err(Refusal::parameter("币种仅支持 CNY (currency must be CNY)")),
    }
}

/// A text that is not empty, not too long and without control characters.
pub(crate) fn check_text(field: &str, text: &str, chars_max: usize) -> Result<(), Refusal> {
    let chars = text.chars().count();
    if (1..=chars_max).contains(&chars) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::parameter(&format!(
        "{field} 无效 ({field}: 1-{chars_max} characters)"
    )))
}

/// http or https, one of the hosts the sandbox may post to, no query, no user.
pub(crate) fn check_notify_url(url: &str, hosts: &BTreeSet<String>) -> Result<(), Refusal> {
    let good = || {
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let scheme = uri.scheme_str()?;
        let plain = !url.contains(['?', '#', '@']) && url.len() <= NOTIFY_URL_BYTES_MAX;
        (plain && matches!(scheme, "http" | "https") && hosts.contains(host)).then_some(())
    };
    good().ok_or_else(|| {
        Refusal::parameter("notify_url 无效 (notify_url: http(s), allowed host, no query)")
    })
}

/// Reads a JSON body; what is wrong with it is told, as the provider does.
pub(crate) fn parse_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|problem| Refusal::parameter(&format!("请求体错误 (body: {problem})")))
}
