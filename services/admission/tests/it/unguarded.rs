//! The races of `races`, `staff` and `bounds` with their guards off: what each guard is there for
//! is seen to happen, and the promises notice it where it leaves a trace.

use admission::commands::gate::create_gate;
use admission::domain::gate::{Code, Enrolled, Gate, PendingCode};
use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use kit::Tx;
use kit::types::shanghai_date;
use prost::Message;
use proto::admission::FreezeApplied;
use proto::v1::{Entitlement, entitlement::State};
use sea_orm::FromQueryResult;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::bounds::{let_in, looked_up, opened};
use crate::world::{Count, Device, World, details};

/// How many rows a promise says are broken.
async fn broken(world: &World, id: &str) -> usize {
    let mut all = admission::verify::INVARIANTS.iter();
    let invariant = all.find(|one| one.id == id).unwrap();
    let found = kit::verify::check(&world.ctx().db, invariant).await;
    found.unwrap().len()
}

/// History is read without the lock, as a naive gate would, and both let the person in: at two
/// gates of one venue, and at two venues.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_lock_both_would_admit() {
    let world = World::new().await;
    let first = world.door("博物馆").await;
    let beside = world.device(first.venue).await;
    let elsewhere = world.door("动物园").await;
    for (pass, second) in [(1, &beside), (2, &elsewhere)] {
        world.grant(pass.try_into().unwrap()).await;
        let read = "SELECT count(*) FROM redemption WHERE entitlement = $1";
        let both = both_write(&world, (read, pass), |at| {
            let door = if at == 0 { &first } else { second };
            (door, (pass, pass))
        })
        .await;
        assert_eq!(both, 2, "the race is real");
    }
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 4);
    // And the promise notices what happened.
    assert_eq!(broken(&world, "admission.entries_within_rules").await, 2);
}

/// Both look the scan's number up and find nothing. The constraint lets one through; without it
/// the number has two answers, for one code as for two.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_guards_a_scan_number_is_answered_twice() {
    let world = World::new().await;
    let door = world.door("博物馆").await;
    let read = "SELECT count(*) FROM redemption WHERE seq = $1";
    // The same code, then another one, under the numbers from `seq` on.
    let both = async |seq: i64| {
        let mut written = Vec::new();
        for (seq, other) in [(seq, 1), (seq + 1, 2)] {
            let door = &door;
            let twice = both_write(&world, (read, seq), move |at| {
                (door, (if at == 0 { 1 } else { other }, seq))
            });
            written.push(twice.await);
        }
        written
    };
    assert_eq!(both(1).await, [1, 1], "the constraint carries it");
    assert_eq!(broken(&world, "admission.one_row_per_scan").await, 0);
    let drop = "ALTER TABLE redemption DROP CONSTRAINT redemption_scan_once";
    world.db.owner().await.execute(drop, []).await.unwrap();
    assert_eq!(both(3).await, [2, 2], "the race is real");
    assert_eq!(broken(&world, "admission.one_row_per_scan").await, 2);
}

/// Two transactions that both read `read` of `subject` as none before either writes its entry, of
/// an entitlement under a scan's number; how many of them come through.
async fn both_write<'a>(
    world: &World,
    (read, subject): (&str, i64),
    entry: impl Fn(usize) -> (&'a Device, (i64, i64)),
) -> usize {
    let barrier = Barrier::new(2);
    let one = async |at: usize| {
        let (door, numbers) = entry(at);
        world
            .ctx()
            .db
            .tx("naive", async |tx| {
                let before = tx.one::<Count>(read, [subject.into()]).await?;
                barrier.wait().await;
                assert_eq!(before.map(|row| row.count), Some(0));
                insert_entry(tx, door, numbers).await
            })
            .await
    };
    let (first, second) = tokio::join!(one(0), one(1));
    [first, second].iter().filter(|done| done.is_ok()).count()
}

