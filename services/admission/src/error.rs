//! Every business "no" of this service: its code, the input field it is about and its text in
//! both languages. A scan that is denied is no refusal: it is a decision with a reason of its own
//! (`credential::rules::Reason`).

use std::borrow::Cow;

/// Why a command was refused. A refusal is recorded under its code and read back by
/// [`Refusal::from_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    // Venues and gates.
    VenueNameTaken,
    OrganisationUnknown,
    TooManyGates,
    EnrolmentCodeWrong,
    EnrolmentCodeExpired,
    // Who scans.
    GateNotRecognised,
    GateDisabled,
    GateMismatch,
    GateOfAnotherVenue,
    ScanIdReused,
    // Staff.
    NoOpenShift,
    TooManyLookUps,
    NothingToOverride,
    AlreadyOverridden,
    OverrideNotAllowed,
    TooManyPersons,
    DenialTooOld,
    OverriddenLately,
    TooManyOverrides,
    NotAdmitted,
    AlreadyVoided,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 21] = [
        Self::VenueNameTaken,
        Self::OrganisationUnknown,
        Self::TooManyGates,
        Self::EnrolmentCodeWrong,
        Self::EnrolmentCodeExpired,
        Self::GateNotRecognised,
        Self::GateDisabled,
        Self::GateMismatch,
        Self::GateOfAnotherVenue,
        Self::ScanIdReused,
        Self::NoOpenShift,
        Self::TooManyLookUps,
        Self::NothingToOverride,
        Self::AlreadyOverridden,
        Self::OverrideNotAllowed,
        Self::TooManyPersons,
        Self::DenialTooOld,
        Self::OverriddenLately,
        Self::TooManyOverrides,
        Self::NotAdmitted,
        Self::AlreadyVoided,
    ];

    /// The code of the graph and of the idempotency record.
    pub const fn code(self) -> &'static str {
        match self {
            Self::VenueNameTaken => "VENUE_NAME_TAKEN",
            Self::OrganisationUnknown => "ORGANISATION_UNKNOWN",
            Self::TooManyGates => "TOO_MANY_GATES",
            Self::EnrolmentCodeWrong => "ENROLMENT_CODE_WRONG",
            Self::EnrolmentCodeExpired => "ENROLMENT_CODE_EXPIRED",
            Self::GateNotRecognised => "GATE_NOT_RECOGNISED",
            Self::GateDisabled => "GATE_DISABLED",
            Self::GateMismatch => "GATE_MISMATCH",
            Self::GateOfAnotherVenue => "GATE_OF_ANOTHER_VENUE",
            Self::ScanIdReused => "SCAN_ID_REUSED",
            Self::NoOpenShift => "NO_OPEN_SHIFT",
            Self::TooManyLookUps => "TOO_MANY_LOOK_UPS",
            Self::NothingToOverride => "NOTHING_TO_OVERRIDE",
            Self::AlreadyOverridden => "ALREADY_OVERRIDDEN",
            Self::OverrideNotAllowed => "OVERRIDE_NOT_ALLOWED",
            Self::TooManyPersons => "TOO_MANY_PERSONS",
            Self::DenialTooOld => "DENIAL_TOO_OLD",
            Self::OverriddenLately => "OVERRIDDEN_LATELY",
            Self::TooManyOverrides => "TOO_MANY_OVERRIDES",
            Self::NotAdmitted => "NOT_ADMITTED",
            Self::AlreadyVoided => "ALREADY_VOIDED",
        }
    }

    /// The refusal with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    const fn field(self) -> &'static str {
        match self {
            Self::VenueNameTaken => "nameZh",
            Self::OrganisationUnknown => "organisationId",
            Self::TooManyGates | Self::NoOpenShift => "venueId",
            Self::EnrolmentCodeWrong | Self::EnrolmentCodeExpired => "code",
            Self::GateMismatch => "scanId.deviceId",
            Self::GateOfAnotherVenue => "gateId",
            Self::ScanIdReused => "scanId",
            Self::NothingToOverride
            | Self::AlreadyOverridden
            | Self::OverrideNotAllowed
            | Self::TooManyPersons
            | Self::DenialTooOld
            | Self::NotAdmitted
            | Self::AlreadyVoided => "redemptionId",
            Self::OverriddenLately => "passNumber",
            Self::GateNotRecognised
            | Self::GateDisabled
            | Self::TooManyLookUps
            | Self::TooManyOverrides => "",
        }
    }

    /// Whether the same request may succeed later.
    const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::NoOpenShift
                | Self::TooManyLookUps
                | Self::OverriddenLately
                | Self::TooManyOverrides
                | Self::OrganisationUnknown
                | Self::GateDisabled
        )
    }

    const fn zh(self) -> &'static str {
        match self {
            Self::VenueNameTaken => "该单位已有同名场馆。",
            Self::OrganisationUnknown => "没有这个单位，或其信息尚未到达，请稍后重试。",
            Self::TooManyGates => "该场馆的检票口数量已达上限。",
            Self::EnrolmentCodeWrong => "登记码不正确，请核对后重试，或请管理员重新生成。",
            Self::EnrolmentCodeExpired => "登记码已失效，请管理员重新生成。",
            Self::GateNotRecognised => "无法识别此检票设备，请重新登记设备。",
            Self::GateDisabled => "此检票口已停用，请联系场馆管理员。",
            Self::GateMismatch => "扫码编号中的设备与发出请求的设备不符。",
            Self::GateOfAnotherVenue => "此检票口不属于该场馆。",
            Self::ScanIdReused => "此扫码编号已用于另一次扫码，已记录并告警。",
            Self::NoOpenShift => "请先在该场馆签到上岗。",
            Self::TooManyLookUps => "查询次数过多，请稍后再试。",
            Self::NothingToOverride => "这次扫码没有可放行的有效凭证。",
            Self::AlreadyOverridden => "这次扫码已被放行过。",
            Self::OverrideNotAllowed => "该凭证已冻结、作废或无人确认，不能人工放行。",
            Self::TooManyPersons => {
                "人数超出该凭证可入园人数，不能人工放行；请按凭证人数重新扫码。"
            }
            Self::DenialTooOld => "这次扫码已过去太久，不能再放行；请重新扫码。",
            Self::OverriddenLately => "该凭证几分钟前已在本场馆人工放行过，请稍后再试。",
            Self::TooManyOverrides => "您在本班次的人工放行次数已达上限，请联系其他主管。",
            Self::NotAdmitted => "这次扫码没有入园记录，无需撤销。",
            Self::AlreadyVoided => "这条入园记录已被撤销。",
        }
    }

    const fn en(self) -> &'static str {
        match self {
            Self::VenueNameTaken => "This company already has a venue of that name.",
            Self::OrganisationUnknown => {
                "There is no such organisation, or it has not arrived yet; please try again later."
            }
            Self::TooManyGates => "This venue cannot have any more gates.",
            Self::EnrolmentCodeWrong => {
                "The enrolment code is wrong; check it, or ask for a new one."
            }
            Self::EnrolmentCodeExpired => "The enrolment code has expired; ask for a new one.",
            Self::GateNotRecognised => "This gate is not recognised; please enrol it again.",
            Self::GateDisabled => "This gate is disabled; please contact the venue's supervisor.",
            Self::GateMismatch => "The scan id names another device than the one that asks.",
            Self::GateOfAnotherVenue => "This gate belongs to another venue.",
            Self::ScanIdReused => {
                "This scan id was used for another scan; it has been recorded and reported."
            }
            Self::NoOpenShift => "Please open a shift at this venue first.",
            Self::TooManyLookUps => "Too many look-ups; please try again later.",
            Self::NothingToOverride => "That scan showed no entitlement that could be let in.",
            Self::AlreadyOverridden => "That scan has been overridden before.",
            Self::OverrideNotAllowed => {
                "A frozen, revoked or unconfirmed entitlement cannot be let in by hand."
            }
            Self::TooManyPersons => {
                "The pass is for fewer persons, and no more are let in by hand; scan again."
            }
            Self::DenialTooOld => "That scan is too long ago to be let in; please scan again.",
            Self::OverriddenLately => {
                "This pass was let in here by hand a few minutes ago; please try again later."
            }
            Self::TooManyOverrides => {
                "You have let in by hand as often as one shift allows; ask another supervisor."
            }
            Self::NotAdmitted => "That scan admitted nobody; there is nothing to void.",
            Self::AlreadyVoided => "That admission has been voided before.",
        }
    }
}

