//! Memberships over time: since when, kept beyond work, corrected, and corrections reviewed.

use identity::commands::memberships::correct_membership;
use identity::domain::membership::Correction;
use identity::domain::review::Reason;
use identity::store::{memberships, people};
use kit::access::Caller;
use kit::graphql::GlobalId;
use kit::types::shanghai_date;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::leaving::complete;
use crate::rosters::{commit, line, officer_of};
use crate::world::{World, codes, person};

const SINCE_INVALID: [&str; 3] = [
    "SINCE_INVALID",
    "入会日期不合理：不能晚于今天，不能早于总工会成立，也不能与其在该组织的其他会籍重叠。",
    "The first day is in the future, before unions began, or within another membership there.",
];
const OF_OWN: [&str; 3] = [
    "REVIEW_OF_OWN",
    "更正须由他人复核。",
    "A correction is reviewed by somebody else than who made it.",
];
const APART: &str = "identity.memberships_apart";
const REVIEWED: &str = "identity.corrections_are_reviewed";

pub(crate) fn joining(union: &str, at: u32, since: &str) -> Value {
    json!({ "organisationId": union, "person": person(at), "since": since })
}

/// Adds a person with a first day; the membership's id.
pub(crate) async fn add(world: &World, by: &Caller, input: Value) -> String {
    let added = world.mutate(
        by,
        "addMembership",
        "membership { id since }",
        input.clone(),
    );
    let added = added.await;
    assert_eq!(codes(&added), [""; 0], "{added}");
    assert_eq!(added["membership"]["since"], input["since"]);
    added["membership"]["id"].as_str().unwrap().to_owned()
}

async fn end(world: &World, id: &str, date: &str) {
    let input = json!({ "membershipId": id, "how": "LEFT", "date": date });
    let operator = world.as_operator();
    let ended = world.mutate(&operator, "endMembership", "", input).await;
    assert_eq!(codes(&ended), [""; 0]);
}

fn uuid(id: &str) -> Uuid {
    GlobalId::uuid(id, "Membership").unwrap()
}

/// A membership begins on the day that is given: not in the future, not before there were unions,
/// and not while another one of the person there lasted.
#[tokio::test]
async fn a_membership_begins_when_it_began() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    for bad in ["1925-04-30", "2026-04-02"] {
        let told = world
            .answered(&officer, "addMembership", &joining(&union, 1, bad))
            .await;
        assert_eq!(told, SINCE_INVALID, "{bad}");
        let list = json!({ "organisationId": union, "people": [person(1)], "since": bad });
        let told = world.answered(&officer, "addMemberships", &list).await;
        assert_eq!(told, SINCE_INVALID, "{bad}");
    }
    let first = add(&world, &officer, joining(&union, 1, "2019-07-01")).await;
    let said = world.events_of("MembershipChanged").await.pop().unwrap();
    let said: proto::identity::MembershipChanged = said.decode();
    assert_eq!(said.since, "2019-07-01");
    end(&world, &first, "2024-01-01").await;
    let within = joining(&union, 1, "2023-12-31");
    let told = world.answered(&officer, "addMembership", &within).await;
    assert_eq!(told, SINCE_INVALID);
    let second = add(&world, &officer, joining(&union, 1, "2024-01-01")).await;
    assert_ne!(first, second);
    let again = joining(&union, 1, "2024-01-01");
    assert_eq!(add(&world, &officer, again).await, second, "open already");
    assert_eq!(world.broken(APART).await, 0);
    let plant = "UPDATE membership SET since = '2023-12-31' WHERE since = '2024-01-01'";
    world.test.owner().await.execute(plant, []).await.unwrap();
    assert_eq!(world.broken(APART).await, 1);
}

