//! What follows for the passes of a person who is being forgotten, on the transaction in which
//! identity is answered. The person is locked before her passes, as wherever both are.

use kit::audit::AuditRow;
use kit::types::Union;
use kit::{Result, Tx};
use uuid::Uuid;

use super::{TermsBook, carry_out};
use crate::domain::{Change, HOLDER_FORGOTTEN};
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

/// Ends what a forgotten person could still have entered with, and gates hear of it: what the terms
/// give back by now is given back, the rest is voided. Her visits must still be here: they say
/// which it is.
///
/// # Errors
/// When the database fails.
pub async fn end_of_forgotten(tx: &Tx, union: Union, members: &[Uuid]) -> Result<()> {
    let passes = store::lock_of_person(tx, members).await?;
    let mut book = TermsBook::default();
    let mut changes = Vec::with_capacity(passes.len());
    for pass in passes {
        let uses = store::uses_counted(tx, pass.id).await?;
        let terms = book.of(tx, &pass).await?;
        let change = pass.holder_forgotten(tx.now(), terms, uses);
        if change.changed {
            let act = if change.pass.reason() == Some(HOLDER_FORGOTTEN) {
                "void_of_forgotten"
            } else {
                "give_back_of_forgotten"
            };
            tx.audit(AuditRow::system(act, change.pass.id));
        }
        changes.push(change);
    }
    carry_out(tx, union, &changes, &mut book).await
}

/// What a count decided of a pass, and its end where it would be a forgotten person's again: whose
/// is read when the pass is locked, or she could be forgotten between. A count that decides nothing
/// ends nothing: what she is owed is asked of the terms as she is forgotten.
pub(super) fn or_end(tx: &Tx, mut counted: Change, forgotten: &[Uuid]) -> Change {
    if !counted.changed || !forgotten.contains(&counted.pass.member.0) {
        return counted;
    }
    let ended = counted.pass.clone().ends_with_holder();
    if ended.changed {
        tx.audit(AuditRow::system("void_of_forgotten", ended.pass.id));
        counted.followed_by(ended);
    }
    counted
}
