//! The passes of who wishes to be forgotten: what their terms give back goes back before she is,
//! and none of the others opens a door afterwards, whatever happens at the same moment.

use chrono::TimeDelta;
use kit::testing::overtaken;
use kit::types::shanghai_date;
use passes::Passes;
use passes::domain::{Pass, Terms};
use passes::store::{self, NewUse};
use proto::identity::erasure_changed::State;
use proto::passes::LineReturned;
use proto::v1::{EntitlementChanged, PersonForgotten, PersonHeld, entitlement};
use serde_json::json;

use crate::persons::{apply, erased, hear, holds, record, told};
use crate::races::refusal;
use crate::unguarded::{Decide, Versions, broken, unlocked, waits_to_be_activated};
use crate::world::{self, World, caller, code, key, settings};

const USES: &str = "SELECT count(*) AS count FROM replica_use";
/// The number that admission answers the freeze by, of the one refund that waits for a count.
const FREEZE: &str = "SELECT freeze_version AS count FROM refund WHERE state = 'counting'";

/// An unused pass within its time is given back without being asked for, once however often
/// identity asks; what she waits for is its money.
#[tokio::test]
async fn what_the_terms_give_back_goes_back_before() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    world.emitted().await;
    hear(&world, &told(1, 2, State::Closing)).await;
    hear(&world, &told(1, 2, State::Closing)).await;
    let events = world.emitted().await;
    let of = |kind: &str| {
        events
            .iter()
            .filter(|event| event.kind.ends_with(kind))
            .count()
    };
    assert_eq!((of("PersonHeld"), of("EntitlementChanged")), (2, 1));
    let held = events
        .iter()
        .rev()
        .find(|event| event.kind.ends_with("PersonHeld"));
    let held: PersonHeld = held.unwrap().decode();
    assert_eq!(holds(&held), [("open_refund", 1)]);
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 1);

    let freeze = world
        .count("SELECT freeze_version AS count FROM refund")
        .await;
    world
        .tell(&[world.counted(&id, freeze, 0, 0)])
        .await
        .unwrap();
    let back: LineReturned = world.last().await;
    assert_eq!((back.refund_fen, back.reason.as_str()), (20_000, "HOLDER"));
    is_paid_back(&world, &id, &back).await;
}

/// Once her money is back nothing keeps her, and her pass stays what it became.
async fn is_paid_back(world: &World, id: &str, back: &LineReturned) {
    let pass = world.pass(&caller(1), id).await;
    let done = world.refunded(&pass, &back.return_id, 20_000, 3);
    world.tell(&[done]).await.unwrap();
    hear(world, &told(1, 3, State::Closing)).await;
    let held: PersonHeld = world.last().await;
    assert!(held.holds.is_empty(), "{held:?}");
    hear(world, &erased(1, 4)).await;
    assert_eq!(world.pass(&caller(1), id).await["state"], "REFUNDED");
    world.verify().await;
}

/// Where the price of a pass that is never activated comes back, all of it comes back to who leaves
/// before, although the terms have no other refund.
#[tokio::test]
async fn what_is_never_activated_comes_back_whole() {
    let world = World::new().await;
    let within = json!({ "unit": "DAYS", "count": 90 });
    let activation = json!({ "mode": "REFUND", "within": within });
    let terms = json!({ "refundLadder": [], "activation": activation });
    let product = world.product(terms).await;
    let id = world.bought(&caller(1), &product).await;
    world.emitted().await;
    hear(&world, &told(1, 2, State::Closing)).await;
    let events = world.emitted().await;
    let of = |kind: &str| events.iter().find(|event| event.kind.ends_with(kind));
    let back: LineReturned = of("LineReturned").unwrap().decode();
    assert_eq!(
        (back.refund_fen, back.reason.as_str()),
        (20_000, "NOT_ACTIVATED")
    );
    let held: PersonHeld = of("PersonHeld").unwrap().decode();
    assert_eq!(holds(&held), [("open_refund", 1)]);
    is_paid_back(&world, &id, &back).await;
}

