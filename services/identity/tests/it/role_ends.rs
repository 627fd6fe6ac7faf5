//! A role ends by itself: at its instant by the clock, and soon after in the tables and elsewhere.

use kit::access::Caller;
use kit::graphql::GlobalId;
use serde_json::{Value, json};

use crate::role_proposals::Stage;
use crate::world::{World, codes, person};

const DAY_SECONDS: i64 = 86_400;
const STANDING: &str = "SELECT count(*) AS count FROM role
    WHERE role = 'officer' AND withdrawn_at IS NULL";

async fn adds(world: &World, by: &Caller, union: &str, at: u32) -> String {
    let input = json!({ "organisationId": union, "person": person(at) });
    let added = world.mutate(by, "addMembership", "membership { id }", input);
    codes(&added.await).join(" ")
}

async fn grant(stage: &Stage, by: &Caller, (role, until): (&str, Option<&str>)) -> Value {
    let input = json!({
        "memberId": GlobalId::of_uuid("Member", stage.member.0),
        "organisationId": stage.union, "role": role, "until": until,
    });
    let selection = "role { id until } proposal { id until }";
    stage.world.mutate(by, "grantRole", selection, input).await
}

/// Seconds from now until midnight in Shanghai.
fn until_midnight(world: &World) -> i64 {
    let now = world.identity.ctx.clock.now();
    let next = kit::types::shanghai_date(now).succ_opt().unwrap();
    (kit::types::day_start(next) - now).num_seconds()
}

/// An officer until tomorrow is one until midnight, and not a second longer although nothing that
/// is due has run; then it is withdrawn, once, and everybody hears of it.
#[tokio::test]
async fn a_role_ends_on_time_although_what_is_due_is_late() {
    let stage = Stage::new().await;
    let (world, officer) = (&stage.world, stage.world.as_member(stage.member));
    let today = kit::types::shanghai_date(world.identity.ctx.clock.now());
    let tomorrow = today.succ_opt().unwrap().to_string();
    let granted = grant(&stage, &stage.one, ("OFFICER", Some(&tomorrow))).await;
    assert_eq!(granted["role"]["until"], json!(tomorrow), "{granted}");
    stage.keeps_its_promises().await;
    world.advance(until_midnight(world) - 1);
    stage.run_due().await;
    assert_eq!(adds(world, &officer, &stage.union, 21).await, "");
    let query = "query($id: ID!) { member: node(id: $id) { ... on Member { id } } }";
    let other =
        json!({ "id": GlobalId::of_uuid("Member", world.person(&stage.union, 21).await.0) });
    assert!(world.run(&officer, query, other.clone()).await.is_object());

    world.advance(1);
    assert_eq!(adds(world, &officer, &stage.union, 22).await, "FORBIDDEN");
    assert!(
        world.run(&officer, query, other).await.is_null(),
        "nor reads"
    );
    let mine = world
        .run(&officer, "{ me { roles { id } } }", json!({}))
        .await;
    assert_eq!(mine["roles"], json!([]));
    assert_eq!(world.count(STANDING).await, 1, "nobody has written it down");
    stage.run_due().await;
    assert_eq!(world.count(STANDING).await, 0);
    let said = world.events_of("RoleChanged").await.pop().unwrap();
    assert!(said.decode::<proto::identity::RoleChanged>().withdrawn);
    let ended = "SELECT count(*) AS count FROM audit WHERE act = 'end_role'";
    assert_eq!(world.count(ended).await, 1);
    stage.keeps_its_promises().await;
}

/// One that is over makes room for another, whether or not it was withdrawn; one that is held gets
/// another end, and its timer follows, sooner or later.
#[tokio::test]
async fn a_role_is_prolonged_and_granted_again() {
    let stage = Stage::new().await;
    let (world, officer) = (&stage.world, stage.world.as_member(stage.member));
    let first = grant(&stage, &stage.one, ("OFFICER", Some("2026-05-01"))).await;
    for until in ["2026-04-20", "2026-06-01"] {
        let moved = grant(&stage, &stage.one, ("OFFICER", Some(until))).await;
        assert_eq!(moved["role"]["id"], first["role"]["id"]);
        assert_eq!(moved["role"]["until"], json!(until));
        assert_eq!(grant(&stage, &stage.one, ("OFFICER", None)).await, moved);
    }
    world.advance(31 * DAY_SECONDS);
    stage.run_due().await;
    assert_eq!(adds(world, &officer, &stage.union, 21).await, "");
    stage.keeps_its_promises().await;
    world.advance(31 * DAY_SECONDS);
    assert_eq!(adds(world, &officer, &stage.union, 22).await, "FORBIDDEN");
    let again = grant(&stage, &stage.one, ("OFFICER", None)).await;
    assert_ne!(again["role"]["id"], first["role"]["id"], "{again}");
    assert_eq!(adds(world, &officer, &stage.union, 22).await, "");
    stage.run_due().await;
    assert_eq!(world.count(STANDING).await, 1);
    stage.keeps_its_promises().await;
}

