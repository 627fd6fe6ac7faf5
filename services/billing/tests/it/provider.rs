//! The provider's own hand: notifications sealed and signed as it does, said of anything.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use billing::wechat::PrivateKey;
use serde_json::{Value, json};

use crate::world::{MCHID, World};

/// The provider's own hand: signs and seals as it does, with the keys of the sandbox's folder.
pub(crate) struct Provider {
    key: PrivateKey,
    serial: String,
    apiv3_key: Vec<u8>,
    appid: String,
}

/// A notification on its way.
#[derive(Clone)]
pub(crate) struct Posted {
    pub(crate) timestamp: String,
    pub(crate) nonce: String,
    pub(crate) signature: String,
    pub(crate) serial: String,
    pub(crate) body: String,
}

impl Provider {
    pub(crate) fn of(world: &World) -> Self {
        let read = |path: &str| std::fs::read_to_string(world.data().join(path)).unwrap();
        Self {
            key: PrivateKey::from_pem(&read("platform/private_key.pem")).unwrap(),
            serial: read("platform/serial"),
            apiv3_key: read(&format!("merchants/{MCHID}/apiv3_key")).into_bytes(),
            appid: read(&format!("merchants/{MCHID}/appid")),
        }
    }

    pub(crate) fn transaction(&self, world: &World, out_trade_no: &str, total: i64) -> Value {
        json!({
            "appid": self.appid, "mchid": MCHID, "out_trade_no": out_trade_no,
            "transaction_id": "4200000000000000001", "trade_type": "NATIVE",
            "trade_state": "SUCCESS", "bank_type": "OTHERS",
            "success_time": world.db.ctx.clock.now().to_rfc3339(),
            "payer": { "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o" },
            "amount": { "total": total, "payer_total": total, "currency": "CNY" },
        })
    }

    /// What became of a refund of a payment that is booked here, or of one that is not.
    pub(crate) fn refund(
        &self,
        world: &World,
        (out_trade_no, transaction_id): (&str, &str),
        out_refund_no: &str,
        status: &str,
    ) -> Posted {
        let plain = json!({
            "mchid": MCHID, "out_trade_no": out_trade_no, "transaction_id": transaction_id,
            "out_refund_no": out_refund_no, "refund_id": "50300000000000000000001",
            "refund_status": status, "user_received_account": "支付用户零钱",
            "success_time": world.db.ctx.clock.now().to_rfc3339(),
            "amount": { "total": 100, "refund": 1, "payer_total": 100, "payer_refund": 1 },
        });
        self.seal(world, &format!("REFUND.{status}"), &plain)
    }

    pub(crate) fn seal(&self, world: &World, event_type: &str, plain: &Value) -> Posted {
        let nonce = "abcdefghijkl";
        let mut bytes = plain.to_string().into_bytes();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.apiv3_key).unwrap());
        key.seal_in_place_append_tag(
            Nonce::try_assume_unique_for_key(nonce.as_bytes()).unwrap(),
            Aad::from(b"transaction"),
            &mut bytes,
        )
        .unwrap();
        let body = json!({
            "id": "EV-1", "create_time": world.db.ctx.clock.now().to_rfc3339(),
            "resource_type": "encrypt-resource", "event_type": event_type, "summary": "支付成功",
            "resource": {
                "original_type": "transaction", "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": STANDARD.encode(bytes), "associated_data": "transaction",
                "nonce": nonce,
            },
        });
        self.sign(world.db.ctx.clock.now().timestamp(), body.to_string())
    }

    pub(crate) fn sign(&self, timestamp: i64, body: String) -> Posted {
        let (timestamp, nonce) = (timestamp.to_string(), "n0nce".to_owned());
        let message = format!("{timestamp}\n{nonce}\n{body}\n");
        let signature = self.key.sign(&message).unwrap();
        Posted {
            timestamp,
            nonce,
            signature,
            serial: self.serial.clone(),
            body,
        }
    }
}

impl Posted {
    pub(crate) async fn to(&self, world: &World, route: &str) -> (u16, Value) {
        let answer = world
            .http
            .post(format!("{}/wechat/notify/{route}", world.rest))
            .header("wechatpay-timestamp", &self.timestamp)
            .header("wechatpay-nonce", &self.nonce)
            .header("wechatpay-signature", &self.signature)
            .header("wechatpay-serial", &self.serial)
            .header("content-type", "application/json")
            .body(self.body.clone())
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }
}
