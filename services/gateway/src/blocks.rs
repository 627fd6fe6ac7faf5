//! Permits that were taken from Redis ahead of the requests that will need them, so that not
//! every request has to ask. It asks nobody and knows no limit: the limiter says how many may be
//! taken ahead, and tells what Redis answered.
//!
//! A permit that is not used within [`LIFE`] is lost. So what all gateways together let pass is
//! what Redis gave out, at most so much later; the limiter makes its buckets smaller by what
//! flows in meanwhile, and the limits hold as they are written.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limiter::Bucket;

/// How long a permit may be used after it was taken.
pub(crate) const LIFE: Duration = Duration::from_secs(1);
/// Buckets with permits, at most, in each of two generations; all others are asked for each time.
const BLOCKS_MAX: usize = 20_000;
/// The smallest block after which the next is asked for before it is used up. Few requests at a
/// time are paid for with smaller ones, so that few have to ask for themselves meanwhile.
const AHEAD_BLOCK_MIN: u32 = 20;
/// The share of a block that is left when the next is asked for: enough to pay for what arrives
/// until Redis has answered, and little enough that a calm client rarely gets one in vain.
const AHEAD_SHARE: u32 = 4;

/// What Redis is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) bucket: Bucket,
    /// What is needed now; nothing where only the next block is asked for.
    pub(crate) count: u32,
    /// What is taken if there is plenty; no less than `count`.
    pub(crate) wished: u32,
}

/// What was spent without asking.
#[derive(Clone, Debug)]
struct Spent {
    bucket: Bucket,
    count: u32,
    /// Of the block that it was taken from.
    until: Instant,
}

/// How a request is paid for: partly with permits that are there, and partly by asking.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) asked: Vec<Asked>,
    spent: Vec<Spent>,
}

impl Payment {
    /// Whether the request is paid for already, whatever becomes of what is asked for.
    pub(crate) fn is_complete(&self) -> bool {
        self.asked.iter().all(|asked| asked.count == 0)
    }
}

/// What became of the asking.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// So many of each that was asked for, taken no earlier than at this instant.
    Granted(&'a [u64], Instant),
    /// None of them: what was spent beside it was spent for nothing.
    Refused,
    /// Nobody knows.
    Lost,
}

/// The permits at hand.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<Generations>);

#[derive(Clone, Copy, Debug)]
struct Permits {
    left: u32,
    until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    current: Permits,
    /// What was taken before the current ones were used up.
    next: Permits,
    /// Since when a request is asking for the next one: the others ask for what they need alone, so
    /// that one bucket never has more than two blocks here. A request may be given up on its way.
    asked_since: Option<Instant>,
    /// Whether the next one was asked for since the current permits are there. Once is enough:
    /// where Redis gives none, the bucket is low, and each further request would ask again.
    is_next_asked: bool,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Bucket, Block>,
    /// What was not used since the last turn.
    old: HashMap<Bucket, Block>,
    turned: Option<Instant>,
}

impl Blocks {
    /// Pays with the permits at hand as far as they go. Of buckets without, a block of `block`
    /// permits is wished for; where that is none, only what is needed.
    pub(crate) fn pay(
        &self,
        wanted: Vec<(Bucket, u32)>,
        block: impl Fn(&Bucket) -> u32,
        now: Instant,
    ) -> Payment {
        let (mut asked, mut spent) = (Vec::new(), Vec::new());
        let mut all = self.all();
        all.turn(now);
        for (bucket, count) in wanted {
            let size = block(&bucket);
            if size <= count {
                let wished = count;
                asked.push(Asked {
                    bucket,
                    count,
                    wished,
                });
                continue;
            }
            let mut wished = count;
            let is_full = all.young.len() >= BLOCKS_MAX;
            match all.find(&bucket) {
                Some(one) => {
                    if let Some(until) = one.spend(count, now) {
                        if one.asks_ahead(size, now) {
                            asked.push(Asked {
                                bucket: bucket.clone(),
                                count: 0,
                                wished: size,
                            });
                        }
                        spent.push(Spent {
                            bucket,
                            count,
                            until,
                        });
                        continue;
                    }
                    if !one.is_asked_for(now) {
                        one.asked_since = Some(now);
                        wished = size;
                    }
                }
                None if is_full => {}
                None => {
                    all.young.insert(bucket.clone(), Block::asking(now));
                    wished = size;
                }
            }
            asked.push(Asked {
                bucket,
                count,
                wished,
            });
        }
        Payment { asked, spent }
    }

