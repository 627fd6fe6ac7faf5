//! `bashu resync`: says the current state of every aggregate again.
//!
//! It repairs a topic that was wiped and a log that lost its end, sagas included, because
//! handlers act on the state they see. It changes no aggregate and no version.

use crate::db::{TX_ATTEMPTS_MAX, pause};
use crate::{Ctx, Result, Tx};

/// Aggregates said again in one transaction, at most.
pub const RESYNC_ROWS_MAX: i64 = 500;

/// What a service can say again. Deleted and erased things are said as tombstones.
pub trait Source: Send + Sync {
    /// The names of its aggregates; one after the other, those that others refer to first.
    fn aggregates(&self) -> &'static [&'static str];
    /// Emits the next aggregates after the cursor, at most [`RESYNC_ROWS_MAX`], while it holds
    /// their row locks, so that nothing older can follow; the new cursor, `None` at the end.
    ///
    /// # Errors
    /// When the database fails.
    fn resync(
        &self,
        tx: &Tx,
        aggregate: &str,
        after: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;
}

/// Says everything again; the number of transactions it took. `progress` hears of each aggregate
/// after every transaction.
///
/// # Errors
/// When the database fails; running it again from the start is harmless.
pub async fn run<S: Source>(
    ctx: &Ctx,
    source: &S,
    mut progress: impl FnMut(&'static str, u64),
) -> Result<u64> {
    let mut total = 0;
    for aggregate in source.aggregates() {
        let mut after = None;
        let mut steps = 0;
        loop {
            after = step(ctx, source, aggregate, after).await?;
            steps += 1;
            progress(aggregate, steps);
            if after.is_none() {
                break;
            }
        }
        total += steps;
    }
    Ok(total)
}

/// One transaction, again after a conflict that passes: commands take the same rows in an order of
/// their own, so that now and then the two wait for each other.
async fn step<S: Source>(
    ctx: &Ctx,
    source: &S,
    aggregate: &str,
    after: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>> {
    let mut attempt = 1;
    loop {
        let tx = ctx.db.begin().await?;
        let result = source.resync(&tx, aggregate, after.clone()).await;
        match ctx.db.end_as("resync", tx, result).await {
            Err(error) if error.is_retryable() && attempt < TX_ATTEMPTS_MAX => {
                pause(attempt).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}
