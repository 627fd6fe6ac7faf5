//! Lists of holders: asked for by an officer of their union, of those who can use a pass now, by
//! opaque ids. The names come from identity, and nothing of money or visits is among the cells.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use kit::access::{Caller, Role, seed};
use kit::audit::LAG_SECONDS_MAX;
use kit::graphql::GlobalId;
use kit::types::OrganisationId;
use passes::domain::{LISTS_PER_DAY_MAX, ListPurpose};
use proto::v1::{RenderRequested, render_requested};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::audited::{heard_of_unsealed, refused};
use crate::races::{Count, twin};
use crate::unguarded::waits_to_be_activated;
use crate::world::{World, caller, code, key};

const ROOT: Uuid = Uuid::from_u128(0x3000);
pub(crate) const UNION: Uuid = Uuid::from_u128(0x5001);
/// The officer's number among the callers.
const OFFICER: u128 = 50;

/// A caller belongs to an organisation too.
pub(crate) async fn join(world: &World, number: u128, organisation: Uuid) {
    let sql = "INSERT INTO replica_membership
           (id, epoch, version, member, organisation, state, since)
         VALUES (gen_random_uuid(), 1, 1, $1, $2, 'full', date '2020-01-01')";
    let member = Uuid::from_u128(0x1000 + number);
    let db = &world.ctx().db;
    db.execute(sql, [member.into(), organisation.into()])
        .await
        .unwrap();
}

/// An officer of a union below the root, who has shown her second factor.
pub(crate) async fn officer(world: &World) -> Caller {
    let db = &world.ctx().db;
    db.tx("seed", async |tx| {
        seed::organisation(tx, UNION, &[ROOT]).await?;
        seed::role(tx, Uuid::from_u128(0x1000 + OFFICER), UNION, Role::Officer).await
    })
    .await
    .unwrap();
    caller(OFFICER).stepped_up(DateTime::<Utc>::MAX_UTC)
}

pub(crate) fn list_of(organisation: Uuid, purpose: &str) -> Value {
    let organisation = GlobalId::of_uuid("Organisation", organisation);
    json!({ "organisationId": organisation, "purpose": purpose, "idempotencyKey": key() })
}

async fn ask(world: &World, by: &Caller, input: Value) -> Value {
    world.mutate(by, "requestPassHolderList", input).await
}

async fn asked_of_identity(world: &World) -> Vec<RenderRequested> {
    let events = world.emitted().await;
    let events = events.iter();
    let asked = events.filter(|event| event.kind == "bashu.v1.RenderRequested");
    asked.map(|event| event.decode()).collect()
}

/// Those of the union who can use a pass today or activate one, each once for each pass; not who
/// gave hers back, nor another union's people. The same request is one file.
#[tokio::test]
async fn a_list_has_who_can_use_a_pass() {
    let world = World::new().await;
    let by = officer(&world).await;
    for number in 1..=3 {
        join(&world, number, UNION).await;
    }
    let product = world.product(json!({})).await;
    let waiting = world.product(waits_to_be_activated()).await;
    world.bought(&caller(1), &product).await;
    world.bought(&caller(2), &waiting).await;
    let voided = world.bought(&caller(3), &product).await;
    world.bought(&caller(4), &product).await;
    let input = json!({ "passId": voided, "reason": "it was lent", "idempotencyKey": key() });
    let done = world.mutate(&world.operator, "voidPass", input).await;
    assert_eq!(code(&done), "");
    world.emitted().await;

    let input = list_of(UNION, "OUTING");
    let first = ask(&world, &by, input.clone()).await;
    assert_eq!(code(&first), "");
    assert_eq!(ask(&world, &by, input.clone()).await, first);
    let asked = asked_of_identity(&world).await;
    assert_eq!(asked.len(), 1);
    let file = GlobalId::uuid(first["fileId"].as_str().unwrap(), "RenderedFile").unwrap();
    assert_eq!(asked[0].id, file.as_bytes());
    assert_eq!(asked[0].template(), render_requested::Template::NameList);
    assert_eq!(asked[0].purpose(), render_requested::Purpose::Outing);
    assert_eq!(asked[0].organisation_id, UNION.as_bytes());
    let officer = Uuid::from_u128(0x1000 + OFFICER);
    assert_eq!(asked[0].asker_id, officer.as_bytes());
    assert_eq!(asked[0].title, "Holders of annual passes (for: outing)");
    assert_eq!(asked[0].columns, ["Pass", "State", "Days"]);
    let mut rows: Vec<(Vec<u8>, String)> = asked[0]
        .rows
        .iter()
        .map(|row| (row.member_id.clone(), row.cells[1].clone()))
        .collect();
    rows.sort_unstable();
    let member = |number: u128| Uuid::from_u128(0x1000 + number).as_bytes().to_vec();
    let expected = [
        (member(1), "active".to_owned()),
        (member(2), "to be activated".to_owned()),
    ];
    assert_eq!(rows, expected);
    assert!(asked[0].rows.iter().all(|row| row.cells.len() == 3));

    let mut other = input;
    other["purpose"] = json!("BENEFITS");
    assert_eq!(
        code(&ask(&world, &by, other).await),
        "IDEMPOTENCY_KEY_REUSED"
    );
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'request_pass_holder_list'
        AND detail->>'purpose' = 'outing' AND detail->>'rows' = '2'";
    assert_eq!(world.count(audited).await, 1);
    world.verify().await;
}

