//! The consumer's own thread: polls librdkafka, copies each record out at once, and pauses a
//! partition whose inbox is full. Where a partition starts is asked of the consumer, which has
//! it in PostgreSQL; what Kafka is told of offsets is for the tools that show lag.
//!
//! Every few seconds it compares its positions with the ends of the log: one that is outside is
//! read again from the beginning, and the consumer is told so.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::complaints::Complaints;
use super::{BROKER_TIMEOUT, raw};
use crate::Result;
use crate::bus::reader::{Assignment, Start, Wanted};
use crate::bus::{Arrived, Inbox, Partition, wire};

/// How long one poll may block: also how late a command or a stop is seen.
const POLL: Duration = Duration::from_millis(50);
/// The same while a partition is paused: its inbox may have become half empty.
const POLL_PAUSED: Duration = Duration::from_millis(5);
/// How often positions are compared with the log.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How often Kafka is told how far we are.
const COMMIT_EVERY: Duration = Duration::from_secs(2);
/// How long a rebalance waits for the open transactions of what is revoked.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// The consumer's side of the thread. The thread ends with it.
pub(crate) struct KafkaReader {
    assignments: UnboundedReceiver<Assignment>,
    commands: Sender<Start>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaReader").finish_non_exhaustive()
    }
}

impl KafkaReader {
    pub(super) fn start(
        mut config: ClientConfig,
        prefix: String,
        group: &str,
        (topics, wanted): (&[&str], Wanted),
    ) -> Result<Self> {
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", "10000")
            .set("queued.min.messages", "5000")
            .set("queued.max.messages.kbytes", "8192")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.wait.max.ms", "100")
            .set("topic.metadata.refresh.interval.ms", "10000");
        let (to_consumer, assignments) = unbounded_channel();
        let (commands, to_thread) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let context = Context {
            prefix: prefix.clone(),
            assignments: to_consumer,
            reading: Mutex::default(),
            complaints: Complaints::default(),
            stop: Arc::clone(&stop),
        };
        let consumer: BaseConsumer<Context> = config.create_with_context(context)?;
        let names: Vec<String> = topics
            .iter()
            .map(|topic| format!("{prefix}{topic}"))
            .collect();
        consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let thread = std::thread::Builder::new()
            .name(format!("kafka {group}"))
            .spawn(move || {
                Loop {
                    consumer,
                    commands: to_thread,
                    wanted,
                }
                .run()
            })
            .map_err(|e| crate::Error::internal(format!("no thread for a consumer: {e}")))?;
        Ok(Self {
            assignments,
            commands,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) async fn next(&mut self) -> Option<Assignment> {
        self.assignments.recv().await
    }

    pub(crate) fn try_next(&mut self) -> Option<Assignment> {
        self.assignments.try_recv().ok()
    }

    pub(crate) fn seek(&self, start: Start) {
        // A thread that has ended has said so by an assignment.
        let _ = self.commands.send(start);
    }

    /// Leaves the group and waits until that is done.
    pub(crate) async fn close(mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// What is read of one partition.
#[derive(Debug)]
struct Reading {
    partition: Partition,
    /// The topic's name on the broker.
    name: String,
    inbox: Arc<Inbox>,
    /// The next offset to come.
    position: i64,
    paused: bool,
    /// What Kafka has been told.
    committed: i64,
}

struct Context {
    prefix: String,
    assignments: UnboundedSender<Assignment>,
    /// A handful: looked through for each record without making a key.
    reading: Mutex<Vec<Reading>>,
    complaints: Complaints,
    stop: Arc<AtomicBool>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.hear(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.assign(consumer, list),
            Rebalance::Revoke(_) => self.revoke(consumer),
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }
}

impl Context {
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions: Vec<Partition> = list
            .elements()
            .iter()
            .map(|element| self.partition(element.topic(), element.partition()))
            .collect();
        let (reply, answer) = sync_channel(1);
        if self
            .assignments
            .send(Assignment::Assigned { partitions, reply })
            .is_err()
        {
            return;
        }
        for start in self.wait_for(&answer) {
            let partition = start.partition.clone();
            let offset = self.place(consumer, start);
            let name = format!("{}{}", self.prefix, partition.topic);
            if let Some(mut element) = list.find_partition(&name, partition.partition)
                && let Err(error) = element.set_offset(Offset::Offset(offset))
            {
                tracing::error!(%error, offset, "a start offset was not taken");
            }
        }
    }

    /// Where each partition starts; nothing when the consumer ends meanwhile.
    fn wait_for(&self, answer: &Receiver<Vec<Start>>) -> Vec<Start> {
        loop {
            match answer.recv_timeout(POLL) {
                Ok(starts) => return starts,
                Err(RecvTimeoutError::Disconnected) => return Vec::new(),
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Acquire) => {
                    return Vec::new();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Remembers a partition and answers where to read on: the asked offset where the log has
    /// it, else the log's beginning, of which the inbox is told.
    fn place(&self, consumer: &BaseConsumer<Self>, start: Start) -> i64 {
        let Start {
            partition,
            next_offset,
            inbox,
        } = start;
        let name = format!("{}{}", self.prefix, partition.topic);
        let ends = consumer.fetch_watermarks(&name, partition.partition, BROKER_TIMEOUT);
        let position = match ends {
            Ok((low, high)) => {
                inbox.set_high(high);
                if (low..=high).contains(&next_offset) {
                    next_offset
                } else {
                    inbox.push(Arrived::Rewound {
                        asked: next_offset,
                        low,
                        high,
                    });
                    low
                }
            }
            // The check that runs every few seconds looks again.
            Err(_) => next_offset.max(0),
        };
        let mut all = self.all();
        if let Some(old) = at(&mut all, &name, partition.partition) {
            go_on(consumer, old);
            old.inbox.close();
        }
        all.retain(|reading| reading.partition != partition);
        all.push(Reading {
            partition,
            name,
            inbox,
            position,
            paused: false,
            committed: -1,
        });
        position
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>) {
        for mut reading in self.all().drain(..) {
            go_on(consumer, &mut reading);
            reading.inbox.close();
        }
        let (done, finished): (SyncSender<()>, Receiver<()>) = sync_channel(1);
        if self.assignments.send(Assignment::Revoked { done }).is_err() {
            return;
        }
        let deadline = Instant::now() + REVOKE_TIMEOUT;
        while Instant::now() < deadline && !self.stop.load(Ordering::Acquire) {
            match finished.recv_timeout(POLL) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Reading>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partition(&self, name: &str, partition: i32) -> Partition {
        let topic = name.strip_prefix(&self.prefix).unwrap_or(name).to_owned();
        Partition { topic, partition }
    }
}

/// The reading of a partition by its topic's name on the broker.
fn at<'a>(all: &'a mut [Reading], name: &str, partition: i32) -> Option<&'a mut Reading> {
    all.iter_mut()
        .find(|reading| reading.partition.partition == partition && reading.name == name)
}

struct Loop {
    consumer: BaseConsumer<Context>,
    commands: Receiver<Start>,
    wanted: Wanted,
}

impl Loop {
    fn run(self) {
        let mut check_at = Instant::now() + CHECK_EVERY;
        let mut stopped = false;
        let mut commit_at = Instant::now() + COMMIT_EVERY;
        let mut paused = false;
        while !self.context().stop.load(Ordering::Acquire) {
            while let Ok(start) = self.commands.try_recv() {
                self.seek(start);
            }
            if paused {
                paused = self.resume();
            }
            match self.consumer.poll(if paused { POLL_PAUSED } else { POLL }) {
                None => {}
                Some(Ok(message)) => paused |= self.deliver(&message),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    let _ = self.context().assignments.send(Assignment::Failed(error));
                    return;
                }
                Some(Err(error)) => {
                    // An offset out of range, a topic made anew: the positions tell.
                    self.context().complaints.hear(&error, "it could not read");
                    stopped |= stops_a_partition(&error);
                    check_at = check_at.min(Instant::now() + POLL);
                }
            }
            if Instant::now() >= check_at {
                self.check(std::mem::take(&mut stopped));
                check_at = Instant::now() + CHECK_EVERY;
            }
            if Instant::now() >= commit_at {
                self.commit();
                commit_at = Instant::now() + COMMIT_EVERY;
            }
        }
    }

    fn context(&self) -> &Context {
        self.consumer.context()
    }

    /// Puts a record into its inbox; whether its partition is paused now.
    fn deliver(&self, message: &BorrowedMessage<'_>) -> bool {
        let mut all = self.context().all();
        let Some(reading) = at(&mut all, message.topic(), message.partition()) else {
            return false;
        };
        reading.position = message.offset() + 1;
        let raw = raw(message, &reading.partition.topic);
        reading.inbox.push(wire::arrived(&raw, &self.wanted));
        if reading.inbox.is_full() && !reading.paused {
            reading.paused = self.consumer.pause(&list(reading)).is_ok();
        }
        reading.paused
    }

    /// Resumes what has room again; whether anything stays paused.
    fn resume(&self) -> bool {
        let mut paused = false;
        for reading in self.context().all().iter_mut().filter(|r| r.paused) {
            if reading.inbox.is_half_empty() {
                go_on(&self.consumer, reading);
            }
            paused |= reading.paused;
        }
        paused
    }

    fn seek(&self, start: Start) {
        let partition = start.partition.clone();
        let known = |reading: &Reading| reading.partition == partition;
        if !self.context().all().iter().any(known) {
            return;
        }
        let offset = self.context().place(&self.consumer, start);
        if !self.move_to(&partition, offset) {
            self.assign_again();
        }
    }

    /// Reads a partition from `offset` on; false when librdkafka has stopped it and cannot.
    fn move_to(&self, partition: &Partition, offset: i64) -> bool {
        let name = format!("{}{}", self.context().prefix, partition.topic);
        let to = Offset::Offset(offset);
        self.consumer
            .seek(&name, partition.partition, to, BROKER_TIMEOUT)
            .is_ok()
    }

    /// Starts every partition anew where it stands: the one way to move one that has stopped.
    fn assign_again(&self) {
        let mut list = TopicPartitionList::new();
        for reading in self.context().all().iter_mut() {
            go_on(&self.consumer, reading);
            let position = Offset::Offset(reading.position);
            let added =
                list.add_partition_offset(&reading.name, reading.partition.partition, position);
            if let Err(error) = added {
                tracing::error!(%error, "a partition was left out where all start anew");
            }
        }
        if let Err(error) = self.consumer.assign(&list) {
            tracing::error!(%error, "a consumer could not go back to where it stood");
        }
    }

    /// Looks whether each position is still inside the log. After librdkafka has stopped a
    /// partition all start anew, even where every position is inside by now: a seek that it took
    /// just before it met the error moved the position and not the partition.
    fn check(&self, stopped: bool) {
        let partitions: Vec<Partition> = {
            let all = self.context().all();
            all.iter()
                .map(|reading| reading.partition.clone())
                .collect()
        };
        let mut outside = Vec::new();
        for partition in partitions {
            let name = format!("{}{}", self.context().prefix, partition.topic);
            let ends = self
                .consumer
                .fetch_watermarks(&name, partition.partition, BROKER_TIMEOUT);
            let Ok((low, high)) = ends else { continue };
            let mut all = self.context().all();
            let Some(reading) = at(&mut all, &name, partition.partition) else {
                continue;
            };
            reading.inbox.set_high(high);
            let asked = reading.position;
            if !(low..=high).contains(&asked) {
                reading.inbox.push(Arrived::Rewound { asked, low, high });
                reading.position = low;
                outside.push((partition, low));
            }
        }
        let moved = |(partition, low): &(Partition, i64)| self.move_to(partition, *low);
        if stopped || !outside.iter().all(moved) {
            self.assign_again();
        }
    }

    fn commit(&self) {
        let mut list = TopicPartitionList::new();
        for reading in self.context().all().iter_mut() {
            let applied = reading.inbox.applied();
            if applied > reading.committed {
                let offset = Offset::Offset(applied);
                if list
                    .add_partition_offset(&reading.name, reading.partition.partition, offset)
                    .is_ok()
                {
                    reading.committed = applied;
                }
            }
        }
        if list.count() > 0 {
            // For lag tools only: a commit that fails costs nothing.
            let _ = self.consumer.commit(&list, CommitMode::Async);
        }
    }
}

/// Reads on in a partition that was paused. librdkafka keeps it paused over a seek, and over the
/// loss and the return of the partition, until it is told: who forgets that a partition is paused
/// has to say so first.
fn go_on(consumer: &BaseConsumer<Context>, reading: &mut Reading) {
    if reading.paused {
        reading.paused = consumer.resume(&list(reading)).is_err();
    }
}

fn list(reading: &Reading) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(&reading.name, reading.partition.partition);
    list
}

/// Whether librdkafka reads no further in the partition that met this error: it wanted an offset
/// that the log has not, and is not allowed to choose another.
fn stops_a_partition(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)
    )
}
