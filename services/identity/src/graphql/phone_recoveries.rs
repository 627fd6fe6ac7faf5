//! A lost phone: another one in its place, by one's document and two people of the union.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;

use super::input::{DocumentType, document, member_id, request};
use crate::Identity;
use crate::commands::phone_claims::{self as claims, Claimed, Shown};
use crate::commands::phone_recoveries::{self as commands, Named};
use crate::domain::identifier::Phone;
use crate::domain::name::PersonName;
use crate::domain::phone_recovery::{Recovery, State};
use crate::domain::verification::NetworkToken;
use crate::error::Refusal;

/// How far the recovery of a phone has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PhoneRecoveryState {
    /// The service of the state is being asked.
    Asked,
    /// An officer who has seen her can confirm it.
    Claimed,
    /// An operator who is another person can approve it.
    Confirmed,
    /// It is carried out when it is due.
    Approved,
}

/// The recovery of a person's phone, while it is open.
#[derive(Clone, Debug, SimpleObject)]
pub struct PhoneRecovery {
    /// How far it has come.
    state: PhoneRecoveryState,
    /// When it ends by itself, unless it is approved.
    expires_at: DateTime<Utc>,
    /// When somebody has confirmed it.
    confirmed_at: Option<DateTime<Utc>>,
    /// When the new phone becomes hers.
    due_at: Option<DateTime<Utc>>,
}

impl From<Recovery> for PhoneRecovery {
    fn from(it: Recovery) -> Self {
        let (state, confirmed, due_at) = match it.state {
            State::Asked => (PhoneRecoveryState::Asked, None, None),
            State::Claimed => (PhoneRecoveryState::Claimed, None, None),
            State::Confirmed(said) => (PhoneRecoveryState::Confirmed, Some(said), None),
            State::Approved {
                confirmed, due_at, ..
            } => (PhoneRecoveryState::Approved, Some(confirmed), Some(due_at)),
        };
        Self {
            state,
            expires_at: it.expires_at,
            confirmed_at: confirmed.map(|said| said.at),
            due_at,
        }
    }
}

/// The new phone.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a phone is never shown")]
pub struct RequestRecoveryCodeInput {
    /// A mobile number, eleven digits.
    phone: String,
}

/// The new phone with the code that it was sent, and who one is.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "none of it is ever shown")]
pub struct RecoverAccountInput {
    /// A mobile number, eleven digits.
    phone: String,
    /// The six digits that it was sent.
    code: String,
    /// The name as the document has it, 2 to 30 characters.
    name: String,
    /// What kind of document the number is from.
    document_type: Option<DocumentType>,
    /// The document's number.
    document_number: Option<String>,
    /// A 网证 of the national service's app, instead of a document.
    network_token: Option<String>,
}

/// Whom the caller has seen, with which document and which phone.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "none of it is ever shown")]
pub struct ConfirmPhoneRecoveryInput {
    /// Who.
    member_id: ID,
    /// The new phone, as she says it.
    phone: String,
    /// What kind of document she has shown.
    document_type: Option<DocumentType>,
    /// The document's number.
    document_number: Option<String>,
    /// Her name, instead of a document, where she claims by 网号.
    name: Option<String>,
}

/// Whom the caller agrees about, with which document and which phone.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "none of it is ever shown")]
pub struct ApprovePhoneRecoveryInput {
    /// Who.
    member_id: ID,
    /// The new phone, as she says it.
    phone: String,
    /// What kind of document she has shown.
    document_type: Option<DocumentType>,
    /// The document's number.
    document_number: Option<String>,
    /// Her name, instead of a document, where she claims by 网号.
    name: Option<String>,
}

/// Whose recovery.
#[derive(Debug, InputObject)]
pub struct StopPhoneRecoveryInput {
    /// Who.
    member_id: ID,
}

kit::payload! {
    /// What became of the code.
    pub struct RequestRecoveryCodePayload / RequestRecoveryCodeUserError
        / RequestRecoveryCodeErrorCode
    {
        /// Until when the code is good that is on its way, if the phone is nobody's.
        expires_at: DateTime<Utc>,
    }
    refuses {
        /// It is no mobile number.
        PhoneInvalid,
        /// One in a minute, five in an hour, ten in a day for a phone.
        TooManyCodes,
        /// Nobody is verified here: one's union helps.
        VerificationOff,
    }
}

