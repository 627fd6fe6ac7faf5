//! A topic that was wiped and a database that went back in time are noticed, refused, and
//! repaired by a new epoch and a resync.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use kit::consumer::held;
use kit::relay::{Status, restored};
use kit::resync;
use kit::testing;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::world::{
    Copying, TOPIC, Things, World, effect_count, log_problems, publish_all, thing, until,
};

#[derive(FromQueryResult, Debug, PartialEq, Eq, Hash)]
struct Copied {
    id: Uuid,
    epoch: i64,
    version: i64,
}

async fn copies(ctx: &kit::Ctx) -> HashSet<Copied> {
    let rows: Vec<Copied> = ctx
        .db
        .all("SELECT id, epoch, version FROM copy", [])
        .await
        .unwrap();
    rows.into_iter().collect()
}

async fn things(ctx: &kit::Ctx, epoch: i64) -> HashSet<Copied> {
    let sql = "SELECT id, $1::bigint AS epoch, version FROM thing";
    let rows: Vec<Copied> = ctx.db.all(sql, [epoch.into()]).await.unwrap();
    rows.into_iter().collect()
}

/// Deletes the topic and makes it anew, empty.
async fn wipe(world: &World) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.brokers())
        .create()
        .unwrap();
    let name = format!("{}{TOPIC}", world.kafka.prefix());
    for result in admin
        .delete_topics(&[&name], &AdminOptions::new())
        .await
        .unwrap()
    {
        result.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(&name), Duration::from_secs(5))
            .unwrap();
        if metadata
            .topics()
            .iter()
            .all(|topic| topic.error().is_some())
        {
            break;
        }
        assert!(Instant::now() < deadline, "the topic is still there");
    }
    assert_eq!(world.bus().ensure_topic(TOPIC).await.unwrap(), 2);
}

/// A wiped topic: the consumer that runs stops, the relay refuses; a new epoch and a resync
/// bring the consumer to the writer's state again, without anybody touching it.
#[tokio::test]
async fn a_wiped_topic_is_noticed_and_repaired() {
    let world = World::new().await;
    let (alpha, beta) = (&world.alpha.ctx, &world.beta.ctx);
    for n in 0..30 {
        world.change(thing(n % 10)).await;
    }
    let mut relay = world.relay();
    publish_all(&mut relay).await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || effect_count(beta).await == 30).await;

    wipe(&world).await;
    until(&mut consumer, async || {
        held(&beta.db).await.unwrap().len() == 2
    })
    .await;
    for stopped in held(&beta.db).await.unwrap() {
        assert!(stopped.held.starts_with("log:"), "{}", stopped.held);
    }
    // The relay that runs learns of it from the offset of what it sends next, or before; one
    // that starts sees it at once.
    for n in 0..10 {
        world.change(thing(n)).await;
    }
    while relay.step().await.is_ok() {}
    drop(relay);
    let mut relay = world.relay();
    let refused = testing::in_charge(&mut relay).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("bashu restored"), "{refused}");
    assert!(matches!(relay.status(), Status::Refused(_)));
    assert!(relay.step().await.is_err(), "it sends after it refused");

    assert_eq!(restored(alpha, &world.bus()).await.unwrap(), 2);
    publish_all(&mut relay).await;
    resync::run(alpha, &Things, |_, _| {}).await.unwrap();
    publish_all(&mut relay).await;
    let wanted = things(alpha, 2).await;
    until(&mut consumer, async || copies(beta).await == wanted).await;
    assert!(held(&beta.db).await.unwrap().is_empty());
    world.change(thing(3)).await;
    publish_all(&mut relay).await;
    let wanted = things(alpha, 2).await;
    until(&mut consumer, async || copies(beta).await == wanted).await;
}

/// A consumer that was down while the topic was wiped and has grown beyond its position finds
/// the new epoch all the same.
#[tokio::test]
async fn a_consumer_that_slept_through_a_wipe_finds_the_new_epoch() {
    let world = World::new().await;
    let (alpha, beta) = (&world.alpha.ctx, &world.beta.ctx);
    for n in 0..6 {
        world.change(thing(n)).await;
    }
    world.publish().await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || effect_count(beta).await == 6).await;
    consumer.close().await;
    wipe(&world).await;
    assert_eq!(restored(alpha, &world.bus()).await.unwrap(), 2);
    resync::run(alpha, &Things, |_, _| {}).await.unwrap();
    for n in 0..40 {
        world.change(thing(n % 8)).await;
    }
    world.publish().await;
    assert!(
        world.log().await.iter().all(|tail| tail.high > 8),
        "it has not grown enough"
    );
    let mut consumer = world.consumer(Copying::default());
    let wanted = things(alpha, 2).await;
    until(&mut consumer, async || copies(beta).await == wanted).await;
    assert_eq!(log_problems(&world.log().await), Vec::<String>::new());
}

/// A database that went back in time: the relay refuses to give numbers that are taken to other
/// events; in the new epoch they are free, and what consumers know is corrected.
#[tokio::test]
async fn a_database_that_went_back_in_time_is_noticed_and_repaired() {
    let world = World::new().await;
    let (alpha, beta) = (&world.alpha.ctx, &world.beta.ctx);
    for n in 0..10 {
        world.change(thing(n)).await;
    }
    world.publish().await;
    let owner = world.alpha.owner().await;
    for copy in [
        "CREATE TABLE old_relay AS TABLE outbox_relay",
        "CREATE TABLE old_thing AS TABLE thing",
    ] {
        owner.execute(copy, []).await.unwrap();
    }
    for n in 0..10 {
        world.change(thing(n)).await;
    }
    world.publish().await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || effect_count(beta).await == 20).await;

    for back in [
        "DELETE FROM outbox_relay",
        "INSERT INTO outbox_relay SELECT * FROM old_relay",
        "DELETE FROM thing",
        "INSERT INTO thing SELECT * FROM old_thing",
        "DELETE FROM outbox WHERE version > 1",
    ] {
        owner.execute(back, []).await.unwrap();
    }
    world.change(thing(0)).await;
    let mut relay = world.relay();
    let refused = testing::in_charge(&mut relay).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("went back in time"), "{refused}");

    assert_eq!(restored(alpha, &world.bus()).await.unwrap(), 2);
    resync::run(alpha, &Things, |_, _| {}).await.unwrap();
    publish_all(&mut relay).await;
    let wanted = things(alpha, 2).await;
    assert_eq!(wanted.iter().filter(|thing| thing.version == 1).count(), 9);
    until(&mut consumer, async || copies(beta).await == wanted).await;
    assert_eq!(log_problems(&world.log().await), Vec::<String>::new());
}

/// While a relay runs nobody can pull the epoch from under it.
#[tokio::test]
async fn a_running_relay_keeps_its_epoch() {
    let world = World::new().await;
    let mut relay = world.relay();
    publish_all(&mut relay).await;
    let refused = restored(&world.alpha.ctx, &world.bus())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("stop the service first"), "{refused}");
    drop(relay);
    assert_eq!(restored(&world.alpha.ctx, &world.bus()).await.unwrap(), 2);
    assert_eq!(restored(&world.alpha.ctx, &world.bus()).await.unwrap(), 3);
    world.change(thing(1)).await;
    world.publish().await;
    assert_eq!(log_problems(&world.log().await), Vec::<String>::new());
}
