//! Notices as a member reads them, and what she wants by SMS.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::Error;
use kit::graphql::GlobalId;
use uuid::Uuid;

use super::input::request;
use crate::commands::notices as commands;
use crate::domain::notice::{Kind, Notice as Told};
use crate::queries::notices::NoticeView;

/// Notices named in one mutation, at most.
const NOTICES_MAX: usize = 100;

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Kind")]
pub enum NoticeKind {
    /// An order is paid.
    Bought,
    /// A pass opens doors.
    Activated,
    /// A pass ends soon.
    Expiring,
    /// A pass was cancelled; by SMS too where one agrees.
    Cancelled,
    /// Money went back; by SMS too where one agrees.
    Refunded,
    /// A union's roster names one.
    OnRoster,
    /// One holds a new role.
    RoleGranted,
    /// Somebody signed in.
    NewLogin,
    /// Another way to sign in was linked.
    LoginLinked,
    /// The second factor was set up, replaced or taken away, or its reset was asked for or done.
    SecondFactorChanged,
    /// A copy of one's data is ready.
    ExportReady,
    /// Something keeps one from being forgotten.
    ErasureHeld,
    /// A file with names in it waits for one.
    RenderingReady,
    /// One signs in by another phone, or is to, from a time on that its text says; by SMS too, to
    /// the phone before as well.
    PhoneChanged,
    /// To be forgotten was asked for or recalled, a copy was asked for or fetched; by SMS too.
    RightUsed,
    /// Two records were made one's own, or were parted again.
    RecordsChanged,
    /// An office saw one's name, phone and document.
    Unmasked,
}

/// Something that one is told of. It is kept for 180 days.
#[derive(Clone, Debug)]
pub struct Notice(pub(crate) NoticeView);

/// Something that one is told of. It is kept for 180 days.
#[Object]
impl Notice {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("Notice", self.0.kept.id)
    }

    /// What it is about.
    async fn kind(&self) -> NoticeKind {
        self.0.kept.notice.kind().into()
    }

    /// What it says, in the language of `Accept-Language`.
    async fn text(&self, ctx: &Context<'_>) -> Result<String> {
        let (_, caller) = request(ctx)?;
        let (zh, en) = self.0.kept.notice.text(&self.0.names);
        Ok(caller.language.choose(&zh, &en).to_owned())
    }

    /// The order, pass, organisation, login or member that it is about, for `node(id)`; or the copy
    /// of one's data.
    async fn about_id(&self) -> ID {
        match &self.0.kept.notice {
            Told::Bought { order, .. } | Told::Refunded { order, .. } => {
                GlobalId::of_uuid("Order", order.0)
            }
            Told::Activated { pass, .. }
            | Told::Expiring { pass, .. }
            | Told::Cancelled { pass, .. } => GlobalId::of_entitlement("Pass", *pass),
            Told::OnRoster { organisation, .. }
            | Told::RoleGranted { organisation, .. }
            | Told::Unmasked { organisation, .. } => {
                GlobalId::of_uuid("Organisation", organisation.0)
            }
            Told::NewLogin { login, .. } | Told::LoginLinked { login, .. } => {
                GlobalId::of_uuid("Login", *login)
            }
            Told::SecondFactorChanged { .. }
            | Told::PhoneChanged { .. }
            | Told::PhoneToBeChanged { .. }
            | Told::PhoneToBeSet { .. }
            | Told::RightUsed { .. }
            | Told::RecordsChanged { .. } => GlobalId::of_uuid("Member", self.0.kept.member.0),
            Told::ExportReady { export } => GlobalId::of_uuid("DataExport", *export),
            Told::ErasureHeld { member } => GlobalId::of_uuid("Member", member.0),
            Told::RenderingReady { rendering } => GlobalId::of_uuid("RenderedFile", *rendering),
        }
    }

    /// When it was told.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.kept.created_at
    }

    /// When it was marked as read; null before.
    async fn read_at(&self) -> Option<DateTime<Utc>> {
        self.0.kept.read_at
    }
}

/// Whether an SMS tells of a kind of notices too.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub struct NoticePreference {
    /// The kind.
    kind: NoticeKind,
    /// Whether it is wanted by SMS too. It is sent only where one agrees to that as well.
    sms: bool,
}

impl From<(Kind, bool)> for NoticePreference {
    fn from((kind, sms): (Kind, bool)) -> Self {
        Self {
            kind: kind.into(),
            sms,
        }
    }
}

/// Which notices were read.
#[derive(Debug, InputObject)]
pub struct MarkNoticesReadInput {
    /// Up to 100 of one's own; all when absent.
    notice_ids: Option<Vec<ID>>,
}

/// What is wanted by SMS.
#[derive(Debug, InputObject)]
pub struct SetNoticePreferenceInput {
    /// The kind.
    kind: NoticeKind,
    /// Whether an SMS shall tell of it too.
    sms: bool,
}

kit::payload! {
    /// What became of the notices.
    pub struct MarkNoticesReadPayload / MarkNoticesReadUserError / MarkNoticesReadErrorCode {
        /// How many are not read yet.
        unread_notices: i64,
    }
    refuses {}
}

kit::payload! {
    /// What became of the preference.
    pub struct SetNoticePreferencePayload / SetNoticePreferenceUserError
        / SetNoticePreferenceErrorCode {
        /// The preference as it is now.
        preference: NoticePreference,
    }
    refuses {
        /// No SMS is sent of this kind.
        NoticeHasNoSms,
        /// The SMS of this kind protects the account and is always sent.
        NoticeSmsStays,
    }
}

/// Notices, changed.
#[derive(Debug, Default)]
pub struct NoticeMutation;

#[Object]
impl NoticeMutation {
    /// Marks notices of one's own as read; those that are not one's own are left alone.
    async fn mark_notices_read(
        &self,
        ctx: &Context<'_>,
        input: MarkNoticesReadInput,
    ) -> Result<MarkNoticesReadPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let ids = input.notice_ids.as_deref().map(read_ids).transpose()?;
            let left = commands::mark_read(&identity.ctx, caller, ids).await?;
            Ok(MarkNoticesReadPayload::done(left))
        };
        MarkNoticesReadPayload::from_result(caller.language, result.await)
    }

    /// Says whether an SMS shall tell of a kind of notices too.
    async fn set_notice_preference(
        &self,
        ctx: &Context<'_>,
        input: SetNoticePreferenceInput,
    ) -> Result<SetNoticePreferencePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let kind = input.kind.into();
            commands::set_preference(&identity.ctx, caller, kind, input.sms).await?;
            let preference = NoticePreference::from((kind, input.sms));
            Ok(SetNoticePreferencePayload::done(preference))
        };
        SetNoticePreferencePayload::from_result(caller.language, result.await)
    }
}

fn read_ids(ids: &[ID]) -> kit::Result<Vec<Uuid>> {
    if ids.len() > NOTICES_MAX {
        let (zh, en) = ("最多 100 条", "at most 100");
        return Err(Error::bad_input("noticeIds", zh, en));
    }
    ids.iter().map(|id| GlobalId::uuid(id, "Notice")).collect()
}
