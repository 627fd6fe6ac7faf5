//! Parking on a real Kafka: a record that cannot be applied stands aside with its key, the rest
//! flows, what revokes is not held up, and a retry has each effect once and in order.

use std::sync::atomic::Ordering;

use kit::bus::partition_of;
use kit::parked::{Parked, RETRY_RECORDS_MAX, discard, list, retry};
use kit::testing;
use sea_orm::{ConnectionTrait, FromQueryResult, TransactionTrait};

use crate::world::{
    CHANGED, Copying, FROZEN, GATED, POISON, World, change, change_in, effect_count, effects,
    thing, until,
};

pub(crate) async fn parked(world: &World) -> Vec<Parked> {
    list(&world.beta.ctx.db, Some("copying")).await.unwrap()
}

async fn held_keys(world: &World) -> i64 {
    #[derive(FromQueryResult)]
    struct Count {
        n: i64,
    }
    let sql = "SELECT count(*) AS n FROM parked_key";
    world
        .beta
        .ctx
        .db
        .one::<Count>(sql, [])
        .await
        .unwrap()
        .unwrap()
        .n
}

/// The versions of one thing whose effects happened, in their order.
async fn versions(world: &World, n: u128) -> Vec<i64> {
    let all = effects(&world.beta.ctx).await;
    all.into_iter()
        .filter(|e| e.id == thing(n))
        .map(|e| e.version)
        .collect()
}

/// Thing 1 has a poisoned second version and goes on; thing 2 knows nothing of it.
pub(crate) async fn poisoned() -> (World, Copying) {
    let world = World::new().await;
    let alpha = &world.alpha.ctx;
    world.change(thing(1)).await;
    change(alpha, thing(1), CHANGED, POISON).await;
    for _ in 0..3 {
        world.change(thing(1)).await;
        world.change(thing(2)).await;
    }
    world.publish().await;
    let copying = Copying::default();
    let mut consumer = world.consumer(copying.clone());
    let beta = &world.beta.ctx;
    until(&mut consumer, async || {
        parked(&world).await.len() == 4 && effect_count(beta).await == 4
    })
    .await;
    consumer.close().await;
    (world, copying)
}

/// The poisoned record is parked with its error, the later ones of its key wait behind it, and
/// everything else flows.
#[tokio::test]
async fn poison_is_parked_with_its_key_and_the_rest_flows() {
    let (world, _) = poisoned().await;
    let waiting = parked(&world).await;
    let errors: Vec<Option<&str>> = waiting.iter().map(|row| row.error.as_deref()).collect();
    assert_eq!(errors, [Some("permanent: poison"), None, None, None]);
    assert!(waiting.iter().all(|row| row.key == thing(1).as_bytes()));
    assert_eq!(versions(&world, 1).await, [1]);
    assert_eq!(versions(&world, 2).await, [1, 2, 3]);
    assert_eq!(held_keys(&world).await, 1);
}

/// A handler that panics has failed like any other.
#[tokio::test]
async fn a_panic_is_parked() {
    let world = World::new().await;
    change(&world.alpha.ctx, thing(1), CHANGED, b"panic").await;
    world.change(thing(2)).await;
    world.publish().await;
    let mut consumer = world.consumer(Copying::default());
    let beta = &world.beta.ctx;
    until(&mut consumer, async || {
        effect_count(beta).await == 1 && !parked(&world).await.is_empty()
    })
    .await;
    assert_eq!(
        parked(&world).await[0].error.as_deref(),
        Some("permanent: the handler panicked")
    );
}

/// A freeze is applied at once although its key is held; what was held is older and does not
/// undo it.
#[tokio::test]
async fn a_freeze_passes_a_held_key() {
    let (world, copying) = poisoned().await;
    let beta = &world.beta.ctx;
    change(&world.alpha.ctx, thing(1), FROZEN, b"fine").await;
    world.change(thing(1)).await;
    world.publish().await;
    let mut consumer = world.consumer(copying.clone());
    until(&mut consumer, async || parked(&world).await.len() == 5).await;
    assert_eq!(versions(&world, 1).await, [1, 6], "the freeze did not pass");
    copying.repaired.store(true, Ordering::SeqCst);
    let retried = retry(beta, &copying, parked(&world).await[0].id)
        .await
        .unwrap();
    assert_eq!((retried.applied, retried.error), (5, None));
    assert_eq!(versions(&world, 1).await, [1, 6, 2, 3, 4, 5, 7]);

    #[derive(FromQueryResult, PartialEq, Eq, Debug)]
    struct Copy {
        version: i64,
        frozen: bool,
    }
    let sql = "SELECT version, frozen FROM copy WHERE id = $1";
    let copy: Copy = beta.db.one(sql, [thing(1).into()]).await.unwrap().unwrap();
    assert_eq!(
        copy,
        Copy {
            version: 7,
            frozen: true
        }
    );
}

