//! Saying everything again, and the signs of life.

use std::collections::BTreeMap;

use identity::due;
use identity::publish::Aggregates;
use kit::bus::partition_of;

use crate::world::{PARTITIONS, World};
use crate::{consents, credentials};

/// After `resync` every aggregate was said again in its newest state, byte for byte.
#[tokio::test]
async fn everything_is_said_again() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    for at in 1..=3 {
        let member = world.person(&union, at).await;
        let _ = world.grant(member, &union, "OFFICER").await;
    }
    let holder = world.person(&union, 4).await;
    let caller = world.as_member(holder);
    consents::give(&world, &caller, "VISITS_TO_VENUES", 1).await;
    credentials::apply(&world, credentials::granted(&world, holder, 1)).await;
    consents::give(&world, &caller, "NOTICE_SMS", 2).await;
    consents::withdraw(&world, &caller, "NOTICE_SMS", 3).await;
    let session = world.sign_in(crate::world::OPERATOR_PHONE).await;
    let caller = crate::logins::caller(&session);
    identity::commands::logins::logout(&world.identity.ctx, &caller)
        .await
        .unwrap();
    let newest = |events: Vec<crate::world::Emitted>| {
        let mut newest = BTreeMap::new();
        for event in events {
            let place = (event.kind, event.key);
            let said = (event.version, event.payload);
            let known = newest.entry(place).or_insert_with(|| said.clone());
            if known.0 < said.0 {
                *known = said;
            }
        }
        newest
    };
    let before = newest(world.events().await);
    let all = world.count("SELECT count(*) AS count FROM outbox").await;
    let ctx = &world.identity.ctx;
    kit::resync::run(ctx, &Aggregates(ctx.union), |_, _| ())
        .await
        .unwrap();
    let events = world.events().await;
    let again: Vec<_> = events
        .into_iter()
        .skip(usize::try_from(all).unwrap())
        .collect();
    assert_eq!(newest(again), before);
}

/// A sign of life reaches every partition.
#[tokio::test]
async fn every_partition_hears_of_identity() {
    let world = World::new().await;
    let ctx = &world.identity.ctx;
    for round in 1..=2 {
        due::heartbeat(ctx, PARTITIONS).await.unwrap();
        let heard = world.events_of("Heartbeat").await;
        let mut partitions: Vec<i32> = heard
            .iter()
            .map(|event| partition_of(&event.key, PARTITIONS))
            .collect();
        partitions.sort_unstable();
        partitions.dedup();
        assert_eq!(partitions, (0..PARTITIONS).collect::<Vec<_>>());
        assert_eq!(heard.len(), round * partitions.len());
        let said: proto::identity::Heartbeat = heard.last().unwrap().decode();
        assert_eq!(said.at, ctx.clock.now().timestamp_millis());
        world.advance(5);
    }
}
