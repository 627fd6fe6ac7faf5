//! The SMS inbox: a sending API with accounts, and the phones' view of what arrived.
//!
//! Messages live in memory only and the oldest make room for new ones.

use crate::clock;
use crate::error::Refusal;
use crate::random;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Messages kept; the oldest go first.
const MESSAGES_MAX: usize = 1_000;
/// Request ids remembered, so that a repeat sends nothing; the oldest go first.
const REQUEST_IDS_MAX: usize = 20_000;
const REQUEST_ID_BYTES_MAX: usize = 64;
const PARAMS_MAX: usize = 10;
const PARAM_CHARS_MAX: usize = 64;
const PHONE_DIGITS_MIN: usize = 5;
const PHONE_DIGITS_MAX: usize = 15;

/// A text registered with the operator; `{name}` is replaced by the parameter of that name. Words
/// come once in each language: `{what}` for the Chinese text, `{what_en}` for the English one.
struct Template {
    name: &'static str,
    params: &'static [&'static str],
    zh: &'static str,
    en: &'static str,
}

const TEMPLATES: &[Template] = &[
    Template {
        name: "login_code",
        params: &["code", "minutes"],
        zh: "【百万职工游巴蜀】您的登录验证码是{code}，{minutes}分钟内有效。请勿告知他人。",
        en: "[Bashu] Your login code is {code}, valid for {minutes} minutes. Tell nobody.",
    },
    Template {
        name: "phone_change",
        params: &["code", "minutes"],
        zh: "【百万职工游巴蜀】您正在更换登录手机号，验证码{code}，{minutes}分钟内有效。如非本人操作，请勿告知他人。",
        en: "[Bashu] Changing the phone of your account: code {code}, for {minutes} minutes. \
             Not you? Tell nobody.",
    },
    Template {
        name: "recovery_code",
        params: &["code", "minutes"],
        zh: "【百万职工游巴蜀】您正在申请以本机号码找回账号，验证码{code}，{minutes}分钟内有效。如非本人操作，请勿告知他人。",
        en: "[Bashu] Recovering an account with this phone: code {code}, for {minutes} minutes. \
             Not you? Tell nobody.",
    },
    Template {
        name: "phone_recovery",
        params: &["hours"],
        zh: "【百万职工游巴蜀】您的登录手机号将在{hours}小时后更换为另一号码。如非本人申请，请立即用本机登录并撤回，或致电12351。",
        en: "[Bashu] Another phone takes this one's place in {hours} hours. Not you? Sign in with \
             this phone now and take it back, or call 12351.",
    },
    Template {
        name: "account_alert",
        params: &["what", "what_en", "time"],
        zh: "【百万职工游巴蜀】您的账号于{time}{what}。如非本人操作，请立即在所有设备退出并致电12351。",
        en: "[Bashu] Your account at {time}: {what_en}. Not you? Sign out everywhere and call \
             12351.",
    },
    Template {
        name: "pass_cancelled",
        params: &["product", "product_en"],
        zh: "【百万职工游巴蜀】您的{product}已被取消，不能再用于入园。如有疑问请致电12351。",
        en: "[Bashu] Your {product_en} was cancelled and opens no gate any more. Questions: 12351.",
    },
    Template {
        name: "order_refunded",
        params: &["number", "yuan"],
        zh: "【百万职工游巴蜀】订单{number}已退款{yuan}元，到账时间以支付渠道为准。",
        en: "[Bashu] {yuan} yuan of order {number} were refunded, the way they were paid.",
    },
    Template {
        name: "pass_to_activate",
        params: &["name", "product", "product_en", "date"],
        zh: "【百万职工游巴蜀】{name}您好，您的{product}最晚须于{date}激活，逾期作废。",
        en: "[Bashu] {name}, activate your {product_en} by {date}, or it is forfeited.",
    },
    Template {
        name: "pass_to_activate_en",
        params: &["name", "product", "product_en", "date"],
        zh: "【百万职工游巴蜀】{name}您好，您的{product}最晚须于{date}激活，逾期作废。",
        en: "[Bashu] {name}, activate your {product_en} by {date}, or it is forfeited.",
    },
];

/// The body of `POST /sms/send`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sending {
    phone: String,
    template: String,
    #[serde(default)]
    params: BTreeMap<String, String>,
    request_id: String,
}

#[derive(Clone, Debug)]
struct Message {
    id: String,
    account: String,
    sending: Sending,
    text_zh: String,
    text_en: String,
    sent_ms: i64,
}

#[derive(Debug, Default)]
pub(crate) struct SmsBox {
    messages: VecDeque<Message>,
    /// Account and request id → what was sent and the message's id.
    requests: HashMap<(String, String), (Sending, String)>,
    requests_by_age: VecDeque<(String, String)>,
    refuse_next: u32,
}

