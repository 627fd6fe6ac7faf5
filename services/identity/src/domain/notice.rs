//! What members are told of, as one list with its texts in Chinese and English.
//!
//! A notice holds ids and figures of its reader's own and no name of anybody: what a pass or an
//! organisation is called is looked up when it is read.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use kit::types::{
    EntitlementId, MemberId, OrderId, OrganisationId, SHANGHAI_OFFSET_SECONDS, day_start,
};
use uuid::Uuid;

use super::role::Role;
use super::search::ShowPurpose;
use super::second_factor::Change;
use super::subject;
use crate::error::Refusal;

mod phones;
mod protective;

pub use protective::RightStep;

/// How long a notice is kept, read or not, in days; the text of the consent to SMS says so too.
pub const NOTICE_DAYS: i64 = 180;
/// How long before its end the holder of a pass is reminded, in days. A pass that lasts no longer
/// than this has no reminder.
pub const EXPIRING_DAYS: i64 = 30;
/// At which hour of the Shanghai day she is reminded.
const EXPIRING_HOUR: i64 = 9;
/// How long after what it tells of an SMS is still sent, in hours: what is older is no news.
pub const SMS_HOURS_MAX: i64 = 24;

const EXPORT_READY: (&str, &str) = (
    "您申请的个人信息副本已就绪，请在七天内下载。",
    "The copy of your data is ready; please fetch it within seven days.",
);
const RENDERING_READY: (&str, &str) = (
    "您申请的名单文件已就绪，请在三天内下载，只能下载一次。",
    "A file with names waits for you for three days; it can be fetched once.",
);
const ERASURE_HELD: (&str, &str) = (
    "您的账号暂时不能注销：有事项尚未了结，详情见注销申请。了结后将自动继续办理。",
    "You cannot be forgotten yet: something is still open, as your request shows. It goes on by \
     itself when that has ended.",
);

/// The longest name in an SMS, in characters: a provider takes no more of a parameter.
const SMS_NAME_CHARS_MAX: usize = 30;

/// Something that a member is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An order of hers is paid.
    Bought {
        order: OrderId,
        number: String,
        fen: i64,
    },
    /// A pass of hers opens doors on the days of its window.
    Activated {
        pass: EntitlementId,
        product: Uuid,
        start: NaiveDate,
        end: NaiveDate,
    },
    /// A pass of hers ends soon; the first day it opens nothing.
    Expiring {
        pass: EntitlementId,
        product: Option<Uuid>,
        end: NaiveDate,
    },
    /// A pass of hers was voided.
    Cancelled { pass: EntitlementId, product: Uuid },
    /// Money of hers went back.
    Refunded {
        order: OrderId,
        number: String,
        fen: i64,
    },
    /// A roster of a union names her.
    OnRoster {
        organisation: OrganisationId,
        joined: bool,
    },
    /// She holds a role.
    RoleGranted {
        organisation: OrganisationId,
        role: Role,
    },
    /// Somebody signed in as her, when she was signed in elsewhere before.
    NewLogin { login: Uuid, at: DateTime<Utc> },
    /// Another party's word signs her in from now on; the login that linked it.
    LoginLinked {
        login: Uuid,
        kind: subject::Kind,
        at: DateTime<Utc>,
    },
    /// What becomes of her second factor.
    SecondFactorChanged { change: Change, at: DateTime<Utc> },
    /// A copy of her data is ready.
    ExportReady { export: Uuid },
    /// Something keeps her from being forgotten.
    ErasureHeld { member: MemberId },
    /// A file with names in it waits for her.
    RenderingReady { rendering: Uuid },
    /// She signs in by another phone from now on.
    PhoneChanged { at: DateTime<Utc> },
    /// Somebody who is signed in as her uses one of her rights.
    RightUsed { step: RightStep, at: DateTime<Utc> },
    /// Two records were made hers, or hers was made two.
    RecordsChanged { merged: bool, at: DateTime<Utc> },
    /// An office saw her unmasked.
    Unmasked {
        organisation: OrganisationId,
        purpose: ShowPurpose,
        at: DateTime<Utc>,
    },
    /// She will sign in by another phone from then on, if nobody takes that back before.
    PhoneToBeChanged { at: DateTime<Utc> },
    /// An operator has named another phone for her, which another one can confirm until then.
    PhoneToBeSet { at: DateTime<Utc> },
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Bought,
    Activated,
    Expiring,
    Cancelled,
    Refunded,
    OnRoster,
    RoleGranted,
    NewLogin,
    LoginLinked,
    SecondFactorChanged,
    ExportReady,
    ErasureHeld,
    RenderingReady,
    PhoneChanged,
    RightUsed,
    RecordsChanged,
    Unmasked,
}

