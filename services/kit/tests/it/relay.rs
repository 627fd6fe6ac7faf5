//! The relay: whatever crashes where and whoever else believes to be it, the log carries each
//! event under one number, in the order of its key, and skips nothing.

use std::time::Duration;

use kit::relay::{Relay, Status};
use kit::testing;
use sea_orm::{ConnectionTrait, FromQueryResult, TransactionTrait};
use uuid::Uuid;

use crate::world::{
    CHANGED, TOPIC, World, change_in, event, events, log_problems, publish_all, stamps, thing,
};

#[derive(FromQueryResult)]
struct Number {
    n: i64,
}

async fn number(ctx: &kit::Ctx, sql: &str) -> i64 {
    ctx.db.one::<Number>(sql, []).await.unwrap().unwrap().n
}

/// A process that dies at any point of a tick is followed by one that sends the same events
/// under the same numbers.
#[tokio::test]
async fn a_crash_at_any_point_repeats_the_same_numbers() {
    let world = World::new().await;
    world.publish().await;
    let mut written = 0;
    for point in [
        "relay.opened",
        "relay.sent",
        "relay.acknowledged",
        "relay.stored",
    ] {
        for n in 0..40 {
            world.change(thing(n % 7)).await;
            written += 1;
        }
        world.kafka.bus.faults().crash_at(point, 0);
        let mut dying = world.relay();
        while dying.step().await.is_ok() {}
        assert!(
            !world.kafka.bus.faults().waits_at(point),
            "{point} was never passed"
        );
        drop(dying);
        world.publish().await;
    }
    let log = world.log().await;
    assert_eq!(log_problems(&log), Vec::<String>::new());
    assert_eq!(events(&log), written);
    let records: usize = log.iter().map(|tail| tail.records.len()).sum();
    assert!(
        records > written + 2,
        "nothing was sent twice: no crash came after a send"
    );
}

/// A transaction that took its number first and committed last: by id the order of the key holds
/// and nothing is skipped. By transaction number, or by "id above the last", it does not.
#[tokio::test]
async fn late_commits_keep_their_order_and_are_not_skipped() {
    let world = World::new().await;
    let ctx = &world.alpha.ctx;
    world.publish().await;
    world.change(thing(1)).await;
    world.publish().await;

    // The second writer of thing 1 takes its number, then waits for the first one's row lock.
    let (numbered, second) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let late = async {
        ctx.db
            .tx("late", async |tx| {
                tx.execute("SELECT pg_current_xact_id()", []).await?;
                numbered.notify_one();
                second.notified().await;
                change_in(tx, thing(1), CHANGED, b"fine").await
            })
            .await
    };
    let early = async {
        numbered.notified().await;
        ctx.db
            .tx("early", async |tx| {
                change_in(tx, thing(1), CHANGED, b"fine").await
            })
            .await?;
        second.notify_one();
        kit::Result::Ok(())
    };
    let (late, early) = tokio::join!(late, early);
    late.unwrap();
    early.unwrap();
    let by_xid = "SELECT array_position(array_agg(version ORDER BY xid, id), 3)::bigint AS n
                  FROM outbox WHERE version > 1";
    assert_eq!(
        number(ctx, by_xid).await,
        1,
        "by transaction number version 3 comes first"
    );
    world.publish().await;

    // One event whose transaction is still open while a later id is published.
    let open = ctx.db.pool().begin().await.unwrap();
    open.execute_unprepared(
        "INSERT INTO outbox (slot, event_id, kind, key, version, must_understand, payload,
           occurred_at) VALUES (0, gen_random_uuid(), 'alpha.v1.ThingChanged', '\\x09', 1, false,
           '', now())",
    )
    .await
    .unwrap();
    world.change(thing(2)).await;
    world.publish().await;
    let published = events(&world.log().await);
    let last = number(ctx, "SELECT max(id) AS n FROM outbox").await;
    open.commit().await.unwrap();
    let above = format!("SELECT count(*) AS n FROM outbox WHERE id > {last}");
    assert_eq!(
        number(ctx, &above).await,
        0,
        "a poller by id would skip the late event"
    );
    world.publish().await;
    let log = world.log().await;
    assert_eq!(events(&log), published + 1);
    assert_eq!(log_problems(&log), Vec::<String>::new());
    assert_eq!(versions(&world, thing(1)).await, vec![1, 2, 3]);
}

