//! A lost phone beside what else may happen to its person: who comes first, what waits for what,
//! and, with the lock left out, what would happen twice.

use identity::commands::phone_recoveries::{self as commands, Named};
use identity::domain::identifier::{Document, DocumentKind};
use identity::domain::phone_recovery::{End, RECOVERY_WAIT_HOURS};
use identity::due;
use identity::store::people::{self, NewPhoneRow};
use identity::store::phone_recoveries::{self as store, Kept};
use kit::access::{Caller, Who};
use kit::audit::AuditRow;
use kit::due::NewDue;
use kit::testing::overtaken;
use kit::types::{MemberId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use serde_json::json;
use uuid::Uuid;

use crate::erasures::erase;
use crate::merges::cast;
use crate::phone_recoveries::{Lost, NEW, global, plant};
use crate::phone_settings::set_phone;
use crate::races::interleaved;
use crate::world::{World, codes, number, number_of_phone, phone};

const NEWER: &str = "13700005555";

fn refused<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    match result {
        Err(Error::Refused(why)) => why.code,
        other => panic!("{other:?}"),
    }
}

async fn only(world: &World) -> Uuid {
    let sql = "SELECT id::text AS name FROM phone_recovery WHERE ended_at IS NULL";
    let ids = world.names(sql).await;
    assert_eq!(ids.len(), 1);
    ids[0].parse().unwrap()
}

fn id_of(caller: &Caller) -> MemberId {
    match caller.who {
        Who::Member { member, .. } => member,
        Who::Anonymous => panic!("signed in"),
    }
}

fn her_document(ctx: &Ctx) -> Document {
    let today = shanghai_date(ctx.clock.now());
    Document::parse(DocumentKind::ResidentId, &number(1), today).unwrap()
}

/// Its open recovery as it is seen by who locks nothing.
async fn seen(tx: &Tx, id: Uuid) -> Result<Kept> {
    Ok(store::open(tx, id).await?.unwrap())
}

impl Lost {
    async fn run_by(&self, ctx: &Ctx, id: Uuid) -> Result<kit::due::After> {
        let mut identity = self.world.identity.clone();
        identity.ctx = ctx.clone();
        commands::run(&identity, id).await
    }

    async fn confirm_by(&self, ctx: &Ctx) -> Result<chrono::DateTime<chrono::Utc>> {
        let mut identity = self.world.identity.clone();
        identity.ctx = ctx.clone();
        let named = Named::Document(her_document(ctx));
        let seen = (&phone(NEW), &named);
        commands::confirm_phone_recovery(&identity, &self.officer, self.member, seen).await
    }

    async fn approve_by(&self, ctx: &Ctx, by: &Caller) -> Result<chrono::DateTime<chrono::Utc>> {
        let mut identity = self.world.identity.clone();
        identity.ctx = ctx.clone();
        let named = Named::Document(her_document(ctx));
        let seen = (&phone(NEW), &named);
        commands::approve_phone_recovery(&identity, by, self.member, seen).await
    }

    /// Approved, and due now.
    async fn due(test: &str) -> (Self, Uuid) {
        let lost = Self::start(test).await;
        lost.approved().await;
        lost.advance(RECOVERY_WAIT_HOURS * 3_600);
        lost.world.seal().await;
        let id = only(&lost.world).await;
        (lost, id)
    }
}

/// She takes it back at the moment it is carried out: one of the two happens, whichever is first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_and_its_time_wait_for_each_other() {
    let (lost, id) = Lost::due("recall-late").await;
    let other = lost.world.test.process().await;
    let ctx = &lost.world.identity.ctx;
    let recall = commands::recall_phone_recovery(&other, &lost.herself);
    let (ran, recalled) = overtaken(&lost.world.test, lost.run_by(ctx, id), recall).await;
    ran.unwrap();
    // Her login has ended with her phone; who looked before that finds nothing open.
    match recalled {
        Err(Error::Unauthenticated(_)) => {}
        other => assert_eq!(refused(other), "RECOVERY_NOT_FOUND"),
    }
    assert!(lost.signs_in(NEW).await);
    lost.promises().await;

    let (lost, id) = Lost::due("recall-first").await;
    let other = lost.world.test.process().await;
    let ctx = &lost.world.identity.ctx;
    let recall = commands::recall_phone_recovery(ctx, &lost.herself);
    let (recalled, ran) = overtaken(&lost.world.test, recall, lost.run_by(&other, id)).await;
    recalled.unwrap();
    ran.unwrap();
    assert_eq!(lost.state().await, "recalled");
    assert!(lost.signs_in(&number_of_phone(1)).await && !lost.signs_in(NEW).await);
    lost.promises().await;
}

