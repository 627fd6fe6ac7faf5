//! The races of `races` with their guards off: what each guard is there for is seen to happen.
//! Reading, deciding and writing are the service's own functions; only the lock is left out, and
//! then, guard by guard, what stands behind it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use futures::future::join_all;
use kit::types::{EntitlementId, MemberId, OrderId};
use passes::domain::{
    Buyer, Change, Effect, NewPass, Offer, Order, OrderState, Pass, Payment, ProductId, Renewal,
    Stock, Terms,
};
use passes::store;
use serde_json::json;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::races::{Count, buy, product_id, refusal, twin};
use crate::world::{World, caller, code, entitlement, key};

/// What one side makes of the pass that it read.
pub(crate) type Decide<'a> = &'a dyn Fn(Pass, &Terms) -> Change;

/// What of the guards behind the lock is left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// The store writes only over the version that was read.
    Compared,
    Ignored,
}

/// Two processes read one pass, unlocked, before either has written, and decide; the first one
/// writes first.
pub(crate) async fn unlocked(
    world: &World,
    id: EntitlementId,
    (first, second): (Decide<'_>, Decide<'_>),
    versions: Versions,
) -> [kit::Result<Change>; 2] {
    let (both_read, written) = (Barrier::new(2), Barrier::new(2));
    let processes = [world.db.process().await, world.db.process().await];
    let side = async |at: usize, decide: Decide<'_>| {
        let result = processes[at]
            .db
            .tx("unlocked", async |tx| {
                let pass = store::load(tx, id).await?.unwrap();
                let terms = store::terms_of(tx, pass.product, pass.product_version).await?;
                both_read.wait().await;
                if at == 1 {
                    written.wait().await;
                }
                let change = decide(pass, &terms);
                let ahead = i64::from(at == 1 && versions == Versions::Ignored);
                let saved = Pass {
                    version: change.pass.version + ahead,
                    ..change.pass.clone()
                };
                store::save(tx, &saved).await?;
                store::move_stock(tx, &moved(&change)).await?;
                Ok(change)
            })
            .await;
        if at == 0 {
            written.wait().await;
        }
        result
    };
    tokio::join!(side(0, first), side(1, second)).into()
}

fn moved(change: &Change) -> BTreeMap<ProductId, store::Moved> {
    let back = change.effects.contains(&Effect::StockBack);
    let moved = store::Moved {
        sold: 0,
        back: i64::from(back),
    };
    BTreeMap::from([(change.pass.product, moved)])
}

/// What a promise says is broken.
pub(crate) async fn broken(world: &World, id: &str) -> usize {
    let invariant = passes::verify::INVARIANTS.iter().find(|one| one.id == id);
    let found = kit::verify::check(&world.ctx().db, invariant.unwrap()).await;
    found.unwrap().len()
}

pub(crate) async fn owner(world: &World, sql: &str) {
    world.db.owner().await.execute(sql, []).await.unwrap();
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
                    store::add_held(tx, product, 1).await.map(|()| true)
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
    owner(
        &world,
        "ALTER TABLE product_stock DROP CONSTRAINT stock_within_limit",
    )
    .await;
    assert_eq!(
        take(true).await,
        2,
        "the race is there when its guards are off"
    );
}

/// The record of keys forgets: the very purchases of `the_same_key_at_once_buys_one` are then
/// several passes, and a repeated request for a refund is told that one is in progress.
#[tokio::test]
async fn without_its_record_the_same_key_buys_and_asks_again() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({ "memberLimit": null })).await);
    owner(
        &world,
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           DELETE FROM once WHERE caller = NEW.caller AND key = NEW.key;
           RETURN NEW;
         END $$",
    )
    .await;
    owner(
        &world,
        "CREATE TRIGGER forget BEFORE INSERT ON once FOR EACH ROW EXECUTE FUNCTION forget()",
    )
    .await;
    let other = twin(&world).await;
    let same = key();
    let results = join_all((0..12).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        buy(process, 1, product, same)
    }))
    .await;
    let ids: BTreeSet<EntitlementId> = results.into_iter().map(|one| one.unwrap().id).collect();
    assert!(ids.len() > 1, "one key bought {}", ids.len());
    let passes = world.count("SELECT count(*) AS count FROM pass").await;
    assert_eq!(usize::try_from(passes).unwrap(), ids.len());
    let product = world.product(json!({})).await;
    let id = entitlement(&world.bought(&caller(2), &product).await);
    let (who, same) = (caller(2), key());
    let (one, again) = tokio::join!(
        world.passes.request_refund(&who, id, same),
        other.request_refund(&who, id, same),
    );
    let mut answers = [refusal(&one), refusal(&again)];
    answers.sort_unstable();
    assert_eq!(answers, ["", "REFUND_IN_PROGRESS"]);
}

