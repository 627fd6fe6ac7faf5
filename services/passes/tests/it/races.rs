//! What happens at the same moment, with two processes on one database. The same races with their
//! guards off are in `unguarded`.

use futures::future::join_all;
use kit::consumer::Handler;
use passes::Passes;
use passes::commands::{BuyPass, Custody, Reason};
use passes::domain::{Pass, ProductId, VoidRefund};
use serde_json::json;
use uuid::Uuid;

use crate::unguarded::counted_under_lease;
use crate::world::{World, caller, code, entitlement, key, settings};

#[derive(sea_orm::FromQueryResult)]
pub(crate) struct Count {
    pub(crate) count: i64,
}

pub(crate) fn product_id(id: &str) -> ProductId {
    ProductId(kit::graphql::GlobalId::uuid(id, "PassProduct").unwrap())
}

/// Another process on the same database, with lanes of its own.
pub(crate) async fn twin(world: &World) -> Passes {
    Passes::new(world.db.process().await, &settings(), None).unwrap()
}

pub(crate) async fn buy(
    passes: &Passes,
    who: u128,
    product: ProductId,
    key: Uuid,
) -> kit::Result<Pass> {
    let request = BuyPass {
        product,
        renews: None,
        key,
    };
    passes.buy(&caller(who), request).await
}

pub(crate) fn refusal(result: &kit::Result<Pass>) -> &str {
    match result {
        Ok(_) => "",
        Err(kit::Error::Refused(refusal)) => refusal.code,
        Err(error) => panic!("{error:?}"),
    }
}

/// Sixty buyers in two processes want the last five.
/// ASVS V2.3.4.
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

/// A close delivered to three consumers at once brings the stock back once.
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
}

/// Requests for the refund of one pass at once are one refund; the same request is also one answer.
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
    let second = entitlement(&world.bought(&caller(2), &product).await);
    let same = key();
    let results = join_all((0..8).map(|n| {
        let process = if n % 2 == 0 {
            world.passes.clone()
        } else {
            other.clone()
        };
        async move { process.request_refund(&caller(2), second, same).await }
    }))
    .await;
    assert!(results.iter().all(|one| one.as_ref().unwrap().id == second));
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 2);
    world.verify().await;
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

/// The end of the last lease and a count that a late scan raised, at the same moment: either the
/// money goes back, or she keeps the pass.
#[tokio::test]
async fn a_late_count_and_the_end_of_its_leases_at_once_agree() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let follower = world.passes.follower();
    let other = world.db.process().await;
    let mut returned = std::collections::BTreeSet::new();
    for _ in 0..7 {
        let id = world.bought(&caller(1), &product).await;
        let freeze = counted_under_lease(&world, &id).await;
        let _ = world.emitted().await;
        let answer = [world.counted(&id, freeze, 1, 0)];
        let told = other
            .db
            .tx("tell", async |tx| follower.apply(tx, &answer).await);
        let (told, ()) = tokio::join!(told, world.due());
        told.unwrap();
        let events = world.emitted().await;
        let count = |kind: &str| events.iter().filter(|one| one.kind.ends_with(kind)).count();
        assert_eq!(count("PassChanged"), 1, "{events:?}");
        let state = world.pass(&caller(1), &id).await["state"].clone();
        let kept = state == "ACTIVE";
        assert!(kept || state == "REFUNDING", "{state}");
        // What went back before may be told again.
        let lines = events
            .iter()
            .filter(|one| one.kind.ends_with("LineReturned"))
            .filter(|one| returned.insert(one.key.clone()));
        assert_eq!(lines.count(), usize::from(!kept), "{id}: {events:?}");
    }
    world.verify().await;
}

/// Two renewals of one pass at the same moment, in two processes: one continues it.
#[tokio::test]
async fn a_pass_renewed_twice_at_once_has_one_successor() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let other = twin(&world).await;
    let id = entitlement(&world.bought(&caller(1), &product).await);
    world.ctx().clock.advance(chrono::TimeDelta::days(320));
    let results = join_all((0..8).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        let request = BuyPass {
            product: product_id(&product),
            renews: Some(id),
            key: key(),
        };
        async move { process.buy(&caller(1), request).await }
    }))
    .await;
    assert_eq!(results.iter().filter(|one| one.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .all(|one| ["", "ALREADY_RENEWED"].contains(&refusal(one)))
    );
    world.verify().await;
}

/// Voided with its price back by many at once, while admission counts: it is frozen once, and the
/// price goes back once, after the count.
#[tokio::test]
async fn a_void_at_once_goes_back_once_and_counted() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let other = twin(&world).await;
    let follower = world.passes.follower();
    for _ in 0..5 {
        let pass = world.bought(&caller(1), &product).await;
        let id = entitlement(&pass);
        let _ = world.emitted().await;
        let voids = (0..4).map(|n| {
            let process = if n % 2 == 0 { &world.passes } else { &other };
            let reason = Reason::parse("lent").unwrap();
            let custody = Custody::Void(reason, VoidRefund::Full);
            let operator = world.operator.clone();
            async move { process.take_custody(&operator, id, &custody, key()).await }
        });
        let voided = join_all(voids).await;
        assert_eq!(voided.iter().filter(|one| one.is_ok()).count(), 1);
        assert!(
            voided
                .iter()
                .all(|one| ["", "REFUND_IN_PROGRESS"].contains(&refusal(one)))
        );
        let before = world.emitted().await;
        assert!(before.iter().all(|one| !one.kind.ends_with("LineReturned")));
        let freeze = world.freeze_of(&pass).await;
        // The scan was before the freeze: its venue is paid, and its holder gets her price back.
        let answers = [world.counted(&pass, freeze, 1, 0)];
        let contexts = join_all((0..3).map(|_| world.db.process())).await;
        join_all(contexts.iter().map(async |ctx| {
            let told = ctx
                .db
                .tx("tell", async |tx| follower.apply(tx, &answers).await);
            told.await.unwrap();
        }))
        .await;
        let events = world.emitted().await;
        let returned = events
            .iter()
            .filter(|one| one.kind.ends_with("LineReturned"));
        assert_eq!(returned.count(), 1, "{events:?}");
        assert_eq!(world.pass(&caller(1), &pass).await["state"], "VOIDED");
        world.verify().await;
    }
}
