//! What would happen without each guard: the same statements with only the lock left out. These
//! show that the races of the other files are there to be won.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kit::bus::partition_of;
use kit::lane::Lane;
use kit::migrate::KIT;
use kit::testing;
use kit::{Ctx, Error};
use sea_orm::{ConnectionTrait, FromQueryResult, TransactionTrait};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::parked::{parked, poisoned, someone_waits, stranded};
use crate::world::{CHANGED, GATED, THINGS, bump, change_in, thing, until};

#[derive(FromQueryResult)]
struct Version {
    version: i64,
}

/// A lane that reads the row without its lock, meets another at that point, and writes.
fn reading_unlocked(ctx: Ctx, meeting: Arc<Barrier>) -> Lane<Uuid, (), i64> {
    Lane::new("unlocked", move |id: Uuid, commands: Vec<()>| {
        let (ctx, meeting) = (ctx.clone(), Arc::clone(&meeting));
        async move {
            ctx.db
                .tx("bump_unlocked", async |tx| {
                    let read = "SELECT version FROM thing WHERE id = $1";
                    let row = tx.one::<Version>(read, [id.into()]).await?;
                    let next = row.ok_or(Error::NotFound)?.version + 1;
                    meeting.wait().await;
                    let write = "UPDATE thing SET version = $2 WHERE id = $1";
                    tx.execute(write, [id.into(), next.into()]).await?;
                    Ok(commands.iter().map(|()| Ok(next)).collect())
                })
                .await
        }
    })
}

/// Two lanes on one row lose a command between them: what makes them agree is the row's lock.
#[tokio::test]
async fn two_lanes_without_the_rows_lock_lose_a_command() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let first = async |tx: &kit::Tx| bump(tx, thing(1)).await;
    assert_eq!(test.ctx.db.tx("bump", first).await.unwrap(), 1);
    let meeting = Arc::new(Barrier::new(2));
    let one = reading_unlocked(test.ctx.clone(), Arc::clone(&meeting));
    let other = reading_unlocked(test.process().await, meeting);
    let (one, other) = tokio::join!(one.run(thing(1), ()), other.run(thing(1), ()));
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        (2, 2),
        "two commands, one version"
    );
}

/// Two that migrate at once both find it not done, and the second breaks on what the first made.
#[tokio::test]
async fn two_migrations_without_the_lock_both_begin() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let (one, other) = (test.owner().await, test.owner().await);
    let (one, other) = (
        one.pool().begin().await.unwrap(),
        other.pool().begin().await.unwrap(),
    );
    let look = "DO $$ BEGIN IF EXISTS (SELECT 1 FROM migration WHERE name = 'more')
                THEN RAISE 'done'; END IF; END $$";
    one.execute_unprepared(look).await.unwrap();
    other.execute_unprepared(look).await.unwrap();
    let make = "CREATE TABLE more (id int); INSERT INTO migration (name, checksum)
                VALUES ('more', '')";
    one.execute_unprepared(make).await.unwrap();
    one.commit().await.unwrap();
    let second = other.execute_unprepared(make).await.map_err(Error::from);
    assert_eq!(second.unwrap_err().sqlstate().as_deref(), Some("42P07"));
}

/// The retry looks without the lock while the consumer has put a record behind the hold and not
/// committed: it sees nothing left, drops the hold, and the record waits for ever.
#[tokio::test]
async fn a_retry_without_its_lock_strands_a_record() {
    let (world, copying) = poisoned().await;
    let alpha = &world.alpha.ctx;
    copying.repaired.store(true, Ordering::SeqCst);
    let applied = "UPDATE parked SET state = 'applied'";
    world.beta.ctx.db.execute(applied, []).await.unwrap();
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
    let watcher = world.beta.superuser().await;
    let operator = world.beta.process().await;
    let mut consumer = world.consumer(copying.clone());
    let dropped = Cell::new(false);
    let flowing = until(&mut consumer, async || stranded(&world).await > 0);
    let dropping = async {
        copying.gate.reached.notified().await;
        assert!(
            parked(&world).await.is_empty(),
            "nothing is left, as it seems"
        );
        let drop = "DELETE FROM parked_key";
        operator.db.execute(drop, []).await.unwrap();
        dropped.set(true);
    };
    let opening = async {
        while !someone_waits(&world, &watcher).await && !dropped.get() {
            tokio::task::yield_now().await;
        }
        copying.gate.open.notify_one();
    };
    tokio::join!(flowing, dropping, opening);
    assert_eq!(stranded(&world).await, 1);
}

/// The consumer reads the hold without its lock, the retry drops it, and the consumer puts its
/// record behind a hold that is gone.
#[tokio::test]
async fn a_hold_read_without_its_lock_strands_a_record() {
    let (world, _) = poisoned().await;
    let beta = &world.beta.ctx;
    let applied = "UPDATE parked SET state = 'applied'";
    beta.db.execute(applied, []).await.unwrap();
    let consumer = beta.db.pool().begin().await.unwrap();
    let look = "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM parked_key)
                THEN RAISE 'no hold'; END IF; END $$";
    consumer.execute_unprepared(look).await.unwrap();
    let drop = "DELETE FROM parked_key";
    beta.db.execute(drop, []).await.unwrap();
    let park = "UPDATE parked SET state = 'waiting' WHERE id = (SELECT max(id) FROM parked)";
    consumer.execute_unprepared(park).await.unwrap();
    consumer.commit().await.unwrap();
    assert_eq!(stranded(&world).await, 1);
}
