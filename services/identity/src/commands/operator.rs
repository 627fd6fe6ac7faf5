//! The first operator, made on the command line where there is nobody yet who could grant a role,
//! and the second, without whom there are no two to grant what takes two; and what must be possible
//! when nobody can be trusted who is signed in: to sign people out.

use kit::audit::AuditRow;
use kit::types::MemberId;
use kit::{Ctx, Result, Tx};
use uuid::Uuid;

use super::joining::join;
use super::logins::withdraw_all;
use super::matching::{same_text, stored_name};
use super::people::{NewPerson, seal_person};
use super::roles::{give, living};
use crate::domain::identifier::Phone;
use crate::domain::name::PersonName;
use crate::domain::organisation::{Organisation, root_id};
use crate::domain::role::{Of, Origin, Role};
use crate::error::Refusal;
use crate::publish::{self, MemberState};
use crate::store::logins::{self, Reason};
use crate::store::organisations::{self, Lock};
use crate::store::{merges, people, roles};
use crate::vault::Vault;

/// People whose logins are looked for at once.
const SIGNED_IN_ROWS_MAX: i64 = 100;

/// Makes a person an operator of the union; the union's own organisation is made when it is not
/// there. `forced` says why there should be another operator although there is one.
///
/// # Errors
/// [`Refusal::OperatorExists`] without a reason; [`Refusal::PersonNotMatched`] when the phone is
/// somebody's of another name.
pub async fn create_first_operator(
    ctx: &Ctx,
    vault: &Vault,
    phone: &Phone,
    name: &PersonName,
    forced: Option<&str>,
) -> Result<MemberId> {
    ensure_root(ctx).await?;
    let root = root_id(ctx.union);
    ctx.db
        .tx("create_first_operator", async |tx| {
            // Locked, so that two first operators cannot be made at once.
            organisations::load(tx, root, Lock::Change).await?;
            if forced.is_none() && roles::operators(tx).await? > 0 {
                return Err(Refusal::OperatorExists.into());
            }
            let member = person(tx, vault, phone, name).await?;
            join(tx, root.into(), &[member.0]).await?;
            let of = Of {
                member,
                organisation: root,
                role: Role::Operator,
            };
            // Without an end: a union that nobody runs any more could not even say so.
            match living(tx, of).await? {
                Some(held) => roles::set_by_machine(tx, held.id).await?,
                None => {
                    give(tx, of, None, Origin::Machine).await?;
                }
            }
            tx.audit(
                AuditRow::system("create_first_operator", member)
                    .detail(serde_json::json!({ "forced": forced })),
            );
            Ok(member)
        })
        .await
}

/// Ends every login of one person, or of all who are signed in: where a device, a key or a copy of
/// the tables is in other hands. How many that were. Each person is a transaction of its own, so
/// that nobody else waits; who signs in meanwhile stays signed in. Access tokens that are out are
/// refused as soon as a service hears of it. Whoever is named by a record that was merged is who
/// she is by now.
///
/// # Errors
/// Unavailable while her record is merged or split; when the database fails.
pub async fn sign_out(ctx: &Ctx, whom: Option<MemberId>, why: &str) -> Result<usize> {
    if let Some(member) = whom {
        return sign_out_member(ctx, member, why).await;
    }
    ctx.db
        .tx("sign_out_all", async |tx| {
            let row = AuditRow::system("sign_out_all", root_id(ctx.union));
            tx.audit(row.detail(serde_json::json!({ "reason": why })));
            Ok(())
        })
        .await?;
    let (mut ended, mut after) = (0, Uuid::nil());
    loop {
        let members = ctx
            .db
            .read("signed_in_after", async |tx| {
                logins::signed_in_after(tx, after, SIGNED_IN_ROWS_MAX).await
            })
            .await?;
        let Some(last) = members.last() else {
            return Ok(ended);
        };
        after = *last;
        for member in members {
            ended += sign_out_member(ctx, MemberId(member), why).await?;
        }
    }
}

async fn sign_out_member(ctx: &Ctx, named: MemberId, why: &str) -> Result<usize> {
    ctx.db
        .tx("sign_out_member", async |tx| {
            // A login of hers that is underway comes before or after: see `people::by_phone`.
            let member = merges::lock_who_is(tx, named).await?;
            let ended = withdraw_all(tx, member, None, Reason::Withdrawn).await?;
            let detail = serde_json::json!({
                "logins": ended, "reason": why, "named": named.to_string(),
            });
            tx.audit(AuditRow::system("sign_out_member", member).detail(detail));
            Ok(ended)
        })
        .await
}

/// The union's own organisation, made when it is not there.
///
/// # Errors
/// When the database fails.
pub async fn ensure_root(ctx: &Ctx) -> Result<()> {
    let id = root_id(ctx.union);
    let made = ctx
        .db
        .tx("ensure_root", async |tx| {
            if organisations::load(tx, id, Lock::Share).await?.is_some() {
                return Ok(());
            }
            let root = Organisation::root(ctx.union, tx.now());
            organisations::insert(tx, &root).await?;
            tx.emit(publish::organisation(ctx.union, &root));
            tx.audit(AuditRow::system("create_root", id));
            Ok(())
        })
        .await;
    match made {
        // Another process made it at the same moment.
        Err(error)
            if matches!(
                error.constraint().as_deref(),
                Some("organisation_pkey" | "organisation_one_root")
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn person(tx: &Tx, vault: &Vault, phone: &Phone, name: &PersonName) -> Result<MemberId> {
    if let Some((row, _)) = people::by_phone(tx, &vault.blind_phone(phone)?).await? {
        let known = stored_name(vault, &row)?;
        return if same_text(known.as_str(), name) {
            Ok(MemberId(row.member))
        } else {
            Err(Refusal::PersonNotMatched.into())
        };
    }
    let new = NewPerson {
        name: name.clone(),
        document: None,
        phone: Some(phone.clone()),
    };
    let row = seal_person(tx, vault, &new)?;
    let member = MemberId(row.person.member);
    people::insert(tx, &[row]).await?;
    tx.emit(publish::member(member, 1, MemberState::Active));
    Ok(member)
}
