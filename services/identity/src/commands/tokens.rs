//! The access token of a login: what every answer carries that lets a device act.

use chrono::{DateTime, TimeDelta, Utc};
use kit::token::{LIFE_SECONDS_MAX, NewToken, STEP_UP_SECONDS_MAX};
use kit::types::{LoginId, MemberId};
use kit::{Result, Tx};

use crate::Identity;
use crate::signing;
use crate::store::logins::LoginRow;
use crate::store::second_factors;

/// An access token, and what it is good for.
#[derive(Clone)]
pub struct Access {
    pub token: String,
    pub expires_at: DateTime<Utc>,
    /// Until when a second factor counts that was shown with this login.
    pub stepped_up_until: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("expires_at", &self.expires_at)
            .field("stepped_up_until", &self.stepped_up_until)
            .finish_non_exhaustive()
    }
}

/// Signs an access token for a login that counts.
///
/// # Errors
/// When no key signs now, or the database fails.
pub(crate) async fn access(identity: &Identity, tx: &Tx, login: &LoginRow) -> Result<Access> {
    let key = signing::access_key(identity.ctx.union, tx, &identity.vault).await?;
    let stepped_up_until = stepped_up_until(identity, tx, login).await?;
    let new = NewToken {
        union: identity.ctx.union,
        member: MemberId(login.member),
        login: LoginId(login.id),
        id: tx.uuid(),
        issued_at: tx.now(),
        life_seconds: LIFE_SECONDS_MAX,
        stepped_up_until,
    };
    Ok(Access {
        token: kit::token::sign(&new, &key)?,
        expires_at: tx.now() + TimeDelta::seconds(LIFE_SECONDS_MAX),
        stepped_up_until,
    })
}

async fn stepped_up_until(
    identity: &Identity,
    tx: &Tx,
    login: &LoginRow,
) -> Result<Option<DateTime<Utc>>> {
    let longest = TimeDelta::seconds(STEP_UP_SECONDS_MAX);
    let shown = login.stepped_up_at.map(|at| at + longest);
    if let Some(until) = shown.filter(|until| tx.now() < *until) {
        return Ok(Some(until));
    }
    // A development world has nobody with an authenticator; who has set one up is asked there too.
    if identity.settings.second_factor_optional {
        let has = second_factors::confirmed(tx, MemberId(login.member)).await?;
        return Ok(has.is_none().then(|| tx.now() + longest));
    }
    Ok(None)
}