/// A use that nobody here had heard of ends the refund, and it is not begun again each day: she is
/// forgotten, the count is asked for once more, since a use may have been taken back, and what it
/// refuses again is voided.
#[tokio::test]
async fn a_refund_that_the_count_refuses_keeps_nobody() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    hear(&world, &told(1, 2, State::Closing)).await;
    let freeze = world
        .count("SELECT freeze_version AS count FROM refund")
        .await;
    world
        .tell(&[world.counted(&id, freeze, 1, 0)])
        .await
        .unwrap();
    assert_eq!(world.pass(&caller(1), &id).await["state"], "ACTIVE");
    world.emitted().await;
    hear(&world, &told(1, 3, State::Closing)).await;
    let held: PersonHeld = world.last().await;
    assert!(held.holds.is_empty(), "{held:?}");
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 1);
    hear(&world, &erased(1, 4)).await;
    assert_eq!(world.pass(&caller(1), &id).await["state"], "REFUNDING");
    let freeze = world.count(FREEZE).await;
    world
        .tell(&[world.counted(&id, freeze, 1, 0)])
        .await
        .unwrap();
    assert_eq!(world.pass(&caller(1), &id).await["state"], "VOIDED");
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 2);
    world.verify().await;
}

/// Nothing kept her, since her pass had been used; then that use was taken back and an operator
/// froze the pass. Forgotten, she is still given back what the terms give: the pass is not voided
/// unrefunded. Told twice, the refund is begun once.
#[tokio::test]
async fn what_is_owed_goes_back_although_its_holder_is_forgotten() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = used_taken_back_and_frozen(&world, &product).await;
    for _ in 0..2 {
        hear(&world, &erased(1, 3)).await;
    }
    assert_eq!(world.pass(&caller(1), &id).await["state"], "REFUNDING");
    let begun = "SELECT count(*) AS count FROM audit WHERE act = 'give_back_of_forgotten'";
    assert_eq!(world.count(begun).await, 1);
    let freeze = world.count(FREEZE).await;
    world
        .tell(&[world.counted(&id, freeze, 0, 0)])
        .await
        .unwrap();
    let back: LineReturned = world.last().await;
    assert_eq!((back.refund_fen, back.reason.as_str()), (20_000, "HOLDER"));
    let pass = world.pass(&caller(1), &id).await;
    let done = world.refunded(&pass, &back.return_id, 20_000, 3);
    world.tell(&[done]).await.unwrap();
    assert_eq!(world.pass(&caller(1), &id).await["state"], "REFUNDED");
    world.verify().await;
}

/// The count of a lease that is over refuses what was begun when she was forgotten: the pass is not
/// hers again, since there is nobody, but ends, by the count or by its deadline.
#[tokio::test]
async fn what_a_count_refuses_is_nobodys() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = used_taken_back_and_frozen(&world, &product).await;
    hear(&world, &erased(1, 3)).await;
    let freeze = world.count(FREEZE).await;
    let until = world.ctx().clock.now() + TimeDelta::hours(2);
    let until = until.timestamp_millis();
    world
        .tell(&[world.counted(&id, freeze, 1, until)])
        .await
        .unwrap();
    assert_eq!(world.pass(&caller(1), &id).await["state"], "REFUNDING");
    world.ctx().clock.advance(TimeDelta::hours(3));
    world.due().await;
    assert_eq!(world.pass(&caller(1), &id).await["state"], "VOIDED");
    let voided = "SELECT count(*) AS count FROM audit WHERE act = 'void_of_forgotten'";
    assert_eq!(world.count(voided).await, 1);
    world.verify().await;
}

