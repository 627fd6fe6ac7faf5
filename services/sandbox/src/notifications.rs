//! Notifications: what they say, when they are tried again, and how they can be spoilt. Pure, but
//! for the randomness of nonces.
//!
//! Posting them is `delivery`'s.

use crate::clock;
use crate::keys::{Keys, Merchant};
use crate::random;
use crate::signature;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the provider waits after each failed attempt, in milliseconds: 15 more attempts in
/// 24 h 4 min.
pub(crate) const RETRY_PLAN_MS: [i64; 15] = [
    15_000, 15_000, 30_000, 180_000, 600_000, 1_200_000, 1_800_000, 1_800_000, 1_800_000,
    3_600_000, 10_800_000, 10_800_000, 10_800_000, 21_600_000, 21_600_000,
];
/// Copies of one notification that can be sent at once.
pub(crate) const COPIES_MAX: u32 = 200;
/// Attempts remembered per notification; the oldest go first.
const ATTEMPTS_KEPT_MAX: usize = 256;
/// How far in the past a stale notification is dated.
const STALE_SECONDS: i64 = 2 * signature::TIMESTAMP_SKEW_SECONDS_MAX;
pub(crate) const SIGNTEST_PREFIX: &str = "WECHATPAY/SIGNTEST/";

/// What a notification tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EventType {
    #[serde(rename = "TRANSACTION.SUCCESS")]
    TransactionSuccess,
    #[serde(rename = "REFUND.SUCCESS")]
    RefundSuccess,
}

impl EventType {
    /// Name, what it was before it was sealed, and the summary a person reads.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::TransactionSuccess => ("TRANSACTION.SUCCESS", "transaction", "支付成功"),
            Self::RefundSuccess => ("REFUND.SUCCESS", "refund", "退款成功"),
        }
    }
}

/// In what a forged notification differs from the true one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Forgery {
    /// The signature is over another body.
    BadSignature,
    /// Sealed and signed well, but the amount is one fen off.
    WrongAmount,
    /// Sealed and signed well, but the currency is USD.
    WrongCurrency,
    /// Sealed and signed well, but for another merchant.
    WrongMchid,
    /// Sealed and signed well, but for an order nobody placed.
    UnknownOrder,
    /// Signed well, but the ciphertext's tag is broken.
    BadTag,
    /// The serial names a key nobody knows.
    OtherSerial,
    /// Signed well, but ten minutes ago.
    StaleTimestamp,
    /// The provider's own probe: a signature that must not verify.
    Signtest,
}

/// What happens to the attempts of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The first attempt comes with this many further copies, each freshly signed.
    Repeat { copies: u32 },
    /// The first attempt comes with this many further copies of the same bytes and headers.
    Replay { copies: u32 },
    /// The first attempts (all when `None`) never leave.
    Lose { attempts: Option<u32> },
    /// The first attempts are forged; then the true one follows the plan.
    Forge { forgery: Forgery, attempts: u32 },
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// 200 or 204 within 5 s: the status alone decides.
    Accepted,
    /// Any other status.
    Refused,
    /// No answer within 5 s.
    TimedOut,
    /// No connection, or it broke.
    Unreachable,
    /// The sandbox was told to lose it.
    Lost,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) at_ms: i64,
    pub(crate) outcome: Outcome,
    pub(crate) http_status: Option<u16>,
    pub(crate) forgery: Option<Forgery>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotificationState {
    Waiting { next_ms: i64 },
    Delivered,
    GivenUp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Notification {
    /// Order of creation.
    pub(crate) number: u64,
    /// The id the merchant sees; the same in every attempt.
    pub(crate) id: String,
    pub(crate) event_type: EventType,
    pub(crate) mchid: String,
    pub(crate) out_trade_no: String,
    pub(crate) notify_url: String,
    pub(crate) created_ms: i64,
    /// What is sealed in it.
    pub(crate) content: Value,
    pub(crate) fault: Option<Fault>,
    pub(crate) state: NotificationState,
    /// Attempts of the plan, whatever their number of copies.
    pub(crate) rounds: u32,
    pub(crate) attempts: Vec<Attempt>,
}

/// One message ready to be posted.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) serial: String,
    pub(crate) timestamp: i64,
    pub(crate) nonce: String,
    pub(crate) signature: String,
    pub(crate) body: String,
    pub(crate) forgery: Option<Forgery>,
}