/// The versions of a thing in the order of the log.
pub(crate) async fn versions(world: &World, id: Uuid) -> Vec<i64> {
    #[derive(FromQueryResult)]
    struct Row {
        event_id: Uuid,
        version: i64,
    }
    let rows: Vec<Row> = world
        .alpha
        .ctx
        .db
        .all(
            "SELECT event_id, version FROM outbox WHERE key = $1",
            [id.as_bytes().to_vec().into()],
        )
        .await
        .unwrap();
    let log = world.log().await;
    let ids: Vec<Uuid> = log.iter().flat_map(stamps).map(|stamp| stamp.id).collect();
    ids.iter()
        .filter_map(|id| rows.iter().find(|row| row.event_id == *id))
        .map(|row| row.version)
        .collect()
}

/// A writing transaction that stays open in another database of the cluster holds nothing up.
/// Below the horizon of all running transactions nothing would be visible.
#[tokio::test]
async fn a_long_transaction_elsewhere_stalls_nothing() {
    let world = World::new().await;
    world.publish().await;
    let elsewhere = world.beta.ctx.db.pool().begin().await.unwrap();
    elsewhere
        .execute_unprepared("SELECT pg_current_xact_id()")
        .await
        .unwrap();
    world.change(thing(1)).await;
    let below = "SELECT count(*) AS n FROM outbox
                 WHERE xid < pg_snapshot_xmin(pg_current_snapshot())";
    assert_eq!(
        number(&world.alpha.ctx, below).await,
        0,
        "the horizon does not hide the event"
    );
    world.publish().await;
    assert_eq!(events(&world.log().await), 1);
    elsewhere.rollback().await.unwrap();
}

/// A relay that lost its lock while it waited for acknowledgements changes nothing when it
/// wakes: its successor has gone on. Without the guard the counters would go back and name other
/// events by numbers that are taken.
#[tokio::test]
async fn a_zombie_relay_is_fenced() {
    let world = World::new().await;
    world.publish().await;
    for n in 0..20 {
        world.change(thing(n)).await;
    }
    let hold = world.kafka.bus.faults().hold_at("relay.acknowledged");
    let mut zombie = world.relay();
    let asleep = tokio::spawn(async move {
        let result = zombie.step().await;
        (zombie, result)
    });
    hold.reached().await;
    kill_lock_session(&world).await;
    let stale = stored_counters(&world).await;
    let mut successor = world.relay();
    publish_all(&mut successor).await;
    for n in 0..20 {
        world.change(thing(n)).await;
    }
    // It wakes while its successor is in the middle of a tick of its own.
    let tick = world.kafka.bus.faults().hold_at("relay.opened");
    let waking = async {
        tick.reached().await;
        hold.release();
        let woken = asleep.await.unwrap();
        tick.release();
        woken
    };
    let (published, (mut zombie, woken)) = tokio::join!(successor.step(), waking);
    assert_eq!(published.unwrap(), 20);
    publish_all(&mut successor).await;
    drop(successor);
    assert!(
        woken.is_err(),
        "the zombie believed that it had stored something"
    );
    assert_eq!(*zombie.status(), Status::Closed);
    let log = world.log().await;
    assert_eq!(log_problems(&log), Vec::<String>::new());
    assert_eq!(events(&log), 40);
    publish_all(&mut zombie).await;
    drop(zombie);

    // The guard off: what the zombie would have stored.
    world
        .alpha
        .ctx
        .db
        .execute(
            "UPDATE outbox_relay SET pseqs = $1, offsets = offsets",
            [stale.into()],
        )
        .await
        .unwrap();
    for n in 0..20 {
        world.change(thing(n)).await;
    }
    let mut misled = world.relay();
    let refused = testing::in_charge(&mut misled).await;
    assert!(
        refused.is_err(),
        "the relay did not notice that its counters went back"
    );
    assert!(matches!(misled.status(), Status::Refused(_)));
}

