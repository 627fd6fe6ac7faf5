//! Seeds beside each other. A story waits for PostgreSQL half of its time, and what it decides is
//! decided by its seed alone; so several are played at once, each by a worker with a thread, a
//! runtime, databases, a log and a clock of its own. Which worker plays a seed says nothing about
//! its story.

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::ground::{Ground, Room};
use crate::play::{Played, play};
use crate::seeds::Asked;

/// How long a run of the tests goes on with further seeds.
const CI_SECONDS_MAX: u64 = 25;

/// Plays what was asked for, on as many grounds as there is room for; each story is heard here as
/// soon as it has ended.
///
/// # Panics
/// When a world cannot be made: then no further seed is begun.
pub(crate) fn play_all(asked: Asked, mut room: Room, mut heard: impl FnMut(u64, Played)) {
    let queue = Queue::new(asked);
    let mut broken = None;
    std::thread::scope(|scope| {
        let (sender, stories) = channel();
        while let Some(room) = room.split(1) {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || work(queue, room, &sender));
        }
        drop(sender);
        for (seed, played) in stories {
            match played {
                Ok(played) => heard(seed, played),
                Err(error) => {
                    queue.end();
                    broken = Some((seed, error));
                }
            }
        }
    });
    if let Some((seed, error)) = broken {
        panic!("seed {seed}: {error:#}");
    }
    let left = queue.left().len();
    if left > 0 {
        eprintln!("the time is over, {left} seeds were not begun");
    }
}

type Story = (u64, Result<Played>);

fn work(queue: &Queue, room: Room, stories: &Sender<Story>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");
    let mut at_work = AtWork { queue, seed: None };
    runtime.block_on(async {
        let ground = Ground::within(room).await.expect("the test world is up");
        while let Some(seed) = queue.next() {
            at_work.seed = Some(seed);
            let played = play(&ground, seed).await;
            if stories.send((seed, played)).is_err() {
                return;
            }
        }
    });
}

/// The seeds that nobody has begun yet.
struct Queue {
    left: Mutex<VecDeque<u64>>,
    /// How long seeds are begun, from the first one on.
    time: Option<Duration>,
    began: OnceLock<Instant>,
}

impl Queue {
    fn new(asked: Asked) -> Self {
        Self {
            left: Mutex::new(asked.seeds().into()),
            time: asked
                .is_part()
                .then_some(Duration::from_secs(CI_SECONDS_MAX)),
            began: OnceLock::new(),
        }
    }

    fn next(&self) -> Option<u64> {
        let began = self.began.get_or_init(Instant::now);
        let late = self.time.is_some_and(|time| began.elapsed() > time);
        if late { None } else { self.left().pop_front() }
    }

    /// No further seed is begun.
    fn end(&self) {
        self.left().clear();
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker: when one dies it says of which seed, and nobody begins a further one.
struct AtWork<'a> {
    queue: &'a Queue,
    seed: Option<u64>,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("!! a worker died, its last seed was {:?}", self.seed);
            self.queue.end();
        }
    }
}
