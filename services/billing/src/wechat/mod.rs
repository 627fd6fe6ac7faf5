//! A client of WeChat Pay API v3: what is signed, what is trusted, and what is asked.
//!
//! Every answer and notification is verified on its raw bytes before anything parses it. Nothing
//! here is called inside a transaction, knows an order of ours, or keeps a payer's identity: the
//! types read from the provider have no field for it, and what is told to it is told at once.

mod bill;
mod cipher;
mod client;
mod jsapi;
mod merchant;
mod message;
mod notice;
mod signature;

pub use bill::{Bill, BillError, Summary, parse as parse_bill};
pub use cipher::{API_V3_KEY_BYTES, ApiV3Key, Sealed};
pub use client::{ANSWER_BYTES_MAX, Client, Failure, NewOrder, REQUEST_SECONDS_MAX, RefundRequest};
pub use jsapi::{PayCall, SIGN_TYPE};
pub use merchant::{Merchant, MiniProgram, MiniProgramSettings, WechatSettings};
pub use message::{
    Notification, RefundAnswer, RefundNotice, RefundStatus, TradeState, Transaction,
};
pub use notice::{Opened, Unopened, open};
pub use signature::{
    PlatformKey, PrivateKey, Proof, SKEW_SECONDS_MAX, Untrusted, pay_sign_message, request_message,
};

/// The provider's API time format: RFC 3339 at +08:00, whole seconds.
pub(crate) fn rfc3339(at: chrono::DateTime<chrono::Utc>) -> String {
    let shanghai = chrono::FixedOffset::east_opt(kit::types::SHANGHAI_OFFSET_SECONDS);
    let format = "%Y-%m-%dT%H:%M:%S%:z";
    shanghai.map_or_else(String::new, |offset| {
        at.with_timezone(&offset).format(format).to_string()
    })
}
