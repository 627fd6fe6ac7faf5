//! The vault in the database: what another key, another row or a curious reader gets out of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::Identity;
use kit::replica::Roots;
use sea_orm::FromQueryResult;
use serde_json::json;

use crate::world::{World, name, number, number_of_phone, settings};

/// Another key of any kind refuses to start, and the right ones start again.
#[tokio::test]
async fn other_keys_do_not_start() {
    let world = World::new().await;
    let start = |change: fn(&mut identity::Settings)| {
        let mut settings = settings("http://127.0.0.1:9");
        change(&mut settings);
        let ctx = world.test.ctx.clone();
        let identity = Identity::new(ctx, settings, Roots::new(), 1).unwrap();
        async move { identity.open().await }
    };
    let other = || STANDARD.encode([200; 32]).into();
    assert!(start(|_| ()).await.is_ok());
    let kek = start(|it| it.kek = STANDARD.encode([200; 32]).into()).await;
    assert!(kek.unwrap_err().to_string().contains("identity.kek"));
    let blind = start(|it| it.blind_index_key = STANDARD.encode([200; 32]).into()).await;
    assert!(blind.unwrap_err().to_string().contains("blind_index_key"));
    assert!(
        start(|it| it.code_key = STANDARD.encode([200; 32]).into())
            .await
            .is_err()
    );
    assert!(
        start(|it| it.idtag_key = STANDARD.encode([200; 32]).into())
            .await
            .is_err()
    );
    let bad = identity::Settings {
        kek: "short".into(),
        ..settings("x")
    };
    let refused = Identity::new(world.test.ctx.clone(), bad, Roots::new(), 1).unwrap_err();
    assert_eq!(refused.field, "identity.kek");
    let same = identity::Settings {
        kek: other(),
        code_key: other(),
        ..settings("x")
    };
    assert!(Identity::new(world.test.ctx.clone(), same, Roots::new(), 1).is_err());
}

/// A ciphertext that is moved to another row opens nowhere: neither name nor data key.
#[tokio::test]
async fn a_moved_ciphertext_does_not_open() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let one = world.person(&union, 1).await;
    let two = world.person(&union, 2).await;
    let db = &world.test.ctx.db;
    for column in ["name", "data_key"] {
        let swap = format!(
            "UPDATE person p SET {column} = q.{column} FROM person q
             WHERE (p.member = $1 AND q.member = $2) OR (p.member = $2 AND q.member = $1)"
        );
        db.execute(&swap, [one.0.into(), two.0.into()])
            .await
            .unwrap();
        let me = world
            .ask(&world.as_member(one), "{ me { name } }", json!({}))
            .await;
        assert!(me["errors"].is_array(), "{column} opened: {me}");
        db.execute(&swap, [one.0.into(), two.0.into()])
            .await
            .unwrap();
        let me = world
            .run(&world.as_member(one), "{ me { name } }", json!({}))
            .await;
        assert_eq!(me["name"], name(1));
    }
}

#[derive(FromQueryResult)]
struct Table {
    name: String,
}

#[derive(FromQueryResult)]
struct Text {
    text: String,
}

/// Nothing of a person can be read in any table, outbox, audit row or due work: not as text, and
/// not as the bytes of it.
/// ASVS V14.2.4.
#[tokio::test]
async fn no_table_holds_a_person_in_clear() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    for at in 1..=20 {
        let _ = world.person(&union, at).await;
        let _ = world.sign_in(&number_of_phone(at)).await;
    }
    let wrong = json!({ "organisationId": union, "person": {
        "name": "别人", "documentType": "RESIDENT_ID", "documentNumber": number(1) } });
    world
        .mutate(
            &world.as_operator(),
            "addMembership",
            "membership { id }",
            wrong,
        )
        .await;
    let tables = world
        .test
        .ctx
        .db
        .all::<Table>(
            "SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public'",
            [],
        )
        .await
        .unwrap();
    assert!(tables.len() > 20);
    let mut rows = 0;
    for table in tables {
        let sql = format!("SELECT t::text AS text FROM {} t", table.name);
        for row in world.test.ctx.db.all::<Text>(&sql, []).await.unwrap() {
            rows += 1;
            for at in 1..=20 {
                for canary in [name(at), number(at), number_of_phone(at)] {
                    let clear = row.text.contains(&canary);
                    let bytes = row.text.contains(&hex::encode(&canary));
                    assert!(!clear && !bytes, "{canary} in {}", table.name);
                }
            }
        }
    }
    assert!(rows > 200, "{rows} rows were looked at");
}