/// Identity's word that she is forgotten may be heard before passes is told to forget her. A late
/// answer to an older question then decides and ends nothing: what is owed still goes back.
#[tokio::test]
async fn a_late_count_ends_nothing_that_is_owed() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    hear(&world, &told(1, 2, State::Closing)).await;
    let freeze = world.count(FREEZE).await;
    let used = world.used(&id, (1, 1), false);
    let refused = world.counted(&id, freeze, 1, 0);
    let taken_back = world.used(&id, (1, 1), true);
    world.tell(&[used, refused, taken_back]).await.unwrap();
    let erased_in_replica = "INSERT INTO replica_member (id, epoch, version, state)
        SELECT member, 1, 9, 'erased' FROM pass
        ON CONFLICT (id) DO UPDATE SET state = 'erased'";
    crate::unguarded::owner(&world, erased_in_replica).await;
    let late = world.counted(&id, freeze, 0, 0);
    world.tell(&[late]).await.unwrap();
    let active = "SELECT count(*) AS count FROM pass WHERE state = 'active'";
    assert_eq!(world.count(active).await, 1);
    hear(&world, &erased(1, 3)).await;
    let refunding = "SELECT count(*) AS count FROM pass WHERE state = 'refunding'";
    assert_eq!(world.count(refunding).await, 1);
}

/// A count refuses at the very moment at which its person is forgotten, in another process:
/// whichever comes first, the pass is nobody's and opens no door.
#[tokio::test]
async fn a_count_and_the_end_do_not_pass_each_other() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let other = world.db.process().await;
    for who in [1, 2] {
        let id = world.bought(&caller(who), &product).await;
        let input = json!({ "passId": id, "idempotencyKey": key() });
        let holder = caller(who);
        let asked = world.mutate(&holder, "requestPassRefund", input).await;
        assert_eq!(code(&asked), "");
        let freeze = world.count(FREEZE).await;
        let counted = [world.counted(&id, freeze, 1, 0)];
        let gone = record(&world, &erased(who, 3));
        let (count, end) = (world.tell(&counted), apply(&other, &gone));
        if who == 1 {
            let (count, end) = overtaken(&world.db, count, end).await;
            count.unwrap();
            end.unwrap();
            // The count gave it back to her before she was forgotten: it is asked for once more.
            let freeze = world.count(FREEZE).await;
            let counted = world.counted(&id, freeze, 1, 0);
            world.tell(&[counted]).await.unwrap();
        } else {
            end.await.unwrap();
            count.await.unwrap();
        }
        assert_eq!(world.pass(&caller(who), &id).await["state"], "VOIDED");
    }
    world.verify().await;
}

/// Without a look at who was forgotten, a count that refuses gives the pass back to nobody, and the
/// promise says that it opens doors; one that was voided although its terms give money back is
/// found too.
#[tokio::test]
async fn without_the_look_a_count_gives_a_pass_to_nobody() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = used_taken_back_and_frozen(&world, &product).await;
    hear(&world, &erased(1, 3)).await;
    let freeze = world.count(FREEZE).await;
    let blind = world.ctx().db.tx("blind_count", async |tx| {
        let pass = store::lock(tx, world::entitlement(&id)).await?;
        let terms = store::terms_of(tx, pass.product, pass.product_version).await?;
        let change = pass.uses_counted(freeze, (1, None), (tx.now(), &terms));
        store::save(tx, &change.pass).await
    });
    blind.await.unwrap();
    let enters = "passes.forgotten_enters_nowhere";
    assert_eq!(broken(&world, enters).await, 1);
    let step = json!([{ "days": 7, "feePercent": 10, "unusedOnly": false }]);
    let generous = world.product(json!({ "refundLadder": step })).await;
    world.bought(&caller(2), &generous).await;
    hear(&world, &erased(2, 3)).await;
    let paid_back = "passes.forgotten_is_paid_back";
    assert_eq!(broken(&world, paid_back).await, 0);
    let kept = "UPDATE pass SET state = 'voided', reason = 'MEMBER_ERASED'
        WHERE state = 'refunding'";
    crate::unguarded::owner(&world, kept).await;
    assert_eq!(broken(&world, paid_back).await, 1);
}

