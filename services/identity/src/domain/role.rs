//! Which role may be held where and until when, and how many persons it takes to grant it.

use chrono::{DateTime, Months, NaiveDate, Utc};
use kit::types::{MemberId, OrganisationId, Union, day_start, shanghai_date};
use uuid::Uuid;

use super::organisation::Kind;
use crate::error::Refusal;

/// The longest term of a role, and the one where none is said, in years: that of a trade-union
/// committee (工会法: three or five years).
pub const ROLE_YEARS_MAX: u32 = 5;

/// A role over an organisation and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// 经办
    Officer,
    /// 主席
    Approver,
    /// 副主席: approves as the chair does.
    Deputy,
    /// 经审
    Auditor,
    VenueStaff,
    VenueManager,
    Operator,
}

/// The roles that one person alone does not grant, and why. Of the others: an officer's corrections
/// are reviewed and her spending is approved, an auditor only reads, and what staff and supervisors
/// of a venue do is bounded, audited and shown to the union.
pub const POWERFUL: [(Role, &str); 3] = [
    (
        Role::Operator,
        "grants every other role, resets second factors and sets prices",
    ),
    (Role::Approver, "lets a union's money be spent"),
    (Role::Deputy, "approves as the chair does"),
];

impl Role {
    pub const ALL: [Self; 7] = [
        Self::Officer,
        Self::Approver,
        Self::Deputy,
        Self::Auditor,
        Self::VenueStaff,
        Self::VenueManager,
        Self::Operator,
    ];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::Approver => "approver",
            Self::Deputy => "deputy",
            Self::Auditor => "auditor",
            Self::VenueStaff => "venue_staff",
            Self::VenueManager => "venue_manager",
            Self::Operator => "operator",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether it takes two persons, neither of whom is to hold it: see [`POWERFUL`].
    pub fn is_powerful(self) -> bool {
        POWERFUL.iter().any(|(role, _)| *role == self)
    }

    /// # Errors
    /// [`Refusal::RoleDoesNotFit`]: union offices belong to unions, venue work to partner
    /// companies, and operators to the root alone.
    pub fn fits(self, kind: Kind, is_root: bool) -> Result<(), Refusal> {
        let fits = match self {
            Self::Officer | Self::Approver | Self::Deputy | Self::Auditor => kind != Kind::Partner,
            Self::VenueStaff | Self::VenueManager => kind == Kind::Partner,
            Self::Operator => is_root,
        };
        if fits {
            Ok(())
        } else {
            Err(Refusal::RoleDoesNotFit)
        }
    }
}

/// Whose role it is, where, and which: of one kind a person holds one in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of {
    pub member: MemberId,
    pub organisation: OrganisationId,
    pub role: Role,
}

/// What somebody is to hold, and the instant from which she does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub of: Of,
    pub ends_at: DateTime<Utc>,
}

/// How a role came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Before roles remembered it.
    Before,
    /// On the command line, by whoever has the machine: where there are no two to grant it.
    Machine,
    /// By one person.
    One,
    /// By two, with this proposal.
    Two(Uuid),
}

/// The instant at which a role ends that is granted now: when the day begins in Shanghai that is
/// the first one without it. Without a date the term is the longest.
///
/// # Errors
/// [`Refusal::RoleEndInvalid`]: not after today, or beyond the longest term.
pub fn term(until: Option<NaiveDate>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal> {
    let today = shanghai_date(now);
    let longest = today
        .checked_add_months(Months::new(12 * ROLE_YEARS_MAX))
        .ok_or(Refusal::RoleEndInvalid)?;
    let until = until.unwrap_or(longest);
    if today < until && until <= longest {
        Ok(day_start(until))
    } else {
        Err(Refusal::RoleEndInvalid)
    }
}

/// Whether a role with this end is held now: by the clock alone, whether or not anybody has written
/// down yet that it is over.
pub fn lives(ends_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    ends_at.is_none_or(|end| now < end)
}

/// The division code of a union's own province.
pub const fn province_division(union: Union) -> &'static str {
    match union {
        Union::Chongqing => "500000",
        Union::Sichuan => "510000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_stay_where_they_belong() {
        for (role, kind, is_root, fits) in [
            (Role::Operator, Kind::Territorial, true, true),
            (Role::Operator, Kind::Territorial, false, false),
            (Role::Officer, Kind::Grassroots, false, true),
            (Role::Approver, Kind::Partner, false, false),
            (Role::Deputy, Kind::Grassroots, false, true),
            (Role::Deputy, Kind::Partner, false, false),
            (Role::VenueStaff, Kind::Partner, false, true),
            (Role::VenueManager, Kind::Territorial, true, false),
        ] {
            assert_eq!(role.fits(kind, is_root).is_ok(), fits, "{role:?} {kind:?}");
        }
    }

    /// Every role has its own name, and those that two grant say why.
    #[test]
    fn roles_are_told_apart() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        let powerful = Role::ALL.into_iter().filter(|role| role.is_powerful());
        assert_eq!(powerful.count(), POWERFUL.len());
        assert!(POWERFUL.iter().all(|(_, why)| !why.is_empty()));
    }

    /// A term begins today and ends at a midnight in Shanghai, five years from now at the latest.
    #[test]
    fn a_term_ends() {
        let now = "2026-04-01T15:59:59Z".parse().unwrap();
        let end = |until: Option<&str>| term(until.map(|date| date.parse().unwrap()), now);
        let midnight: DateTime<Utc> = "2026-04-01T16:00:00Z".parse().unwrap();
        assert_eq!(end(Some("2026-04-02")), Ok(midnight));
        assert!(lives(Some(midnight), now));
        assert!(!lives(Some(midnight), midnight));
        assert!(lives(None, midnight));
        assert_eq!(end(None), end(Some("2031-04-01")));
        for wrong in ["2026-04-01", "2026-03-31", "2031-04-02", "9999-01-01"] {
            assert_eq!(end(Some(wrong)), Err(Refusal::RoleEndInvalid), "{wrong}");
        }
    }
}