    /// Keeps what was granted beyond need, or gives back what was spent in vain. Every payment
    /// that asked comes here once.
    pub(crate) fn settle(&self, payment: &Payment, outcome: Outcome<'_>) {
        let mut all = self.all();
        let granted = match outcome {
            Outcome::Granted(granted, _) => granted,
            Outcome::Refused | Outcome::Lost => &[],
        };
        for (number, asked) in payment.asked.iter().enumerate() {
            if asked.wished == asked.count {
                continue;
            }
            let Some(one) = all.find(&asked.bucket) else {
                continue;
            };
            one.asked_since = None;
            if let (Some(granted), Outcome::Granted(_, from)) = (granted.get(number), outcome) {
                let granted = u32::try_from(*granted).unwrap_or(0).min(asked.wished);
                let permits = Permits {
                    left: granted.saturating_sub(asked.count),
                    until: from + LIFE,
                };
                if asked.count == 0 {
                    one.next = permits;
                } else {
                    one.current = permits;
                    one.is_next_asked = false;
                }
            }
        }
        if matches!(outcome, Outcome::Refused) {
            for spent in &payment.spent {
                // Only to the block that it is from: permits grow no older than they may.
                if let Some(one) = all.find(&spent.bucket)
                    && one.current.until == spent.until
                {
                    one.current.left += spent.count;
                }
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permits {
    fn can_pay(&self, count: u32, now: Instant) -> bool {
        self.left >= count && now < self.until
    }
}

impl Block {
    /// One that is being asked for, with nothing in it yet.
    fn asking(now: Instant) -> Self {
        let none = Permits {
            left: 0,
            until: now,
        };
        Self {
            current: none,
            next: none,
            asked_since: Some(now),
            is_next_asked: false,
        }
    }

    /// Takes `count` permits, and says until when they were good; `None` where there are too few.
    fn spend(&mut self, count: u32, now: Instant) -> Option<Instant> {
        if !self.current.can_pay(count, now) {
            if !self.next.can_pay(count, now) {
                return None;
            }
            self.current = self.next;
            self.next.left = 0;
            self.is_next_asked = false;
        }
        self.current.left -= count;
        Some(self.current.until)
    }

    /// Whether it is time to ask for the next block of `size` permits; then it counts as asked for.
    fn asks_ahead(&mut self, size: u32, now: Instant) -> bool {
        let is_time = size >= AHEAD_BLOCK_MIN
            && self.current.left <= size / AHEAD_SHARE
            && !self.is_next_asked
            && !self.is_asked_for(now);
        if is_time {
            self.asked_since = Some(now);
            self.is_next_asked = true;
        }
        is_time
    }

    /// Who asks has an answer, or is lost, within a permit's life.
    fn is_asked_for(&self, now: Instant) -> bool {
        let since = self.asked_since;
        since.is_some_and(|since| now.saturating_duration_since(since) < LIFE)
    }
}

impl Generations {
    /// Forgets what was not used for longer than a permit lives.
    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(turned) >= LIFE {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.turned = Some(now);
        }
    }

    fn find(&mut self, bucket: &Bucket) -> Option<&mut Block> {
        if self.young.len() < BLOCKS_MAX
            && let Some((bucket, one)) = self.old.remove_entry(bucket)
        {
            self.young.insert(bucket, one);
        }
        if self.young.contains_key(bucket) {
            return self.young.get_mut(bucket);
        }
        self.old.get_mut(bucket)
    }
}

#[cfg(test)]
mod tests;