/// Both read that she has none yet, then both buy. With the constraint the second one fails,
/// without it she has two.
#[tokio::test]
async fn without_its_guards_a_member_buys_beyond_her_limit() {
    let world = World::new().await;
    let product = product_id(&world.product(json!({ "memberLimit": 1 })).await);
    let take = async |number: u64| {
        let member = MemberId(Uuid::from_u128(0x1000 + u128::from(number)));
        let both_read = Barrier::new(2);
        let processes = [world.db.process().await, world.db.process().await];
        let one = async |at: u64, ctx: &kit::Ctx| {
            ctx.db
                .tx("unlocked_purchase", async |tx| {
                    let shop = store::load_product(tx, product).await?;
                    let terms = store::terms_of(tx, product, shop.current().unwrap()).await?;
                    let all = store::bought(tx, product, &[member]).await?;
                    let bought = all.get(&member).copied().unwrap_or(0);
                    both_read.wait().await;
                    let order = tx.uuid();
                    let new = NewPass {
                        id: EntitlementId(number * 2 + at),
                        order: OrderId(order),
                        line: kit::Ids::derive(order, "line", 0),
                        close_at: tx.now() + TimeDelta::minutes(15),
                    };
                    let mut left = Stock {
                        limit: None,
                        held: 0,
                        sold: 0,
                    };
                    let mut buyer = Buyer {
                        member,
                        bought,
                        is_member: true,
                    };
                    let offer = Offer {
                        product: &shop,
                        terms: &terms,
                    };
                    let pass = offer.sell(&mut left, &mut buyer, None, (new, tx.now()))?;
                    store::add_held(tx, product, 1).await?;
                    let counts = BTreeMap::from([(member, 1)]);
                    store::add_bought(tx, product, &counts, terms.member_limit).await?;
                    store::insert(tx, &[pass]).await
                })
                .await
        };
        let (first, second) = tokio::join!(one(0, &processes[0]), one(1, &processes[1]));
        let results = [first, second];
        let stopped = results.iter().filter_map(|one| one.as_ref().err());
        for error in stopped {
            let constraint = error.constraint();
            assert_eq!(constraint.as_deref(), Some("member_sale_within_limit"));
        }
        results.iter().filter(|one| one.is_ok()).count()
    };
    assert_eq!(take(1).await, 1, "the constraint carries it");
    assert_eq!(broken(&world, "passes.member_limit").await, 0);
    owner(
        &world,
        "ALTER TABLE member_sale DROP CONSTRAINT member_sale_within_limit",
    )
    .await;
    assert_eq!(take(2).await, 2, "the race is there");
    assert_eq!(broken(&world, "passes.member_limit").await, 1);
}

/// Both find the order unpaid, then both bring the stock back: one that another buyer holds.
#[tokio::test]
async fn without_its_guards_a_close_brings_the_stock_back_twice() {
    let world = World::new().await;
    let product = world
        .product(json!({ "saleLimit": 3, "memberLimit": 3 }))
        .await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let bought = world.buy(&caller(1), &product).await;
        ids.push(entitlement(bought["pass"]["id"].as_str().unwrap()));
    }
    let close = |pass: Pass, terms: &Terms| {
        let order = Order {
            id: pass.order,
            state: OrderState::Closed,
            total: pass.price,
            refunded: kit::types::Fen::ZERO,
            returns_done: Vec::new(),
        };
        let payment = Payment {
            terms,
            continues_at: None,
            erased: false,
        };
        pass.follow(&order, &payment).unwrap()
    };
    let held = "SELECT held AS count FROM product_stock";
    let [first, second] = unlocked(&world, ids[0], (&close, &close), Versions::Compared).await;
    assert!(first.is_ok() && second.is_err(), "the version carries it");
    assert_eq!(world.count(held).await, 2);
    assert_eq!(broken(&world, "passes.stock_is_counted").await, 0);
    let [first, second] = unlocked(&world, ids[1], (&close, &close), Versions::Ignored).await;
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(world.count(held).await, 0, "the third one's stock is gone");
    assert_eq!(broken(&world, "passes.stock_is_counted").await, 1);
}

