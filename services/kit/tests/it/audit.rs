//! The audit chain: rows are sealed in the order of their commits, each once, whoever else seals
//! and whoever dies; whoever touches the chain is found; privileged acts wait for a sealer that
//! lags.

use chrono::TimeDelta;
use kit::audit::chain::{Entry, Head, VECTOR, vector};
use kit::audit::seal::{self, HEAD_SECONDS, ROWS_MAX};
use kit::audit::walk::{Broken, Fault, Walked, heads, walk};
use kit::audit::{AuditRow, LAG_SECONDS_MAX, oldest_unsealed, require_sealing, unsealed_since};
use kit::bus::Defect;
use kit::graphql::{Language, to_graphql};
use kit::migrate::KIT;
use kit::testing::{self, TestDb};
use kit::{Ctx, Error, Result, verify};
use prost::Message;
use sea_orm::{ConnectionTrait, FromQueryResult, TransactionTrait};

pub(crate) async fn database() -> TestDb {
    testing::db("alpha", &[KIT]).await
}

/// Somebody does something.
pub(crate) async fn act(ctx: &Ctx, subject: &str) {
    let row = AuditRow::system("act", subject);
    let acted = ctx.db.tx("act", async |tx| {
        tx.audit(row.clone());
        Ok(())
    });
    acted.await.unwrap();
}

pub(crate) async fn seal_all(ctx: &Ctx) {
    while seal::step(ctx).await.unwrap() > 0 {}
}

/// Something that needs a record which nobody edits afterwards.
pub(crate) async fn privileged(ctx: &Ctx) -> Result<()> {
    let act = ctx.db.tx("privileged", async |tx| {
        require_sealing(tx).await?;
        tx.audit(AuditRow::system("privileged", "it"));
        Ok(())
    });
    act.await
}

/// The subjects of the rows in the order in which they were sealed.
pub(crate) async fn sealed(ctx: &Ctx) -> Vec<String> {
    #[derive(FromQueryResult)]
    struct Row {
        subject: String,
    }
    let sql = "SELECT a.subject FROM audit_seal c JOIN audit a ON a.id = c.audit
               ORDER BY c.position";
    let rows: Vec<Row> = ctx.db.all(sql, []).await.unwrap();
    rows.into_iter().map(|row| row.subject).collect()
}

/// The chain against the heads that the database remembers.
pub(crate) async fn walked(ctx: &Ctx) -> Walked {
    let known = heads(&ctx.db).await.unwrap();
    walk(&ctx.db, &known, |_| {}).await.unwrap()
}

/// The invariants of the whole chain that do not hold.
pub(crate) async fn violated(ctx: &Ctx) -> Vec<&'static str> {
    let mut ids = Vec::new();
    for one in verify::CHASSIS {
        if !one.id.starts_with("kit.audit") {
            continue;
        }
        let found = verify::check_whole(&ctx.db, one).await.unwrap();
        if !found.is_empty() {
            ids.push(one.id);
        }
    }
    ids
}

/// A row whose transaction began first and commits last is sealed last: it is neither skipped, as
/// by who goes on from the last id, nor put before what was sealed already.
#[tokio::test]
async fn what_commits_late_is_sealed_late_and_not_skipped() {
    let test = database().await;
    let ctx = &test.ctx;
    act(ctx, "first").await;
    let open = ctx.db.pool().begin().await.unwrap();
    let late = "INSERT INTO audit (act, subject, detail, at) VALUES ('act', 'late', '{}', now())";
    open.execute_unprepared(late).await.unwrap();
    act(ctx, "early").await;
    seal_all(ctx).await;
    assert_eq!(sealed(ctx).await, ["first", "early"]);
    act(ctx, "beside").await;
    seal_all(ctx).await;
    open.commit().await.unwrap();
    #[derive(FromQueryResult)]
    struct Count {
        above: i64,
    }
    let above = "SELECT count(*) AS above FROM audit a WHERE a.subject = 'late'
                 AND a.id > (SELECT max(c.audit) FROM audit_seal c)";
    let above = ctx.db.one::<Count>(above, []).await.unwrap().unwrap();
    assert_eq!(above.above, 0, "who goes on from the last id would skip it");
    seal_all(ctx).await;
    assert_eq!(sealed(ctx).await, ["first", "early", "beside", "late"]);
    assert_eq!(walked(ctx).await.broken, None);
    assert!(violated(ctx).await.is_empty());
}

