//! Two records of one person made one, and two again.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;

use super::input::{DocumentType, document, member_id, request};
use crate::commands::merges;
use crate::domain::merge::{Pair, Step};

/// Which two records are one person's.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a number is never shown")]
pub struct MergeMembersInput {
    /// The record that stays.
    survivor_id: ID,
    /// The record that becomes a name for it.
    merged_id: ID,
    /// What kind of document the person shows.
    document_type: DocumentType,
    /// Its number: one of the two records must have it.
    document_number: String,
}

/// Which merge is undone.
#[derive(Debug, InputObject)]
pub struct SplitMembersInput {
    /// The record that was merged into another one.
    merged_id: ID,
}

/// How a merge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum MemberMergeState {
    /// It waits for another operator.
    Asked,
    /// The two records are one.
    Done,
    /// They are two again.
    Undone,
}

/// Two records of one person made one.
#[derive(Debug, SimpleObject)]
pub struct MemberMerge {
    /// The record that stays.
    survivor_id: ID,
    /// The record that becomes a name for it.
    merged_id: ID,
    /// How it stands.
    state: MemberMergeState,
    /// Until when another operator may ask for the same; null when it does not wait.
    expires_at: Option<DateTime<Utc>>,
    /// Until when it can be undone; null when it is not done.
    undo_until: Option<DateTime<Utc>>,
}

kit::payload! {
    /// What became of the two records.
    pub struct MergeMembersPayload / MergeMembersUserError / MergeMembersErrorCode {
        /// The merge.
        merge: MemberMerge,
    }
    refuses {
        /// There is no such record.
        MemberNotFound,
        /// It is no number of such a document.
        DocumentInvalid,
        /// Neither record has the document, or their names differ.
        PersonNotMatched,
        /// Ten people did not match within the hour.
        TooManyFailures,
        /// Both are the same record.
        MergeOfOne,
        /// One of them is the operator's own.
        MergeOfOwn,
        /// A merge into another record waits.
        MergePending,
        /// The record has others merged into it: it stays, and the other one goes.
        MergedBefore,
        /// The record holds roles, which must be withdrawn first.
        HoldsRole,
        /// Both have a document of one kind.
        DocumentsDiffer,
        /// One of the two has asked to be forgotten.
        ErasureWaits,
        /// A copy of the data of one of the two is being gathered, which takes minutes.
        ExportWaits,
        /// A recovery of the phone of one of the two is under way.
        RecoveryWaits,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the two records.
    pub struct SplitMembersPayload / SplitMembersUserError / SplitMembersErrorCode {
        /// The merge.
        merge: MemberMerge,
    }
    refuses {
        /// There is no such record.
        MemberNotFound,
        /// It was not merged into another one, or is not any more.
        MergeNotFound,
        /// One of them is the operator's own.
        MergeOfOwn,
        /// Ten days are over.
        UndoOver,
        /// It is just being asked what keeps both from being forgotten, which takes minutes.
        ErasureWaits,
        /// A recovery of her phone is under way.
        RecoveryWaits,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// Records, made one and two.
#[derive(Debug, Default)]
pub struct MergeMutation;

#[Object]
impl MergeMutation {
    /// Asks for two records of one person to be made one; when another operator has asked the same
    /// within the last day, they are. Operators only, who have seen the person's document.
    async fn merge_members(
        &self,
        ctx: &Context<'_>,
        input: MergeMembersInput,
    ) -> Result<MergeMembersPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let pair = Pair {
                survivor: member_id(&input.survivor_id)?,
                merged: member_id(&input.merged_id)?,
            };
            let document = document(identity, input.document_type, &input.document_number)?;
            let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
            let step = merges::merge_members(kit_ctx, vault, caller, pair, &document).await?;
            let (state, expires_at, undo_until) = match step {
                Step::Begins { expires_at } | Step::Waits { expires_at } => {
                    (MemberMergeState::Asked, Some(expires_at), None)
                }
                Step::Done { undo_until } => (MemberMergeState::Done, None, Some(undo_until)),
            };
            Ok(MergeMembersPayload::done(MemberMerge {
                survivor_id: input.survivor_id,
                merged_id: input.merged_id,
                state,
                expires_at,
                undo_until,
            }))
        };
        MergeMembersPayload::from_result(caller.language, result.await)
    }

    /// Makes the two records of a merge two again, within ten days. Operators only.
    async fn split_members(
        &self,
        ctx: &Context<'_>,
        input: SplitMembersInput,
    ) -> Result<SplitMembersPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let merged = member_id(&input.merged_id)?;
            let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
            let pair = merges::split_members(kit_ctx, vault, caller, merged).await?;
            Ok(SplitMembersPayload::done(MemberMerge {
                survivor_id: GlobalId::of_uuid("Member", pair.survivor.0),
                merged_id: input.merged_id,
                state: MemberMergeState::Undone,
                expires_at: None,
                undo_until: None,
            }))
        };
        SplitMembersPayload::from_result(caller.language, result.await)
    }
}
