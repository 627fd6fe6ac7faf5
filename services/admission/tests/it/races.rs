//! Two at the same moment. The same races with their guards off are in `unguarded`.

use std::sync::Arc;

use admission::commands::gate::enrol_gate;
use admission::commands::redeem::{Scanned, redeem, redeem_batch};
use admission::domain::scan::{Attempt, ScanId};
use admission::domain::venue::Details;
use credential::rules::{Direction, DocumentReading, Reason, Rules};
use ed25519_dalek::SigningKey;
use prost::Message;
use proto::admission::FreezeApplied;
use proto::v1::{Entitlement, entitlement::State};
use tokio::sync::Barrier;

use crate::world::{Device, World, admits, attended, daily, details, id, reason, refused};

const ROUNDS: u64 = 12;

/// Two gates of one venue, and two processes with a lane each.
#[tokio::test(flavor = "multi_thread")]
async fn two_gates_of_one_venue_admit_once() {
    let world = World::new().await;
    world.product(&daily()).await;
    let venue = world.venue(details("博物馆")).await;
    let (first, second) = (world.device(venue.id).await, world.device(venue.id).await);
    let twin = World::service(world.db.process().await).await;
    for pass in 1..=ROUNDS {
        world.grant(pass).await;
        let text = world.token(pass);
        let (one, other) = (world.scan(&first, &text), world.scan(&second, &text));
        let callers = (world.asserting(&first), world.asserting(&second));
        let (one, other) = tokio::join!(
            redeem(&world.admission, &callers.0, one),
            redeem(&twin, &callers.1, other),
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(
            admits(&one) != admits(&other),
            "pass {pass}: {one:?} {other:?}"
        );
        let denied = if admits(&one) { other } else { one };
        assert_eq!(reason(&denied), Some(Reason::UsedToday));
    }
    world.check().await;
}

/// Two venues, and one entry left over all: different counters, so the entitlement's own lock
/// alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn two_venues_admit_the_last_entry_once() {
    let world = World::new().await;
    world
        .product(&Rules {
            total: Some(1),
            ..Rules::unlimited()
        })
        .await;
    let (first, second) = (world.door("博物馆").await, world.door("动物园").await);
    let twin = World::service(world.db.process().await).await;
    for pass in 1..=ROUNDS {
        world.grant(pass).await;
        let text = world.token(pass);
        let (one, other) = (world.scan(&first, &text), world.scan(&second, &text));
        let callers = (world.asserting(&first), world.asserting(&second));
        let (one, other) = tokio::join!(
            redeem(&world.admission, &callers.0, one),
            redeem(&twin, &callers.1, other),
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(admits(&one) != admits(&other), "pass {pass}");
    }
    world.check().await;
}

/// A freeze and a scan at the same moment: either the scan was first, and the freeze counts it, or
/// the freeze was first, and the scan is denied. Never both, never neither. In some rounds the
/// entitlement is held until both wait for it, the scan first or the freeze first; in the others
/// they come as they come.
#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_and_a_scan_agree_on_who_was_first() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let caller = world.asserting(&door);
    let mut outcomes = [0, 0];
    for pass in 1..=ROUNDS * 2 {
        world.grant(pass).await;
        let frozen = Entitlement {
            freeze_version: 2,
            ..world.word(pass, 2, State::Frozen)
        };
        let scanned = world.scan(&door, &world.token(pass));
        let scan = redeem(&world.admission, &caller, scanned);
        let freeze = world.say(frozen);
        let scan = match pass % 4 {
            0 => queued(&world, pass, scan, freeze).await.0,
            1 => queued(&world, pass, freeze, scan).await.1,
            2 => tokio::join!(scan, freeze).0,
            _ => tokio::join!(freeze, scan).1,
        };
        let scan = scan.unwrap();
        let applied = world.events("FreezeApplied").await;
        let applied = FreezeApplied::decode(applied.last().unwrap().payload.as_slice()).unwrap();
        assert_eq!((applied.entitlement_id, applied.freeze_version), (pass, 2));
        assert_eq!(
            applied.uses,
            u32::from(admits(&scan)),
            "pass {pass}: {scan:?}"
        );
        match pass % 4 {
            0 => assert!(admits(&scan), "pass {pass}: it waited first"),
            1 => assert!(!admits(&scan), "pass {pass}: the freeze waited first"),
            _ => {}
        }
        if !admits(&scan) {
            assert_eq!(reason(&scan), Some(Reason::Frozen));
        }
        outcomes[usize::from(admits(&scan))] += 1;
        // Whatever happened, nobody enters any more under this freeze.
        let late = world.enter(&door, &world.token(pass)).await;
        assert_eq!(reason(&late), Some(Reason::Frozen));
    }
    assert!(outcomes.iter().all(|rounds| *rounds > 0), "{outcomes:?}");
    world.check().await;
}

