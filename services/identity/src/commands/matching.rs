//! What people are found by, and comparing names without telling what else was wrong: whoever is
//! looked up, the same work is done, whether her number is unknown or her name another.

use std::collections::HashSet;

use kit::{Ids, Result};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::people::{NewPerson, Refused};
use crate::domain::name::PersonName;
use crate::error::Refusal;
use crate::store::people::{Blind, PersonRow};
use crate::vault::{Cell, Vault};

/// The name of nobody.
const NOBODY: &str = "查无此人";

/// Compares names of a list, one for each person of it.
#[derive(Debug)]
pub(crate) struct Comparisons {
    /// Sealed as a person is: opening it costs what opening a person costs.
    nobody: PersonRow,
    done: usize,
}

impl Comparisons {
    /// # Errors
    /// When nobody's name cannot be sealed.
    pub(crate) fn new(ids: &Ids, vault: &Vault) -> Result<Self> {
        let member = Uuid::nil();
        let (key, data_key) = vault.new_data_key(ids, member)?;
        let name = key.seal(ids, Cell::new("person", "name", member), NOBODY.as_bytes())?;
        Ok(Self {
            nobody: PersonRow {
                member,
                data_key,
                name,
            },
            done: 0,
        })
    }

    /// Whether the person who was found has this name; never, where nobody was found.
    pub(crate) fn same(
        &mut self,
        vault: &Vault,
        found: Option<&PersonRow>,
        given: &PersonName,
    ) -> bool {
        self.done += 1;
        let row = found.unwrap_or(&self.nobody);
        let same = stored_name(vault, row).is_ok_and(|name| same_text(name.as_str(), given));
        same && found.is_some()
    }

    /// Who stands for nobody, under a key of her own.
    pub(crate) const fn nobody(&self) -> &PersonRow {
        &self.nobody
    }

    /// How many names were compared.
    pub(crate) const fn done(&self) -> usize {
        self.done
    }
}

/// A person's name out of the vault.
pub(crate) fn stored_name(vault: &Vault, row: &PersonRow) -> Result<PersonName> {
    let key = vault.data_key(row.member, &row.data_key)?;
    let name = key.open_text(Cell::new("person", "name", row.member), &row.name)?;
    Ok(PersonName::stored(name))
}

/// Whether two names are the same, in constant time.
pub(crate) fn same_text(stored: &str, given: &PersonName) -> bool {
    stored.as_bytes().ct_eq(given.as_str().as_bytes()).into()
}

/// What the documents and phones of a list are found by, in its order.
pub(crate) struct Blinds {
    pub(crate) documents: Vec<Option<Blind>>,
    pub(crate) phones: Vec<Option<Blind>>,
}

impl Blinds {
    /// # Errors
    /// Overloaded, when the process looks for too many.
    pub(crate) fn of(vault: &Vault, people: &[NewPerson]) -> Result<Self> {
        let document = |person: &NewPerson| {
            let document = person.document.as_ref();
            document.map(|it| vault.blind_document(it)).transpose()
        };
        let phone = |person: &NewPerson| {
            let phone = person.phone.as_ref();
            phone.map(|it| vault.blind_phone(it)).transpose()
        };
        Ok(Self {
            documents: people.iter().map(document).collect::<Result<_>>()?,
            phones: people.iter().map(phone).collect::<Result<_>>()?,
        })
    }

    /// Who of the list has a document or a phone of somebody before her in it.
    pub(crate) fn repeated(&self) -> Refused {
        let mut seen = HashSet::new();
        let mut repeated = Vec::new();
        for (at, of_person) in self.documents.iter().zip(&self.phones).enumerate() {
            let (document, phone) = of_person;
            // Both are taken down, whichever of them is there already.
            let given = [document, phone].into_iter().flatten();
            let repeats = given.filter(|it| !seen.insert(**it)).count();
            if repeats > 0 {
                repeated.push((at, Refusal::PersonRepeated));
            }
        }
        repeated
    }
}

pub(crate) fn given(blinds: &[Option<Blind>]) -> Vec<Blind> {
    blinds.iter().flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::vault::VaultKeys;

    /// One name is opened and compared for each person, whether her number is unknown, her name
    /// another or all of it right; and nobody has nobody's name.
    #[test]
    fn the_same_work_is_done_whatever_is_wrong() {
        let secret = |byte: u8| STANDARD.encode([byte; 32]).into();
        let vault = Vault::new(VaultKeys {
            kek: &secret(1),
            other_keks: &[],
            blind_index_key: &secret(2),
            code_key: &secret(3),
            idtag_key: &secret(4),
        })
        .unwrap();
        let ids = Ids::seeded(1);
        let member = Uuid::from_u128(7);
        let (key, data_key) = vault.new_data_key(&ids, member).unwrap();
        let cell = Cell::new("person", "name", member);
        let name = key.seal(&ids, cell, "张三".as_bytes()).unwrap();
        let known = PersonRow {
            member,
            data_key,
            name,
        };
        let mut comparisons = Comparisons::new(&ids, &vault).unwrap();
        for (at, (found, given, same)) in [
            (Some(&known), "张三", true),
            (Some(&known), "李四", false),
            (None, "张三", false),
            (None, NOBODY, false),
        ]
        .into_iter()
        .enumerate()
        {
            let given = PersonName::parse(given).unwrap();
            assert_eq!(comparisons.same(&vault, found, &given), same);
            assert_eq!(comparisons.done(), at + 1);
        }
        // What stands for nobody opens as a person does, and is as long.
        assert!(stored_name(&vault, &comparisons.nobody).is_ok());
        assert_eq!(comparisons.nobody.data_key.len(), known.data_key.len());
    }
}
