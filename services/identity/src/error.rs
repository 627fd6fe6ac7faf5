//! Every business "no" of identity, with the sentence people read.

use kit::graphql::Language;

/// Why a command was refused. Holds no data: what was refused is what the caller sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    NameInvalid,
    NameTaken,
    UsccInvalid,
    UsccTaken,
    DivisionUnknown,
    ParentNotFound,
    ParentClosed,
    KindDoesNotFit,
    TooDeep,
    IndustrialParentNotFound,
    OrganisationNotFound,
    OrganisationClosed,
    HasBranches,
    HasMembers,
    PersonNameInvalid,
    DocumentInvalid,
    PhoneInvalid,
    PersonNotMatched,
    PersonRepeated,
    ListSize,
    TooManyFailures,
    TooManyLookUps,
    MemberNotFound,
    MembershipNotFound,
    MembershipEnded,
    DateInvalid,
    RoleDoesNotFit,
    RoleNotFound,
    LastOperator,
    OperatorExists,
    TooManyCodes,
    CodeWrong,
    CodeExpired,
    CodeExhausted,
    RefreshTokenInvalid,
    LoginNotFound,
    NothingUsable,
    RosterNotFound,
    RosterNotReady,
    RosterHasBadRows,
    RosterHasNoBadRows,
    RosterOutdated,
    TooManyRosters,
}

/// What is said of a refusal.
struct Said {
    refusal: Refusal,
    code: &'static str,
    field: &'static str,
    zh: &'static str,
    en: &'static str,
}

