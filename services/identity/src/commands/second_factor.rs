//! The second factor of a person: set up, confirmed, shown, renewed, and taken away by herself.
//!
//! Whoever looks at a code first locks the person's count of wrong ones and then her factor, so
//! that codes that come at once are looked at one by one: none is taken twice, and no more wrong
//! ones are looked at than may be. A wrong code is counted though it is refused. Who shows that she
//! has her factor ends a reset of it that was asked for: there is no need of one.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller, Member};
use kit::due::NewDue;
use kit::types::MemberId;
use kit::{Ctx, Error, Result, Tx};

use super::logins::withdraw_all;
use super::tokens::{self, Access};
use super::{notices, settled};
use crate::Identity;
use crate::domain::identifier::Phone;
use crate::domain::notice::Notice;
use crate::domain::second_factor::{
    self as domain, Change, Factor, Given, PENDING_SECONDS, RECOVERY_CODES, RECOVERY_SYMBOLS,
    SignedIn,
};
use crate::due;
use crate::error::Refusal;
use crate::store::logins::{self, LoginRow, Reason};
use crate::store::second_factors::{self as store, FactorRow};
use crate::store::{limits, people, roles};
use crate::totp::Secret;
use crate::vault::{Cell, SealingKey, Vault};

/// What wrong codes are counted under: those of an hour and those of a day.
pub const WRONG: (&str, &str) = ("second_factor_hour", "second_factor_day");

/// What an authenticator is set up with; shown once.
pub struct Enrolment {
    /// `otpauth://…`, for a picture that the authenticator reads.
    pub uri: String,
    /// The secret in base 32, for typing it.
    pub secret: String,
    /// Until when its first code must have come.
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment")
    }
}

/// What a person has who has confirmed her factor: her recovery codes, shown once, and a token
/// that says so.
pub struct Confirmed {
    pub recovery_codes: Vec<String>,
    pub access: Access,
}

impl std::fmt::Debug for Confirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Confirmed")
    }
}

/// A token that says that the factor was shown, and how many recovery codes are left.
#[derive(Clone, Debug)]
pub struct Shown {
    pub access: Access,
    pub recovery_codes_left: i32,
}

const fn secret_cell(factor: uuid::Uuid) -> Cell {
    Cell::new("second_factor", "secret", factor)
}

/// Begins to set a second factor up. One that is confirmed stays until the new one is.
///
/// # Errors
/// Unauthenticated; for a first factor the login must be fresh, so that nobody gets one by a
/// device that was left open, and by SMS for who holds a role; for another one the factor that is
/// there must have been shown.
pub async fn enrol(identity: &Identity, caller: &Caller) -> Result<Enrolment> {
    identity
        .ctx
        .db
        .tx("enrol_second_factor", async |tx| {
            let member = access::member(tx, caller).await?;
            let key = data_key(tx, &identity.vault, member.id).await?;
            if store::lock_confirmed(tx, member.id).await?.is_some() {
                access::stepped_up(tx, caller)?;
            } else {
                let login = own_login(tx, member).await?;
                let login = SignedIn {
                    at: login.created_at,
                    by_phone: login.by_phone,
                    holds_role: roles::holds_any(tx, member.id).await?,
                };
                domain::may_enrol(login, tx.now())?;
            }
            let (id, secret) = (tx.uuid(), Secret::random(tx.ids()));
            let sealed = key.seal(tx.ids(), secret_cell(id), secret.bytes())?;
            store::begin(tx, id, member.id, sealed).await?;
            let expires_at = tx.now() + TimeDelta::seconds(PENDING_SECONDS);
            tx.plan(NewDue::new(due::SECOND_FACTOR, id, expires_at));
            tx.audit(member.audit("enrol_second_factor", id));
            let account = account(tx, &key, member.id).await?;
            Ok(Enrolment {
                uri: secret.uri(identity.ctx.union, &account),
                secret: secret.text(),
                expires_at,
            })
        })
        .await
}

/// How an authenticator lists the person: as masked as everywhere.
async fn account(tx: &Tx, key: &SealingKey, member: MemberId) -> Result<String> {
    let Some(row) = people::phone(tx, member).await? else {
        return Ok(String::new());
    };
    let cell = Cell::new("login_method", "subject", row.id);
    Ok(Phone::stored(key.open_text(cell, &row.subject)?).masked())
}