kit::payload! {
    /// What became of the claim.
    pub struct RecoverAccountPayload / RecoverAccountUserError / RecoverAccountErrorCode {
        /// Until when one's union can confirm it, if there is such a person.
        expires_at: DateTime<Utc>,
    }
    refuses {
        /// It is no mobile number.
        PhoneInvalid,
        /// It is no name.
        PersonNameInvalid,
        /// It is no number of such a document, or not both of kind and number are there.
        DocumentInvalid,
        /// It is no 网证, or a document was given beside.
        NetworkTokenInvalid,
        /// It is not the code.
        CodeWrong,
        /// It is over or was used, or none was asked for.
        CodeExpired,
        /// Five guesses were wrong: the code is void.
        CodeExhausted,
        /// From this address: three of this document within the day, or ten within the hour.
        TooManyRecoveries,
        /// Nobody is verified here: one's union helps.
        VerificationOff,
    }
}

kit::payload! {
    /// What became of the recovery.
    pub struct ConfirmPhoneRecoveryPayload / ConfirmPhoneRecoveryUserError
        / ConfirmPhoneRecoveryErrorCode
    {
        /// Until when an operator can approve it; once one has, when it is carried out.
        expires_at: DateTime<Utc>,
    }
    refuses {
        /// There is no such member, or the caller does not vouch for her.
        MemberNotFound,
        /// It is no mobile number.
        PhoneInvalid,
        /// It is no number of such a document, or neither or both of document and name are there.
        DocumentInvalid,
        /// It is no name.
        PersonNameInvalid,
        /// Document, name or phone are not those of the claim.
        PersonNotMatched,
        /// Ten people did not match within the hour.
        TooManyFailures,
        /// Nobody has claimed her record, or the claim is not verified yet, or is over.
        RecoveryNotFound,
        /// It is the caller's own.
        RecoveryOfOwn,
        /// She has asked to be forgotten.
        ErasureWaits,
        /// A merge of her record waits, or can be undone still.
        MergeWaits,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the recovery.
    pub struct ApprovePhoneRecoveryPayload / ApprovePhoneRecoveryUserError
        / ApprovePhoneRecoveryErrorCode
    {
        /// When the new phone becomes hers, if nobody takes it back before.
        due_at: DateTime<Utc>,
    }
    refuses {
        /// There is no such member.
        MemberNotFound,
        /// It is no mobile number.
        PhoneInvalid,
        /// It is no number of such a document, or neither or both of document and name are there.
        DocumentInvalid,
        /// It is no name.
        PersonNameInvalid,
        /// Document, name or phone are not those of the claim.
        PersonNotMatched,
        /// Ten people did not match within the hour.
        TooManyFailures,
        /// Nobody has confirmed one, or it is over.
        RecoveryNotFound,
        /// It is the caller's own, or the caller has confirmed it.
        RecoveryOfOwn,
        /// She has asked to be forgotten.
        ErasureWaits,
        /// A merge of her record waits, or can be undone still.
        MergeWaits,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the recovery.
    pub struct RecallPhoneRecoveryPayload / RecallPhoneRecoveryUserError
        / RecallPhoneRecoveryErrorCode
    {
        /// Whose phone stays as it is.
        member_id: ID,
    }
    refuses {
        /// None is open.
        RecoveryNotFound,
    }
}

kit::payload! {
    /// What became of the recovery.
    pub struct StopPhoneRecoveryPayload / StopPhoneRecoveryUserError
        / StopPhoneRecoveryErrorCode
    {
        /// Whose phone stays as it is.
        member_id: ID,
    }
    refuses {
        /// There is no such member.
        MemberNotFound,
        /// None is open.
        RecoveryNotFound,
    }
}

/// A lost phone.
#[derive(Debug, Default)]
pub struct PhoneRecoveryMutation;

#[Object]
impl PhoneRecoveryMutation {
    /// Sends a code to the phone from which one wants to recover one's account.
    async fn request_recovery_code(
        &self,
        ctx: &Context<'_>,
        input: RequestRecoveryCodeInput,
    ) -> Result<RequestRecoveryCodePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let until = claims::request_recovery_code(identity, caller, &phone).await?;
            Ok(RequestRecoveryCodePayload::done(until))
        };
        RequestRecoveryCodePayload::from_result(caller.language, result.await)
    }

    /// Claims one's account from a new phone, by one's document or by 网号. The answer says nothing
    /// about whether there is such an account.
    async fn recover_account(
        &self,
        ctx: &Context<'_>,
        input: RecoverAccountInput,
    ) -> Result<RecoverAccountPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let claimed = Claimed {
                name: PersonName::parse(&input.name)?,
                shown: shown(identity, &input)?,
            };
            let shown = (&phone, input.code.trim());
            let until = claims::recover_account(identity, caller, shown, &claimed).await?;
            Ok(RecoverAccountPayload::done(until))
        };
        RecoverAccountPayload::from_result(caller.language, result.await)
    }

    /// Says that one has seen the person with her document and her new phone. Officers who vouch
    /// for her, and operators.
    async fn confirm_phone_recovery(
        &self,
        ctx: &Context<'_>,
        input: ConfirmPhoneRecoveryInput,
    ) -> Result<ConfirmPhoneRecoveryPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = member_id(&input.member_id)?;
            let phone = Phone::parse(&input.phone)?;
            let document = (input.document_type, input.document_number.as_deref());
            let named = named(identity, document, input.name.as_deref())?;
            let seen = (&phone, &named);
            let until = commands::confirm_phone_recovery(identity, caller, id, seen).await?;
            Ok(ConfirmPhoneRecoveryPayload::done(until))
        };
        ConfirmPhoneRecoveryPayload::from_result(caller.language, result.await)
    }

    /// Agrees with who has confirmed it: the new phone becomes hers in three days, in which her
    /// phone and logins so far can take that back. Operators only.
    async fn approve_phone_recovery(
        &self,
        ctx: &Context<'_>,
        input: ApprovePhoneRecoveryInput,
    ) -> Result<ApprovePhoneRecoveryPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = member_id(&input.member_id)?;
            let phone = Phone::parse(&input.phone)?;
            let document = (input.document_type, input.document_number.as_deref());
            let named = named(identity, document, input.name.as_deref())?;
            let seen = (&phone, &named);
            let due_at = commands::approve_phone_recovery(identity, caller, id, seen).await?;
            Ok(ApprovePhoneRecoveryPayload::done(due_at))
        };
        ApprovePhoneRecoveryPayload::from_result(caller.language, result.await)
    }

    /// Takes the recovery of one's own phone back: one has it still.
    async fn recall_phone_recovery(&self, ctx: &Context<'_>) -> Result<RecallPhoneRecoveryPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let member = commands::recall_phone_recovery(&identity.ctx, caller).await?;
            Ok(RecallPhoneRecoveryPayload::done(GlobalId::of_uuid(
                "Member", member.0,
            )))
        };
        RecallPhoneRecoveryPayload::from_result(caller.language, result.await)
    }

    /// Ends the recovery of a person's phone. Officers who vouch for her, and operators.
    async fn stop_phone_recovery(
        &self,
        ctx: &Context<'_>,
        input: StopPhoneRecoveryInput,
    ) -> Result<StopPhoneRecoveryPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = member_id(&input.member_id)?;
            commands::stop_phone_recovery(&identity.ctx, caller, id).await?;
            Ok(StopPhoneRecoveryPayload::done(input.member_id))
        };
        StopPhoneRecoveryPayload::from_result(caller.language, result.await)
    }
}

fn shown(identity: &Identity, input: &RecoverAccountInput) -> Result<Shown, Refusal> {
    let number = &input.document_number;
    match ((input.document_type, number), &input.network_token) {
        ((Some(kind), Some(number)), None) => document(identity, kind, number).map(Shown::Document),
        ((None, None), Some(token)) => NetworkToken::parse(token).map(Shown::Network),
        (_, Some(_)) => Err(Refusal::NetworkTokenInvalid),
        (_, None) => Err(Refusal::DocumentInvalid),
    }
}

fn named(
    identity: &Identity,
    (kind, number): (Option<DocumentType>, Option<&str>),
    name: Option<&str>,
) -> Result<Named, Refusal> {
    match (kind.zip(number), name) {
        (Some((kind, number)), None) => document(identity, kind, number).map(Named::Document),
        (None, Some(name)) => PersonName::parse(name).map(Named::Name),
        (Some(_), Some(_)) | (None, None) => Err(Refusal::DocumentInvalid),
    }
}