/// In the order of the enum.
static SAID: [Said; 43] = [
    Said {
        refusal: Refusal::NameInvalid,
        code: "NAME_INVALID",
        field: "name",
        zh: "组织名称须为 2 至 100 个字。",
        en: "The organisation's name must have 2 to 100 characters.",
    },
    Said {
        refusal: Refusal::NameTaken,
        code: "NAME_TAKEN",
        field: "name",
        zh: "上级组织下已有同名组织。",
        en: "There is another organisation of this name under the same parent.",
    },
    Said {
        refusal: Refusal::UsccInvalid,
        code: "USCC_INVALID",
        field: "uscc",
        zh: "统一社会信用代码有误，请核对。",
        en: "The unified social credit code is wrong; please check it.",
    },
    Said {
        refusal: Refusal::UsccTaken,
        code: "USCC_TAKEN",
        field: "uscc",
        zh: "该统一社会信用代码已被其他组织使用。",
        en: "Another organisation has this unified social credit code.",
    },
    Said {
        refusal: Refusal::DivisionUnknown,
        code: "DIVISION_UNKNOWN",
        field: "division",
        zh: "行政区划代码不存在，或已撤销。",
        en: "There is no such administrative division, or it was abolished.",
    },
    Said {
        refusal: Refusal::ParentNotFound,
        code: "PARENT_NOT_FOUND",
        field: "parentId",
        zh: "找不到上级组织。",
        en: "There is no such parent organisation.",
    },
    Said {
        refusal: Refusal::ParentClosed,
        code: "PARENT_CLOSED",
        field: "parentId",
        zh: "上级组织已撤销。",
        en: "The parent organisation is closed.",
    },
    Said {
        refusal: Refusal::KindDoesNotFit,
        code: "KIND_DOES_NOT_FIT",
        field: "kind",
        zh: "该上级组织下不能设立这类组织。",
        en: "The parent cannot have an organisation of this kind.",
    },
    Said {
        refusal: Refusal::TooDeep,
        code: "TOO_DEEP",
        field: "parentId",
        zh: "组织层级过深。",
        en: "The organisation tree would become too deep.",
    },
    Said {
        refusal: Refusal::IndustrialParentNotFound,
        code: "INDUSTRIAL_PARENT_NOT_FOUND",
        field: "industrialParentId",
        zh: "找不到该产业工会。",
        en: "There is no such industrial union.",
    },
    Said {
        refusal: Refusal::OrganisationNotFound,
        code: "ORGANISATION_NOT_FOUND",
        field: "organisationId",
        zh: "找不到该组织。",
        en: "There is no such organisation.",
    },
    Said {
        refusal: Refusal::OrganisationClosed,
        code: "ORGANISATION_CLOSED",
        field: "organisationId",
        zh: "该组织已撤销。",
        en: "The organisation is closed.",
    },
    Said {
        refusal: Refusal::HasBranches,
        code: "HAS_BRANCHES",
        field: "organisationId",
        zh: "该组织仍有下级组织，不能撤销。",
        en: "The organisation still has branches and cannot be closed.",
    },
    Said {
        refusal: Refusal::HasMembers,
        code: "HAS_MEMBERS",
        field: "organisationId",
        zh: "该组织仍有会员，不能撤销。",
        en: "The organisation still has members and cannot be closed.",
    },
    Said {
        refusal: Refusal::PersonNameInvalid,
        code: "PERSON_NAME_INVALID",
        field: "name",
        zh: "姓名须为 2 至 30 个字，不含数字和符号。",
        en: "The name must have 2 to 30 letters, without digits or signs.",
    },
    Said {
        refusal: Refusal::DocumentInvalid,
        code: "DOCUMENT_INVALID",
        field: "documentNumber",
        zh: "证件号码有误，请核对证件类型和号码。",
        en: "The document number is wrong; please check its type and number.",
    },
    Said {
        refusal: Refusal::PhoneInvalid,
        code: "PHONE_INVALID",
        field: "phone",
        zh: "手机号码有误，应为 11 位。",
        en: "The mobile number is wrong; it has 11 digits.",
    },
    Said {
        refusal: Refusal::PersonNotMatched,
        code: "PERSON_NOT_MATCHED",
        field: "documentNumber",
        zh: "姓名、证件或手机号与登记信息不符。",
        en: "The name, document or phone does not match what is registered.",
    },
    Said {
        refusal: Refusal::PersonRepeated,
        code: "PERSON_REPEATED",
        field: "documentNumber",
        zh: "同一证件或手机号在名单中出现多次。",
        en: "The same document or phone appears in the list more than once.",
    },
    Said {
        refusal: Refusal::ListSize,
        code: "LIST_SIZE",
        field: "people",
        zh: "名单须有 1 至 100 人。",
        en: "The list must have 1 to 100 people.",
    },
    Said {
        refusal: Refusal::TooManyFailures,
        code: "TOO_MANY_FAILURES",
        field: "",
        zh: "核对失败次数过多，请一小时后再试。",
        en: "Too many failed look-ups; please try again in an hour.",
    },
    Said {
        refusal: Refusal::TooManyLookUps,
        code: "TOO_MANY_LOOK_UPS",
        field: "",
        zh: "查询次数已达上限，请稍后再试。",
        en: "Too many look-ups; please try again later.",
    },
    Said {
        refusal: Refusal::MemberNotFound,
        code: "MEMBER_NOT_FOUND",
        field: "memberId",
        zh: "找不到该会员。",
        en: "There is no such member.",
    },
    Said {
        refusal: Refusal::MembershipNotFound,
        code: "MEMBERSHIP_NOT_FOUND",
        field: "membershipId",
        zh: "找不到该会籍。",
        en: "There is no such membership.",
    },
    Said {
        refusal: Refusal::MembershipEnded,
        code: "MEMBERSHIP_ENDED",
        field: "membershipId",
        zh: "该会籍已终止。",
        en: "The membership has already ended.",
    },
    Said {
        refusal: Refusal::DateInvalid,
        code: "DATE_INVALID",
        field: "date",
        zh: "日期不合理：不能早于入会，也不能晚于今天。",
        en: "The date is before the membership began, or in the future.",
    },
    Said {
        refusal: Refusal::RoleDoesNotFit,
        code: "ROLE_DOES_NOT_FIT",
        field: "role",
        zh: "该组织不能授予此角色。",
        en: "This role cannot be held in this organisation.",
    },
    Said {
        refusal: Refusal::RoleNotFound,
        code: "ROLE_NOT_FOUND",
        field: "roleId",
        zh: "找不到该角色。",
        en: "There is no such role.",
    },
    Said {
        refusal: Refusal::LastOperator,
        code: "LAST_OPERATOR",
        field: "roleId",
        zh: "不能撤销最后一名运维人员。",
        en: "The last operator's role cannot be withdrawn.",
    },
    Said {
        refusal: Refusal::OperatorExists,
        code: "OPERATOR_EXISTS",
        field: "",
        zh: "已有运维人员；如确需再建，请强制执行并写明理由。",
        en: "There is an operator already; force it with a reason if you must.",
    },
    Said {
        refusal: Refusal::TooManyCodes,
        code: "TOO_MANY_CODES",
        field: "phone",
        zh: "验证码请求过于频繁，请稍后再试。",
        en: "Too many codes were asked for; please try again later.",
    },
    Said {
        refusal: Refusal::CodeWrong,
        code: "CODE_WRONG",
        field: "code",
        zh: "验证码不正确。",
        en: "The code is not right.",
    },
    Said {
        refusal: Refusal::CodeExpired,
        code: "CODE_EXPIRED",
        field: "code",
        zh: "验证码已过期或已使用，请重新获取。",
        en: "The code has expired or was used; please ask for a new one.",
    },
    Said {
        refusal: Refusal::CodeExhausted,
        code: "CODE_EXHAUSTED",
        field: "code",
        zh: "错误次数过多，验证码已作废，请重新获取。",
        en: "Too many wrong guesses; the code is void, please ask for a new one.",
    },
    Said {
        refusal: Refusal::RefreshTokenInvalid,
        code: "REFRESH_TOKEN_INVALID",
        field: "refreshToken",
        zh: "登录已失效，请重新登录。",
        en: "This login no longer counts; please sign in again.",
    },
    Said {
        refusal: Refusal::LoginNotFound,
        code: "LOGIN_NOT_FOUND",
        field: "loginId",
        zh: "找不到该登录设备。",
        en: "There is no such login.",
    },
    Said {
        refusal: Refusal::NothingUsable,
        code: "NOTHING_USABLE",
        field: "",
        zh: "该会员目前没有可用的年票或凭证。",
        en: "The member has no pass or other right that can be used now.",
    },
    Said {
        refusal: Refusal::RosterNotFound,
        code: "ROSTER_NOT_FOUND",
        field: "rosterImportId",
        zh: "找不到该名单。",
        en: "There is no such roster.",
    },
    Said {
        refusal: Refusal::RosterNotReady,
        code: "ROSTER_NOT_READY",
        field: "rosterImportId",
        zh: "名单还没有核对完，或已经结束。",
        en: "The roster has not been compared yet, or is over.",
    },
    Said {
        refusal: Refusal::RosterHasBadRows,
        code: "ROSTER_HAS_BAD_ROWS",
        field: "leaveOutBadRows",
        zh: "名单还有待更正的行：请更正，或选择不采用这些行。",
        en: "Some rows need another look: correct them, or leave them out.",
    },
    Said {
        refusal: Refusal::RosterHasNoBadRows,
        code: "ROSTER_HAS_NO_BAD_ROWS",
        field: "rosterImportId",
        zh: "名单没有待更正的行。",
        en: "No row of the roster needs another look.",
    },
    Said {
        refusal: Refusal::RosterOutdated,
        code: "ROSTER_OUTDATED",
        field: "rosterImportId",
        zh: "核对之后会员有变动，正在重新核对，请查看新的差异后再提交。",
        en: "Members have changed since; it is compared again, please look once more.",
    },
    Said {
        refusal: Refusal::TooManyRosters,
        code: "TOO_MANY_ROSTERS",
        field: "",
        zh: "一小时内上传的名单过多，请稍后再试。",
        en: "Too many rosters within the hour; please try again later.",
    },
];

