//! Named points at which a test or the simulation lets a loop or a command die as a process would,
//! or stand still as one that lost its breath.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::{Error, Result};

/// How the error of a crash that was asked for begins.
const CRASHED: &str = "a test crashed it at ";

/// What shall go wrong. Nothing in production, where a point costs one look at a flag.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether there is anything to look up at a point.
    armed: AtomicBool,
    plans: Mutex<HashMap<&'static str, Plan>>,
    watch: Mutex<Watch>,
}

/// Which points were passed, for a run that wants to know.
#[derive(Debug, Default)]
struct Watch {
    on: bool,
    passed: Vec<Passed>,
    defects: Vec<Defect>,
}

/// A point that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Passed {
    pub point: &'static str,
    /// What passed it: a transaction's name; empty for a loop.
    pub what: &'static str,
    /// Whether it ended there, as a plan said.
    pub crashed: bool,
}

/// A mistake that can be switched on where tests are built in, to show that it would be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The relay orders a tick by transaction id instead of by id.
    OrderByXid,
    /// A consumer stores its position before the effects, in a transaction of its own.
    PositionBeforeEffects,
    /// A consumer moves its position whatever the position is.
    PositionUnfenced,
    /// The relay numbers what it sends again as if it were new.
    ResendRenumbered,
    /// Two sealers of one chain do not wait for each other.
    SealUnlocked,
    /// Privileged acts are done however long audit rows have waited for their seal.
    PrivilegedUnsealed,
    /// What is begun for a person does not wait for who asks what keeps her.
    PersonUnlocked,
}

#[derive(Clone, Debug)]
enum Plan {
    Crash {
        /// Only what is called so, where it says.
        what: Option<&'static str>,
        pass: u32,
    },
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
    /// nothing applied) and `consumer.applied` (committed, nothing reported). A database's own
    /// are `tx.before_commit` (everything is written, nothing committed), `tx.committed` (nobody
    /// has heard of it yet), `due.claimed` (a job was claimed and not run) and `due.ran` (its
    /// work is done, its row says nothing of it).
    pub fn crash_at(&self, point: &'static str, pass: u32) {
        self.plans(|plans| plans.insert(point, Plan::Crash { what: None, pass }));
    }

    /// As [`Faults::crash_at`], for what is called so alone: the transaction of one command, say.
    pub fn crash_in(&self, what: &'static str, point: &'static str, pass: u32) {
        let what = Some(what);
        self.plans(|plans| plans.insert(point, Plan::Crash { what, pass }));
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

    /// Takes back what was to go wrong and has not.
    pub fn clear(&self) {
        self.plans(HashMap::clear);
    }

    /// Begins to write down which points are passed, or ends it.
    pub fn watch(&self, on: bool) {
        self.watched(|watch| watch.on = on);
    }

    /// The points passed since this was last asked, in their order.
    pub fn take_passed(&self) -> Vec<Passed> {
        self.watched(|watch| std::mem::take(&mut watch.passed))
    }

    /// Switches a defect on. It has an effect only where kit is built with `testing`.
    pub fn switch_on(&self, defect: Defect) {
        self.watched(|watch| watch.defects.push(defect));
    }

    pub(crate) fn has(&self, defect: Defect) -> bool {
        cfg!(feature = "testing")
            && self.0.armed.load(Ordering::Relaxed)
            && self.watched(|watch| watch.defects.contains(&defect))
    }

    pub(crate) async fn point(&self, point: &'static str) -> Result<()> {
        self.point_of(point, "").await
    }

    /// [`Faults::point`] that says what passes it.
    pub(crate) async fn point_of(&self, point: &'static str, what: &'static str) -> Result<()> {
        if !self.0.armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let plan = self.plans(|plans| match plans.get_mut(point) {
            Some(Plan::Crash { what: only, .. }) if only.is_some_and(|only| only != what) => None,
            Some(Plan::Crash { pass, .. }) if *pass > 0 => {
                *pass -= 1;
                None
            }
            Some(Plan::Crash { .. } | Plan::Hold(_)) => plans.remove(point),
            None => None,
        });
        let crashed = matches!(plan, Some(Plan::Crash { .. }));
        self.watched(|watch| {
            if watch.on {
                watch.passed.push(Passed {
                    point,
                    what,
                    crashed,
                });
            }
        });
        match plan {
            None => Ok(()),
            Some(Plan::Crash { .. }) => Err(Error::internal(format!("{CRASHED}{point}"))),
            Some(Plan::Hold(hold)) => {
                hold.reached.notify_one();
                hold.release.notified().await;
                Ok(())
            }
        }
    }

    fn plans<T>(&self, change: impl FnOnce(&mut HashMap<&'static str, Plan>) -> T) -> T {
        // Once armed it stays so: only a test ever comes here.
        self.0.armed.store(true, Ordering::Relaxed);
        change(&mut self.0.plans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn watched<T>(&self, change: impl FnOnce(&mut Watch) -> T) -> T {
        self.0.armed.store(true, Ordering::Relaxed);
        change(&mut self.0.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether the error stands for a process that died at a point: it handles nothing any more.
pub(crate) fn is_crash(error: &Error) -> bool {
    matches!(error, Error::Internal(what) if what.starts_with(CRASHED))
}
