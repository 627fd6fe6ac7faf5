//! What passes tells identity of a person, and what it forgets of her.
//!
//! Her passes, what they cost and what became of them stay, under an id that names nobody: they are
//! what orders were for (会计档案管理办法: 30 years). Where she has been goes.

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
        store::data_of_person(tx, members, rows_max).await
    }

    /// A pass that awaits its payment, and one whose refund is on its way.
    async fn holds(&self, tx: &Tx, members: &[Uuid]) -> Result<Vec<Hold>> {
        store::holds_of_person(tx, members).await
    }

    /// Visits that were made, and visits to come.
    async fn forget(&self, tx: &Tx, members: &[Uuid]) -> Result<()> {
        store::forget_person(tx, members).await
    }
}