impl From<Refusal> for kit::Refusal {
    fn from(refusal: Refusal) -> Self {
        let plain = Self::new(
            refusal.code(),
            refusal.field(),
            Cow::Borrowed(refusal.zh()),
            Cow::Borrowed(refusal.en()),
        );
        if refusal.is_transient() {
            plain.transient()
        } else {
            plain
        }
    }
}

impl From<Refusal> for kit::Error {
    fn from(refusal: Refusal) -> Self {
        kit::Refusal::from(refusal).into()
    }
}

/// The refusal that an idempotency record names.
pub(crate) fn recorded(code: &str) -> kit::Error {
    Refusal::from_code(code).map_or_else(
        || kit::Error::internal(format!("a recorded refusal {code} is none of this service")),
        kit::Error::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list holds every variant: one left out would be recorded and never read back, and its
    /// repeated request would be answered as a fault of ours.
    #[test]
    fn the_list_is_the_enum() {
        let source = include_str!("error.rs").split_once("pub enum Refusal {");
        let body = source.and_then(|(_, rest)| rest.split_once('}')).unwrap().0;
        let variants: Vec<&str> = body
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .collect();
        let listed = Refusal::ALL.map(|refusal| format!("{refusal:?},"));
        assert_eq!(variants, listed);
    }

    /// Each refusal reads back from its code and speaks both languages.
    #[test]
    fn codes_are_one_to_one() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
            assert!(refusal.zh().ends_with('。') && refusal.en().ends_with('.'));
        }
        assert_eq!(Refusal::from_code("NONE"), None);
    }
}
