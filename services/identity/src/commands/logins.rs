//! Signing in, staying signed in, signing out.
//!
//! A login is one device. It carries an access token of minutes, which no one can take back, and
//! a refresh token that is good once: its second use means that somebody has a copy, and ends
//! the login. What a second factor opened goes with the access token alone, never with the refresh
//! token: a copy of that opens no more than signing in does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::types::{LoginId, MemberId};
use kit::{Ctx, Result, Tx};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::tokens::{self, Access};
use super::{notices, phone_settings, settled};
use crate::Identity;
use crate::domain::code::{self, Guess, Purpose};
use crate::domain::identifier::Phone;
use crate::domain::notice::Notice;
use crate::domain::origin::Origin;
use crate::error::Refusal;
use crate::publish;
use crate::store::consents::lock_member;
use crate::store::logins::{self as store, LoginRow, Reason};
use crate::store::people::{self, Blind, PersonRow};
use crate::store::{codes, login_methods};
use crate::vault::{Cell, Vault};

/// How long a login lasts that is not used, in days.
pub const IDLE_DAYS_MAX: i64 = 30;
/// How long a login lasts, however much it is used, in days.
pub const LOGIN_DAYS_MAX: i64 = 180;
/// The longest refresh token that is looked at, in bytes.
const REFRESH_BYTES_MAX: usize = 64;

/// What a device needs to act for a person.
#[derive(Clone)]
pub struct Session {
    pub login: LoginId,
    pub member: MemberId,
    pub access: Access,
    pub refresh_token: String,
    pub refresh_expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// Signs in with the code that the phone was sent; what the person will read of it later is sealed
/// under her data key.
///
/// # Errors
/// Refused when the code is wrong, over, used or guessed at too often. A phone that belongs to
/// nobody is answered like a wrong code.
pub async fn login(
    identity: &Identity,
    phone: &Phone,
    given: &str,
    origin: &Origin,
) -> Result<Session> {
    let result = identity
        .ctx
        .db
        .tx("login", async |tx| {
            match proven(tx, &identity.vault, phone, given).await? {
                Ok(person) => open(identity, tx, &person, (Opened::ByPhone, origin))
                    .await
                    .map(Ok),
                Err(why) => Ok(Err(why)),
            }
        })
        .await;
    settled(result)
}

/// Whose phone was sent this code, which is used up by that. A code that was asked for to make a
/// phone somebody's is another, and proves nothing of who has it. Who calls commits a refusal too:
/// a wrong guess is counted.
pub(crate) async fn proven(
    tx: &Tx,
    vault: &Vault,
    phone: &Phone,
    given: &str,
) -> Result<std::result::Result<PersonRow, Refusal>> {
    proven_by(tx, vault, &vault.blind_phone(phone)?, given).await
}

/// [`proven`] for a phone that is known by its keyed hash.
pub(crate) async fn proven_by(
    tx: &Tx,
    vault: &Vault,
    blind: &Blind,
    given: &str,
) -> Result<std::result::Result<PersonRow, Refusal>> {
    let row = codes::lock(tx, Purpose::Login, blind).await?;
    let id = row.as_ref().map_or(Uuid::nil(), |row| row.id);
    let right = code::digits(&vault.code_hash(id, blind));
    let same: bool = right.as_bytes().ct_eq(given.as_bytes()).into();
    let Some(mut row) = row else {
        return Ok(Err(Refusal::CodeExpired));
    };
    match row.code().guess(same, tx.now()) {
        Guess::Refused(why) => Ok(Err(why)),
        Guess::Wrong(count) => {
            row.wrong = count;
            codes::save(tx, &row).await?;
            tx.audit(AuditRow::system("login_refused", row.id));
            Ok(Err(Refusal::CodeWrong))
        }
        Guess::Right => {
            row.used_at = Some(tx.now());
            codes::save(tx, &row).await?;
            let found = people::by_phone(tx, blind).await?;
            Ok(found.map(|(person, _)| person).ok_or(Refusal::CodeWrong))
        }
    }
}

/// The cell of what a login's device calls itself.
pub(crate) const fn device_cell(login: Uuid) -> Cell {
    Cell::new("login", "device", login)
}

/// The cell of the network that a login came from.
pub(crate) const fn network_cell(login: Uuid) -> Cell {
    Cell::new("login", "network", login)
}

/// What opens a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// A code that her phone was sent.
    ByPhone,
    /// Another party's word.
    ByWord,
}

