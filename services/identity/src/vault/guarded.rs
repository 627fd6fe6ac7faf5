//! Which tables are the vault's. A migration guards each of them by row security: see 0010.

/// Tables whose rows only the role that serves may see: whatever is sealed of a person or finds
/// her, and the keys.
pub const GUARDED_TABLES: [&str; 27] = [
    "attempt",
    "document",
    "export_part",
    "former_phone",
    "login",
    "login_code",
    "login_method",
    "login_ticket",
    "member_merge",
    "network_claim",
    "network_identity",
    "oidc_request",
    "person",
    "phone_change",
    "phone_code",
    "phone_recovery",
    "phone_setting",
    "recovery_code",
    "recovery_phone",
    "roster",
    "roster_row",
    "search_term",
    "second_factor",
    "signing_key",
    "vault_check",
    "vault_kek",
    "verification",
];
