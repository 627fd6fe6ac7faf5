//! A notification of the payment provider's: what is believed was signed by its key over exactly
//! these bytes, and what is opened is what was sealed.

use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use billing::WechatSettings;
use billing::wechat::{Merchant, RefundNotice, Transaction, Unopened, Untrusted, open};

use crate::message::Message;
use crate::{NOW_SECONDS, Verdict, drawn};

/// What the provider publishes for testing clients; here the provider signs with it.
const PROVIDER_KEY: &str = include_str!("../../proto/vectors/wechatpay/merchant_sample_key.pem");
/// Its public half.
const PROVIDER_PUBLIC: &str = include_str!("../keys/merchant_sample_public_key.pem");
/// Headers of a request, at most: as the listener takes them.
const HEADERS_MAX: usize = 100;
const SERIAL: &str = "PUB_KEY_ID_0000000001";
const APIV3_KEY: &[u8; 32] = b"fuzzfuzzfuzzfuzzfuzzfuzzfuzzfuzz";
const NONCE: &str = "fuzz-nonce-1";
const ASSOCIATED: &str = "transaction";

static MERCHANT: LazyLock<Merchant> = LazyLock::new(|| {
    let apiv3_key = String::from_utf8_lossy(APIV3_KEY).into_owned();
    let settings = WechatSettings {
        base_url: "http://127.0.0.1:1".to_owned(),
        mchid: "1900000001".to_owned(),
        appid: "wx0000000000000001".to_owned(),
        merchant_serial: "0000000001".to_owned(),
        merchant_key: PROVIDER_KEY.into(),
        platform_serial: SERIAL.to_owned(),
        platform_key: PROVIDER_PUBLIC.to_owned(),
        apiv3_key: apiv3_key.into(),
        notify_url: "http://127.0.0.1:1".to_owned(),
        mini_program: None,
    };
    Merchant::load(&settings).expect("the settings are proper")
});

/// Reads `bytes` as headers and a body; without headers as a body that the provider signs, and as
/// what it seals in one.
pub fn check(bytes: &[u8]) -> Verdict {
    if let Some(message) = Message::read(bytes) {
        return Verdict::of(forged(&message));
    }
    let Ok(body) = std::str::from_utf8(bytes) else {
        return Verdict::of(sealed(bytes));
    };
    let is_body = signed(body);
    Verdict::of(sealed(bytes) || is_body)
}

/// Whether a message is believed, whose headers are its sender's own.
fn forged(message: &Message<'_>) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in message.headers.iter().take(HEADERS_MAX) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            let _ = headers.append(name, value);
        }
    }
    let opened = open(&MERCHANT, &headers, message.rest, NOW_SECONDS);
    if matches!(opened, Err(Unopened::Untrusted(_))) {
        return false;
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let body = std::str::from_utf8(message.rest).expect("only text is signed here");
    let (timestamp, nonce) = (text("wechatpay-timestamp"), text("wechatpay-nonce"));
    let ours = timestamp
        .zip(nonce)
        .map(|(timestamp, nonce)| signature(timestamp, nonce, body));
    assert_eq!(text("wechatpay-signature"), ours.as_deref(), "forged");
    opened.is_ok()
}

/// Whether a body opens that the provider has signed. It is always believed, and never with a byte
/// changed.
fn signed(body: &str) -> bool {
    let headers = headers(body);
    let opened = open(&MERCHANT, &headers, body.as_bytes(), NOW_SECONDS);
    assert!(!matches!(opened, Err(Unopened::Untrusted(_))), "{opened:?}");
    let mut altered = body.as_bytes().to_vec();
    if !altered.is_empty() {
        let at = drawn(body.as_bytes(), altered.len());
        altered[at] ^= 1;
        assert_eq!(
            open(&MERCHANT, &headers, &altered, NOW_SECONDS),
            Err(Unopened::Untrusted(Untrusted::Signature))
        );
    }
    opened.is_ok()
}

/// Whether a notification in which this is sealed says something of a payment or a refund. It
/// always opens, as what was sealed.
fn sealed(plain: &[u8]) -> bool {
    let key = UnboundKey::new(&AES_256_GCM, APIV3_KEY).expect("the key has its length");
    let nonce: [u8; 12] = NONCE.as_bytes().try_into().expect("a nonce has its length");
    let mut bytes = plain.to_vec();
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(ASSOCIATED.as_bytes()),
            &mut bytes,
        )
        .expect("so few bytes are sealed");
    let body = serde_json::json!({
        "id": "fuzz-1",
        "event_type": "TRANSACTION.SUCCESS",
        "resource_type": "encrypt-resource",
        "resource": {
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": STANDARD.encode(bytes),
            "associated_data": ASSOCIATED,
            "nonce": NONCE,
        },
    });
    let body = body.to_string();
    let opened = open(&MERCHANT, &headers(&body), body.as_bytes(), NOW_SECONDS);
    let opened = opened.expect("what the provider seals and signs is opened");
    assert_eq!(opened.plain, plain);
    serde_json::from_slice::<Transaction>(plain).is_ok()
        || serde_json::from_slice::<RefundNotice>(plain).is_ok()
}

/// The headers with which the provider sends this body.
fn headers(body: &str) -> HeaderMap {
    let timestamp = NOW_SECONDS.to_string();
    let signature = signature(&timestamp, NONCE, body);
    [
        ("wechatpay-timestamp", timestamp.as_str()),
        ("wechatpay-nonce", NONCE),
        ("wechatpay-serial", SERIAL),
        ("wechatpay-signature", signature.as_str()),
    ]
    .into_iter()
    .map(|(name, value)| {
        let value = HeaderValue::from_str(value).expect("it is plain text");
        (HeaderName::from_static(name), value)
    })
    .collect()
}

fn signature(timestamp: &str, nonce: &str, body: &str) -> String {
    let message = format!("{timestamp}\n{nonce}\n{body}\n");
    MERCHANT.key.sign(&message).expect("the key signs")
}
