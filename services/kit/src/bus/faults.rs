//! Named points at which a test or the simulation lets a loop die as a process would, or stand
//! still as one that lost its breath.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::{Error, Result};

/// What shall go wrong. Empty in production, where a point costs one look at an empty map.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<HashMap<&'static str, Plan>>>);

#[derive(Clone, Debug)]
enum Plan {
    Crash { pass: u32 },
    Hold(Hold),
}

/// A loop that was told to stand still at a point.
#[derive(Clone, Debug, Default)]
pub struct Hold {
    reached: Arc<Notify>,
    release: Arc<Notify>,
}

impl Hold {
    /// Ends when the loop has come to the point.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets the loop go on.
    pub fn release(&self) {
        self.release.notify_one();
    }
}

impl Faults {
    /// Lets the loop that passes `point` die there, after letting `pass` go by.
    ///
    /// The relay's points are `relay.opened` (after a tick was opened), `relay.sent` (records
    /// handed over, no acknowledgement seen), `relay.acknowledged` (all delivered, nothing
    /// stored) and `relay.stored`. The consumer's are `consumer.taken` (a batch was taken,
    /// nothing applied) and `consumer.applied` (committed, nothing reported).
    pub fn crash_at(&self, point: &'static str, pass: u32) {
        self.plans(|plans| plans.insert(point, Plan::Crash { pass }));
    }

    /// Lets the loop that passes `point` next stand still there until it is released.
    pub fn hold_at(&self, point: &'static str) -> Hold {
        let hold = Hold::default();
        self.plans(|plans| plans.insert(point, Plan::Hold(hold.clone())));
        hold
    }

    /// Whether something still waits to go wrong at this point.
    pub fn waits_at(&self, point: &str) -> bool {
        self.plans(|plans| plans.contains_key(point))
    }

    pub(crate) async fn point(&self, point: &'static str) -> Result<()> {
        let plan = self.plans(|plans| match plans.get_mut(point) {
            Some(Plan::Crash { pass }) if *pass > 0 => {
                *pass -= 1;
                None
            }
            Some(Plan::Crash { .. } | Plan::Hold(_)) => plans.remove(point),
            None => None,
        });
        match plan {
            None => Ok(()),
            Some(Plan::Crash { .. }) => {
                Err(Error::internal(format!("a test crashed it at {point}")))
            }
            Some(Plan::Hold(hold)) => {
                hold.reached.notify_one();
                hold.release.notified().await;
                Ok(())
            }
        }
    }

    fn plans<T>(&self, change: impl FnOnce(&mut HashMap<&'static str, Plan>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
