//! A lane: commands that meet on one hot row wait in one queue and are decided in one
//! transaction, in arrival order.
//!
//! Correctness never rests on it: the row lock and the constraints carry it, so two processes
//! with a lane each are slower, never wrong. A batch that fails as a whole is redone one by one,
//! so that nobody suffers for a neighbour. A full queue answers [`Error::Overloaded`].

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::{Error, Result};

/// Commands in one transaction, at most.
pub const BATCH_MAX: usize = 256;
/// A batch of fewer commands than this begins no sooner than [`GATHER`] after the one before it
/// began: it costs the same statements and one commit, whatever is in it.
pub const GATHERED_COMMANDS: usize = 64;
pub const GATHER: Duration = Duration::from_millis(8);
/// Commands that may wait in one lane.
pub const QUEUE_MAX: usize = 4_096;
/// A lane without work ends after this long.
const IDLE: Duration = Duration::from_secs(30);

type Batch<K, C, A> =
    Arc<dyn Fn(K, Vec<C>) -> BoxFuture<'static, Result<Vec<Result<A>>>> + Send + Sync>;
type Waiting<C, A> = (C, Asked<A>);
type Queues<K, C, A> = Arc<Mutex<HashMap<K, mpsc::Sender<Waiting<C, A>>>>>;

/// Where an answer goes, and the trace in which it was asked for.
struct Asked<A> {
    answer: oneshot::Sender<Result<A>>,
    span: Span,
}

impl<A> Asked<A> {
    /// A caller that went away needs no answer.
    fn send(self, result: Result<A>) {
        let _ = self.answer.send(result);
    }
}

/// A family of lanes, one for each key that is in use.
pub struct Lane<K, C, A> {
    name: &'static str,
    batch: Batch<K, C, A>,
    queues: Queues<K, C, A>,
}

impl<K, C, A> Clone for Lane<K, C, A> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            batch: Arc::clone(&self.batch),
            queues: Arc::clone(&self.queues),
        }
    }
}

impl<K, C, A> fmt::Debug for Lane<K, C, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K, C, A> Lane<K, C, A>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Clone + Send + Sync + 'static,
    A: Send + 'static,
{
    /// A lane whose `batch` runs one transaction for up to [`BATCH_MAX`] commands and gives one
    /// answer for each, in their order.
    pub fn new<F, Fut>(name: &'static str, batch: F) -> Self
    where
        F: Fn(K, Vec<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Result<A>>>> + Send + 'static,
    {
        let batch: Batch<K, C, A> = Arc::new(move |key, commands| Box::pin(batch(key, commands)));
        Self {
            name,
            batch,
            queues: Arc::default(),
        }
    }

    /// Queues a command behind those of the same key and waits for its own answer.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full, else what the batch answers.
    pub async fn run(&self, key: K, command: C) -> Result<A> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(
            key,
            (
                command,
                Asked {
                    answer,
                    span: Span::current(),
                },
            ),
        )?;
        answered
            .await
            .map_err(|_| Error::internal("a lane ended without an answer"))?
    }

    fn enqueue(&self, key: K, waiting: Waiting<C, A>) -> Result<()> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = match queues.get(&key) {
            None => waiting,
            Some(queue) => match queue.try_send(waiting) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    metrics::counter!("bashu_lane_overloaded_total", "lane" => self.name)
                        .increment(1);
                    return Err(Error::Overloaded);
                }
                // The task ended by a panic: a new one takes over.
                Err(mpsc::error::TrySendError::Closed(waiting)) => waiting,
            },
        };
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        queue.try_send(waiting).map_err(|_| Error::Overloaded)?;
        queues.insert(key.clone(), queue);
        #[expect(clippy::disallowed_methods, reason = "one task for each hot key")]
        tokio::spawn(self.clone().drain(key, queued));
        Ok(())
    }

    async fn drain(self, key: K, mut queued: mpsc::Receiver<Waiting<C, A>>) {
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        let commands = metrics::histogram!("bashu_lane_batch_commands", "lane" => self.name);
        let mut not_before = Instant::now();
        loop {
            let received =
                tokio::time::timeout(IDLE, queued.recv_many(&mut waiting, BATCH_MAX)).await;
            match received {
                Ok(0) => return,
                Ok(count) => {
                    if count < GATHERED_COMMANDS && Instant::now() < not_before {
                        tokio::time::sleep_until(not_before).await;
                        gather(&mut queued, &mut waiting);
                    }
                    not_before = Instant::now() + GATHER;
                    let count = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
                    commands.record(f64::from(count));
                    self.run_batch(&key, std::mem::take(&mut waiting)).await;
                }
                Err(_) => {
                    let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
                    // Senders enqueue under this lock, so an empty queue stays empty.
                    if queued.is_empty() {
                        queues.remove(&key);
                        return;
                    }
                }
            }
        }
    }

    async fn run_batch(&self, key: &K, waiting: Vec<Waiting<C, A>>) {
        let (commands, mut asked): (Vec<C>, Vec<Asked<A>>) = waiting.into_iter().unzip();
        let span = crate::telemetry::joined("lane", asked.iter().map(|one| &one.span));
        let batch = (self.batch)(key.clone(), commands.clone()).instrument(span);
        match batch.await {
            Ok(results) if results.len() == asked.len() => {
                for (one, result) in asked.into_iter().zip(results) {
                    one.send(result);
                }
            }
            Ok(_) => {
                for one in asked {
                    one.send(Err(Error::internal("a batch lost count of its answers")));
                }
            }
            Err(error) if asked.len() == 1 => {
                if let Some(one) = asked.pop() {
                    one.send(Err(error));
                }
            }
            Err(error) => {
                tracing::warn!(lane = self.name, %error, "a batch failed and is redone one by one");
                for (command, one) in commands.into_iter().zip(asked) {
                    let batch = (self.batch)(key.clone(), vec![command]);
                    let result = batch.instrument(one.span.clone()).await;
                    one.send(result.and_then(|mut all| {
                        all.pop()
                            .unwrap_or_else(|| Err(Error::internal("a batch gave no answer")))
                    }));
                }
            }
        }
    }
}

/// Takes in what has arrived meanwhile, as far as it fits into one batch.
fn gather<T>(queued: &mut mpsc::Receiver<T>, waiting: &mut Vec<T>) {
    while waiting.len() < BATCH_MAX
        && let Ok(one) = queued.try_recv()
    {
        waiting.push(one);
    }
}