/// Who has retired is kept, does not leave by a roster that names her no more, and may come back.
/// Others find no such membership.
#[tokio::test]
async fn a_membership_is_kept_beyond_work() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let (_, elsewhere) = officer_of(&world, "别的工会", 101).await;
    let id = add(&world, &officer, joining(&union, 1, "2026-04-01")).await;
    let input = json!({ "membershipId": id });
    for mutation in ["retainMembership", "resumeMembership"] {
        let told = world.answered(&elsewhere, mutation, &input).await;
        assert_eq!(told[0], "MEMBERSHIP_NOT_FOUND");
    }
    let change = async |mutation: &str| {
        let answer = world.mutate(&officer, mutation, "membership { state }", input.clone());
        answer.await["membership"]["state"].clone()
    };
    assert_eq!(change("retainMembership").await, "RETAINED");
    let events = world.events_of("MembershipChanged").await.len();
    assert_eq!(change("retainMembership").await, "RETAINED");
    assert_eq!(world.events_of("MembershipChanged").await.len(), events);
    let roster = complete(&world, &officer, &union, &[line(100)]).await;
    assert_eq!(codes(&commit(&world, &officer, &roster, 1).await), [""; 0]);
    assert_eq!(change("resumeMembership").await, "FULL");
    end(&world, &id, "2026-04-01").await;
    let told = world.answered(&officer, "retainMembership", &input).await;
    let ended = [
        "MEMBERSHIP_ENDED",
        "该会籍已终止。",
        "The membership has already ended.",
    ];
    assert_eq!(told, ended);
}

/// Person 101, an officer of the federation.
pub(crate) async fn officer_above(world: &World) -> Caller {
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let above = world.person(&root, 101).await;
    let _ = world.grant(above, &root, "OFFICER").await;
    world.as_member(above)
}

pub(crate) async fn queue(world: &World, by: &Caller) -> Vec<Value> {
    let query = "{ membershipReviews(first: 10) { nodes { id reason sinceBefore sinceAfter
        untilBefore untilAfter closedAt membership { id since } } } }";
    let reviews = world.run(by, query, json!({})).await;
    reviews["nodes"].as_array().unwrap().clone()
}

/// A correction is a new version and waits for somebody above: who made it does not close it, and
/// who has nothing to do with it does not see it.
#[tokio::test]
async fn a_correction_is_reviewed_by_somebody_else() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let (above, operator) = (officer_above(&world).await, world.as_operator());
    let id = add(&world, &officer, joining(&union, 1, "2026-04-01")).await;
    let correct = json!({ "membershipId": id, "since": "2018-05-04", "reason": "LATE_EVIDENCE" });
    let selection = "membership { since state }";
    let done = world.mutate(&officer, "correctMembership", selection, correct.clone());
    assert_eq!(done.await["membership"]["since"], "2018-05-04");
    let said = world.events_of("MembershipChanged").await.pop().unwrap();
    let event: proto::identity::MembershipChanged = said.decode();
    assert_eq!((said.version, event.since.as_str()), (2, "2018-05-04"));

    let seen = queue(&world, &above).await;
    assert_eq!(seen, queue(&world, &operator).await);
    assert_eq!(queue(&world, &officer).await, [Value::Null; 0]);
    let review = &seen[0];
    assert_eq!(
        [
            &review["sinceBefore"],
            &review["sinceAfter"],
            &review["reason"]
        ],
        ["2026-04-01", "2018-05-04", "LATE_EVIDENCE"]
    );
    let close = json!({ "reviewId": review["id"] });
    let told = world
        .answered(&officer, "closeMembershipReview", &close)
        .await;
    let absent = [
        "REVIEW_NOT_FOUND",
        "找不到该复核事项。",
        "There is no such review.",
    ];
    assert_eq!(told, absent, "she is not above herself");
    let selection = "review { closedAt }";
    let first = world
        .mutate(&above, "closeMembershipReview", selection, close.clone())
        .await;
    assert!(first["review"]["closedAt"].is_string(), "{first}");
    world.advance(60);
    let again = world
        .mutate(&operator, "closeMembershipReview", selection, close)
        .await;
    assert_eq!(first, again);
    assert_eq!(queue(&world, &above).await, [Value::Null; 0]);

    let mut own = correct;
    own["since"] = json!("2018-05-05");
    let done = world
        .mutate(&operator, "correctMembership", "", own.clone())
        .await;
    assert_eq!(codes(&done), [""; 0]);
    let close = json!({ "reviewId": queue(&world, &above).await[0]["id"] });
    let told = world
        .answered(&operator, "closeMembershipReview", &close)
        .await;
    assert_eq!(told, OF_OWN);
    let told = world.answered(&operator, "correctMembership", &own).await;
    assert_eq!(told[0], "NOTHING_CORRECTED");
    own["until"] = json!("2026-03-01");
    let told = world.answered(&operator, "correctMembership", &own).await;
    assert_eq!(told[0], "STANDING_DOES_NOT_FIT");
    assert_eq!(world.broken(REVIEWED).await, 0);
    let owner = world.test.owner().await;
    owner
        .execute("DELETE FROM membership_review", [])
        .await
        .unwrap();
    assert_eq!(world.broken(REVIEWED).await, 2);
}