impl Refusal {
    fn said(self) -> &'static Said {
        &SAID[self as usize]
    }

    /// Stable, one of the codes of the mutation's enum.
    pub fn code(self) -> &'static str {
        self.said().code
    }

    /// The input field at fault; empty when none is.
    pub fn field(self) -> &'static str {
        self.said().field
    }

    /// The sentence people read.
    pub fn message(self, language: Language) -> &'static str {
        let said = self.said();
        language.choose(said.zh, said.en)
    }

    /// Every refusal.
    pub fn all() -> impl Iterator<Item = Self> {
        SAID.iter().map(|said| said.refusal)
    }

    /// The refusal with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        SAID.iter()
            .find(|said| said.code == code)
            .map(|said| said.refusal)
    }
}

impl From<Refusal> for kit::Refusal {
    fn from(refusal: Refusal) -> Self {
        let Said {
            code,
            field,
            zh,
            en,
            ..
        } = refusal.said();
        Self::new(code, field, (*zh).into(), (*en).into())
    }
}

impl From<Refusal> for kit::Error {
    fn from(refusal: Refusal) -> Self {
        kit::Refusal::from(refusal).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each refusal has its own row and its own code; both sentences end as sentences do.
    #[test]
    fn every_refusal_is_said_in_both_languages() {
        assert_eq!(SAID.len(), Refusal::TooManyRosters as usize + 1);
        for (at, said) in SAID.iter().enumerate() {
            assert_eq!(said.refusal as usize, at);
            assert_eq!(Refusal::from_code(said.code), Some(said.refusal));
            assert!(
                said.zh.ends_with('。') && said.en.ends_with('.'),
                "{}",
                said.code
            );
            assert!(said.zh.chars().any(|c| c > '\u{4e00}') && said.en.is_ascii());
        }
    }
}
