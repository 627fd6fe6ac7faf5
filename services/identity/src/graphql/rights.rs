//! A person's rights to her own data: a copy of all of it, and to be forgotten.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;
use uuid::Uuid;

use super::input::{request, uuid as read_id};
use crate::commands::rosters::Issued;
use crate::commands::{erasures, exports};
use crate::domain::erasure::{HoldKind, State as ErasureStanding};
use crate::domain::export::{Format, State as ExportStanding};
use crate::error::Refusal;
use crate::queries::rights::{self as queries, ErasureView, ExportView};
use crate::rest::exports::FILES_PATH;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum DataExportState {
    /// Services are being asked.
    Gathering,
    /// It can be fetched, for a week.
    Ready,
    /// It was ready, and is forgotten.
    Expired,
}

/// A copy of all that is kept of one.
#[derive(Clone, Debug)]
pub struct DataExport(pub(crate) ExportView);

/// A copy of all that is kept of one.
#[Object]
impl DataExport {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("DataExport", self.0.export.id)
    }

    /// How far it has come.
    async fn state(&self) -> DataExportState {
        match self.0.export.state {
            ExportStanding::Gathering => DataExportState::Gathering,
            ExportStanding::Ready { .. } => DataExportState::Ready,
            ExportStanding::Expired { .. } => DataExportState::Expired,
        }
    }

    /// When it was asked for.
    async fn asked_at(&self) -> DateTime<Utc> {
        self.0.export.asked_at
    }

    /// By when it is ready.
    async fn deadline(&self) -> DateTime<Utc> {
        self.0.export.deadline
    }

    /// When it is forgotten; null before it is ready.
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self.0.export.state {
            ExportStanding::Gathering => None,
            ExportStanding::Ready { expires_at, .. }
            | ExportStanding::Expired { expires_at, .. } => Some(expires_at),
        }
    }

    /// The services that have not answered yet; they are asked again.
    async fn missing_services(&self) -> Vec<&'static str> {
        self.0.missing.clone()
    }
}

/// How far a wish to be forgotten has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ErasureState {
    /// Nothing is done yet.
    Asked,
    /// It is asked what keeps one; nothing can be bought meanwhile.
    Closing,
    /// Something keeps one; it is asked for anew each day.
    Held,
    /// One thought better of it.
    Recalled,
    /// It is done.
    Erased,
}

/// What keeps one from being forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "HoldKind")]
pub enum ErasureHoldKind {
    /// A pass awaits its payment.
    AwaitingPayment,
    /// An order is open.
    OpenOrder,
    /// A share of an order is not settled.
    OpenShare,
    /// A refund is on its way.
    OpenRefund,
    /// A pass that was paid for is frozen.
    FrozenPass,
    /// One is the last operator.
    LastOperator,
    /// Another record was merged into one's own within the last ten days.
    RecentMerge,
    /// Something else.
    Other,
}

/// Something that keeps one from being forgotten, and how it ends.
#[derive(Clone, Debug, SimpleObject)]
pub struct ErasureHold {
    /// What it is.
    kind: ErasureHoldKind,
    /// How many there are.
    count: i64,
    /// What it is and how it ends, in the language of `Accept-Language`.
    text: &'static str,
}

/// One's wish to be forgotten.
#[derive(Clone, Debug)]
pub struct Erasure(pub(crate) ErasureView);

/// One's wish to be forgotten.
#[Object]
impl Erasure {
    /// How far it has come.
    async fn state(&self) -> ErasureState {
        match self.0.erasure.state {
            ErasureStanding::Asked => ErasureState::Asked,
            ErasureStanding::Closing => ErasureState::Closing,
            ErasureStanding::Held => ErasureState::Held,
            ErasureStanding::Recalled { .. } => ErasureState::Recalled,
            ErasureStanding::Erased { .. } => ErasureState::Erased,
        }
    }

    /// When it was asked for.
    async fn asked_at(&self) -> DateTime<Utc> {
        self.0.erasure.asked_at
    }

