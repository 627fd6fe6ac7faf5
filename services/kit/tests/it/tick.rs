//! What the relay reads at once: all of a tick and nothing else, however it is read, in chunks that
//! end alike whoever reads them.

use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::relay::versions;
use crate::world::{CHANGED, World, event, events, log_problems, publish_all, thing};

/// A tick that looked small, because what it mostly holds is of a transaction that began before the
/// tick before it, is read to its end and in order.
#[tokio::test]
async fn a_tick_is_read_whole_though_it_looked_small() {
    let world = World::new().await;
    let ctx = &world.alpha.ctx;
    world.publish().await;
    let open = ctx.db.pool().begin().await.unwrap();
    open.execute_unprepared(&format!(
        "INSERT INTO outbox (slot, event_id, kind, key, version, must_understand, payload,
           occurred_at) SELECT 0, gen_random_uuid(), '{CHANGED}', uuid_send('{}'), n, false, '',
           now() FROM generate_series(1, 1300) n",
        thing(1)
    ))
    .await
    .unwrap();
    // Meanwhile others go on, and the open one is left behind.
    for n in 2..6 {
        world.change(thing(n)).await;
        world.publish().await;
    }
    open.commit().await.unwrap();
    world.change(thing(2)).await;
    let mut relay = world.relay();
    publish_all(&mut relay).await;
    let log = world.log().await;
    assert_eq!((events(&log), log_problems(&log)), (1_305, Vec::new()));
    let every: Vec<i64> = (1..=1_300).collect();
    assert_eq!(versions(&world, thing(1)).await, every);
}

/// Where a chunk ends follows from where it begins: a relay that dies between sending and storing a
/// chunk of large events, after one of small ones, is followed by one that knows all that was sent.
#[tokio::test]
async fn a_chunk_ends_alike_after_a_crash() {
    let world = World::new().await;
    world.publish().await;
    let large = vec![b'x'; 12 * 1024];
    let (small, large) = ((5_000, &b"fine"[..]), (2_200, &large[..]));
    for (version, (events, payload)) in [(1, small), (2, large)] {
        let emit = async |tx: &kit::Tx| {
            (0..events).for_each(|n| tx.emit(event(thing(n), CHANGED, version, payload)));
            Ok(())
        };
        world.alpha.ctx.db.tx("many", emit).await.unwrap();
    }
    world.kafka.bus.faults().crash_at("relay.acknowledged", 1);
    let mut dying = world.relay();
    while dying.step().await.is_ok() {}
    assert!(!world.kafka.bus.faults().waits_at("relay.acknowledged"));
    drop(dying);
    world.publish().await;
    let log = world.log().await;
    assert_eq!(log_problems(&log), Vec::<String>::new());
    assert_eq!(events(&log), 7_200);
}
