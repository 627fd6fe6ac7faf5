//! What an officer cannot do by adding people: try numbers out by the list, and come to sign in
//! as somebody else's member.

use identity::store::people;
use kit::access::Caller;
use serde_json::{Value, json};

use crate::people::with;
use crate::world::{World, codes, member_of, number_of_phone, person, phone};

/// An officer of a union of her own, `at`-th person of the world.
async fn officer_of(world: &World, union_name: &str, at: u32) -> (String, Caller) {
    let union = world.organisation("GRASSROOTS", union_name).await;
    let officer = world.person(&union, at).await;
    let _ = world.grant(officer, &union, "OFFICER").await;
    (union, world.as_member(officer))
}

async fn add_list(world: &World, by: &Caller, union: &str, people: Vec<Value>) -> Value {
    let input = json!({ "organisationId": union, "people": people });
    let selection = "memberships { id member { id } }";
    world.mutate(by, "addMemberships", selection, input).await
}

/// The people of these numbers under a name that is not theirs.
fn guesses(range: std::ops::Range<u32>) -> Vec<Value> {
    range
        .map(|at| with(person(at), "name", "别人".into()))
        .collect()
}

/// A list that is refused for a repetition was not looked up: it says the same of strangers as
/// of people who are there, and costs nothing.
#[tokio::test]
async fn a_repeated_line_tells_nothing_of_the_others() {
    let world = World::new().await;
    let elsewhere = world.organisation("GRASSROOTS", "别的基层工会").await;
    let _ = add_list(
        &world,
        &world.as_operator(),
        &elsewhere,
        (0..20).map(person).collect(),
    )
    .await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let mut answers = Vec::new();
    for (known_or_not, twice) in [(0..20, 30), (40..60, 31)] {
        let mut list = guesses(known_or_not);
        list.extend([person(twice), person(twice)]);
        answers.push(add_list(&world, &officer, &union, list).await);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(codes(&answers[0]), ["PERSON_REPEATED"]);
    let place = json!(["people", "21", "documentNumber"]);
    assert_eq!(answers[0]["userErrors"][0]["field"], place);
    let failures = "SELECT COALESCE(sum(count), 0)::bigint AS count FROM attempt
                    WHERE scope = 'person_not_matched'";
    assert_eq!(world.count(failures).await, 0);
}

/// Everybody of a list who does not match counts. A list with more of them than are left names
/// nobody and uses up the hour, also beside another list at the same time.
#[tokio::test]
async fn an_officer_cannot_try_numbers_out_by_lists() {
    let world = World::new().await;
    let elsewhere = world.organisation("GRASSROOTS", "别的基层工会").await;
    let _ = add_list(
        &world,
        &world.as_operator(),
        &elsewhere,
        (0..40).map(person).collect(),
    )
    .await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let list = async |range| add_list(&world, &officer, &union, guesses(range)).await;

    assert_eq!(codes(&list(0..4).await), ["PERSON_NOT_MATCHED"; 4]);
    assert_eq!(codes(&list(4..10).await), ["PERSON_NOT_MATCHED"; 6]);
    assert_eq!(codes(&list(10..11).await), ["TOO_MANY_FAILURES"]);

    world.advance(3_600);
    let mut long = guesses(0..11);
    long.extend((200..280).map(person));
    let answer = add_list(&world, &officer, &union, long).await;
    assert_eq!(codes(&answer), ["TOO_MANY_FAILURES"]);
    assert!(!answer["userErrors"].to_string().contains("people"));
    assert_eq!(codes(&list(300..301).await), ["TOO_MANY_FAILURES"]);

    world.advance(3_600);
    let (one, two) = futures::join!(list(0..6), list(6..12));
    let mut told = [codes(&one), codes(&two)];
    told.sort_by_key(Vec::len);
    assert_eq!(told[0], ["TOO_MANY_FAILURES"]);
    assert_eq!(told[1], ["PERSON_NOT_MATCHED"; 6]);
    assert_eq!(
        world.count("SELECT count(*) AS count FROM member").await,
        42,
        "nobody of a refused list is added"
    );
}

/// Whether the phone opens somebody's account.
async fn signs_in(world: &World, number: &str) -> bool {
    let blind = world.identity.vault.blind_phone(&phone(number)).unwrap();
    let ctx = &world.identity.ctx;
    let found = ctx.db.tx("by_phone", async |tx| {
        people::by_phone(tx, &blind).await.map(|it| it.is_some())
    });
    found.await.unwrap()
}

/// An officer gives a phone to a person who is new or his own, and to nobody else's: also not
/// after he has added her himself, which is answered as ever. Operators may.
#[tokio::test]
async fn an_officer_cannot_sign_in_as_somebody_elses_member() {
    let world = World::new().await;
    let (own, own_officer) = officer_of(&world, "第一基层工会", 100).await;
    let (other, other_officer) = officer_of(&world, "第二基层工会", 101).await;
    let phoneless = |at| with(person(at), "phone", Value::Null);
    let add_by = async |by: &Caller, union: &str, person: Value| {
        let answer = add_list(&world, by, union, vec![person]).await;
        assert_eq!(codes(&answer), [""; 0]);
        answer
    };
    for at in 1..=4 {
        add_by(&own_officer, &own, phoneless(at)).await;
        world.advance(1);
    }
    let attacked = |at| with(person(at), "phone", format!("1360000{at:04}").into());
    let first = add_by(&other_officer, &other, attacked(1)).await;
    let second = add_by(&other_officer, &other, attacked(1)).await;
    assert_eq!(first, second, "the membership that is there");
    assert!(!signs_in(&world, "13600000001").await);

    // Her own officer may, whoever added her since; for one who has left nobody but operators.
    add_by(&own_officer, &own, person(1)).await;
    assert!(signs_in(&world, &number_of_phone(1)).await);
    let left = add_by(&own_officer, &own, phoneless(2)).await;
    let input = json!({ "membershipId": left["memberships"][0]["id"], "how": "LEFT" });
    let ended = world.mutate(&own_officer, "endMembership", "membershipId", input);
    assert_eq!(codes(&ended.await), [""; 0]);
    for _ in 0..2 {
        add_by(&other_officer, &other, attacked(2)).await;
    }
    assert!(!signs_in(&world, "13600000002").await);
    add_by(&world.as_operator(), &own, person(2)).await;
    assert!(signs_in(&world, &number_of_phone(2)).await);

    // An office makes her an account that no other officer may open.
    let three = add_by(&own_officer, &own, phoneless(3)).await;
    let three = member_of(&three["memberships"][0]["member"]["id"]);
    let _ = world.grant(three, &own, "APPROVER").await;
    add_by(&own_officer, &own, attacked(3)).await;
    assert!(!signs_in(&world, "13600000003").await);
    add_by(&own_officer, &own, person(4)).await;
    assert!(signs_in(&world, &number_of_phone(4)).await);
}
