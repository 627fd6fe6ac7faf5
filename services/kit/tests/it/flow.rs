//! Much at once, and many at once: a backlog larger than what may wait in memory, consumers that
//! share a topic and leave each other, traces that go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kit::consumer::{BATCH_RECORDS_MAX, Consumer, Handler};
use kit::event::Record;
use kit::{Ctx, Result, Tx};
use uuid::Uuid;

use crate::world::{
    CHANGED, Copying, TOPIC, World, effect_count, effects, event, problems, thing, until,
};

/// Leaves one row for each effect, a batch in one statement, and remembers its largest batch.
#[derive(Clone, Debug, Default)]
struct Counting {
    largest: Arc<AtomicUsize>,
}

impl Handler for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    fn handles(&self, _kind: &str) -> bool {
        true
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        self.largest.fetch_max(records.len(), Ordering::SeqCst);
        let ids: Vec<Uuid> = records
            .iter()
            .map(|r| Uuid::from_slice(&r.key).unwrap())
            .collect();
        let versions: Vec<i64> = records.iter().map(|record| record.version).collect();
        tx.execute(
            "INSERT INTO effect (id, version, epoch, kind)
             SELECT i, v, 1, '' FROM UNNEST($1::uuid[], $2::bigint[]) WITH ORDINALITY
               AS t (i, v, o) ORDER BY o",
            [ids.into(), versions.into()],
        )
        .await?;
        Ok(())
    }
}

/// So many versions of so many things, in one transaction for each version.
async fn write_many(ctx: &Ctx, things: u128, versions: i64) -> HashMap<Uuid, i64> {
    for version in 1..=versions {
        ctx.db
            .tx("many", async |tx| {
                (0..things).for_each(|n| tx.emit(event(thing(n), CHANGED, version, b"fine")));
                Ok(())
            })
            .await
            .unwrap();
    }
    (0..things).map(|n| (thing(n), versions)).collect()
}

/// A backlog that does not fit in memory is read in pauses: nothing is lost, nothing comes twice,
/// and batches are large.
#[tokio::test]
async fn a_backlog_larger_than_the_inbox_arrives() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    let changes = write_many(&world.alpha.ctx, 100, 120).await;
    world.publish().await;
    let counting = Counting::default();
    let largest = Arc::clone(&counting.largest);
    let mut consumer = Consumer::new(beta.clone(), world.bus(), counting);
    until(&mut consumer, async || effect_count(beta).await >= 12_000).await;
    assert_eq!(
        problems(&effects(beta).await, &changes),
        Vec::<String>::new()
    );
    assert_eq!(largest.load(Ordering::SeqCst), BATCH_RECORDS_MAX);
}

/// A second process joins while the first one's inboxes are full and their partitions paused: what
/// comes back to the first one is read on, though it was paused when it was taken away.
#[tokio::test]
async fn a_full_partition_that_comes_back_is_read_on() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    let twin = world.beta.process().await;
    let changes = write_many(&world.alpha.ctx, 100, 300).await;
    world.publish().await;
    let mut first = Consumer::new(beta.clone(), world.bus(), Counting::default());
    let mut second = Consumer::new(twin, world.bus(), Counting::default());
    until(&mut first, async || effect_count(beta).await >= 1_000).await;
    tokio::join!(
        until(&mut first, async || effect_count(beta).await >= 30_000),
        until(&mut second, async || effect_count(beta).await >= 30_000),
    );
    assert_eq!(
        problems(&effects(beta).await, &changes),
        Vec::<String>::new()
    );
}

/// A second process of the same service joins and takes a share, then the first one leaves: the
/// second one has everything, and nothing happened twice on the way.
#[tokio::test]
async fn consumers_share_a_topic_and_leave_each_other() {
    let world = World::new().await;
    let beta = &world.beta.ctx;
    let twin = world.beta.process().await;
    let mut first = world.consumer(Copying::default());
    let mut second = Consumer::new(twin, world.bus(), Copying::default());
    let mut expected = 0;
    let mut emit = async |times: usize| {
        for _ in 0..times {
            for n in 0..6 {
                world.change(thing(n)).await;
            }
        }
        world.publish().await;
        expected += times * 6;
        expected
    };
    let wanted = emit(3).await;
    until(&mut first, async || effect_count(beta).await == wanted).await;
    let wanted = emit(3).await;
    // Both step: the group shares its partitions out while records flow.
    tokio::join!(
        until(&mut first, async || effect_count(beta).await == wanted),
        until(&mut second, async || effect_count(beta).await == wanted),
    );
    let wanted = emit(3).await;
    tokio::join!(
        until(&mut first, async || effect_count(beta).await == wanted),
        until(&mut second, async || effect_count(beta).await == wanted),
    );
    first.close().await;
    let wanted = emit(3).await;
    until(&mut second, async || effect_count(beta).await == wanted).await;
    let changes = (0..6).map(|n| (thing(n), 12)).collect();
    assert_eq!(
        problems(&effects(beta).await, &changes),
        Vec::<String>::new()
    );
}

/// A consumer that runs in the background applies what is published, and ends when it is told to.
#[tokio::test]
async fn a_running_consumer_ends_when_it_is_stopped() {
    let world = World::new().await;
    let beta = world.beta.ctx.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(world.consumer(Copying::default()).run(stop.clone()));
    world.change(thing(1)).await;
    world.publish().await;
    let applied = async {
        while effect_count(&beta).await < 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), applied)
        .await
        .unwrap();
    stop.cancel();
    running.await.unwrap();
}