/// Without her lock it would be taken back and carried out all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_what_is_taken_back_would_happen() {
    let (lost, id) = Lost::due("recall-unlocked").await;
    let (world, blind) = (
        &lost.world,
        lost.world.identity.vault.blind_phone(&phone(NEWER)),
    );
    let blind = blind.unwrap();
    let read = async |tx: &Tx| seen(tx, id).await;
    let write = async |tx: &Tx, _: Kept, which: u128| {
        if which == 2 {
            return store::end(tx, id, End::Recalled, Some(lost.member)).await;
        }
        identity::store::login_methods::remove_each(tx, lost.member).await?;
        let row = NewPhoneRow {
            id: tx.uuid(),
            member: lost.member.0,
            subject: vec![0],
            blind,
        };
        people::insert_phones(tx, vec![row]).await?;
        store::end(tx, id, End::Done, None).await
    };
    interleaved(world, read, write).await.unwrap();
    assert_eq!(lost.state().await, "recalled");
    assert!(lost.signs_in(NEWER).await, "and yet it happened");
}

/// Two operators approve at once: it is approved once, and she is told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_approvals_are_one() {
    let lost = Lost::start("approvals").await;
    lost.claimed().await;
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    lost.world.seal().await;
    let other = lost.world.test.process().await;
    let (first, operator) = (&lost.world.identity.ctx, lost.world.as_operator());
    let one = lost.approve_by(first, &operator);
    let two = lost.approve_by(&other, &lost.second);
    let (one, two) = overtaken(&lost.world.test, one, two).await;
    assert_eq!(one.unwrap(), two.unwrap());
    let approvals = "SELECT count(*) AS count FROM audit WHERE act = 'approve_phone_recovery'";
    assert_eq!(lost.world.count(approvals).await, 1);
    let by = "SELECT approved_by::text AS name FROM phone_recovery";
    assert_eq!(lost.world.names(by).await, [id_of(&operator).to_string()]);
    lost.promises().await;
}

/// Without her lock both would approve it, and the second one's word would replace the first's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_it_would_be_approved_twice() {
    let lost = Lost::start("approvals-unlocked").await;
    lost.claimed().await;
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    let id = only(&lost.world).await;
    let by = [lost.world.operator, id_of(&lost.second)];
    let read = async |tx: &Tx| seen(tx, id).await;
    let write = async |tx: &Tx, kept: Kept, which: u128| {
        let by = by[usize::try_from(which).unwrap() - 1];
        let approved = kept.recovery.approve(by, tx.now())?.unwrap();
        store::save(tx, &approved).await?;
        tx.plan(NewDue::new(due::SMS_PHONE_RECOVERY, id, tx.now()));
        tx.audit(AuditRow::system("approve_phone_recovery", id));
        Ok(())
    };
    interleaved(&lost.world, read, write).await.unwrap();
    let approvals = "SELECT count(*) AS count FROM audit WHERE act = 'approve_phone_recovery'";
    assert_eq!(lost.world.count(approvals).await, 2);
}

/// A change of phone that both phones can make.
async fn changing(lost: &Lost) -> [String; 2] {
    lost.advance(61);
    let input = json!({ "phone": NEWER, "idempotencyKey": Uuid::from_u128(1) });
    let asked = lost
        .world
        .mutate(&lost.herself, "requestPhoneChange", "expiresAt", input);
    let asked = asked.await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    lost.world.seal().await;
    let old = lost.world.code(&number_of_phone(1)).await;
    [old, lost.world.code(NEWER).await]
}

async fn change_by(lost: &Lost, ctx: &Ctx, [old, new]: &[String; 2]) -> Result<MemberId> {
    let mut identity = lost.world.identity.clone();
    identity.ctx = ctx.clone();
    let shown = (old.as_str(), new.as_str());
    identity::commands::phone_changes::change_phone(&identity, &lost.herself, shown).await
}

/// She changes her phone by both at the moment an office confirms that she has lost it: a change
/// that is first ends the claim, and one that comes later is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_and_a_confirmation_wait_for_each_other() {
    let lost = Lost::start("change-first").await;
    lost.claimed().await;
    let both = changing(&lost).await;
    let other = lost.world.test.process().await;
    let ctx = &lost.world.identity.ctx;
    let change = change_by(&lost, ctx, &both);
    let (changed, confirmed) = overtaken(&lost.world.test, change, lost.confirm_by(&other)).await;
    changed.unwrap();
    assert_eq!(refused(confirmed), "RECOVERY_NOT_FOUND");
    assert_eq!(lost.state().await, "stopped");
    lost.promises().await;

    let lost = Lost::start("change-late").await;
    lost.claimed().await;
    let both = changing(&lost).await;
    let other = lost.world.test.process().await;
    let ctx = &lost.world.identity.ctx;
    let change = change_by(&lost, &other, &both);
    let (confirmed, changed) = overtaken(&lost.world.test, lost.confirm_by(ctx), change).await;
    confirmed.unwrap();
    assert_eq!(refused(changed), "RECOVERY_WAITS");
    assert!(lost.signs_in(&number_of_phone(1)).await);
    lost.promises().await;
}

