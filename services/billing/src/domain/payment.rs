//! A payment: one attempt of a payer to pay an order at the provider.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::{Fen, MemberId, OrderId};
use uuid::Uuid;

/// The longest life of a payment, in minutes: a `code_url` lives two hours at the provider.
pub const PAYMENT_MINUTES_MAX: i64 = 110;
/// When the provider is asked about a payment of which nothing is heard, in seconds after it was
/// prepared; then every [`QUERY_SECONDS_LAST`]. It tells us by itself within a second, and again
/// after 15, 30 and 60 s: the questions are for what is lost. Most payers who leave never pay, and
/// each question about them is work.
const QUERY_SECONDS: [i64; 4] = [10, 30, 60, 120];
const QUERY_SECONDS_LAST: i64 = 300;
/// When the provider is asked about a refund, in seconds after it was accepted; then hourly.
const REFUND_QUERY_SECONDS: [i64; 6] = [5, 30, 60, 300, 900, 1_800];
const REFUND_QUERY_SECONDS_LAST: i64 = 3_600;

/// How it is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A QR code for WeChat's scanner.
    WechatNative,
    /// Inside WeChat, by whom a mini-program has as its user.
    WechatJsapi,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WechatNative => "wechat_native",
            Self::WechatJsapi => "wechat_jsapi",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::WechatNative, Self::WechatJsapi]
            .into_iter()
            .find(|method| method.as_str() == text)
    }
}

/// What a payment is called up with, as the provider gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallUp {
    /// What a QR code shows.
    CodeUrl(String),
    /// What WeChat itself calls up; good for nobody but the payer that it was made for.
    PrepayId(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// The provider is being asked for it.
    Preparing,
    /// The payer can pay.
    Waiting {
        call_up: CallUp,
        prepared_at: DateTime<Utc>,
    },
    /// It paid the order.
    Succeeded,
    /// It was paid when the order was paid or closed already: it goes back.
    Late,
    /// It ended unpaid.
    Closed,
    /// The provider did not take it, or was paid another amount: its code.
    Failed { code: String },
}

impl PaymentState {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Waiting { .. } => "waiting",
            Self::Succeeded => "succeeded",
            Self::Late => "late",
            Self::Closed => "closed",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether money may still be on its way by it.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Preparing | Self::Waiting { .. })
    }
}

impl Payment {
    /// Since when the provider has been silent about it.
    pub fn silent_since(&self) -> DateTime<Utc> {
        match &self.state {
            PaymentState::Waiting { prepared_at, .. } => *prepared_at,
            PaymentState::Preparing
            | PaymentState::Succeeded
            | PaymentState::Late
            | PaymentState::Closed
            | PaymentState::Failed { .. } => self.created_at,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub id: Uuid,
    pub order: OrderId,
    pub payer: MemberId,
    pub method: Method,
    pub amount: Fen,
    /// Our number at the provider.
    pub out_trade_no: String,
    pub state: PaymentState,
    pub created_at: DateTime<Utc>,
    /// When it is closed unpaid.
    pub expires_at: DateTime<Utc>,
}

/// When the provider is asked next about what was begun at `since`, strictly after `now`.
fn next_of(schedule: &[i64], last: i64, since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let elapsed = (now - since).num_seconds();
    match schedule.iter().find(|&&seconds| seconds > elapsed) {
        Some(&seconds) => since + TimeDelta::seconds(seconds),
        None => now + TimeDelta::seconds(last),
    }
}

/// When the provider is asked next about a payment prepared at `since`.
pub fn next_query(since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    next_of(&QUERY_SECONDS, QUERY_SECONDS_LAST, since, now)
}

/// When the provider is asked next about a refund accepted at `since`.
pub fn next_refund_query(since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    next_of(&REFUND_QUERY_SECONDS, REFUND_QUERY_SECONDS_LAST, since, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The questions come at the planned seconds, then at a steady pace, and never stand still.
    #[test]
    fn a_silent_payment_is_asked_about_ever_more_rarely() {
        let since = DateTime::from_timestamp(1_775_008_800, 0).unwrap();
        let mut now = since;
        let mut asked = Vec::new();
        for _ in 0..8 {
            now = next_query(since, now);
            asked.push((now - since).num_seconds());
        }
        assert_eq!(asked, [10, 30, 60, 120, 420, 720, 1_020, 1_320]);
    }
}
