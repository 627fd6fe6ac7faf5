//! What every command is given: whose stack this is, its database, its clock and its ids.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::due::Asked;
use crate::told::Told;
use crate::types::Union;
use crate::{Clock, Db, Ids};

/// Cheap to clone; one per service and process.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The union whose stack this is.
    pub union: Union,
    /// The service's name: its database, its topic `<service>.v1`, its subgraph.
    pub service: &'static str,
    pub db: Db,
    pub clock: Clock,
    pub ids: Ids,
    pub wake: Wake,
}

/// In-process hints after a commit: there may be something to relay, or work that is due. A
/// hint only ever shortens a wait; the loops also poll.
#[derive(Clone, Debug, Default)]
pub struct Wake {
    pub relay: Arc<Notify>,
    /// What was planned for now.
    pub asked: Asked,
    /// Things that requests wait for.
    pub told: Told,
}

impl Ctx {
    /// The context of one service.
    pub fn new(union: Union, service: &'static str, db: Db) -> Self {
        let (clock, ids, wake) = (db.clock().clone(), db.ids().clone(), db.wake().clone());
        Self {
            union,
            service,
            db,
            clock,
            ids,
            wake,
        }
    }

    /// The topic this service alone writes.
    pub fn topic(&self) -> String {
        format!("{}.v1", self.service)
    }
}
