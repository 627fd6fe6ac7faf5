//! Every sentence kit itself says to people, in both languages. Business refusals bring their
//! own.

use super::Language;

/// Something kit says, with the stable code that programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Unauthenticated,
    Forbidden,
    NotFound,
    Overloaded,
    Unavailable,
    AuditLags,
    BadInput,
    Internal,
    Unsigned,
    TooComplex,
    IntrospectionOff,
    BadDocument,
    BadRequest,
    BodyTooLarge,
    MediaType,
    MethodNotAllowed,
    NoRoute,
    TimedOut,
    StepUpRequired,
}

impl Text {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound | Self::NoRoute => "NOT_FOUND",
            Self::Overloaded => "OVERLOADED",
            Self::Unavailable => "UNAVAILABLE",
            Self::AuditLags => "AUDIT_LAGS",
            Self::BadInput => "BAD_INPUT",
            Self::Internal => "INTERNAL",
            Self::Unsigned => "UNSIGNED",
            Self::TooComplex => "QUERY_TOO_COMPLEX",
            Self::IntrospectionOff => "INTROSPECTION_DISABLED",
            Self::BadDocument => "GRAPHQL_VALIDATION_FAILED",
            Self::BadRequest => "BAD_REQUEST",
            Self::BodyTooLarge => "BODY_TOO_LARGE",
            Self::MediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::TimedOut => "TIMED_OUT",
            Self::StepUpRequired => "STEP_UP_REQUIRED",
        }
    }

    pub(crate) const fn message(self, language: Language) -> &'static str {
        let (zh, en) = self.both();
        language.choose(zh, en)
    }

    pub(crate) const fn both(self) -> (&'static str, &'static str) {
        match self {
            Self::Unauthenticated => (
                "请先登录，或重新登录。",
                "Please sign in, or sign in again.",
            ),
            Self::Forbidden => ("您没有权限进行此操作。", "You are not allowed to do this."),
            Self::NotFound => ("没有找到。", "There is no such thing."),
            Self::Overloaded => (
                "现在人数较多，请稍后重试。",
                "Too many requests right now; please try again.",
            ),
            Self::Unavailable => (
                "服务暂时不可用，请稍后重试。",
                "Not available right now; please try again later.",
            ),
            Self::AuditLags => (
                "审计记录未能及时封存，此项操作暂停，请稍后重试。",
                "Audit rows are not sealed in time, so this waits; please try again later.",
            ),
            Self::BadInput => ("输入有误", "Bad input"),
            Self::Internal => (
                "系统出了问题，我们已记录，请稍后重试。",
                "Something went wrong on our side; it has been recorded. Please try again later.",
            ),
            Self::Unsigned => (
                "请求没有网关的有效签名。",
                "The request carries no valid gateway signature.",
            ),
            Self::TooComplex => (
                "查询过于复杂，请拆分。",
                "The query is too complex; please split it.",
            ),
            Self::IntrospectionOff => (
                "此处不提供架构内省。",
                "Introspection is not available here.",
            ),
            Self::BadDocument => ("查询无效。", "The query is not valid."),
            Self::BadRequest => ("请求无法解析。", "The request cannot be read."),
            Self::BodyTooLarge => ("请求过大。", "The request is too large."),
            Self::MediaType => (
                "只接受 application/json。",
                "Only application/json is accepted.",
            ),
            Self::MethodNotAllowed => ("不支持此请求方法。", "This method is not allowed."),
            Self::NoRoute => ("没有此地址。", "There is nothing at this address."),
            Self::TimedOut => (
                "处理超时，请稍后重试。",
                "This took too long; please try again.",
            ),
            Self::StepUpRequired => (
                "此操作需要先验证动态口令。",
                "Please show your second factor first.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Text; 19] = [
        Text::Unauthenticated,
        Text::Forbidden,
        Text::NotFound,
        Text::Overloaded,
        Text::Unavailable,
        Text::AuditLags,
        Text::BadInput,
        Text::Internal,
        Text::Unsigned,
        Text::TooComplex,
        Text::IntrospectionOff,
        Text::BadDocument,
        Text::BadRequest,
        Text::BodyTooLarge,
        Text::MediaType,
        Text::MethodNotAllowed,
        Text::NoRoute,
        Text::TimedOut,
        Text::StepUpRequired,
    ];

    /// Each text is Chinese in Chinese and English in English, and tells its own thing; what goes
    /// on after it has no full stop.
    #[test]
    fn every_text_is_said_in_both_languages() {
        assert_eq!(ALL.len(), Text::StepUpRequired as usize + 1);
        let mut said = BTreeSet::new();
        for (place, text) in ALL.into_iter().enumerate() {
            assert_eq!(text as usize, place);
            let (zh, en) = (text.message(Language::Zh), text.message(Language::En));
            assert_eq!((zh, en), text.both());
            let is_chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
            assert!(zh.chars().any(is_chinese), "{text:?}: {zh}");
            assert!(en.is_ascii() && en.contains(' '), "{text:?}: {en}");
            assert_eq!(zh.ends_with('。'), en.ends_with('.'), "{text:?}");
            assert!(
                said.insert(zh) && said.insert(en),
                "{text:?} repeats another"
            );
        }
    }
}