/// After the fix a retry applies what waits, once and in order, and the key flows again. Before
/// the fix it changes nothing.
#[tokio::test]
async fn a_retry_after_the_fix_applies_everything_once_in_order() {
    let (world, copying) = poisoned().await;
    let beta = &world.beta.ctx;
    let first = parked(&world).await[0].id;
    let failed = retry(beta, &copying, first).await.unwrap();
    assert_eq!(
        (failed.applied, failed.error.as_deref()),
        (0, Some("permanent: poison"))
    );
    assert_eq!(
        (parked(&world).await.len(), held_keys(&world).await),
        (4, 1)
    );

    copying.repaired.store(true, Ordering::SeqCst);
    let retried = retry(beta, &copying, first).await.unwrap();
    assert_eq!((retried.applied, retried.error), (4, None));
    assert_eq!(versions(&world, 1).await, [1, 2, 3, 4, 5]);
    assert_eq!(
        (parked(&world).await.len(), held_keys(&world).await),
        (0, 0)
    );
    assert!(
        retry(beta, &copying, first).await.is_err(),
        "an applied record was retried"
    );

    world.change(thing(1)).await;
    world.publish().await;
    let mut consumer = world.consumer(copying);
    until(&mut consumer, async || effect_count(beta).await == 9).await;
    assert_eq!(versions(&world, 1).await, [1, 2, 3, 4, 5, 6]);
}

/// A retry of a long queue while the consumer runs: nothing falls between them. The hold is
/// dropped only when nothing is left behind it.
#[tokio::test]
async fn a_retry_beside_a_running_consumer_loses_nothing() {
    let (world, copying) = poisoned().await;
    let beta = &world.beta.ctx;
    let wanted = 5 + RETRY_RECORDS_MAX * 3;
    for _ in 0..RETRY_RECORDS_MAX {
        world.change(thing(1)).await;
    }
    world.publish().await;
    let mut consumer = world.consumer(copying.clone());
    until(&mut consumer, async || {
        parked(&world).await.len() == 4 + RETRY_RECORDS_MAX
    })
    .await;
    copying.repaired.store(true, Ordering::SeqCst);
    let first = parked(&world).await[0].id;
    let operator = world.beta.process().await;
    let retrying = retry(&operator, &copying, first);
    let flowing = async {
        let mut relay = world.relay();
        for _ in 0..RETRY_RECORDS_MAX * 2 {
            world.change(thing(1)).await;
            testing::in_charge(&mut relay).await.unwrap();
        }
        until(&mut consumer, async || {
            versions(&world, 1).await.len() == wanted
        })
        .await;
    };
    let (retried, ()) = tokio::join!(retrying, flowing);
    assert_eq!(retried.unwrap().error, None);
    let every: Vec<i64> = (1..=i64::try_from(wanted).unwrap()).collect();
    assert_eq!(versions(&world, 1).await, every);
    assert_eq!(
        (parked(&world).await.len(), held_keys(&world).await),
        (0, 0)
    );
    assert!(effect_count(beta).await > wanted);
}

/// Records that wait behind no hold: nobody would ever apply them.
pub(crate) async fn stranded(world: &World) -> i64 {
    #[derive(FromQueryResult)]
    struct Count {
        n: i64,
    }
    let sql = "SELECT count(*) AS n FROM parked p WHERE state = 'waiting' AND NOT EXISTS
                 (SELECT 1 FROM parked_key k WHERE k.consumer = p.consumer
                    AND k.topic = p.topic AND k.key = p.key)";
    let count = world.beta.ctx.db.one::<Count>(sql, []).await.unwrap();
    count.unwrap().n
}

/// Whether a session of beta's database waits for a lock.
pub(crate) async fn someone_waits(world: &World, watcher: &kit::Db) -> bool {
    #[derive(FromQueryResult)]
    struct Count {
        n: i64,
    }
    let sql = "SELECT count(*) AS n FROM pg_stat_activity
               WHERE datname = $1 AND wait_event_type = 'Lock'";
    let count = watcher.one::<Count>(sql, [world.beta.name().into()]).await;
    count.unwrap().unwrap().n > 0
}

/// The retry is about to drop the hold while the consumer meets a record of the key: the
/// consumer waits, and applies it when the key is free. Reading the hold without a lock it would
/// put the record behind a hold that is gone.
#[tokio::test]
async fn a_record_that_meets_the_end_of_a_hold_is_applied() {
    let (world, copying) = poisoned().await;
    let beta = &world.beta.ctx;
    let applied = "UPDATE parked SET state = 'applied'";
    beta.db.execute(applied, []).await.unwrap();
    let retry = beta.db.pool().begin().await.unwrap();
    let lock = "SELECT 1 FROM parked_key FOR UPDATE";
    retry.execute_unprepared(lock).await.unwrap();
    world.change(thing(1)).await;
    world.publish().await;
    let mut consumer = world.consumer(copying);
    let watcher = world.beta.superuser().await;
    let flowing = until(&mut consumer, async || {
        versions(&world, 1).await == [1, 6] || stranded(&world).await > 0
    });
    let dropping = async {
        while !someone_waits(&world, &watcher).await && parked(&world).await.is_empty() {
            tokio::task::yield_now().await;
        }
        let drop = "DELETE FROM parked_key";
        retry.execute_unprepared(drop).await.unwrap();
        retry.commit().await.unwrap();
    };
    tokio::join!(flowing, dropping);
    assert_eq!((stranded(&world).await, parked(&world).await.len()), (0, 0));
}

