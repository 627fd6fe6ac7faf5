//! Another phone, by both phones.

use async_graphql::{Context, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;
use uuid::Uuid;

use super::input::request;
use crate::commands::phone_changes as commands;
use crate::domain::identifier::Phone;

/// The phone that one wants to sign in with from now on.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a phone is never shown")]
pub struct RequestPhoneChangeInput {
    /// A mobile number, eleven digits.
    phone: String,
    /// Minted by the client: the same key is the same change.
    idempotency_key: Uuid,
}

/// The codes of both phones.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a code is never shown")]
pub struct ChangePhoneInput {
    /// The six digits that the phone so far was sent.
    old_code: String,
    /// The six digits that the new phone was sent.
    new_code: String,
}

kit::payload! {
    /// What became of a change's begin.
    pub struct RequestPhoneChangePayload / RequestPhoneChangeUserError
        / RequestPhoneChangeErrorCode
    {
        /// Until when both codes are good.
        expires_at: DateTime<Utc>,
    }
    refuses {
        /// It is no mobile number.
        PhoneInvalid,
        /// It is the one that one has.
        PhoneUnchanged,
        /// One has no phone here; an operator gives one.
        PhoneAbsent,
        /// Codes to one of the phones, or changes, were asked for too often.
        TooManyCodes,
        /// One has a second factor and has not shown it within the last ten minutes.
        StepUpRequired,
        /// One has asked to be forgotten.
        ErasureWaits,
        /// A merge of one's record with another one waits for its second operator.
        MergeWaits,
        /// Another record was merged into one's own, and can be split from it.
        MergeUndoable,
        /// A recovery of one's phone is under way; one takes it back first.
        RecoveryWaits,
        /// One is no longer a member.
        MemberNotFound,
    }
}

kit::payload! {
    /// What became of the change.
    pub struct ChangePhonePayload / ChangePhoneUserError / ChangePhoneErrorCode {
        /// Who has another phone now.
        member_id: ID,
    }
    refuses {
        /// One of them is not the code.
        CodeWrong,
        /// A code is over or was used, or no change was asked for.
        CodeExpired,
        /// Five guesses were wrong: the code is void.
        CodeExhausted,
        /// The phone is another's.
        PersonNotMatched,
        /// One has asked to be forgotten since.
        ErasureWaits,
        /// A merge of one's record with another one waits for its second operator.
        MergeWaits,
        /// Another record was merged into one's own, and can be split from it.
        MergeUndoable,
        /// A recovery of one's phone is under way; one takes it back first.
        RecoveryWaits,
        /// One has no phone here; an operator gives one.
        PhoneAbsent,
        /// One is no longer a member.
        MemberNotFound,
    }
}

/// Another phone.
#[derive(Debug, Default)]
pub struct PhoneChangeMutation;

#[Object]
impl PhoneChangeMutation {
    /// Sends a code to the phone so far and one to the new phone.
    async fn request_phone_change(
        &self,
        ctx: &Context<'_>,
        input: RequestPhoneChangeInput,
    ) -> Result<RequestPhoneChangePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let key = input.idempotency_key;
            let until = commands::request_phone_change(identity, caller, &phone, key).await?;
            Ok(RequestPhoneChangePayload::done(until))
        };
        RequestPhoneChangePayload::from_result(caller.language, result.await)
    }

    /// Makes the new phone the one that one signs in with; every other login of one's own ends.
    async fn change_phone(
        &self,
        ctx: &Context<'_>,
        input: ChangePhoneInput,
    ) -> Result<ChangePhonePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let given = (input.old_code.trim(), input.new_code.trim());
            let member = commands::change_phone(identity, caller, given).await?;
            Ok(ChangePhonePayload::done(GlobalId::of_uuid(
                "Member", member.0,
            )))
        };
        ChangePhonePayload::from_result(caller.language, result.await)
    }
}
