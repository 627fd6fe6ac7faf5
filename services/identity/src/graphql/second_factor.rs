//! The second factor: set up, confirmed, shown, renewed, and taken away.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;

use super::input::{member_id, request};
use crate::commands::second_factor::{self as commands, Enrolment};
use crate::commands::second_factor_reset;
use crate::commands::tokens::Access;
use crate::domain::second_factor::Given;
use crate::domain::two_operators::Step;
use crate::queries::logins::SecondFactorView;

/// One's own second factor.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub struct SecondFactor {
    /// Since when it counts.
    confirmed_at: DateTime<Utc>,
    /// Recovery codes that were not used yet.
    recovery_codes_left: i32,
}

impl From<SecondFactorView> for SecondFactor {
    fn from(view: SecondFactorView) -> Self {
        Self {
            confirmed_at: view.confirmed_at,
            recovery_codes_left: view.recovery_codes_left,
        }
    }
}

/// What an authenticator is set up with. It is shown this once.
#[derive(Clone, SimpleObject)]
pub struct SecondFactorEnrolment {
    /// `otpauth://…`: the client draws a code of it that the authenticator reads.
    provisioning_uri: String,
    /// The secret for typing it in, in base 32.
    secret: String,
    /// Until when its first code must have been sent to `confirmSecondFactor`.
    expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for SecondFactorEnrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecondFactorEnrolment")
    }
}

impl From<Enrolment> for SecondFactorEnrolment {
    fn from(enrolment: Enrolment) -> Self {
        Self {
            provisioning_uri: enrolment.uri,
            secret: enrolment.secret,
            expires_at: enrolment.expires_at,
        }
    }
}

/// An access token that says that the second factor was shown; it takes the place of the one
/// before. The refresh token stays as it is.
#[derive(Clone, SimpleObject)]
pub struct SteppedUpToken {
    /// Sent as `Authorization: Bearer …`.
    access_token: String,
    /// Ten minutes from now.
    access_token_expires_at: DateTime<Utc>,
    /// Until when the second factor counts.
    stepped_up_until: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for SteppedUpToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SteppedUpToken").finish_non_exhaustive()
    }
}

impl From<Access> for SteppedUpToken {
    fn from(access: Access) -> Self {
        Self {
            access_token: access.token,
            access_token_expires_at: access.expires_at,
            stepped_up_until: access.stepped_up_until,
        }
    }
}

/// How far the reset of a second factor by two operators has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum SecondFactorResetState {
    /// Another operator must ask the same.
    Asked,
    /// The second factor is gone, and every login of the person has ended.
    Done,
}

/// The reset of a person's second factor by two operators.
#[derive(Clone, Debug, SimpleObject)]
pub struct SecondFactorReset {
    /// Whose.
    member_id: ID,
    /// How far it has come.
    state: SecondFactorResetState,
    /// Until when another operator must ask the same; null when it is done.
    expires_at: Option<DateTime<Utc>>,
}

/// A code of the second factor.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a code is never shown")]
pub struct ConfirmSecondFactorInput {
    /// The six digits that the authenticator shows.
    code: String,
}

/// A code of the second factor.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a code is never shown")]
pub struct VerifySecondFactorInput {
    /// The six digits that the authenticator shows, or one of the recovery codes.
    code: String,
}

/// Whose second factor is reset.
#[derive(Debug, InputObject)]
pub struct ResetSecondFactorInput {
    /// Who.
    member_id: ID,
}