/// Who stands above does not decide on a correction of her own membership, made by another.
#[tokio::test]
async fn nobody_reviews_a_correction_of_herself() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let (above, operator) = (officer_above(&world).await, world.as_operator());
    let hers = add(&world, &officer, joining(&union, 101, "2026-04-01")).await;
    let correct = json!({ "membershipId": hers, "since": "2020-01-01", "reason": "DECISION" });
    let done = world.mutate(&officer, "correctMembership", "", correct);
    assert_eq!(codes(&done.await), [""; 0]);
    let close = json!({ "reviewId": queue(&world, &above).await[0]["id"] });
    let told = world
        .answered(&above, "closeMembershipReview", &close)
        .await;
    assert_eq!(told, OF_OWN);
    let done = world.mutate(&operator, "closeMembershipReview", "", close);
    assert_eq!(codes(&done.await), [""; 0]);
    assert_eq!(world.broken(REVIEWED).await, 0);
    let owner = world.test.owner().await;
    let by_herself = "UPDATE membership_review r SET closed_by = m.member
        FROM membership m WHERE m.id = r.membership";
    owner.execute(by_herself, []).await.unwrap();
    assert_eq!(world.broken(REVIEWED).await, 1);
}

/// Two memberships of one person with a gap between them, that one correction each would close:
/// the first one reaching into the second.
async fn apart(world: &World) -> [Uuid; 2] {
    let (union, officer) = officer_of(world, "基层工会", 100).await;
    let first = add(world, &officer, joining(&union, 1, "2019-07-01")).await;
    end(world, &first, "2022-01-01").await;
    let second = add(world, &officer, joining(&union, 1, "2024-01-01")).await;
    [uuid(&first), uuid(&second)]
}

fn corrections() -> [Correction; 2] {
    let until = Correction {
        since: None,
        until: Some("2023-06-01".parse().unwrap()),
    };
    let since = Correction {
        since: Some("2023-01-01".parse().unwrap()),
        until: None,
    };
    [until, since]
}

/// Both at once, in two processes: one is made, the other one is told why not.
#[tokio::test]
async fn corrections_at_once_do_not_overlap() {
    let world = World::new().await;
    let [first, second] = apart(&world).await;
    let [until, since] = corrections();
    let other = world.test.process().await;
    let (ctx, operator) = (&world.identity.ctx, world.as_operator());
    let (one, two) = tokio::join!(
        correct_membership(ctx, &operator, first, until, Reason::EntryError),
        correct_membership(&other, &operator, second, since, Reason::EntryError),
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let refused = one.and(two).unwrap_err();
    assert!(matches!(refused, kit::Error::Refused(why) if why.code == "SINCE_INVALID"));
    assert_eq!(world.broken(APART).await, 0);
}

/// Without the organisation's lock neither sees the other, and both are made.
#[tokio::test]
async fn without_their_lock_corrections_would_overlap() {
    let world = World::new().await;
    let ids = apart(&world).await;
    let processes = [world.test.process().await, world.test.process().await];
    let both_wrote = Barrier::new(2);
    let correct = async |at: usize| {
        let unlocked = processes[at].db.tx("unlocked_correction", async |tx| {
            let membership = people::membership(tx, ids[at]).await?.unwrap();
            let corrected = membership.correct(corrections()[at], shanghai_date(tx.now()))?;
            people::save_membership(tx, &corrected).await?;
            both_wrote.wait().await;
            let overlaps = memberships::overlaps(tx, &[corrected.id]).await?;
            both_wrote.wait().await;
            Ok(overlaps)
        });
        unlocked.await.unwrap()
    };
    let seen = tokio::join!(correct(0), correct(1));
    assert_eq!(seen, (false, false));
    assert_eq!(world.broken(APART).await, 1);
}
