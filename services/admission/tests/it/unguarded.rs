//! The races of `races`, `staff`, `bounds`, `occupancy` and `unseen` with their guards off: what
//! each guard is there for is seen to happen, and the promises notice it where it leaves a trace.
//! Reading, deciding and writing are the service's own functions; only the lock is left out, and
//! then, guard by guard, what stands behind it.

use std::collections::BTreeSet;

use admission::commands::gate::create_gate;
use admission::commands::redeem::{decide, read};
use admission::domain::gate::{Code, Enrolled};
use admission::domain::redemption::{Origin, Redemption, Void};
use admission::domain::scan::Attempt;
use admission::domain::venue::Details;
use admission::store::shift::Shift;
use admission::store::{Hold, gate, redemption, shift};
use chrono::TimeDelta;
use credential::rules::Rules;
use ed25519_dalek::SigningKey;
use kit::types::{MemberId, shanghai_date};
use kit::{Result, Tx};
use prost::Message;
use proto::admission::FreezeApplied;
use proto::v1::{Entitlement, entitlement::State};
use uuid::Uuid;

use crate::bounds::{let_in, looked_up, opened};
use crate::races::attempt;
use crate::world::{World, admits, attended, details, id};

const ADMITTED: &str = "SELECT count(*) FROM redemption WHERE decision = 'admit'";

/// How many rows a promise says are broken.
async fn broken(world: &World, id: &str) -> usize {
    let mut all = admission::verify::INVARIANTS.iter();
    let invariant = all.find(|one| one.id == id).unwrap();
    let found = kit::verify::check(&world.ctx().db, invariant).await;
    found.unwrap().len()
}

async fn owner(world: &World, sql: &str) {
    world.db.owner().await.execute(sql, []).await.unwrap();
}

/// Runs `read` in two transactions before `write` in either: the order that a lock forbids. The
/// second one writes first.
async fn interleaved<T>(
    world: &World,
    read: impl AsyncFn(&Tx) -> Result<T>,
    write: impl AsyncFn(&Tx, T) -> Result<()>,
) -> Result<()> {
    let other = world.db.process().await;
    world
        .ctx()
        .db
        .tx("first", async |first| {
            let seen = read(first).await?;
            let second = async |second: &Tx| {
                let seen = read(second).await?;
                write(second, seen).await
            };
            other.db.tx("second", second).await?;
            write(first, seen).await
        })
        .await
}

/// Two scans in two processes: the second one is read, decided and written while the first has
/// read all that decides it, and none of it is locked. How many of them were admitted.
async fn unlocked(world: &World, [first, second]: [Attempt; 2]) -> i64 {
    let before = world.count(ADMITTED).await;
    let (ctx, other) = (world.ctx(), world.db.process().await);
    let (first, second) = ([first], [second]);
    // What the constraints let through is counted in the table, whoever was told so.
    let _ = ctx
        .db
        .tx("first", async |tx| {
            let batch = read(tx, ctx.union, &first, Hold::Loose).await?.unwrap();
            other
                .db
                .tx("second", async |tx| {
                    let batch = read(tx, ctx.union, &second, Hold::Loose).await?.unwrap();
                    decide(batch, &second).await
                })
                .await?;
            decide(batch, &first).await
        })
        .await;
    world.count(ADMITTED).await - before
}

/// History is read without the lock, and both let the person in: at two gates of one venue, and
/// at two venues.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_lock_both_would_admit() {
    let world = World::new().await;
    let once = Rules {
        total: Some(1),
        ..Rules::unlimited()
    };
    world.product(&once).await;
    let first = world.door("博物馆").await;
    let beside = world.device(first.venue).await;
    let elsewhere = world.door("动物园").await;
    for (pass, second) in [(1, &beside), (2, &elsewhere)] {
        world.grant(pass).await;
        let seq = i64::try_from(pass).unwrap();
        let both = [
            attempt(&world, &first, (pass, seq, 1)),
            attempt(&world, second, (pass, seq, 1)),
        ];
        assert_eq!(unlocked(&world, both).await, 2, "the race is real");
    }
    // And the promise notices what happened.
    assert_eq!(broken(&world, "admission.entries_within_rules").await, 2);
}

/// The number inside is read without the venue's lock: both take the last place, and the count
/// knows of one.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_venues_lock_a_full_house_takes_another() {
    let world = World::new().await;
    world.product(&Rules::unlimited()).await;
    let small = Details {
        tracks_exits: true,
        capacity: Some(1),
        ..details("博物馆")
    };
    let venue = world.venue(small).await;
    let (first, beside) = (world.device(venue.id).await, world.device(venue.id).await);
    world.grant(1).await;
    world.grant(2).await;
    let both = [
        attempt(&world, &first, (1, 1, 1)),
        attempt(&world, &beside, (2, 1, 1)),
    ];
    assert_eq!(unlocked(&world, both).await, 2, "the race is real");
    assert_eq!(broken(&world, "admission.inside_is_sum").await, 1);
    assert_eq!(broken(&world, "admission.presence_is_sum").await, 1);
}