kit::payload! {
    /// What became of setting a second factor up.
    pub struct EnrolSecondFactorPayload / EnrolSecondFactorUserError / EnrolSecondFactorErrorCode {
        /// What the authenticator is set up with.
        enrolment: SecondFactorEnrolment,
    }
    refuses {
        /// A first second factor is set up within fifteen minutes of signing in.
        LoginNotFresh,
        /// Who holds a role sets the first one up with a login by SMS.
        LoginNotByPhone,
        /// There is one already, and it was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of the first code.
    pub struct ConfirmSecondFactorPayload / ConfirmSecondFactorUserError
        / ConfirmSecondFactorErrorCode
    {
        /// Ten codes for a lost authenticator, each good once. They are shown this once.
        recovery_codes: Vec<String>,
        /// The token that says that the second factor was shown.
        token: SteppedUpToken,
    }
    refuses {
        /// None was begun within the last ten minutes.
        SecondFactorAbsent,
        /// It is not the code.
        SecondFactorWrong,
        /// Five codes were wrong within the hour, or twenty within the day.
        TooManyTries,
        /// There is one already, and it was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of showing the second factor.
    pub struct VerifySecondFactorPayload / VerifySecondFactorUserError
        / VerifySecondFactorErrorCode
    {
        /// The token that says that the second factor was shown.
        token: SteppedUpToken,
        /// Recovery codes that were not used yet.
        recovery_codes_left: i32,
    }
    refuses {
        /// None was set up.
        SecondFactorAbsent,
        /// It is not the code.
        SecondFactorWrong,
        /// It was taken before, or a later one was.
        SecondFactorUsed,
        /// Five codes were wrong within the hour, or twenty within the day.
        TooManyTries,
    }
}

kit::payload! {
    /// What became of the recovery codes.
    pub struct RenewRecoveryCodesPayload / RenewRecoveryCodesUserError
        / RenewRecoveryCodesErrorCode
    {
        /// Ten new codes; those before are void. They are shown this once.
        recovery_codes: Vec<String>,
    }
    refuses {
        /// None was set up.
        SecondFactorAbsent,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of one's own second factor.
    pub struct RemoveSecondFactorPayload / RemoveSecondFactorUserError
        / RemoveSecondFactorErrorCode
    {
        /// Whose it was. Her other devices were signed out.
        member_id: ID,
    }
    refuses {
        /// None was set up.
        SecondFactorAbsent,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of another person's second factor.
    pub struct ResetSecondFactorPayload / ResetSecondFactorUserError / ResetSecondFactorErrorCode {
        /// How far it has come.
        reset: SecondFactorReset,
    }
    refuses {
        /// There is no such member.
        MemberNotFound,
        /// She has none.
        SecondFactorAbsent,
        /// Nobody resets her own.
        ResetOfOwn,
        /// The operator was none for seven days before the first one asked.
        OperatorTooNew,
        /// The operator's second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// The second factor.
#[derive(Debug, Default)]
pub struct SecondFactorMutation;

#[Object]
impl SecondFactorMutation {
    /// Begins to set a second factor up: an authenticator that shows six digits each half minute.
    /// Asked again, it begins anew. One that counts already does so until the new one is confirmed.
    async fn enrol_second_factor(&self, ctx: &Context<'_>) -> Result<EnrolSecondFactorPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let enrolment = commands::enrol(identity, caller).await?;
            Ok(EnrolSecondFactorPayload::done(SecondFactorEnrolment::from(
                enrolment,
            )))
        };
        EnrolSecondFactorPayload::from_result(caller.language, result.await)
    }

    /// Confirms the second factor by its first code.
    async fn confirm_second_factor(
        &self,
        ctx: &Context<'_>,
        input: ConfirmSecondFactorInput,
    ) -> Result<ConfirmSecondFactorPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let given = Given::parse(&input.code)?;
            let confirmed = commands::confirm(identity, caller, &given).await?;
            let token = SteppedUpToken::from(confirmed.access);
            Ok(ConfirmSecondFactorPayload::done(
                confirmed.recovery_codes,
                token,
            ))
        };
        ConfirmSecondFactorPayload::from_result(caller.language, result.await)
    }

    /// Shows the second factor: for ten minutes this login may do what a stolen token must not,
    /// as grant roles. Each code is good once.
    async fn verify_second_factor(
        &self,
        ctx: &Context<'_>,
        input: VerifySecondFactorInput,
    ) -> Result<VerifySecondFactorPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let given = Given::parse(&input.code)?;
            let shown = commands::verify(identity, caller, &given).await?;
            let token = SteppedUpToken::from(shown.access);
            Ok(VerifySecondFactorPayload::done(
                token,
                shown.recovery_codes_left,
            ))
        };
        VerifySecondFactorPayload::from_result(caller.language, result.await)
    }

    /// Ten new recovery codes in the place of those before.
    async fn renew_recovery_codes(&self, ctx: &Context<'_>) -> Result<RenewRecoveryCodesPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
            let codes = commands::renew_recovery_codes(kit_ctx, vault, caller).await?;
            Ok(RenewRecoveryCodesPayload::done(codes))
        };
        RenewRecoveryCodesPayload::from_result(caller.language, result.await)
    }

    /// Takes one's own second factor away, and signs the other devices out.
    async fn remove_second_factor(&self, ctx: &Context<'_>) -> Result<RemoveSecondFactorPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let member = commands::remove(&identity.ctx, caller).await?;
            let id = GlobalId::of_uuid("Member", member.0);
            Ok(RemoveSecondFactorPayload::done(id))
        };
        RemoveSecondFactorPayload::from_result(caller.language, result.await)
    }

    /// Asks for the second factor of a person who has lost it to be taken away; when another
    /// operator has asked the same within the last day, it is. Operators of a week at least only;
    /// she is told of both.
    async fn reset_second_factor(
        &self,
        ctx: &Context<'_>,
        input: ResetSecondFactorInput,
    ) -> Result<ResetSecondFactorPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let of = member_id(&input.member_id)?;
            let (state, expires_at) =
                match second_factor_reset::reset(&identity.ctx, caller, of).await? {
                    Step::Begins { expires_at } | Step::Waits { expires_at } => {
                        (SecondFactorResetState::Asked, Some(expires_at))
                    }
                    Step::Done => (SecondFactorResetState::Done, None),
                };
            Ok(ResetSecondFactorPayload::done(SecondFactorReset {
                member_id: input.member_id,
                state,
                expires_at,
            }))
        };
        ResetSecondFactorPayload::from_result(caller.language, result.await)
    }
}
