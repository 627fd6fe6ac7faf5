//! The consumer on a real Kafka: whatever comes twice, crashes or sleeps, each event has one
//! effect, in the order of its key; what is lost or foreign stops the partition.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use kit::consumer::{Consumer, PARKED_IN_A_ROW_MAX, held, release};
use kit::event::NewEvent;
use kit::testing;
use rdkafka::message::{Message, OwnedMessage};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::odd;
use crate::raw::{bare, lose_everything, read_all, with_header, write};
use crate::world::{
    CHANGED, Copying, POISON, TOPIC, UNKNOWN, World, change, effect_count, effects, problems,
    thing, until,
};

/// Things changed some times each, in turns.
async fn change_things(world: &World, things: u128, times: i64) -> HashMap<Uuid, i64> {
    for _ in 0..times {
        for n in 0..things {
            world.change(thing(n)).await;
        }
    }
    (0..things).map(|n| (thing(n), times)).collect()
}

/// Every event has one effect, and a consumer that starts again goes on where it was.
#[tokio::test]
async fn each_event_has_one_effect() {
    let world = World::new().await;
    let changes = change_things(&world, 10, 5).await;
    world.publish().await;
    let beta = &world.beta.ctx;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || effect_count(beta).await >= 50).await;
    consumer.close().await;
    let more: HashMap<Uuid, i64> = changes
        .into_iter()
        .map(|(id, last)| (id, last + 1))
        .collect();
    change_things(&world, 10, 1).await;
    world.publish().await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || effect_count(beta).await >= 60).await;
    assert_eq!(problems(&effects(beta).await, &more), Vec::<String>::new());
}

/// A process that dies with a batch in hand, before or after its commit, repeats nothing.
#[tokio::test]
async fn a_crash_before_or_after_the_commit_repeats_nothing() {
    let world = World::new().await;
    let mut changes = HashMap::new();
    let beta = &world.beta.ctx;
    for (round, point) in ["consumer.taken", "consumer.applied"]
        .into_iter()
        .enumerate()
    {
        changes = change_things(&world, 6, 4).await;
        world.publish().await;
        world.kafka.bus.faults().crash_at(point, 0);
        let mut dying = world.consumer(Copying::default());
        while dying.step().await.is_ok() {}
        assert!(!world.kafka.bus.faults().waits_at(point));
        dying.close().await;
        let mut consumer = world.consumer(Copying::default());
        until(&mut consumer, async || {
            effect_count(beta).await >= 24 * (round + 1)
        })
        .await;
        consumer.close().await;
    }
    let twice = changes
        .into_iter()
        .map(|(id, last)| (id, last * 2))
        .collect();
    assert_eq!(problems(&effects(beta).await, &twice), Vec::<String>::new());
}

/// Copies of records at other offsets, as a relay that starts again writes them, are dropped by
/// their numbers; by offset alone they would have a second effect.
#[tokio::test]
async fn copies_in_the_log_are_dropped() {
    let world = World::new().await;
    let changes = change_things(&world, 4, 3).await;
    world.publish().await;
    let copies = read_all(&world);
    write(
        &world,
        copies
            .iter()
            .filter(|message| message.payload().is_some_and(|p| !p.is_empty())),
    );
    change_things(&world, 1, 1).await;
    let more = changes
        .into_iter()
        .map(|(id, last)| (id, last + i64::from(id == thing(0))))
        .collect::<HashMap<_, _>>();
    world.publish().await;
    let beta = &world.beta.ctx;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || {
        effects(beta).await.iter().any(|e| e.version == 4)
    })
    .await;
    until(&mut consumer, async || effect_count(beta).await >= 13).await;
    assert_eq!(problems(&effects(beta).await, &more), Vec::<String>::new());
    let offsets: i64 = world.log().await.iter().map(|tail| tail.high).sum();
    assert_eq!(
        offsets,
        2 + 12 + 12 + 1,
        "the log holds no copies: the test shows nothing"
    );
}

