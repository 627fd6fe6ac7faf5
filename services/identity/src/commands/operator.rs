//! The first operator, made on the command line where there is nobody yet who could grant a role,
//! and the second, without whom there are no two to grant what takes two.

use kit::audit::AuditRow;
use kit::types::MemberId;
use kit::{Ctx, Result, Tx};

use super::joining::join;
use super::matching::{same_text, stored_name};
use super::people::{NewPerson, seal_person};
use super::roles::{give, living};
use crate::domain::identifier::Phone;
use crate::domain::name::PersonName;
use crate::domain::organisation::{Organisation, root_id};
use crate::domain::role::{Of, Origin, Role};
use crate::error::Refusal;
use crate::publish::{self, MemberState};
use crate::store::organisations::{self, Lock};
use crate::store::{people, roles};
use crate::vault::Vault;

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
