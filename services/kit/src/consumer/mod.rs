//! The consumer: applies each record of its topics once, in the order of its key, beside
//! whatever breaks.
//!
//! The effect, the position and the consumer's own events are one transaction, fenced by the
//! position it expects ([`watermark`]); Kafka's own offsets decide nothing. Counters decide what
//! is a duplicate (dropped) and what is a loss (the partition stops). What can never be applied
//! is parked with its key ([`crate::parked`]); what fails for the moment is tried for ever.
//!
//! It sweeps nothing by time and knows no retry topic.

mod batch;
mod judge;
mod lane;
mod watermark;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use batch::run;
use lane::{PartitionLane, Turn};
pub use watermark::{Held, held, release};

use crate::bus::{Assignment, Bus, Partition, Reader, Start, Wanted};
use crate::event::Record;
use crate::{Ctx, Error, Result, Tx};

/// Records applied in one transaction, at most.
pub const BATCH_RECORDS_MAX: usize = 500;
/// How long a batch waits to grow: a transaction for each tick of a relay would cost more than what
/// is in it.
const LINGER: Duration = Duration::from_millis(20);
/// How long a step waits when there is nothing to do.
const IDLE: Duration = Duration::from_millis(100);
/// The first pause after a passing failure; doubles up to [`RETRY_DELAY_MAX`].
pub const RETRY_DELAY: Duration = Duration::from_millis(50);
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// Records parked one after the other before the partition stops instead: a bad deployment must
/// not park a whole topic.
pub const PARKED_IN_A_ROW_MAX: u32 = 20;

/// What a service does with the events of others: turns each into a command of its own.
///
/// A handler acts on the state it sees, not on the edge: a repeated or re-sent event does nothing
/// twice, and one of an older `(epoch, version)` than it has seen is ignored. A missing row of
/// another topic is not an error: it writes a stub. It works through the transaction alone.
pub trait Handler: Send + Sync + 'static {
    /// The consumer's name in `watermark`: stable for ever.
    fn name(&self) -> &'static str;
    /// The topics it reads, such as `identity.v1`.
    fn topics(&self) -> &'static [&'static str];
    /// Whether it knows the type; others are skipped unless they must be understood (then parked).
    fn handles(&self, kind: &str) -> bool;
    /// Whether the record only freezes or revokes: applied even while its key is held.
    fn monotone(&self, _record: &Record) -> bool {
        false
    }
    /// Applies records in their order. Runs again from the start when the transaction must.
    ///
    /// # Errors
    /// Transient ones are tried for ever; any other parks the record that causes it.
    fn apply(&self, tx: &Tx, records: &[Record]) -> impl Future<Output = Result<()>> + Send;
}

/// One consumer of a service. One step applies what has arrived of one or more partitions.
pub struct Consumer<H> {
    ctx: Ctx,
    bus: Bus,
    handler: Arc<H>,
    reader: Option<Reader>,
    arrived: Arc<Notify>,
    lanes: HashMap<Partition, PartitionLane>,
    /// Tasks, so that an open transaction never waits for the next step.
    running: JoinSet<(PartitionLane, Result<Turn>)>,
    /// Grows with each assignment: a lane of an older one is dropped when it comes back.
    generation: u64,
    revoked: Vec<std::sync::mpsc::SyncSender<()>>,
}

impl<H: Handler> std::fmt::Debug for Consumer<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.handler.name())
            .finish_non_exhaustive()
    }
}

impl<H: Handler> Consumer<H> {
    pub fn new(ctx: Ctx, bus: Bus, handler: H) -> Self {
        Self {
            ctx,
            bus,
            handler: Arc::new(handler),
            reader: None,
            arrived: Arc::new(Notify::new()),
            lanes: HashMap::new(),
            running: JoinSet::new(),
            generation: 0,
            revoked: Vec::new(),
        }
    }

