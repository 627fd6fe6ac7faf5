//! Idempotency keys that are the same at every start, so that nothing is made twice.

use kit::Ids;
use kit::types::Union;
use uuid::Uuid;

/// The namespace of the demonstration's keys.
const DEMO: Uuid = Uuid::from_u128(0x6261_7368_7500_4000_8000_0000_0000_0001);

/// The key of the `number`-th thing of this kind in a union's demonstration world.
pub(crate) fn derived(union: Union, what: &str, number: usize) -> Uuid {
    Ids::derive(
        DEMO,
        &format!("{union}/{what}"),
        u32::try_from(number).unwrap_or(u32::MAX),
    )
}
