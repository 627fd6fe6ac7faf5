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
}

impl Refusal {
    /// Code, field, and the sentence in Chinese and English.
    const fn parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::NameInvalid => (
                "NAME_INVALID",
                "name",
                "组织名称须为 2 至 100 个字。",
                "The organisation's name must have 2 to 100 characters.",
            ),
            Self::NameTaken => (
                "NAME_TAKEN",
                "name",
                "上级组织下已有同名组织。",
                "There is another organisation of this name under the same parent.",
            ),
            Self::UsccInvalid => (
                "USCC_INVALID",
                "uscc",
                "统一社会信用代码有误，请核对。",
                "The unified social credit code is wrong; please check it.",
            ),
            Self::UsccTaken => (
                "USCC_TAKEN",
                "uscc",
                "该统一社会信用代码已被其他组织使用。",
                "Another organisation has this unified social credit code.",
            ),
            Self::DivisionUnknown => (
                "DIVISION_UNKNOWN",
                "division",
                "行政区划代码不存在，或已撤销。",
                "There is no such administrative division, or it was abolished.",
            ),
            Self::ParentNotFound => (
                "PARENT_NOT_FOUND",
                "parentId",
                "找不到上级组织。",
                "There is no such parent organisation.",
            ),
            Self::ParentClosed => (
                "PARENT_CLOSED",
                "parentId",
                "上级组织已撤销。",
                "The parent organisation is closed.",
            ),
            Self::KindDoesNotFit => (
                "KIND_DOES_NOT_FIT",
                "kind",
                "该上级组织下不能设立这类组织。",
                "The parent cannot have an organisation of this kind.",
            ),
            Self::TooDeep => (
                "TOO_DEEP",
                "parentId",
                "组织层级过深。",
                "The organisation tree would become too deep.",
            ),
            Self::IndustrialParentNotFound => (
                "INDUSTRIAL_PARENT_NOT_FOUND",
                "industrialParentId",
                "找不到该产业工会。",
                "There is no such industrial union.",
            ),
            Self::OrganisationNotFound => (
                "ORGANISATION_NOT_FOUND",
                "organisationId",
                "找不到该组织。",
                "There is no such organisation.",
            ),
            Self::OrganisationClosed => (
                "ORGANISATION_CLOSED",
                "organisationId",
                "该组织已撤销。",
                "The organisation is closed.",
            ),
            Self::HasBranches => (
                "HAS_BRANCHES",
                "organisationId",
                "该组织仍有下级组织，不能撤销。",
                "The organisation still has branches and cannot be closed.",
            ),
            Self::HasMembers => (
                "HAS_MEMBERS",
                "organisationId",
                "该组织仍有会员，不能撤销。",
                "The organisation still has members and cannot be closed.",
            ),
            _ => self.person_parts(),
        }
    }

    const fn person_parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::PersonNameInvalid => (
                "PERSON_NAME_INVALID",
                "name",
                "姓名须为 2 至 30 个字，不含数字和符号。",
                "The name must have 2 to 30 letters, without digits or signs.",
            ),
            Self::DocumentInvalid => (
                "DOCUMENT_INVALID",
                "documentNumber",
                "证件号码有误，请核对证件类型和号码。",
                "The document number is wrong; please check its type and number.",
            ),
            Self::PhoneInvalid => (
                "PHONE_INVALID",
                "phone",
                "手机号码有误，应为 11 位。",
                "The mobile number is wrong; it has 11 digits.",
            ),
            Self::PersonNotMatched => (
                "PERSON_NOT_MATCHED",
                "documentNumber",
                "姓名、证件或手机号与登记信息不符。",
                "The name, document or phone does not match what is registered.",
            ),
            Self::PersonRepeated => (
                "PERSON_REPEATED",
                "documentNumber",
                "同一证件或手机号在名单中出现多次。",
                "The same document or phone appears in the list more than once.",
            ),
            Self::ListSize => (
                "LIST_SIZE",
                "people",
                "名单须有 1 至 100 人。",
                "The list must have 1 to 100 people.",
            ),
            Self::TooManyFailures => (
                "TOO_MANY_FAILURES",
                "",
                "核对失败次数过多，请一小时后再试。",
                "Too many failed look-ups; please try again in an hour.",
            ),
            Self::MemberNotFound => (
                "MEMBER_NOT_FOUND",
                "memberId",
                "找不到该会员。",
                "There is no such member.",
            ),
            Self::MembershipNotFound => (
                "MEMBERSHIP_NOT_FOUND",
                "membershipId",
                "找不到该会籍。",
                "There is no such membership.",
            ),
            Self::MembershipEnded => (
                "MEMBERSHIP_ENDED",
                "membershipId",
                "该会籍已终止。",
                "The membership has already ended.",
            ),
            Self::DateInvalid => (
                "DATE_INVALID",
                "date",
                "日期不合理：不能早于入会，也不能晚于今天。",
                "The date is before the membership began, or in the future.",
            ),
            Self::RoleDoesNotFit => (
                "ROLE_DOES_NOT_FIT",
                "role",
                "该组织不能授予此角色。",
                "This role cannot be held in this organisation.",
            ),
            Self::RoleNotFound => (
                "ROLE_NOT_FOUND",
                "roleId",
                "找不到该角色。",
                "There is no such role.",
            ),
            Self::LastOperator => (
                "LAST_OPERATOR",
                "roleId",
                "不能撤销最后一名运维人员。",
                "The last operator's role cannot be withdrawn.",
            ),
            Self::OperatorExists => (
                "OPERATOR_EXISTS",
                "",
                "已有运维人员；如确需再建，请强制执行并写明理由。",
                "There is an operator already; force it with a reason if you must.",
            ),
            _ => self.login_parts(),
        }
    }

    const fn login_parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::TooManyCodes => (
                "TOO_MANY_CODES",
                "phone",
                "验证码请求过于频繁，请稍后再试。",
                "Too many codes were asked for; please try again later.",
            ),
            Self::CodeExpired => (
                "CODE_EXPIRED",
                "code",
                "验证码已过期或已使用，请重新获取。",
                "The code has expired or was used; please ask for a new one.",
            ),
            Self::CodeExhausted => (
                "CODE_EXHAUSTED",
                "code",
                "错误次数过多，验证码已作废，请重新获取。",
                "Too many wrong guesses; the code is void, please ask for a new one.",
            ),
            Self::RefreshTokenInvalid => (
                "REFRESH_TOKEN_INVALID",
                "refreshToken",
                "登录已失效，请重新登录。",
                "This login no longer counts; please sign in again.",
            ),
            Self::LoginNotFound => (
                "LOGIN_NOT_FOUND",
                "loginId",
                "找不到该登录设备。",
                "There is no such login.",
            ),
            Self::NothingUsable => (
                "NOTHING_USABLE",
                "",
                "该会员目前没有可用的年票或凭证。",
                "The member has no pass or other right that can be used now.",
            ),
            _ => (
                "CODE_WRONG",
                "code",
                "验证码不正确。",
                "The code is not right.",
            ),
        }
    }

    /// Stable, one of the codes of the mutation's enum.
    pub const fn code(self) -> &'static str {
        self.parts().0
    }

    /// The input field at fault; empty when none is.
    pub const fn field(self) -> &'static str {
        self.parts().1
    }

    /// The sentence people read.
    pub const fn message(self, language: Language) -> &'static str {
        let (_, _, zh, en) = self.parts();
        language.choose(zh, en)
    }
}

impl From<Refusal> for kit::Refusal {
    fn from(refusal: Refusal) -> Self {
        let (code, field, zh, en) = refusal.parts();
        Self::new(code, field, zh.into(), en.into())
    }
}

impl From<Refusal> for kit::Error {
    fn from(refusal: Refusal) -> Self {
        kit::Refusal::from(refusal).into()
    }
}
