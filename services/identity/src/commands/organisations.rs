//! The organisation tree.

use kit::access::{self, Caller};
use kit::types::{OrganisationId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};

use super::roles::withdraw;
use crate::domain::organisation::{Kind, NewOrganisation, Organisation};
use crate::domain::uscc::Uscc;
use crate::error::Refusal;
use crate::publish;
use crate::store::organisations::{self as store, Lock};
use crate::store::roles;

/// What an operator gives for a new organisation.
#[derive(Clone, Debug)]
pub struct CreateOrganisation {
    pub parent: OrganisationId,
    pub industrial_parent: Option<OrganisationId>,
    pub kind: Kind,
    pub name: String,
    pub uscc: Option<Uscc>,
    pub division: String,
}

/// Adds an organisation below another. The same request again finds what the first one made:
/// name and parent are the key.
///
/// # Errors
/// Operators only; refused when parent, kind, name, code or division do not fit.
pub async fn create_organisation(
    ctx: &Ctx,
    caller: &Caller,
    input: CreateOrganisation,
) -> Result<Organisation> {
    let result = ctx
        .db
        .tx("create_organisation", async |tx| {
            let operator = access::operator(tx, caller).await?;
            let parent = store::load(tx, input.parent, Lock::Change)
                .await?
                .ok_or(Refusal::ParentNotFound)?;
            let industrial = load_industrial(tx, input.industrial_parent).await?;
            let new = NewOrganisation {
                id: OrganisationId(tx.uuid()),
                kind: input.kind,
                name: input.name.clone(),
                uscc: input.uscc.clone(),
                division: input.division.clone(),
                today: shanghai_date(tx.now()),
                now: tx.now(),
            };
            let made = parent.branch(industrial.as_ref(), new)?;
            if let Some(there) = store::named(tx, parent.id, &made.name).await? {
                let same = there.is_same_as(&made);
                return if same {
                    Ok(there)
                } else {
                    Err(Refusal::NameTaken.into())
                };
            }
            store::insert(tx, &made).await?;
            tx.emit(publish::organisation(ctx.union, &made));
            tx.audit(operator.member.audit("create_organisation", made.id));
            Ok(made)
        })
        .await;
    result.map_err(on_constraint)
}

async fn load_industrial(tx: &Tx, id: Option<OrganisationId>) -> Result<Option<Organisation>> {
    let Some(id) = id else { return Ok(None) };
    let found = store::load(tx, id, Lock::Share).await?;
    Ok(Some(found.ok_or(Refusal::IndustrialParentNotFound)?))
}

fn on_constraint(error: Error) -> Error {
    match error.constraint().as_deref() {
        Some("organisation_uscc_unique") => Refusal::UsccTaken.into(),
        Some("organisation_name_unique") => Refusal::NameTaken.into(),
        _ => error,
    }
}

/// Closes an empty organisation; the roles held in it end with it.
///
/// # Errors
/// Operators only; refused while it has open branches or memberships.
pub async fn close_organisation(
    ctx: &Ctx,
    caller: &Caller,
    id: OrganisationId,
) -> Result<Organisation> {
    ctx.db
        .tx("close_organisation", async |tx| {
            let operator = access::operator(tx, caller).await?;
            let organisation = store::load(tx, id, Lock::Change)
                .await?
                .ok_or(Refusal::OrganisationNotFound)?;
            let (branches, members) = store::contents(tx, id).await?;
            let closed = organisation.close(branches, members, tx.now())?;
            store::save(tx, &closed).await?;
            for role in roles::held_in(tx, id).await? {
                withdraw(tx, role).await?;
            }
            tx.emit(publish::organisation(ctx.union, &closed));
            tx.audit(operator.member.audit("close_organisation", id));
            Ok(closed)
        })
        .await
}
