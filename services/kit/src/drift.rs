//! How far this machine's clock is from the database's. What a process writes down is for others
//! to come back to: one whose clock is hours ahead would plan work, and claim it, for an hour that
//! the others reach long after. So while the two clocks differ by more than
//! [`CLOCK_OFF_SECONDS_MAX`] it begins no transaction and is not ready. Which of them is wrong it
//! cannot tell; nothing is lost by waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::FromQueryResult;
use tokio_util::sync::CancellationToken;

use crate::{Clock, Ctx, Db, Error, Result};

/// How far the clock may be from the database's, in seconds.
pub const CLOCK_OFF_SECONDS_MAX: i64 = 30;
/// How often a process looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The difference as last seen, shared by all copies of a [`Db`]; in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drift(Arc<AtomicI64>);

impl Drift {
    /// # Errors
    /// Unavailable, while the clock is off.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed).abs() <= CLOCK_OFF_SECONDS_MAX * 1_000 {
            return Ok(());
        }
        Err(Error::Unavailable(
            "this machine's clock differs from the database's",
        ))
    }
}

impl Db {
    /// Takes in how far this process's clock is ahead of the database's.
    pub fn note_drift(&self, ahead: TimeDelta) {
        let before = self.drift.check().is_ok();
        self.drift
            .0
            .store(ahead.num_milliseconds(), Ordering::Relaxed);
        if before && self.drift.check().is_err() {
            tracing::error!(
                ahead_ms = ahead.num_milliseconds(),
                "the clock differs from the database's: nothing is begun until it is set right"
            );
        }
    }

    /// Compares the machine's clock with the database's; a clock that tests move is not compared.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn measure_drift(&self) -> Result<()> {
        #[derive(FromQueryResult)]
        struct Row {
            now: DateTime<Utc>,
        }
        let Clock::System = self.clock() else {
            return Ok(());
        };
        let sent = self.clock().now();
        let row: Option<Row> = self.one("SELECT clock_timestamp() AS now", []).await?;
        let answered = self.clock().now();
        let Some(Row { now }) = row else {
            return Err(Error::internal("the database has no time"));
        };
        // It read its clock somewhere between the two.
        let ahead = if now < sent {
            sent - now
        } else if now > answered {
            answered - now
        } else {
            TimeDelta::zero()
        };
        self.note_drift(ahead);
        Ok(())
    }
}

/// Looks for as long as the process runs. While the database does not answer, what was seen last
/// counts.
pub(crate) async fn watch(ctx: Ctx, stop: CancellationToken) -> Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = ctx.db.measure_drift().await {
            tracing::warn!(%error, "the clock could not be compared with the database's");
        }
    }
}
