//! What a member brings to `payOrder` to pay inside WeChat.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::input::request;
use crate::commands::payer_tokens::{self as commands, PayerToken as Issued};

/// Who one is to WeChat, sealed to billing: nobody else can read it, nobody else can use it.
#[derive(Clone, SimpleObject)]
pub struct PayerToken {
    /// For `payOrder(input: { method: WECHAT_JSAPI, payerToken: … })`; good for one payment.
    token: String,
    /// Five minutes after it was first asked for.
    expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for PayerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PayerToken")
    }
}

impl From<Issued> for PayerToken {
    fn from(issued: Issued) -> Self {
        Self {
            token: issued.token,
            expires_at: issued.expires_at,
        }
    }
}

/// A token to pay with inside WeChat.
#[derive(Debug, InputObject)]
pub struct IssuePayerTokenInput {
    /// Minted by the client: the same key is the same token.
    idempotency_key: Uuid,
}

kit::payload! {
    /// What became of a payer's token.
    pub struct IssuePayerTokenPayload / IssuePayerTokenUserError / IssuePayerTokenErrorCode {
        /// The token.
        payer_token: PayerToken,
    }
    refuses {
        /// Nobody pays inside WeChat here.
        PayerTokensOff,
        /// One's WeChat is not linked: sign in by it once.
        WechatNotLinked,
        /// Too many within the hour or the day.
        TooManyPayerTokens,
        /// The token of this key is over; ask with another key.
        PayerTokenOver,
    }
}

/// Paying inside WeChat.
#[derive(Debug, Default)]
pub struct PayerTokenMutation;

#[Object]
impl PayerTokenMutation {
    /// Seals to billing who the caller is to WeChat, so that she can pay inside it.
    async fn issue_payer_token(
        &self,
        ctx: &Context<'_>,
        input: IssuePayerTokenInput,
    ) -> Result<IssuePayerTokenPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let key = input.idempotency_key;
            let issued = commands::issue_payer_token(identity, caller, key).await?;
            Ok(IssuePayerTokenPayload::done(PayerToken::from(issued)))
        };
        IssuePayerTokenPayload::from_result(caller.language, result.await)
    }
}