/// Another process parks a record and has not committed when the consumer comes with the next one
/// of its key and sees no hold: it waits, is fenced, and puts its record behind the hold.
#[tokio::test]
async fn a_hold_that_is_made_meanwhile_is_seen() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    world.change(thing(1)).await;
    world.publish().await;
    let copying = Copying::default();
    let mut consumer = world.consumer(copying.clone());
    until(&mut consumer, async || effect_count(beta).await == 1).await;
    let other = beta.db.pool().begin().await.unwrap();
    let moved = "UPDATE watermark SET next_offset = next_offset + 1, last_pseq = last_pseq + 1
                 WHERE last_pseq = 1";
    assert_eq!(
        other
            .execute_unprepared(moved)
            .await
            .unwrap()
            .rows_affected(),
        1
    );
    let holding = format!(
        "INSERT INTO parked_key (consumer, topic, key, since)
         VALUES ('copying', 'alpha.v1', uuid_send('{}'), now())",
        thing(1)
    );
    other.execute_unprepared(&holding).await.unwrap();
    world.change(thing(1)).await;
    world.change(thing(1)).await;
    world.publish().await;
    let watcher = world.beta.superuser().await;
    let flowing = until(&mut consumer, async || {
        !parked(&world).await.is_empty() || effect_count(beta).await > 1
    });
    let committing = async {
        while !someone_waits(&world, &watcher).await {
            tokio::task::yield_now().await;
        }
        other.commit().await.unwrap();
    };
    tokio::join!(flowing, committing);
    assert_eq!(versions(&world, 1).await, [1]);
    let waiting: Vec<i64> = parked(&world).await.iter().map(|row| row.version).collect();
    assert_eq!(
        waiting,
        [3],
        "of which the other process has parked the second"
    );
}

/// The consumer has put a record behind the hold and not committed when the retry finds nothing
/// left: the retry waits, and applies that one too.
#[tokio::test]
async fn a_retry_that_meets_a_record_on_its_way_waits_for_it() {
    let (world, copying) = poisoned().await;
    let (alpha, beta) = (&world.alpha.ctx, &world.beta.ctx);
    copying.repaired.store(true, Ordering::SeqCst);
    let home = partition_of(thing(1).as_bytes(), 2);
    let neighbour = (10..)
        .map(thing)
        .find(|id| partition_of(id.as_bytes(), 2) == home);
    alpha
        .db
        .tx("both", async |tx| {
            change_in(tx, thing(1), CHANGED, b"fine").await?;
            change_in(tx, neighbour.unwrap(), CHANGED, GATED).await
        })
        .await
        .unwrap();
    world.publish().await;
    let first = parked(&world).await[0].id;
    let watcher = world.beta.superuser().await;
    let operator = world.beta.process().await;
    let mut consumer = world.consumer(copying.clone());
    let flowing = until(&mut consumer, async || {
        versions(&world, 1).await.len() == 6 || stranded(&world).await > 0
    });
    let retrying = async {
        copying.gate.reached.notified().await;
        retry(&operator, &copying, first).await.unwrap()
    };
    let opening = async {
        while !someone_waits(&world, &watcher).await {
            tokio::task::yield_now().await;
        }
        copying.gate.open.notify_one();
    };
    let ((), retried, ()) = tokio::join!(flowing, retrying, opening);
    assert_eq!((retried.error, stranded(&world).await), (None, 0));
    assert_eq!(versions(&world, 1).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(held_keys(&world).await, 0);
    assert!(effect_count(beta).await >= 6);
}

/// A record is given up with a reason that the audit keeps; what waits behind it is retried.
#[tokio::test]
async fn a_discarded_record_lets_the_rest_through() {
    let (world, copying) = poisoned().await;
    let beta = &world.beta.ctx;
    let waiting = parked(&world).await;
    discard(beta, "copying", waiting[0].id, "the sale was void")
        .await
        .unwrap();
    assert!(
        discard(beta, "copying", waiting[0].id, "again")
            .await
            .is_err()
    );
    assert_eq!(
        held_keys(&world).await,
        1,
        "the key flowed over what still waits"
    );
    let retried = retry(beta, &copying, waiting[1].id).await.unwrap();
    assert_eq!((retried.applied, retried.error), (3, None));
    assert_eq!(versions(&world, 1).await, [1, 3, 4, 5]);
    assert_eq!(held_keys(&world).await, 0);

    #[derive(FromQueryResult)]
    struct Audit {
        detail: serde_json::Value,
    }
    let sql = "SELECT detail FROM audit WHERE act = 'discard_parked'";
    let audit: Vec<Audit> = beta.db.all(sql, []).await.unwrap();
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].detail["reason"], "the sale was void");
}