impl Kind {
    pub const ALL: [Self; 17] = [
        Self::Bought,
        Self::Activated,
        Self::Expiring,
        Self::Cancelled,
        Self::Refunded,
        Self::OnRoster,
        Self::RoleGranted,
        Self::NewLogin,
        Self::LoginLinked,
        Self::SecondFactorChanged,
        Self::ExportReady,
        Self::ErasureHeld,
        Self::RenderingReady,
        Self::PhoneChanged,
        Self::RightUsed,
        Self::RecordsChanged,
        Self::Unmasked,
    ];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bought => "bought",
            Self::Activated => "activated",
            Self::Expiring => "expiring",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
            Self::OnRoster => "on_roster",
            Self::RoleGranted => "role_granted",
            Self::NewLogin => "new_login",
            Self::LoginLinked => "login_linked",
            Self::SecondFactorChanged => "second_factor_changed",
            Self::ExportReady => "export_ready",
            Self::ErasureHeld => "erasure_held",
            Self::RenderingReady => "rendering_ready",
            Self::PhoneChanged => "phone_changed",
            Self::RightUsed => "right_used",
            Self::RecordsChanged => "records_changed",
            Self::Unmasked => "unmasked",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The template of the SMS that tells of it too: only of what takes something away, gives money
    /// back, or could take her over.
    pub const fn sms_template(self) -> Option<&'static str> {
        match self {
            Self::Cancelled => Some("pass_cancelled"),
            Self::Refunded => Some("order_refunded"),
            Self::PhoneChanged | Self::RightUsed => Some("account_alert"),
            Self::Bought
            | Self::Activated
            | Self::Expiring
            | Self::OnRoster
            | Self::RoleGranted
            | Self::NewLogin
            | Self::LoginLinked
            | Self::SecondFactorChanged
            | Self::ExportReady
            | Self::ErasureHeld
            | Self::RenderingReady
            | Self::RecordsChanged
            | Self::Unmasked => None,
        }
    }

    /// Whether it protects her from who has her device or her phone: its SMS asks for no consent,
    /// and goes to the phones too that she had before. It keeps her account hers, which the law
    /// asks of who keeps it (个人信息保护法第五十一条).
    pub const fn protects(self) -> bool {
        matches!(self, Self::PhoneChanged | Self::RightUsed)
    }

    /// # Errors
    /// [`Refusal::NoticeHasNoSms`] for a kind of which no SMS is sent, and
    /// [`Refusal::NoticeSmsStays`] for one whose SMS is not hers to choose.
    pub const fn must_have_sms(self) -> Result<(), Refusal> {
        match self.sms_template() {
            Some(_) if self.protects() => Err(Refusal::NoticeSmsStays),
            Some(_) => Ok(()),
            None => Err(Refusal::NoticeHasNoSms),
        }
    }
}

/// What things are called, for those that the notice names; `None` where it is not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub product_zh: Option<String>,
    pub product_en: Option<String>,
    pub organisation: Option<String>,
}

impl Names {
    fn product(&self) -> (&str, &str) {
        (
            self.product_zh.as_deref().unwrap_or("年票"),
            self.product_en.as_deref().unwrap_or("annual pass"),
        )
    }

    fn organisation(&self) -> (&str, &str) {
        match self.organisation.as_deref() {
            Some(name) => (name, name),
            None => ("工会", "a union"),
        }
    }
}

