//! What passes tells identity of a person, and what it forgets of her.
//!
//! Her passes, what they cost and what became of them stay, under an id that names nobody: they are
//! what orders were for (会计档案管理办法: 30 years). Where she has been goes.
//!
//! Before, what the terms of her passes still give back goes back; after, none of them opens a
//! door.

use kit::person::{Hold, Keeper, Kept, Persons};
use kit::types::Union;
use kit::{Result, Tx};
use uuid::Uuid;

use crate::{NAME, commands, store};

/// Reads and forgets what this service has of a person.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    union: Union,
}

/// The consumer of what identity asks about persons.
pub const fn persons(union: Union) -> Persons<Keep> {
    Persons {
        service: NAME,
        keeper: Keep { union },
    }
}

impl Keeper for Keep {
    async fn data(&self, tx: &Tx, members: &[Uuid], rows_max: i64) -> Result<Vec<Kept>> {
        store::data_of_person(tx, members, rows_max).await
    }

    /// A pass that awaits its payment, one that is frozen, and one whose refund is on its way: hers
    /// are begun here, where there is something to refund.
    async fn holds(&self, tx: &Tx, members: &[Uuid]) -> Result<Vec<Hold>> {
        commands::give_back_of_leaver(tx, self.union, members).await?;
        store::holds_of_person(tx, members).await
    }

    /// Visits that were made, and visits to come. What is left of her passes goes back or ends,
    /// before her visits go: by them the terms say which.
    async fn forget(&self, tx: &Tx, members: &[Uuid]) -> Result<()> {
        commands::end_of_forgotten(tx, self.union, members).await?;
        store::forget_person(tx, members).await
    }
}
