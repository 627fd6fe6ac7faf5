//! Signing in by another party's word, and the ways in which a person signs in.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};

use super::input::{request, uuid};
use super::logins::LoginTokens;
use crate::commands::outside_logins::{self as commands, Entered, Link};
use crate::domain::identifier::Phone;
use crate::domain::origin::{DeviceName, Network, Origin, Speech};
use crate::domain::subject::OutsideCode;
use crate::error::Refusal;
use crate::store::login_methods::MethodRow;

/// How a person can sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum LoginMethodKind {
    /// By a code that a phone is sent.
    Phone,
    /// By a WeChat mini-program.
    Wechat,
    /// By an OpenID Connect issuer.
    Oidc,
}

/// One way in which a person signs in.
#[derive(Clone, Debug, SimpleObject)]
pub struct LoginMethod {
    /// Opaque.
    id: ID,
    /// Which.
    kind: LoginMethodKind,
    /// Since when.
    linked_at: DateTime<Utc>,
}

impl LoginMethod {
    /// # Errors
    /// When the row is broken.
    pub(crate) fn read(row: MethodRow) -> kit::Result<Self> {
        let kind = match row.kind.as_str() {
            "phone" => LoginMethodKind::Phone,
            "wechat" => LoginMethodKind::Wechat,
            "oidc" => LoginMethodKind::Oidc,
            _ => return Err(kit::Error::internal("a way to sign in of an unknown kind")),
        };
        Ok(Self {
            id: GlobalId::of_uuid("LoginMethod", row.id),
            kind,
            linked_at: row.created_at,
        })
    }
}

/// Whom the other party named is nobody's yet: `linkLogin` with this and with a code from
/// `requestLoginCode` makes her the person of that phone.
#[derive(Clone, SimpleObject)]
pub struct LoginLink {
    /// Good once.
    ticket: String,
    /// Until when.
    expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for LoginLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginLink")
    }
}

impl From<Link> for LoginLink {
    fn from(link: Link) -> Self {
        Self {
            ticket: link.ticket,
            expires_at: link.expires_at,
        }
    }
}

/// The code of a mini-program.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "a code is never shown")]
pub struct LoginWithWechatInput {
    /// From `wx.login`, good for five minutes and once.
    code: String,
    /// What the device calls itself, 1 to 40 characters.
    device: Option<String>,
}

/// A phone for whom another party has named.
#[derive(InputObject)]
#[expect(
    missing_debug_implementations,
    reason = "phone and code are never shown"
)]
pub struct LinkLoginInput {
    /// From `loginWithWechat` or `loginWithOidc`.
    ticket: String,
    /// A mobile number, eleven digits.
    phone: String,
    /// The six digits that `requestLoginCode` sent there.
    code: String,
    /// The secret of the challenge, for a ticket from `loginWithOidc`.
    secret: Option<String>,
    /// What the device calls itself, 1 to 40 characters.
    device: Option<String>,
}

/// Which way to sign in is taken away.
#[derive(Debug, InputObject)]
pub struct UnlinkLoginMethodInput {
    /// One of one's own, and no phone.
    login_method_id: ID,
}

kit::payload! {
    /// What became of signing in by WeChat: the tokens, or a link where WeChat's user is nobody's
    /// yet.
    pub struct LoginWithWechatPayload / LoginWithWechatUserError / LoginWithWechatErrorCode {
        /// The device's tokens.
        tokens: LoginTokens,
        /// What she is linked by.
        link: LoginLink,
    }
    refuses {
        /// There is no mini-program of this union.
        LoginKindOff,
        /// The code is wrong, over or used.
        OutsideCodeInvalid,
        /// WeChat bars this account.
        OutsideBarred,
        /// Too many logins from one address, or of one account.
        TooManyLogins,
        /// The device's name is empty or too long.
        DeviceInvalid,
    }
}

kit::payload! {
    /// What became of linking.
    pub struct LinkLoginPayload / LinkLoginUserError / LinkLoginErrorCode {
        /// The device's tokens.
        tokens: LoginTokens,
    }
    refuses {
        /// The ticket is wrong, over, used, or not of this secret.
        LinkExpired,
        /// She signs in in ten ways already.
        LoginMethodsFull,
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
    /// What became of the way to sign in.
    pub struct UnlinkLoginMethodPayload / UnlinkLoginMethodUserError
        / UnlinkLoginMethodErrorCode
    {
        /// The one that is gone.
        login_method_id: ID,
    }
    refuses {
        /// There is no such way of one's own, or it is a phone.
        LoginMethodNotFound,
    }
}

/// Signing in by another party's word.
#[derive(Debug, Default)]
pub struct OutsideLoginMutation;

#[Object]
impl OutsideLoginMutation {
    /// Signs in by the code that a WeChat mini-program was given.
    async fn login_with_wechat(
        &self,
        ctx: &Context<'_>,
        input: LoginWithWechatInput,
    ) -> Result<LoginWithWechatPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let code = OutsideCode::parse(&input.code)?;
            let origin = origin(caller, input.device.as_deref())?;
            let entered = commands::login_with_wechat(identity, caller, &code, &origin).await?;
            let (tokens, link) = parts(entered);
            Ok(LoginWithWechatPayload::done(tokens, link))
        };
        LoginWithWechatPayload::from_result(caller.language, result.await)
    }

    /// Links whom another party has named to the person whose phone was sent the code, and signs
    /// her in.
    async fn link_login(
        &self,
        ctx: &Context<'_>,
        input: LinkLoginInput,
    ) -> Result<LinkLoginPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let phone = Phone::parse(&input.phone)?;
            let origin = origin(caller, input.device.as_deref())?;
            let proof = (&phone, input.code.trim());
            let ticket = (input.ticket.as_str(), input.secret.as_deref());
            let session = commands::link_login(identity, ticket, proof, &origin).await?;
            Ok(LinkLoginPayload::done(LoginTokens::from(session)))
        };
        LinkLoginPayload::from_result(caller.language, result.await)
    }

    /// Takes a way to sign in away; the phone stays. Logins that it opened go on until they are
    /// signed out.
    async fn unlink_login_method(
        &self,
        ctx: &Context<'_>,
        input: UnlinkLoginMethodInput,
    ) -> Result<UnlinkLoginMethodPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let absent = Refusal::LoginMethodNotFound;
            let id = uuid(&input.login_method_id, "LoginMethod", absent)?;
            commands::unlink_login_method(&identity.ctx, caller, id).await?;
            Ok(UnlinkLoginMethodPayload::done(input.login_method_id))
        };
        UnlinkLoginMethodPayload::from_result(caller.language, result.await)
    }
}

/// With what and from where the caller signs in.
///
/// # Errors
/// For a device without a proper name.
pub(crate) fn origin(caller: &Caller, device: Option<&str>) -> Result<Origin, Refusal> {
    Ok(Origin {
        device: device.map(DeviceName::parse).transpose()?,
        network: Network::of(&caller.client),
        speech: match caller.language {
            Language::Zh => Speech::Chinese,
            Language::En => Speech::English,
        },
    })
}

/// The tokens of who is signed in, or the link of who is nobody's yet.
pub(crate) fn parts(entered: Entered) -> (Option<LoginTokens>, Option<LoginLink>) {
    match entered {
        Entered::In(session) => (Some(LoginTokens::from(session)), None),
        Entered::Unknown(link) => (None, Some(LoginLink::from(link))),
    }
}
