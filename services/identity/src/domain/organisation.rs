//! The organisation tree: federations, industrial unions, grassroots unions and their groups, and
//! the companies that run venues. Any depth up to a limit that only a mistake reaches.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::division;
use kit::types::{OrganisationId, Union};
use uuid::Uuid;

use super::uscc::Uscc;
use crate::error::Refusal;

/// Levels of the tree, at most.
pub const DEPTH_MAX: usize = 16;
/// Characters of an organisation's name.
pub const NAME_CHARS: std::ops::RangeInclusive<usize> = 2..=100;

/// What an organisation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A federation of a province, city, district or county.
    Territorial,
    /// 产业工会
    Industrial,
    /// 基层工会, with or without legal-person status.
    Grassroots,
    /// 分会, 工会小组
    Group,
    /// A company that runs venues or sells.
    Partner,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Territorial,
        Self::Industrial,
        Self::Grassroots,
        Self::Group,
        Self::Partner,
    ];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Territorial => "territorial",
            Self::Industrial => "industrial",
            Self::Grassroots => "grassroots",
            Self::Group => "group",
            Self::Partner => "partner",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    fn fits_under(self, parent: Self) -> bool {
        match parent {
            Self::Territorial => self != Self::Group,
            Self::Industrial => matches!(self, Self::Industrial | Self::Grassroots),
            Self::Grassroots => matches!(self, Self::Grassroots | Self::Group),
            Self::Group => self == Self::Group,
            Self::Partner => self == Self::Partner,
        }
    }
}

/// Whether it still takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Open,
    Closed { at: DateTime<Utc> },
}

/// One organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    pub id: OrganisationId,
    pub version: i64,
    pub kind: Kind,
    /// From the root to itself.
    pub path: Vec<OrganisationId>,
    pub industrial_parent: Option<OrganisationId>,
    pub name: String,
    pub uscc: Option<Uscc>,
    /// GB/T 2260, six digits, as valid when it was made.
    pub division: String,
    pub created_at: DateTime<Utc>,
    pub standing: Standing,
}

/// What an operator gives for a new one.
#[derive(Clone, Debug)]
pub struct NewOrganisation {
    pub id: OrganisationId,
    pub kind: Kind,
    pub name: String,
    pub uscc: Option<Uscc>,
    pub division: String,
    /// The Shanghai date, for the division.
    pub today: NaiveDate,
    pub now: DateTime<Utc>,
}

/// The id of a union's own federation, the root of its tree: the same in every stack.
pub fn root_id(union: Union) -> OrganisationId {
    OrganisationId(Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("bashu/organisation/root/{}", union.code()).as_bytes(),
    ))
}

impl Organisation {
    /// The union's own federation.
    pub fn root(union: Union, now: DateTime<Utc>) -> Self {
        let id = root_id(union);
        Self {
            id,
            version: 1,
            kind: Kind::Territorial,
            path: vec![id],
            industrial_parent: None,
            name: union.name_zh().to_owned(),
            uscc: None,
            division: super::role::province_division(union).to_owned(),
            created_at: now,
            standing: Standing::Open,
        }
    }

