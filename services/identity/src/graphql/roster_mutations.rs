//! Rosters: begun, corrected, downloaded, committed.

use async_graphql::{Context, ID, InputObject, Object, Result};
use uuid::Uuid;

use super::input::{organisation_id, request, uuid};
use super::rosters::{RosterAddress, RosterImport, RosterPurpose, TYPE, load};
use crate::commands::roster_commit::{self, Commit};
use crate::commands::rosters;
use crate::domain::roster::Purpose;
use crate::error::Refusal;
use crate::roster::FILE_BYTES_MAX;

/// Which organisation's roster, and what for.
#[derive(Debug, InputObject)]
pub struct ImportRosterInput {
    /// Which organisation; the caller must be an officer of it, not of one above.
    organisation_id: ID,
    /// What for.
    purpose: RosterPurpose,
    /// Whether it names everybody, so that who is not on it leaves. True for a membership roster
    /// that says nothing; never for a list.
    is_complete: Option<bool>,
}

/// Which roster.
#[derive(Debug, InputObject)]
pub struct CorrectRosterInput {
    /// Which.
    roster_import_id: ID,
}

/// Which roster.
#[derive(Debug, InputObject)]
pub struct DownloadBadRowsInput {
    /// Which.
    roster_import_id: ID,
}

/// Which roster is made true, and how.
#[derive(Debug, InputObject)]
pub struct CommitRosterInput {
    /// Which.
    roster_import_id: ID,
    /// Whether rows that need another look are left out. Then nobody leaves: such a row may be
    /// anybody's.
    #[graphql(default)]
    leave_out_bad_rows: bool,
    /// Minted by the client: the same request again answers the same.
    idempotency_key: Uuid,
}

kit::payload! {
    /// What became of the roster.
    pub struct ImportRosterPayload / ImportRosterUserError / ImportRosterErrorCode {
        /// The roster, waiting for its file.
        roster_import: RosterImport,
        /// Where to put the file: xlsx or csv.
        upload: RosterAddress,
    }
    refuses {
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// Ten people did not match within the hour.
        TooManyFailures,
        /// The officer has begun too many within the hour.
        TooManyRosters,
    }
}

kit::payload! {
    /// Where to put the corrected rows.
    pub struct CorrectRosterPayload / CorrectRosterUserError / CorrectRosterErrorCode {
        /// The roster.
        roster_import: RosterImport,
        /// Where to put the file: the rows that were downloaded, corrected, or some of them.
        upload: RosterAddress,
    }
    refuses {
        /// There is no such roster of one's own.
        RosterNotFound,
        /// It has not been compared yet, or is over.
        RosterNotReady,
        /// No row needs another look.
        RosterHasNoBadRows,
    }
}

kit::payload! {
    /// Where to fetch the rows that need another look.
    pub struct DownloadBadRowsPayload / DownloadBadRowsUserError / DownloadBadRowsErrorCode {
        /// The roster.
        roster_import: RosterImport,
        /// Where to fetch them as xlsx, each with its reasons.
        download: RosterAddress,
    }
    refuses {
        /// There is no such roster of one's own.
        RosterNotFound,
        /// It has not been compared yet, or is over.
        RosterNotReady,
        /// No row needs another look.
        RosterHasNoBadRows,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the roster.
    pub struct CommitRosterPayload / CommitRosterUserError / CommitRosterErrorCode {
        /// The roster, committed.
        roster_import: RosterImport,
    }
    refuses {
        /// There is no such roster of one's own.
        RosterNotFound,
        /// It has not been compared yet, or is over.
        RosterNotReady,
        /// Some rows need another look, and nothing was said of them.
        RosterHasBadRows,
        /// Members have changed since it was compared; it is compared again.
        RosterOutdated,
        /// There is no such organisation.
        OrganisationNotFound,
        /// The organisation is closed.
        OrganisationClosed,
        /// The last operator would leave by it.
        LastOperator,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// Rosters, changed.
#[derive(Debug, Default)]
pub struct RosterMutation;

#[Object]
impl RosterMutation {
    /// Begins a roster. Officers of the organisation itself.
    async fn import_roster(
        &self,
        ctx: &Context<'_>,
        input: ImportRosterInput,
    ) -> Result<ImportRosterPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = organisation_id(&input.organisation_id, Refusal::OrganisationNotFound)?;
            let purpose = match (input.purpose, input.is_complete) {
                (RosterPurpose::Membership, complete) => Purpose::Membership {
                    complete: complete.unwrap_or(true),
                },
                (RosterPurpose::List, None | Some(false)) => Purpose::List,
                (RosterPurpose::List, Some(true)) => {
                    return Err(kit::Error::bad_input(
                        "isComplete",
                        "名单不改变会员关系",
                        "a list changes no membership",
                    ));
                }
            };
            let begun = rosters::import_roster(&identity.ctx, caller, id, purpose).await?;
            let (roster, issued) = begun;
            let view = load(ctx, roster.id).await?;
            let upload = RosterAddress::new(issued, Some(FILE_BYTES_MAX));
            Ok(ImportRosterPayload::done(view, upload))
        };
        ImportRosterPayload::from_result(caller.language, result.await)
    }

    /// An address to upload corrected rows at. The officer who began the roster.
    async fn correct_roster(
        &self,
        ctx: &Context<'_>,
        input: CorrectRosterInput,
    ) -> Result<CorrectRosterPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.roster_import_id, TYPE, Refusal::RosterNotFound)?;
            let (_, issued) = rosters::correct_roster(&identity.ctx, caller, id).await?;
            let upload = RosterAddress::new(issued, Some(FILE_BYTES_MAX));
            Ok(CorrectRosterPayload::done(load(ctx, id).await?, upload))
        };
        CorrectRosterPayload::from_result(caller.language, result.await)
    }

    /// An address to fetch the rows at that need another look. The officer who began the roster.
    async fn download_bad_rows(
        &self,
        ctx: &Context<'_>,
        input: DownloadBadRowsInput,
    ) -> Result<DownloadBadRowsPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.roster_import_id, TYPE, Refusal::RosterNotFound)?;
            let (_, issued) = rosters::download_bad_rows(&identity.ctx, caller, id).await?;
            let download = RosterAddress::new(issued, None);
            Ok(DownloadBadRowsPayload::done(load(ctx, id).await?, download))
        };
        DownloadBadRowsPayload::from_result(caller.language, result.await)
    }

    /// Makes the difference true, all of it or nothing. The officer who began the roster.
    async fn commit_roster(
        &self,
        ctx: &Context<'_>,
        input: CommitRosterInput,
    ) -> Result<CommitRosterPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.roster_import_id, TYPE, Refusal::RosterNotFound)?;
            let commit = Commit {
                roster: id,
                leave_out_bad_rows: input.leave_out_bad_rows,
                key: input.idempotency_key,
            };
            let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
            roster_commit::commit_roster(kit_ctx, vault, caller, commit).await?;
            Ok(CommitRosterPayload::done(load(ctx, id).await?))
        };
        CommitRosterPayload::from_result(caller.language, result.await)
    }
}