async fn stored_counters(world: &World) -> Vec<i64> {
    #[derive(FromQueryResult)]
    struct Counters {
        pseqs: Vec<i64>,
    }
    let sql = "SELECT pseqs FROM outbox_relay";
    world
        .alpha
        .ctx
        .db
        .one::<Counters>(sql, [])
        .await
        .unwrap()
        .unwrap()
        .pseqs
}

/// Ends the session that holds the relay's lock, as a failing network does.
async fn kill_lock_session(world: &World) {
    let killed = world
        .alpha
        .superuser()
        .await
        .one::<Number>(
            "SELECT count(pg_terminate_backend(pid, 5000))::bigint AS n FROM pg_locks
             WHERE locktype = 'advisory'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [],
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(killed.n, 1);
}

/// A second relay waits while the first one has the lock, and takes over when it is gone.
#[tokio::test]
async fn the_second_relay_stands_by() {
    let world = World::new().await;
    let mut first = world.relay();
    publish_all(&mut first).await;
    let mut second = world.relay();
    assert_eq!(second.step().await.unwrap(), 0);
    assert_eq!(*second.status(), Status::Standby);
    drop(first);
    world.change(thing(1)).await;
    publish_all(&mut second).await;
    assert_eq!(events(&world.log().await), 1);
}

/// A backlog of several chunks, with a crash between two of them, comes out dense.
#[tokio::test]
async fn a_large_tick_is_sent_in_chunks() {
    let world = World::new().await;
    world.publish().await;
    let ctx = &world.alpha.ctx;
    for batch in 0..6 {
        ctx.db
            .tx("many", async |tx| {
                for n in 0..2_000_i64 {
                    let id = thing(u128::try_from(n).unwrap());
                    tx.emit(event(id, CHANGED, batch + 1, b"fine"));
                }
                Ok(())
            })
            .await
            .unwrap();
    }
    world.kafka.bus.faults().crash_at("relay.acknowledged", 1);
    let mut dying = world.relay();
    let mut first = 0;
    while let Ok(published) = dying.step().await {
        first += published;
    }
    assert_eq!(first, 5_000, "the crash came after the first chunk");
    drop(dying);
    world.publish().await;
    let log = world.log().await;
    assert_eq!(log_problems(&log), Vec::<String>::new());
    assert_eq!(events(&log), 12_000);
}

/// Slots are emptied when all their rows are published, and not while one is not: neither a row
/// that waits nor one whose transaction is still open is lost.
#[tokio::test]
async fn slots_are_emptied_only_of_what_is_published() {
    let world = World::new().await;
    let ctx = &world.alpha.ctx;
    let rows = "SELECT count(*) AS n FROM outbox";
    world.change(thing(1)).await;
    world.publish().await;
    assert_eq!(number(ctx, rows).await, 1, "the slot in use was emptied");
    ctx.clock.advance(chrono::TimeDelta::seconds(600));
    world.publish().await;
    assert_eq!(number(ctx, rows).await, 0);
    world.change(thing(2)).await;
    ctx.clock.advance(chrono::TimeDelta::seconds(1_200));
    let mut relay = world.relay();
    let crash = world.kafka.bus.faults().clone();
    crash.crash_at("relay.opened", 0);
    assert!(testing::in_charge(&mut relay).await.is_err());
    crash.crash_at("relay.acknowledged", 0);
    assert!(relay.step().await.is_err());
    assert_eq!(
        number(ctx, rows).await,
        1,
        "a row of an open tick was emptied"
    );
    publish_all(&mut relay).await;
    ctx.clock.advance(chrono::TimeDelta::seconds(61));
    publish_all(&mut relay).await;
    assert_eq!(number(ctx, rows).await, 0);

    // A transaction that began two slots ago and is still open.
    let open = ctx.db.pool().begin().await.unwrap();
    let slot = ctx.clock.now().timestamp().div_euclid(600).rem_euclid(4);
    open.execute_unprepared(&format!(
        "INSERT INTO outbox (slot, event_id, kind, key, version, must_understand, payload,
           occurred_at) VALUES ({slot}, gen_random_uuid(), '{CHANGED}', '\\x09', 1, false, '',
           now())"
    ))
    .await
    .unwrap();
    world.change(thing(3)).await;
    ctx.clock.advance(chrono::TimeDelta::seconds(1_200));
    publish_all(&mut relay).await;
    open.commit().await.unwrap();
    publish_all(&mut relay).await;
    ctx.clock.advance(chrono::TimeDelta::seconds(61));
    publish_all(&mut relay).await;
    assert_eq!(number(ctx, rows).await, 0);
    let log = world.log().await;
    assert_eq!((events(&log), log_problems(&log)), (4, Vec::new()));
}

