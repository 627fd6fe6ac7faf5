//! The operator's view of the audit chain: a touched chain is named with its place, one that was
//! written anew is found by the heads in the topic, and who looks into the rows is on record.

use kit::audit::AuditRow;
use kit::audit::seal;
use kit::relay::Relay;
use kit::{Ctx, Ids};
use serde_json::Value;
use uuid::Uuid;

use crate::world::{Ran, World};

/// Somebody did this, sealed and its head published.
async fn acted(world: &World, acts: &[(Option<Uuid>, &'static str, &str)]) -> Ctx {
    let ctx = world.ctx("billing").await;
    for (member, act, subject) in acts {
        let row = AuditRow {
            member: *member,
            ..AuditRow::system(act, subject)
        };
        let acted = ctx.db.tx("act", async |tx| {
            tx.audit(row.clone());
            Ok(())
        });
        acted.await.unwrap();
    }
    sealed(&ctx).await;
    let mut relay = Relay::new(ctx.clone(), world.bus());
    while relay.step().await.unwrap() == 0 {}
    ctx
}

async fn sealed(ctx: &Ctx) {
    while seal::step(ctx).await.unwrap() > 0 {}
}

/// What is said of billing's chain.
fn chain(ran: &Ran) -> Value {
    let report = ran.json();
    let chains = report.as_array().unwrap();
    let found = chains.iter().find(|one| one["service"] == "billing");
    found.unwrap().clone()
}

/// A sound chain is compared with its heads; a row that was changed afterwards is named, to people
/// in their language, and the exit code says so. Before the last head that others witnessed that
/// takes `--whole`: the quick look says how many rows it did not look at.
#[tokio::test]
async fn a_touched_row_is_named() {
    let world = World::ready().await;
    let acts = [(None, "one", "a"), (None, "two", "b"), (None, "three", "c")];
    acted(&world, &acts).await;
    let rows: i64 = world
        .ask("billing", "SELECT count(*) FROM audit")
        .await
        .parse()
        .unwrap();
    let ran = world.bashu(&["audit", "verify"]).await;
    assert_eq!(ran.code, 0, "{} {}", ran.out, ran.err);
    assert_eq!(ran.json().as_array().unwrap().len(), 4);
    let sound = chain(&ran);
    assert_eq!(sound["position"], rows, "{sound}");
    assert_eq!(sound["heads"], 2, "one of the database, one of the topic");
    assert!(sound["broken"].is_null(), "{sound}");

    let place = "SELECT c.position FROM audit_seal c JOIN audit a ON a.id = c.audit
                 WHERE a.act = 'two'";
    let place = world.ask("billing", place).await;
    let touch = "UPDATE audit SET subject = 'nobody' WHERE act = 'two'";
    world.plant("billing", touch).await;
    let quick = world.bashu(&["audit", "verify"]).await;
    assert_eq!(quick.code, 0, "{} {}", quick.out, quick.err);
    assert_eq!(chain(&quick)["unseen"], rows);
    for (lang, words) in [
        ("zh_CN.UTF-8", format!("前 {rows} 条未核对")),
        (
            "en_US.UTF-8",
            format!("the first {rows} were not looked at"),
        ),
    ] {
        let ran = world.bashu_plain(&["audit", "verify"], lang).await;
        assert!(ran.out.contains(&words), "{}", ran.out);
    }
    let whole = ["audit", "verify", "--whole"];
    let ran = world.bashu(&whole).await;
    assert_eq!(ran.code, 1, "{} {}", ran.out, ran.err);
    assert_eq!(chain(&ran)["unseen"], 0);
    let broken = chain(&ran)["broken"].clone();
    assert_eq!(broken["code"], "HASH_DIFFERS");
    assert_eq!(broken["position"].to_string(), place);
    for (lang, words) in [
        ("zh_CN.UTF-8", format!("位置 {place}")),
        ("en_US.UTF-8", format!("BROKEN at position {place}")),
    ] {
        let ran = world.bashu_plain(&whole, lang).await;
        assert_eq!(ran.code, 1);
        assert!(ran.out.contains(&words), "{}", ran.out);
    }
    let quick = ["verify", "--settle", "0"];
    for arguments in [quick.to_vec(), [&quick[..], &["--whole"][..]].concat()] {
        let report = world.bashu(&arguments).await.json();
        let all = report["broken"].as_array().unwrap();
        let found = all.iter().any(|one| one["id"] == "kit.audit_chain_hash");
        assert_eq!(found, report["whole"] == true, "{report}");
        assert_eq!(found, arguments.contains(&"--whole"), "{report}");
    }
    let other = ["audit", "verify", "--whole", "--service", "passes"];
    assert_eq!(world.bashu(&other).await.code, 0, "another's is sound");
}

/// Who can write the whole database writes the chain anew, and its heads. The topic remembers, and
/// so does whoever kept a head.
/// ASVS V16.4.3.
#[tokio::test]
async fn a_chain_written_anew_is_found_by_what_others_heard() {
    let world = World::ready().await;
    let ctx = acted(&world, &[(None, "one", "a"), (None, "two", "b")]).await;
    let head = "SELECT 'billing:' || position || ':' || encode(hash, 'hex') FROM audit_head";
    let kept = world.ask("billing", head).await;
    for sql in [
        "UPDATE audit SET subject = 'nobody' WHERE act = 'two'",
        "DELETE FROM audit_seal",
        "DELETE FROM audit_head",
        "UPDATE audit_sealer SET s1 = '3:3:', s2 = NULL, last_id = 0",
    ] {
        world.plant("billing", sql).await;
    }
    sealed(&ctx).await;
    let alone = ["audit", "verify", "--without-topics"];
    let ran = world.bashu(&alone).await;
    assert_eq!(
        ran.code, 0,
        "it is sound in itself: {} {}",
        ran.out, ran.err
    );
    let with_kept = [&alone[..], &["--head", &kept]].concat();
    for arguments in [&["audit", "verify"][..], &with_kept] {
        let ran = world.bashu(arguments).await;
        assert_eq!(ran.code, 1, "{arguments:?}: {} {}", ran.out, ran.err);
        assert_eq!(chain(&ran)["broken"]["code"], "HEAD_DIFFERS");
    }
    let wrong = ["audit", "verify", "--head", "billing:1:ab"];
    assert_eq!(world.bashu(&wrong).await.code, 2, "it is no head");
}

/// After a restore to an earlier instant the topic knows of a head that the chain does not reach:
/// that is said as it is, with what it means, and after `bashu restored` with what that has done.
#[tokio::test]
async fn a_chain_that_went_back_in_time_is_explained() {
    let world = World::ready().await;
    let acts = [(None, "one", "a"), (None, "two", "b"), (None, "three", "c")];
    let ctx = acted(&world, &acts).await;
    for sql in [
        "DELETE FROM audit_seal WHERE position > 1",
        "DELETE FROM audit a WHERE NOT EXISTS (SELECT 1 FROM audit_seal c WHERE c.audit = a.id)",
        "DELETE FROM audit_head",
    ] {
        world.plant("billing", sql).await;
    }
    let verify = ["audit", "verify", "--service", "billing"];
    let explained = async |zh: &str, en: &str| {
        let ran = world.bashu(&verify).await;
        assert_eq!(ran.code, 1, "{} {}", ran.out, ran.err);
        let broken = chain(&ran)["broken"].clone();
        assert_eq!(broken["code"], "CUT_SHORT");
        let said = &broken["explanation"];
        assert!(said["zh"].as_str().unwrap().contains(zh), "{broken}");
        assert!(said["en"].as_str().unwrap().contains(en), "{broken}");
        let ran = world.bashu_plain(&verify, "zh_CN.UTF-8").await;
        assert!(ran.out.contains(zh), "{}", ran.out);
    };
    explained("请运行 bashu restored", "run bashu restored").await;
    let restored = ["restored", "billing", "--yes"];
    world.bashu(&restored).await.well();
    sealed(&ctx).await;
    explained("自位置 2 接续", "goes on at position 2").await;
    let alone = [&verify[..], &["--without-topics"][..]].concat();
    assert_eq!(world.bashu(&alone).await.code, 0, "the rest is sound");
}

/// The subjects of what was found.
async fn found(world: &World, filters: &[&str]) -> Vec<String> {
    let arguments = [&["audit", "search", "--service", "billing"][..], filters].concat();
    let rows = world.bashu(&arguments).await.well();
    let subject = |row: &Value| row["subject"].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(subject).collect()
}

/// Rows are found by who, what, to what and when, newest first; that somebody looked is a row too.
#[tokio::test]
async fn rows_are_found_and_who_looked_is_on_record() {
    let world = World::ready().await;
    let mut bytes = [0; 16];
    Ids::random().fill(&mut bytes);
    let somebody = Uuid::from_bytes(bytes);
    let acts = [
        (Some(somebody), "pay", "first"),
        (None, "pay", "second"),
        (Some(somebody), "cancel", "third"),
    ];
    acted(&world, &acts).await;
    let old = "INSERT INTO audit (act, subject, detail, at)
               VALUES ('pay', 'old', '{}', '2026-04-01T00:00:00+08:00')";
    world.plant("billing", old).await;
    let member = somebody.to_string();
    assert_eq!(
        found(&world, &["--member", &member]).await,
        ["third", "first"]
    );
    let both = ["--member", &member, "--act", "pay"];
    assert_eq!(found(&world, &both).await, ["first"]);
    let pay = ["--act", "pay"];
    assert_eq!(found(&world, &pay).await, ["old", "second", "first"]);
    assert_eq!(found(&world, &["--subject", "second"]).await, ["second"]);
    let day = [
        "--act",
        "pay",
        "--since",
        "2026-04-01",
        "--until",
        "2026-04-02",
    ];
    assert_eq!(found(&world, &day).await, ["old"]);
    let before = ["--act", "pay", "--until", "2026-03-31T15:59:59Z"];
    assert!(found(&world, &before).await.is_empty());
    let one = ["--act", "pay", "--rows", "1"];
    assert_eq!(found(&world, &one).await, ["old"]);

    let looked = "SELECT count(*) FROM audit WHERE act = 'search_audit'
                  AND detail ->> 'by' = 'tester' AND detail ->> 'act' = 'pay'";
    assert_eq!(world.ask("billing", looked).await, "5");
    let plain = ["audit", "search", "--act", "cancel"];
    for (lang, words) in [("zh_CN.UTF-8", "行为"), ("en_US.UTF-8", "subject")] {
        let ran = world.bashu_plain(&plain, lang).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(
            ran.out.contains(words) && ran.out.contains(&member),
            "{}",
            ran.out
        );
    }
    let wrong = ["audit", "search", "--member", "13900000001"];
    assert_eq!(world.bashu(&wrong).await.code, 2);
}