impl Notice {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Bought { .. } => Kind::Bought,
            Self::Activated { .. } => Kind::Activated,
            Self::Expiring { .. } => Kind::Expiring,
            Self::Cancelled { .. } => Kind::Cancelled,
            Self::Refunded { .. } => Kind::Refunded,
            Self::OnRoster { .. } => Kind::OnRoster,
            Self::RoleGranted { .. } => Kind::RoleGranted,
            Self::NewLogin { .. } => Kind::NewLogin,
            Self::LoginLinked { .. } => Kind::LoginLinked,
            Self::SecondFactorChanged { .. } => Kind::SecondFactorChanged,
            Self::ExportReady { .. } => Kind::ExportReady,
            Self::ErasureHeld { .. } => Kind::ErasureHeld,
            Self::RenderingReady { .. } => Kind::RenderingReady,
            Self::PhoneChanged { .. }
            | Self::PhoneToBeChanged { .. }
            | Self::PhoneToBeSet { .. } => Kind::PhoneChanged,
            Self::RightUsed { .. } => Kind::RightUsed,
            Self::RecordsChanged { .. } => Kind::RecordsChanged,
            Self::Unmasked { .. } => Kind::Unmasked,
        }
    }

    /// The Chinese and the English text.
    pub fn text(&self, names: &Names) -> (String, String) {
        let (zh, en) = names.product();
        let (place_zh, place_en) = names.organisation();
        match self {
            Self::Bought { number, fen, .. } => (
                format!("订单 {number} 已支付 {} 元。", yuan(*fen)),
                format!("Order {number} is paid: {} yuan.", yuan(*fen)),
            ),
            Self::Activated { start, end, .. } => (
                format!(
                    "您的{zh}已激活，自 {start} 起可用，至 {} 止。",
                    last_day(*end)
                ),
                format!("Your {en} is active from {start} to {}.", last_day(*end)),
            ),
            Self::Expiring { end, .. } => (
                format!("您的{zh}将于 {} 到期。", last_day(*end)),
                format!("The last day of your {en} is {}.", last_day(*end)),
            ),
            Self::Cancelled { .. } => (
                format!("您的{zh}已被取消，不能再用于入园。如有疑问请致电 12351。"),
                format!(
                    "Your {en} was cancelled and opens no gate any more. Questions: call 12351."
                ),
            ),
            Self::Refunded { number, fen, .. } => (
                format!("订单 {number} 已退款 {} 元。", yuan(*fen)),
                format!("{} yuan of order {number} were refunded.", yuan(*fen)),
            ),
            Self::OnRoster { joined: true, .. } => (
                format!("{place_zh}已将您登记为会员。如有误请联系该工会。"),
                format!("{place_en} has registered you as a member. If that is wrong, ask there."),
            ),
            Self::OnRoster { joined: false, .. } => (
                format!("{place_zh}的一份名单中有您。如有误请联系该工会。"),
                format!("A list of {place_en} names you. If that is wrong, ask there."),
            ),
            Self::RoleGranted { role, .. } => {
                let (role_zh, role_en) = role_name(*role);
                (
                    format!("您在{place_zh}担任了新的角色：{role_zh}。"),
                    format!("You hold a new role in {place_en}: {role_en}."),
                )
            }
            Self::NewLogin { at, .. } => {
                let at = minute(*at);
                (
                    format!("您的账号于 {at} 在一台设备上登录。如非本人操作，请退出该登录。"),
                    format!(
                        "Your account was signed in on a device at {at}. If that was not you, \
                         sign that device out."
                    ),
                )
            }
            Self::LoginLinked { kind, at, .. } => linked(*kind, *at),
            Self::SecondFactorChanged { change, at } => changed(*change, *at),
            Self::ExportReady { .. } => said(EXPORT_READY),
            Self::RenderingReady { .. } => said(RENDERING_READY),
            Self::ErasureHeld { .. } => said(ERASURE_HELD),
            Self::PhoneChanged { at } => phones::changed(*at),
            Self::RightUsed { step, at } => step.text(*at),
            Self::RecordsChanged { merged, at } => protective::records(*merged, *at),
            Self::Unmasked { purpose, at, .. } => {
                protective::unmasked((place_zh, place_en), *purpose, *at)
            }
            Self::PhoneToBeChanged { at } => phones::to_be_changed(*at),
            Self::PhoneToBeSet { at } => phones::to_be_set(*at),
        }
    }

    /// The names and values of the parameters that its SMS takes; none where it has no SMS.
    pub fn sms_params(&self, names: &Names) -> Vec<(&'static str, String)> {
        match self {
            Self::Cancelled { .. } => {
                let short =
                    |name: &str| -> String { name.chars().take(SMS_NAME_CHARS_MAX).collect() };
                let (zh, en) = names.product();
                vec![("product", short(zh)), ("product_en", short(en))]
            }
            Self::Refunded { number, fen, .. } => {
                vec![("number", number.clone()), ("yuan", yuan(*fen))]
            }
            Self::PhoneChanged { at } => protective::alert(phones::CHANGED, *at),
            Self::PhoneToBeChanged { at } => protective::alert(phones::TO_BE_CHANGED, *at),
            Self::PhoneToBeSet { at } => protective::alert(phones::TO_BE_SET, *at),
            Self::RightUsed { step, at } => protective::alert(step.sms(), *at),
            Self::Bought { .. }
            | Self::Activated { .. }
            | Self::Expiring { .. }
            | Self::OnRoster { .. }
            | Self::RoleGranted { .. }
            | Self::NewLogin { .. }
            | Self::LoginLinked { .. }
            | Self::SecondFactorChanged { .. }
            | Self::ExportReady { .. }
            | Self::ErasureHeld { .. }
            | Self::RenderingReady { .. }
            | Self::RecordsChanged { .. }
            | Self::Unmasked { .. } => Vec::new(),
        }
    }
}

