//! Every message that crosses Kafka, one module for each service that writes them.
//!
//! A topic `<service>.v1` carries the messages of its own file and, where that service grants them,
//! [`v1::EntitlementChanged`]; each also carries [`v1::AuditHeadSealed`] and its answers about
//! persons. Change within `v1` is additive only: `tests/released.rs` compares what is here with the
//! descriptors in `released/`.

/// The entitlement, shared by all that grant one, the head of each service's audit chain, and what
/// each answers about a person.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/bashu.v1.rs"));
}
/// Topic `identity.v1`.
pub mod identity {
    include!(concat!(env!("OUT_DIR"), "/bashu.identity.v1.rs"));
}
/// Topic `passes.v1`.
pub mod passes {
    include!(concat!(env!("OUT_DIR"), "/bashu.passes.v1.rs"));
}
/// Topic `billing.v1`.
pub mod billing {
    include!(concat!(env!("OUT_DIR"), "/bashu.billing.v1.rs"));
}
/// Topic `admission.v1`.
pub mod admission {
    include!(concat!(env!("OUT_DIR"), "/bashu.admission.v1.rs"));
}
