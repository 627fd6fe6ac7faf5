//! Files with names in them that services asked for, as the officer they are for fetches them.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;

use super::input::{request, uuid};
use super::organisations::Organisation;
use crate::commands::renderings as commands;
use crate::commands::rosters::Issued;
use crate::domain::rendering::State;
use crate::error::Refusal;
use crate::queries::renderings::RenderingView;
use crate::rest::renderings::FILES_PATH;

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum RenderedFileState {
    /// It can be fetched, once.
    Ready,
    /// One is no officer there, it names others than the organisation's people, or is too large.
    Refused,
    /// It was fetched.
    Fetched,
    /// Nobody fetched it in time.
    Expired,
}

/// A file with names in it.
#[derive(Clone, Debug)]
pub struct RenderedFile(pub(crate) RenderingView);

/// A file with names in it that a service asked for, for one officer.
#[Object]
impl RenderedFile {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("RenderedFile", self.0.rendering.id)
    }

    /// How far it has come.
    async fn state(&self) -> RenderedFileState {
        match self.0.rendering.state {
            State::Ready(_) => RenderedFileState::Ready,
            State::Refused(_) => RenderedFileState::Refused,
            State::Fetched => RenderedFileState::Fetched,
            State::Expired => RenderedFileState::Expired,
        }
    }

    /// What it is called.
    async fn title(&self) -> &str {
        &self.0.rendering.title
    }

    /// Whose people are in it.
    async fn organisation(&self) -> Organisation {
        Organisation(self.0.organisation.clone())
    }

    /// When it is forgotten.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.rendering.expires_at
    }
}

/// An address that gives a file, once.
#[derive(Clone, SimpleObject)]
pub struct RenderedFileAddress {
    /// The path on the host of files. Whoever has it has the file: show it to nobody.
    path: String,
    /// When it ends.
    expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for RenderedFileAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RenderedFileAddress")
    }
}

impl From<Issued> for RenderedFileAddress {
    fn from(issued: Issued) -> Self {
        Self {
            path: format!("{FILES_PATH}{}", issued.token),
            expires_at: issued.expires_at,
        }
    }
}

/// A file, to be fetched.
#[derive(Debug, InputObject)]
pub struct DownloadRenderedFileInput {
    /// Which file.
    file_id: ID,
}

kit::payload! {
    /// Where to fetch the file.
    pub struct DownloadRenderedFilePayload / DownloadRenderedFileUserError
        / DownloadRenderedFileErrorCode {
        /// The address.
        download: RenderedFileAddress,
    }
    refuses {
        /// There is no such file for one.
        RenderingNotFound,
        /// It was fetched, or is forgotten.
        RenderingOver,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// Files with names in them, fetched.
#[derive(Debug, Default)]
pub struct RenderingMutation;

#[Object]
impl RenderingMutation {
    /// An address to fetch a file at, within ten minutes. The file is given once for ever.
    async fn download_rendered_file(
        &self,
        ctx: &Context<'_>,
        input: DownloadRenderedFileInput,
    ) -> Result<DownloadRenderedFilePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.file_id, "RenderedFile", Refusal::RenderingNotFound)?;
            let issued = commands::download_rendering(&identity.ctx, caller, id).await?;
            let address = RenderedFileAddress::from(issued);
            Ok(DownloadRenderedFilePayload::done(address))
        };
        DownloadRenderedFilePayload::from_result(caller.language, result.await)
    }
}
