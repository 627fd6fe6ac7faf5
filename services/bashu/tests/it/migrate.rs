//! Tables are brought up by the owner role, once, and it is on record.

use crate::world::{SERVICES, World};

#[tokio::test]
async fn migrations_run_once() {
    let world = World::empty().await;
    let pending = world.bashu(&["migrate", "--check"]).await;
    assert_eq!(pending.code, 1);
    let pending = pending.json();
    for (place, service) in SERVICES.iter().enumerate() {
        assert_eq!(pending[place]["service"], *service);
        assert_eq!(pending[place]["migrations"][0], "kit_0001_chassis");
    }
    let ran = world.bashu(&["migrate"]).await.well();
    assert_eq!(ran, pending, "what was pending is what ran");
    let again = world.bashu(&["migrate"]).await.well();
    for one in again.as_array().unwrap() {
        assert_eq!(one["migrations"].as_array().unwrap().len(), 0);
    }
    assert_eq!(world.bashu(&["migrate", "--check"]).await.code, 0);
    for service in SERVICES {
        let by = "SELECT detail ->> 'by' FROM audit WHERE act = 'migrate'";
        assert_eq!(world.ask(service, by).await, "tester", "{service}");
    }
}

#[tokio::test]
async fn only_the_owner_migrates() {
    let mut world = World::empty().await;
    world.settings["postgres"]
        .as_table_mut()
        .unwrap()
        .remove("owner");
    world.write();
    let ran = world.bashu(&["migrate"]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("postgres.owner"), "{}", ran.err);
}

/// An edited migration is found by the doctor and refused by a further run.
#[tokio::test]
async fn an_edited_migration_is_found() {
    let world = World::ready().await;
    let edit = "UPDATE migration SET checksum = '\\x00' WHERE name = 'passes_0001'";
    world.plant("passes", edit).await;
    let ran = world.bashu(&["migrate", "passes"]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("passes_0001"), "{}", ran.err);
    let report = world.bashu(&["doctor"]).await.json();
    let found = crate::world::finding(&report, "postgres.migrations", "passes");
    assert_eq!(found["severity"], "fail");
}
