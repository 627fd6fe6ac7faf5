//! The closed list of reasons why a gate does not simply open.

use std::fmt;

/// Why a scan was denied, or must be asked about. Codes are the public contract; texts are in
/// `text.rs` beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not one of our codes.
    BadFormat,
    /// A code of a later format.
    UnknownVersion,
    /// Signed with a key that is not known, not valid now or not for this.
    UnknownKey,
    /// Not signed by the key it names.
    BadSignature,
    /// A code gone by: a screenshot, or a token past its own end.
    StaleCode,
    /// Withdrawn for good.
    Revoked,
    /// A newer code was issued instead.
    Superseded,
    /// Held back for a time.
    Frozen,
    NotYetValid,
    Expired,
    /// A date on which the product does not admit.
    Blackout,
    /// The product does not open this venue.
    WrongVenue,
    /// The code admits at another gate of the venue.
    WrongGate,
    /// The reservation is for another time.
    WrongSlot,
    NoReservation,
    VenueFull,
    /// The day's limit is used.
    UsedToday,
    /// The venue's limit is used.
    UsedHere,
    /// The product's limit, over all or over the province, is used.
    UsedUp,
    AlreadyInside,
    NotInside,
    /// The document is another person's.
    IdMismatch,
    /// More persons than may still enter.
    TooManyPersons,
    Unpaid,
    /// Offline, and outside the lease's time or number.
    OutsideLease,
    /// The gate's clock cannot be relied on.
    ClockUntrusted,
    /// The venue does not take part at present.
    VenueSuspended,
    /// Outside the venue's opening hours.
    VenueClosed,
    /// Nobody answers for this entitlement.
    UnknownEntitlement,
    /// Too many entitlements were admitted on their signature alone this hour.
    BudgetExhausted,
    /// The rules need a newer evaluator.
    EvaluatorTooOld,
    /// The document or the photo must be looked at, and nobody stands at the gate.
    Unattended,
    /// A fault of ours.
    Internal,
}

impl Reason {
    pub const ALL: [Self; 33] = [
        Self::BadFormat,
        Self::UnknownVersion,
        Self::UnknownKey,
        Self::BadSignature,
        Self::StaleCode,
        Self::Revoked,
        Self::Superseded,
        Self::Frozen,
        Self::NotYetValid,
        Self::Expired,
        Self::Blackout,
        Self::WrongVenue,
        Self::WrongGate,
        Self::WrongSlot,
        Self::NoReservation,
        Self::VenueFull,
        Self::UsedToday,
        Self::UsedHere,
        Self::UsedUp,
        Self::AlreadyInside,
        Self::NotInside,
        Self::IdMismatch,
        Self::TooManyPersons,
        Self::Unpaid,
        Self::OutsideLease,
        Self::ClockUntrusted,
        Self::VenueSuspended,
        Self::VenueClosed,
        Self::UnknownEntitlement,
        Self::BudgetExhausted,
        Self::EvaluatorTooOld,
        Self::Unattended,
        Self::Internal,
    ];

    /// The code that is stored, published and sent.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadFormat => "bad_format",
            Self::UnknownVersion => "unknown_version",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::StaleCode => "stale_code",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::Frozen => "frozen",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Blackout => "blackout",
            Self::WrongVenue => "wrong_venue",
            Self::WrongGate => "wrong_gate",
            Self::WrongSlot => "wrong_slot",
            Self::NoReservation => "no_reservation",
            Self::VenueFull => "venue_full",
            Self::UsedToday => "used_today",
            Self::UsedHere => "used_here",
            Self::UsedUp => "used_up",
            Self::AlreadyInside => "already_inside",
            Self::NotInside => "not_inside",
            Self::IdMismatch => "id_mismatch",
            Self::TooManyPersons => "too_many_persons",
            Self::Unpaid => "unpaid",
            Self::OutsideLease => "outside_lease",
            Self::ClockUntrusted => "clock_untrusted",
            Self::VenueSuspended => "venue_suspended",
            Self::VenueClosed => "venue_closed",
            Self::UnknownEntitlement => "unknown_entitlement",
            Self::BudgetExhausted => "budget_exhausted",
            Self::EvaluatorTooOld => "evaluator_too_old",
            Self::Unattended => "unattended",
            Self::Internal => "internal",
        }
    }

    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list holds every variant: one left out would be stored with a scan and never read back.
    #[test]
    fn the_list_is_the_enum() {
        let source = include_str!("reason.rs").split_once("pub enum Reason {");
        let body = source.and_then(|(_, rest)| rest.split_once('}'));
        let (body, _) = body.expect("an enum");
        let variants: Vec<&str> = body
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .collect();
        let listed = Reason::ALL.map(|reason| format!("{reason:?},"));
        assert_eq!(variants, listed);
    }

    /// Every reason has a code of its own and is found by it.
    #[test]
    fn codes_are_one_to_one() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
            assert_eq!(
                Reason::ALL.iter().position(|other| *other == reason),
                Some(index)
            );
        }
        assert_eq!(Reason::from_code("BAD_FORMAT"), None);
    }
}
