//! Who leaves an organisation leaves her office in it.

use identity::commands::members::end_membership;
use identity::commands::roles::{Asked, grant_role};
use identity::domain::membership::End;
use identity::domain::role::{Of, Origin, Role};
use identity::store::organisations::Lock;
use identity::store::roles;
use identity::store::{memberships, people, roster_people};
use kit::graphql::GlobalId;
use kit::types::{MemberId, shanghai_date};
use kit::verify;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::rosters::{commit, compared, csv, line, officer_of};
use crate::world::{World, codes, held, member_of, organisation_of, person};

const LEFT: [&str; 3] = [
    "LEFT_ORGANISATION",
    "此人已不在该组织，不能授予其角色。",
    "The person has left the organisation and cannot hold a role in it.",
];
const LAST_OPERATOR: [&str; 3] = [
    "LAST_OPERATOR",
    "不能撤销最后一名运维人员。",
    "The last operator's role cannot be withdrawn.",
];
const NO_OFFICE: &str = "identity.no_office_after_leaving";
const HELD: &str = "SELECT count(*) AS count FROM role WHERE withdrawn_at IS NULL";

/// The membership of a person in an organisation, the open one first.
async fn membership(world: &World, member: MemberId, organisation: &str) -> Uuid {
    let db = &world.identity.ctx.db;
    let open = db.tx("membership", async |tx| {
        people::open_memberships(tx, organisation_of(organisation), &[member.0]).await
    });
    open.await.unwrap()[0].id
}

fn global(type_name: &str, id: Uuid) -> String {
    GlobalId::of_uuid(type_name, id).to_string()
}

/// An officer who is expelled reads and adds nobody from then on, everyone is told, and she gets
/// an office there again only with a membership.
#[tokio::test]
async fn who_is_expelled_holds_no_office() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let (elsewhere, _) = officer_of(&world, "别的工会", 101).await;
    let kit::access::Who::Member { member, .. } = officer.who else {
        panic!("an officer is a member");
    };
    let also = world.grant(member, &elsewhere, "OFFICER").await;
    let add = async |at: u32| {
        let input = json!({ "organisationId": union, "person": person(at) });
        let added = world.mutate(&officer, "addMembership", "membership { id }", input);
        added.await
    };
    assert_eq!(codes(&add(1).await), [""; 0]);
    let id = global("Membership", membership(&world, member, &union).await);
    let input = json!({ "membershipId": id, "how": "REMOVED" });
    let operator = world.as_operator();
    let ended = world.mutate(&operator, "endMembership", "", input);
    assert_eq!(codes(&ended.await), [""; 0]);

    assert_eq!(codes(&add(2).await), ["FORBIDDEN"]);
    let query = "query($id: ID!) { organisation(id: $id) { memberships(first: 9) {
        nodes { id } } } }";
    let read = world.barred(&officer, query, json!({ "id": union })).await;
    assert_eq!(read, Some("FORBIDDEN"));
    let said = world.events_of("RoleChanged").await.pop().unwrap();
    let said: proto::identity::RoleChanged = said.decode();
    assert!(said.withdrawn && said.organisation_id == organisation_of(&union).0.as_bytes());
    // What she holds elsewhere is for those there to end.
    let elsewhere_still = world.grant(member, &elsewhere, "OFFICER").await;
    assert_eq!(elsewhere_still, also);
    assert_eq!(world.broken(NO_OFFICE).await, 0);

    let role = json!({ "memberId": global("Member", member.0), "organisationId": union,
        "role": "OFFICER" });
    assert_eq!(world.answered(&operator, "grantRole", &role).await, LEFT);
    assert_eq!(world.person(&union, 100).await, member);
    let _ = world.grant(member, &union, "OFFICER").await;
    assert_eq!(codes(&add(2).await), [""; 0]);
}

/// The last operator cannot be made to leave, by herself or by a roster; one of two can.
#[tokio::test]
async fn the_last_operator_does_not_leave() {
    let world = World::new().await;
    let root = global("Organisation", world.root_id().0);
    let operator = world.as_operator();
    let id = global(
        "Membership",
        membership(&world, world.operator, &root).await,
    );
    let input = json!({ "membershipId": id, "how": "LEFT" });
    let answer = world.answered(&operator, "endMembership", &input).await;
    assert_eq!(answer, LAST_OPERATOR);
    let officer = world.person(&root, 100).await;
    let _ = world.grant(officer, &root, "OFFICER").await;
    let officer = world.as_member(officer);
    let roster = complete(&world, &officer, &root, &[line(100)]).await;
    assert_eq!(
        codes(&commit(&world, &officer, &roster, 1).await),
        ["LAST_OPERATOR"]
    );
    assert_eq!(world.count(HELD).await, 2);

    let second = world.person(&root, 1).await;
    let _ = world.grant(second, &root, "OPERATOR").await;
    let ended = world.mutate(&operator, "endMembership", "", input).await;
    assert_eq!(codes(&ended), [""; 0]);
    assert_eq!(
        codes(&add_by(&world, world.operator, &root).await),
        ["FORBIDDEN"]
    );
    assert_eq!(world.broken(NO_OFFICE).await, 0);
}