/// Opens a login for a person, and tells her of it where she was signed in before.
pub(crate) async fn open(
    identity: &Identity,
    tx: &Tx,
    person: &PersonRow,
    (opened, origin): (Opened, &Origin),
) -> Result<Session> {
    let id = tx.uuid();
    let key = identity.vault.data_key(person.member, &person.data_key)?;
    let seal = |cell, text: Option<&str>| {
        text.map(|text| key.seal(tx.ids(), cell, text.as_bytes()))
            .transpose()
    };
    let login = LoginRow {
        id,
        member: person.member,
        created_at: tx.now(),
        used_at: tx.now(),
        expires_at: tx.now() + TimeDelta::days(IDLE_DAYS_MAX),
        withdrawn_at: None,
        stepped_up_at: None,
        device: seal(
            device_cell(id),
            origin.device.as_ref().map(|it| it.as_str()),
        )?,
        network: seal(
            network_cell(id),
            origin.network.as_ref().map(|it| it.as_str()),
        )?,
        by_phone: opened == Opened::ByPhone,
    };
    // The first of all is told to nobody: there is no other device that could tell her.
    let member = MemberId(person.member);
    if store::has_login(tx, member).await? {
        let told = Notice::NewLogin {
            login: login.id,
            at: tx.now(),
        };
        notices::tell(tx, &[notices::about(member, &login.id.to_string(), told)]).await?;
    }
    // Who signs in has a way in still: what an operator asked for to give her another is over.
    phone_settings::give_way(tx, member).await?;
    store::insert_login(tx, &login).await?;
    store::set_speech(tx, login.id, origin.speech).await?;
    tx.audit(AuditRow {
        member: Some(login.member),
        login: Some(login.id),
        ..AuditRow::system("login", login.id)
    });
    session(identity, tx, &login).await
}

/// A new access token and a new refresh token of a login.
async fn session(identity: &Identity, tx: &Tx, login: &LoginRow) -> Result<Session> {
    let refresh_token = URL_SAFE_NO_PAD.encode(tx.ids().bytes32());
    store::insert_refresh(tx, &hash(&refresh_token), login.id).await?;
    Ok(Session {
        login: LoginId(login.id),
        member: MemberId(login.member),
        access: tokens::access(identity, tx, login).await?,
        refresh_token,
        refresh_expires_at: login.expires_at,
    })
}

/// Trades a refresh token for new tokens; it is used up by that. They say of no second factor: the
/// access token before them does so for as long as it lasts, and it is shown anew after that.
///
/// # Errors
/// [`Refusal::RefreshTokenInvalid`] for one that is unknown, over or withdrawn. One that was
/// used before also ends its login.
pub async fn refresh_login(identity: &Identity, token: &str) -> Result<Session> {
    if token.len() > REFRESH_BYTES_MAX {
        return Err(Refusal::RefreshTokenInvalid.into());
    }
    let hash = hash(token);
    let result = identity
        .ctx
        .db
        .tx("refresh_login", async |tx| {
            let invalid = Ok(Err(Refusal::RefreshTokenInvalid));
            let Some(found) = store::refresh(tx, &hash).await? else {
                return invalid;
            };
            // The person before her login, as where all of these end.
            if people::active(tx, MemberId(found.member)).await?.is_none() {
                return invalid;
            }
            let Some(mut login) = store::lock_login(tx, LoginId(found.login)).await? else {
                return invalid;
            };
            if login.withdrawn_at.is_some() || login.expires_at <= tx.now() {
                return invalid;
            }
            // Read again now that nobody else can use it.
            let used = store::refresh(tx, &hash)
                .await?
                .is_none_or(|row| row.used_at.is_some());
            if used {
                withdraw(tx, &login, Reason::Reuse).await?;
                tx.audit(AuditRow::system("refresh_token_reused", login.id));
                return invalid;
            }
            store::use_refresh(tx, &hash).await?;
            login.used_at = tx.now();
            login.stepped_up_at = None;
            login.expires_at = (tx.now() + TimeDelta::days(IDLE_DAYS_MAX))
                .min(login.created_at + TimeDelta::days(LOGIN_DAYS_MAX));
            store::save_login(tx, &login).await?;
            tx.audit(AuditRow::system("refresh_login", login.id));
            session(identity, tx, &login).await.map(Ok)
        })
        .await;
    settled(result)
}

