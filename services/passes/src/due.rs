//! This service's timers. It calls nobody outside: each row runs one command.

use kit::due::{After, Job, Work};
use kit::types::EntitlementId;
use kit::{Ctx, Error, Result};

use crate::commands::{self, HOLD, timer_kind};
use crate::domain::Timer;

/// Runs due work.
#[derive(Clone, Debug)]
pub struct Timers {
    pub ctx: Ctx,
}

impl Work for Timers {
    async fn run(&self, job: &Job) -> Result<After> {
        let id: EntitlementId = job
            .subject
            .parse()
            .map_err(|_| Error::internal("due work whose subject is no pass"))?;
        match job.kind.as_str() {
            HOLD => commands::end_hold(&self.ctx, id).await,
            kind if kind == timer_kind(Timer::Activation) => {
                commands::end_activation(&self.ctx, id).await
            }
            kind if kind == timer_kind(Timer::Reminder) => {
                commands::remind_to_activate(&self.ctx, id).await
            }
            kind if kind == timer_kind(Timer::Leases) || kind == timer_kind(Timer::Refund) => {
                commands::end_count(&self.ctx, id).await
            }
            _ => Err(Error::internal("due work of no kind that we know")),
        }
    }
}
