//! Rosters as the officer who began them reads them; to everybody else they are absent.

use std::collections::HashMap;

use kit::access::Caller;
use kit::graphql::{Page, foreign_cursor};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use crate::commands::matching::stored_name;
use crate::commands::rosters::{data_key, owned};
use crate::domain::name::PersonName;
use crate::domain::organisation::Organisation;
use crate::domain::roster::{Change, Roster, State};
use crate::roster::{Finding, Problem};
use crate::store::people::PersonRow;
use crate::store::roster_rows::{self as rows, Counts, RosterRow};
use crate::store::rosters as store;
use crate::vault::Vault;

/// A roster and what is counted of it.
#[derive(Clone, Debug)]
pub struct RosterView {
    pub roster: Roster,
    pub problem: Option<Problem>,
    pub organisation: Organisation,
    pub counts: Counts,
    /// Names of columns that were not read.
    pub ignored: Vec<String>,
}

/// A row of the difference.
#[derive(Clone, Debug)]
pub struct RowView {
    pub place: i32,
    pub change: Change,
    /// Masked; as it stands in the file, or for who is known, in the vault.
    pub masked_name: Option<String>,
    pub findings: Vec<Finding>,
    pub member: Option<Uuid>,
}

/// One roster; `None` where it is absent to the caller.
///
/// # Errors
/// When the database fails.
pub async fn roster(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    id: Uuid,
) -> Result<Option<RosterView>> {
    let found = ctx
        .db
        .read("roster", async |tx| {
            let Some(kept) = readable(tx, caller, id).await? else {
                return Ok(None);
            };
            let ignored = match (&kept.told, &kept.data_key) {
                (Some(told), Some(wrapped)) => {
                    rows::open_told(&data_key(vault, id, wrapped)?, id, told)?
                }
                _ => Vec::new(),
            };
            let counts = rows::counts(tx, id).await?;
            Ok(Some((kept, counts, ignored)))
        })
        .await?;
    let Some((kept, counts, ignored)) = found else {
        return Ok(None);
    };
    let organisation = super::organisation(&ctx.db, kept.roster.organisation)
        .await?
        .ok_or_else(|| Error::internal("a roster of no organisation"))?;
    Ok(Some(RosterView {
        roster: kept.roster,
        problem: kept.problem,
        organisation,
        counts,
        ignored,
    }))
}

async fn readable(tx: &Tx, caller: &Caller, id: Uuid) -> Result<Option<store::Kept>> {
    let kept = store::load(tx, id).await?;
    match owned(tx, caller, kept).await {
        Ok((kept, _)) => Ok(Some(kept)),
        Err(Error::Refused(_) | Error::Unauthenticated(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A page of the difference, in the order of the file; those who leave come last. None of it is
/// shown before all of it is there.
///
/// # Errors
/// When the database fails, or the cursor is another list's.
pub async fn difference(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    (id, change): (Uuid, Option<Change>),
    page: &Page,
) -> Result<Vec<RowView>> {
    let after = after(page)?;
    ctx.db
        .read("roster_difference", async |tx| {
            let Some(kept) = readable(tx, caller, id).await? else {
                return Ok(Vec::new());
            };
            if !matches!(kept.roster.state, State::Ready | State::Committed { .. }) {
                return Ok(Vec::new());
            }
            let (order, compare) = page.oldest_first();
            let sql = format!(
                "SELECT {} FROM roster_row WHERE roster = $1 AND ($2 = '' OR change = $2)
                   AND ($3 < 0 OR place {compare} $3) ORDER BY place {order} LIMIT $4",
                rows::COLUMNS
            );
            let values = [
                id.into(),
                change.map_or("", Change::as_str).into(),
                after.into(),
                page.limit().into(),
            ];
            let found = tx.all::<rows::Row>(&sql, values).await?;
            let found = found
                .into_iter()
                .map(rows::Row::read)
                .collect::<Result<Vec<RosterRow>>>()?;
            let names = names(tx, vault, &found).await?;
            let key = match &kept.data_key {
                Some(wrapped) => Some(data_key(vault, id, wrapped)?),
                None => None,
            };
            let mut views = Vec::with_capacity(found.len());
            for row in found {
                let content = match (&key, &row.sealed) {
                    (Some(key), Some(_)) => Some(rows::open(key, id, &row)?),
                    _ => None,
                };
                let known = row.member.and_then(|member| names.get(&member));
                let masked_name = match &content {
                    Some(content) => Some(masked(&content.cells.name)),
                    None => known.map(PersonName::masked),
                };
                views.push(RowView {
                    place: row.place,
                    change: row.change,
                    masked_name,
                    findings: content.map(|it| it.findings).unwrap_or_default(),
                    member: row.member,
                });
            }
            Ok(views)
        })
        .await
}

fn after(page: &Page) -> Result<i32> {
    let Some(cursor) = &page.from else {
        return Ok(-1);
    };
    let place = cursor.parts::<1>().and_then(|[place]| place.parse().ok());
    place.filter(|place| *place >= 0).ok_or_else(foreign_cursor)
}

/// As a list shows it, also what is no name.
fn masked(text: &str) -> String {
    match PersonName::parse(text) {
        Ok(name) => name.masked(),
        Err(_) => text
            .chars()
            .enumerate()
            .map(|(at, c)| if at == 0 { c } else { '*' })
            .collect(),
    }
}

/// The names of those rows whose content is not there.
async fn names(tx: &Tx, vault: &Vault, found: &[RosterRow]) -> Result<HashMap<Uuid, PersonName>> {
    let members: Vec<Uuid> = found
        .iter()
        .filter(|row| row.sealed.is_none())
        .filter_map(|row| row.member)
        .collect();
    if members.is_empty() {
        return Ok(HashMap::new());
    }
    let people = tx
        .all::<PersonRow>(
            "SELECT member, data_key, name FROM person WHERE member = ANY ($1)",
            [members.into()],
        )
        .await?;
    people
        .iter()
        .map(|row| Ok((row.member, stored_name(vault, row)?)))
        .collect()
}
