//! What happens at the same moment, with two processes on one database; and, for each guard, the
//! race that there is without it.

use futures::future::join_all;
use kit::consumer::Handler;
use passes::Passes;
use passes::commands::BuyPass;
use passes::domain::{Pass, ProductId};
use serde_json::json;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::world::{World, caller, code, entitlement, key, settings};

fn product_id(id: &str) -> ProductId {
    ProductId(kit::graphql::GlobalId::uuid(id, "PassProduct").unwrap())
}

/// Another process on the same database, with lanes of its own.
async fn twin(world: &World) -> Passes {
    Passes::new(world.db.process().await, &settings(), None).unwrap()
}

async fn buy(passes: &Passes, who: u128, product: ProductId, key: Uuid) -> kit::Result<Pass> {
    let request = BuyPass {
        product,
        renews: None,
        key,
    };
    passes.buy(&caller(who), request).await
}

fn refusal(result: &kit::Result<Pass>) -> &str {
    match result {
        Ok(_) => "",
        Err(kit::Error::Refused(refusal)) => refusal.code,
        Err(error) => panic!("{error:?}"),
    }
}

/// Sixty buyers in two processes want the last five.
#[tokio::test]
async fn the_last_ones_are_sold_once() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({ "saleLimit": 5 })).await);
    let other = twin(&world).await;
    let purchases = (1..=60).map(|who| {
        let process = if who % 2 == 0 { &world.passes } else { &other };
        buy(process, who, product, key())
    });
    let results = join_all(purchases).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    assert!(
        results
            .iter()
            .all(|result| ["", "SOLD_OUT"].contains(&refusal(result)))
    );
    assert_eq!(
        world.count("SELECT held AS count FROM product_stock").await,
        5
    );
    world.verify().await;
}

/// Both read that one is left, then both take it: so it goes without the lock. With the
/// constraint the second one fails, without it two are sold.
#[tokio::test]
async fn without_its_guards_the_last_one_is_sold_twice() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({ "saleLimit": 1 })).await);
    let take = async |unguarded: bool| {
        let both_read = Barrier::new(2);
        let processes = [world.db.process().await, world.db.process().await];
        let one = async |ctx: &kit::Ctx| {
            ctx.db
                .tx("unlocked_sale", async |tx| {
                    let held = "SELECT held AS count FROM product_stock WHERE product = $1";
                    let read = tx
                        .one::<Count>(held, [product.0.into()])
                        .await?
                        .unwrap()
                        .count;
                    both_read.wait().await;
                    if read > 0 {
                        return Ok(false);
                    }
                    let take = "UPDATE product_stock SET held = held + 1 WHERE product = $1";
                    tx.execute(take, [product.0.into()]).await.map(|_| true)
                })
                .await
        };
        let (first, second) = tokio::join!(one(&processes[0]), one(&processes[1]));
        let sold = [&first, &second]
            .iter()
            .filter(|one| matches!(one, Ok(true)))
            .count();
        let stopped = [&first, &second].iter().filter(|one| one.is_err()).count();
        assert_eq!(stopped, usize::from(!unguarded));
        sold
    };
    assert_eq!(
        take(false).await,
        1,
        "the constraint carries it even without the lock"
    );
    let reset = "UPDATE product_stock SET held = 0";
    world.ctx().db.execute(reset, []).await.unwrap();
    let drop = "ALTER TABLE product_stock DROP CONSTRAINT stock_within_limit";
    world.db.owner().await.execute(drop, []).await.unwrap();
    assert_eq!(
        take(true).await,
        2,
        "the race is there when its guards are off"
    );
}

#[derive(sea_orm::FromQueryResult)]
struct Count {
    count: i64,
}

/// The same key at the same moment in two processes is one purchase.
#[tokio::test]
async fn the_same_key_at_once_buys_one() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({ "memberLimit": null })).await);
    let other = twin(&world).await;
    let key = key();
    let results = join_all((0..12).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        buy(process, 1, product, key)
    }))
    .await;
    let ids: std::collections::BTreeSet<_> = results
        .into_iter()
        .map(|result| result.unwrap().id)
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.count("SELECT count(*) AS count FROM pass").await, 1);
    world.verify().await;
}

/// Buying twice at once with two keys meets the limit for one person.
#[tokio::test]
async fn buying_twice_at_once_meets_the_limit() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({})).await);
    let other = twin(&world).await;
    let results = join_all((0..12).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        buy(process, 1, product, key())
    }))
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .all(|r| ["", "MEMBER_LIMIT_REACHED"].contains(&refusal(r)))
    );
    world.verify().await;
}