/// Signs this device out.
///
/// # Errors
/// Unauthenticated.
pub async fn logout(ctx: &Ctx, caller: &Caller) -> Result<LoginId> {
    ctx.db
        .tx("logout", async |tx| {
            let member = access::member(tx, caller).await?;
            let login = store::lock_login(tx, member.login).await?;
            if let Some(login) = login.filter(|login| login.withdrawn_at.is_none()) {
                withdraw(tx, &login, Reason::Logout).await?;
            }
            tx.audit(member.audit("logout", member.login));
            Ok(member.login)
        })
        .await
}

/// Signs another device of one's own out.
///
/// # Errors
/// Unauthenticated; refused when there is no such login of the caller's.
pub async fn withdraw_login(ctx: &Ctx, caller: &Caller, id: LoginId) -> Result<LoginRow> {
    ctx.db
        .tx("withdraw_login", async |tx| {
            let member = access::member(tx, caller).await?;
            let login = store::lock_login(tx, id)
                .await?
                .filter(|login| login.member == member.id.0)
                .ok_or(Refusal::LoginNotFound)?;
            if login.withdrawn_at.is_some() {
                return Ok(login);
            }
            withdraw(tx, &login, Reason::Withdrawn).await?;
            tx.audit(member.audit("withdraw_login", id));
            Ok(LoginRow {
                withdrawn_at: Some(tx.now()),
                ..login
            })
        })
        .await
}

/// What goes and what stays when a person signs out everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Everywhere {
    /// Whether the device that asks stays signed in.
    pub keeps_this_device: bool,
    /// Whether every way to sign in but her phone is taken away too.
    pub unlinks: bool,
}

/// What ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub logins: usize,
    pub methods: u64,
}

/// Signs a person out on all her devices, or on all but the one that asks: those that count, so
/// that asking again ends nothing more; and takes the other parties' words away where she says so.
///
/// # Errors
/// Unauthenticated.
pub async fn sign_out_everywhere(ctx: &Ctx, caller: &Caller, how: Everywhere) -> Result<Ended> {
    ctx.db
        .tx("sign_out_everywhere", async |tx| {
            let member = access::member(tx, caller).await?;
            // A login by what is taken away is underway or comes later: see `people::by_phone`.
            lock_member(tx, member.id).await?;
            phone_settings::give_way(tx, member.id).await?;
            let methods = if how.unlinks {
                login_methods::remove_all(tx, member.id).await?
            } else {
                0
            };
            let kept = how.keeps_this_device.then_some(member.login);
            let logins = withdraw_all(tx, member.id, kept, Reason::Everywhere).await?;
            tx.audit(
                member
                    .audit("sign_out_everywhere", member.id)
                    .detail(serde_json::json!({ "logins": logins, "unlinked": methods })),
            );
            Ok(Ended { logins, methods })
        })
        .await
}

/// Ends every login of a person that counts, but for `kept`; how many that were.
pub(crate) async fn withdraw_all(
    tx: &Tx,
    member: MemberId,
    kept: Option<LoginId>,
    reason: Reason,
) -> Result<usize> {
    let mut logins = store::lock_logins_of(tx, member).await?;
    logins.retain(|login| kept != Some(LoginId(login.id)));
    for login in &logins {
        withdraw(tx, login, reason).await?;
    }
    Ok(logins.len())
}

async fn withdraw(tx: &Tx, login: &LoginRow, reason: Reason) -> Result<()> {
    store::withdraw_login(tx, login.id, reason).await?;
    tx.emit(publish::login_withdrawn(login.id, login.member, tx.now()));
    Ok(())
}

/// A refresh token has 256 random bits: a plain hash keeps it as well as a slow one would.
fn hash(token: &str) -> Blind {
    Sha256::digest(token.as_bytes()).into()
}