/// A backlog is sealed piece by piece, and what comes meanwhile after it.
#[tokio::test]
async fn a_backlog_is_sealed_in_pieces() {
    let test = database().await;
    let ctx = &test.ctx;
    let rows = 2 * ROWS_MAX + 500;
    let many = format!(
        "INSERT INTO audit (act, subject, detail, at)
         SELECT 'act', n::text, '{{}}', '2026-04-01T02:00:00Z' FROM generate_series(1, {rows}) n"
    );
    ctx.db.execute(&many, []).await.unwrap();
    let most = usize::try_from(ROWS_MAX).unwrap();
    assert_eq!(seal::step(ctx).await.unwrap(), most);
    act(ctx, "after").await;
    assert_eq!(seal::step(ctx).await.unwrap(), most);
    assert_eq!(seal::step(ctx).await.unwrap(), 500);
    assert_eq!(seal::step(ctx).await.unwrap(), 1);
    assert_eq!(seal::step(ctx).await.unwrap(), 0);
    let mut wanted: Vec<String> = (1..=rows).map(|n| n.to_string()).collect();
    wanted.push("after".to_owned());
    assert_eq!(sealed(ctx).await, wanted);
    let whole = walked(ctx).await;
    assert_eq!((whole.head.position, whole.broken), (rows + 1, None));
}

/// Half of a backlog is sealed: of the rest the guard knows.
#[tokio::test]
async fn the_guard_counts_what_is_left_of_a_piece() {
    let test = database().await;
    let ctx = &test.ctx;
    let many = format!(
        "INSERT INTO audit (act, subject, detail, at)
         SELECT 'act', n::text, '{{}}', '2026-04-01T02:00:00Z'::timestamptz + n * interval '1 s'
         FROM generate_series(1, {ROWS_MAX} + 1) n"
    );
    ctx.db.execute(&many, []).await.unwrap();
    assert!(seal::step(ctx).await.unwrap() > 0);
    let last = testing::start() + TimeDelta::seconds(ROWS_MAX + 1);
    assert_eq!(oldest_unsealed(&ctx.db).await.unwrap(), Some(last));
    seal_all(ctx).await;
    assert_eq!(oldest_unsealed(&ctx.db).await.unwrap(), None);
}

/// Whoever tells the sealer that all is sealed is found all the same: the newest row that is old
/// enough has no seal.
#[tokio::test]
async fn a_sealer_that_was_lied_to_is_found() {
    let test = database().await;
    let ctx = &test.ctx;
    act(ctx, "sealed").await;
    seal_all(ctx).await;
    act(ctx, "hidden").await;
    let lie = "UPDATE audit_sealer SET floor_id = 1000000";
    ctx.db.execute(lie, []).await.unwrap();
    let at = ctx.clock.now();
    ctx.clock.advance(TimeDelta::seconds(LAG_SECONDS_MAX));
    assert_eq!(
        unsealed_since(&ctx.db, ctx.clock.now()).await.unwrap(),
        None
    );
    ctx.clock.advance(TimeDelta::seconds(1));
    assert_eq!(
        oldest_unsealed(&ctx.db).await.unwrap(),
        None,
        "it believes the lie"
    );
    let found = unsealed_since(&ctx.db, ctx.clock.now()).await.unwrap();
    assert_eq!(found, Some(at));
    let truth = "UPDATE audit_sealer SET floor_id = 0";
    ctx.db.execute(truth, []).await.unwrap();
    seal_all(ctx).await;
    assert_eq!(
        unsealed_since(&ctx.db, ctx.clock.now()).await.unwrap(),
        None
    );
}

