//! Looking for people by name or by its spelling, and reading many of them at once.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::access::Caller;
use kit::graphql::{Page, foreign_cursor};
use kit::types::{MemberId, OrganisationId};
use kit::{Ctx, Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{Profile, read_document};
use crate::commands::people::officer_or_operator;
use crate::domain::identifier::Phone;
use crate::domain::name::PersonName;
use crate::domain::search::Term;
use crate::store::search::{self as store, Wanted};
use crate::vault::{Cell, Vault};

/// Those in the organisation or below it whom the term finds, in the order of their ids.
///
/// # Errors
/// Officers of the organisation or above it, and operators.
pub async fn members_named(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    (organisation, term): (OrganisationId, &Term),
    page: &Page,
) -> Result<Vec<Profile>> {
    let terms = vault.blind_terms([term])?;
    let wanted = Wanted {
        organisation,
        term: *terms.first().ok_or_else(|| Error::internal("no term"))?,
        from: from(page)?,
        backwards: page.backwards,
        limit: page.limit(),
    };
    ctx.db
        .read("members_named", async |tx| {
            officer_or_operator(tx, caller, organisation).await?;
            let found = store::page(tx, wanted).await?;
            profiles(tx, vault, &found).await
        })
        .await
}

fn from(page: &Page) -> Result<Option<Uuid>> {
    let Some(cursor) = &page.from else {
        return Ok(None);
    };
    let [id] = cursor.parts().ok_or_else(foreign_cursor)?;
    Ok(Some(id.parse().map_err(|_| foreign_cursor())?))
}

#[derive(FromQueryResult)]
struct Row {
    member: Uuid,
    data_key: Vec<u8>,
    name: Vec<u8>,
    created_at: DateTime<Utc>,
    phone: Option<Uuid>,
    subject: Option<Vec<u8>>,
    document: Option<Uuid>,
    kind: Option<i16>,
    number: Option<Vec<u8>>,
}

/// These people, those who are active, in the order in which they are named.
///
/// # Errors
/// When the database fails, or a cell does not open.
pub(crate) async fn profiles(tx: &Tx, vault: &Vault, members: &[Uuid]) -> Result<Vec<Profile>> {
    let rows = tx
        .all::<Row>(
            "SELECT p.member, p.data_key, p.name, m.created_at, l.id AS phone, l.subject,
               d.id AS document, d.kind, d.number
             FROM person p JOIN member m ON m.id = p.member
             LEFT JOIN login_method l ON l.member = p.member AND l.kind = 'phone'
             LEFT JOIN LATERAL (SELECT id, kind, number FROM document
               WHERE member = p.member ORDER BY kind, created_at, id LIMIT 1) d ON true
             WHERE p.member = ANY ($1) AND m.state = 'active'",
            [members.to_vec().into()],
        )
        .await?;
    let mut read = HashMap::with_capacity(rows.len());
    for row in rows {
        read.insert(row.member, row.open(vault)?);
    }
    let in_order = members.iter().filter_map(|member| read.remove(member));
    Ok(in_order.collect())
}

impl Row {
    fn open(self, vault: &Vault) -> Result<Profile> {
        let key = vault.data_key(self.member, &self.data_key)?;
        let name = key.open_text(Cell::new("person", "name", self.member), &self.name)?;
        let phone = match (self.phone, self.subject) {
            (Some(id), Some(subject)) => {
                let cell = Cell::new("login_method", "subject", id);
                Some(Phone::stored(key.open_text(cell, &subject)?))
            }
            _ => None,
        };
        let document = match (self.document, self.kind, self.number) {
            (Some(id), Some(kind), Some(number)) => Some(read_document(&key, id, kind, &number)?),
            _ => None,
        };
        Ok(Profile {
            id: MemberId(self.member),
            name: PersonName::stored(name),
            phone,
            document,
            created_at: self.created_at,
            is_self: false,
        })
    }
}