/// Without her lock her phone would be changed while somebody says that she has lost it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_a_changed_phone_would_be_recovered() {
    let lost = Lost::start("change-unlocked").await;
    lost.claimed().await;
    let id = only(&lost.world).await;
    let by = id_of(&lost.officer);
    let blind = lost
        .world
        .identity
        .vault
        .blind_phone(&phone(NEWER))
        .unwrap();
    let read = async |tx: &Tx| {
        assert!(!store::is_confirmed(tx, &[lost.member.0]).await?);
        seen(tx, id).await
    };
    let write = async |tx: &Tx, kept: Kept, which: u128| {
        if which == 2 {
            let confirmed = kept.recovery.confirm(by, tx.now())?.unwrap();
            return store::save(tx, &confirmed).await;
        }
        identity::store::login_methods::remove_phone(tx, lost.member).await?;
        let row = NewPhoneRow {
            id: tx.uuid(),
            member: lost.member.0,
            subject: vec![0],
            blind,
        };
        people::insert_phones(tx, vec![row]).await
    };
    interleaved(&lost.world, read, write).await.unwrap();
    assert_eq!(lost.state().await, "confirmed");
    assert!(lost.signs_in(NEWER).await);
}

/// Once somebody has seen her, no other phone is set; before that whatever is set comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_one_keeps_the_phone() {
    let lost = Lost::start("keeps").await;
    lost.claimed().await;
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    let set = async || set_phone(&lost.world, lost.member, NEWER).await;
    assert_eq!(codes(&set().await), ["RECOVERY_WAITS"]);
    lost.advance(61);
    let input = json!({ "phone": NEWER, "idempotencyKey": Uuid::from_u128(1) });
    let asked = lost
        .world
        .mutate(&lost.herself, "requestPhoneChange", "", input);
    assert_eq!(codes(&asked.await), ["RECOVERY_WAITS"]);
    assert_eq!(codes(&lost.recall().await), [""; 0]);
    lost.claimed().await;
    assert_eq!(codes(&set().await), [""; 0]);
    assert_eq!(lost.state().await, "stopped");
    lost.promises().await;
}

/// Who wishes to be forgotten, or holds a role, has no phone recovered; a role that came in the
/// three days keeps the phone as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_and_a_role_come_first() {
    let lost = Lost::start("first").await;
    let shown = lost
        .herself
        .clone()
        .stepped_up(chrono::DateTime::<chrono::Utc>::MAX_UTC);
    lost.claimed().await;
    let wish = erase(&lost.world, &shown, None, 2).await;
    assert_eq!(codes(&wish), [""; 0], "{wish}");
    assert_eq!(codes(&lost.confirm(&lost.officer).await), ["ERASURE_WAITS"]);
    let back = "mutation { recallErasure { userErrors { code } } }";
    let _ = lost.world.run(&lost.herself, back, json!({})).await;
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    let operator = lost.world.as_operator();
    let role = lost.world.grant(lost.member, &lost.union, "AUDITOR").await;
    assert_eq!(codes(&lost.approve(&operator).await), ["FORBIDDEN"]);
    let withdraw = json!({ "roleId": role });
    let withdrawn = lost.world.mutate(&operator, "withdrawRole", "", withdraw);
    assert_eq!(codes(&withdrawn.await), [""; 0]);
    let approved = lost.approve(&operator).await;
    assert_eq!(codes(&approved), [""; 0], "{approved}");
    let _role = lost.world.grant(lost.member, &lost.union, "AUDITOR").await;
    lost.advance(RECOVERY_WAIT_HOURS * 3_600);
    lost.work().await;
    assert_eq!(lost.state().await, "stopped");
    assert!(lost.signs_in(&number_of_phone(1)).await && !lost.signs_in(NEW).await);
    lost.promises().await;
}

/// Approved, and then whoever has the old phone has wished to be forgotten; its time has come.
async fn wished_since(test: &str, state: &str) -> Lost {
    let lost = Lost::start(test).await;
    lost.approved().await;
    let shown = lost
        .herself
        .clone()
        .stepped_up(chrono::DateTime::<chrono::Utc>::MAX_UTC);
    let wish = erase(&lost.world, &shown, None, 2).await;
    assert_eq!(codes(&wish), [""; 0], "{wish}");
    let so_far = format!("UPDATE erasure SET state = '{state}'");
    let db = &lost.world.test.ctx.db;
    assert_eq!(db.execute(&so_far, []).await.unwrap(), 1);
    lost.advance(RECOVERY_WAIT_HOURS * 3_600);
    lost.work().await;
    lost
}