/// More time for a powerful role takes two again.
#[tokio::test]
async fn more_time_for_power_takes_two() {
    let stage = Stage::new().await;
    let until = ("DEPUTY", Some("2026-05-01"));
    let proposed = grant(&stage, &stage.one, until).await;
    let made = stage
        .decide(&stage.two, "confirmRole", &proposed["proposal"]["id"])
        .await;
    assert_eq!(made["role"]["until"], "2026-05-01");
    let more = grant(&stage, &stage.two, ("DEPUTY", Some("2028-05-01"))).await;
    assert_eq!(more["role"], Value::Null, "{more}");
    assert_eq!(more["proposal"]["until"], "2028-05-01");
    let longer = stage
        .decide(&stage.one, "confirmRole", &more["proposal"]["id"])
        .await;
    assert_eq!(longer["role"]["id"], made["role"]["id"]);
    assert_eq!(longer["role"]["until"], "2028-05-01");
    stage.keeps_its_promises().await;
}

/// An end is after today and within five years; one operator's end makes her no operator, and does
/// not count her as the last.
#[tokio::test]
async fn ends_are_checked_and_ended_operators_do_not_count() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let wrong = [
        "ROLE_END_INVALID",
        "角色的截止日期不合理：须晚于今天，且不超过五年。",
        "The role must end after today, and within five years.",
    ];
    for until in ["2026-04-01", "2020-01-01", "2031-04-02"] {
        let input = json!({
            "memberId": GlobalId::of_uuid("Member", stage.member.0),
            "organisationId": stage.union, "role": "AUDITOR", "until": until,
        });
        assert_eq!(world.answered(&stage.one, "grantRole", &input).await, wrong);
    }
    let owner = world.test.owner().await;
    let end = format!(
        "UPDATE role SET ends_at = granted_at + interval '1 day' WHERE member <> '{}'",
        world.operator.0
    );
    owner.execute(&end, []).await.unwrap();
    world.advance(DAY_SECONDS);
    let refused = adds(world, &stage.two, &stage.union, 21).await;
    assert_eq!(refused, "FORBIDDEN");
    let me = world
        .run(&stage.one, "{ me { roles { id } } }", json!({}))
        .await;
    let input = json!({ "roleId": me["roles"][0]["id"] });
    let [code, ..] = world.answered(&stage.one, "withdrawRole", &input).await;
    assert_eq!(code, "LAST_OPERATOR");
}

/// What the tables say of a role is what the domain says of it, at its last instant too; and it is
/// read through the index of the roles that stand.
#[tokio::test]
async fn the_tables_and_the_domain_agree_on_what_is_held() {
    let world = World::new().await;
    let now = world.identity.ctx.clock.now();
    for seconds in [None, Some(-1), Some(0), Some(1)] {
        let end = seconds.map(|it| now + chrono::TimeDelta::seconds(it));
        let held = |withdrawn: &str| {
            let end = end.map_or_else(|| "NULL".to_owned(), |at| format!("'{}'", at.to_rfc3339()));
            let now = now.to_rfc3339();
            format!("SELECT role_held({withdrawn}, {end}, '{now}')::int::bigint AS count")
        };
        let lives = identity::domain::role::lives(end, now);
        let found = world.count(&held("NULL")).await;
        assert_eq!(found, i64::from(lives), "{seconds:?}");
        assert_eq!(world.count(&held("'2026-01-01'")).await, 0);
    }
    let plan = "CREATE FUNCTION plan(asked text) RETURNS SETOF text LANGUAGE plpgsql
        SET enable_seqscan = off AS $$ DECLARE step text; BEGIN
          FOR step IN EXECUTE 'EXPLAIN ' || asked LOOP RETURN NEXT step; END LOOP; END $$";
    world.test.owner().await.execute(plan, []).await.unwrap();
    let read = "SELECT plan('SELECT id FROM role WHERE role_held(withdrawn_at, ends_at, now())
        AND organisation = ''00000000-0000-0000-0000-000000000001''') AS name";
    let plan = world.names(read).await.join(" ");
    assert!(plan.contains("Index Cond: (organisation"), "{plan}");
    assert!(!plan.contains("role_held("), "{plan}");
}