/// A process that dies before or after its commit is followed by one that seals each row once.
#[tokio::test]
async fn a_crash_seals_nothing_twice() {
    let test = database().await;
    let ctx = &test.ctx;
    for (n, point) in ["tx.before_commit", "tx.committed"].into_iter().enumerate() {
        act(ctx, &n.to_string()).await;
        ctx.db.faults().crash_in("audit_seal", point, 0);
        assert!(seal::step(ctx).await.is_err(), "{point} was not passed");
        seal_all(ctx).await;
    }
    assert_eq!(sealed(ctx).await, ["0", "1"]);
    assert_eq!(walked(ctx).await.broken, None);
}

/// One of two sealers waits for the other, and finds nothing left to do.
#[tokio::test]
async fn two_sealers_seal_one_after_the_other() {
    let test = database().await;
    let (one, other) = (test.ctx.clone(), test.process().await);
    let watcher = test.superuser().await;
    act(&one, "it").await;
    let hold = one.db.faults().hold_at("tx.before_commit");
    let first = seal::step(&one);
    let second = async {
        hold.reached().await;
        seal::step(&other).await
    };
    let releasing = async {
        while !someone_waits(&test, &watcher).await {
            tokio::task::yield_now().await;
        }
        hold.release();
    };
    let (first, second, ()) = tokio::join!(first, second, releasing);
    assert_eq!((first.unwrap(), second.unwrap()), (1, 0));
    assert_eq!(sealed(&one).await, ["it"]);
    assert_eq!(walked(&one).await.broken, None);
}

/// Without the lock both seal the same row, and only the table keeps the second one out.
#[tokio::test]
async fn two_sealers_without_the_lock_meet_at_the_table() {
    let test = database().await;
    let (one, other) = (test.ctx.clone(), test.process().await);
    for ctx in [&one, &other] {
        ctx.db.faults().switch_on(Defect::SealUnlocked);
    }
    act(&one, "it").await;
    let hold = one.db.faults().hold_at("tx.before_commit");
    let second = async {
        hold.reached().await;
        let sealed = seal::step(&other).await;
        hold.release();
        sealed
    };
    let (first, second) = tokio::join!(seal::step(&one), second);
    assert_eq!(second.unwrap(), 1);
    let error = first.expect_err("both sealed it");
    assert_eq!(error.sqlstate().as_deref(), Some("23505"), "{error:?}");
    assert_eq!(sealed(&one).await, ["it"]);
}

async fn someone_waits(test: &TestDb, watcher: &kit::Db) -> bool {
    #[derive(FromQueryResult)]
    struct Count {
        n: i64,
    }
    let sql = "SELECT count(*) AS n FROM pg_stat_activity
               WHERE datname = $1 AND wait_event_type = 'Lock'";
    let count = watcher.one::<Count>(sql, [test.name().into()]).await;
    count.unwrap().unwrap().n > 0
}

/// While rows wait too long for their seal a privileged act is refused, with a code of its own in
/// both languages; everything else goes on, and so does it once they are sealed.
#[tokio::test]
async fn privileged_acts_wait_for_the_sealer() {
    let test = database().await;
    let ctx = &test.ctx;
    privileged(ctx).await.unwrap();
    ctx.clock.advance(TimeDelta::seconds(LAG_SECONDS_MAX));
    privileged(ctx).await.unwrap();
    ctx.clock.advance(TimeDelta::seconds(1));
    let refused = privileged(ctx).await;
    assert!(matches!(refused, Err(Error::AuditLags)), "{refused:?}");
    act(ctx, "another").await;
    for (language, part) in [(Language::Zh, "封存"), (Language::En, "not sealed")] {
        let said = to_graphql(Error::AuditLags, language);
        assert!(said.message.contains(part), "{}", said.message);
        let code = said.extensions.and_then(|all| all.get("code").cloned());
        assert_eq!(code, Some("AUDIT_LAGS".into()));
    }
    assert!(Error::AuditLags.is_transient());
    seal_all(ctx).await;
    privileged(ctx).await.unwrap();
}