/// A wish that came in the three days may be a thief's, who has the old phone: it is taken back and
/// the new phone is hers. One that services were asked about keeps the phone as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_of_who_has_the_old_phone_keeps_nothing_from_her() {
    let wishes = "SELECT state AS name FROM erasure";
    let lost = wished_since("thief", "asked").await;
    assert_eq!(lost.state().await, "done");
    assert!(lost.signs_in(NEW).await && !lost.signs_in(&number_of_phone(1)).await);
    assert_eq!(lost.world.names(wishes).await, ["recalled"]);
    let on_record = "SELECT count(*) AS count FROM audit
        WHERE act = 'recover_phone' AND detail->>'wish_taken_back' = 'true'";
    assert_eq!(lost.world.count(on_record).await, 1);
    lost.promises().await;

    let lost = wished_since("closing", "closing").await;
    assert_eq!(lost.state().await, "stopped");
    assert!(lost.signs_in(&number_of_phone(1)).await && !lost.signs_in(NEW).await);
    assert_eq!(lost.world.names(wishes).await, ["closing"]);
}

/// A merge waits for a recovery that is confirmed, of either record, and ends one that nobody has
/// confirmed; while it can be undone, none is confirmed.
#[tokio::test]
async fn a_merge_and_a_recovery_come_one_after_the_other() {
    let cast = cast().await;
    let world = &cast.world;
    for member in [cast.survivor, cast.merged] {
        plant(world, member, NEW, Some(world.operator)).await;
        let asked = cast.ask(&world.as_operator()).await;
        assert_eq!(codes(&asked), ["RECOVERY_WAITS"], "{asked}");
        let over = "DELETE FROM phone_recovery";
        world.test.ctx.db.execute(over, []).await.unwrap();
    }
    plant(world, cast.merged, NEW, None).await;
    cast.merge().await;
    let open = "SELECT count(*) AS count FROM phone_recovery WHERE ended_at IS NULL";
    assert_eq!(world.count(open).await, 0);
    cast.assert_invariants().await;
    plant(world, cast.merged, NEW, None).await;
    assert_eq!(world.broken("identity.merged_alone").await, 1);
    let over = "DELETE FROM phone_recovery";
    world.test.ctx.db.execute(over, []).await.unwrap();
    plant(world, cast.survivor, NEW, None).await;
    let input = json!({ "memberId": global(cast.survivor), "phone": NEW,
        "documentType": "PASSPORT", "documentNumber": crate::merges::PASSPORT });
    let operator = world.as_operator();
    let confirmed = world.mutate(&operator, "confirmPhoneRecovery", "", input);
    assert_eq!(codes(&confirmed.await), ["MERGE_WAITS"]);
    let split = cast.split(&cast.second).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    assert_eq!(world.count(open).await, 0);
    cast.assert_invariants().await;
}

/// The invariants see what the table's own checks keep out.
#[tokio::test]
async fn the_promises_see_one_that_one_person_carried() {
    let (world, member) = crate::consents::member().await;
    let owner = world.test.owner().await;
    for check in ["by_two", "of_others", "in_time"] {
        let sql = format!("ALTER TABLE phone_recovery DROP CONSTRAINT phone_recovery_{check}");
        owner.execute(&sql, []).await.unwrap();
    }
    let by_two = "identity.recoveries_by_two";
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let other = world.person(&union, 2).await;
    let good = (world.operator, other, "2026-04-05");
    for (seen, (by, second, ended)) in [
        good,
        (world.operator, other, "2026-04-02"),
        (other, other, "2026-04-05"),
        (member, other, "2026-04-05"),
        (other, member, "2026-04-05"),
    ]
    .into_iter()
    .enumerate()
    {
        let sql = format!(
            "INSERT INTO phone_recovery (id, member, state, asked_at, expires_at, confirmed_by,
               confirmed_at, approved_by, approved_at, due_at, ended_at)
             VALUES (gen_random_uuid(), '{member}', 'done', '2026-04-01', '2026-04-04', '{by}',
               '2026-04-01', '{second}', '2026-04-01', '2026-04-04', '{ended}')"
        );
        world.test.ctx.db.execute(&sql, []).await.unwrap();
        assert_eq!(world.broken(by_two).await, seen, "{by} {second} {ended}");
    }
    plant(&world, member, NEW, None).await;
    assert_eq!(world.broken("identity.recoveries_end").await, 1);
}