    /// Until when nothing is done.
    async fn grace_until(&self) -> DateTime<Utc> {
        self.0.erasure.grace_until
    }

    /// By when it is done, unless something keeps one.
    async fn deadline(&self) -> DateTime<Utc> {
        self.0.erasure.deadline
    }

    /// What kept one when services were last asked.
    async fn holds(&self, ctx: &Context<'_>) -> Result<Vec<ErasureHold>> {
        let (_, caller) = request(ctx)?;
        let hold = |(kind, count): &(HoldKind, i64)| {
            let (zh, en) = kind.text();
            ErasureHold {
                kind: (*kind).into(),
                count: *count,
                text: caller.language.choose(zh, en),
            }
        };
        Ok(self.0.holds.iter().map(hold).collect())
    }

    /// What stays and what ends, in the language of `Accept-Language`.
    async fn notes(&self, ctx: &Context<'_>) -> Result<&'static str> {
        let (_, caller) = request(ctx)?;
        Ok(caller.language.choose(
            "注销后您的姓名、证件号码、手机号和登录方式将被销毁，会籍、角色和同意终止，无法恢复；\
             并入您档案的其他档案一并注销，合并未满十天的须等期满；\
             未用完的年票作废，约定可退的先行退款。订单、支付和票据记录依照会计档案管理办法保存，\
             但不再与您的身份关联。",
            "Your name, document and phone numbers and ways to sign in are destroyed, your \
             memberships, roles and consents end, and none of it comes back. Records that were \
             merged into yours go with it, ten days after the merge at the earliest. Passes \
             are voided, and what their terms give back goes back before that. Orders, \
             payments and tickets are kept as accounting law demands, and name you no more.",
        ))
    }
}

/// The form of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Format")]
pub enum DataExportFormat {
    /// For programs.
    Json,
    /// A workbook.
    Xlsx,
}

/// An address that gives a file, once.
#[derive(Clone, SimpleObject)]
pub struct DataExportAddress {
    /// The path on the host of files. Whoever has it has the file: show it to nobody.
    path: String,
    /// When it ends.
    expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for DataExportAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataExportAddress")
    }
}

impl From<Issued> for DataExportAddress {
    fn from(issued: Issued) -> Self {
        Self {
            path: format!("{FILES_PATH}{}", issued.token),
            expires_at: issued.expires_at,
        }
    }
}

/// A copy, asked for.
#[derive(Debug, InputObject)]
pub struct ExportMyDataInput {
    /// Minted by the client: the same key acts once.
    idempotency_key: Uuid,
}

/// A copy, to be fetched.
#[derive(InputObject)]
pub struct DownloadMyDataInput {
    /// Which copy.
    export_id: ID,
    /// In which form.
    format: DataExportFormat,
    /// The code that `requestLoginCode` has sent to one's phone; absent where one has just shown
    /// one's second factor.
    code: Option<String>,
}

impl std::fmt::Debug for DownloadMyDataInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DownloadMyDataInput")
    }
}

/// A wish to be forgotten.
#[derive(InputObject)]
pub struct EraseMeInput {
    /// The code that `requestLoginCode` has sent to one's phone; absent where one has just shown
    /// one's second factor.
    code: Option<String>,
    /// Minted by the client: the same key acts once.
    idempotency_key: Uuid,
}

impl std::fmt::Debug for EraseMeInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EraseMeInput")
    }
}

kit::payload! {
    /// What became of the copy.
    pub struct ExportMyDataPayload / ExportMyDataUserError / ExportMyDataErrorCode {
        /// The copy; the one that is being gathered, where one is.
        export: DataExport,
    }
    refuses {
        /// Too many were asked for today.
        TooManyExports,
        /// Another record was merged into one's own, and can be split from it.
        MergeUndoable,
        /// It is forgotten.
        ExportNotFound,
        /// The member is not there any more.
        MemberNotFound,
    }
}

