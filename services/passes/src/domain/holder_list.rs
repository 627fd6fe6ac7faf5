//! Lists of those of an organisation's people who hold passes, for an officer of it. What she may
//! know: that somebody holds which pass until when, since the union gives it as a benefit or plans
//! an outing with it; never what it cost, nor where its holder has been.

use kit::types::{EntitlementId, MemberId, OrganisationId};
use uuid::Uuid;

use super::pass::Usable;
use crate::error::Refusal;

/// Rows of a list, at most: as many as identity renders.
pub const LIST_ROWS_MAX: usize = 2_000;
/// Lists that an officer may ask for on a Shanghai day.
pub const LISTS_PER_DAY_MAX: i32 = 20;

/// What an officer needs a list for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListPurpose {
    /// She plans an outing of those who hold passes.
    Outing,
    /// She compares what the union gave with who has it.
    Benefits,
}

impl ListPurpose {
    pub const ALL: [Self; 2] = [Self::Outing, Self::Benefits];

    /// As it is audited.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outing => "outing",
            Self::Benefits => "benefits",
        }
    }
}

/// Somebody with a pass that opens doors or will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub member: MemberId,
    pub pass: EntitlementId,
    /// What the pass is called, in Chinese and in English.
    pub product: (String, String),
    pub usable: Usable,
}

/// A list that an officer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderList {
    /// The file's id.
    pub id: Uuid,
    pub asker: MemberId,
    pub organisation: OrganisationId,
    pub purpose: ListPurpose,
    pub holders: Vec<Holder>,
}

impl HolderList {
    /// The list, where it has somebody on it and not too many.
    ///
    /// # Errors
    /// [`Refusal::NoHolders`] and [`Refusal::TooManyHolders`].
    pub fn ask(self) -> Result<Self, Refusal> {
        match self.holders.len() {
            0 => Err(Refusal::NoHolders),
            1..=LIST_ROWS_MAX => Ok(self),
            _ => Err(Refusal::TooManyHolders),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: usize) -> HolderList {
        let day = chrono::NaiveDate::from_ymd_opt(2026, 4, 1).unwrap();
        let holder = Holder {
            member: MemberId(Uuid::from_u128(1)),
            pass: EntitlementId(2),
            product: ("年票".to_owned(), "Pass".to_owned()),
            usable: Usable::Ready { activate_by: day },
        };
        HolderList {
            id: Uuid::from_u128(3),
            asker: MemberId(Uuid::from_u128(4)),
            organisation: OrganisationId(Uuid::from_u128(5)),
            purpose: ListPurpose::Outing,
            holders: vec![holder; rows],
        }
    }

    #[test]
    fn a_list_has_somebody_on_it_and_not_too_many() {
        assert_eq!(list(0).ask(), Err(Refusal::NoHolders));
        for rows in [1, LIST_ROWS_MAX] {
            assert_eq!(list(rows).ask(), Ok(list(rows)));
        }
        let long = list(LIST_ROWS_MAX + 1).ask();
        assert_eq!(long, Err(Refusal::TooManyHolders));
    }

    #[test]
    fn each_purpose_is_audited_by_its_own_name() {
        let names: std::collections::BTreeSet<&str> = ListPurpose::ALL
            .into_iter()
            .map(ListPurpose::as_str)
            .collect();
        assert_eq!(names.len(), ListPurpose::ALL.len());
    }
}