pub(crate) fn waits_to_be_activated() -> serde_json::Value {
    let within = json!({ "unit": "DAYS", "count": 90 });
    json!({ "memberLimit": 2, "activation": { "mode": "FORFEIT", "within": within } })
}

/// Both find the pass waiting to be activated, and both give it back: billing is told twice.
#[tokio::test]
async fn without_its_guards_a_refund_is_begun_twice() {
    let world = World::new().await;
    let product = world.product(waits_to_be_activated()).await;
    let now = world.ctx().clock.now();
    let ask = |pass: Pass, terms: &Terms| pass.request_refund(now, terms, 0).unwrap();
    for (versions, begun) in [(Versions::Compared, 1), (Versions::Ignored, 2)] {
        let id = entitlement(&world.bought(&caller(1), &product).await);
        let results = unlocked(&world, id, (&ask, &ask), versions).await;
        let told = results
            .iter()
            .flatten()
            .filter(|change| change.effects.contains(&Effect::LineReturned));
        assert_eq!(told.count(), begun);
    }
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 2);
}

/// One side gives the pass back, the other activates it: without its guards the whole price goes
/// back, and the pass opens doors for a year.
#[tokio::test]
async fn without_its_guards_what_goes_back_is_used() {
    let world = World::new().await;
    let product = world.product(waits_to_be_activated()).await;
    let now = world.ctx().clock.now();
    let ask = |pass: Pass, terms: &Terms| pass.request_refund(now, terms, 0).unwrap();
    let activate = |pass: Pass, terms: &Terms| pass.activate(now, terms).unwrap();
    for versions in [Versions::Compared, Versions::Ignored] {
        let id = world.bought(&caller(1), &product).await;
        let both = (&ask as Decide<'_>, &activate as Decide<'_>);
        let [first, second] = unlocked(&world, entitlement(&id), both, versions).await;
        assert!(first.unwrap().effects.contains(&Effect::LineReturned));
        let state = world.pass(&caller(1), &id).await["state"].clone();
        if versions == Versions::Compared {
            assert!(second.is_err(), "the version carries it");
            assert_eq!(state, "REFUNDING");
        } else {
            assert!(second.is_ok());
            assert_eq!(state, "ACTIVE", "and she uses what she was paid back for");
        }
    }
}

/// Both read that nothing continues the pass, then both do. With the constraint the second one
/// fails, without it one pass has two successors.
#[tokio::test]
async fn without_its_guards_a_pass_is_renewed_twice() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let old = entitlement(&world.bought(&caller(1), &product).await);
    world.ctx().clock.advance(TimeDelta::days(320));
    let product = product_id(&product);
    let renew = async |number: u64| {
        let both_read = Barrier::new(2);
        let processes = [world.db.process().await, world.db.process().await];
        let one = async |at: u64, ctx: &kit::Ctx| {
            ctx.db
                .tx("unlocked_renewal", async |tx| {
                    let shop = store::load_product(tx, product).await?;
                    let terms = store::terms_of(tx, product, shop.current().unwrap()).await?;
                    let pass = store::load(tx, old).await?.unwrap();
                    let renewed = !store::renewed(tx, &[old]).await?.is_empty();
                    both_read.wait().await;
                    let order = tx.uuid();
                    let new = NewPass {
                        id: EntitlementId(number * 2 + at),
                        order: OrderId(order),
                        line: kit::Ids::derive(order, "line", 0),
                        close_at: tx.now() + TimeDelta::minutes(15),
                    };
                    let mut left = Stock {
                        limit: None,
                        held: 0,
                        sold: 0,
                    };
                    let mut buyer = Buyer {
                        member: pass.member,
                        bought: 1,
                        is_member: true,
                    };
                    let offer = Offer {
                        product: &shop,
                        terms: &terms,
                    };
                    let renewal = Renewal { pass, renewed };
                    let now = tx.now();
                    let next = offer.sell(&mut left, &mut buyer, Some(&renewal), (new, now))?;
                    store::add_held(tx, product, 1).await?;
                    store::insert(tx, &[next]).await
                })
                .await
        };
        let (first, second) = tokio::join!(one(0, &processes[0]), one(1, &processes[1]));
        let results = [first, second];
        for error in results.iter().filter_map(|one| one.as_ref().err()) {
            assert_eq!(error.constraint().as_deref(), Some("pass_renewed_once"));
        }
        results.iter().filter(|one| one.is_ok()).count()
    };
    assert_eq!(renew(1).await, 1, "the constraint carries it");
    assert_eq!(broken(&world, "passes.one_successor").await, 0);
    for sql in [
        "DROP INDEX pass_renewed_once",
        "UPDATE pass SET state = 'lapsed', hold = NULL, renewing = NULL WHERE renews IS NOT NULL",
    ] {
        owner(&world, sql).await;
    }
    assert_eq!(renew(2).await, 2, "the race is there");
    assert_eq!(broken(&world, "passes.one_successor").await, 1);
}

