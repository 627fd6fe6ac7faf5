//! What another service knows after it has heard everything: the same as is true here.

use credential::keyset::Issuer;
use kit::consumer::Handler;
use kit::event::Record;
use kit::migrate::{KIT, REPLICA};
use kit::replica::{Replica, Roots, TOPIC};
use sea_orm::FromQueryResult;

use crate::world::{Emitted, World};
use crate::{consents, credentials};

#[derive(Debug, PartialEq, Eq, FromQueryResult)]
struct Row {
    text: String,
}

fn record((at, event): (usize, Emitted)) -> Record {
    Record {
        topic: TOPIC.to_owned(),
        partition: 0,
        offset: 0,
        epoch: 1,
        pseq: i64::try_from(at).unwrap(),
        id: uuid::Uuid::from_u128(1),
        kind: event.kind,
        key: event.key,
        version: event.version,
        must_understand: false,
        at: kit::testing::start(),
        traceparent: None,
        payload: event.payload,
    }
}

/// Something of everything that identity publishes, given and taken back.
async fn everything() -> World {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let partner = world.organisation("PARTNER", "某某文旅公司").await;
    let member = world.person(&union, 1).await;
    let staff = world.person(&partner, 2).await;
    let _ = world.grant(member, &union, "OFFICER").await;
    let role = world.grant(staff, &partner, "VENUE_STAFF").await;
    let input = serde_json::json!({ "roleId": role });
    world
        .mutate(&world.as_operator(), "withdrawRole", "role { id }", input)
        .await;
    let holder = world.as_member(member);
    consents::give(&world, &holder, "VISITS_TO_VENUES", 1).await;
    credentials::apply(&world, credentials::granted(&world, member, 1)).await;
    consents::give(&world, &holder, "NOTICE_SMS", 2).await;
    consents::withdraw(&world, &holder, "NOTICE_SMS", 3).await;
    let session = world.sign_in(crate::world::OPERATOR_PHONE).await;
    let caller = crate::logins::caller(&session);
    identity::commands::logins::logout(&world.identity.ctx, &caller)
        .await
        .unwrap();
    world
}

/// Kit's replica elsewhere holds what the views of the same names show here, in any order of the
/// events of different aggregates.
#[tokio::test]
async fn a_replica_elsewhere_is_what_is_true_here() {
    let world = everything().await;
    let other = kit::testing::db("passes", &[KIT, REPLICA]).await;
    let roots = Roots::from([(Issuer::Chongqing, world.root.verifying_key())]);
    let replica = Replica::new(roots);
    let mut records: Vec<Record> = world
        .events()
        .await
        .into_iter()
        .enumerate()
        .map(record)
        .collect();
    // The newest first: an older state never replaces a newer one.
    records.sort_by_key(|record| std::cmp::Reverse((record.kind.clone(), record.pseq)));
    assert!(records.iter().all(|record| replica.handles(&record.kind)));
    for _ in 0..2 {
        other
            .ctx
            .db
            .tx("apply", async |tx| replica.apply(tx, &records).await)
            .await
            .unwrap();
    }
    for (table, columns) in [
        (
            "organisation",
            "id, version, name, division, path, partner, closed",
        ),
        ("member", "id, version, state, merged_into"),
        (
            "membership",
            "id, version, member, organisation, state, since, until",
        ),
        ("role", "id, version, member, organisation, role, withdrawn"),
        ("withdrawn_login", "id, withdrawn_at"),
        ("key_set", "issuer, version, bytes, signature"),
        (
            "consent",
            "id, version, member, purpose, recipient, text_version, given",
        ),
        (
            "entitlement_consent",
            "entitlement, purpose, recipient, version, text_version, given",
        ),
        (
            "consent_text",
            "purpose, recipient, version, effective_from",
        ),
    ] {
        let sql = format!(
            "SELECT r::text AS text FROM (SELECT {columns} FROM replica_{table}) r ORDER BY 1"
        );
        let here = world.test.ctx.db.all::<Row>(&sql, []).await.unwrap();
        let there = other.ctx.db.all::<Row>(&sql, []).await.unwrap();
        assert!(!here.is_empty(), "{table}");
        assert_eq!(here, there, "{table}");
    }
}
