//! What a consumer parked: listed, retried after a fix, given up with a reason, released.

use prost::Message;

use crate::world::{World, finding};

const HEARTBEAT: &str = "bashu.identity.v1.Heartbeat";

/// Parks a heartbeat that does not decode, and holds its key; behind it waits a good one.
async fn park(world: &World, broken: &str) {
    let good = hex::encode(
        proto::identity::Heartbeat {
            at: 1_775_008_800_000,
        }
        .encode_to_vec(),
    );
    let row = |pseq: i64, payload: &str, error: &str| {
        format!(
            "INSERT INTO parked (consumer, topic, part, \"offset\", epoch, pseq, event_id, kind,
               key, version, must_understand, at, payload, error, parked_at)
             VALUES ('replica', 'identity.v1', 0, {pseq}, 1, {pseq}, gen_random_uuid(),
               '{HEARTBEAT}', '\\x01', {pseq}, false, now(), '\\x{payload}', {error}, now())"
        )
    };
    world
        .plant("passes", &row(1, broken, "'it does not decode'"))
        .await;
    world.plant("passes", &row(2, &good, "NULL")).await;
    let hold = "INSERT INTO parked_key (consumer, topic, key, since)
                VALUES ('replica', 'identity.v1', '\\x01', now())";
    world.plant("passes", hold).await;
}

async fn waiting(world: &World) -> Vec<i64> {
    let listed = world.bashu(&["parked", "list"]).await.well();
    let rows = listed["parked"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_record_is_retried_until_it_can_be_applied() {
    let world = World::ready().await;
    park(&world, "ff").await;
    let listed = world
        .bashu(&["parked", "list", "--service", "passes"])
        .await
        .well();
    assert_eq!(listed["parked"][0]["error"], "it does not decode");
    assert!(
        listed["parked"][1]["error"].is_null(),
        "the second only waits behind its key"
    );

    let failed = world.bashu(&["parked", "retry", "passes", "1"]).await;
    assert_eq!(failed.code, 1, "it fails again: {}", failed.err);
    assert!(
        failed.json()[0]["error"]
            .as_str()
            .unwrap()
            .contains("does not decode")
    );
    assert_eq!(
        waiting(&world).await,
        [1, 2],
        "nothing is lost and the order is kept"
    );

    world
        .plant("passes", "UPDATE parked SET payload = '' WHERE id = 1")
        .await;
    let tried = world
        .bashu(&["parked", "retry", "passes", "--all"])
        .await
        .well();
    assert_eq!(tried[0]["applied"], 2);
    assert!(waiting(&world).await.is_empty());
    let applied = "SELECT count(*) FROM parked WHERE state = 'applied'";
    assert_eq!(world.ask("passes", applied).await, "2");
    assert_eq!(
        world.ask("passes", "SELECT count(*) FROM parked_key").await,
        "0"
    );
    let at = "SELECT extract(epoch FROM at)::bigint FROM replica_heartbeat WHERE part = 0";
    assert_eq!(world.ask("passes", at).await, "1775008800");
    let by = "SELECT count(*) FROM audit WHERE act = 'run_parked_retry'
              AND detail ->> 'by' = 'tester' AND detail ->> 'began' = 'true'";
    assert_eq!(world.ask("passes", by).await, "2");
}

#[tokio::test]
async fn a_record_is_given_up_with_a_reason() {
    let world = World::ready().await;
    park(&world, "ff").await;
    let discard = [
        "parked",
        "discard",
        "passes",
        "1",
        "--reason",
        "a test wrote it",
    ];
    world.bashu(&discard).await.well();
    assert_eq!(
        waiting(&world).await,
        [2],
        "what waits behind it still waits"
    );
    assert_eq!(world.bashu(&discard).await.code, 3, "it waits no more");
    let acts = "SELECT string_agg((detail ->> 'reason') || ' by ' || (detail ->> 'by'), ',')
                FROM audit WHERE act LIKE '%discard%'";
    assert_eq!(world.ask("passes", acts).await, "a test wrote it by tester");
    world
        .bashu(&["parked", "retry", "passes", "2"])
        .await
        .well();
    assert!(waiting(&world).await.is_empty());
}

#[tokio::test]
async fn a_stopped_partition_is_let_go_on() {
    let world = World::ready().await;
    let stop = "INSERT INTO watermark (consumer, topic, part, epoch, next_offset, last_pseq, held,
                  held_offset)
                VALUES ('replica', 'identity.v1', 1, 1, 5, 5, 'gap: 6 to 8 are missing', 9)";
    world.plant("passes", stop).await;
    let listed = world.bashu(&["parked", "list"]).await.well();
    assert_eq!(listed["stopped"][0]["held"], "gap: 6 to 8 are missing");
    let report = world.bashu(&["doctor"]).await.json();
    let held = finding(&report, "consumer.held", "passes/replica");
    assert!(
        held["to_do"]["zh"]
            .as_str()
            .unwrap()
            .contains("bashu resync identity")
    );

    let release = [
        "parked",
        "release",
        "passes",
        "replica",
        "identity.v1",
        "1",
        "--reason",
        "resynced",
    ];
    let released = world.bashu(&release).await.well();
    assert!(
        released["next"]["en"]
            .as_str()
            .unwrap()
            .contains("bashu resync identity")
    );
    let next = "SELECT next_offset || ' ' || COALESCE(held, 'flows') FROM watermark
                WHERE consumer = 'replica' AND topic = 'identity.v1' AND part = 1";
    assert_eq!(world.ask("passes", next).await, "9 flows");
    assert_eq!(
        world.bashu(&release).await.code,
        3,
        "it is not stopped any more"
    );
    let acts = "SELECT string_agg((detail ->> 'reason') || ' by ' || (detail ->> 'by'), ',')
                FROM audit WHERE act LIKE '%release%'";
    assert_eq!(world.ask("passes", acts).await, "resynced by tester");
}
