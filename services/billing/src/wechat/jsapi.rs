//! Paying inside WeChat (JSAPI): an order for one payer, and what her client calls it up with.

use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Failure, NewOrder, read};
use super::merchant::MiniProgram;
use super::signature::pay_sign_message;
use crate::domain::Openid;

/// The only way the provider lets a call-up be signed.
pub const SIGN_TYPE: &str = "RSA";

/// What `wx.requestPayment` takes, word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayCall {
    pub app_id: String,
    /// Seconds since the Unix epoch.
    pub time_stamp: String,
    pub nonce_str: String,
    /// `prepay_id=…`
    pub package: String,
    pub pay_sign: String,
}

impl Client {
    /// Places an order for this payer; its prepay_id. The same order placed again for the same
    /// payer is the same.
    ///
    /// # Errors
    /// As [`Failure`].
    pub async fn jsapi(&self, order: &NewOrder, payer: &Openid) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Body {
            prepay_id: String,
        }
        let mut body = self.order_body(order, payer.appid());
        body["payer"] = json!({ "openid": payer.name() });
        let answer = self
            .call(
                reqwest::Method::POST,
                "/v3/pay/transactions/jsapi",
                Some(&body),
            )
            .await?;
        read::<Body>(&answer).map(|body| body.prepay_id)
    }

    /// Signs what the payer's client calls a prepared payment up with. Each time it is another
    /// nonce and time, and the same payment.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn pay_call(&self, program: &MiniProgram, prepay_id: &str) -> kit::Result<PayCall> {
        let time_stamp = self.clock().now().timestamp().to_string();
        let nonce_str = hex::encode_upper(self.ids().bytes16());
        let package = format!("prepay_id={prepay_id}");
        let app_id = program.appid.clone();
        let message = pay_sign_message(&app_id, &time_stamp, &nonce_str, &package);
        let pay_sign = self
            .merchant()
            .key
            .sign(&message)
            .ok_or_else(|| kit::Error::internal("a call-up could not be signed"))?;
        Ok(PayCall {
            app_id,
            time_stamp,
            nonce_str,
            package,
            pay_sign,
        })
    }
}
