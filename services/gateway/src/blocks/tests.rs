//! Permits are spent once, live as long as they may, and are asked for in time.

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

/// A large block is followed by the next before it is used up: the requests that come while
/// Redis answers are paid for already, and no permit lives longer than it may.
#[test]
fn the_next_of_large_blocks_is_asked_for_ahead() {
    const LARGE: u32 = AHEAD_BLOCK_MIN;
    let desk = Desk::new();
    let pay = |count, ms| {
        let wanted = vec![(login("a"), count)];
        desk.blocks.pay(wanted, |_| LARGE, desk.at(ms))
    };
    desk.grant(&pay(1, 0), &[u64::from(LARGE)], 0);
    let low = LARGE / AHEAD_SHARE;
    assert!(pay(LARGE - low - 2, 100).asked.is_empty());
    let ahead = pay(1, 200);
    assert_eq!(ahead.asked, [asked(login("a"), 0, LARGE)]);
    assert!(ahead.is_complete(), "nobody waits for it");
    assert!(pay(1, 200).asked.is_empty(), "it is asked for once");
    desk.grant(&ahead, &[u64::from(LARGE)], 200);
    assert!(pay(low - 1, 300).asked.is_empty(), "the first goes first");
    assert!(pay(LARGE - low - 1, 1_199).asked.is_empty());
    let late = pay(1, 1_200);
    assert!(!late.is_complete(), "the second is as old as its asking");
    assert_eq!(late.asked, [asked(login("a"), 1, LARGE)]);
}

/// Where Redis gives no block ahead, the requests that follow do not ask again for one until
/// they need it, and then each is counted.
#[test]
fn a_block_ahead_is_refused_once() {
    const LARGE: u32 = AHEAD_BLOCK_MIN;
    let desk = Desk::new();
    let pay = |count| {
        let wanted = vec![(login("a"), count)];
        desk.blocks.pay(wanted, |_| LARGE, desk.at(0))
    };
    desk.grant(&pay(1), &[u64::from(LARGE)], 0);
    let ahead = pay(LARGE - LARGE / AHEAD_SHARE - 1);
    assert_eq!(ahead.asked.len(), 1);
    desk.grant(&ahead, &[0], 0);
    for _ in 0..LARGE / AHEAD_SHARE {
        assert!(pay(1).asked.is_empty());
    }
    assert!(!pay(1).is_complete());
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
