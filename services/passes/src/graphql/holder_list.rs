//! Lists of holders, as an officer asks for one.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use kit::graphql::GlobalId;
use kit::types::OrganisationId;
use uuid::Uuid;

use super::{caller, language, service};
use crate::domain::ListPurpose;

/// What an officer needs a list of holders for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "ListPurpose")]
pub(super) enum PassHolderListPurpose {
    /// She plans an outing of those who hold passes.
    Outing,
    /// She compares what the union gave with who has it.
    Benefits,
}

/// Whose passes, and what for.
#[derive(Clone, Debug, InputObject)]
pub(super) struct RequestPassHolderListInput {
    /// An organisation that one is an officer of or above; those below it count too.
    organisation_id: ID,
    /// What it is needed for: it stands in the file and in the audit.
    purpose: PassHolderListPurpose,
    /// Minted by the client: the same key asks for one list.
    idempotency_key: Uuid,
}

kit::payload! {
    /// What became of the request for a list.
    pub(super) struct RequestPassHolderListPayload / RequestPassHolderListUserError
        / RequestPassHolderListErrorCode {
        /// The file, among `me.renderedFiles` a moment later: `downloadRenderedFile` gives the
        /// address to fetch it at, once.
        file_id: ID,
    }
    refuses {
        /// Nobody there has a pass that can be used.
        NoHolders,
        /// More people than a list has rows.
        TooManyHolders,
        /// As many lists as one may ask for in a day.
        TooManyLists,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// Lists of holders.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HolderListMutation;

#[Object]
impl HolderListMutation {
    /// Has a list made of those of an organisation's people who hold passes that can be used. It
    /// shows names, so identity makes it, for who asks alone and once. Officers only.
    async fn request_pass_holder_list(
        &self,
        ctx: &Context<'_>,
        input: RequestPassHolderListInput,
    ) -> Result<RequestPassHolderListPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let organisation = GlobalId::uuid(&input.organisation_id, "Organisation")?;
            let of = (OrganisationId(organisation), input.purpose.into());
            let id = passes
                .request_holder_list(caller, of, input.idempotency_key)
                .await?;
            let file = GlobalId::of_uuid("RenderedFile", id);
            Ok(RequestPassHolderListPayload::done(file))
        };
        RequestPassHolderListPayload::from_result(language(ctx), done.await)
    }
}