/// A consumer that slept with a batch in hand while another took over changes nothing when it
/// wakes. Without the guard on the position its batch has a second effect.
#[tokio::test]
async fn a_zombie_consumer_is_fenced() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    world.publish().await;
    let mut zombie = world.consumer(Copying::default());
    // Past the announcements, so that it is the changes it sleeps with.
    until(&mut zombie, async || {
        positions(beta, "epoch = 1").await == 2
    })
    .await;
    let changes = change_things(&world, 1, 5).await;
    world.publish().await;
    let hold = world.kafka.bus.faults().hold_at("consumer.taken");
    let sleeping = until(&mut zombie, async || effect_count(beta).await >= 6);
    let meanwhile = async {
        hold.reached().await;
        // The same consumer in another group: it owns the same partitions at the same time.
        let twin = kit::Ctx {
            service: "beta-twin",
            ..world.beta.process().await
        };
        let mut twin = Consumer::new(twin, world.bus(), Copying::default());
        until(&mut twin, async || effect_count(beta).await >= 5).await;
        hold.release();
        change_things(&world, 1, 1).await;
        world.publish().await;
    };
    // Fenced, it reads on from where the other one is.
    tokio::join!(sleeping, meanwhile);
    let more: HashMap<Uuid, i64> = changes.into_keys().map(|id| (id, 6)).collect();
    assert_eq!(problems(&effects(beta).await, &more), Vec::<String>::new());

    // Two processes with the same batch, each in a transaction of its own: with the guard and
    // without it.
    let seventh: HashMap<Uuid, i64> = more.into_keys().map(|id| (id, 7)).collect();
    apply_twice(beta, "AND next_offset = $1").await;
    assert_eq!(
        problems(&effects(beta).await, &seventh),
        Vec::<String>::new()
    );
    let eighth: HashMap<Uuid, i64> = seventh.into_keys().map(|id| (id, 8)).collect();
    apply_twice(beta, "AND $1 > 0").await;
    assert_eq!(
        problems(&effects(beta).await, &eighth).len(),
        1,
        "the race is not seen"
    );
}

async fn positions(ctx: &kit::Ctx, which: &str) -> i64 {
    number(
        ctx,
        &format!("SELECT count(*) AS n FROM watermark WHERE {which}"),
    )
    .await
}

pub(crate) async fn number(ctx: &kit::Ctx, sql: &str) -> i64 {
    #[derive(FromQueryResult)]
    struct Number {
        n: i64,
    }
    ctx.db.one::<Number>(sql, []).await.unwrap().unwrap().n
}

/// The consumer's transaction in short, for one more version of thing 0, run by two processes
/// that both believe to stand at the same offset.
async fn apply_twice(ctx: &kit::Ctx, guard: &str) {
    let busiest = "ORDER BY next_offset DESC LIMIT 1";
    let sql = format!("SELECT next_offset AS n FROM watermark {busiest}");
    let believed = number(ctx, &sql).await;
    let version = number(ctx, "SELECT max(version) + 1 AS n FROM effect").await;
    for _process in 0..2 {
        ctx.db
            .tx("believing", async |tx| {
                let moved = tx
                    .execute(
                        &format!(
                            "UPDATE watermark SET next_offset = $1 + 1
                             WHERE part = (SELECT part FROM watermark {busiest}) {guard}"
                        ),
                        [believed.into()],
                    )
                    .await?;
                if moved == 1 {
                    let insert = "INSERT INTO effect (id, version, epoch, kind)
                                  VALUES ($1, $2, 1, '')";
                    tx.execute(insert, [thing(0).into(), version.into()])
                        .await?;
                }
                Ok(())
            })
            .await
            .unwrap();
    }
}

/// What fails for the moment is tried again for as long as it takes; nothing is parked.
#[tokio::test]
async fn passing_failures_are_tried_again() {
    let world = World::new().await;
    let changes = change_things(&world, 3, 3).await;
    world.publish().await;
    let beta = &world.beta.ctx;
    let copying = Copying::default();
    copying.away.store(4, Ordering::SeqCst);
    let mut consumer = world.consumer(copying.clone());
    until(&mut consumer, async || effect_count(beta).await >= 9).await;
    assert_eq!(copying.away.load(Ordering::SeqCst), 0);
    assert_eq!(
        problems(&effects(beta).await, &changes),
        Vec::<String>::new()
    );
    assert!(kit::parked::list(&beta.db, None).await.unwrap().is_empty());
}

