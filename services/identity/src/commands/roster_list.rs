//! People of a list, an outing say: found among those of the officer's own organisation and of
//! those below it, by document and name. Whoever is elsewhere is answered like nobody.

use std::collections::HashSet;

use kit::types::OrganisationId;
use kit::{Result, Tx};
use uuid::Uuid;

use super::matching::{Blinds, Comparisons, given};
use super::people::NewPerson;
use super::roster_work::Compared;
use crate::domain::roster::Change;
use crate::store::{people, roster_people as store};
use crate::vault::Vault;

/// Finds the people of a list, in its order. One query each by document, by phone and by
/// organisation, and one comparison of names for each person, whoever is found.
///
/// # Errors
/// When the database fails.
pub(crate) async fn resolve(
    tx: &Tx,
    vault: &Vault,
    organisation: OrganisationId,
    list: &[NewPerson],
) -> Result<Vec<Compared>> {
    let blinds = Blinds::of(vault, list)?;
    let by_document = people::by_documents(tx, &given(&blinds.documents)).await?;
    let by_phone = store::by_phones(tx, &given(&blinds.phones)).await?;
    let found = |at: usize| match (blinds.documents[at], blinds.phones[at]) {
        (Some(document), _) => by_document.get(&document),
        (None, Some(phone)) => by_phone.get(&phone),
        (None, None) => None,
    };
    let members: Vec<Uuid> = (0..list.len())
        .filter_map(|at| found(at).map(|row| row.member))
        .collect();
    let own: HashSet<Uuid> = store::members_within(tx, organisation, &members)
        .await?
        .into_iter()
        .collect();
    let mut comparisons = Comparisons::new(tx.ids(), vault)?;
    let mut compared = Vec::with_capacity(list.len());
    for (at, person) in list.iter().enumerate() {
        let row = found(at).filter(|row| own.contains(&row.member));
        let same = comparisons.same(vault, row, &person.name);
        compared.push(match row {
            Some(row) if same => Compared {
                change: Change::Unchanged,
                member: Some(row.member),
                membership: None,
                counts: false,
                repeats: None,
            },
            _ => Compared::not_matched(true),
        });
    }
    debug_assert_eq!(comparisons.done(), list.len());
    Ok(compared)
}