kit::payload! {
    /// Where to fetch the copy.
    pub struct DownloadMyDataPayload / DownloadMyDataUserError / DownloadMyDataErrorCode {
        /// The address.
        download: DataExportAddress,
    }
    refuses {
        /// There is no such copy of one's own.
        ExportNotFound,
        /// It is not ready, or forgotten.
        ExportNotReady,
        /// Another record was merged into one's own, and can be split from it.
        MergeUndoable,
        /// The code is not right.
        CodeWrong,
        /// The code is over or was used.
        CodeExpired,
        /// The code was guessed at too often.
        CodeExhausted,
        /// Without a code: no second factor was shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the wish.
    pub struct EraseMePayload / EraseMeUserError / EraseMeErrorCode {
        /// The wish as it is now.
        erasure: Erasure,
    }
    refuses {
        /// It is not there any more.
        ErasureNotFound,
        /// The member is not there any more.
        MemberNotFound,
        /// The code is not right.
        CodeWrong,
        /// The code is over or was used.
        CodeExpired,
        /// The code was guessed at too often.
        CodeExhausted,
        /// Without a code: no second factor was shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the wish.
    pub struct RecallErasurePayload / RecallErasureUserError / RecallErasureErrorCode {
        /// The wish as it is now.
        erasure: Erasure,
    }
    refuses {
        /// There is none.
        ErasureNotFound,
    }
}

/// One's rights, used.
#[derive(Debug, Default)]
pub struct RightsMutation;

#[Object]
impl RightsMutation {
    /// Asks for a copy of all that is kept of one. A notice tells when it is ready.
    async fn export_my_data(
        &self,
        ctx: &Context<'_>,
        input: ExportMyDataInput,
    ) -> Result<ExportMyDataPayload> {
        let (identity, caller) = request(ctx)?;
        let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
        let result = async {
            let key = input.idempotency_key;
            let made = exports::export_my_data(kit_ctx, vault, caller, key).await?;
            let view = queries::export_of(kit_ctx, made.member).await?;
            let view = view.ok_or(Refusal::ExportNotFound)?;
            Ok(ExportMyDataPayload::done(DataExport(view)))
        };
        ExportMyDataPayload::from_result(caller.language, result.await)
    }

    /// An address to fetch one's copy at, once, within ten minutes and by who has proven who she
    /// is.
    async fn download_my_data(
        &self,
        ctx: &Context<'_>,
        input: DownloadMyDataInput,
    ) -> Result<DownloadMyDataPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = read_id(&input.export_id, "DataExport", Refusal::ExportNotFound)?;
            let which = (id, input.format.into());
            let code = input.code.as_deref();
            let issued = exports::download_my_data(identity, caller, which, code).await?;
            Ok(DownloadMyDataPayload::done(DataExportAddress::from(issued)))
        };
        DownloadMyDataPayload::from_result(caller.language, result.await)
    }

    /// Asks to be forgotten. It can be recalled until it is done; what keeps one until then is
    /// told.
    async fn erase_me(&self, ctx: &Context<'_>, input: EraseMeInput) -> Result<EraseMePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let (code, key) = (input.code.as_deref(), input.idempotency_key);
            let made = erasures::erase_me(identity, caller, code, key).await?;
            let view = queries::erasure_of(&identity.ctx, made.member).await?;
            let view = view.ok_or(Refusal::ErasureNotFound)?;
            Ok(EraseMePayload::done(Erasure(view)))
        };
        EraseMePayload::from_result(caller.language, result.await)
    }

    /// Takes the wish to be forgotten back.
    async fn recall_erasure(&self, ctx: &Context<'_>) -> Result<RecallErasurePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let made = erasures::recall(&identity.ctx, caller).await?;
            let view = queries::erasure_of(&identity.ctx, made.member).await?;
            let view = view.ok_or(Refusal::ErasureNotFound)?;
            Ok(RecallErasurePayload::done(Erasure(view)))
        };
        RecallErasurePayload::from_result(caller.language, result.await)
    }
}
