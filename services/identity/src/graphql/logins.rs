//! Signing in and out.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;
use kit::types::{LoginId, MemberId};

use super::input::{request, uuid};
use super::members::is_current;
use super::outside_logins::origin;
use crate::commands::logins::Everywhere;
use crate::commands::{codes, logins};
use crate::domain::code::{CODE_PAUSE_SECONDS, CODE_SECONDS};
use crate::domain::identifier::Phone;
use crate::error::Refusal;
use crate::queries::logins::{self as queries, LoginView};

/// One signed-in device.
#[derive(Clone, Debug)]
pub struct Login {
    pub(crate) view: LoginView,
    /// Whether it is the one that asks.
    pub(crate) is_current: bool,
}

/// One signed-in device.
#[Object]
impl Login {
    /// Opaque.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::of_uuid("Login", self.view.row.id)
    }

    /// When it was signed in.
    async fn created_at(&self) -> DateTime<Utc> {
        self.view.row.created_at
    }

    /// When it last renewed its tokens.
    async fn used_at(&self) -> DateTime<Utc> {
        self.view.row.used_at
    }

    /// When it ends unless it is used again.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.view.row.expires_at
    }

    /// When it was signed out; null while it counts.
    async fn withdrawn_at(&self) -> Option<DateTime<Utc>> {
        self.view.row.withdrawn_at
    }

    /// What the device called itself when it signed in.
    async fn device(&self) -> Option<&str> {
        self.view.device.as_deref()
    }

    /// The network it signed in from: the first half of its address, `198.51.*.*`.
    async fn network(&self) -> Option<&str> {
        self.view.network.as_deref()
    }

    /// When a second factor was last shown with it; null once it has renewed its tokens.
    async fn stepped_up_at(&self) -> Option<DateTime<Utc>> {
        self.view.row.stepped_up_at
    }

    /// Whether it is the device that asks.
    async fn is_current(&self) -> bool {
        self.is_current
    }
}

/// What a device needs to act for a person.
#[derive(Clone, SimpleObject)]
pub struct LoginTokens {
    /// The login these tokens belong to.
    login_id: ID,
    /// The person who is signed in.
    member_id: ID,
    /// Sent as `Authorization: Bearer …`.
    access_token: String,
    /// Ten minutes from now.
    access_token_expires_at: DateTime<Utc>,
    /// Null: a second factor counts with the token of `verifySecondFactor` alone. A time only where
    /// a development world does without.
    stepped_up_until: Option<DateTime<Utc>>,
    /// Good once: `refreshLogin` answers with the next one.
    refresh_token: String,
    /// When the login ends unless it is used again.
    refresh_token_expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for LoginTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginTokens").finish_non_exhaustive()
    }
}

impl From<logins::Session> for LoginTokens {
    fn from(session: logins::Session) -> Self {
        Self {
            login_id: GlobalId::of_uuid("Login", session.login.0),
            member_id: GlobalId::of_uuid("Member", session.member.0),
            access_token: session.access.token,
            access_token_expires_at: session.access.expires_at,
            stepped_up_until: session.access.stepped_up_until,
            refresh_token: session.refresh_token,
            refresh_token_expires_at: session.refresh_expires_at,
        }
    }
}

/// When the code that was asked for ends, and when another may be asked for.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub struct LoginCodeRequest {
    /// The code is good for so many seconds.
    expires_in_seconds: i64,
    /// Another code may be asked for after so many seconds.
    retry_after_seconds: i64,
}

/// Which phone a code is sent to.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a phone is never shown")]
pub struct RequestLoginCodeInput {
    /// A mobile number, eleven digits.
    phone: String,
}

/// The phone and the code it was sent.
#[derive(InputObject)]
#[expect(
    missing_debug_implementations,
    reason = "phone and code are never shown"
)]
pub struct LoginInput {
    /// A mobile number, eleven digits.
    phone: String,
    /// The six digits.
    code: String,
    /// What the device calls itself, 1 to 40 characters: shown to its person among her logins.
    device: Option<String>,
}

/// The refresh token.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a token is never shown")]
pub struct RefreshLoginInput {
    /// From `login` or the last `refreshLogin`.
    refresh_token: String,
}

/// Which device is signed out.
#[derive(Debug, InputObject)]
pub struct WithdrawLoginInput {
    /// One of one's own logins.
    login_id: ID,
}

/// Which devices are signed out.
#[derive(Debug, InputObject)]
pub struct SignOutEverywhereInput {
    /// Whether the device that asks stays signed in.
    #[graphql(default)]
    keep_this_device: bool,
    /// Whether every way to sign in but the phone is taken away too: for who did not link it.
    #[graphql(default)]
    unlink_login_methods: bool,
}

kit::payload! {
    /// What became of the request for a code: the same for every phone, known or not.
    pub struct RequestLoginCodePayload / RequestLoginCodeUserError / RequestLoginCodeErrorCode {
        /// The code that is on its way, if the phone belongs to a member.
        request: LoginCodeRequest,
    }
    refuses {
        /// It is no mobile number.
        PhoneInvalid,
        /// One in a minute, five in an hour, ten in a day for a phone.
        TooManyCodes,
    }
}