/// A close delivered to two consumers at once brings the stock back once. Without the state's
/// guard it would come back twice, which the table refuses.
#[tokio::test]
async fn a_close_delivered_twice_at_once_returns_stock_once() {
    let world = World::new().await;
    let product = world.product(json!({ "saleLimit": 3 })).await;
    let mut closes = Vec::new();
    for who in 1..=3 {
        let bought = world.buy(&caller(who), &product).await;
        closes.push(world.closed(&bought["pass"], 2));
        closes.push(world.closed(&bought["pass"], 3));
    }
    let follower = world.passes.follower();
    let contexts = join_all((0..3).map(|_| world.db.process())).await;
    join_all(contexts.iter().flat_map(|ctx| {
        closes.iter().map(async |close| {
            let records = [close.clone()];
            ctx.db
                .tx("tell", async |tx| follower.apply(tx, &records).await)
                .await
                .unwrap();
        })
    }))
    .await;
    assert_eq!(
        world
            .count("SELECT held + sold AS count FROM product_stock")
            .await,
        0
    );
    world.verify().await;
    let again = "UPDATE product_stock SET held = held - 1";
    let refused = world.ctx().db.execute(again, []).await.unwrap_err();
    assert_eq!(refused.constraint().as_deref(), Some("stock_held"));
}

/// Two requests for the refund of one pass at once are one refund. Without the lock on the pass
/// both would find it active.
#[tokio::test]
async fn a_refund_asked_for_twice_at_once_is_one() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = entitlement(&world.bought(&caller(1), &product).await);
    let other = twin(&world).await;
    let results = join_all((0..8).map(|n| {
        let process = if n % 2 == 0 {
            world.passes.clone()
        } else {
            other.clone()
        };
        async move { process.request_refund(&caller(1), id, key()).await }
    }))
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .all(|r| ["", "REFUND_IN_PROGRESS"].contains(&refusal(r)))
    );
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 1);
    world.verify().await;
    // The guard off: both read the state before either has written it.
    let both_read = Barrier::new(2);
    let processes = [world.db.process().await, world.db.process().await];
    let reset = "UPDATE pass SET state = 'active'";
    world.ctx().db.execute(reset, []).await.unwrap();
    let ask = async |ctx: &kit::Ctx| {
        ctx.db
            .tx("unlocked_refund", async |tx| {
                let active = "SELECT count(*) AS count FROM pass WHERE state = 'active'";
                let found = tx.one::<Count>(active, []).await?.unwrap().count;
                both_read.wait().await;
                tx.execute("UPDATE pass SET state = 'refunding'", [])
                    .await?;
                Ok(found)
            })
            .await
            .unwrap()
    };
    let (first, second) = tokio::join!(ask(&processes[0]), ask(&processes[1]));
    assert_eq!(
        first + second,
        2,
        "without the lock both believe that they froze it"
    );
}

/// A refund and its own timer, the count and the end of a lease, at the same moment: one outcome.
#[tokio::test]
async fn the_count_and_its_deadline_at_once_settle_once() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let input = json!({ "passId": id, "idempotencyKey": key() });
    let asked = world.mutate(&caller(1), "requestPassRefund", input).await;
    assert_eq!(code(&asked), "");
    let freeze = world
        .count("SELECT freeze_version AS count FROM refund")
        .await;
    world.ctx().clock.advance(chrono::TimeDelta::hours(9));
    let answer = [world.counted(&id, freeze, 0, 0)];
    let follower = world.passes.follower();
    let _ = world.emitted().await;
    let other = world.db.process().await;
    let told = other
        .db
        .tx("tell", async |tx| follower.apply(tx, &answer).await);
    let (told, ()) = tokio::join!(told, world.due());
    told.unwrap();
    let events = world.emitted().await;
    let passes = events
        .iter()
        .filter(|one| one.kind.ends_with("PassChanged"))
        .count();
    assert_eq!(passes, 1, "{events:?}");
    let returned: std::collections::BTreeSet<Vec<u8>> = events
        .iter()
        .filter(|one| one.kind.ends_with("LineReturned"))
        .map(|one| one.decode::<proto::passes::LineReturned>().return_id)
        .collect();
    assert_eq!(returned.len(), 1);
    world.verify().await;
}