/// An entry with an entitlement, allowed once in all, as nobody but a test writes it.
async fn insert_entry(tx: &Tx, door: &Device, (pass, seq): (i64, i64)) -> kit::Result<()> {
    let today = shanghai_date(tx.now());
    tx.execute(
        "INSERT INTO redemption (id, version, venue, gate, enrolment, seq, token_hash, entitlement,
           gen, scope, direction, persons, decision, at, scanned_on, counted_on, inside_delta,
           payable, hint_document, hint_photo, limit_total, overridden)
         VALUES ($1, 1, $2, $3, 1, $6, '\\x00', $7, 0, 7, 'entry', 1, 'admit', $4, $5, $5, 0,
           true, false, false, 1, false)",
        [
            tx.uuid().into(),
            door.venue.uuid().into(),
            door.gate.uuid().into(),
            tx.now().into(),
            today.into(),
            seq.into(),
            pass.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The state is read without the lock, the freeze is answered with no uses, and then the person
/// walks in.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_lock_a_freeze_would_miss_a_use() {
    let world = World::new().await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let (read, frozen) = (Barrier::new(2), Barrier::new(2));
    let scan = world.ctx().db.tx("naive", async |tx| {
        let active = "SELECT count(*) FROM entitlement WHERE id = 1 AND state = 'active'";
        let active = tx
            .one::<Count>(active, [])
            .await?
            .map_or(0, |row| row.count);
        read.wait().await;
        frozen.wait().await;
        if active == 1 {
            insert_entry(tx, &door, (1, 1)).await?;
        }
        Ok(active == 1)
    });
    let freeze = async {
        read.wait().await;
        world
            .say(Entitlement {
                freeze_version: 2,
                ..world.word(1, 2, State::Frozen)
            })
            .await;
        frozen.wait().await;
    };
    let (entered, ()) = tokio::join!(scan, freeze);
    assert!(entered.unwrap());
    let applied = world.events("FreezeApplied").await;
    let applied = FreezeApplied::decode(applied[0].payload.as_slice()).unwrap();
    assert_eq!(
        applied.uses, 0,
        "the race is real: one entered, none was counted"
    );
}

/// A code as it is kept.
#[derive(FromQueryResult)]
struct CodeRow {
    selector: String,
    hash: Vec<u8>,
    expires_at: DateTime<Utc>,
    used: bool,
}

/// Both devices find the code unused, and both are told that they are bound: the first one's key
/// opens nothing, and nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_lock_one_code_binds_two_devices() {
    let world = World::new().await;
    let venue = world.venue(details("博物馆")).await;
    let key = world.uuid();
    let new = create_gate(world.ctx(), &world.manager, key, venue.id, "北门")
        .await
        .unwrap();
    let (both_read, id) = (Barrier::new(2), new.gate.id.uuid());
    let bind = async |secret: u8| {
        let device = SigningKey::from_bytes(&[secret; 32]);
        let public = device.verifying_key().to_bytes();
        world
            .ctx()
            .db
            .tx("naive", async |tx| {
                let sql = "SELECT code_selector AS selector, code_hash AS hash, code_used AS used,
                             code_expires_at AS expires_at FROM gate WHERE id = $1";
                let row = tx.one::<CodeRow>(sql, [id.into()]).await?.unwrap();
                both_read.wait().await;
                let shown = Code {
                    selector: row.selector.clone(),
                    secret_hash: row.hash.clone().try_into().unwrap(),
                };
                let read = Gate {
                    code: Some(PendingCode {
                        selector: row.selector,
                        hash: shown.secret_hash,
                        expires_at: row.expires_at,
                        attempts: 0,
                        used: row.used,
                    }),
                    ..new.gate.clone()
                };
                let Ok(Enrolled::Bound(gate)) = read.enrol(&shown, public, tx.now()) else {
                    return Ok(None);
                };
                let save = "UPDATE gate SET enrolment = $2, public_key = $3, enrolled_at = $4,
                              code_used = true, version = $5 WHERE id = $1";
                let bound = gate.key.unwrap();
                let values = [
                    id.into(),
                    bound.enrolment.into(),
                    bound.public.to_vec().into(),
                    bound.since.into(),
                    gate.version.into(),
                ];
                tx.execute(save, values).await?;
                Ok(Some(bound.enrolment))
            })
            .await
            .unwrap()
    };
    let both = tokio::join!(bind(1), bind(2));
    assert_eq!(both, (Some(1), Some(1)), "the race is real");
}

/// Both read that a denial was not overridden, and without its constraint both let the person in;
/// both read that an admission stands, and both take it back.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_locks_both_would_override_and_void() {
    let (world, door) = opened().await;
    let pattern = let_in(&world, looked_up(&door, 1)).await.unwrap().id;
    let denials = [world.uuid(), world.uuid()];
    let both = async |sql: &str, read: &str, subject: Uuid| -> usize {
        let barrier = Barrier::new(2);
        let one = async || {
            world
                .ctx()
                .db
                .tx("naive", async |tx| {
                    let before = tx.one::<Count>(read, [subject.into()]).await?;
                    barrier.wait().await;
                    assert_eq!(before.map(|row| row.count), Some(0));
                    let values = [tx.uuid().into(), subject.into(), pattern.into()];
                    tx.execute(sql, values).await
                })
                .await
        };
        let (first, second) = tokio::join!(one(), one());
        [first, second].iter().filter(|done| done.is_ok()).count()
    };
    let read = "SELECT count(*) FROM redemption WHERE overrides = $1";
    let add = "INSERT INTO redemption SELECT (jsonb_populate_record(r,
                 jsonb_build_object('id', $1::uuid, 'overrides', $2::uuid))).*
               FROM redemption r WHERE r.id = $3";
    assert_eq!(both(add, read, denials[0]).await, 1, "the constraint holds");
    let drop = "ALTER TABLE redemption DROP CONSTRAINT redemption_override_once";
    world.db.owner().await.execute(drop, []).await.unwrap();
    assert_eq!(both(add, read, denials[1]).await, 2, "the race is real");
    let read = "SELECT count(*) FROM redemption WHERE id = $1 AND voided_at IS NOT NULL";
    let void = "UPDATE redemption SET version = version + 1, voided_at = at, voided_by = $1,
                  void_reason = 'r' WHERE id = $2 AND id = $3";
    assert_eq!(both(void, read, pattern).await, 2, "taken back twice");
    let version = format!("SELECT version AS count FROM redemption WHERE id = '{pattern}'");
    assert_eq!(world.count(&version).await, 3);
}
