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

/// What Redis is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) bucket: Bucket,
    /// What is needed now.
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
struct Block {
    left: u32,
    until: Instant,
    /// Since when a request is asking for the next one: the others ask for what they need alone, so
    /// that one bucket never has more than one block here. A request may be given up on its way.
    asked_since: Option<Instant>,
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
                Some(one) if one.left >= count && now < one.until => {
                    one.left -= count;
                    let until = one.until;
                    spent.push(Spent {
                        bucket,
                        count,
                        until,
                    });
                    continue;
                }
                Some(one) if one.is_asked_for(now) => {}
                Some(one) => {
                    one.asked_since = Some(now);
                    wished = size;
                }
                None if is_full => {}
                None => {
                    let first = Block {
                        left: 0,
                        until: now,
                        asked_since: Some(now),
                    };
                    all.young.insert(bucket.clone(), first);
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
                one.left = granted.saturating_sub(asked.count);
                one.until = from + LIFE;
            }
        }
        if matches!(outcome, Outcome::Refused) {
            for spent in &payment.spent {
                // Only to the block that it is from: permits grow no older than they may.
                if let Some(one) = all.find(&spent.bucket)
                    && one.until == spent.until
                {
                    one.left += spent.count;
                }
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
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
mod tests {
    use std::net::IpAddr;

    use super::*;

    const SIZE: u32 = 5;

    fn login(name: &str) -> Bucket {
        Bucket::Login(name.to_owned())
    }

    fn asked(bucket: Bucket, count: u32, wished: u32) -> Asked {
        Asked {
            bucket,
            count,
            wished,
        }
    }

    struct Desk {
        blocks: Blocks,
        start: Instant,
    }

    impl Desk {
        fn new() -> Self {
            let blocks = Blocks::default();
            let start = Instant::now();
            Self { blocks, start }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn pay(&self, wanted: &[(Bucket, u32)], ms: u64) -> Payment {
            self.blocks.pay(wanted.to_vec(), |_| SIZE, self.at(ms))
        }

        fn grant(&self, payment: &Payment, granted: &[u64], ms: u64) {
            let outcome = Outcome::Granted(granted, self.at(ms));
            self.blocks.settle(payment, outcome);
        }
    }

    /// A block pays for as many requests as it has permits, and for none of another bucket.
    #[test]
    fn a_block_is_spent_once() {
        let desk = Desk::new();
        let first = desk.pay(&[(login("a"), 1)], 0);
        assert_eq!(first.asked, [asked(login("a"), 1, SIZE)]);
        desk.grant(&first, &[5], 0);
        for _ in 1..SIZE {
            assert!(desk.pay(&[(login("a"), 1)], 500).asked.is_empty());
        }
        let next = desk.pay(&[(login("a"), 1), (login("b"), 1)], 500);
        let (a, b) = (asked(login("a"), 1, SIZE), asked(login("b"), 1, SIZE));
        assert_eq!(next.asked, [a, b]);
        // Redis had few left, and gave what was needed.
        desk.grant(&next, &[1, 3], 500);
        assert_eq!(desk.pay(&[(login("a"), 1)], 500).asked.len(), 1);
        assert!(desk.pay(&[(login("b"), 2)], 500).asked.is_empty());
        assert_eq!(desk.pay(&[(login("b"), 1)], 500).asked.len(), 1);
    }

    /// Permits die, counted from before they were taken: nobody saves them up.
    #[test]
    fn a_permit_lives_for_a_second() {
        let desk = Desk::new();
        let first = desk.pay(&[(login("a"), 1)], 0);
        desk.grant(&first, &[5], 0);
        assert!(desk.pay(&[(login("a"), 1)], 999).asked.is_empty());
        let late = desk.pay(&[(login("a"), 1)], 1_000);
        assert_eq!(late.asked, [asked(login("a"), 1, SIZE)]);
        // What was left of the first does not come on top of the second.
        desk.grant(&late, &[5], 1_000);
        assert_eq!(desk.pay(&[(login("a"), 5)], 1_001).asked.len(), 1);
        assert!(desk.pay(&[(login("a"), 4)], 1_001).asked.is_empty());
    }

    /// While one request asks for a block, others ask for themselves; when it came back with
    /// nothing, the next may ask.
    #[test]
    fn one_block_is_asked_for_at_a_time() {
        let desk = Desk::new();
        for outcome in [Outcome::Refused, Outcome::Lost] {
            let first = desk.pay(&[(login("a"), 1)], 0);
            assert_eq!(first.asked[0].wished, SIZE);
            let second = desk.pay(&[(login("a"), 1)], 0);
            assert_eq!(second.asked, [asked(login("a"), 1, 1)]);
            desk.grant(&second, &[1], 0);
            assert_eq!(desk.pay(&[(login("a"), 1)], 0).asked[0].wished, 1);
            desk.blocks.settle(&first, outcome);
        }
        assert_eq!(desk.pay(&[(login("a"), 1)], 0).asked[0].wished, SIZE);
    }

    /// A request that was given up while it asked keeps nobody from blocks for long.
    #[test]
    fn an_asker_who_is_gone_is_replaced() {
        let desk = Desk::new();
        let gone = desk.pay(&[(login("a"), 1)], 0);
        assert_eq!(gone.asked[0].wished, SIZE);
        assert_eq!(desk.pay(&[(login("a"), 1)], 999).asked[0].wished, 1);
        assert_eq!(desk.pay(&[(login("a"), 1)], 1_000).asked[0].wished, SIZE);
    }

    /// What a refused request had paid already is there for the next, but no longer than before.
    #[test]
    fn a_refused_request_costs_nothing() {
        let desk = Desk::new();
        let wanted = [(login("hall"), 2), (login("a"), 1)];
        let first = desk.pay(&wanted[..1], 0);
        desk.grant(&first, &[5], 0);
        let refused = desk.pay(&wanted, 100);
        assert_eq!(refused.asked, [asked(login("a"), 1, SIZE)]);
        desk.blocks.settle(&refused, Outcome::Refused);
        assert!(desk.pay(&[(login("hall"), 3)], 100).asked.is_empty());

        let renewed = desk.pay(&[(login("hall"), 1)], 2_000);
        desk.grant(&renewed, &[5], 2_000);
        let refused = desk.pay(&wanted, 2_900);
        let renewed = desk.pay(&[(login("hall"), 4)], 2_900);
        desk.grant(&renewed, &[5], 2_900);
        desk.blocks.settle(&refused, Outcome::Refused);
        assert_eq!(desk.pay(&[(login("hall"), 2)], 2_900).asked.len(), 1);
    }

    /// A bucket without blocks, and a request for more than a block, are asked for as they are.
    #[test]
    fn what_has_no_block_is_asked_for_each_time() {
        let desk = Desk::new();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let codes = Bucket::AddressLoginFields(address);
        for _ in 0..3 {
            let wanted = vec![(codes.clone(), 2)];
            let payment = desk.blocks.pay(wanted, |_| 0, desk.at(0));
            assert_eq!(payment.asked, [asked(codes.clone(), 2, 2)]);
            desk.grant(&payment, &[2], 0);
        }
        let many = desk.pay(&[(login("a"), SIZE + 1)], 0);
        assert_eq!(many.asked, [asked(login("a"), SIZE + 1, SIZE + 1)]);
    }

    /// However many logins there are, no more than two generations are kept.
    #[test]
    fn blocks_are_bounded_and_forgotten() {
        let desk = Desk::new();
        for round in 0..4 {
            for number in 0..BLOCKS_MAX + 10 {
                let wanted = [(login(&format!("{round} {number}")), 1)];
                let payment = desk.pay(&wanted, round * 1_000);
                let wished = if number < BLOCKS_MAX { SIZE } else { 1 };
                assert_eq!(payment.asked[0].wished, wished);
                desk.grant(&payment, &[u64::from(wished)], round * 1_000);
            }
            let all = desk.blocks.all();
            assert!(all.young.len() <= BLOCKS_MAX && all.old.len() <= BLOCKS_MAX);
        }
        desk.pay(&[(login("a"), 1)], 9_000);
        desk.pay(&[(login("a"), 1)], 10_000);
        let all = desk.blocks.all();
        assert_eq!(all.old.len() + all.young.len(), 1);
    }
}
