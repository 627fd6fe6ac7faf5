//! What waits here: the grant of an entitlement that was used without one, and the end of a
//! shift. Admission calls nobody outside.

use kit::due::{After, Job, Work};
use kit::types::EntitlementId;
use kit::{Ctx, Error, Result};
use uuid::Uuid;

use crate::commands;

/// This service's jobs.
#[derive(Clone, Debug)]
pub struct AdmissionWork {
    ctx: Ctx,
}

impl AdmissionWork {
    /// The jobs of this service.
    pub const fn new(ctx: Ctx) -> Self {
        Self { ctx }
    }
}

impl Work for AdmissionWork {
    async fn run(&self, job: &Job) -> Result<After> {
        let broken = || Error::internal("due work about something that is no id");
        match job.kind.as_str() {
            commands::redeem::UNSEEN_CHECK => {
                let id: EntitlementId = job.subject.parse().map_err(|_| broken())?;
                commands::entitlement::block_unseen(&self.ctx, id).await?;
            }
            commands::shift::CLOSE_SHIFT => {
                let id: Uuid = job.subject.parse().map_err(|_| broken())?;
                commands::shift::expire_shift(&self.ctx, id).await?;
            }
            other => return Err(Error::internal(format!("no such due work: {other}"))),
        }
        Ok(After::Done)
    }
}