/// Both find the pass of generation nought: without the lock and what stands behind it one copied
/// code stays as good as the new one.
#[tokio::test]
async fn without_its_guards_one_generation_is_issued_twice() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": 2 })).await;
    let again = |pass: Pass, _: &Terms| pass.reissue(0).unwrap();
    for (versions, done) in [(Versions::Compared, 1), (Versions::Ignored, 2)] {
        let id = entitlement(&world.bought(&caller(1), &product).await);
        let results = unlocked(&world, id, (&again, &again), versions).await;
        let raised: Vec<u8> = results
            .iter()
            .flatten()
            .map(|change| change.pass.generation)
            .collect();
        assert_eq!(raised, vec![1; done], "told as replaced, and it is not");
    }
}

/// The end of the last lease and a count that a late scan raised: without its guards the money
/// goes back, and the pass opens doors.
#[tokio::test]
async fn without_its_guards_a_count_and_its_deadline_both_decide() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": 2 })).await;
    for versions in [Versions::Compared, Versions::Ignored] {
        let id = world.bought(&caller(1), &product).await;
        let freeze = counted_under_lease(&world, &id).await;
        let now = world.ctx().clock.now();
        let deadline = |pass: Pass, terms: &Terms| pass.count_over(0, now, terms);
        let count = |pass: Pass, terms: &Terms| pass.uses_counted(freeze, (1, None), (now, terms));
        let both = (&deadline as Decide<'_>, &count as Decide<'_>);
        let [first, second] = unlocked(&world, entitlement(&id), both, versions).await;
        let returned = first.unwrap().effects.contains(&Effect::LineReturned);
        assert!(returned, "billing is told to give the money back");
        let state = world.pass(&caller(1), &id).await["state"].clone();
        if versions == Versions::Compared {
            assert!(second.is_err(), "the version carries it");
            assert_eq!(state, "REFUNDING");
        } else {
            assert!(second.is_ok());
            assert_eq!(state, "ACTIVE", "and she goes on using it");
        }
    }
}

/// A refund that admission has counted as unused, whose last lease is over now; its freeze.
pub(crate) async fn counted_under_lease(world: &World, pass: &str) -> i64 {
    let input = json!({ "passId": pass, "idempotencyKey": key() });
    let asked = world.mutate(&caller(1), "requestPassRefund", input).await;
    assert_eq!(code(&asked), "");
    let id = entitlement(pass).to_i64();
    let freeze = format!("SELECT freeze_version AS count FROM refund WHERE pass = {id}");
    let freeze = world.count(&freeze).await;
    let until = world.ctx().clock.now() + TimeDelta::hours(2);
    let answer = world.counted(pass, freeze, 0, until.timestamp_millis());
    world.tell(&[answer]).await.unwrap();
    world.ctx().clock.advance(TimeDelta::hours(3));
    freeze
}
