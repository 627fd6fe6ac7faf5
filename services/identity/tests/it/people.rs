//! Adding people: once each, all or none, and without telling who is there.

use std::collections::HashSet;

use identity::commands::people::{NewPerson, add_members};
use identity::domain::identifier::{Document, DocumentKind, Phone};
use identity::domain::name::PersonName;
use identity::store::people::{self, NewDocumentRow, NewPersonRow, PersonRow};
use kit::graphql::GlobalId;
use kit::types::{MemberId, shanghai_date};
use kit::{Tx, verify};
use serde_json::{Value, json};

use crate::world::{World, codes, name, number, number_of_phone, organisation_of, person};

async fn add(world: &World, organisation: &str, person: Value) -> Value {
    let input = json!({ "organisationId": organisation, "person": person });
    world
        .mutate(
            &world.as_operator(),
            "addMembership",
            "membership { id state since member { id } }",
            input,
        )
        .await
}

async fn add_all(world: &World, organisation: &str, people: Vec<Value>) -> Value {
    let input = json!({ "organisationId": organisation, "people": people });
    let selection = "memberships { id member { id } }";
    world
        .mutate(&world.as_operator(), "addMemberships", selection, input)
        .await
}

pub(crate) fn with(person: Value, field: &str, value: Value) -> Value {
    let mut person = person;
    person[field] = value;
    person
}

/// One person in two unions is one member with two memberships; the same request again changes
/// nothing.
#[tokio::test]
async fn a_person_is_there_once() {
    let world = World::new().await;
    let first = world.organisation("GRASSROOTS", "第一基层工会").await;
    let second = world.organisation("GRASSROOTS", "第二基层工会").await;
    let one = add(&world, &first, person(1)).await;
    let again = add(&world, &first, person(1)).await;
    assert_eq!(one, again);
    assert_eq!(one["membership"]["state"], "FULL");
    let lower = with(person(1), "documentNumber", number(1).to_lowercase().into());
    let two = add(&world, &second, lower).await;
    assert_eq!(one["membership"]["member"], two["membership"]["member"]);
    assert_ne!(one["membership"]["id"], two["membership"]["id"]);
    assert_eq!(
        world.events_of("MemberChanged").await.len(),
        2,
        "she and the operator"
    );
    assert_eq!(world.events_of("MembershipChanged").await.len(), 3);
}

/// A wrong name, another's phone: the same answer, and nothing of who is there.
#[tokio::test]
async fn what_does_not_match_is_not_told() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let _ = add(&world, &union, person(1)).await;
    let wrong_name = add(&world, &union, with(person(1), "name", "别人".into())).await;
    let taken = add(
        &world,
        &union,
        with(person(2), "phone", number_of_phone(1).into()),
    )
    .await;
    assert_eq!(wrong_name, taken);
    assert_eq!(codes(&taken), ["PERSON_NOT_MATCHED"]);
    // A phone that is there stays: nobody takes over a login by adding the person again.
    let moved = add(
        &world,
        &union,
        with(person(1), "phone", "13600000000".into()),
    )
    .await;
    assert_eq!(codes(&moved), [""; 0]);
    let session = world.sign_in(&number_of_phone(1)).await;
    let id = GlobalId::of_uuid("Member", session.member.0);
    assert_eq!(
        moved["membership"]["member"]["id"].as_str().unwrap(),
        id.as_str()
    );
}

/// What cannot be read is refused by field, and nothing is written.
#[tokio::test]
async fn bad_input_is_named() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    for (field, value, code) in [
        ("name", json!("张"), "PERSON_NAME_INVALID"),
        ("name", json!("张三<script>"), "PERSON_NAME_INVALID"),
        (
            "documentNumber",
            json!("110105194912310020"),
            "DOCUMENT_INVALID",
        ),
        (
            "documentNumber",
            json!("500103199002290018"),
            "DOCUMENT_INVALID",
        ),
        ("documentNumber", Value::Null, "DOCUMENT_INVALID"),
        ("documentType", json!("PASSPORT"), "DOCUMENT_INVALID"),
        ("phone", json!("12345"), "PHONE_INVALID"),
    ] {
        let answer = add(&world, &union, with(person(1), field, value.clone())).await;
        assert_eq!(codes(&answer), [code], "{field} {value}");
    }
    let nowhere = GlobalId::of_uuid("Organisation", uuid::Uuid::from_u128(1)).to_string();
    for organisation in [nowhere.as_str(), "nonsense"] {
        let answer = add(&world, organisation, person(1)).await;
        assert_eq!(codes(&answer), ["ORGANISATION_NOT_FOUND"]);
    }
    assert_eq!(world.count("SELECT count(*) AS count FROM member").await, 1);
}

