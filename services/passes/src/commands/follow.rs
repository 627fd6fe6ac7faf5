//! What the events of other services make this one do, on the consumer's transaction. Each acts
//! on the state it is told, so a repeated or late event does nothing twice.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kit::audit::AuditRow;
use kit::types::{EntitlementId, OrderId, Union};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::forgotten::or_end;
use super::{TermsBook, carry_out, say_rights};
use crate::domain::{Change, Order, Pass, Payment};
use crate::store;

/// Passes follow what billing newly says of their orders. An order without a pass is not ours to
/// know: its state waits in the replica.
///
/// # Errors
/// Permanent, when an order says what cannot be.
pub async fn follow_orders(tx: &Tx, union: Union, orders: &[Order]) -> Result<()> {
    let by_id: BTreeMap<OrderId, &Order> = orders.iter().map(|order| (order.id, order)).collect();
    let ids: Vec<OrderId> = by_id.keys().copied().collect();
    let passes = store::lock_by_orders(tx, &ids).await?;
    let renewed: Vec<EntitlementId> = passes.iter().filter_map(|pass| pass.renews).collect();
    let renewed = store::load_all(tx, &renewed).await?;
    let members: Vec<Uuid> = passes.iter().map(|pass| pass.member.0).collect();
    let erased: BTreeSet<Uuid> = store::erased(tx, &members).await?.into_iter().collect();
    let mut book = TermsBook::default();
    let mut changes = Vec::with_capacity(passes.len());
    for pass in passes {
        let Some(order) = by_id.get(&pass.order) else {
            continue;
        };
        let continues_at = match (order.state.paid_at(), pass.renews) {
            (Some(at), Some(old)) => renewed.get(&old).and_then(|old| old.continued_from(at)),
            _ => None,
        };
        let payment = Payment {
            terms: book.of(tx, &pass).await?,
            continues_at,
            erased: erased.contains(&pass.member.0),
        };
        let id = pass.id;
        let change = pass.follow(order, &payment).map_err(|_| {
            Error::permanent(format!(
                "the order of pass {id} contradicts what was known of it"
            ))
        })?;
        if change.changed {
            tx.audit(AuditRow::system("follow_order", id));
        }
        changes.push(change);
    }
    carry_out(tx, union, &changes, &mut book).await
}

/// What admission answers to a freeze.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub pass: EntitlementId,
    pub freeze_version: i64,
    pub uses: u32,
    pub leases_until: Option<DateTime<Utc>>,
}

/// Refunds go on with the uses that admission counted.
///
/// # Errors
/// When the database fails.
pub async fn count_uses(tx: &Tx, union: Union, answers: &[Counted]) -> Result<()> {
    let ids: Vec<EntitlementId> = answers.iter().map(|answer| answer.pass).collect();
    let mut passes: BTreeMap<EntitlementId, Pass> = store::lock_all(tx, &ids)
        .await?
        .into_iter()
        .map(|pass| (pass.id, pass))
        .collect();
    let members: Vec<Uuid> = passes.values().map(|pass| pass.member.0).collect();
    let forgotten = store::erased(tx, &members).await?;
    let mut book = TermsBook::default();
    let mut changes: BTreeMap<EntitlementId, Change> = BTreeMap::new();
    // One after the other: two answers in a batch may be for one pass. What follows is carried out
    // at once, so that all rows behind the passes are locked in one order.
    for answer in answers {
        let Some(pass) = passes.remove(&answer.pass) else {
            continue;
        };
        let counted = (answer.uses, answer.leases_until);
        let terms = book.of(tx, &pass).await?;
        let change: Change = pass.uses_counted(answer.freeze_version, counted, (tx.now(), terms));
        if change.changed {
            tx.audit(AuditRow::system("count_uses", answer.pass));
        }
        let change = or_end(tx, change, &forgotten);
        passes.insert(answer.pass, change.pass.clone());
        match changes.entry(answer.pass) {
            Entry::Vacant(place) => {
                place.insert(change);
            }
            Entry::Occupied(mut before) => before.get_mut().followed_by(change),
        }
    }
    let changes: Vec<Change> = changes.into_values().collect();
    carry_out(tx, union, &changes, &mut book).await
}

/// Admission misses the grant of a pass that was used: it is said again.
///
/// # Errors
/// When the database fails.
pub async fn admit_again(tx: &Tx, union: Union, passes: &[EntitlementId]) -> Result<()> {
    let passes = store::lock_all(tx, passes).await?;
    say_rights(tx, union, &passes, &mut TermsBook::default()).await
}