/// When the holder of a pass with these days is reminded of its end; `None` when she is not.
pub fn reminder(start: NaiveDate, end: NaiveDate, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let days = end.signed_duration_since(start).num_days();
    let at = day_start(end) - TimeDelta::days(EXPIRING_DAYS) + TimeDelta::hours(EXPIRING_HOUR);
    (days > EXPIRING_DAYS && now < day_start(end)).then(|| at.max(now))
}

/// That another party's word signs somebody in, and what she does who did not link it.
fn linked(kind: subject::Kind, at: DateTime<Utc>) -> (String, String) {
    let (zh, en) = match kind {
        subject::Kind::Wechat => ("微信", "WeChat"),
        subject::Kind::Oidc => ("统一身份认证", "another identity provider"),
    };
    let at = minute(at);
    (
        format!(
            "您的账号于 {at} 绑定了{zh}登录。如非本人操作，请立即在所有设备退出并解除绑定，\
             然后致电 12351。"
        ),
        format!(
            "{en} was linked to your account at {at} and signs you in from now on. If that was not \
             you, sign out everywhere, take all links away with it, and call 12351."
        ),
    )
}

/// What became of somebody's second factor, and what she does who did not change it.
fn changed(change: Change, at: DateTime<Utc>) -> (String, String) {
    let (zh, en) = match change {
        Change::Enrolled => ("已绑定", "was set up"),
        Change::Replaced => ("已更换", "was replaced"),
        Change::Removed => ("已解除", "was taken away"),
        Change::ResetAsked => (
            "有一名运维人员申请重置，另一名确认后即被解除",
            "will be reset once a second operator asks for that as the first one did",
        ),
        Change::ResetDone => ("已由两名运维人员重置", "was reset by two operators"),
    };
    let at = minute(at);
    (
        format!(
            "您的动态口令：{zh}（{at}）。如非本人操作或申请，请立即在所有设备退出并解除绑定，\
             然后致电 12351。"
        ),
        format!(
            "Your second factor {en} ({at}). If you did not ask for that, sign out everywhere, \
             take all links away with it, and call 12351."
        ),
    )
}

fn said((zh, en): (&str, &str)) -> (String, String) {
    (zh.to_owned(), en.to_owned())
}

/// The day before the first on which it counts no more.
fn last_day(end: NaiveDate) -> NaiveDate {
    end.pred_opt().unwrap_or(end)
}

/// A minute as a clock in Shanghai shows it.
pub(crate) fn minute(at: DateTime<Utc>) -> String {
    let there = at + TimeDelta::seconds(SHANGHAI_OFFSET_SECONDS.into());
    there.format("%Y-%m-%d %H:%M").to_string()
}

/// Yuan with two decimals.
fn yuan(fen: i64) -> String {
    format!("{}.{:02}", fen / 100, fen.rem_euclid(100))
}

const fn role_name(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Officer => ("经办", "officer"),
        Role::Approver => ("主席", "approver"),
        Role::Deputy => ("副主席", "deputy"),
        Role::Auditor => ("经审", "auditor"),
        Role::VenueStaff => ("场馆工作人员", "venue staff"),
        Role::VenueManager => ("场馆主管", "venue manager"),
        Role::Operator => ("运维", "operator"),
    }
}

#[cfg(test)]
mod tests;