impl Notification {
    /// The messages of the next round; none when it is to be lost.
    pub(crate) fn round(&self, keys: &Keys, merchant: &Merchant, now_ms: i64) -> Vec<Envelope> {
        let fresh = |forgery| self.envelope(forgery, keys, merchant, now_ms);
        let first = self.rounds == 0;
        match self.fault {
            Some(Fault::Lose { attempts }) if attempts.is_none_or(|n| self.rounds < n) => vec![],
            Some(Fault::Forge { forgery, attempts }) if self.rounds < attempts => {
                vec![fresh(Some(forgery))]
            }
            Some(Fault::Repeat { copies }) if first => (0..=copies).map(|_| fresh(None)).collect(),
            Some(Fault::Replay { copies }) if first => {
                let one = fresh(None);
                (0..=copies).map(|_| one.clone()).collect()
            }
            Some(_) | None => vec![fresh(None)],
        }
    }

    /// Takes in how a round ended, and decides when the next one is.
    pub(crate) fn conclude(mut self, ended: Vec<Attempt>, now_ms: i64, time_scale: i64) -> Self {
        let accepted = ended
            .iter()
            .any(|attempt| attempt.outcome == Outcome::Accepted);
        self.remember(ended);
        let failures = usize::try_from(self.rounds).unwrap_or(usize::MAX);
        self.rounds += 1;
        self.state = match RETRY_PLAN_MS.get(failures) {
            // One sent by hand may have arrived while this round was under way.
            _ if accepted || self.state == NotificationState::Delivered => {
                NotificationState::Delivered
            }
            Some(wait_ms) => NotificationState::Waiting {
                next_ms: now_ms + wait_ms / time_scale,
            },
            None => NotificationState::GivenUp,
        };
        self
    }

    /// Keeps attempts that were asked for by hand; a true one that arrived ends the plan.
    pub(crate) fn remember_resent(mut self, ended: Vec<Attempt>) -> Self {
        let arrived =
            |attempt: &Attempt| attempt.outcome == Outcome::Accepted && attempt.forgery.is_none();
        if ended.iter().any(arrived) {
            self.state = NotificationState::Delivered;
        }
        self.remember(ended);
        self
    }

    fn remember(&mut self, ended: Vec<Attempt>) {
        self.attempts.extend(ended);
        let surplus = self.attempts.len().saturating_sub(ATTEMPTS_KEPT_MAX);
        let _oldest = self.attempts.drain(..surplus);
    }

    pub(crate) fn next_ms(&self) -> Option<i64> {
        match self.state {
            NotificationState::Waiting { next_ms } => Some(next_ms),
            NotificationState::Delivered | NotificationState::GivenUp => None,
        }
    }

    /// Seals and signs it as of now, or spoils it on purpose.
    pub(crate) fn envelope(
        &self,
        forgery: Option<Forgery>,
        keys: &Keys,
        merchant: &Merchant,
        now_ms: i64,
    ) -> Envelope {
        let body = self.body(forgery, merchant);
        let stale = forgery == Some(Forgery::StaleTimestamp);
        let timestamp = now_ms / 1_000 - if stale { STALE_SECONDS } else { 0 };
        let nonce = random::text(random::ALPHANUMERIC, 32);
        let other = format!("{body} ");
        let signed = if forgery == Some(Forgery::BadSignature) {
            &other
        } else {
            &body
        };
        let signature = if forgery == Some(Forgery::Signtest) {
            format!(
                "{SIGNTEST_PREFIX}{}",
                random::text(random::ALPHANUMERIC, 344)
            )
        } else {
            let message = signature::answer_message(timestamp, &nonce, signed.as_bytes());
            keys.platform.sign(&message)
        };
        let serial = match forgery {
            Some(Forgery::OtherSerial) => {
                format!("PUB_KEY_ID_{}", random::text(random::DIGITS, 34))
            }
            _ => keys.platform_serial.clone(),
        };
        Envelope {
            serial,
            timestamp,
            nonce,
            signature,
            body,
            forgery,
        }
    }