/// Without a second factor, without anybody on it, or without its seal there is no list, and no
/// trace of one.
#[tokio::test]
async fn no_list_is_made_without_what_it_needs() {
    let world = World::new().await;
    let by = officer(&world).await;
    let input = list_of(UNION, "BENEFITS");
    let plain = ask(&world, &caller(OFFICER), input.clone()).await;
    assert_eq!(code(&plain), "STEP_UP_REQUIRED");
    assert_eq!(code(&ask(&world, &by, input.clone()).await), "NO_HOLDERS");
    let counted = "SELECT count(*) AS count FROM holder_list_count";
    assert_eq!(world.count(counted).await, 0);
    join(&world, 1, UNION).await;
    let product = world.product(json!({})).await;
    world.bought(&caller(1), &product).await;
    let lag = TimeDelta::seconds(LAG_SECONDS_MAX + 1);
    world.ctx().clock.advance(lag);
    heard_of_unsealed(&world).await;
    let (name, kind) = ("requestPassHolderList", "RequestPassHolderListInput");
    let late = refused(&world, &by, name, kind, input.clone()).await;
    assert_eq!(late, "AUDIT_LAGS");
    assert!(asked_of_identity(&world).await.is_empty());
    world.verify().await;
    let done = ask(&world, &by, input).await;
    assert_eq!(code(&done), "", "the same request, when it may: {done}");
}

/// So many a day for each officer, however many ask at once in two processes; on the next day she
/// may again.
#[tokio::test]
async fn lists_are_counted_by_day() {
    let world = World::new().await;
    let by = officer(&world).await;
    join(&world, 1, UNION).await;
    let product = world.product(json!({})).await;
    world.bought(&caller(1), &product).await;
    assert_eq!(code(&ask(&world, &by, list_of(UNION, "OUTING")).await), "");
    let nearly = "UPDATE holder_list_count SET asked = $1";
    let left_one = LISTS_PER_DAY_MAX - 1;
    let db = &world.ctx().db;
    db.execute(nearly, [left_one.into()]).await.unwrap();
    let other = twin(&world).await;
    let of = (OrganisationId(UNION), ListPurpose::Outing);
    let results = join_all((0..6).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        process.request_holder_list(&by, of, key())
    }))
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let over = ask(&world, &by, list_of(UNION, "OUTING")).await;
    assert_eq!(code(&over), "TOO_MANY_LISTS");
    world.verify().await;
    world.ctx().clock.advance(TimeDelta::days(1));
    world.heartbeat().await;
    let next = ask(&world, &by, list_of(UNION, "OUTING")).await;
    assert_eq!(code(&next), "");
    let days = "SELECT count(*) AS count FROM holder_list_count";
    assert_eq!(world.count(days).await, 1, "days before are forgotten");
}

/// Both read that one is left, then both take it: so it goes where the count is read and not
/// counted in one statement.
#[tokio::test]
async fn without_its_guard_the_last_list_is_made_twice() {
    let world = World::new().await;
    let asker = Uuid::from_u128(0x1000 + OFFICER);
    let day = kit::types::shanghai_date(world.ctx().clock.now());
    let left_one = LISTS_PER_DAY_MAX - 1;
    let sql = "INSERT INTO holder_list_count (asker, day, asked) VALUES ($1, $2, $3)";
    let values = [asker.into(), day.into(), left_one.into()];
    world.ctx().db.execute(sql, values).await.unwrap();
    let both_read = Barrier::new(2);
    let processes = [world.db.process().await, world.db.process().await];
    let one = async |ctx: &kit::Ctx| {
        ctx.db
            .tx("unlocked_list", async |tx| {
                let read = "SELECT asked::bigint AS count FROM holder_list_count WHERE asker = $1";
                let read = tx.one::<Count>(read, [asker.into()]).await?.unwrap().count;
                both_read.wait().await;
                if read >= i64::from(LISTS_PER_DAY_MAX) {
                    return Ok(false);
                }
                let sql = "UPDATE holder_list_count SET asked = $2 + 1 WHERE asker = $1";
                tx.execute(sql, [asker.into(), left_one.into()]).await?;
                Ok(true)
            })
            .await
    };
    let (first, second) = tokio::join!(one(&processes[0]), one(&processes[1]));
    assert!(first.unwrap() && second.unwrap());
    let counted = "SELECT asked::bigint AS count FROM holder_list_count";
    assert_eq!(world.count(counted).await, i64::from(LISTS_PER_DAY_MAX));
}
