//! What names a member to the payment provider: the openid that WeChat has for her, sealed to
//! billing and put into her own hands. She cannot read it, nobody else can use it, billing opens it
//! once, and in ten minutes it is nothing.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller, Member};
use kit::once::{self, Once, Request};
use kit::sealed::{self, NewSealed};
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use uuid::Uuid;

use crate::domain::subject::{Kind, Subject};
use crate::error::{self, Refusal};
use crate::store::limits;
use crate::store::login_methods as store;
use crate::vault::Cell;
use crate::{Identity, signing};

/// How long a payer's token is good, in seconds.
pub const PAYER_TOKEN_SECONDS: i64 = 300;
/// Payer's tokens that one person may have in an hour.
pub const PAYER_TOKENS_PER_HOUR_MAX: i32 = 30;
/// Payer's tokens that one person may have in a day.
pub const PAYER_TOKENS_PER_DAY_MAX: i32 = 100;
/// Whom they are sealed to.
const AUDIENCE: &str = "billing";
/// A person's ways to sign in by WeChat that are looked at, the newest first.
const METHODS_MAX: i64 = 20;

/// What `payOrder` takes.
#[derive(Clone)]
pub struct PayerToken {
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for PayerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayerToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Seals to billing who the caller is to WeChat. The same key gives a token of the same id and the
/// same end: it is good for one payment, however often it was asked for.
///
/// # Errors
/// Unauthenticated; refused where nobody pays inside WeChat, she is not linked to this union's
/// mini-program, it was asked for too often, or the key's token is over.
pub async fn issue_payer_token(
    identity: &Identity,
    caller: &Caller,
    key: Uuid,
) -> Result<PayerToken> {
    identity
        .ctx
        .db
        .tx("issue_payer_token", async |tx| {
            issue(identity, tx, caller, key).await
        })
        .await
}

async fn issue(identity: &Identity, tx: &Tx, caller: &Caller, key: Uuid) -> Result<PayerToken> {
    let member = access::member(tx, caller).await?;
    let settings = identity.settings.wechat.as_ref();
    let (Some(program), Some(to)) = (settings, &identity.payer_key) else {
        return Err(Refusal::PayerTokensOff.into());
    };
    let openid = openid_of(identity, tx, member.id, &program.appid).await?;
    let (id, issued_at) = first(tx, member, key).await?;
    let expires_at = issued_at + TimeDelta::seconds(PAYER_TOKEN_SECONDS);
    if expires_at <= tx.now() {
        return Err(Refusal::PayerTokenOver.into());
    }
    let signing = signing::access_key(identity.ctx.union, tx, &identity.vault).await?;
    let new = NewSealed {
        union: identity.ctx.union,
        audience: AUDIENCE,
        member: member.id,
        id,
        issued_at,
        life_seconds: PAYER_TOKEN_SECONDS,
        text: &openid.text(),
    };
    Ok(PayerToken {
        token: sealed::seal(tx.ids(), new, to, &signing)?,
        expires_at,
    })
}

/// The token's id and when it was first asked for.
async fn first(tx: &Tx, member: Member, key: Uuid) -> Result<(Uuid, DateTime<Utc>)> {
    let request = Request {
        caller: member.id.0,
        key,
        hash: once::hash("issue_payer_token", &[AUDIENCE]),
    };
    match once::begin(tx, &request).await? {
        Once::First => {}
        Once::Done(outcome) => return read(&outcome),
        Once::Refused(code) => {
            return error::recorded(&code);
        }
    }
    let scopes = ("payer_token_hour", "payer_token_day");
    let counts = limits::count(tx, scopes, member.id, 1).await?;
    if counts.in_hour > PAYER_TOKENS_PER_HOUR_MAX || counts.in_day > PAYER_TOKENS_PER_DAY_MAX {
        return Err(kit::Refusal::from(Refusal::TooManyPayerTokens)
            .transient()
            .into());
    }
    let id = tx.uuid();
    tx.audit(member.audit("issue_payer_token", id));
    let mut outcome = id.as_bytes().to_vec();
    outcome.extend_from_slice(&tx.now().timestamp().to_be_bytes());
    once::finish(tx, &outcome)?;
    read(&outcome)
}

/// An outcome as it was written: the id, then the second it was asked for.
fn read(outcome: &[u8]) -> Result<(Uuid, DateTime<Utc>)> {
    let parts = outcome.split_at_checked(16).and_then(|(id, seconds)| {
        let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
        let id = Uuid::from_slice(id).ok()?;
        Some((id, DateTime::from_timestamp(seconds, 0)?))
    });
    parts.ok_or_else(|| Error::internal("a payer's token has no id"))
}

/// Who she is to this mini-program, by the way to sign in that she linked last.
async fn openid_of(identity: &Identity, tx: &Tx, member: MemberId, appid: &str) -> Result<Subject> {
    for row in store::wechat_of(tx, member, METHODS_MAX).await? {
        let key = identity.vault.data_key(member.0, &row.data_key)?;
        let text = key.open_text(Cell::new("login_method", "subject", row.id), &row.subject)?;
        let subject = Subject::stored(Kind::Wechat, &text);
        if let Some(subject) = subject.filter(|subject| subject.party() == appid) {
            return Ok(subject);
        }
    }
    Err(Refusal::WechatNotLinked.into())
}