/// A pass that had been used when identity asked, so that nothing kept its holder; then its use was
/// taken back, and an operator froze it.
async fn used_taken_back_and_frozen(world: &World, product: &str) -> String {
    let id = world.bought(&caller(1), product).await;
    let used = world.used(&id, (1, 1), false);
    world.tell(&[used]).await.unwrap();
    hear(world, &told(1, 2, State::Closing)).await;
    let held: PersonHeld = world.last().await;
    assert!(held.holds.is_empty(), "{held:?}");
    let taken_back = world.used(&id, (1, 1), true);
    world.tell(&[taken_back]).await.unwrap();
    let input = json!({ "passId": id, "reason": "投诉", "idempotencyKey": key() });
    let froze = world.mutate(&world.operator, "freezePass", input).await;
    assert_eq!(code(&froze), "");
    id
}

/// One that was used, one that waits and one that an operator froze, which keeps her until it is
/// let go: where terms give nothing nothing is refunded, and when she is forgotten all of them end
/// and gates hear of those they knew. Told again it does nothing more, and another's pass stays.
#[tokio::test]
async fn what_is_left_opens_no_door() {
    let world = World::new().await;
    let strict = world
        .product(json!({ "refundLadder": [], "memberLimit": 2 }))
        .await;
    let mut waiting = waits_to_be_activated();
    waiting["refundLadder"] = json!([]);
    let waiting = world.product(waiting).await;
    let used = world.bought(&caller(1), &strict).await;
    let ready = world.bought(&caller(1), &waiting).await;
    let frozen = world.bought(&caller(1), &strict).await;
    let other = world.bought(&caller(2), &strict).await;
    world
        .tell(&[world.used(&used, (1, 1), false)])
        .await
        .unwrap();
    let input = json!({ "passId": frozen, "reason": "投诉", "idempotencyKey": key() });
    let froze = world.mutate(&world.operator, "freezePass", input).await;
    assert_eq!(code(&froze), "");
    world.emitted().await;
    hear(&world, &told(1, 2, State::Closing)).await;
    let held: PersonHeld = world.last().await;
    assert_eq!(holds(&held), [("frozen_pass", 1)]);
    let input = json!({ "passId": frozen, "reason": "投诉已了结", "idempotencyKey": key() });
    let freed = world.mutate(&world.operator, "unfreezePass", input).await;
    assert_eq!(code(&freed), "");
    hear(&world, &told(1, 3, State::Closing)).await;
    let held: PersonHeld = world.last().await;
    assert!(held.holds.is_empty(), "{held:?}");
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 0);

    hear(&world, &erased(1, 4)).await;
    let rights: Vec<(u64, entitlement::State)> = world
        .emitted()
        .await
        .iter()
        .filter(|event| event.kind.ends_with("EntitlementChanged"))
        .map(|event| event.decode::<EntitlementChanged>().entitlement.unwrap())
        .map(|right| (right.id, right.state()))
        .collect();
    assert_eq!(rights.len(), 2, "no gate ever knew the one that waits");
    for id in [&used, &frozen] {
        let revoked = (world::entitlement(id).0, entitlement::State::Revoked);
        assert!(rights.contains(&revoked), "{rights:?}");
    }
    for id in [&used, &frozen, &ready] {
        let pass = world.pass(&caller(1), id).await;
        assert_eq!(pass["state"], "VOIDED", "{pass}");
    }
    assert_eq!(world.pass(&caller(2), &other).await["state"], "ACTIVE");
    let input = json!({ "passId": ready, "idempotencyKey": key() });
    let late = world.mutate(&caller(1), "activatePass", input).await;
    assert_eq!(code(&late), "PASS_ENDED");
    hear(&world, &erased(1, 4)).await;
    let events = world.emitted().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].decode::<PersonForgotten>().service, "passes");
    let voided = "SELECT count(*) AS count FROM audit WHERE act = 'void_of_forgotten'";
    assert_eq!(world.count(voided).await, 3);
    world.verify().await;
}

