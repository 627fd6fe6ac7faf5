//! Migrations run once, in order, as the owner; the role that serves changes no table and no
//! audit row.

use kit::migrate::{self, KIT, Migration};
use kit::testing::{self, TestDb};
use kit::{Ctx, Db};

use crate::world::THINGS;

async fn refused(db: &Db, sql: &str) -> String {
    let error = db.execute(sql, []).await.expect_err(sql);
    error.sqlstate().unwrap_or_default()
}

async fn migrated() -> TestDb {
    testing::db("alpha", &[KIT, THINGS]).await
}

/// Run again, they do nothing; a new one at the end is run; an edited one is refused, and so is
/// everything after it.
#[tokio::test]
async fn migrations_run_once() {
    let test = migrated().await;
    let owner = test.owner().await;
    let known = [KIT, THINGS].concat();
    assert!(migrate::run(&owner, &known).await.unwrap().is_empty());
    let more = Migration {
        name: "more",
        sql: "CREATE TABLE more (id int)",
    };
    let with_more = [&known[..], &[more]].concat();
    assert_eq!(migrate::run(&owner, &with_more).await.unwrap(), ["more"]);
    test.ctx
        .db
        .execute("INSERT INTO more VALUES (1)", [])
        .await
        .unwrap();
    let edited = Migration {
        name: "more",
        sql: "CREATE TABLE more (id bigint)",
    };
    let error = migrate::run(&owner, &[edited])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("more was edited after it had run"),
        "{error}"
    );
}

/// One that fails leaves nothing behind, not even what ran before it.
#[tokio::test]
async fn a_failing_migration_leaves_nothing() {
    let test = migrated().await;
    let owner = test.owner().await;
    let broken = [
        Migration {
            name: "half",
            sql: "CREATE TABLE half (id int)",
        },
        Migration {
            name: "broken",
            sql: "CREATE TABLE broken (id int); SELECT 1 / 0",
        },
    ];
    assert!(migrate::run(&owner, &broken).await.is_err());
    assert_eq!(refused(&owner, "SELECT * FROM half").await, "42P01");
}

/// Two processes that migrate at once: one does, the other finds it done.
#[tokio::test]
async fn two_migrations_at_once() {
    let test = migrated().await;
    let (one, other) = (test.owner().await, test.owner().await);
    let more = [Migration {
        name: "more",
        sql: "CREATE TABLE more (id int)",
    }];
    let (first, second) = tokio::join!(migrate::run(&one, &more), migrate::run(&other, &more));
    assert_eq!(first.unwrap().len() + second.unwrap().len(), 1);
}

/// The role that serves: rows yes, tables no, audit rows and their seals only added, migrations
/// only read.
/// ASVS V13.2.2.
#[tokio::test]
async fn the_application_changes_no_table_and_no_audit_row() {
    let test = migrated().await;
    let Ctx { db, .. } = &test.ctx;
    let insert = "INSERT INTO audit (act, subject, detail, at) VALUES ('a', 's', '{}', now())";
    db.execute(insert, []).await.unwrap();
    for sql in [
        "SELECT * FROM migration",
        "INSERT INTO audit_seal VALUES (1, 1, sha256('a'))",
        "INSERT INTO audit_head VALUES (1, sha256('a'), now())",
        "UPDATE audit_sealer SET last_id = 0",
    ] {
        db.execute(sql, []).await.unwrap();
    }
    db.execute("INSERT INTO thing VALUES (gen_random_uuid(), 1)", [])
        .await
        .unwrap();
    for sql in [
        "INSERT INTO audit (act, subject, detail, at, xid) VALUES ('a', 's', '{}', now(), '3')",
        "INSERT INTO audit (id, act, subject, detail, at) OVERRIDING SYSTEM VALUE
         VALUES (0, 'a', 's', '{}', now())",
        "UPDATE audit SET act = 'b'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "UPDATE audit_seal SET hash = sha256('b')",
        "DELETE FROM audit_seal",
        "TRUNCATE audit_seal",
        "UPDATE audit_head SET hash = sha256('b')",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "INSERT INTO audit_sealer (s1) VALUES ('3:3:')",
        "DELETE FROM audit_sealer",
        "TRUNCATE audit_sealer",
        "TRUNCATE thing",
        "INSERT INTO migration (name, checksum) VALUES ('x', '')",
        "DELETE FROM migration",
        "CREATE TABLE mine (id int)",
        "ALTER TABLE thing ADD COLUMN more int",
        "DROP TABLE thing",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "CREATE ROLE another",
    ] {
        assert_eq!(refused(db, sql).await, "42501", "{sql}");
    }
}
