//! What people at a gate read, in Chinese and in English: why, what to do, and when to try again.
//! Whole sentences; no code, no name and no number of a person appears in them.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::{Decision, Explanation, Reason};
use crate::dates::{SHANGHAI_SECONDS_EAST, date_of};

/// The languages that texts exist in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    Chinese,
    English,
}

impl Decision {
    /// The decision in a sentence or two.
    pub fn text(&self, language: Language) -> String {
        match self {
            Self::Admit { .. } => match language {
                Language::Chinese => "请入园。".to_owned(),
                Language::English => "Welcome, please enter.".to_owned(),
            },
            Self::Deny {
                reason,
                next_try_at,
                explanation,
            } => explanation.text(*reason, *next_try_at, language),
            Self::Ask { reason } => reason.text(language),
        }
    }
}

impl Reason {
    /// The reason and what to do, without figures.
    pub fn text(self, language: Language) -> String {
        let (why, advice) = match language {
            Language::Chinese => chinese(self),
            Language::English => (english_why(self), english_advice(self)),
        };
        join(why, advice, language)
    }
}

impl Explanation {
    /// The reason with its figures, what to do, and when to try again.
    pub fn text(
        &self,
        reason: Reason,
        next_try_at: Option<DateTime<Utc>>,
        language: Language,
    ) -> String {
        let (plain, advice) = match language {
            Language::Chinese => chinese(reason),
            Language::English => (english_why(reason), english_advice(reason)),
        };
        let why = self
            .figures(reason, language)
            .unwrap_or_else(|| plain.to_owned());
        let Some(next) = next_try_at else {
            let never = reason == Reason::UsedToday && self.used.is_some();
            let advice = if never {
                no_further_entry(language)
            } else {
                advice
            };
            return join(&why, advice, language);
        };
        let when = when(next, self.decided_at, language);
        let again = self.used.is_some_and(|used| used > 0);
        let then = match (language, again) {
            (Language::Chinese, true) => format!("{when}可再次入园"),
            (Language::Chinese, false) => format!("{when}起可入园"),
            (Language::English, true) => format!("You can enter again {when}"),
            (Language::English, false) => format!("You can enter {when} or later"),
        };
        join(&why, &then, language)
    }

    fn figures(&self, reason: Reason, language: Language) -> Option<String> {
        if reason == Reason::Expired {
            let last = date_of(
                self.ended_at?
                    .checked_sub_signed(TimeDelta::nanoseconds(1))?,
            );
            let day = day(last, date_of(self.decided_at), language);
            return Some(match language {
                Language::Chinese => format!("有效期截至{day}，现已过期"),
                Language::English => format!("The last valid day was {day}"),
            });
        }
        let (used, limit) = (self.used?, self.limit?);
        let left = limit.saturating_sub(used);
        if limit == 0 {
            return Some(match language {
                Language::Chinese => "此凭证不含此处的入园次数".to_owned(),
                Language::English => "This pass includes no entries here".to_owned(),
            });
        }
        let text = match (reason, language) {
            (Reason::UsedToday, Language::Chinese) => format!("今日已入园{used}次"),
            (Reason::UsedToday, Language::English) => format!("Entries today: {used} of {limit}"),
            (Reason::UsedHere, Language::Chinese) => {
                format!("在本场馆已入园{used}次，次数已用完")
            }
            (Reason::UsedHere, Language::English) => {
                format!("Entries at this venue: {used} of {limit}")
            }
            (Reason::UsedUp, Language::Chinese) => format!("已入园{used}次，可用次数已用完"),
            (Reason::UsedUp, Language::English) => format!("Entries used: {used} of {limit}"),
            (Reason::TooManyPersons, Language::Chinese) => {
                format!("人数超出，本次最多可入园{left}人")
            }
            (Reason::TooManyPersons, Language::English) => {
                format!("Too many persons: at most {left} can enter now")
            }
            _ => return None,
        };
        Some(text)
    }
}

fn join(why: &str, then: &str, language: Language) -> String {
    match language {
        Language::Chinese => format!("{why}，{then}。"),
        Language::English => format!("{why}. {then}."),
    }
}