/// A list is added as a whole or not at all, and every bad line is named by its place.
#[tokio::test]
async fn a_list_is_all_or_none() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let mut list: Vec<Value> = (0..5).map(person).collect();
    list[1] = with(person(1), "documentNumber", "110105194912310020".into());
    list[4] = with(person(4), "phone", "1".into());
    let answer = add_all(&world, &union, list).await;
    assert_eq!(codes(&answer), ["DOCUMENT_INVALID", "PHONE_INVALID"]);
    assert_eq!(
        answer["userErrors"][0]["field"],
        json!(["people", "1", "documentNumber"])
    );
    assert_eq!(
        answer["userErrors"][1]["field"],
        json!(["people", "4", "phone"])
    );

    let mut twice: Vec<Value> = (0..3).map(person).collect();
    twice.push(with(person(9), "phone", number_of_phone(0).into()));
    let answer = add_all(&world, &union, twice).await;
    assert_eq!(codes(&answer), ["PERSON_REPEATED"]);
    assert_eq!(answer["userErrors"][0]["field"][1], "3");
    assert_eq!(world.count("SELECT count(*) AS count FROM member").await, 1);

    let answer = add_all(&world, &union, (0..100).map(person).collect()).await;
    assert_eq!(answer["memberships"].as_array().unwrap().len(), 100);
    for bad in [vec![], (0..101).map(person).collect::<Vec<_>>()] {
        assert_eq!(codes(&add_all(&world, &union, bad).await), ["LIST_SIZE"]);
    }
    assert_eq!(
        world
            .count("SELECT count(*) AS count FROM membership")
            .await,
        101
    );
}

/// Ten people that do not match, and the officer must wait: also when she tries all at once.
#[tokio::test]
async fn an_officer_cannot_try_numbers_out() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let _ = add(&world, &union, person(1)).await;
    let wrong = with(person(1), "name", "别人".into());
    let tries = (0..14).map(|_| add(&world, &union, wrong.clone()));
    let answers = futures::future::join_all(tries).await;
    let count = |code| {
        answers
            .iter()
            .filter(|answer| codes(answer) == [code])
            .count()
    };
    assert_eq!(
        (count("PERSON_NOT_MATCHED"), count("TOO_MANY_FAILURES")),
        (10, 4)
    );
    assert_eq!(
        codes(&add(&world, &union, person(2)).await),
        ["TOO_MANY_FAILURES"]
    );
    let locked = format!(
        "SELECT count(*) AS count FROM audit WHERE act = 'look_ups_locked' AND member = '{}'",
        world.operator
    );
    assert_eq!(world.count(&locked).await, 1, "the alarm is on record");
    world.advance(3_600);
    assert_eq!(codes(&add(&world, &union, person(2)).await), [""; 0]);
}

/// The same new person added by many officers at once is one person: the constraint finds the
/// race, and who lost it looks again.
#[tokio::test]
async fn a_person_added_twice_at_once_is_one() {
    let world = World::new().await;
    let mut officers = Vec::new();
    for at in 0..6 {
        let union = world
            .organisation("GRASSROOTS", &format!("第{at}基层工会"))
            .await;
        let officer = world.person(&union, 100 + at).await;
        let _ = world.grant(officer, &union, "OFFICER").await;
        officers.push((union, world.as_member(officer)));
    }
    let ctx = &world.identity.ctx;
    let adds = officers.iter().map(|(union, caller)| {
        let people = [new_person(1, ctx)];
        let organisation = organisation_of(union);
        let vault = &world.identity.vault;
        async move { add_members(ctx, vault, caller, organisation, &people).await }
    });
    let answers = futures::future::join_all(adds).await;
    let members: HashSet<MemberId> = answers
        .into_iter()
        .map(|answer| answer.unwrap().unwrap()[0].member)
        .collect();
    assert_eq!(members.len(), 1);
    let documents = "SELECT count(*) AS count FROM document";
    assert_eq!(world.count(documents).await, 7);
}