    /// Steps until it is stopped, then finishes its open transactions and leaves the group.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut delay = RETRY_DELAY;
        loop {
            let stepped = tokio::select! {
                stepped = self.step() => stepped,
                () = stop.cancelled() => break,
            };
            match stepped {
                Ok(_) => delay = RETRY_DELAY,
                Err(error) => {
                    tracing::error!(consumer = self.handler.name(), %error, "a consumer waits");
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = stop.cancelled() => break,
                    }
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                }
            }
        }
        self.close().await;
    }

    /// Finishes the open transactions, stores how far it got, and leaves the group.
    pub async fn close(mut self) {
        while let Some(finished) = self.running.join_next().await {
            if let Ok((lane, Ok(Turn::Passed(_)))) = finished
                && lane.generation() == self.generation
            {
                self.lanes.insert(lane.partition().clone(), lane);
            }
        }
        for lane in self.lanes.values_mut() {
            let stored = lane
                .store_passed(&self.ctx, self.handler.name(), true)
                .await;
            if let Err(error) = stored {
                // Whoever reads on there passes the same records once more.
                tracing::warn!(%error, "a consumer left without storing how far it got");
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.close().await;
        }
    }

    /// Applies what has arrived; the records it got past, 0 when there were none within a tenth
    /// of a second. A failing partition waits by itself and holds up no other.
    ///
    /// # Errors
    /// When topics cannot be read at all: the next step starts anew.
    pub async fn step(&mut self) -> Result<usize> {
        self.start().await?;
        let kept_back = self.fetch();
        while let Some(assignment) = self.reader.as_mut().and_then(Reader::try_next) {
            self.assign(assignment).await?;
        }
        let ready = self.ready();
        if ready.is_empty() && self.running.is_empty() {
            return if kept_back { Ok(0) } else { self.wait().await };
        }
        let mut passed = 0;
        for partition in ready {
            self.start_lane(&partition);
            // In the simulation partitions take turns, and a step leaves nothing half done: a
            // seed decides everything.
            if matches!(self.bus, Bus::Memory(_)) {
                passed += self.finish_one().await?;
            }
        }
        if !self.running.is_empty() {
            passed += self.finish_one().await?;
        }
        Ok(passed)
    }

    /// Whether nothing is left to do: the memory bus has delivered everything and it is applied,
    /// or its partition is held. For tests; Kafka's end is never known.
    pub fn is_quiet(&mut self) -> bool {
        let kept_back = self.fetch();
        let started = self.reader.is_some();
        started
            && !kept_back
            && self.running.is_empty()
            && self.lanes.values().all(PartitionLane::is_idle)
    }

    async fn start(&mut self) -> Result<()> {
        if self.reader.is_some() {
            return Ok(());
        }
        for topic in self.handler.topics() {
            self.bus.ensure_topic(topic).await?;
        }
        let group = format!("{}.{}", self.ctx.service, self.handler.name());
        let handler = Arc::clone(&self.handler);
        let wanted = Wanted::new(move |kind| handler.handles(kind));
        let topics = self.handler.topics();
        self.reader = Some(self.bus.reader(&group, topics, wanted)?);
        if let Some(first) = self.reader.as_mut().and_then(Reader::try_next) {
            self.assign(first).await?;
        }
        Ok(())
    }

    fn fetch(&mut self) -> bool {
        self.reader.as_mut().is_some_and(Reader::fetch)
    }

    /// Takes in what changed. A reader whose question is not answered reads nothing for ever, so
    /// that after an error there must be a new one.
    async fn assign(&mut self, assignment: Assignment) -> Result<()> {
        let taken = self.take_in(assignment).await;
        if taken.is_err() {
            self.reset();
        }
        taken
    }

    async fn take_in(&mut self, assignment: Assignment) -> Result<()> {
        match assignment {
            Assignment::Assigned { partitions, reply } => {
                self.generation += 1;
                self.lanes.clear();
                let mut starts = Vec::with_capacity(partitions.len());
                for partition in partitions {
                    let lane = self.open_lane(partition).await?;
                    starts.push(lane.start());
                    self.lanes.insert(lane.partition().clone(), lane);
                }
                // A reader that ended meanwhile says so by itself.
                let _ = reply.send(starts);
                Ok(())
            }
            Assignment::Revoked { done } => {
                self.generation += 1;
                self.lanes.clear();
                if self.running.is_empty() {
                    let _ = done.send(());
                } else {
                    self.revoked.push(done);
                }
                Ok(())
            }
            Assignment::Failed(error) => Err(error.into()),
        }
    }

    async fn open_lane(&mut self, partition: Partition) -> Result<PartitionLane> {
        let name = self.handler.name();
        let stored = watermark::load(&self.ctx, name, &partition).await?;
        let arrived = Arc::clone(&self.arrived);
        let generation = self.generation;
        Ok(PartitionLane::new(
            name, partition, stored, generation, arrived,
        ))
    }

    /// The partitions that have something to do, in their order.
    fn ready(&self) -> Vec<Partition> {
        let mut ready: Vec<Partition> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.is_ready())
            .map(|(partition, _)| partition.clone())
            .collect();
        ready.sort();
        ready
    }

    /// Lets a partition start on what it has to do.
    fn start_lane(&mut self, partition: &Partition) {
        // One that was reset meanwhile has nothing to do any more.
        let Some(lane) = self.lanes.remove(partition) else {
            return;
        };
        let (ctx, bus, handler) = (
            self.ctx.clone(),
            self.bus.clone(),
            Arc::clone(&self.handler),
        );
        self.running.spawn(lane.turn(ctx, bus, handler));
    }

    async fn finish_one(&mut self) -> Result<usize> {
        let Some(finished) = self.running.join_next().await else {
            return Ok(0);
        };
        if self.running.is_empty() {
            for done in self.revoked.drain(..) {
                let _ = done.send(());
            }
        }
        let Ok((lane, turn)) = finished else {
            self.reset();
            return Err(Error::internal("a partition's task panicked"));
        };
        if lane.generation() != self.generation {
            return Ok(0);
        }
        match turn {
            Ok(Turn::Passed(records)) => {
                self.lanes.insert(lane.partition().clone(), lane);
                Ok(records)
            }
            Ok(Turn::Reposition) => {
                self.reposition(lane.partition().clone()).await?;
                Ok(0)
            }
            // A crash that a test asked for: what was in memory is gone.
            Err(error) => {
                self.reset();
                Err(error)
            }
        }
    }

    /// Forgets everything: the next step starts from the database.
    fn reset(&mut self) {
        self.reader = None;
        self.lanes.clear();
        self.generation += 1;
    }

    /// Reads a partition again from where the database says.
    async fn reposition(&mut self, partition: Partition) -> Result<()> {
        let lane = match self.open_lane(partition).await {
            Ok(lane) => lane,
            Err(error) => {
                self.reset();
                return Err(error);
            }
        };
        let start: Start = lane.start();
        if let Some(reader) = &mut self.reader {
            reader.seek(start);
        }
        self.lanes.insert(lane.partition().clone(), lane);
        Ok(())
    }

    /// Waits until there may be something to do, but not for long.
    async fn wait(&mut self) -> Result<usize> {
        let Some(reader) = &mut self.reader else {
            return Ok(0);
        };
        let memory = matches!(self.bus, Bus::Memory(_));
        let assignment = tokio::select! {
            assignment = reader.next() => assignment,
            () = self.arrived.notified() => {
                tokio::time::sleep(LINGER).await;
                return Ok(0);
            }
            () = tokio::time::sleep(IDLE), if !memory => return Ok(0),
            () = std::future::ready(()), if memory => return Ok(0),
        };
        match assignment {
            Some(assignment) => self.assign(assignment).await.map(|()| 0),
            None => {
                self.reader = None;
                Err(Error::internal("the reader of a consumer ended"))
            }
        }
    }
}
