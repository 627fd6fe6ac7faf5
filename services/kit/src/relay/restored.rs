//! The way out when the database or the topic went back in time: a new epoch.

use std::time::{Duration, Instant};

use super::state::{Lock, State};
use crate::audit::seal;
use crate::bus::Bus;
use crate::{Ctx, Error, Result};

/// Records at the end of each partition in which the newest epoch is looked for.
const LOOK_BACK: i64 = 100;
/// How long it waits for the relay to let go.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a new epoch above every one that the database or the topic knows; its number. The relay
/// announces it at its next start, consumers accept it there, and `resync` must follow, since
/// what the lost part of the log or of the database said is said again by nobody else.
///
/// # Errors
/// When the service's relay still runs, or the database or the broker fails.
pub async fn restored(ctx: &Ctx, bus: &Bus) -> Result<i64> {
    let topic = ctx.topic();
    let lock = lock(ctx).await?;
    let epoch = open_epoch(ctx, bus, &topic).await;
    lock.release().await;
    epoch
}

async fn open_epoch(ctx: &Ctx, bus: &Bus, topic: &str) -> Result<i64> {
    seal::restored(ctx).await?;
    let partitions = bus.ensure_topic(topic).await?;
    let count = usize::try_from(partitions).unwrap_or_default();
    let ends = bus.tails(topic, &vec![i64::MAX; count]).await?;
    let from: Vec<i64> = ends
        .iter()
        .map(|tail| (tail.high - LOOK_BACK).max(0))
        .collect();
    let tails = bus.tails(topic, &from).await?;
    let seen = tails
        .iter()
        .flat_map(|tail| &tail.records)
        .filter_map(|record| record.stamp.as_ref())
        .map(|stamp| stamp.epoch)
        .max()
        .unwrap_or(0);
    let highs: Vec<i64> = tails.iter().map(|tail| tail.high).collect();
    let epoch = State::reopen(ctx, seen, &highs).await?;
    tracing::warn!(
        topic,
        epoch,
        "a new epoch is open; run `bashu resync` once the relay runs"
    );
    Ok(epoch)
}

/// A relay that has just refused lets go of the lock; one that runs does not.
async fn lock(ctx: &Ctx) -> Result<Lock> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match Lock::try_take(ctx).await? {
            Some(lock) => return Ok(lock),
            None if Instant::now() > deadline => {
                return Err(Error::Unavailable("the relay runs: stop the service first"));
            }
            None => tokio::time::sleep(LOCK_TIMEOUT / 100).await,
        }
    }
}