/// With the guard off it is done however long nothing was sealed.
#[tokio::test]
async fn an_unguarded_act_is_done_while_nothing_is_sealed() {
    let test = database().await;
    let ctx = &test.ctx;
    act(ctx, "it").await;
    ctx.clock.advance(TimeDelta::seconds(LAG_SECONDS_MAX + 1));
    assert!(privileged(ctx).await.is_err());
    ctx.db.faults().switch_on(Defect::PrivilegedUnsealed);
    privileged(ctx).await.unwrap();
    assert_eq!(violated(ctx).await, ["kit.audit_sealed"]);
    let unsealed = walked(ctx).await.broken.map(|broken| broken.fault);
    assert_eq!(unsealed, Some(Fault::Unsealed));
}

/// A head is published once a minute, and only of a chain that has grown.
#[tokio::test]
async fn heads_are_published_at_their_time() {
    let test = database().await;
    let ctx = &test.ctx;
    let minute = TimeDelta::seconds(HEAD_SECONDS);
    seal_all(ctx).await;
    assert!(published(ctx).await.is_empty(), "of an empty chain");
    act(ctx, "one").await;
    seal_all(ctx).await;
    act(ctx, "two").await;
    seal_all(ctx).await;
    assert_eq!(positions(ctx).await, [1]);
    ctx.clock.advance(minute);
    seal_all(ctx).await;
    assert_eq!(positions(ctx).await, [1, 2]);
    ctx.clock.advance(minute);
    seal_all(ctx).await;
    assert_eq!(
        positions(ctx).await,
        [1, 2],
        "of a chain that has not grown"
    );
    let said = published(ctx).await;
    let known: Vec<Head> = said.iter().map(head_of).collect();
    assert_eq!(known, heads(&ctx.db).await.unwrap());
    assert_eq!((said[1].union, said[1].service.as_str()), (50, "alpha"));
}

async fn positions(ctx: &Ctx) -> Vec<i64> {
    published(ctx)
        .await
        .iter()
        .map(|one| one.position)
        .collect()
}

fn head_of(said: &proto::v1::AuditHeadSealed) -> Head {
    Head::of(said.position, &said.hash).unwrap()
}

async fn published(ctx: &Ctx) -> Vec<proto::v1::AuditHeadSealed> {
    #[derive(FromQueryResult)]
    struct Row {
        payload: Vec<u8>,
    }
    let sql = "SELECT payload FROM outbox WHERE kind = 'bashu.v1.AuditHeadSealed' ORDER BY id";
    let rows: Vec<Row> = ctx.db.all(sql, []).await.unwrap();
    let decode = |row: &Row| proto::v1::AuditHeadSealed::decode(row.payload.as_slice()).unwrap();
    rows.iter().map(decode).collect()
}

/// The rows of the vector as the table has them give the hashes of the vector, here and in SQL.
#[tokio::test]
async fn the_table_gives_the_pinned_hashes() {
    let test = database().await;
    let ctx = &test.ctx;
    // The role that serves gives no row its number.
    let owner = test.owner().await;
    for row in vector() {
        let Entry {
            id,
            member,
            login,
            act,
            subject,
            detail,
            at,
        } = row;
        let sql = "INSERT INTO audit (id, member, login, act, subject, detail, at)
                   OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7)";
        let values = [
            id.into(),
            member.into(),
            login.into(),
            act.into(),
            subject.into(),
            detail.into(),
            at.into(),
        ];
        owner.execute(sql, values).await.unwrap();
    }
    seal_all(ctx).await;
    #[derive(FromQueryResult)]
    struct Row {
        hash: String,
    }
    let sql = "SELECT encode(c.hash, 'hex') AS hash FROM audit_seal c ORDER BY c.position";
    let rows: Vec<Row> = ctx.db.all(sql, []).await.unwrap();
    let hashes: Vec<&str> = rows.iter().map(|row| row.hash.as_str()).collect();
    assert_eq!(hashes, VECTOR);
    assert!(violated(ctx).await.is_empty(), "SQL reads the same bytes");
}

