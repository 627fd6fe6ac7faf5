//! What follows for the passes of a person who is being forgotten, on the transaction in which
//! identity is answered. The person is locked before her passes, as wherever both are.

use kit::audit::AuditRow;
use kit::types::Union;
use kit::{Result, Tx};
use uuid::Uuid;

use super::{TermsBook, carry_out};
use crate::domain::{Change, Pass};
use crate::store;

/// Gives back what the terms of a person's passes still give back; asked again, nothing more.
///
/// # Errors
/// When the database fails.
pub async fn give_back_of_leaver(tx: &Tx, union: Union, members: &[Uuid]) -> Result<()> {
    let passes = store::lock_of_person(tx, members).await?;
    let mut book = TermsBook::default();
    let mut changes = Vec::with_capacity(passes.len());
    for pass in passes {
        let uses = store::uses_counted(tx, pass.id).await?;
        let terms = book.of(tx, &pass).await?;
        let change = pass.holder_leaves(tx.now(), terms, uses);
        if change.changed {
            tx.audit(AuditRow::system("give_back_of_leaver", change.pass.id));
        }
        changes.push(change);
    }
    carry_out(tx, union, &changes, &mut book).await
}

/// Voids what a forgotten person could still have entered with; gates hear of it.
///
/// # Errors
/// When the database fails.
pub async fn void_of_forgotten(tx: &Tx, union: Union, members: &[Uuid]) -> Result<()> {
    let passes = store::lock_of_person(tx, members).await?;
    let changes: Vec<Change> = passes.into_iter().map(Pass::holder_forgotten).collect();
    for change in changes.iter().filter(|change| change.changed) {
        tx.audit(AuditRow::system("void_of_forgotten", change.pass.id));
    }
    carry_out(tx, union, &changes, &mut TermsBook::default()).await
}
