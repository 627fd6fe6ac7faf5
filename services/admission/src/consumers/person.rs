//! What admission tells identity of a person, and what it forgets of her.
//!
//! It knows no entitlement's holder: redemptions stay, since venues are paid by them, and whose
//! they are is known to the granter alone. Of staff it has shifts; closed ones stay with what was
//! done in them.

use kit::person::{Hold, Keeper, Kept, Persons};
use kit::{Result, Tx};
use uuid::Uuid;

use crate::{NAME, store};

/// Reads and forgets what this service has of a person.
#[derive(Clone, Copy, Debug)]
pub struct Keep;

/// The consumer of what identity asks about persons.
pub const PERSONS: Persons<Keep> = Persons {
    service: NAME,
    keeper: Keep,
};

impl Keeper for Keep {
    async fn data(&self, tx: &Tx, members: &[Uuid], rows_max: i64) -> Result<Vec<Kept>> {
        store::shift::data_of_person(tx, members, rows_max).await
    }

    /// Nothing here keeps anybody.
    async fn holds(&self, _: &Tx, _: &[Uuid]) -> Result<Vec<Hold>> {
        Ok(Vec::new())
    }

    /// A shift that is open ends: nobody is at work as her any more.
    async fn forget(&self, tx: &Tx, members: &[Uuid]) -> Result<()> {
        store::shift::close_of_person(tx, members).await
    }
}
