//! What is told because it may be somebody else's doing: rights that were used in a person's name,
//! records that were made one or two, and offices that saw her unmasked.

use chrono::{DateTime, Utc};

use super::minute;
use crate::domain::search::ShowPurpose;

/// What was done with a right of hers, which a thief could do too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightStep {
    ErasureAsked,
    ErasureRecalled,
    CopyAsked,
    CopyFetched,
}

impl RightStep {
    pub const ALL: [Self; 4] = [
        Self::ErasureAsked,
        Self::ErasureRecalled,
        Self::CopyAsked,
        Self::CopyFetched,
    ];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErasureAsked => "erasure_asked",
            Self::ErasureRecalled => "erasure_recalled",
            Self::CopyAsked => "copy_asked",
            Self::CopyFetched => "copy_fetched",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// As its SMS names it in Chinese and in English: a template's parameters, short and without a
    /// name.
    pub(super) const fn sms(self) -> (&'static str, &'static str) {
        match self {
            Self::ErasureAsked => ("申请了注销", "asked to be forgotten"),
            Self::ErasureRecalled => ("撤回了注销申请", "no longer to be forgotten"),
            Self::CopyAsked => ("申请了个人信息副本", "asked for a copy of its data"),
            Self::CopyFetched => ("下载了个人信息副本", "downloaded a copy of its data"),
        }
    }

    /// What she reads, and what she does who did not do it.
    pub(super) fn text(self, at: DateTime<Utc>) -> (String, String) {
        let at = minute(at);
        let zh = match self {
            Self::ErasureAsked => "如非本人操作，请立即撤回注销申请，在所有设备退出",
            Self::ErasureRecalled | Self::CopyAsked | Self::CopyFetched => {
                "如非本人操作，请立即在所有设备退出"
            }
        };
        let en = match self {
            Self::ErasureAsked => {
                format!(
                    "Your account asked at {at} to be forgotten. If that was not you, recall it"
                )
            }
            Self::ErasureRecalled => {
                format!("The wish to be forgotten was taken back at {at}. If that was not you")
            }
            Self::CopyAsked => {
                format!("A copy of your data was asked for at {at}. If that was not you")
            }
            Self::CopyFetched => {
                format!("A copy of your data was downloaded at {at}. If that was not you")
            }
        };
        (
            format!("您的账号于 {at} {}。{zh}，然后致电 12351。", self.sms().0),
            format!("{en}, sign out everywhere, and call 12351."),
        )
    }
}

/// The parameters of an SMS that warns: what was done, in words of both languages, and when.
pub(super) fn alert((zh, en): (&str, &str), at: DateTime<Utc>) -> Vec<(&'static str, String)> {
    vec![
        ("what", zh.to_owned()),
        ("what_en", en.to_owned()),
        ("time", minute(at)),
    ]
}

/// That records were merged or split, and what she does to whom another's were given.
pub(super) fn records(merged: bool, at: DateTime<Utc>) -> (String, String) {
    let at = minute(at);
    let (zh, en) = if merged {
        (
            "两名运维人员已将两条档案合并为您的一条档案",
            "two operators made two records yours",
        )
    } else {
        (
            "运维人员已撤销档案合并，您的档案恢复原状",
            "an operator made two records of yours two again",
        )
    };
    (
        format!("{zh}（{at}）。如内容有误请致电 12351。"),
        format!("At {at} {en}. If what you see is not yours, call 12351."),
    )
}

/// That an office saw her name, phone and document, for what, and where she asks about it.
pub(super) fn unmasked(
    (place_zh, place_en): (&str, &str),
    purpose: ShowPurpose,
    at: DateTime<Utc>,
) -> (String, String) {
    let (zh, en) = match purpose {
        ShowPurpose::Verify => ("核对证件", "to compare them with your document"),
        ShowPurpose::Correct => ("更正登记", "to correct what is registered"),
        ShowPurpose::Contact => ("与您联系", "to reach you"),
        ShowPurpose::Complaint => ("处理投诉", "to answer a complaint"),
    };
    let at = minute(at);
    (
        format!(
            "{place_zh}于 {at} 查看了您的姓名、手机号和证件号码，用途：{zh}。如有疑问请致电 12351。"
        ),
        format!(
            "{place_en} saw your name, phone and document number at {at}, {en}. Questions: call \
             12351."
        ),
    )
}
