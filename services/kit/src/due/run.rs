//! How a process runs its due work.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{ASKED_AT_ONCE, Claimed, JOBS_AT_ONCE, Which, Work, claim, run_one};
use crate::{Ctx, Result};

/// How often is looked for work that is due, in milliseconds: timers, and what another process
/// planned.
const DUE_POLL_MS: u64 = 500;

/// Where jobs come from.
#[derive(Clone, Copy, Debug)]
enum Queue {
    /// What this process has just planned.
    Asked,
    /// Whatever is due.
    Waiting,
}

/// Jobs that were claimed, and whether there may be more of them.
struct Batch {
    jobs: Vec<Claimed>,
    more: bool,
}

impl Queue {
    const fn jobs_at_once(self) -> usize {
        match self {
            Self::Asked => ASKED_AT_ONCE,
            Self::Waiting => JOBS_AT_ONCE,
        }
    }

    async fn claim(self, ctx: &Ctx, free: usize) -> Result<Batch> {
        match self {
            Self::Asked => {
                let ids = ctx.wake.asked.take(free);
                let more = ids.len() == free;
                let jobs = match ids.as_slice() {
                    [] => Vec::new(),
                    ids => claim(ctx, Which::These(ids)).await?,
                };
                Ok(Batch { jobs, more })
            }
            Self::Waiting => {
                let jobs = claim(ctx, Which::Oldest(free)).await?;
                let more = jobs.len() == free;
                Ok(Batch { jobs, more })
            }
        }
    }

    /// Returns when there may be something to claim.
    async fn hint(self, ctx: &Ctx, poll: &mut tokio::time::Interval) {
        match self {
            Self::Asked => ctx.wake.asked.more().await,
            Self::Waiting => {
                poll.tick().await;
            }
        }
    }
}

/// Runs due work until `stop`; up to [`ASKED_AT_ONCE`] jobs side by side of those just planned and
/// up to [`JOBS_AT_ONCE`] of those that waited, so that a slow one holds up no other. Jobs that run
/// at `stop` end first.
///
/// # Errors
/// When the database fails.
pub async fn run<W: Work>(ctx: Ctx, work: Arc<W>, stop: CancellationToken) -> Result<()> {
    tokio::try_join!(
        drain(&ctx, &*work, &stop, Queue::Asked),
        drain(&ctx, &*work, &stop, Queue::Waiting),
    )?;
    Ok(())
}

async fn drain<W: Work>(ctx: &Ctx, work: &W, stop: &CancellationToken, queue: Queue) -> Result<()> {
    let mut running = FuturesUnordered::new();
    // Whether something may be due: when it began, when a hint came, and while all there was room
    // for was claimed. The end of a job alone makes nothing due.
    let mut more = true;
    let mut poll = tokio::time::interval(Duration::from_millis(DUE_POLL_MS));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        let free = queue.jobs_at_once() - running.len();
        if more && free > 0 {
            let mut claiming = std::pin::pin!(queue.claim(ctx, free));
            // The jobs that run go on meanwhile: they may hold the connections it waits for.
            let batch = loop {
                tokio::select! {
                    batch = &mut claiming => break batch?,
                    Some(()) = running.next() => {}
                }
            };
            more = batch.more;
            let jobs = batch.jobs.into_iter();
            running.extend(jobs.map(|job| run_one(ctx, work, job)));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(()) = running.next() => {}
            () = queue.hint(ctx, &mut poll) => more = true,
        }
    }
    while running.next().await.is_some() {}
    Ok(())
}