/// Both, one behind the other at the entitlement's lock, which is held until both wait.
async fn queued<A, B>(
    world: &World,
    pass: u64,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let holder = world.db.process().await;
    let (held, one) = (Barrier::new(2), Barrier::new(2));
    let hold = holder.db.tx("hold", async |tx| {
        let lock = "SELECT 1 FROM entitlement WHERE id = $1 FOR UPDATE";
        let row = i64::try_from(pass).unwrap().into();
        tx.execute(lock, [row]).await?;
        held.wait().await;
        waiting(world, 1).await;
        one.wait().await;
        waiting(world, 2).await;
        Ok(())
    });
    let first = async {
        held.wait().await;
        first.await
    };
    let second = async {
        one.wait().await;
        second.await
    };
    let (done, first, second) = tokio::join!(hold, first, second);
    done.unwrap();
    (first, second)
}

/// Returns when so many transactions of this database wait for a lock.
async fn waiting(world: &World, count: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while world.count(sql).await < count {
        tokio::task::yield_now().await;
    }
}

/// Two devices show one code at the same moment: one is bound, and the other's key is none.
#[tokio::test(flavor = "multi_thread")]
async fn one_code_binds_one_of_two_devices() {
    let world = World::new().await;
    let venue = world.venue(details("博物馆")).await;
    let twin = world.db.process().await;
    for round in 0..ROUNDS {
        let (key, name) = (world.uuid(), format!("{round}号门"));
        let new = admission::commands::gate::create_gate;
        let new = new(world.ctx(), &world.manager, key, venue.id, attended(&name))
            .await
            .unwrap();
        let code = new.code.unwrap();
        let public = |byte| {
            SigningKey::from_bytes(&[byte; 32])
                .verifying_key()
                .to_bytes()
        };
        let (one, other) = tokio::join!(
            enrol_gate(world.ctx(), &code, public(1)),
            enrol_gate(&twin, &code, public(2)),
        );
        let (bound, refusal) = if one.is_ok() {
            (one, other)
        } else {
            (other, one)
        };
        assert_eq!(bound.unwrap().key.unwrap().enrolment, 1);
        assert_eq!(refused(refusal), "ENROLMENT_CODE_EXPIRED");
    }
}

