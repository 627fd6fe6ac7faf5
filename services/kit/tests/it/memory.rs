//! The memory bus keeps the promises of the real one while it misbehaves under a seed.

use std::collections::HashMap;

use kit::bus::{Bus, Memory, MemoryOptions};
use kit::consumer::Consumer;
use kit::migrate::KIT;
use kit::relay::Relay;
use kit::testing;

use crate::world::{
    CHANGED, Copying, THINGS, TOPIC, change, effect_count, effects, problems, thing,
};

const SEEDS: std::ops::Range<u64> = 1..4;

fn memory(bus: &Bus) -> &Memory {
    match bus {
        Bus::Memory(memory) => memory,
        Bus::Kafka(_) => panic!("not a memory bus"),
    }
}

/// Delays, repeats, lost acknowledgements and crashes of relay and consumer: one effect each, in
/// order, whatever the seed.
#[tokio::test]
async fn a_stormy_log_has_exact_effects() {
    for seed in SEEDS {
        let alpha = testing::db("alpha", &[KIT, THINGS]).await;
        let beta = testing::db("beta", &[KIT, THINGS]).await;
        let bus = Bus::memory(MemoryOptions::stormy(3, seed));
        let mut relay = Relay::new(alpha.ctx.clone(), bus.clone());
        let mut consumer = Consumer::new(beta.ctx.clone(), bus.clone(), Copying::default());
        let mut zombie = Consumer::new(beta.process().await, bus.clone(), Copying::default());
        for round in 0..40_u32 {
            for n in 0..5 {
                change(&alpha.ctx, thing(n), CHANGED, b"fine").await;
            }
            if round % 7 == 3 {
                bus.faults().crash_at("relay.acknowledged", 0);
            }
            if round % 9 == 5 {
                bus.faults().crash_at("consumer.applied", 1);
            }
            // An error is a crash that was asked for, or a lost acknowledgement.
            let _ = relay.step().await;
            let _ = consumer.step().await;
            let _ = zombie.step().await;
        }
        let mut steps = 0;
        while effect_count(&beta.ctx).await < 200 {
            let _ = relay.step().await;
            let _ = consumer.step().await;
            let _ = zombie.step().await;
            steps += 1;
            assert!(steps < 5_000, "seed {seed} does not come to rest");
        }
        let changes: HashMap<_, _> = (0..5).map(|n| (thing(n), 40)).collect();
        let found = problems(&effects(&beta.ctx).await, &changes);
        assert_eq!(found, Vec::<String>::new(), "seed {seed}");
        let log = memory(&bus).records(TOPIC);
        let written: usize = log.iter().map(Vec::len).sum();
        assert!(written > 203, "seed {seed} repeated nothing");
    }
}

/// A calm log comes to rest, and says so.
#[tokio::test]
async fn a_calm_log_is_quiet_when_all_is_applied() {
    let alpha = testing::db("alpha", &[KIT, THINGS]).await;
    let beta = testing::db("beta", &[KIT, THINGS]).await;
    let bus = Bus::memory(MemoryOptions::calm(2));
    let mut relay = Relay::new(alpha.ctx.clone(), bus.clone());
    let mut consumer = Consumer::new(beta.ctx.clone(), bus.clone(), Copying::default());
    change(&alpha.ctx, thing(1), CHANGED, b"fine").await;
    while relay.step().await.unwrap() > 0 {}
    assert!(!consumer.is_quiet(), "it has not even started");
    while !consumer.is_quiet() {
        consumer.step().await.unwrap();
    }
    assert_eq!(effect_count(&beta.ctx).await, 1);
}

/// An emptied log is noticed here as well.
#[tokio::test]
async fn a_wiped_log_stops_the_consumer() {
    let alpha = testing::db("alpha", &[KIT, THINGS]).await;
    let beta = testing::db("beta", &[KIT, THINGS]).await;
    let bus = Bus::memory(MemoryOptions::calm(1));
    let mut relay = Relay::new(alpha.ctx.clone(), bus.clone());
    let mut consumer = Consumer::new(beta.ctx.clone(), bus.clone(), Copying::default());
    change(&alpha.ctx, thing(1), CHANGED, b"fine").await;
    while relay.step().await.unwrap() > 0 {}
    while effect_count(&beta.ctx).await < 1 {
        consumer.step().await.unwrap();
    }
    memory(&bus).wipe(TOPIC);
    bus.ensure_topic(TOPIC).await.unwrap();
    while kit::consumer::held(&beta.ctx.db).await.unwrap().is_empty() {
        consumer.step().await.unwrap();
    }
    change(&alpha.ctx, thing(1), CHANGED, b"fine").await;
    assert!(relay.step().await.is_err());
}
