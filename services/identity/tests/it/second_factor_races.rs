//! Negative controls of second factors: what two requests at once would do without the lock or the
//! constraint that holds each promise. The promises themselves are tested with the factors.

use identity::commands::second_factor::WRONG;
use identity::domain::second_factor::{Factor, WRONG_PER_HOUR_MAX, may_try};
use identity::domain::two_operators::Asked;
use identity::store::limits;
use identity::store::second_factors::{self as store, FactorRow, ResetRow};
use kit::types::MemberId;
use kit::{Error, Tx};

use crate::races::interleaved;
use crate::second_factor::holder;
use crate::second_factor_life::second_operator;
use crate::world::{OPERATOR_PHONE, World, number_of_phone};

/// Without the factor's row locked one code that comes twice at once is taken twice.
#[tokio::test]
async fn without_its_lock_one_code_would_be_taken_twice() {
    let world = World::new().await;
    let _ = holder(&world, OPERATOR_PHONE).await;
    let taken = std::sync::atomic::AtomicUsize::new(0);
    let read = async |tx: &Tx| store::confirmed(tx, world.operator).await;
    let write = async |tx: &Tx, row: Option<FactorRow>, _| {
        let row = row.unwrap();
        let Factor::Confirmed { last_step } = row.factor else {
            panic!("{row:?}");
        };
        let next = last_step + 1;
        let factor = row.factor.take(Some(next), tx.now())?;
        assert_eq!(factor, Factor::Confirmed { last_step: next });
        taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        store::save_step(tx, row.id, next).await
    };
    interleaved(&world, read, write).await.unwrap();
    assert_eq!(taken.into_inner(), 2);
}

/// Without her counts locked two wrong codes at once both find one left.
#[tokio::test]
async fn without_its_lock_one_more_code_would_be_tried() {
    #[derive(sea_orm::FromQueryResult)]
    struct Count {
        count: i32,
    }
    let world = World::new().await;
    let member = world.operator;
    let db = &world.identity.ctx.db;
    let before = WRONG_PER_HOUR_MAX - 1;
    let count = db.tx("before", async |tx| {
        limits::count(tx, WRONG, member, before).await
    });
    assert_eq!(count.await.unwrap().in_hour, before);
    let read = async |tx: &Tx| {
        let sql = "SELECT count FROM attempt WHERE scope = 'second_factor_hour'";
        Ok(tx.one::<Count>(sql, []).await?.unwrap().count)
    };
    let write = async |tx: &Tx, wrong: i32, _| {
        may_try(wrong, wrong)?;
        limits::count(tx, WRONG, member, 1).await.map(|_| ())
    };
    interleaved(&world, read, write).await.unwrap();
    let counted = "SELECT count::bigint FROM attempt WHERE scope = 'second_factor_hour'";
    assert_eq!(
        world.count(counted).await,
        i64::from(WRONG_PER_HOUR_MAX) + 1
    );
}

/// A recovery code that is looked at before it is used up opens twice; as it is, the statement that
/// uses it up finds it used.
#[tokio::test]
async fn without_its_guard_a_recovery_code_would_open_twice() {
    #[derive(sea_orm::FromQueryResult)]
    struct Count {
        count: i32,
    }
    let world = World::new().await;
    let holder = holder(&world, OPERATOR_PHONE).await;
    let member = world.operator;
    let code = holder.recovery[0].replace('-', "");
    let hash = world.identity.vault.recovery_hash(member.0, &code);
    let read = async |tx: &Tx| {
        let sql = "SELECT count(*)::int AS count FROM recovery_code
            WHERE hash = $1 AND used_at IS NULL";
        let found = tx.one::<Count>(sql, [hash.to_vec().into()]).await?;
        Ok(found.unwrap().count)
    };
    let used = std::sync::Mutex::new(Vec::new());
    let write = async |tx: &Tx, unused: i32, _| {
        assert_eq!(unused, 1, "both find it good");
        let opened = store::use_recovery(tx, member, &hash).await?;
        used.lock().unwrap().push(opened);
        Ok(())
    };
    interleaved(&world, read, write).await.unwrap();
    assert_eq!(used.into_inner().unwrap(), [true, false]);
}

fn asked(tx: &Tx, by: MemberId) -> ResetRow {
    ResetRow {
        id: tx.uuid(),
        asked: Asked {
            by,
            at: tx.now(),
            expires_at: tx.now() + chrono::TimeDelta::days(1),
        },
    }
}

/// Without the factor's lock two operators at once both find no reset: the constraint stops the
/// second one, and without that too each waits for the other.
#[tokio::test]
async fn without_its_guards_two_resets_would_wait() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let of = world.person(&union, 2).await;
    let _ = holder(&world, &number_of_phone(2)).await;
    let operators = [world.operator, second];
    let twice = async || {
        let read = async |tx: &Tx| Ok(store::lock_reset(tx, of).await?.is_none());
        let write = async |tx: &Tx, none: bool, which: u128| {
            assert!(none);
            let by = operators[usize::try_from(which).unwrap() - 1];
            store::insert_reset(tx, of, &asked(tx, by)).await
        };
        interleaved(&world, read, write).await
    };
    let stopped: Error = twice().await.unwrap_err();
    let constraint = stopped.constraint();
    assert_eq!(constraint.as_deref(), Some("second_factor_reset_one_asked"));
    let owner = world.test.owner().await;
    for sql in [
        "DELETE FROM second_factor_reset",
        "DROP INDEX second_factor_reset_one_asked",
    ] {
        owner.execute(sql, []).await.unwrap();
    }
    twice().await.unwrap();
    let waiting = "SELECT count(*) AS count FROM second_factor_reset WHERE state = 'asked'";
    assert_eq!(world.count(waiting).await, 2);
}

/// The table itself knows that two are needed, and that neither is the person.
#[tokio::test]
async fn one_operator_is_never_two() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let db = &world.identity.ctx.db;
    let (one, of) = (world.operator, second);
    for (by, confirmed_by, constraint) in [
        (one, one, "second_factor_reset_by_two"),
        (one, of, "second_factor_reset_of_another"),
        (of, one, "second_factor_reset_of_another"),
    ] {
        let written = db.tx("reset", async |tx| {
            let row = asked(tx, by);
            store::insert_reset(tx, of, &row).await?;
            store::finish_reset(tx, row.id, confirmed_by).await
        });
        let stopped = written.await.unwrap_err().constraint();
        assert_eq!(stopped.as_deref(), Some(constraint));
    }
}