/// The budget of an hour is read without its lock: two are admitted on the last one's place, and
/// its constraint sees one of them only.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_lock_a_budget_admits_one_too_many() {
    let world = World::new().await;
    world.product(&Rules::unlimited()).await;
    let (first, second) = (world.door("博物馆").await, world.door("动物园").await);
    assert!(admits(&world.enter(&first, &world.token(1)).await));
    let one_left = "UPDATE unseen_budget SET used = 199";
    world.ctx().db.execute(one_left, []).await.unwrap();
    let both = [
        attempt(&world, &first, (2, 2, 1)),
        attempt(&world, &second, (3, 1, 1)),
    ];
    assert_eq!(unlocked(&world, both).await, 2, "the race is real");
    let used = "SELECT used::bigint AS count FROM unseen_budget";
    assert_eq!(world.count(used).await, 200);
}

/// Both look the scan's number up and find nothing. The constraint lets one through; without it
/// the number has two answers, for one code as for two.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_guards_a_scan_number_is_answered_twice() {
    let world = World::new().await;
    world.product(&Rules::unlimited()).await;
    world.grant(1).await;
    world.grant(2).await;
    let door = world.door("博物馆").await;
    // The same code, then another one, under the numbers from `seq` on.
    let both = async |seq: i64| {
        let mut written = Vec::new();
        for (seq, other) in [(seq, 1), (seq + 1, 2)] {
            let hash = u8::try_from(other).unwrap();
            let scans = [
                attempt(&world, &door, (1, seq, 1)),
                attempt(&world, &door, (other, seq, hash)),
            ];
            written.push(unlocked(&world, scans).await);
        }
        written
    };
    assert_eq!(both(1).await, [1, 1], "the constraint carries it");
    assert_eq!(broken(&world, "admission.one_row_per_scan").await, 0);
    let drop = "ALTER TABLE redemption DROP CONSTRAINT redemption_scan_once";
    owner(&world, drop).await;
    assert_eq!(both(3).await, [2, 2], "the race is real");
    assert_eq!(broken(&world, "admission.one_row_per_scan").await, 2);
}

/// The state is read without the lock, the freeze is answered with no uses, and then the person
/// walks in.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_lock_a_freeze_would_miss_a_use() {
    let world = World::new().await;
    world.product(&Rules::unlimited()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let (ctx, scans) = (
        world.db.process().await,
        [attempt(&world, &door, (1, 1, 1))],
    );
    let frozen = Entitlement {
        freeze_version: 2,
        ..world.word(1, 2, State::Frozen)
    };
    let decided = ctx.db.tx("unlocked", async |tx| {
        let batch = read(tx, ctx.union, &scans, Hold::Loose).await?.unwrap();
        world.say(frozen.clone()).await;
        decide(batch, &scans).await
    });
    let mut decided = decided.await.unwrap();
    assert!(admits(&decided.answers.remove(0).unwrap()));
    let applied = world.events("FreezeApplied").await;
    let applied = FreezeApplied::decode(applied[0].payload.as_slice()).unwrap();
    assert_eq!(
        applied.uses, 0,
        "the race is real: one entered, none was counted"
    );
}

/// Both devices find the code unused, and both are told that they are bound: the first one's key
/// opens nothing, and nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_lock_one_code_binds_two_devices() {
    let world = World::new().await;
    let venue = world.venue(details("博物馆")).await;
    let key = world.uuid();
    let new = create_gate(world.ctx(), &world.manager, key, venue.id, attended("北门"));
    let id = new.await.unwrap().gate.id;
    let bound = std::sync::Mutex::new(BTreeSet::new());
    let found = async |tx: &Tx| gate::load(tx, id).await;
    let bind = async |tx: &Tx, found: admission::domain::gate::Gate| {
        let pending = found.code.clone().unwrap();
        let shown = Code {
            selector: pending.selector,
            secret_hash: pending.hash,
        };
        let device = SigningKey::from_bytes(&tx.ids().bytes32());
        let public = device.verifying_key().to_bytes();
        let Ok(Enrolled::Bound(gate)) = found.enrol(&shown, public, tx.now()) else {
            panic!("not bound")
        };
        gate::save(tx, &gate).await?;
        bound
            .lock()
            .unwrap()
            .insert((gate.key.unwrap().enrolment, public));
        Ok(())
    };
    interleaved(&world, found, bind).await.unwrap();
    let bound = bound.into_inner().unwrap();
    let enrolments: Vec<i32> = bound.iter().map(|(enrolment, _)| *enrolment).collect();
    assert_eq!(enrolments, [1, 1], "the race is real");
}

/// Another one like an override, as it is written under no lock.
fn like(tx: &Tx, one: &Redemption, of: Option<Uuid>) -> Redemption {
    let by = MemberId(Uuid::from_u128(21));
    let reason = "r".to_owned();
    Redemption {
        id: tx.uuid(),
        at: tx.now(),
        origin: Origin::Override { of, by, reason },
        ..one.clone()
    }
}

