//! Which role may be held where, and who may grant it.

use kit::types::Union;

use super::organisation::Kind;
use crate::error::Refusal;

/// A role over an organisation and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// 经办
    Officer,
    /// 主席 and deputy
    Approver,
    /// 经审
    Auditor,
    VenueStaff,
    VenueManager,
    Operator,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Officer,
        Self::Approver,
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
            Self::Auditor => "auditor",
            Self::VenueStaff => "venue_staff",
            Self::VenueManager => "venue_manager",
            Self::Operator => "operator",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// # Errors
    /// [`Refusal::RoleDoesNotFit`]: union offices belong to unions, venue work to partner
    /// companies, and operators to the root alone.
    pub fn fits(self, kind: Kind, is_root: bool) -> Result<(), Refusal> {
        let fits = match self {
            Self::Officer | Self::Approver | Self::Auditor => kind != Kind::Partner,
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
            (Role::VenueStaff, Kind::Partner, false, true),
            (Role::VenueManager, Kind::Territorial, true, false),
        ] {
            assert_eq!(role.fits(kind, is_root).is_ok(), fits, "{role:?} {kind:?}");
        }
    }
}