fn when(at: DateTime<Utc>, now: DateTime<Utc>, language: Language) -> String {
    let (date, today) = (date_of(at), date_of(now));
    let day = day(date, today, language);
    let relative = if date == today {
        Some(match language {
            Language::Chinese => "今天",
            Language::English => "today",
        })
    } else if today.succ_opt() == Some(date) {
        Some(match language {
            Language::Chinese => "明天",
            Language::English => "tomorrow",
        })
    } else {
        None
    };
    let on = match (relative, language) {
        (Some(relative), Language::Chinese) => format!("{relative}（{day}）"),
        (Some(relative), Language::English) => format!("{relative} ({day})"),
        (None, Language::Chinese) => day,
        (None, Language::English) => format!("on {day}"),
    };
    let local = at
        .naive_utc()
        .checked_add_signed(TimeDelta::seconds(SHANGHAI_SECONDS_EAST));
    match local.map(|local| local.time()) {
        Some(time) if time != NaiveTime::MIN => match language {
            Language::Chinese => format!("{on}{}", time.format("%H:%M")),
            Language::English => format!("{on} at {}", time.format("%H:%M")),
        },
        _ => on,
    }
}

const fn no_further_entry(language: Language) -> &'static str {
    match language {
        Language::Chinese => "有效期内不能再次入园",
        Language::English => "No further entry is possible while the pass is valid",
    }
}

/// A date as people say it, with the year when it is another one.
fn day(date: NaiveDate, today: NaiveDate, language: Language) -> String {
    let other_year = date.year() != today.year();
    match language {
        Language::Chinese if other_year => {
            format!("{}年{}月{}日", date.year(), date.month(), date.day())
        }
        Language::Chinese => format!("{}月{}日", date.month(), date.day()),
        Language::English if other_year => date.format("%-d %B %Y").to_string(),
        Language::English => date.format("%-d %B").to_string(),
    }
}

/// Why, and what to do when waiting alone does not help.
const fn chinese(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::BadFormat => ("无法识别此码", "请打开应用中的电子凭证重新扫码"),
        Reason::UnknownVersion => ("此码格式较新，本机尚不能识别", "请联系工作人员"),
        Reason::UnknownKey => (
            "无法确认此码的签发方",
            "请刷新电子凭证后重试，或联系工作人员",
        ),
        Reason::BadSignature => ("此码未通过验证", "请打开应用中的电子凭证重新扫码"),
        Reason::StaleCode => ("此码已失效", "请打开应用刷新电子凭证，勿使用截图"),
        Reason::Revoked => ("此凭证已作废", "如有疑问请联系发放单位"),
        Reason::Superseded => ("此凭证已重新签发，旧码失效", "请在应用中使用最新的电子凭证"),
        Reason::Frozen => ("此凭证已冻结", "请在应用中查看原因，或联系发放单位"),
        Reason::NotYetValid => ("尚未到有效期", "请在有效期内再来"),
        Reason::Expired => ("有效期已过", "请在应用中续期或重新购买"),
        Reason::Blackout => ("今日为不可用日期", "请在应用中查看可用日期"),
        Reason::WrongVenue => ("此凭证不适用于本场馆", "请在应用中查看可用场馆"),
        Reason::WrongGate => ("此凭证不能在本入口使用", "请前往凭证上所示的入口"),
        Reason::WrongSlot => ("不在预约的入园时段", "请重新预约"),
        Reason::NoReservation => ("本场馆需要预约，未找到预约记录", "请在应用中预约后再来"),
        Reason::VenueFull => ("场馆内人数已满", "请稍候，有人离开后即可入园"),
        Reason::UsedToday => ("今日入园次数已用完", "请在应用中查看可再次入园的时间"),
        Reason::UsedHere => ("在本场馆的入园次数已用完", "请前往其他可用场馆"),
        Reason::UsedUp => ("可用次数已用完", "请在应用中查看使用记录"),
        Reason::AlreadyInside => ("持有人已在园内", "请先在出口扫码离园，或联系工作人员"),
        Reason::NotInside => ("没有入园记录", "请联系工作人员"),
        Reason::IdMismatch => ("证件与凭证持有人不符", "请由本人持原证件入园"),
        Reason::TooManyPersons => ("人数超出可入园人数", "请减少人数后重试"),
        Reason::Unpaid => ("订单尚未支付", "请在应用中完成支付后再试"),
        Reason::OutsideLease => ("本机离线核验授权已失效", "请联系工作人员，或换一个入口"),
        Reason::ClockUntrusted => ("本机时间不可信", "请由工作人员核验"),
        Reason::VenueSuspended => ("本场馆暂停接待", "请在应用中查看其他可用场馆"),
        Reason::VenueClosed => ("场馆未在开放时间", "请在应用中查看开放时间"),
        Reason::UnknownEntitlement => ("未找到此凭证的发放记录", "请联系发放单位"),
        Reason::BudgetExhausted => ("暂时无法确认此凭证", "请由工作人员核验，或几分钟后重试"),
        Reason::EvaluatorTooOld => ("本机程序版本过旧", "请由工作人员核验"),
        Reason::Unattended => (
            "须核验持有人，而此入口无人值守",
            "请在读卡器上核验证件，或走人工通道",
        ),
        Reason::Internal => ("系统出现故障", "请由工作人员核验"),
    }
}

