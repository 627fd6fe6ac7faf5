//! Mutations that need no key of the client, each with the reason.

/// Mutations without a key minted by the client, and why sending one twice does nothing twice.
pub(crate) const KEYLESS: [(&str, &str); 32] = [
    (
        "requestLoginCode",
        "nobody is signed in; codes are counted by phone and address",
    ),
    ("login", "a code is good once"),
    (
        "refreshLogin",
        "a refresh token is good once, and its repetition ends the login",
    ),
    ("logout", "a login ends once"),
    ("withdrawLogin", "a login ends once"),
    ("setPhone", "one operator counts once"),
    ("createOrganisation", "a name is unique below its parent"),
    ("closeOrganisation", "an organisation closes once"),
    ("addMembership", "one open membership in each place"),
    ("addMemberships", "as addMembership"),
    ("endMembership", "a membership ends once"),
    ("retainMembership", "sets a state"),
    ("confirmMembership", "said twice, it is said once"),
    ("resumeMembership", "sets a state"),
    ("correctMembership", "what differs in nothing is refused"),
    ("closeMembershipReview", "a review closes once"),
    (
        "grantRole",
        "one role of a kind of a person in an organisation",
    ),
    ("withdrawRole", "a role is withdrawn once"),
    (
        "mintDeskCredentials",
        "signs again what is there, for ten minutes",
    ),
    (
        "importRoster",
        "a roster does nothing until it is committed, which has a key",
    ),
    ("correctRoster", "sets values of a row"),
    ("downloadBadRows", "reads"),
    ("reconcile", "compares the same day again"),
    ("updateVenue", "sets values"),
    ("suspendVenue", "sets a state"),
    ("issueGateCode", "the last code alone is good"),
    ("enrolGate", "a code is good once"),
    ("disableGate", "sets a state"),
    ("enableGate", "sets a state"),
    ("openShift", "one open shift of a person"),
    ("markNoticesRead", "a notice is read once"),
    ("setNoticePreference", "sets a value"),
];
/// More of [`KEYLESS`]: of logins, second factors and roles that take two.
pub(crate) const KEYLESS_OF_LOGINS: [(&str, &str); 21] = [
    ("confirmRole", "a proposal is confirmed once"),
    ("withdrawRoleProposal", "it is taken back once"),
    ("changePhone", "its codes are good once"),
    (
        "requestRecoveryCode",
        "nobody is signed in; codes are counted by phone and address",
    ),
    ("recoverAccount", "a code is good once"),
    ("confirmPhoneRecovery", "a recovery is confirmed once"),
    ("approvePhoneRecovery", "a recovery is approved once"),
    ("recallPhoneRecovery", "a recovery ends once"),
    ("stopPhoneRecovery", "a recovery ends once"),
    ("signOutEverywhere", "a login ends once"),
    ("enrolSecondFactor", "replaces what was not confirmed"),
    ("confirmSecondFactor", "a secret is confirmed once"),
    ("verifySecondFactor", "a code is good once"),
    ("renewRecoveryCodes", "replaces the codes before"),
    ("removeSecondFactor", "a second factor goes once"),
    ("resetSecondFactor", "one operator counts once"),
    ("loginWithWechat", "WeChat takes a code once"),
    ("beginOidcLogin", "a login that does not come back ends"),
    ("loginWithOidc", "a state comes back once"),
    ("linkLogin", "a ticket is good once"),
    ("unlinkLoginMethod", "it goes once"),
];
/// More of [`KEYLESS`]: of people's records and rights.
pub(crate) const KEYLESS_OF_PEOPLE: [(&str, &str); 6] = [
    ("showMember", "shows, and is counted each time"),
    ("mergeMembers", "a merge is asked for once and made once"),
    ("splitMembers", "a merge is undone once"),
    ("recallErasure", "a wish is taken back once"),
    ("downloadMyData", "each address is good once"),
    ("downloadRenderedFile", "each address is good once"),
];
/// More of [`KEYLESS`]: at the gate.
pub(crate) const KEYLESS_AT_GATES: [(&str, &str); 3] = [
    ("closeShift", "a shift ends once"),
    ("lookUpPass", "reads"),
    ("redeem", "the gate's scan id is its key, for ever"),
];
