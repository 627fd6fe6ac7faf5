//! What billing tells identity of a person, and what it forgets of her.
//!
//! Orders, payments, refunds and the ledger stay for thirty years (会计档案管理办法), under an id
//! that names nobody once she is forgotten. What goes is what was only for paying.

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

    /// An order that is open, a share that is not settled, a refund that is not done.
    async fn holds(&self, tx: &Tx, members: &[Uuid]) -> Result<Vec<Hold>> {
        store::holds_of_person(tx, members).await
    }

    /// The codes that she paid by.
    async fn forget(&self, tx: &Tx, members: &[Uuid]) -> Result<()> {
        store::forget_person(tx, members).await
    }
}