/// Too many failures in a row stop the partition: a bad deployment does not park a topic. An
/// operator lets it go on.
#[tokio::test]
async fn a_run_of_failures_stops_the_partition() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    let failing = u128::from(PARKED_IN_A_ROW_MAX) * 2 + 20;
    for n in 0..failing {
        change(&world.alpha.ctx, thing(n), CHANGED, POISON).await;
    }
    world.publish().await;
    let copying = Copying::default();
    let mut consumer = world.consumer(copying.clone());
    until(&mut consumer, async || {
        held(&beta.db).await.unwrap().len() == 2
    })
    .await;
    let parked = kit::parked::list(&beta.db, None).await.unwrap().len();
    assert_eq!(parked, 2 * usize::try_from(PARKED_IN_A_ROW_MAX).unwrap());
    for stopped in held(&beta.db).await.unwrap() {
        assert!(stopped.held.starts_with("circuit:"), "{}", stopped.held);
        let Held {
            consumer,
            topic,
            part,
        } = Held::from(&stopped);
        release(beta, &consumer, &topic, part, "repaired")
            .await
            .unwrap();
    }
    copying.repaired.store(true, Ordering::SeqCst);
    let rest = usize::try_from(failing).unwrap() - parked;
    until(&mut consumer, async || effect_count(beta).await >= rest).await;
    assert!(held(&beta.db).await.unwrap().is_empty());
}

struct Held {
    consumer: String,
    topic: String,
    part: i32,
}

impl From<&kit::consumer::Held> for Held {
    fn from(held: &kit::consumer::Held) -> Self {
        let kit::consumer::Held {
            consumer,
            topic,
            part,
            ..
        } = held.clone();
        Self {
            consumer,
            topic,
            part,
        }
    }
}

/// A type that nobody here knows is skipped, unless it must be understood: then it waits, with
/// its key, for a version that knows it.
/// ASVS V1.5.2.
#[tokio::test]
async fn unknown_types_are_skipped_or_parked() {
    let world = World::new().await;
    let (alpha, beta) = (&world.alpha.ctx, &world.beta.ctx);
    change(alpha, thing(1), UNKNOWN, b"fine").await;
    change(alpha, thing(1), CHANGED, b"fine").await;
    alpha
        .db
        .tx("must", async |tx| {
            let event = crate::world::event(thing(2), UNKNOWN, 1, b"fine");
            tx.emit(NewEvent::must_understand(event));
            tx.emit(crate::world::event(thing(2), CHANGED, 2, b"fine"));
            Ok(())
        })
        .await
        .unwrap();
    world.publish().await;
    let copying = Copying::default();
    let mut consumer = world.consumer(copying.clone());
    let parked = async || kit::parked::list(&beta.db, Some("copying")).await.unwrap();
    until(&mut consumer, async || {
        parked().await.len() == 2 && effect_count(beta).await == 1
    })
    .await;
    let waiting = parked().await;
    assert!(
        waiting[0]
            .error
            .as_ref()
            .unwrap()
            .contains("must be understood")
    );
    assert_eq!(waiting[1].error, None);
    let still = kit::parked::retry(beta, &copying, waiting[0].id)
        .await
        .unwrap();
    assert!(still.error.unwrap().contains("still not known"));
    copying.repaired.store(true, Ordering::SeqCst);
    let retried = kit::parked::retry(beta, &copying, waiting[0].id)
        .await
        .unwrap();
    assert_eq!((retried.applied, retried.error), (2, None));
    let versions: Vec<i64> = effects(beta).await.iter().map(|e| e.version).collect();
    assert_eq!(versions, [2, 1, 2]);
}