/// Gives each row its seal anew, as somebody would who can write everything.
const CHAINED_ANEW: &str = "UPDATE audit_seal SET hash = sha256(hash || '\\x00'::bytea)";

/// Whoever can write everything still cannot touch the chain without being found, and at the first
/// place that was touched: by the chain alone, or against the heads that were published.
/// ASVS V16.4.2.
#[tokio::test]
async fn every_damage_is_found_where_it_is() {
    let at = |position, audit, fault| Broken {
        position,
        audit,
        fault,
    };
    let damages: [(&str, Broken, &[&str]); 8] = [
        (
            "UPDATE audit SET subject = '3x' WHERE subject = '3'",
            at(3, Some(3), Fault::HashDiffers),
            &["kit.audit_chain_hash"],
        ),
        (
            "UPDATE audit SET at = at + interval '1 microsecond' WHERE subject = '5'",
            at(5, Some(5), Fault::HashDiffers),
            &["kit.audit_chain_hash"],
        ),
        (
            "DELETE FROM audit WHERE subject = '4'",
            at(4, Some(4), Fault::RowMissing),
            &["kit.audit_chain_dense"],
        ),
        (
            "DELETE FROM audit_seal WHERE position = 2",
            at(2, None, Fault::SealMissing),
            &["kit.audit_chain_dense", "kit.audit_chain_hash"],
        ),
        (
            "UPDATE audit a SET subject = b.subject FROM audit b
             WHERE a.subject IN ('2', '6') AND b.subject IN ('2', '6') AND a.id <> b.id",
            at(2, Some(2), Fault::HashDiffers),
            &["kit.audit_chain_hash"],
        ),
        (
            "UPDATE audit_seal SET hash = set_byte(hash, 0, 1 - get_byte(hash, 0) % 2)
             WHERE position = 6",
            at(6, Some(6), Fault::HashDiffers),
            &["kit.audit_chain_hash"],
        ),
        (
            "DELETE FROM audit_seal WHERE position > 5",
            at(6, None, Fault::CutShort),
            &["kit.audit_head_stands"],
        ),
        (
            CHAINED_ANEW,
            at(1, Some(1), Fault::HashDiffers),
            &["kit.audit_chain_hash", "kit.audit_head_stands"],
        ),
    ];
    for (damage, wanted, broken) in damages {
        let test = database().await;
        let ctx = &test.ctx;
        for n in 1..=7 {
            act(ctx, &n.to_string()).await;
        }
        seal_all(ctx).await;
        assert_eq!(walked(ctx).await.broken, None);
        test.owner().await.execute(damage, []).await.unwrap();
        assert_eq!(walked(ctx).await.broken, Some(wanted), "{damage}");
        assert_eq!(violated(ctx).await, broken, "{damage}");
    }
}

/// A chain that was written anew as a whole, remembered heads and all, is sound in itself; the
/// heads that others heard of give it away.
#[tokio::test]
async fn a_chain_written_anew_is_not_the_one_that_was_published() {
    let test = database().await;
    let ctx = &test.ctx;
    for n in 1..=3 {
        act(ctx, &n.to_string()).await;
    }
    seal_all(ctx).await;
    let heard: Vec<Head> = published(ctx).await.iter().map(head_of).collect();
    let owner = test.owner().await;
    for sql in [
        "UPDATE audit SET subject = 'nobody' WHERE subject = '2'",
        "DELETE FROM audit_seal",
        "DELETE FROM audit_head",
        "UPDATE audit_sealer SET s1 = '3:3:', s2 = NULL, last_id = 0",
    ] {
        owner.execute(sql, []).await.unwrap();
    }
    seal_all(ctx).await;
    assert_eq!(sealed(ctx).await, ["1", "nobody", "3"]);
    assert_eq!(walked(ctx).await.broken, None);
    assert!(violated(ctx).await.is_empty());
    let broken = walk(&ctx.db, &heard, |_| {}).await.unwrap().broken;
    let wanted = Broken {
        position: 3,
        audit: Some(3),
        fault: Fault::HeadDiffers,
    };
    assert_eq!(broken, Some(wanted));
}