/// She begins a pass at the very moment at which she is forgotten, in another process: it is voided
/// after that, or not begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activation_and_the_end_do_not_pass_each_other() {
    let world = World::new().await;
    let mut terms = waits_to_be_activated();
    terms["refundLadder"] = json!([]);
    let product = world.product(terms).await;
    let other = world.db.process().await;
    let process = Passes::new(world.db.process().await, &settings(), None).unwrap();
    for who in 1..=12 {
        let id = world.bought(&caller(who), &product).await;
        let gone = record(&world, &erased(who, 3));
        let holder = caller(who);
        let (begun, forgotten) = tokio::join!(
            process.activate(&holder, world::entitlement(&id), key()),
            apply(&other, &gone)
        );
        forgotten.unwrap();
        assert!(["", "PASS_ENDED"].contains(&refusal(&begun)), "{begun:?}");
        assert_eq!(world.pass(&holder, &id).await["state"], "VOIDED");
    }
    world.verify().await;
}

/// A visit is told of at the very moment at which its person is forgotten, in another process: it
/// is forgotten with her.
#[tokio::test]
async fn a_visit_does_not_come_back_after_its_person() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let pass = world.bought(&caller(1), &product).await;
    let other = world.db.process().await;
    let gone = record(&world, &erased(1, 3));
    let visit = [world.used(&pass, (1, 1), false)];
    let (told, forgotten) = overtaken(&world.db, world.tell(&visit), apply(&other, &gone)).await;
    told.unwrap();
    forgotten.unwrap();
    assert_eq!(world.count(USES).await, 0);
    // And the other way round.
    world.tell(&visit).await.unwrap();
    assert_eq!(world.count(USES).await, 0);
    world.verify().await;
}

/// Without the lock of her pass a visit is looked at before she is forgotten, and kept after.
#[tokio::test]
async fn without_the_lock_a_visit_comes_back() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let pass = world::entitlement(&world.bought(&caller(1), &product).await);
    let other = world.db.process().await;
    let gone = record(&world, &erased(1, 3));
    let kept = world.ctx().db.tx("unlocked_visit", async |tx| {
        let holder = store::load(tx, pass).await?.unwrap().member;
        assert!(store::erased(tx, &[holder.0]).await?.is_empty());
        apply(&other, &gone).await?;
        let visit = NewUse {
            id: tx.uuid(),
            epoch: 1,
            version: 1,
            pass,
            province: 50,
            venue: tx.uuid(),
            entry: true,
            at: tx.now(),
            date: shanghai_date(tx.now()),
            persons: 1,
            voided: false,
            overridden: false,
        };
        store::put_uses(tx, &[visit]).await
    });
    kept.await.unwrap();
    assert_eq!(world.count(USES).await, 1);
}

/// Both read the pass as it waits. Without the lock the version still carries it; without that too
/// the pass of nobody opens doors for a year, and the promise says so.
#[tokio::test]
async fn without_its_guards_the_pass_of_nobody_opens_doors() {
    let world = World::new().await;
    let mut terms = waits_to_be_activated();
    terms["refundLadder"] = json!([]);
    let product = world.product(terms).await;
    let now = world.ctx().clock.now();
    let forget = |pass: Pass, terms: &Terms| pass.holder_forgotten(now, terms, 0);
    let activate = |pass: Pass, terms: &Terms| pass.activate(now, terms).unwrap();
    for (versions, found) in [(Versions::Compared, 0), (Versions::Ignored, 1)] {
        let id = world.bought(&caller(1), &product).await;
        let both = (&forget as Decide<'_>, &activate as Decide<'_>);
        let [first, second] = unlocked(&world, world::entitlement(&id), both, versions).await;
        assert!(first.unwrap().changed);
        assert_eq!(second.is_err(), versions == Versions::Compared);
        // What identity's word leaves here, without what it does.
        let known = "INSERT INTO replica_erasure (member, epoch, version, state, forgotten_at)
            SELECT DISTINCT member, 1, 3, 'erased', now() FROM pass ON CONFLICT DO NOTHING";
        world.ctx().db.execute(known, []).await.unwrap();
        let broken = broken(&world, "passes.forgotten_enters_nowhere").await;
        assert_eq!(broken, found);
        let forget = "DELETE FROM replica_erasure";
        crate::unguarded::owner(&world, forget).await;
    }
}