    fn body(&self, forgery: Option<Forgery>, merchant: &Merchant) -> String {
        let (event_type, original_type, summary) = self.event_type.texts();
        let mut content = self.content.clone();
        spoil(&mut content, forgery);
        let nonce = random::text(random::ALPHANUMERIC, 12);
        let plaintext = content.to_string();
        let sealed = signature::seal(&merchant.apiv3_key, &nonce, original_type, &plaintext);
        let mut ciphertext = sealed.unwrap_or_default();
        if forgery == Some(Forgery::BadTag) {
            let first = if ciphertext.starts_with('A') {
                "B"
            } else {
                "A"
            };
            ciphertext.replace_range(..1, first);
        }
        json!({
            "id": self.id,
            "create_time": clock::rfc3339(self.created_ms),
            "resource_type": "encrypt-resource",
            "event_type": event_type,
            "summary": summary,
            "resource": {
                "original_type": original_type,
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": ciphertext,
                "associated_data": original_type,
                "nonce": nonce,
            },
        })
        .to_string()
    }

    /// The notification as `GET /sandbox/notifications` lists it.
    pub(crate) fn view(&self) -> Value {
        let state = match self.state {
            NotificationState::Waiting { .. } => "waiting",
            NotificationState::Delivered => "delivered",
            NotificationState::GivenUp => "given_up",
        };
        let attempts: Vec<Value> = self.attempts.iter().map(Attempt::view).collect();
        json!({
            "id": self.id,
            "mchid": self.mchid,
            "out_trade_no": self.out_trade_no,
            "event_type": self.event_type,
            "notify_url": self.notify_url,
            "state": state,
            "next_at": self.next_ms().map(clock::rfc3339),
            "attempts": attempts,
        })
    }
}

impl Attempt {
    pub(crate) fn view(&self) -> Value {
        json!({
            "at": clock::rfc3339(self.at_ms),
            "outcome": self.outcome,
            "http_status": self.http_status,
            "forgery": self.forgery,
        })
    }
}

/// Changes the content of a forgery that seals and signs well.
fn spoil(content: &mut Value, forgery: Option<Forgery>) {
    match forgery {
        Some(Forgery::WrongAmount) => {
            for field in ["total", "payer_total", "refund", "payer_refund"] {
                let amount = &mut content["amount"];
                if let Some(fen) = amount.get(field).and_then(Value::as_i64) {
                    amount[field] = json!(fen - 1);
                }
            }
        }
        Some(Forgery::WrongCurrency) => {
            content["amount"]["currency"] = json!("USD");
            content["amount"]["payer_currency"] = json!("USD");
        }
        Some(Forgery::WrongMchid) => content["mchid"] = json!("1900000099"),
        Some(Forgery::UnknownOrder) => {
            content["out_trade_no"] = json!(format!("X{}", random::text(random::DIGITS, 24)));
            content["transaction_id"] = json!(format!("4200{}", random::text(random::DIGITS, 24)));
        }
        Some(
            Forgery::BadSignature
            | Forgery::BadTag
            | Forgery::OtherSerial
            | Forgery::StaleTimestamp
            | Forgery::Signtest,
        )
        | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan ends after 24 hours and 4 minutes, as the provider says.
    #[test]
    fn the_plan_takes_a_day_and_four_minutes() {
        assert_eq!(RETRY_PLAN_MS.iter().sum::<i64>(), (24 * 60 + 4) * 60_000);
    }
}