const fn english_why(reason: Reason) -> &'static str {
    match reason {
        Reason::BadFormat => "This is not one of our codes",
        Reason::UnknownVersion => "This code is newer than this gate can read",
        Reason::UnknownKey => "The issuer of this code is not known",
        Reason::BadSignature => "This code failed verification",
        Reason::StaleCode => "This code is no longer fresh",
        Reason::Revoked => "This pass was withdrawn",
        Reason::Superseded => "This code was replaced",
        Reason::Frozen => "This pass is frozen",
        Reason::NotYetValid => "This pass is not valid yet",
        Reason::Expired => "This pass has expired",
        Reason::Blackout => "This pass does not admit today",
        Reason::WrongVenue => "This pass is not for this venue",
        Reason::WrongGate => "This code is not for this gate",
        Reason::WrongSlot => "Your reservation is for another time",
        Reason::NoReservation => "This venue needs a reservation and none was found",
        Reason::VenueFull => "The venue is full",
        Reason::UsedToday => "Today's entries are used",
        Reason::UsedHere => "The entries for this venue are used",
        Reason::UsedUp => "All entries are used",
        Reason::AlreadyInside => "The holder is already inside",
        Reason::NotInside => "No entry was recorded",
        Reason::IdMismatch => "The document is not the holder's",
        Reason::TooManyPersons => "Too many persons",
        Reason::Unpaid => "The order is not paid",
        Reason::OutsideLease => "This gate may not work offline any longer",
        Reason::ClockUntrusted => "This gate's clock cannot be relied on",
        Reason::VenueSuspended => "This venue does not take part at present",
        Reason::VenueClosed => "The venue is closed now",
        Reason::UnknownEntitlement => "No record of this pass was found",
        Reason::BudgetExhausted => "This pass cannot be confirmed at the moment",
        Reason::EvaluatorTooOld => "This gate's program is too old",
        Reason::Unattended => "The holder must be checked and nobody is at this gate",
        Reason::Internal => "Something went wrong on our side",
    }
}

const fn english_advice(reason: Reason) -> &'static str {
    match reason {
        Reason::BadFormat | Reason::BadSignature => "Open your pass in the app and scan it again",
        Reason::UnknownVersion
        | Reason::NotInside
        | Reason::ClockUntrusted
        | Reason::EvaluatorTooOld
        | Reason::Internal => "Please ask the staff",
        Reason::UnknownKey => "Refresh the code in the app or ask the staff",
        Reason::StaleCode => "Refresh it in the app; do not use a screenshot",
        Reason::Revoked | Reason::UnknownEntitlement => "Please ask the union that issued it",
        Reason::Superseded => "Use the newest code in the app",
        Reason::Frozen => "See the reason in the app or ask the union that issued it",
        Reason::NotYetValid => "Come back when it is",
        Reason::Expired => "Renew it or buy a new one in the app",
        Reason::Blackout => "See in the app on which dates it does",
        Reason::WrongVenue => "See in the app where you can go",
        Reason::WrongGate => "Go to the gate shown beside the code",
        Reason::WrongSlot => "Please reserve again",
        Reason::NoReservation => "Reserve in the app first",
        Reason::VenueFull => "Please wait; you can enter when others have left",
        Reason::UsedToday => "See in the app when you can enter again",
        Reason::UsedHere | Reason::VenueSuspended => "See in the app where else you can go",
        Reason::UsedUp => "See their record in the app",
        Reason::AlreadyInside => "Scan at the exit first or ask the staff",
        Reason::IdMismatch => "The holder must come with the same document",
        Reason::TooManyPersons => "Try again with fewer",
        Reason::Unpaid => "Pay in the app and try again",
        Reason::OutsideLease => "Ask the staff or use another gate",
        Reason::VenueClosed => "See its opening hours in the app",
        Reason::BudgetExhausted => "Ask the staff or try again in a few minutes",
        Reason::Unattended => "Have the document read here or use a gate with staff",
    }
}
