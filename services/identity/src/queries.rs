//! What people read: themselves, their organisations, and what officers may see of others.
//!
//! The owner comes first in every query; who may not see a thing finds it absent.

pub mod applications;
pub mod consents;
pub mod logins;
pub mod notices;
pub mod phone_recoveries;
pub mod renderings;
pub mod reviews;
pub mod rights;
pub mod role_proposals;
pub mod rosters;
pub mod search;
pub mod verifications;

use chrono::{DateTime, Utc};
use kit::access::{self, Caller};
use kit::graphql::Page;
use kit::types::{MemberId, OrganisationId};
use kit::{Ctx, Db, Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::commands::matching::stored_name;
use crate::commands::people::officer_or_operator;
use crate::domain::identifier::{Document, DocumentKind, Phone};
use crate::domain::membership::Membership;
use crate::domain::name::PersonName;
use crate::domain::organisation::Organisation;
use crate::store::organisations::{COLUMNS, Row as OrganisationRow};
use crate::store::people::{self, MEMBERSHIP_COLUMNS, MembershipRow};
use crate::store::roles::{self, Held};
use crate::vault::{Cell, SealingKey, Vault};

/// Roles of one person that are shown, at most: nobody holds more.
const ROLES_MAX: i64 = 100;

/// A person as she, or one who may, reads her.
#[derive(Clone, Debug)]
pub struct Profile {
    pub id: MemberId,
    pub name: PersonName,
    pub phone: Option<Phone>,
    pub document: Option<Document>,
    pub created_at: DateTime<Utc>,
    /// Whether the reader is this person herself.
    pub is_self: bool,
}

/// The signed-in person; `None` without a token.
///
/// # Errors
/// Unauthenticated, when the login was withdrawn.
pub async fn me(ctx: &Ctx, vault: &Vault, caller: &Caller) -> Result<Option<Profile>> {
    if caller.who == access::Who::Anonymous {
        return Ok(None);
    }
    ctx.db
        .read("me", async |tx| {
            let member = access::member(tx, caller).await?;
            profile(tx, vault, member.id, true).await
        })
        .await
}

/// A person as the caller may see her: herself, an operator, or an officer over an organisation
/// she is in. `None` for everybody else, as for nobody.
///
/// # Errors
/// When the database fails.
pub async fn member(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    id: MemberId,
) -> Result<Option<Profile>> {
    ctx.db
        .read("member", async |tx| {
            let reader = match access::member(tx, caller).await {
                Ok(reader) => reader,
                Err(Error::Unauthenticated(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            if reader.id != id && !may_see(tx, reader, id).await? {
                return Ok(None);
            }
            profile(tx, vault, id, reader.id == id).await
        })
        .await
}

/// Whether somebody may see another person at all: an operator, or an officer over an organisation
/// that she is in or applies to.
///
/// # Errors
/// When the database fails.
pub(crate) async fn may_see(tx: &Tx, reader: access::Member, id: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (
               SELECT 1 FROM role r
               WHERE r.member = $1 AND role_held(r.withdrawn_at, r.ends_at, $3) AND (
                 r.role = 'operator' OR (r.role = 'officer' AND EXISTS (
                   SELECT 1 FROM membership m JOIN organisation o ON o.id = m.organisation
                   WHERE m.member = $2 AND m.until IS NULL AND r.organisation = ANY (o.path)))
                 OR (r.role = 'officer' AND EXISTS (
                   SELECT 1 FROM membership_application a
                   JOIN organisation o ON o.id = a.organisation
                   WHERE a.member = $2 AND a.state = 'waiting'
                     AND r.organisation = ANY (o.path))))
             ) AS found",
            [reader.id.0.into(), id.0.into(), tx.now().into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

async fn profile(tx: &Tx, vault: &Vault, id: MemberId, is_self: bool) -> Result<Option<Profile>> {
    #[derive(FromQueryResult)]
    struct Created {
        created_at: DateTime<Utc>,
    }
    let Some(row) = people::active(tx, id).await? else {
        return Ok(None);
    };
    let created = tx
        .one::<Created>("SELECT created_at FROM member WHERE id = $1", [id.0.into()])
        .await?;
    let Some(created) = created else {
        return Ok(None);
    };
    let key = vault.data_key(id.0, &row.data_key)?;
    let phone = match people::phone(tx, id).await? {
        None => None,
        Some(row) => {
            let cell = Cell::new("login_method", "subject", row.id);
            Some(Phone::stored(key.open_text(cell, &row.subject)?))
        }
    };
    let document = match people::documents(tx, id).await?.into_iter().next() {
        None => None,
        Some(row) => Some(read_document(&key, row.id, row.kind, &row.number)?),
    };
    let name = stored_name(vault, &row)?;
    Ok(Some(Profile {
        id,
        name,
        phone,
        document,
        created_at: created.created_at,
        is_self,
    }))
}

fn read_document(key: &SealingKey, id: Uuid, kind: i16, number: &[u8]) -> Result<Document> {
    let number = key.open_text(Cell::new("document", "number", id), number)?;
    let kind = DocumentKind::from_code(kind)
        .ok_or_else(|| Error::internal("a document of an unknown kind"))?;
    Ok(Document::stored(kind, number))
}

/// A membership with the organisation it is in.
#[derive(Clone, Debug)]
pub struct MembershipView {
    pub membership: Membership,
    pub organisation: Organisation,
}

/// A person's memberships, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn memberships_of(db: &Db, member: MemberId, page: &Page) -> Result<Vec<MembershipView>> {
    let (sql, values) = listed(MEMBERSHIP_COLUMNS, "membership", "member", member.0, page)?;
    let memberships = db.all::<MembershipRow>(&sql, values).await?;
    with_organisations(db, memberships).await
}

/// The memberships of an organisation, the newest first.
///
/// # Errors
/// Officers over it and operators only; to others it is absent.
pub async fn memberships_in(
    ctx: &Ctx,
    caller: &Caller,
    organisation: OrganisationId,
    page: &Page,
) -> Result<Vec<MembershipView>> {
    ctx.db
        .read("memberships_in", async |tx| {
            officer_or_operator(tx, caller, organisation)
                .await
                .map(|_| ())
        })
        .await?;
    let (sql, values) = listed(
        MEMBERSHIP_COLUMNS,
        "membership",
        "organisation",
        organisation.0,
        page,
    )?;
    let memberships = ctx.db.all::<MembershipRow>(&sql, values).await?;
    with_organisations(&ctx.db, memberships).await
}

async fn with_organisations(db: &Db, rows: Vec<MembershipRow>) -> Result<Vec<MembershipView>> {
    let memberships = rows
        .into_iter()
        .map(MembershipRow::read)
        .collect::<Result<Vec<Membership>>>()?;
    let ids: Vec<Uuid> = memberships.iter().map(|it| it.organisation.0).collect();
    let organisations = organisations_by_id(db, &ids).await?;
    let view = |membership: Membership| {
        let organisation = organisations
            .iter()
            .find(|it| it.id == membership.organisation)
            .cloned()
            .ok_or_else(|| Error::internal("a membership in no organisation"))?;
        Ok(MembershipView {
            membership,
            organisation,
        })
    };
    memberships.into_iter().map(view).collect()
}

/// Organisations by their ids, those that exist.
///
/// # Errors
/// When the database fails.
pub async fn organisations_by_id(db: &Db, ids: &[Uuid]) -> Result<Vec<Organisation>> {
    let sql = format!("SELECT {COLUMNS} FROM organisation WHERE id = ANY ($1)");
    let rows = db
        .all::<OrganisationRow>(&sql, [ids.to_vec().into()])
        .await?;
    rows.into_iter().map(OrganisationRow::read).collect()
}

/// One organisation.
///
/// # Errors
/// When the database fails.
pub async fn organisation(db: &Db, id: OrganisationId) -> Result<Option<Organisation>> {
    Ok(organisations_by_id(db, &[id.0]).await?.into_iter().next())
}

/// The organisations right below `parent`, in the order they were made; with `None` the root
/// alone.
///
/// # Errors
/// Unauthenticated.
pub async fn organisations(
    ctx: &Ctx,
    caller: &Caller,
    parent: Option<OrganisationId>,
    page: &Page,
) -> Result<Vec<Organisation>> {
    ctx.db
        .read("organisations", async |tx| {
            access::member(tx, caller).await.map(|_| ())
        })
        .await?;
    let (order, compare) = page.oldest_first();
    let (at, id) = start(page)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM organisation
         WHERE parent IS NOT DISTINCT FROM $1
           AND ($2::timestamptz IS NULL OR (created_at, id) {compare} ($2, $3))
         ORDER BY created_at {order}, id {order} LIMIT $4"
    );
    let values = [
        parent.map(|id| id.0).into(),
        at.into(),
        id.into(),
        page.limit().into(),
    ];
    let rows = ctx.db.all::<OrganisationRow>(&sql, values).await?;
    rows.into_iter().map(OrganisationRow::read).collect()
}

/// A role with the organisation it is held in.
#[derive(Clone, Debug)]
pub struct RoleView {
    pub role: Held,
    pub organisation: Organisation,
}

/// The roles that a person holds now.
///
/// # Errors
/// When the database fails.
pub async fn roles_of(ctx: &Ctx, member: MemberId) -> Result<Vec<RoleView>> {
    let db = &ctx.db;
    let sql = format!(
        "SELECT {} FROM role WHERE member = $1 AND role_held(withdrawn_at, ends_at, $3)
         ORDER BY granted_at, id LIMIT $2",
        roles::COLUMNS
    );
    let rows = db
        .all::<roles::Row>(
            &sql,
            [member.0.into(), ROLES_MAX.into(), ctx.clock.now().into()],
        )
        .await?;
    let held = rows
        .into_iter()
        .map(roles::Row::read)
        .collect::<Result<Vec<Held>>>()?;
    let ids: Vec<Uuid> = held.iter().map(|it| it.of.organisation.0).collect();
    let organisations = organisations_by_id(db, &ids).await?;
    let view = |role: Held| {
        let organisation = organisations
            .iter()
            .find(|it| it.id == role.of.organisation)
            .cloned()
            .ok_or_else(|| Error::internal("a role in no organisation"))?;
        Ok(RoleView { role, organisation })
    };
    held.into_iter().map(view).collect()
}

/// A page of the rows of one owner, the newest first.
fn listed(
    columns: &str,
    table: &str,
    owner: &str,
    id: Uuid,
    page: &Page,
) -> Result<(String, [sea_orm::Value; 4])> {
    let (order, compare) = page.newest_first();
    let (at, after) = start(page)?;
    let sql = format!(
        "SELECT {columns} FROM {table}
         WHERE {owner} = $1 AND ($2::timestamptz IS NULL OR (created_at, id) {compare} ($2, $3))
         ORDER BY created_at {order}, id {order} LIMIT $4"
    );
    Ok((
        sql,
        [id.into(), at.into(), after.into(), page.limit().into()],
    ))
}

fn start(page: &Page) -> Result<(Option<DateTime<Utc>>, Option<Uuid>)> {
    Ok(match &page.from {
        None => (None, None),
        Some(cursor) => {
            let (at, id) = cursor.to_at()?;
            (Some(at), Some(id))
        }
    })
}