/// One scan's number in two processes at the same moment: the same code has one answer; of two
/// codes one is answered, and the other refused and reported once.
#[tokio::test(flavor = "multi_thread")]
async fn one_scan_number_is_answered_once() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let caller = world.asserting(&door);
    let twin = World::service(world.db.process().await).await;
    let rounds = usize::try_from(ROUNDS).unwrap();
    for pass in 1..=ROUNDS {
        world.grant(pass).await;
        let scanned = world.scan(&door, &world.token(pass));
        let all = (0..8).map(|at| {
            let process = if at % 2 == 0 { &world.admission } else { &twin };
            redeem(process, &caller, scanned.clone())
        });
        let all = futures::future::join_all(all).await;
        let first = all[0].as_ref().unwrap();
        assert!(admits(first));
        assert!(all.iter().all(|one| one.as_ref().unwrap() == first));
    }
    for pass in (1_000..).step_by(2).take(rounds) {
        world.grant(pass).await;
        world.grant(pass + 1).await;
        let scanned = world.scan(&door, &world.token(pass));
        let other = Scanned {
            text: world.token(pass + 1),
            ..scanned.clone()
        };
        let (one, other) = tokio::join!(
            redeem(&world.admission, &caller, scanned),
            redeem(&twin, &caller, other),
        );
        let (answered, refusal) = if one.is_ok() {
            (one, other)
        } else {
            (other, one)
        };
        assert!(admits(&answered.unwrap()), "pass {pass}");
        assert_eq!(refused(refusal), "SCAN_ID_REUSED");
    }
    assert_eq!(world.events("RedemptionChanged").await.len(), 2 * rounds);
    assert_eq!(world.events("ScanAlarmRaised").await.len(), rounds);
    world.check().await;
}

/// A batch in which one scan cannot be decided at all is redone one by one: its neighbours enter.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_shares_its_locks_and_no_fate() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    // Venues of one parity share a lane.
    let parity = |device: &Device| device.venue.uuid().as_u128() % 2;
    let mut broken = world.door("动物园").await;
    for n in 0.. {
        if parity(&broken) == parity(&door) {
            break;
        }
        broken = world.door(&format!("动物园{n}")).await;
    }
    let lost = format!(
        "DELETE FROM venue_counter WHERE venue = '{}'",
        broken.venue.uuid()
    );
    world.db.owner().await.execute(&lost, []).await.unwrap();
    for pass in 1..=51 {
        world.grant(pass).await;
    }
    let all = (1..=51).map(|pass| {
        let door = if pass == 30 { &broken } else { &door };
        let scanned = world.scan(door, &world.token(pass));
        world.redeem(door, scanned)
    });
    let mut all = futures::future::join_all(all).await;
    assert!(all.remove(29).is_err(), "its venue has no counter");
    assert!(all.iter().all(|one| admits(one.as_ref().unwrap())));
    // Twins and strangers in one batch, by hand: the order of arrival decides.
    let attempt = |seq: i64, hash: u8| attempt(&world, &door, (60, seq, hash));
    world.grant(60).await;
    let batch = vec![
        attempt(1_001, 1),
        attempt(1_001, 1),
        attempt(1_001, 2),
        attempt(1_002, 1),
    ];
    let answers = redeem_batch(world.ctx(), batch).await.unwrap();
    let [first, twin, other, second]: [_; 4] = answers.try_into().unwrap();
    let first = first.unwrap();
    assert!(admits(&first));
    assert_eq!(first, twin.unwrap());
    assert_eq!(refused(other), "SCAN_ID_REUSED");
    assert_eq!(reason(&second.unwrap()), Some(Reason::UsedToday));
    assert_eq!(id(60), first.entitlement.unwrap());
    world.check().await;
}

/// A scan as a lane gets it: of a pass, under a number, with a code of this hash.
pub(crate) fn attempt(world: &World, door: &Device, (pass, seq, hash): (u64, i64, u8)) -> Attempt {
    Attempt {
        id: ScanId {
            gate: door.gate,
            enrolment: 1,
            seq,
        },
        venue: door.venue,
        token_hash: [hash; 32],
        shown: Ok(credential::token::Token::new(world.claims(pass)).unwrap()),
        direction: Direction::Entry,
        persons: std::num::NonZeroU16::MIN,
        document: DocumentReading::NotRead,
        device_at: world.now(),
    }
}