async fn add_by(world: &World, by: MemberId, organisation: &str) -> Value {
    let input = json!({ "organisationId": organisation, "person": person(7) });
    let by = world.as_member(by);
    world
        .mutate(&by, "addMembership", "membership { id }", input)
        .await
}

/// A roster that names everybody, compared.
pub(crate) async fn complete(
    world: &World,
    by: &kit::access::Caller,
    union: &str,
    lines: &[String],
) -> Value {
    let input = json!({ "organisationId": union, "purpose": "MEMBERSHIP", "isComplete": true });
    let selection = "rosterImport { id } upload { path }";
    let begun = world.mutate(by, "importRoster", selection, input).await;
    let put = crate::rosters::put(world, &begun["upload"]["path"], csv(lines)).await;
    assert_eq!(put, axum::http::StatusCode::ACCEPTED);
    crate::rosters::settle(world).await;
    begun["rosterImport"]["id"].clone()
}

/// Who leaves by a roster leaves her office with it.
#[tokio::test]
async fn who_leaves_by_a_roster_holds_no_office() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let leaver = world.person(&union, 101).await;
    for role in ["OFFICER", "APPROVER"] {
        let _ = world.grant(leaver, &union, role).await;
    }
    let partial = csv(&[line(100)]);
    let list = compared(&world, &officer, (&union, "LIST"), partial).await;
    assert_eq!(codes(&commit(&world, &officer, &list, 1).await), [""; 0]);
    assert_eq!(world.count(HELD).await, 4, "a list ends nothing");
    let roster = complete(&world, &officer, &union, &[line(100), line(1)]).await;
    assert_eq!(codes(&commit(&world, &officer, &roster, 2).await), [""; 0]);
    assert_eq!(world.count(HELD).await, 2);
    assert_eq!(codes(&add_by(&world, leaver, &union).await), ["FORBIDDEN"]);
    assert_eq!(world.events_of("RoleChanged").await.len(), 4 + 2);
    for invariant in verify::CHASSIS.iter().chain(identity::verify::INVARIANTS) {
        let found = verify::check(&world.identity.ctx.db, invariant).await;
        assert_eq!(found.unwrap().len(), 0, "{}", invariant.id);
    }
}

fn officer(member: MemberId, union: &str) -> Of {
    Of {
        member,
        organisation: organisation_of(union),
        role: Role::Officer,
    }
}

/// An office granted while its holder is made to leave, in two processes: she has left and holds
/// nothing, whoever comes first.
#[tokio::test]
async fn a_grant_does_not_outrun_a_leaving() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let other = world.test.process().await;
    let (ctx, operator) = (&world.identity.ctx, world.as_operator());
    for at in 1..=12 {
        let member = world.person(&union, at).await;
        let id = membership(&world, member, &union).await;
        let today = shanghai_date(ctx.clock.now());
        let (ended, _) = tokio::join!(
            end_membership(ctx, &operator, id, End::Removed, today),
            grant_role(
                &other,
                &operator,
                Asked {
                    of: officer(member, &union),
                    until: None
                }
            ),
        );
        ended.unwrap();
        assert_eq!(world.broken(NO_OFFICE).await, 0);
    }
}

/// The same without the organisation's lock: she is found in it, leaves, and is then granted an
/// office in it. The invariant sees it.
#[tokio::test]
async fn without_its_lock_a_grant_would_outrun_a_leaving() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let (id, organisation) = (
        membership(&world, member, &union).await,
        organisation_of(&union),
    );
    let other = world.test.process().await;
    let (found, left) = (Barrier::new(2), Barrier::new(2));
    let grant = other.db.tx("unlocked_grant", async |tx| {
        assert!(!memberships::has_left(tx, organisation, member).await?);
        found.wait().await;
        left.wait().await;
        let held = held(tx, officer(member, &union), Origin::One);
        roles::insert(tx, &held).await
    });
    let leave = async {
        found.wait().await;
        let ended = world.identity.ctx.db.tx("unlocked_leaving", async |tx| {
            let membership = people::membership(tx, id).await?.unwrap();
            let today = shanghai_date(tx.now());
            let ended = membership.end(End::Removed, today, today)?;
            people::save_membership(tx, &ended).await?;
            assert!(
                roles::held_by(tx, organisation, &[member.0])
                    .await?
                    .is_empty()
            );
            let open = roster_people::open_memberships(tx, organisation, Lock::Share).await?;
            assert!(open.is_empty());
            Ok(())
        });
        let ended = ended.await;
        left.wait().await;
        ended
    };
    let (granted, ended) = tokio::join!(grant, leave);
    granted.and(ended).unwrap();
    assert_eq!(world.broken(NO_OFFICE).await, 1);
}

/// A person without any membership in a company may work at its doors.
#[tokio::test]
async fn staff_need_no_membership() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let partner = world.organisation("PARTNER", "某某文旅公司").await;
    let member = world.person(&union, 1).await;
    let _ = world.grant(member, &partner, "VENUE_STAFF").await;
    assert_eq!(world.broken(NO_OFFICE).await, 0);
    let seen = world
        .run(&world.as_member(member), "{ me { id } }", json!({}))
        .await;
    assert_eq!(member_of(&seen["id"]), member);
}
