//! One person is one row, whatever she is found by: two documents, or a document and a phone.

use kit::graphql::GlobalId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::people::with;
use crate::rosters::{commit, compared, csv, difference, line, officer_of, settle, view};
use crate::world::{World, codes, name, number_of_phone, person};

const PASSPORT: &str = "E12345678";
const FAILURES: &str = "SELECT COALESCE(sum(count), 0)::bigint AS count FROM attempt
    WHERE scope = 'person_not_matched'";
/// More than are compared at once.
const BETWEEN: u32 = 500;

/// Somebody without a phone whom an operator adds to a union.
async fn added(world: &World, union: &str, person: Value) -> Uuid {
    let input = json!({ "organisationId": union, "person": with(person, "phone", Value::Null) });
    let operator = world.as_operator();
    let selection = "membership { member { id } }";
    let added = world.mutate(&operator, "addMembership", selection, input);
    let added = added.await;
    assert_eq!(codes(&added), [""; 0], "{added}");
    let id = added["membership"]["member"]["id"].as_str().unwrap();
    GlobalId::uuid(id, "Member").unwrap()
}

/// The first person of the world by her passport.
fn by_passport() -> Value {
    let person = with(person(1), "documentType", "PASSPORT".into());
    with(person, "documentNumber", PASSPORT.into())
}

/// Two records of one person, elsewhere.
async fn two_records(world: &World) -> [Uuid; 2] {
    let elsewhere = world.organisation("GRASSROOTS", "别的工会").await;
    let one = added(world, &elsewhere, person(1)).await;
    [one, added(world, &elsewhere, by_passport()).await]
}

/// Both documents are the one record's from now on.
async fn are_one(world: &World, [one, other]: [Uuid; 2]) {
    let sql = format!("UPDATE document SET member = '{one}' WHERE member = '{other}'");
    world.test.ctx.db.execute(&sql, []).await.unwrap();
}

fn both_lines() -> [String; 2] {
    let passport = format!("{},中国护照,{PASSPORT},,", name(1));
    [line(1).replace(&number_of_phone(1), ""), passport]
}

/// A list that has somebody by her document and again by her phone names her once: the second row
/// is bad, which tells the officer nothing that she may not know.
#[tokio::test]
async fn a_list_names_a_person_once() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    for at in 1..=2 {
        let _ = world.person(&union, at).await;
    }
    let by_document = line(1).replace(&number_of_phone(1), "");
    let by_phone = format!("{},网号,,{},", name(1), number_of_phone(1));
    let lines = [by_document, line(2), by_phone];
    let id = compared(&world, &officer, (&union, "LIST"), csv(&lines)).await;
    let rows = difference(&world, &officer, &id).await;
    let changes = rows.iter().map(|row| row["change"].as_str().unwrap());
    let changes: Vec<&str> = changes.collect();
    assert_eq!(changes, ["UNCHANGED", "UNCHANGED", "BAD"]);
    let finding = &rows[2]["findings"][0];
    assert_eq!(finding["code"], "PERSON_REPEATED");
    let said = finding["message"].as_str().unwrap();
    assert!(said.contains('2'), "the row is named: {said}");
    assert_eq!(world.count(FAILURES).await, 0);

    let input = json!({ "rosterImportId": id, "leaveOutBadRows": true,
        "idempotencyKey": Uuid::from_u128(1) });
    let done = world.mutate(&officer, "commitRoster", "rosterImport { state }", input);
    assert_eq!(codes(&done.await), [""; 0]);
    let said = world.events_of("RosterCommitted").await;
    let event: proto::identity::RosterCommitted = said[0].decode();
    assert_eq!(event.member_ids.len(), 2);
    assert_eq!(world.broken("identity.rosters_name_members").await, 0);
    let same = "UPDATE roster_row SET member = (SELECT member FROM roster_row WHERE place = 2)";
    world.test.ctx.db.execute(same, []).await.unwrap();
    assert_eq!(world.broken("identity.rosters_name_members").await, 1);
}

/// Who has two documents joins by one row, also where the other one is compared much later; that
/// both are hers is a look-up that failed, where she is not in the officer's union.
#[tokio::test]
async fn two_documents_join_once() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let pair = two_records(&world).await;
    are_one(&world, pair).await;
    let [first, second] = both_lines();
    let mut lines = vec![line(100), first];
    lines.extend((200..200 + BETWEEN).map(line));
    lines.push(second);
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&lines)).await;
    let seen = view(&world, &officer, &id).await;
    assert_eq!(seen["state"], "READY", "{seen}");
    assert_eq!(seen["newCount"], BETWEEN + 1, "{seen}");
    assert_eq!(seen["badCount"], 1, "{seen}");
    assert_eq!(world.count(FAILURES).await, 1);
    let refused = commit(&world, &officer, &id, 1).await;
    assert_eq!(codes(&refused), ["ROSTER_HAS_BAD_ROWS"]);
}

/// Two records that are made one after the comparison are no two people who join: it is compared
/// again, and the second row is bad.
#[tokio::test]
async fn who_became_one_since_is_compared_again() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let pair = two_records(&world).await;
    let mut lines = vec![line(100)];
    lines.extend(both_lines());
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&lines)).await;
    let seen = view(&world, &officer, &id).await;
    assert_eq!(
        (&seen["newCount"], &seen["badCount"]),
        (&json!(2), &json!(0))
    );
    are_one(&world, pair).await;
    let outdated = commit(&world, &officer, &id, 1).await;
    assert_eq!(codes(&outdated), ["ROSTER_OUTDATED"]);
    settle(&world).await;
    let seen = view(&world, &officer, &id).await;
    assert_eq!(
        (&seen["newCount"], &seen["badCount"]),
        (&json!(1), &json!(1))
    );
}

/// The same in a list of the graph: both would get a phone, and the second one is refused as what
/// it is, named by its place and counted.
#[tokio::test]
async fn a_list_of_the_graph_has_a_person_once() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let pair = two_records(&world).await;
    are_one(&world, pair).await;
    let second = with(by_passport(), "phone", number_of_phone(2).into());
    let input = json!({ "organisationId": union, "people": [person(1), second] });
    let operator = world.as_operator();
    let added = world.mutate(&operator, "addMemberships", "", input).await;
    assert_eq!(codes(&added), ["PERSON_REPEATED"]);
    assert_eq!(added["userErrors"][0]["field"][1], "1");
    assert_eq!(world.count(FAILURES).await, 1);
    let phones = format!(
        "SELECT count(*) AS count FROM login_method WHERE member = '{}'",
        pair[0]
    );
    assert_eq!(world.count(&phones).await, 0);
}