    /// A new organisation right below this one.
    ///
    /// # Errors
    /// When this one is closed or takes none of that kind, the name or the division is none, or
    /// the industrial parent is no industrial union.
    pub fn branch(&self, industrial: Option<&Self>, new: NewOrganisation) -> Result<Self, Refusal> {
        if self.standing != Standing::Open {
            return Err(Refusal::ParentClosed);
        }
        if !new.kind.fits_under(self.kind) {
            return Err(Refusal::KindDoesNotFit);
        }
        if self.path.len() >= DEPTH_MAX {
            return Err(Refusal::TooDeep);
        }
        if industrial.is_some_and(|it| it.kind != Kind::Industrial || it.standing != Standing::Open)
        {
            return Err(Refusal::IndustrialParentNotFound);
        }
        let name = new.name.trim().to_owned();
        if !NAME_CHARS.contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(Refusal::NameInvalid);
        }
        if division::find(&new.division, new.today).is_none() {
            return Err(Refusal::DivisionUnknown);
        }
        Ok(Self {
            id: new.id,
            version: 1,
            kind: new.kind,
            path: self.path.iter().copied().chain([new.id]).collect(),
            industrial_parent: industrial.map(|it| it.id),
            name,
            uscc: new.uscc,
            division: new.division,
            created_at: new.now,
            standing: Standing::Open,
        })
    }

    /// Whether what was asked for is already there, so that a repeated request finds it.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.parent() == other.parent()
            && self.industrial_parent == other.industrial_parent
            && self.name == other.name
            && self.uscc == other.uscc
            && self.division == other.division
    }

    pub fn parent(&self) -> Option<OrganisationId> {
        self.path.len().checked_sub(2).map(|at| self.path[at])
    }

    pub fn is_root(&self) -> bool {
        self.path.len() == 1
    }

    /// # Errors
    /// [`Refusal::OrganisationClosed`]
    pub fn must_be_open(&self) -> Result<(), Refusal> {
        match self.standing {
            Standing::Open => Ok(()),
            Standing::Closed { .. } => Err(Refusal::OrganisationClosed),
        }
    }

    /// Closes it. `branches` and `members` are those still open.
    ///
    /// # Errors
    /// When it is the root, closed already, or not empty.
    pub fn close(self, branches: i64, members: i64, now: DateTime<Utc>) -> Result<Self, Refusal> {
        self.must_be_open()?;
        if self.is_root() || branches > 0 {
            return Err(Refusal::HasBranches);
        }
        if members > 0 {
            return Err(Refusal::HasMembers);
        }
        Ok(Self {
            version: self.version + 1,
            standing: Standing::Closed { at: now },
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-04-01T02:00:00Z".parse().unwrap()
    }

    fn new(kind: Kind, id: u128) -> NewOrganisation {
        NewOrganisation {
            id: OrganisationId(Uuid::from_u128(id)),
            kind,
            name: " 渝中区总工会 ".to_owned(),
            uscc: None,
            division: "500103".to_owned(),
            today: now().date_naive(),
            now: now(),
        }
    }

    fn root() -> Organisation {
        Organisation::root(Union::Chongqing, now())
    }

    #[test]
    fn the_tree_grows_by_kind() {
        let district = root().branch(None, new(Kind::Territorial, 1)).unwrap();
        assert_eq!(district.path, [root_id(Union::Chongqing), district.id]);
        assert_eq!(district.name, "渝中区总工会");
        let grassroots = district.branch(None, new(Kind::Grassroots, 2)).unwrap();
        let group = grassroots.branch(None, new(Kind::Group, 3)).unwrap();
        assert_eq!(group.path.len(), 4);
        for (parent, kind) in [
            (&district, Kind::Group),
            (&grassroots, Kind::Territorial),
            (&group, Kind::Grassroots),
            (&grassroots, Kind::Partner),
        ] {
            let made = parent.branch(None, new(kind, 9));
            assert_eq!(made.err(), Some(Refusal::KindDoesNotFit), "{kind:?}");
        }
    }

    #[test]
    fn an_industrial_parent_must_be_one() {
        let industrial = root().branch(None, new(Kind::Industrial, 1)).unwrap();
        let district = root().branch(None, new(Kind::Territorial, 2)).unwrap();
        let both = district
            .branch(Some(&industrial), new(Kind::Grassroots, 3))
            .unwrap();
        assert_eq!(both.industrial_parent, Some(industrial.id));
        let wrong = district.branch(Some(&district), new(Kind::Grassroots, 3));
        assert_eq!(wrong.err(), Some(Refusal::IndustrialParentNotFound));
    }

    #[test]
    fn the_tree_ends_somewhere() {
        let mut at = root();
        for id in 1..DEPTH_MAX as u128 {
            at = at.branch(None, new(Kind::Territorial, id)).unwrap();
        }
        let deeper = at.branch(None, new(Kind::Territorial, 99));
        assert_eq!(deeper.err(), Some(Refusal::TooDeep));
    }

    #[test]
    fn only_the_empty_close_and_only_once() {
        let district = root().branch(None, new(Kind::Territorial, 1)).unwrap();
        assert_eq!(root().close(0, 0, now()).err(), Some(Refusal::HasBranches));
        assert_eq!(
            district.clone().close(1, 0, now()).err(),
            Some(Refusal::HasBranches)
        );
        assert_eq!(
            district.clone().close(0, 1, now()).err(),
            Some(Refusal::HasMembers)
        );
        let closed = district.close(0, 0, now()).unwrap();
        assert_eq!(closed.version, 2);
        let branch = closed.branch(None, new(Kind::Grassroots, 2));
        assert_eq!(branch.err(), Some(Refusal::ParentClosed));
        assert_eq!(
            closed.close(0, 0, now()).err(),
            Some(Refusal::OrganisationClosed)
        );
    }

    #[test]
    fn an_abolished_division_takes_no_new_organisation() {
        let mut gone = new(Kind::Territorial, 1);
        gone.division = "500112".to_owned();
        assert_eq!(
            root().branch(None, gone).err(),
            Some(Refusal::DivisionUnknown)
        );
    }
}
