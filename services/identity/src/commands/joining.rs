//! Memberships begun: opened where there is none, told to whom they are of, and what they rest on.

use std::collections::HashMap;

use kit::types::{MemberId, shanghai_date};
use kit::{Result, Tx};
use uuid::Uuid;

use super::notices;
use super::people::{Joining, NewPerson};
use crate::domain::membership::{self, Membership, Standing};
use crate::domain::notice::Notice;
use crate::error::Refusal;
use crate::publish;
use crate::store::memberships::{self, Ground};
use crate::store::notices::NewNotice;
use crate::store::people as store;

/// Opens the memberships that are not open yet; all of them, in the order of `members`.
pub(crate) async fn join(tx: &Tx, joining: Joining, members: &[Uuid]) -> Result<Vec<Membership>> {
    let organisation = joining.organisation;
    let open = store::open_memberships(tx, organisation, members).await?;
    let mut by_member: HashMap<Uuid, Membership> =
        open.into_iter().map(|it| (it.member.0, it)).collect();
    let today = shanghai_date(tx.now());
    let since = membership::begins(joining.since, today)?;
    let mut made = Vec::new();
    for member in members {
        if !by_member.contains_key(member) {
            let membership = Membership {
                id: tx.uuid(),
                version: 1,
                member: MemberId(*member),
                organisation,
                standing: Standing::Full,
                since,
                created_at: tx.now(),
            };
            by_member.insert(*member, membership.clone());
            made.push(membership);
        }
    }
    store::insert_memberships(tx, &made).await?;
    // One that begins today begins after all that have ended.
    if since < today {
        let made: Vec<Uuid> = made.iter().map(|it| it.id).collect();
        if memberships::overlaps(tx, &made).await? {
            return Err(Refusal::SinceInvalid.into());
        }
    }
    for membership in &made {
        tx.emit(publish::membership(membership));
    }
    Ok(members
        .iter()
        .filter_map(|member| by_member.get(member).cloned())
        .collect())
}

/// Tells those who are new in the organisation that somebody has put them there.
pub(super) async fn tell(tx: &Tx, memberships: &[Membership]) -> Result<()> {
    let told = memberships.iter().filter(|it| it.created_at == tx.now());
    let told: Vec<NewNotice> = told
        .map(|it| {
            let notice = Notice::OnRoster {
                organisation: it.organisation,
                joined: true,
            };
            notices::about(it.member, &it.id.to_string(), notice)
        })
        .collect();
    notices::tell(tx, &told).await
}

/// The memberships of those whose document was given, each in the place of its person, rest on
/// that from now on, also where they began by a name and a phone: nobody else matches.
pub(super) async fn rest_on_documents(
    tx: &Tx,
    memberships: &[Membership],
    people: &[NewPerson],
) -> Result<()> {
    let documented = memberships.iter().zip(people);
    let documented = documented.filter(|(_, person)| person.document.is_some());
    let documented: Vec<Uuid> = documented.map(|(it, _)| it.id).collect();
    memberships::rest_on(tx, &documented, Ground::Document).await
}