/// Confirms the factor that was begun, by its first code. The person gets ten recovery codes, and
/// has shown her second factor by that.
///
/// # Errors
/// Unauthenticated; refused when none was begun in time, the code is wrong, or too many were; and
/// when there is one already that was not shown.
pub async fn confirm(identity: &Identity, caller: &Caller, given: &Given) -> Result<Confirmed> {
    let result = identity
        .ctx
        .db
        .tx("confirm_second_factor", async |tx| {
            let member = access::member(tx, caller).await?;
            may_try(tx, member).await?;
            // Again, for there may be one since this one was begun.
            let replaces = store::lock_confirmed(tx, member.id).await?.is_some();
            if replaces {
                access::stepped_up(tx, caller)?;
            }
            let row = store::lock_pending(tx, member.id)
                .await?
                .ok_or(Refusal::SecondFactorAbsent)?;
            let Given::Digits(digits) = given else {
                return Err(Refusal::SecondFactorWrong.into());
            };
            let key = data_key(tx, &identity.vault, member.id).await?;
            match taken(tx, &key, &row, digits)? {
                Ok(last_step) => store::confirm(tx, row.id, member.id, last_step).await?,
                Err(why) => return refused(tx, member, why).await,
            }
            let change = if replaces {
                logins::end_step_ups(tx, member.id, member.login).await?;
                Change::Replaced
            } else {
                Change::Enrolled
            };
            void_reset(tx, member).await?;
            tell(tx, member.id, row.id, change).await?;
            let recovery_codes = new_recovery_codes(tx, &identity.vault, member.id).await?;
            tx.audit(member.audit("confirm_second_factor", row.id));
            Ok(Ok(Confirmed {
                recovery_codes,
                access: step_up(identity, tx, member).await?,
            }))
        })
        .await;
    settled(result)
}

/// Shows the second factor: for some minutes this login may do what a token alone may not.
///
/// # Errors
/// Unauthenticated; refused when the person has none, the code is wrong or was taken before, or
/// too many were wrong.
pub async fn verify(identity: &Identity, caller: &Caller, given: &Given) -> Result<Shown> {
    let result = identity
        .ctx
        .db
        .tx("verify_second_factor", async |tx| {
            let member = access::member(tx, caller).await?;
            may_try(tx, member).await?;
            let row = store::lock_confirmed(tx, member.id)
                .await?
                .ok_or(Refusal::SecondFactorAbsent)?;
            let by = match given {
                Given::Digits(digits) => {
                    let key = data_key(tx, &identity.vault, member.id).await?;
                    match taken(tx, &key, &row, digits)? {
                        Ok(last_step) => store::save_step(tx, row.id, last_step).await?,
                        Err(why) => return refused(tx, member, why).await,
                    }
                    "code"
                }
                Given::Recovery(code) => {
                    let hash = identity.vault.recovery_hash(member.id.0, code);
                    if !store::use_recovery(tx, member.id, &hash).await? {
                        return refused(tx, member, Refusal::SecondFactorWrong).await;
                    }
                    "recovery_code"
                }
            };
            void_reset(tx, member).await?;
            tx.audit(
                member
                    .audit("verify_second_factor", row.id)
                    .detail(serde_json::json!({ "by": by })),
            );
            Ok(Ok(Shown {
                access: step_up(identity, tx, member).await?,
                recovery_codes_left: store::recovery_left(tx, member.id).await?,
            }))
        })
        .await;
    settled(result)
}

/// Gives a person ten new recovery codes; those before are void.
///
/// # Errors
/// Unauthenticated; refused when she has no second factor, or has not shown it.
pub async fn renew_recovery_codes(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
) -> Result<Vec<String>> {
    ctx.db
        .tx("renew_recovery_codes", async |tx| {
            let (member, row) = own_factor(tx, caller).await?;
            tx.audit(member.audit("renew_recovery_codes", row.id));
            new_recovery_codes(tx, vault, member.id).await
        })
        .await
}

/// Takes a person's own second factor away; she is signed out on all her other devices.
///
/// # Errors
/// As [`renew_recovery_codes`].
pub async fn remove(ctx: &Ctx, caller: &Caller) -> Result<MemberId> {
    ctx.db
        .tx("remove_second_factor", async |tx| {
            let (member, row) = own_factor(tx, caller).await?;
            store::remove(tx, member.id).await?;
            withdraw_all(tx, member.id, Some(member.login), Reason::SecondFactor).await?;
            logins::step_up(tx, member.login.0, None).await?;
            void_reset(tx, member).await?;
            tell(tx, member.id, row.id, Change::Removed).await?;
            tx.audit(member.audit("remove_second_factor", row.id));
            Ok(member.id)
        })
        .await
}

/// Forgets a factor that was begun and whose first code has not come in time.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: uuid::Uuid) -> Result<()> {
    ctx.db
        .tx("expire_second_factor", async |tx| {
            if store::forget_pending(tx, id).await? > 0 {
                tx.audit(kit::audit::AuditRow::system("expire_second_factor", id));
            }
            Ok(())
        })
        .await
}