/// Records that the log lost stop the partition, until an operator lets it go on.
#[tokio::test]
async fn a_loss_stops_the_partition() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    change_things(&world, 1, 3).await;
    world.publish().await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || effect_count(beta).await == 3).await;
    consumer.close().await;
    change_things(&world, 1, 2).await;
    world.publish().await;
    lose_everything(&world).await;
    change_things(&world, 1, 2).await;
    world.publish().await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || {
        !held(&beta.db).await.unwrap().is_empty()
    })
    .await;
    let stopped = held(&beta.db).await.unwrap();
    assert_eq!(stopped.len(), 1);
    assert!(
        stopped[0].held.starts_with("gap: number 6 came after 3"),
        "{}",
        stopped[0].held
    );
    assert_eq!(
        effect_count(beta).await,
        3,
        "something was applied behind the loss"
    );
    release(beta, "copying", TOPIC, stopped[0].part, "resynced")
        .await
        .unwrap();
    until(&mut consumer, async || effect_count(beta).await == 5).await;
    let versions: Vec<i64> = effects(beta).await.iter().map(|e| e.version).collect();
    assert_eq!(versions, [1, 2, 3, 6, 7]);
    assert!(release(beta, "copying", TOPIC, 0, "again").await.is_err());
}

/// A consumer that has applied one record, and the record as it was read.
async fn one_applied(world: &World) -> (Consumer<Copying>, OwnedMessage) {
    change_things(world, 1, 1).await;
    world.publish().await;
    let original = read_all(world)
        .into_iter()
        .find(|m| m.payload() == Some(b"fine"))
        .unwrap();
    let mut consumer = world.consumer(Copying::default());
    let beta = &world.beta.ctx;
    until(&mut consumer, async || effect_count(beta).await == 1).await;
    (consumer, original)
}

/// Why its partition stopped, once it has.
async fn stopped(world: &World, consumer: &mut Consumer<Copying>) -> String {
    let db = &world.beta.ctx.db;
    let reason = async || held(db).await.unwrap().pop().map(|held| held.held);
    until(consumer, async || reason().await.is_some()).await;
    reason().await.unwrap()
}

/// A record that no relay of ours stamped stops the partition, and a record of an epoch that was
/// not announced does too.
#[tokio::test]
async fn foreign_and_unannounced_records_stop_the_partition() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    let (mut consumer, original) = one_applied(&world).await;

    write(&world, [&bare(&original)]);
    let reason = stopped(&world, &mut consumer).await;
    assert!(reason.starts_with("broken:"), "{reason}");
    release(beta, "copying", TOPIC, original.partition(), "not ours")
        .await
        .unwrap();

    write(&world, [&with_header(&original, "epoch", "7")]);
    let reason = stopped(&world, &mut consumer).await;
    assert!(reason.starts_with("epoch:"), "{reason}");
    assert_eq!(effect_count(beta).await, 1);

    // The relay sees at its start that somebody else wrote to its topic.
    let refused = testing::in_charge(&mut world.relay()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("is not one of a relay"), "{refused}");
}

/// A record whose header has a name that is no text, at which the client panics, stops its
/// partition and is told of; the thread goes on reading. No client of ours could write it.
#[tokio::test]
async fn a_header_whose_name_is_no_text_stops_the_partition() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    let (mut consumer, original) = one_applied(&world).await;

    let at = (original.topic(), original.partition());
    odd::write(world.kafka.brokers(), at, b"ce_\xff\xfe");
    let reason = stopped(&world, &mut consumer).await;
    assert!(
        reason.starts_with("broken:") && reason.ends_with("UTF-8"),
        "{reason}"
    );
    release(beta, "copying", TOPIC, original.partition(), "not ours")
        .await
        .unwrap();
    // What comes after it is read by the same thread.
    write(&world, [&with_header(&original, "epoch", "7")]);
    let reason = stopped(&world, &mut consumer).await;
    assert!(reason.starts_with("epoch:"), "{reason}");
    assert_eq!(effect_count(beta).await, 1);
}

/// A database that is away when partitions are given out is waited for: nothing of them is
/// forgotten.
#[tokio::test]
async fn a_database_that_is_away_at_the_start_is_waited_for() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    let owner = world.beta.owner().await;
    world.change(thing(1)).await;
    world.publish().await;
    let away = "ALTER TABLE watermark RENAME TO away";
    owner.execute(away, []).await.unwrap();
    let mut consumer = world.consumer(Copying::default());
    while consumer.step().await.is_ok() {}
    let back = "ALTER TABLE away RENAME TO watermark";
    owner.execute(back, []).await.unwrap();
    until(&mut consumer, async || effect_count(beta).await == 1).await;
}