/// Both read that a denial was not overridden, and without its constraint both let the person in.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_guards_a_denial_is_overridden_twice() {
    let (world, door) = opened().await;
    let pattern = let_in(&world, looked_up(&door, 1)).await.unwrap();
    let twice = async |denial: Uuid| {
        let found = async |tx: &Tx| redemption::is_overridden(tx, denial).await;
        let add = async |tx: &Tx, found: bool| {
            assert!(!found);
            redemption::insert(tx, &[&like(tx, &pattern, Some(denial))]);
            Ok(())
        };
        interleaved(&world, found, add).await
    };
    assert!(twice(world.uuid()).await.is_err(), "the constraint holds");
    owner(&world, "DROP INDEX redemption_override_once").await;
    twice(world.uuid()).await.unwrap();
    let overridden = "SELECT count(*) FROM redemption WHERE overrides IS NOT NULL";
    assert_eq!(world.count(overridden).await, 3, "the race is real");
}

/// Both read that nobody was let in lately with a pass that was looked up.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_venues_lock_a_looked_up_pass_is_let_in_twice() {
    let (world, door) = opened().await;
    world.grant(2).await;
    let pattern = let_in(&world, looked_up(&door, 2)).await.unwrap();
    let pattern = Redemption {
        entitlement: Some(id(1)),
        ..pattern
    };
    let since = world.now() - TimeDelta::minutes(10);
    let found = async |tx: &Tx| redemption::looked_up_since(tx, door.venue, id(1), since).await;
    let add = async |tx: &Tx, found: bool| {
        assert!(!found);
        redemption::insert(tx, &[&like(tx, &pattern, None)]);
        Ok(())
    };
    interleaved(&world, found, add).await.unwrap();
    let twice = "SELECT count(*) FROM redemption WHERE entitlement = 1 AND overridden";
    assert_eq!(world.count(twice).await, 2, "the race is real");
}

/// Both read that an admission stands, and both take it back: the version that was read guards it
/// behind the locks, and without it the second void takes the first one's place.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_guards_an_admission_is_taken_back_twice() {
    let (world, door) = opened().await;
    let one = let_in(&world, looked_up(&door, 1)).await.unwrap().id;
    let twice = async |ahead: bool| {
        let first = std::sync::atomic::AtomicBool::new(true);
        let found = async |tx: &Tx| redemption::load(tx, one).await;
        let void = async |tx: &Tx, found: Redemption| {
            let by = Void {
                at: tx.now(),
                by: MemberId(Uuid::from_u128(21)),
                reason: "r".to_owned(),
            };
            let (mut voided, _) = found.voided(by, 0, shanghai_date(tx.now()))?;
            // The one that writes last ignores what version it has read.
            let is_last = !first.swap(false, std::sync::atomic::Ordering::SeqCst);
            voided.version += i64::from(ahead && is_last);
            redemption::save(tx, &voided).await
        };
        interleaved(&world, found, void).await
    };
    assert!(twice(false).await.is_err(), "the version carries it");
    let back = "UPDATE redemption SET version = 1, voided_at = NULL, voided_by = NULL,
                  void_reason = NULL";
    world.ctx().db.execute(back, []).await.unwrap();
    twice(true).await.unwrap();
    let version = format!("SELECT version AS count FROM redemption WHERE id = '{one}'");
    assert_eq!(world.count(&version).await, 3, "the race is real");
}

/// There is no row to lock before the first shift: its index alone keeps a person at one place.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_index_a_person_has_two_shifts() {
    let world = World::new().await;
    let door = world.door("博物馆").await;
    let member = MemberId(Uuid::from_u128(22));
    let found = async |tx: &Tx| shift::lock_open(tx, member).await;
    let written = std::sync::Mutex::new(Vec::new());
    let open = async |tx: &Tx, found: Option<Shift>| {
        assert_eq!(found, None);
        let one = Shift {
            id: tx.uuid(),
            venue: door.venue,
            gate: None,
            member,
            opened_at: tx.now(),
            closes_at: tx.now() + TimeDelta::hours(1),
            closed_at: None,
            second_factor: false,
        };
        let added = shift::insert(tx, &one).await?;
        written.lock().unwrap().push(added);
        Ok(())
    };
    interleaved(&world, found, open).await.unwrap();
    assert_eq!(*written.lock().unwrap(), [true, false], "it carries it");
    owner(&world, "DELETE FROM shift").await;
    owner(&world, "DROP INDEX shift_one_open").await;
    // The statement itself leans on the index, so here it stands without.
    let bare = async |tx: &Tx, found: Option<Shift>| {
        assert_eq!(found, None);
        let sql = "INSERT INTO shift (id, venue, member, opened_at, closes_at)
                   VALUES ($1, $2, $3, $4, $4 + interval '1 hour')";
        let venue = door.venue.uuid();
        let values = [
            tx.uuid().into(),
            venue.into(),
            member.uuid().into(),
            tx.now().into(),
        ];
        tx.execute(sql, values).await.map(drop)
    };
    interleaved(&world, found, bare).await.unwrap();
    let open = "SELECT count(*) FROM shift WHERE closed_at IS NULL";
    assert_eq!(world.count(open).await, 2, "the race is real");
}