/// Tells a person what becomes of her second factor; `about` is the factor or the reset.
pub(super) async fn tell(
    tx: &Tx,
    member: MemberId,
    about: uuid::Uuid,
    change: Change,
) -> Result<()> {
    let told = Notice::SecondFactorChanged {
        change,
        at: tx.now(),
    };
    let about = format!("{about}/{}", change.as_str());
    notices::tell(tx, &[notices::about(member, &about, told)]).await
}

/// Ends a reset that was asked for, since the person has her factor. Whoever calls holds the
/// factor's lock, as who asks for a reset does first.
async fn void_reset(tx: &Tx, member: Member) -> Result<()> {
    if store::void_reset(tx, member.id).await? > 0 {
        tx.audit(member.audit("void_second_factor_reset", member.id));
    }
    Ok(())
}

/// The caller and the factor she has just shown, locked.
async fn own_factor(tx: &Tx, caller: &Caller) -> Result<(Member, FactorRow)> {
    let member = access::member(tx, caller).await?;
    access::stepped_up(tx, caller)?;
    let row = store::lock_confirmed(tx, member.id)
        .await?
        .ok_or(Refusal::SecondFactorAbsent)?;
    Ok((member, row))
}

/// The caller's login, locked, while it counts.
async fn own_login(tx: &Tx, member: Member) -> Result<LoginRow> {
    logins::lock_login(tx, member.login)
        .await?
        .filter(|login| login.member == member.id.0 && login.withdrawn_at.is_none())
        .ok_or(Error::Unauthenticated("the login is not there"))
}

async fn data_key(tx: &Tx, vault: &Vault, member: MemberId) -> Result<SealingKey> {
    let row = people::active(tx, member)
        .await?
        .ok_or(Error::Unauthenticated("the person is not there"))?;
    vault.data_key(member.0, &row.data_key)
}

/// The step whose code this is, if the factor takes it.
fn taken(
    tx: &Tx,
    key: &SealingKey,
    row: &FactorRow,
    digits: &str,
) -> Result<std::result::Result<i64, Refusal>> {
    let bytes = key.open(secret_cell(row.id), &row.secret)?;
    let secret = Secret::from_bytes(&bytes)
        .ok_or_else(|| Error::internal("a second factor's secret has another length"))?;
    let matched = secret.matching_step(digits, tx.now());
    Ok(match row.factor.take(matched, tx.now()) {
        Ok(Factor::Confirmed { last_step }) => Ok(last_step),
        Ok(Factor::Pending { .. }) => Err(Refusal::SecondFactorAbsent),
        Err(why) => Err(why),
    })
}

/// Locks the person's count of wrong codes.
async fn may_try(tx: &Tx, member: Member) -> Result<()> {
    let wrong = limits::count(tx, WRONG, member.id, 0).await?;
    Ok(domain::may_try(wrong.in_hour, wrong.in_day)?)
}

/// What is answered to a code that is not taken; a wrong one is counted, and the last that may be
/// raises an alarm.
async fn refused<T>(
    tx: &Tx,
    member: Member,
    why: Refusal,
) -> Result<std::result::Result<T, Refusal>> {
    if why == Refusal::SecondFactorWrong {
        let wrong = limits::count(tx, WRONG, member.id, 1).await?;
        metrics::counter!("bashu_identity_second_factor_wrong_total").increment(1);
        tx.audit(member.audit("second_factor_wrong", member.id));
        if domain::may_try(wrong.in_hour, wrong.in_day).is_err() {
            metrics::counter!("bashu_identity_second_factor_barred_total").increment(1);
            tracing::error!(member = %member.id, "too many wrong second factors of one person");
            tx.audit(member.audit("second_factor_barred", member.id));
        }
    }
    Ok(Err(why))
}

/// Writes that the factor was shown with this login; a token that says so.
async fn step_up(identity: &Identity, tx: &Tx, member: Member) -> Result<Access> {
    let login = own_login(tx, member).await?;
    logins::step_up(tx, login.id, Some(tx.now())).await?;
    let login = LoginRow {
        stepped_up_at: Some(tx.now()),
        ..login
    };
    tokens::access(identity, tx, &login).await
}

async fn new_recovery_codes(tx: &Tx, vault: &Vault, member: MemberId) -> Result<Vec<String>> {
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let mut random = [0; RECOVERY_SYMBOLS];
        tx.ids().fill(&mut random);
        codes.push(domain::recovery_code(random));
    }
    let mut hashes: Vec<_> = codes
        .iter()
        .map(|code| vault.recovery_hash(member.0, code))
        .collect();
    hashes.sort_unstable();
    store::replace_recovery(tx, member, &hashes).await?;
    Ok(codes.iter().map(|code| domain::readable(code)).collect())
}
