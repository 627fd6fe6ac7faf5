//! Signing in by an OIDC issuer.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};

use super::input::request;
use super::logins::LoginTokens;
use super::outside_logins::{LoginLink, origin, parts};
use crate::commands::oidc_logins::{self as commands, Challenge, Sent};
use crate::domain::subject::OutsideCode;

/// Where a person is sent to sign in.
#[derive(Clone, SimpleObject)]
pub struct OidcLogin {
    /// The issuer's page.
    url: String,
    /// Comes back to the client with the code; a client takes no other one.
    state: String,
    /// Until when she may come back.
    expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for OidcLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OidcLogin")
    }
}

impl From<Sent> for OidcLogin {
    fn from(sent: Sent) -> Self {
        Self {
            url: sent.url,
            state: sent.state,
            expires_at: sent.expires_at,
        }
    }
}

/// Which issuer, and for which client.
#[derive(Debug, InputObject)]
pub struct BeginOidcLoginInput {
    /// The name that the union gave it.
    issuer: String,
    /// SHA-256 of a secret that the client makes for this login, in base64url without padding: 43
    /// characters. It keeps the secret for `loginWithOidc` and `linkLogin`.
    challenge: String,
}

/// What came back from the issuer.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a code is never shown")]
pub struct LoginWithOidcInput {
    /// From `beginOidcLogin`, and the same as came back.
    state: String,
    /// The code that came back.
    code: String,
    /// The secret of the challenge: 43 to 128 characters.
    secret: String,
    /// What the device calls itself, 1 to 40 characters.
    device: Option<String>,
}

kit::payload! {
    /// What became of the way to an issuer.
    pub struct BeginOidcLoginPayload / BeginOidcLoginUserError / BeginOidcLoginErrorCode {
        /// Where the person is sent.
        login: OidcLogin,
    }
    refuses {
        /// There is no such issuer.
        LoginKindOff,
        /// It is no hash in base64url.
        ChallengeInvalid,
        /// Too many logins from one address.
        TooManyLogins,
    }
}

kit::payload! {
    /// What became of signing in by an issuer: the tokens, or a link where its subject is nobody's
    /// yet.
    pub struct LoginWithOidcPayload / LoginWithOidcUserError / LoginWithOidcErrorCode {
        /// The device's tokens.
        tokens: LoginTokens,
        /// What she is linked by.
        link: LoginLink,
    }
    refuses {
        /// The state is wrong, over, used, or not of this secret: begin anew.
        OidcStateExpired,
        /// The issuer does not take the code, or its word is not to be believed.
        OutsideCodeInvalid,
        /// There is no such issuer any more.
        LoginKindOff,
        /// The device's name is empty or too long.
        DeviceInvalid,
    }
}

/// Signing in by an OIDC issuer.
#[derive(Debug, Default)]
pub struct OidcLoginMutation;

#[Object]
impl OidcLoginMutation {
    /// Sends a person to an OIDC issuer.
    async fn begin_oidc_login(
        &self,
        ctx: &Context<'_>,
        input: BeginOidcLoginInput,
    ) -> Result<BeginOidcLoginPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let challenge = Challenge::parse(&input.challenge)?;
            let sent = commands::begin(identity, caller, &input.issuer, challenge).await?;
            Ok(BeginOidcLoginPayload::done(OidcLogin::from(sent)))
        };
        BeginOidcLoginPayload::from_result(caller.language, result.await)
    }

    /// Signs in whom an OIDC issuer has sent back.
    async fn login_with_oidc(
        &self,
        ctx: &Context<'_>,
        input: LoginWithOidcInput,
    ) -> Result<LoginWithOidcPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let code = OutsideCode::parse(&input.code)?;
            let origin = origin(caller, input.device.as_deref())?;
            let proof = (input.state.as_str(), input.secret.as_str());
            let entered = commands::finish(identity, proof, &code, &origin).await?;
            let (tokens, link) = parts(entered);
            Ok(LoginWithOidcPayload::done(tokens, link))
        };
        LoginWithOidcPayload::from_result(caller.language, result.await)
    }
}
