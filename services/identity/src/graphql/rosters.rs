//! Rosters, looked at: how far they have come, and the difference they make.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::{Connection, Cursor, GlobalId, Language, Page};
use uuid::Uuid;

use super::input::request;
use super::organisations::Organisation;
use crate::commands::rosters::Issued;
use crate::domain::roster::{Change, Purpose, State};
use crate::queries::rosters::{self as queries, RosterView, RowView};
use crate::rest::rosters::FILES_PATH;
use crate::roster::{Column, Finding};

/// The type of the ids.
pub(crate) const TYPE: &str = "RosterImport";

/// What a roster is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum RosterPurpose {
    /// Those on it join the organisation; where it is complete, those who are not leave.
    Membership,
    /// An outing, say: its people are found, and nobody's membership changes.
    List,
}

/// How far a roster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum RosterImportState {
    /// Its file has not arrived.
    AwaitingFile,
    /// The file, or a correction, waits to be read.
    Reading,
    /// Its rows are compared with who is known.
    Matching,
    /// The difference can be looked at and committed.
    Ready,
    /// It was made true.
    Committed,
    /// None of it can be used: see `problem`.
    Failed,
    /// It was not committed in time.
    Expired,
}

/// What a row of a roster changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum RosterChange {
    /// She joins.
    New,
    /// She is in and gets a phone to sign in with.
    Changed,
    /// She is in and stays as she is; of a list: she was found.
    Unchanged,
    /// She is in and not on the roster: her membership ends.
    Leaving,
    /// The row needs another look.
    Bad,
}

/// A column of a roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Column")]
pub enum RosterColumn {
    /// 行号, in a correction.
    Row,
    /// 姓名
    Name,
    /// 证件类型
    DocumentType,
    /// 证件号码
    DocumentNumber,
    /// 手机号
    Phone,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, SimpleObject)]
pub struct RosterProblem {
    /// For programs: `FILE_ENCRYPTED`, say.
    code: String,
    /// For people, in the language of `Accept-Language`.
    message: String,
}

/// What is wrong with a row.
#[derive(Clone, Debug, SimpleObject)]
pub struct RosterFinding {
    /// For programs: `DOCUMENT_CHECK`, say.
    code: String,
    /// Where; null when it is the whole row.
    column: Option<RosterColumn>,
    /// For people, in the language of `Accept-Language`.
    message: String,
    /// What should stand there, where it can be known.
    repair: Option<String>,
}

/// An address that takes or gives one file, once.
#[derive(Clone, Debug, SimpleObject)]
pub struct RosterAddress {
    /// The path on the REST listener of this service: PUT the bytes of the file there as they are,
    /// or GET the file. A secret: whoever has it may use it.
    path: String,
    /// When it ends.
    expires_at: DateTime<Utc>,
    /// Bytes of a file that it takes, at most; null for one that gives a file.
    bytes_max: Option<i32>,
}

impl RosterAddress {
    pub(crate) fn new(issued: Issued, bytes_max: Option<usize>) -> Self {
        Self {
            path: format!("{FILES_PATH}{}", issued.token),
            expires_at: issued.expires_at,
            bytes_max: bytes_max.and_then(|it| i32::try_from(it).ok()),
        }
    }
}

/// A row of the difference that a roster makes.
#[derive(Clone, Debug)]
pub struct RosterRow {
    view: RowView,
    language: Language,
}

/// A row of the difference that a roster makes.
#[Object]
impl RosterRow {
    /// The row of the file; null for who leaves.
    async fn row(&self) -> Option<i32> {
        (self.view.change != Change::Leaving).then_some(self.view.place)
    }

    /// What it changes.
    async fn change(&self) -> Option<RosterChange> {
        match self.view.change {
            Change::Pending => None,
            Change::New => Some(RosterChange::New),
            Change::Changed => Some(RosterChange::Changed),
            Change::Unchanged => Some(RosterChange::Unchanged),
            Change::Leaving => Some(RosterChange::Leaving),
            Change::Bad => Some(RosterChange::Bad),
        }
    }

    /// Whose row it is, as lists show it: 张*三.
    async fn masked_name(&self) -> Option<&str> {
        self.view.masked_name.as_deref()
    }

    /// What is wrong with it, all of it.
    async fn findings(&self) -> Vec<RosterFinding> {
        let show = |finding: &Finding| RosterFinding {
            code: finding.code.name().to_owned(),
            column: finding.column.map(Into::into),
            message: finding.message(self.language),
            repair: finding.repair.clone(),
        };
        self.view.findings.iter().map(show).collect()
    }
}

/// A roster on its way to be committed. Seen by the officer who began it alone.
#[derive(Clone, Debug)]
pub struct RosterImport(pub(crate) RosterView);

/// A roster on its way to be committed. Seen by the officer who began it alone.
#[Object]
impl RosterImport {
    /// Opaque; of a committed roster, what bookings name it by.
    async fn id(&self) -> ID {
        GlobalId::of_uuid(TYPE, self.0.roster.id)
    }