impl SmsBox {
    /// Sends one message for `account`, once per request id; answers the message's id.
    pub(crate) fn send(
        &mut self,
        account: &str,
        sending: Sending,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        let (text_zh, text_en) = check(&sending)?;
        let key = (account.to_owned(), sending.request_id.clone());
        if let Some((before, id)) = self.requests.get(&key) {
            if *before == sending {
                return Ok(id.clone());
            }
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "REQUEST_ID_REUSED",
                "request_id 已用于其他内容 (request_id was used with other content)",
            ));
        }
        if self.refuse_next > 0 {
            self.refuse_next -= 1;
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "SERVICE_UNAVAILABLE",
                "短信通道暂不可用 (the channel is unavailable)",
            ));
        }
        let id = random::text(random::DIGITS, 20);
        let _new = self
            .requests
            .insert(key.clone(), (sending.clone(), id.clone()));
        self.requests_by_age.push_back(key);
        if self.requests_by_age.len() > REQUEST_IDS_MAX
            && let Some(oldest) = self.requests_by_age.pop_front()
        {
            let _gone = self.requests.remove(&oldest);
        }
        let account = account.to_owned();
        let message = Message {
            id: id.clone(),
            account,
            sending,
            text_zh,
            text_en,
            sent_ms: now_ms,
        };
        self.messages.push_back(message);
        if self.messages.len() > MESSAGES_MAX {
            let _oldest = self.messages.pop_front();
        }
        Ok(id)
    }

    /// Makes the next sendings fail before anything is sent.
    pub(crate) fn refuse_next(&mut self, count: u32) {
        self.refuse_next = count;
    }

    /// What arrived, latest first, on one phone or on all.
    pub(crate) fn inbox(&self, phone: Option<&str>, limit: usize) -> Vec<Value> {
        let wanted = |message: &&Message| phone.is_none_or(|phone| message.sending.phone == phone);
        self.messages
            .iter()
            .rev()
            .filter(wanted)
            .take(limit)
            .map(Message::view)
            .collect()
    }
}

impl Message {
    fn view(&self) -> Value {
        json!({
            "message_id": self.id,
            "account": self.account,
            "phone": self.sending.phone,
            "template": self.sending.template,
            "params": self.sending.params,
            "request_id": self.sending.request_id,
            "text_zh": self.text_zh,
            "text_en": self.text_en,
            "sent_at": clock::rfc3339(self.sent_ms),
        })
    }
}

/// The texts of a sending, or why it is refused.
fn check(sending: &Sending) -> Result<(String, String), Refusal> {
    let digits = sending.phone.strip_prefix('+').unwrap_or(&sending.phone);
    if !(PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX).contains(&digits.len())
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Refusal::parameter(
            "手机号格式错误 (phone: 5-15 digits, + allowed)",
        ));
    }
    let id = &sending.request_id;
    if !(1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(Refusal::parameter(
            "request_id 格式错误 (request_id: 1-64 printable ASCII)",
        ));
    }
    let Some(template) = TEMPLATES
        .iter()
        .find(|known| known.name == sending.template)
    else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "TEMPLATE_UNKNOWN",
            "短信模板不存在 (no such template)",
        ));
    };
    let complete = sending.params.len() == template.params.len()
        && template.params.len() <= PARAMS_MAX
        && template
            .params
            .iter()
            .all(|name| sending.params.contains_key(*name))
        && sending.params.values().all(|value| is_param(value));
    if !complete {
        let wanted = template.params.join(", ");
        return Err(Refusal::parameter(&format!(
            "模板参数错误 (params must be {wanted})"
        )));
    }
    let fill = |text: &str| {
        sending
            .params
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), value)
            })
    };
    Ok((fill(template.zh), fill(template.en)))
}

/// A parameter is short, visible and cannot itself be a placeholder.
fn is_param(value: &str) -> bool {
    let chars = value.chars().count();
    (1..=PARAM_CHARS_MAX).contains(&chars)
        && !value.contains(|c: char| c.is_control() || c == '{' || c == '}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters that are figures, and the same in both languages.
    const FIGURES: [&str; 7] = ["code", "date", "hours", "minutes", "number", "time", "yuan"];

    fn is_chinese(c: char) -> bool {
        matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}')
    }

    /// What each template says of parameters as its senders give them: of words the Chinese and the
    /// English ones, of a person the name that she has.
    fn said() -> Vec<(&'static str, String, String)> {
        let value = |name: &str| match name {
            "name" => "Zhang San",
            _ if FIGURES.contains(&name) => "2026",
            _ if name.ends_with("_en") => "words",
            _ => "文字",
        };
        let said = TEMPLATES.iter().map(|template| {
            let params = template.params.iter();
            let sending = Sending {
                phone: "13800138000".to_owned(),
                template: template.name.to_owned(),
                params: params
                    .map(|name| ((*name).to_owned(), value(name).to_owned()))
                    .collect(),
                request_id: "A".to_owned(),
            };
            let (zh, en) = check(&sending).unwrap();
            (template.name, zh, en)
        });
        said.collect()
    }

    /// Who reads English reads no Chinese between, whatever the parameters are but her own name.
    #[test]
    fn no_english_text_holds_a_chinese_character() {
        for (name, _, en) in said() {
            assert!(en.contains("[Bashu]") && !en.contains('{'), "{name}: {en}");
            assert!(!en.chars().any(is_chinese), "{name}: {en}");
        }
    }

    /// Chinese sentences have the signs of Chinese, and no English words.
    #[test]
    fn chinese_texts_are_written_as_chinese_is() {
        for (name, zh, _) in said() {
            assert!(!zh.contains('{') && zh.ends_with('。'), "{name}: {zh}");
            assert!(!zh.contains([',', ';', ':', '?', '!']), "{name}: {zh}");
            assert!(!zh.contains("words"), "{name}: {zh}");
        }
    }
}
