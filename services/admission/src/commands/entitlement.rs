//! What the granters' words, and their silence, change here.

use std::collections::BTreeMap;

use kit::audit::AuditRow;
use kit::types::{EntitlementId, Union};
use kit::{Ctx, Error, Result, Tx};

use crate::domain::entitlement::{Applied, Entitlement, Granted};
use crate::publish;
use crate::store;
use crate::store::entitlement::Wanted;

/// Uses of one entitlement that a block changes, at most: it has been valid for minutes.
const USES_MAX: i64 = 1_000;

/// A granter's word about one entitlement.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) id: EntitlementId,
    pub(crate) home: Union,
    pub(crate) scope: u32,
    pub(crate) granted: Granted,
}

/// Takes the words of a batch, in their order; the entitlements are locked all at once. Only the
/// own union grants here: another's rights are in its tokens, and nothing that it says takes an id.
pub(crate) async fn apply_words(tx: &Tx, union: Union, words: Vec<Word>) -> Result<()> {
    if words.iter().any(|word| word.home != union) {
        return Err(Error::permanent("a grant of another union"));
    }
    let wanted: Wanted = words
        .iter()
        .map(|word| (word.id, (word.home, word.scope)))
        .collect();
    let mut known = store::entitlement::lock_or_insert(tx, &wanted).await?;
    let mut changed = BTreeMap::new();
    let mut cleared = Vec::new();
    let mut freezes = BTreeMap::new();
    for word in words {
        let one = known
            .get_mut(&word.id)
            .ok_or_else(|| Error::internal("a locked entitlement vanished"))?;
        one.claim(word.home)
            .map_err(|_| Error::permanent("an entitlement of two unions"))?;
        let applied = one
            .apply(word.scope, word.granted)
            .map_err(|_| Error::permanent("a revoked entitlement cannot come back"))?;
        match applied {
            Applied::Stale => continue,
            Applied::Same => {}
            Applied::Changed {
                cleared: was_blocked,
            } => {
                changed.insert(word.id, ());
                if was_blocked {
                    cleared.push(word.id);
                }
            }
        }
        // Each freeze that was heard of is answered, a repeated one again: whoever waits for it
        // may have lost the answer.
        if let Some(freeze) = one.freeze_to_answer() {
            freezes.insert((word.id, freeze), ());
        }
    }
    let rows: Vec<&Entitlement> = changed.keys().filter_map(|id| known.get(id)).collect();
    store::entitlement::save(tx, &rows).await?;
    answer_freezes(tx, union, freezes.into_keys().collect()).await?;
    for one in cleared.iter().filter_map(|id| known.get(id)) {
        tx.audit(AuditRow::system("clear_entitlement", one.id));
        tx.emit(publish::blocked(one));
        set_payable(tx, union, one.id, true).await?;
    }
    Ok(())
}

async fn answer_freezes(tx: &Tx, union: Union, freezes: Vec<(EntitlementId, i64)>) -> Result<()> {
    if freezes.is_empty() {
        return Ok(());
    }
    let ids: Vec<EntitlementId> = freezes.iter().map(|(id, _)| *id).collect();
    let uses = store::entitlement::uses(tx, &ids).await?;
    for (id, freeze) in freezes {
        let count = uses.get(&id).copied().unwrap_or(0);
        tx.emit(publish::freeze_applied(id, freeze, count, union));
    }
    Ok(())
}

/// Gives up waiting for the grant of an entitlement that was used: it is blocked, its uses are
/// paid to nobody, and others hear of it. Does nothing when the grant has come.
///
/// # Errors
/// When the database fails.
pub async fn block_unseen(ctx: &Ctx, id: EntitlementId) -> Result<bool> {
    ctx.db
        .tx("block_unseen", async |tx| {
            let mut known = store::entitlement::lock(tx, &[id]).await?;
            let Some(one) = known.get_mut(&id) else {
                return Ok(false);
            };
            if !one.block() {
                return Ok(false);
            }
            store::entitlement::save(tx, &[one]).await?;
            tx.audit(AuditRow::system("block_entitlement", id));
            tx.emit(publish::blocked(one));
            set_payable(tx, ctx.union, id, false).await?;
            metrics::counter!("bashu_admission_blocked_total").increment(1);
            tracing::warn!(entitlement = %id, "used, and no grant came in time: blocked");
            Ok(true)
        })
        .await
}

async fn set_payable(tx: &Tx, union: Union, id: EntitlementId, payable: bool) -> Result<()> {
    for one in store::redemption::of_entitlement(tx, id, USES_MAX).await? {
        let Some(changed) = one.with_payable(payable) else {
            continue;
        };
        store::redemption::save(tx, &changed).await?;
        if let Some(event) = publish::redemption(&changed, union) {
            tx.emit(event);
        }
    }
    Ok(())
}