    /// Whose roster it is.
    async fn organisation(&self) -> Organisation {
        Organisation(self.0.organisation.clone())
    }

    /// What it is for.
    async fn purpose(&self) -> RosterPurpose {
        match self.0.roster.purpose {
            Purpose::Membership { .. } => RosterPurpose::Membership,
            Purpose::List => RosterPurpose::List,
        }
    }

    /// Whether it names everybody of the organisation, so that who is not on it leaves.
    async fn is_complete(&self) -> bool {
        self.0.roster.purpose.complete()
    }

    /// How far it has come.
    async fn state(&self) -> RosterImportState {
        match self.0.roster.state {
            State::Awaiting => RosterImportState::AwaitingFile,
            State::Reading { .. } => RosterImportState::Reading,
            State::Matching => RosterImportState::Matching,
            State::Ready => RosterImportState::Ready,
            State::Committed { .. } => RosterImportState::Committed,
            State::Failed => RosterImportState::Failed,
            State::Expired => RosterImportState::Expired,
        }
    }

    /// Why the newest file could not be used; null when it could.
    async fn problem(&self, ctx: &Context<'_>) -> Result<Option<RosterProblem>> {
        let (_, caller) = request(ctx)?;
        Ok(self.0.problem.map(|problem| RosterProblem {
            code: problem.code().to_owned(),
            message: problem.message(caller.language).to_owned(),
        }))
    }

    /// When it was begun.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.roster.created_at
    }

    /// When all of it is forgotten, if it is not committed before.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.roster.expires_at
    }

    /// People in the file.
    async fn row_count(&self) -> i64 {
        self.compared() + self.0.counts.pending
    }

    /// How many of them were judged and compared already.
    async fn compared_count(&self) -> i64 {
        self.compared()
    }

    /// Those who join; null before all were compared.
    async fn new_count(&self) -> Option<i64> {
        self.shown(self.0.counts.new)
    }

    /// Those who are in and change; null before all were compared.
    async fn changed_count(&self) -> Option<i64> {
        self.shown(self.0.counts.changed)
    }

    /// Those who are in and stay as they are; null before all were compared.
    async fn unchanged_count(&self) -> Option<i64> {
        self.shown(self.0.counts.unchanged)
    }

    /// Those whose membership ends; null before all were compared.
    async fn leaving_count(&self) -> Option<i64> {
        self.shown(self.0.counts.leaving)
    }

    /// Rows that need another look; null before all were compared.
    async fn bad_count(&self) -> Option<i64> {
        self.shown(self.0.counts.bad)
    }

    /// Names of columns that were not read.
    async fn ignored_columns(&self) -> &[String] {
        &self.0.ignored
    }

    /// The difference it makes, in the order of the file, those who leave last; all of it, or
    /// the rows of one change. Empty before all were compared.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn difference(
        &self,
        ctx: &Context<'_>,
        change: Option<RosterChange>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<RosterRow>> {
        let (identity, caller) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let change = change.map(|change| match change {
            RosterChange::New => Change::New,
            RosterChange::Changed => Change::Changed,
            RosterChange::Unchanged => Change::Unchanged,
            RosterChange::Leaving => Change::Leaving,
            RosterChange::Bad => Change::Bad,
        });
        let (ctx, vault) = (&identity.ctx, &identity.vault);
        let of = (self.0.roster.id, change);
        let rows = queries::difference(ctx, vault, caller, of, &page).await?;
        let language = caller.language;
        let node = |view| RosterRow { view, language };
        Ok(page.connection(rows, |row| Cursor::of(&[&row.place]), node))
    }
}

impl RosterImport {
    fn compared(&self) -> i64 {
        let counts = &self.0.counts;
        counts.new + counts.changed + counts.unchanged + counts.bad
    }

    /// Numbers before the end would tell who matches before it is known whether too many do not.
    fn shown(&self, count: i64) -> Option<i64> {
        let is_shown = matches!(self.0.roster.state, State::Ready | State::Committed { .. });
        is_shown.then_some(count)
    }
}

/// Rosters, read.
#[derive(Debug, Default)]
pub struct RosterQuery;

#[Object]
impl RosterQuery {
    /// A roster that the caller began; null for everybody else's.
    async fn roster_import(&self, ctx: &Context<'_>, id: ID) -> Result<Option<RosterImport>> {
        let Ok(id) = GlobalId::uuid(&id, TYPE) else {
            return Ok(None);
        };
        Ok(load(ctx, id).await?)
    }
}

/// A roster of the caller's own.
pub(crate) async fn load(ctx: &Context<'_>, id: Uuid) -> kit::Result<Option<RosterImport>> {
    let missing = |_| kit::Error::internal("a request without its caller");
    let (identity, caller) = request(ctx).map_err(missing)?;
    let view = queries::roster(&identity.ctx, &identity.vault, caller, id).await?;
    Ok(view.map(RosterImport))
}
