//! What the provider says, as far as it is read. There is no field for the payer's openid or
//! bank: what is not read is not kept.

use chrono::{DateTime, FixedOffset, Utc};
use serde::Deserialize;

/// A notification around its sealed resource.
#[derive(Clone, Debug, Deserialize)]
pub struct Notification {
    pub id: String,
    pub event_type: String,
    pub resource_type: String,
    pub resource: Resource,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Resource {
    pub algorithm: String,
    pub ciphertext: String,
    #[serde(default)]
    pub associated_data: String,
    pub nonce: String,
    #[serde(default)]
    pub original_type: String,
}

/// What became of an order at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TradeState {
    Success,
    /// Paid, and something of it given back.
    Refund,
    Notpay,
    Closed,
    Revoked,
    Userpaying,
    Payerror,
}

impl TradeState {
    pub const fn is_paid(self) -> bool {
        matches!(self, Self::Success | Self::Refund)
    }
}

/// An order at the provider.
#[derive(Clone, Debug, Deserialize)]
pub struct Transaction {
    pub appid: String,
    pub mchid: String,
    pub out_trade_no: String,
    pub trade_state: TradeState,
    pub transaction_id: Option<String>,
    pub success_time: Option<DateTime<FixedOffset>>,
    pub amount: Option<Amount>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Amount {
    /// In the smallest unit of the currency.
    pub total: i64,
    #[serde(default = "cny")]
    pub currency: String,
}

fn cny() -> String {
    "CNY".to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefundStatus {
    Success,
    Processing,
    /// The money did not arrive; somebody must look at it.
    Abnormal,
    /// It was not made and never will be under this number.
    Closed,
}

/// A refund, as asked for or queried.
#[derive(Clone, Debug, Deserialize)]
pub struct RefundAnswer {
    pub refund_id: String,
    pub out_refund_no: String,
    pub transaction_id: String,
    pub status: RefundStatus,
    pub create_time: DateTime<FixedOffset>,
    pub success_time: Option<DateTime<FixedOffset>>,
    pub amount: RefundAmount,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RefundAmount {
    pub refund: i64,
    pub total: i64,
    #[serde(default = "cny")]
    pub currency: String,
}

/// A refund, as a notification tells of it.
#[derive(Clone, Debug, Deserialize)]
pub struct RefundNotice {
    pub mchid: String,
    pub out_trade_no: String,
    pub transaction_id: String,
    pub out_refund_no: String,
    pub refund_id: String,
    pub refund_status: RefundStatus,
    pub success_time: Option<DateTime<FixedOffset>>,
    pub amount: RefundNoticeAmount,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RefundNoticeAmount {
    pub refund: i64,
    pub total: i64,
}

impl Transaction {
    /// When it was paid.
    pub fn paid_at(&self) -> Option<DateTime<Utc>> {
        self.success_time.map(|at| at.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read has no place for the payer, whatever the provider sends.
    /// ASVS V14.2.3.
    #[test]
    fn the_payer_is_not_read() {
        let body = r#"{"appid":"wx1","mchid":"1","out_trade_no":"t","trade_state":"SUCCESS",
            "transaction_id":"42","success_time":"2026-04-01T10:00:00+08:00","bank_type":"CMB",
            "payer":{"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
            "amount":{"total":5,"payer_total":5,"currency":"CNY","payer_currency":"CNY"}}"#;
        let transaction: Transaction = serde_json::from_str(body).unwrap();
        assert!(transaction.trade_state.is_paid());
        assert!(!format!("{transaction:?}").contains("oUpF8"));
        assert_eq!(
            transaction.paid_at().unwrap().to_rfc3339(),
            "2026-04-01T02:00:00+00:00"
        );
        let other = body.replace("SUCCESS", "SOMETHING_NEW");
        assert!(serde_json::from_str::<Transaction>(&other).is_err());
    }
}
