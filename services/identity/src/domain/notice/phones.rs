//! What is told of a phone that takes the place of another: that it has, or that it will.

use chrono::{DateTime, Utc};

use super::minute;

/// As its SMS names each: a template's parameters, in Chinese and in English.
pub(super) const CHANGED: (&str, &str) = ("更换了登录手机号", "got another phone");
pub(super) const TO_BE_CHANGED: (&str, &str) = ("将更换登录手机号", "gets another phone then");
pub(super) const TO_BE_SET: (&str, &str) = (
    "前可能由运维更换登录手机号",
    "may get another phone by then",
);

/// That another phone signs somebody in, and what she does who did not ask for it.
pub(super) fn changed(at: DateTime<Utc>) -> (String, String) {
    let at = minute(at);
    (
        format!(
            "您的登录手机号已于 {at} 更换。如非本人操作或申请，请立即在所有设备退出，\
             然后致电 12351。"
        ),
        format!(
            "Your account is signed in to by another phone since {at}. If you did not ask for \
             that, sign out everywhere, and call 12351."
        ),
    )
}

/// That another phone is to sign somebody in, and what she does who did not ask for it.
pub(super) fn to_be_changed(at: DateTime<Utc>) -> (String, String) {
    let at = minute(at);
    (
        format!(
            "有人凭您的证件申请找回账号，您的登录手机号将于 {at} 更换。如非本人申请，请立即撤回，\
             然后致电 12351。"
        ),
        format!(
            "With your document somebody has asked for your account, which is signed in to by \
             another phone from {at} on. If that was not you, take it back now, and call 12351."
        ),
    )
}

/// That one operator has named another phone for somebody, until when a second one can do the same,
/// and what she does who did not ask for it.
pub(super) fn to_be_set(until: DateTime<Utc>) -> (String, String) {
    let until = minute(until);
    (
        format!(
            "一名运维人员申请更换您的登录手机号，另一名在 {until} 前确认后即更换。如非本人申请，\
             请立即用现手机号重新登录，申请即告终止，然后致电 12351。"
        ),
        format!(
            "An operator has asked for another phone to sign you in, which a second one can \
             confirm until {until}. If you did not ask for that, sign in anew by the phone that \
             you have, which ends it, and call 12351."
        ),
    )
}