/// A batch of many venues counts what each of them let in for all of them, and who is inside for
/// each alone. A gate that claims to stand elsewhere is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_many_venues_counts_over_all_of_them() {
    let world = World::new().await;
    let rules = Rules {
        total: Some(2),
        ..Rules::unlimited()
    };
    world.product(&rules).await;
    let tracked = |name| Details {
        tracks_exits: true,
        capacity: Some(2),
        ..details(name)
    };
    let (museum, zoo) = (
        world.venue(tracked("博物馆")).await,
        world.venue(tracked("动物园")).await,
    );
    let (here, there) = (world.device(museum.id).await, world.device(zoo.id).await);
    for pass in 1..=3 {
        world.grant(pass).await;
    }
    let mut astray = attempt(&world, &here, (3, 3, 1));
    astray.venue = zoo.id;
    let batch = vec![
        attempt(&world, &here, (1, 1, 1)),
        attempt(&world, &there, (1, 1, 1)),
        attempt(&world, &here, (1, 2, 1)),
        attempt(&world, &there, (2, 2, 1)),
        attempt(&world, &there, (3, 3, 1)),
        astray,
    ];
    let mut answers = redeem_batch(world.ctx(), batch).await.unwrap();
    assert_eq!(refused(answers.pop().unwrap()), "GATE_NOT_RECOGNISED");
    let reasons: Vec<Option<Reason>> = answers
        .into_iter()
        .map(|one| reason(&one.unwrap()))
        .collect();
    // The pass that is inside here has used its last entry there; there it is full.
    let expected = [
        None,
        None,
        Some(Reason::AlreadyInside),
        None,
        Some(Reason::VenueFull),
    ];
    assert_eq!(reasons, expected);
    let inside = "SELECT count(*) FROM venue_counter WHERE inside = 2";
    assert_eq!(world.count(inside).await, 1);
    let inside = "SELECT count(*) FROM presence WHERE inside = 1";
    assert_eq!(world.count(inside).await, 3);
    let mut later = attempt(&world, &here, (1, 4, 1));
    later.direction = Direction::Exit;
    let again = attempt(&world, &here, (1, 5, 1));
    let answers = redeem_batch(world.ctx(), vec![later, again]).await.unwrap();
    let reasons: Vec<Option<Reason>> = answers
        .into_iter()
        .map(|one| reason(&one.unwrap()))
        .collect();
    assert_eq!(reasons, [None, Some(Reason::UsedUp)]);
    world.check().await;
}

/// When a venue's queue is full, the rest is told so at once, and what waits is still answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_overloaded() {
    let world = World::new().await;
    let door = world.door("博物馆").await;
    let caller = world.asserting(&door);
    let (locked, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let holder = async {
        world
            .ctx()
            .db
            .tx("hold", async |tx| {
                tx.execute("SELECT 1 FROM venue_counter FOR UPDATE", [])
                    .await?;
                locked.wait().await;
                release.wait().await;
                Ok(())
            })
            .await
            .unwrap();
    };
    let crowd = async {
        locked.wait().await;
        let count = kit::lane::QUEUE_MAX + kit::lane::BATCH_MAX + 50;
        let scans = (0..count).map(|_| redeem(&world.admission, &caller, world.scan(&door, "x")));
        let mut scans: futures::stream::FuturesUnordered<_> = scans.collect();
        let mut answers = Vec::with_capacity(count);
        // The first answers to come while the venue is locked are those turned away.
        use futures::StreamExt;
        answers.extend(scans.next().await);
        release.wait().await;
        while let Some(answer) = scans.next().await {
            answers.push(answer);
        }
        answers
    };
    let ((), answers) = tokio::join!(holder, crowd);
    let overloaded = answers
        .iter()
        .filter(|one| matches!(one, Err(kit::Error::Overloaded)))
        .count();
    assert!(overloaded >= 50, "{overloaded}");
    let stored = world.count("SELECT count(*) FROM redemption").await;
    assert_eq!(usize::try_from(stored).unwrap(), answers.len() - overloaded);
    world.check().await;
}
