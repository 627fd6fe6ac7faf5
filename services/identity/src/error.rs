//! Every business "no" of identity, with the sentence people read.

use kit::graphql::Language;

/// What is said of a refusal.
struct Said {
    refusal: Refusal,
    code: &'static str,
    field: &'static str,
    zh: &'static str,
    en: &'static str,
}

/// The enum and what is said of each of its values, in one list: none can be without its row, and
/// none can stand elsewhere in the table than in the enum.
macro_rules! refusals {
    ($($refusal:ident $code:literal $field:literal $zh:literal $en:literal;)+) => {
        /// Why a command was refused. Holds no data: what was refused is what the caller sent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($refusal,)+
        }

        static SAID: &[Said] = &[
            $(Said {
                refusal: Refusal::$refusal,
                code: $code,
                field: $field,
                zh: $zh,
                en: $en,
            },)+
        ];
    };
}

refusals! {
    NameInvalid "NAME_INVALID" "name"
        "组织名称须为 2 至 100 个字。"
        "The organisation's name must have 2 to 100 characters.";
    NameTaken "NAME_TAKEN" "name"
        "上级组织下已有同名组织。"
        "There is another organisation of this name under the same parent.";
    UsccInvalid "USCC_INVALID" "uscc"
        "统一社会信用代码有误，请核对。"
        "The unified social credit code is wrong; please check it.";
    UsccTaken "USCC_TAKEN" "uscc"
        "该统一社会信用代码已被其他组织使用。"
        "Another organisation has this unified social credit code.";
    DivisionUnknown "DIVISION_UNKNOWN" "division"
        "行政区划代码不存在，或已撤销。"
        "There is no such administrative division, or it was abolished.";
    ParentNotFound "PARENT_NOT_FOUND" "parentId"
        "找不到上级组织。"
        "There is no such parent organisation.";
    ParentClosed "PARENT_CLOSED" "parentId"
        "上级组织已撤销。"
        "The parent organisation is closed.";
    KindDoesNotFit "KIND_DOES_NOT_FIT" "kind"
        "该上级组织下不能设立这类组织。"
        "The parent cannot have an organisation of this kind.";
    TooDeep "TOO_DEEP" "parentId"
        "组织层级过深。"
        "The organisation tree would become too deep.";
    IndustrialParentNotFound "INDUSTRIAL_PARENT_NOT_FOUND" "industrialParentId"
        "找不到该产业工会。"
        "There is no such industrial union.";
    OrganisationNotFound "ORGANISATION_NOT_FOUND" "organisationId"
        "找不到该组织。"
        "There is no such organisation.";
    OrganisationClosed "ORGANISATION_CLOSED" "organisationId"
        "该组织已撤销。"
        "The organisation is closed.";
    HasBranches "HAS_BRANCHES" "organisationId"
        "该组织仍有下级组织，不能撤销。"
        "The organisation still has branches and cannot be closed.";
    HasMembers "HAS_MEMBERS" "organisationId"
        "该组织仍有会员，不能撤销。"
        "The organisation still has members and cannot be closed.";
    PersonNameInvalid "PERSON_NAME_INVALID" "name"
        "姓名须为 2 至 30 个字，不含数字和符号。"
        "The name must have 2 to 30 letters, without digits or signs.";
    DocumentInvalid "DOCUMENT_INVALID" "documentNumber"
        "证件号码有误，请核对证件类型和号码。"
        "The document number is wrong; please check its type and number.";
    PhoneInvalid "PHONE_INVALID" "phone"
        "手机号码有误，应为 11 位。"
        "The mobile number is wrong; it has 11 digits.";
    PersonNotMatched "PERSON_NOT_MATCHED" "documentNumber"
        "姓名、证件或手机号与登记信息不符。"
        "The name, document or phone does not match what is registered.";
    PersonRepeated "PERSON_REPEATED" "documentNumber"
        "同一人、证件或手机号在名单中出现多次。"
        "The same person, document or phone appears in the list more than once.";
    ListSize "LIST_SIZE" "people"
        "名单须有 1 至 100 人。"
        "The list must have 1 to 100 people.";
    TooManyFailures "TOO_MANY_FAILURES" ""
        "核对失败次数过多，请一小时后再试。"
        "Too many failed look-ups; please try again in an hour.";
    TooManyLookUps "TOO_MANY_LOOK_UPS" ""
        "查询次数已达上限，请稍后再试。"
        "Too many look-ups; please try again later.";
    MemberNotFound "MEMBER_NOT_FOUND" "memberId"
        "找不到该会员。"
        "There is no such member.";
    NotAnsweredFor "NOT_ANSWERED_FOR" "memberId"
        "此人仅凭姓名和手机号登记，本人未申请入会，证件也未经核对，不能查看其完整信息。"
        "The union knows her by name and phone alone: match her document first, or let her apply.";
    MembershipNotFound "MEMBERSHIP_NOT_FOUND" "membershipId"
        "找不到该会籍。"
        "There is no such membership.";
    MembershipEnded "MEMBERSHIP_ENDED" "membershipId"
        "该会籍已终止。"
        "The membership has already ended.";
    DateInvalid "DATE_INVALID" "date"
        "日期不合理：不能早于入会，也不能晚于今天。"
        "The date is before the membership began, or in the future.";
    SinceInvalid "SINCE_INVALID" "since"
        "入会日期不合理：不能晚于今天，不能早于总工会成立，也不能与其在该组织的其他会籍重叠。"
        "The first day is in the future, before unions began, or within another membership there.";
    StandingDoesNotFit "STANDING_DOES_NOT_FIT" "membershipId"
        "该会籍目前的状态不能这样变更。"
        "The membership cannot be changed like this as it stands now.";
    NothingCorrected "NOTHING_CORRECTED" "since"
        "更正内容与登记的相同。"
        "What is corrected is the same as what is registered.";
    ReviewNotFound "REVIEW_NOT_FOUND" "reviewId"
        "找不到该复核事项。"
        "There is no such review.";
    ReviewOfOwn "REVIEW_OF_OWN" "reviewId"
        "更正须由他人复核。"
        "A correction is reviewed by somebody else than who made it.";
    RoleDoesNotFit "ROLE_DOES_NOT_FIT" "role"
        "该组织不能授予此角色。"
        "This role cannot be held in this organisation.";
    RoleNotFound "ROLE_NOT_FOUND" "roleId"
        "找不到该角色。"
        "There is no such role.";
    LastOperator "LAST_OPERATOR" "roleId"
        "不能撤销最后一名运维人员。"
        "The last operator's role cannot be withdrawn.";
    RoleEndInvalid "ROLE_END_INVALID" "until"
        "角色的截止日期不合理：须晚于今天，且不超过五年。"
        "The role must end after today, and within five years.";
    RoleForOneself "ROLE_FOR_ONESELF" "memberId"
        "不能为自己授予此角色，须由另外两人办理。"
        "This role is granted by two others, not to oneself.";
    ProposalNotFound "PROPOSAL_NOT_FOUND" "proposalId"
        "找不到该授权提议。"
        "There is no such proposal.";
    ProposalOfOwn "PROPOSAL_OF_OWN" "proposalId"
        "授权提议须由提议人以外的人确认。"
        "A proposal is confirmed by somebody else than who made it.";
    ProposalOver "PROPOSAL_OVER" "proposalId"
        "该授权提议已确认、撤回或过期。"
        "The proposal was confirmed or taken back, or is over.";
    ProposalWaits "PROPOSAL_WAITS" "until"
        "已有另一截止日期的授权提议待确认，请先确认或撤回。"
        "The role is proposed with another end already; confirm that or take it back.";
    LeftOrganisation "LEFT_ORGANISATION" "memberId"
        "此人已不在该组织，不能授予其角色。"
        "The person has left the organisation and cannot hold a role in it.";
    OperatorExists "OPERATOR_EXISTS" ""
        "已有运维人员；如确需再建，请强制执行并写明理由。"
        "There is an operator already; force it with a reason if you must.";
    TooManyCodes "TOO_MANY_CODES" "phone"
        "验证码请求过于频繁，请稍后再试。"
        "Too many codes were asked for; please try again later.";
    CodeWrong "CODE_WRONG" "code"
        "验证码不正确。"
        "The code is not right.";
    CodeExpired "CODE_EXPIRED" "code"
        "验证码已过期或已使用，请重新获取。"
        "The code has expired or was used; please ask for a new one.";
    CodeExhausted "CODE_EXHAUSTED" "code"
        "错误次数过多，验证码已作废，请重新获取。"
        "Too many wrong guesses; the code is void, please ask for a new one.";
    RefreshTokenInvalid "REFRESH_TOKEN_INVALID" "refreshToken"
        "登录已失效，请重新登录。"
        "This login no longer counts; please sign in again.";
    LoginNotFound "LOGIN_NOT_FOUND" "loginId"
        "找不到该登录设备。"
        "There is no such login.";
    DeviceInvalid "DEVICE_INVALID" "device"
        "设备名称须为 1 至 40 个字。"
        "The device's name must have 1 to 40 characters.";
    LoginNotFresh "LOGIN_NOT_FRESH" ""
        "请重新登录后 15 分钟内绑定动态口令。"
        "Please sign in anew and set the second factor up within 15 minutes.";
    LoginNotByPhone "LOGIN_NOT_BY_PHONE" ""
        "您担任角色，请用手机验证码重新登录后再绑定动态口令。"
        "You hold a role: sign in by a code to your phone to set the second factor up.";
    LoginKindOff "LOGIN_KIND_OFF" ""
        "目前不支持这种登录方式。"
        "This way to sign in is not offered.";
    OutsideCodeInvalid "OUTSIDE_CODE_INVALID" "code"
        "授权码无效、已过期或已使用，请重新授权。"
        "The other party's code is wrong, over or used; please ask it for another.";
    OutsideBarred "OUTSIDE_BARRED" ""
        "微信认为此账号存在风险，请改用手机验证码登录。"
        "WeChat bars this account; please sign in by a code to your phone.";
    TooManyLogins "TOO_MANY_LOGINS" ""
        "登录请求过于频繁，请稍后再试。"
        "Too many logins from here; please try again later.";
    OidcStateExpired "OIDC_STATE_EXPIRED" "state"
        "登录请求无效、已过期或已使用，请重新开始。"
        "The login is unknown, over or used; please begin anew.";
    ChallengeInvalid "CHALLENGE_INVALID" "challenge"
        "验证串有误，应为 43 位 base64url 字符。"
        "The challenge is wrong; it has 43 characters of base64url.";
    LinkExpired "LINK_EXPIRED" "ticket"
        "绑定凭据无效、已过期或已使用，请重新授权。"
        "The link is wrong, over or used; please begin anew.";
    LoginMethodsFull "LOGIN_METHODS_FULL" "ticket"
        "登录方式已达上限，请先解除一种。"
        "You have as many ways to sign in as there can be; please take one away first.";
    LoginMethodNotFound "LOGIN_METHOD_NOT_FOUND" "loginMethodId"
        "找不到该登录方式。"
        "There is no such way to sign in.";
    PayerTokensOff "PAYER_TOKENS_OFF" ""
        "目前不支持在微信小程序内支付。"
        "Paying inside WeChat is not offered.";
    WechatNotLinked "WECHAT_NOT_LINKED" ""
        "尚未绑定微信，请先用微信登录并绑定。"
        "Your WeChat is not linked yet; please sign in by it first.";
    TooManyPayerTokens "TOO_MANY_PAYER_TOKENS" ""
        "发起支付过于频繁，请稍后再试。"
        "Too many payments were begun; please try again later.";
    PayerTokenOver "PAYER_TOKEN_OVER" "idempotencyKey"
        "这个付款人凭据已过期，请换一个新的幂等键重新获取。"
        "The token of this key is over; please ask with a new key.";
    VerificationOff "VERIFICATION_OFF" ""
        "目前不提供实名核验。"
        "Nobody is verified here at present.";
    NetworkTokenInvalid "NETWORK_TOKEN_INVALID" "networkToken"
        "网证有误；使用网证时无须填写姓名和证件。"
        "The token of the network identity is wrong, or a name or document was given beside it.";
    VerificationWaits "VERIFICATION_WAITS" ""
        "上一次实名核验还没有结果，请稍候。"
        "The last verification is still being asked; please wait for it.";
    TooManyVerifications "TOO_MANY_VERIFICATIONS" ""
        "今日实名核验次数已达上限，请明日再试。"
        "Too many verifications today; please try again tomorrow.";
    PhoneUnchanged "PHONE_UNCHANGED" "phone"
        "新手机号与现在的相同。"
        "The new phone is the one in use.";
    PhoneAbsent "PHONE_ABSENT" ""
        "尚未登记手机号，请联系工会工作人员办理。"
        "You have no phone here yet; please ask your union for one.";
    RecoveryNotFound "RECOVERY_NOT_FOUND" "memberId"
        "没有可办理的手机号找回申请。"
        "There is no recovery of this person's phone that this can be done with.";
    RecoveryOfOwn "RECOVERY_OF_OWN" "memberId"
        "手机号找回须由本人以外的两人分别确认和批准。"
        "A phone is recovered by two others: one confirms it, and another one approves it.";
    RecoveryWaits "RECOVERY_WAITS" ""
        "该会员的手机号找回正在办理，请先撤回或等待其结束。"
        "A recovery of the person's phone is under way; it is taken back before this can be done.";
    TooManyRecoveries "TOO_MANY_RECOVERIES" ""
        "找回账号的申请过多，请明天再试，或到所在工会办理。"
        "Too many recoveries were asked for; please try again tomorrow, or ask your union.";
    PhoneOfOwn "PHONE_OF_OWN" "memberId"
        "不能为自己重新登记手机号，须由另外两名运维人员办理。"
        "One's own phone is set by two other operators.";
    PhonePending "PHONE_PENDING" "phone"
        "另一名运维人员为该会员登记的是另一号码，请核对，或待其失效后再办。"
        "Another operator has named another phone; please check it, or wait until that is over.";
    SecondFactorAbsent "SECOND_FACTOR_ABSENT" ""
        "尚未绑定动态口令，或绑定未在时限内完成。"
        "No second factor is set up, or it was not confirmed in time.";
    SecondFactorWrong "SECOND_FACTOR_WRONG" "code"
        "动态口令或备用码不正确。"
        "The code of the second factor is not right.";
    SecondFactorUsed "SECOND_FACTOR_USED" "code"
        "该动态口令已使用，请等待下一个。"
        "This code was used already; please wait for the next one.";
    TooManyTries "TOO_MANY_TRIES" "code"
        "动态口令错误次数过多，请稍后再试。"
        "Too many wrong codes; please try again later.";
    ResetOfOwn "RESET_OF_OWN" "memberId"
        "不能重置自己的动态口令，须由另外两名运维人员办理。"
        "One's own second factor is reset by two other operators.";
    OperatorTooNew "OPERATOR_TOO_NEW" "memberId"
        "担任运维满七天后才能办理此事。"
        "Who does this must have been an operator for seven days before.";
    KindHasNoMembers "KIND_HAS_NO_MEMBERS" "organisationId"
        "只有基层工会及其分会、小组发展会员。"
        "People are members of grassroots unions and of their groups.";
    AlreadyMember "ALREADY_MEMBER" "organisationId"
        "该职工已是该组织的会员。"
        "The person is a member of this organisation already.";
    ApplicationWaits "APPLICATION_WAITS" "organisationId"
        "该职工加入该组织的另一项申请尚未处理。"
        "Another application of the person to this organisation waits.";
    TooManyApplications "TOO_MANY_APPLICATIONS" ""
        "最多同时有三项待处理的入会申请。"
        "No more than three applications can wait at the same time.";
    ApplicationNotFound "APPLICATION_NOT_FOUND" "applicationId"
        "找不到该申请。"
        "There is no such application.";
    ApplicationOver "APPLICATION_OVER" "applicationId"
        "该申请已处理、撤回或过期。"
        "The application is decided, withdrawn or over.";
    ApplicationOfOwn "APPLICATION_OF_OWN" "applicationId"
        "申请须由他人审批。"
        "An application is decided by somebody else than who asked.";
    MergeOfOne "MERGE_OF_ONE" "mergedId"
        "两条档案是同一条，无需合并。"
        "Both are the same record.";
    MergeOfOwn "MERGE_OF_OWN" "mergedId"
        "不能合并或拆分自己的档案，须由另外两名运维人员办理。"
        "One's own record is merged and split by other operators.";
    MergePending "MERGE_PENDING" "mergedId"
        "该档案已申请并入另一档案，正待另一名运维人员确认。"
        "A merge of this record into another one waits already.";
    MergedBefore "MERGED_BEFORE" "mergedId"
        "已有其他档案并入该档案，请以它为保留档案。"
        "Others were merged into this record; let it be the one that stays.";
    HoldsRole "HOLDS_ROLE" "mergedId"
        "该档案仍担任角色，请先撤销。"
        "This record still holds roles; please withdraw them first.";
    DocumentsDiffer "DOCUMENTS_DIFFER" "mergedId"
        "两条档案各有同类证件，不是同一人，或其中一个号码有误。"
        "Both have a document of one kind: two people, or one number is wrong.";
    MergeNotFound "MERGE_NOT_FOUND" "mergedId"
        "该档案没有合并，或已经拆分。"
        "This record was not merged, or is split again.";
    UndoOver "UNDO_OVER" "mergedId"
        "合并已超过十天，不能撤销。"
        "The merge was more than ten days ago and stays.";
    MergeWaits "MERGE_WAITS" ""
        "该档案正待合并，请在一天后再更换手机号。"
        "The record waits to be merged; please change its phone in a day.";
    MergeUndoable "MERGE_UNDOABLE" ""
        "该档案由两条合并而成，合并后十天内仍可拆分，期满后才能办理此事。"
        "Two records were made this one, and can be two again for ten days: wait until then.";
    ErasureWaits "ERASURE_WAITS" ""
        "本人已申请注销，须先撤回申请，才能办理此事。"
        "The person has asked to be forgotten; that is taken back before this can be done.";
    ExportWaits "EXPORT_WAITS" "mergedId"
        "本人的个人信息副本正在汇集，请稍后再办理。"
        "A copy of the person's data is being gathered; please try again later.";
    NothingUsable "NOTHING_USABLE" ""
        "该会员目前没有可用的年票或凭证。"
        "The member has no pass or other right that can be used now.";
    RosterNotFound "ROSTER_NOT_FOUND" "rosterImportId"
        "找不到该名单。"
        "There is no such roster.";
    RosterNotReady "ROSTER_NOT_READY" "rosterImportId"
        "名单还没有核对完，或已经结束。"
        "The roster has not been compared yet, or is over.";
    RosterHasBadRows "ROSTER_HAS_BAD_ROWS" "leaveOutBadRows"
        "名单还有待更正的行：请更正，或选择不采用这些行。"
        "Some rows need another look: correct them, or leave them out.";
    RosterHasNoBadRows "ROSTER_HAS_NO_BAD_ROWS" "rosterImportId"
        "名单没有待更正的行。"
        "No row of the roster needs another look.";
    RosterOutdated "ROSTER_OUTDATED" "rosterImportId"
        "核对之后会员有变动，正在重新核对，请查看新的差异后再提交。"
        "Members have changed since; it is compared again, please look once more.";
    ConsentTextOutdated "CONSENT_TEXT_OUTDATED" "textVersion"
        "同意书已更新，请阅读新的内容后再选择。"
        "The text has changed since; please read the new one and choose again.";
    NoticeHasNoSms "NOTICE_HAS_NO_SMS" "kind"
        "这类通知不发短信。"
        "No SMS is sent of notices of this kind.";
    NoticeSmsStays "NOTICE_SMS_STAYS" "kind"
        "这类短信关系账号安全，不能关闭。"
        "These SMS protect your account and cannot be turned off.";
    ExportNotFound "EXPORT_NOT_FOUND" "exportId"
        "找不到该份个人信息副本。"
        "There is no such copy of your data.";
    ExportNotReady "EXPORT_NOT_READY" "exportId"
        "个人信息副本尚未就绪，或已过期，请重新申请。"
        "The copy of your data is not ready yet, or is over; you may ask for another.";
    TooManyExports "TOO_MANY_EXPORTS" ""
        "今天申请个人信息副本的次数过多，请明天再试。"
        "Too many copies of your data were asked for today; please try again tomorrow.";
    ErasureNotFound "ERASURE_NOT_FOUND" ""
        "没有注销申请，或已办理完毕。"
        "You have not asked to be forgotten, or it is done.";
    RenderingNotFound "RENDERING_NOT_FOUND" "fileId"
        "找不到该文件。"
        "There is no such file.";
    RenderingOver "RENDERING_OVER" "fileId"
        "该文件已下载过或已过期，如有需要请重新申请。"
        "The file was fetched, or is over; you may ask for another.";
    TooManyRosters "TOO_MANY_ROSTERS" ""
        "一小时内上传的名单过多，请稍后再试。"
        "Too many rosters within the hour; please try again later.";
}

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

/// The refusal that an idempotency record holds.
///
/// # Errors
/// Always: the refusal itself, or that the record names none of ours.
pub(crate) fn recorded<T>(code: &str) -> kit::Result<T> {
    Err(Refusal::from_code(code).map_or_else(
        || kit::Error::internal("a refusal of no known code"),
        kit::Error::from,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each refusal has its own code; both sentences end as sentences do.
    #[test]
    fn every_refusal_is_said_in_both_languages() {
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