kit::payload! {
    /// What became of signing in.
    pub struct LoginPayload / LoginUserError / LoginErrorCode {
        /// The device's tokens.
        tokens: LoginTokens,
    }
    refuses {
        /// It is no mobile number.
        PhoneInvalid,
        /// It is not the code.
        CodeWrong,
        /// The code is over or was used.
        CodeExpired,
        /// Five guesses were wrong: the code is void.
        CodeExhausted,
        /// The device's name is empty or too long.
        DeviceInvalid,
    }
}

kit::payload! {
    /// What became of renewing the tokens.
    pub struct RefreshLoginPayload / RefreshLoginUserError / RefreshLoginErrorCode {
        /// The device's next tokens.
        tokens: LoginTokens,
    }
    refuses {
        /// It is unknown, over, withdrawn, or was used before: sign in again.
        RefreshTokenInvalid,
    }
}

kit::payload! {
    /// What became of signing out.
    pub struct LogoutPayload / LogoutUserError / LogoutErrorCode {
        /// The login that ended.
        login_id: ID,
    }
    refuses {}
}

kit::payload! {
    /// What became of signing another device out.
    pub struct WithdrawLoginPayload / WithdrawLoginUserError / WithdrawLoginErrorCode {
        /// The login as it is now.
        login: Login,
    }
    refuses {
        /// There is no such login of one's own.
        LoginNotFound,
    }
}

kit::payload! {
    /// What became of signing out on all devices.
    pub struct SignOutEverywherePayload / SignOutEverywhereUserError / SignOutEverywhereErrorCode {
        /// So many logins ended.
        ended: i32,
        /// So many ways to sign in were taken away.
        unlinked: i32,
    }
    refuses {}
}

/// Signing in and out.
#[derive(Debug, Default)]
pub struct LoginMutation;

#[Object]
impl LoginMutation {
    /// Sends a login code of six digits by SMS, good for five minutes. The answer says nothing
    /// about whether the phone belongs to a member.
    async fn request_login_code(
        &self,
        ctx: &Context<'_>,
        input: RequestLoginCodeInput,
    ) -> Result<RequestLoginCodePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let per_hour = identity.settings.codes_per_address_hour_max;
            codes::request_login_code(&identity.ctx, &identity.vault, caller, &phone, per_hour)
                .await?;
            Ok(RequestLoginCodePayload::done(LoginCodeRequest {
                expires_in_seconds: CODE_SECONDS,
                retry_after_seconds: CODE_PAUSE_SECONDS,
            }))
        };
        RequestLoginCodePayload::from_result(caller.language, result.await)
    }

    /// Signs in with a code.
    async fn login(&self, ctx: &Context<'_>, input: LoginInput) -> Result<LoginPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let code = input.code.trim();
            let origin = origin(caller, input.device.as_deref())?;
            let session = logins::login(identity, &phone, code, &origin).await?;
            Ok(LoginPayload::done(LoginTokens::from(session)))
        };
        LoginPayload::from_result(caller.language, result.await)
    }

    /// Trades a refresh token for new tokens. They say of no second factor: the access token before
    /// them does so for as long as it lasts.
    async fn refresh_login(
        &self,
        ctx: &Context<'_>,
        input: RefreshLoginInput,
    ) -> Result<RefreshLoginPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let token = &input.refresh_token;
            let session = logins::refresh_login(identity, token).await?;
            Ok(RefreshLoginPayload::done(LoginTokens::from(session)))
        };
        RefreshLoginPayload::from_result(caller.language, result.await)
    }

    /// Signs this device out; its tokens stop counting everywhere within seconds.
    async fn logout(&self, ctx: &Context<'_>) -> Result<LogoutPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let LoginId(id) = logins::logout(&identity.ctx, caller).await?;
            Ok(LogoutPayload::done(GlobalId::of_uuid("Login", id)))
        };
        LogoutPayload::from_result(caller.language, result.await)
    }

    /// Signs another device of one's own out.
    async fn withdraw_login(
        &self,
        ctx: &Context<'_>,
        input: WithdrawLoginInput,
    ) -> Result<WithdrawLoginPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let id = uuid(&input.login_id, "Login", Refusal::LoginNotFound)?;
            let row = logins::withdraw_login(&identity.ctx, caller, LoginId(id)).await?;
            let (kit_ctx, vault) = (&identity.ctx, &identity.vault);
            let view = queries::login(kit_ctx, vault, MemberId(row.member), row.id).await?;
            Ok(WithdrawLoginPayload::done(view.map(|view| Login {
                is_current: is_current(caller, view.row.id),
                view,
            })))
        };
        WithdrawLoginPayload::from_result(caller.language, result.await)
    }

    /// Signs out on all one's devices; their tokens stop counting everywhere within seconds. Where
    /// somebody else was signed in, all ways to sign in but the phone are taken away with it.
    async fn sign_out_everywhere(
        &self,
        ctx: &Context<'_>,
        input: SignOutEverywhereInput,
    ) -> Result<SignOutEverywherePayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let how = Everywhere {
                keeps_this_device: input.keep_this_device,
                unlinks: input.unlink_login_methods,
            };
            let ended = logins::sign_out_everywhere(&identity.ctx, caller, how).await?;
            Ok(SignOutEverywherePayload::done(
                i32::try_from(ended.logins).unwrap_or(i32::MAX),
                i32::try_from(ended.methods).unwrap_or(i32::MAX),
            ))
        };
        SignOutEverywherePayload::from_result(caller.language, result.await)
    }
}