/// The negative control: without the constraint, two who both look before either has written
/// make two of one person.
#[tokio::test]
async fn without_its_constraint_a_person_would_be_two() {
    let world = World::new().await;
    world
        .test
        .owner()
        .await
        .execute("DROP INDEX document_blind_unique", [])
        .await
        .unwrap();
    let other = world.test.process().await;
    let blind = [9; 32];
    let absent = async |tx: &Tx| {
        assert!(people::by_documents(tx, &[blind]).await.unwrap().is_empty());
    };
    let (vault, ids) = (&world.identity.vault, kit::Ids::seeded(9));
    let row = |member: u128| {
        let member = uuid::Uuid::from_u128(member);
        let (_, data_key) = vault.new_data_key(&ids, member).unwrap();
        NewPersonRow {
            person: PersonRow {
                member,
                data_key,
                name: vec![1],
            },
            document: Some(NewDocumentRow {
                id: member,
                kind: 1,
                number: vec![1],
                blind,
            }),
            phone: None,
            terms: vec![1],
        }
    };
    world
        .test
        .ctx
        .db
        .tx("first", async |first| {
            absent(first).await;
            let second = async |second: &Tx| {
                absent(second).await;
                people::insert(second, &[row(2)]).await
            };
            other.db.tx("second", second).await?;
            people::insert(first, &[row(1)]).await
        })
        .await
        .unwrap();
    let twins = "SELECT count(*) AS count FROM document GROUP BY blind";
    assert_eq!(world.count(twins).await, 2);
}

fn new_person(at: u32, ctx: &kit::Ctx) -> NewPerson {
    let today = shanghai_date(ctx.clock.now());
    NewPerson {
        name: PersonName::parse(&name(at)).unwrap(),
        document: Some(Document::parse(DocumentKind::ResidentId, &number(at), today).unwrap()),
        phone: Some(Phone::parse(&number_of_phone(at)).unwrap()),
    }
}

/// A membership ends once, by its own officers, and its organisation can then close.
#[tokio::test]
async fn a_membership_ends() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let made = add(&world, &union, person(1)).await;
    let id = made["membership"]["id"].as_str().unwrap();
    let end = |date: Value| {
        let input = json!({ "membershipId": id, "how": "LEFT", "date": date });
        let (world, caller) = (&world, world.as_operator());
        async move {
            world
                .mutate(&caller, "endMembership", "membershipId", input)
                .await
        }
    };
    let close = || {
        let (world, caller) = (&world, world.as_operator());
        let input = json!({ "organisationId": union });
        async move {
            world
                .mutate(
                    &caller,
                    "closeOrganisation",
                    "organisation { closedAt }",
                    input,
                )
                .await
        }
    };
    assert_eq!(codes(&close().await), ["HAS_MEMBERS"]);
    assert_eq!(codes(&end(json!("2026-03-31")).await), ["DATE_INVALID"]);
    assert_eq!(codes(&end(json!("2026-04-02")).await), ["DATE_INVALID"]);
    assert_eq!(codes(&end(Value::Null).await), [""; 0]);
    assert_eq!(codes(&end(Value::Null).await), ["MEMBERSHIP_ENDED"]);
    let event = world.events_of("MembershipChanged").await.pop().unwrap();
    let said: proto::identity::MembershipChanged = event.decode();
    assert_eq!((event.version, said.until.as_str()), (2, "2026-04-01"));
    assert_eq!(codes(&close().await), [""; 0]);
    assert_eq!(
        codes(&add(&world, &union, person(2)).await),
        ["ORGANISATION_CLOSED"]
    );
}

/// Three thousand people are loaded by commands within seconds, and every promise holds of them.
#[tokio::test]
async fn a_union_of_thousands_is_loaded_quickly() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "大型基层工会").await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let organisation = organisation_of(&union);
    let started = std::time::Instant::now();
    for batch in 0..6 {
        let people: Vec<NewPerson> = (batch * 500..(batch + 1) * 500)
            .map(|at| new_person(at, ctx))
            .collect();
        let caller = world.as_operator();
        let made = add_members(ctx, vault, &caller, organisation, &people)
            .await
            .unwrap();
        assert_eq!(made.unwrap().len(), 500);
    }
    println!("3,000 people in {} ms", started.elapsed().as_millis());
    assert_eq!(
        world
            .count("SELECT count(*) AS count FROM membership")
            .await,
        3_001
    );
    for invariant in verify::CHASSIS.iter().chain(identity::verify::INVARIANTS) {
        let violations = verify::check(&ctx.db, invariant).await.unwrap();
        assert!(violations.is_empty(), "{}: {violations:?}", invariant.id);
    }
}