/// An event that commits into an old slot after the last tick is not emptied away with it.
#[tokio::test]
async fn a_late_event_in_an_old_slot_is_not_lost() {
    let world = World::new().await;
    let ctx = &world.alpha.ctx;
    let old = ctx.clock.now().timestamp().div_euclid(600).rem_euclid(4);
    world.change(thing(1)).await;
    ctx.clock.advance(chrono::TimeDelta::seconds(1_200));
    let hold = world.kafka.bus.faults().hold_at("relay.stored");
    let mut relay = world.relay();
    let stepping = async { relay.step().await.unwrap() };
    let late = async {
        hold.reached().await;
        let insert = format!(
            "INSERT INTO outbox (slot, event_id, kind, key, version, must_understand, payload,
               occurred_at) VALUES ({old}, gen_random_uuid(), '{CHANGED}', '\\x09', 1, false,
               '', now())"
        );
        ctx.db.execute(&insert, []).await.unwrap();
        hold.release();
    };
    let (published, ()) = tokio::join!(stepping, late);
    assert_eq!(published, 1);
    publish_all(&mut relay).await;
    assert_eq!(events(&world.log().await), 2);
}

/// The partitions of a topic are frozen.
#[tokio::test]
async fn other_partition_counts_are_refused() {
    let world = World::new().await;
    world.publish().await;
    let options = kit::bus::KafkaOptions {
        brokers: world.kafka.brokers().to_owned(),
        prefix: world.kafka.prefix().to_owned(),
        partitions: 3,
        replication: 1,
        instance: None,
    };
    let mut relay = Relay::new(world.alpha.ctx.clone(), kit::bus::Bus::kafka(options));
    let refused = testing::in_charge(&mut relay).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("has 2 partitions, not the configured 3"),
        "{refused}"
    );
}

/// An event that is waiting shows its age; a published one does not.
#[tokio::test]
async fn the_oldest_unpublished_event_is_known() {
    let world = World::new().await;
    let ctx = &world.alpha.ctx;
    assert_eq!(kit::relay::oldest_unpublished(ctx).await.unwrap(), None);
    world.change(thing(1)).await;
    let written = ctx.clock.now();
    ctx.clock.advance(chrono::TimeDelta::seconds(30));
    world.change(thing(1)).await;
    assert_eq!(
        kit::relay::oldest_unpublished(ctx).await.unwrap(),
        Some(written)
    );
    world.publish().await;
    assert_eq!(kit::relay::oldest_unpublished(ctx).await.unwrap(), None);
}

/// A relay that runs in the background publishes what a command commits without being asked,
/// and ends when it is stopped.
#[tokio::test]
async fn a_running_relay_is_woken_by_a_commit() {
    let world = World::new().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(world.relay().run(stop.clone()));
    world.change(thing(1)).await;
    let published = async {
        while kit::relay::oldest_unpublished(&world.alpha.ctx)
            .await
            .unwrap()
            .is_some()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), published)
        .await
        .unwrap();
    stop.cancel();
    running.await.unwrap();
    assert_eq!(events(&world.log().await), 1);
    assert_eq!(TOPIC, world.alpha.ctx.topic());
}
