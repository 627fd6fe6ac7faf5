//! The same work whether a name or a number is wrong: for each command that compares the two, what
//! it asks of the database and what it opens, seals and hashes, counted and not timed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use identity::Settings;
use identity::commands::searches::find_by_number;
use identity::domain::merge::Pair;
use identity::verifier::VerificationSettings;
use kit::access::Caller;
use kit::graphql::Language;
use kit::types::MemberId;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::{Value, json};

use crate::credentials::{Holder, holder_in};
use crate::desk::desk;
use crate::merges::merge;
use crate::people::with;
use crate::phone_recoveries::{claim_of, code, global, plant};
use crate::rosters::{compared, csv, difference, line, officer_of, settle};
use crate::world::{
    World, codes, member_of, name, number, number_of_phone, organisation_of, person, phone,
    settings,
};

/// A name that nobody of the world has, and a number that nobody has.
const NAME: &str = "别人";
const NOBODY: u32 = 777;

/// What is counted.
const STATEMENTS: &str = "bashu_statements_total";
const VAULT: &str = "bashu_vault_operations_total";

type Counts = BTreeMap<String, u64>;

/// Takes down what is counted on this thread.
#[derive(Default)]
struct Work(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Work {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if ![STATEMENTS, VAULT].contains(&key.name()) {
            return Counter::noop();
        }
        let what: Vec<&str> = key.labels().map(|label| label.value()).collect();
        let name = format!("{} {}", key.name(), what.join(" "));
        let mut counts = self.0.lock().unwrap();
        Counter::from_arc(counts.entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// What an act answers, and the work that it is.
async fn work_of<T>(act: impl Future<Output = T>) -> (T, Counts) {
    let work = Work::default();
    let guard = metrics::set_default_local_recorder(&work);
    let answer = act.await;
    drop(guard);
    let counts = work.0.into_inner().unwrap().into_iter();
    let counts = counts.map(|(name, count)| (name, count.load(Ordering::Relaxed)));
    (answer, counts.collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Name,
    Number,
}

/// A wrong name and a wrong number are one answer and the same work.
async fn are_the_same(world: &World, what: &str, act: impl AsyncFn(Wrong) -> Value) -> Counts {
    // What is done once only is done by the first.
    let _first = act(Wrong::Name).await;
    let mut counted = Vec::new();
    for wrong in [Wrong::Name, Wrong::Number] {
        world.seal().await;
        counted.push(work_of(act(wrong)).await);
    }
    let (answer, counts) = counted.remove(0);
    assert_eq!((&answer, &counts), (&counted[0].0, &counted[0].1), "{what}");
    for it in [format!("{STATEMENTS} "), format!("{VAULT} hash")] {
        assert!(counts.contains_key(&it), "{what}: {it} of {counts:?}");
    }
    counts
}

/// Who is added: of somebody who has a phone, and of somebody without one whom the officer does not
/// answer for.
#[tokio::test]
async fn adding_people_tells_no_number_from_a_name() {
    let world = World::new().await;
    let elsewhere = world.organisation("GRASSROOTS", "别的工会").await;
    let _ = world.person(&elsewhere, 1).await;
    let phoneless = with(person(2), "phone", Value::Null);
    let input = json!({ "organisationId": elsewhere, "person": phoneless });
    let operator = world.as_operator();
    let added = world.mutate(&operator, "addMembership", "", input);
    assert_eq!(codes(&added.await), [""; 0]);
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    for known in [1, 2] {
        let act = async |wrong: Wrong| {
            // A phone that somebody has, or the unknown number would be a new person's.
            let given = with(person(known), "phone", number_of_phone(1).into());
            let given = match wrong {
                Wrong::Name => with(given, "name", NAME.into()),
                Wrong::Number => with(given, "documentNumber", number(NOBODY).into()),
            };
            let input = json!({ "organisationId": union, "person": given });
            let answer = world.mutate(&officer, "addMembership", "", input).await;
            assert_eq!(codes(&answer), ["PERSON_NOT_MATCHED"]);
            answer
        };
        let counts = are_the_same(&world, "addMembership", act).await;
        assert!(counts.contains_key(&format!("{VAULT} open")), "{counts:?}");
    }
}

/// Rosters of members, by whom another union has; and lists, by one's own members.
#[tokio::test]
async fn rosters_tell_no_number_from_a_name() {
    let world = World::new().await;
    let elsewhere = world.organisation("GRASSROOTS", "别的工会").await;
    let _ = world.person(&elsewhere, 1).await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let _ = world.person(&union, 2).await;
    settle(&world).await;
    for (purpose, known) in [("MEMBERSHIP", 1), ("LIST", 2)] {
        let act = async |wrong: Wrong| {
            let line = match wrong {
                Wrong::Name => line(known).replace(&name(known), NAME),
                Wrong::Number => line(known).replace(&number(known), &number(NOBODY)),
            };
            let id = compared(&world, &officer, (&union, purpose), csv(&[line])).await;
            let rows = difference(&world, &officer, &id).await;
            let bad = rows.iter().find(|row| row["change"] == "BAD").unwrap();
            assert_eq!(bad["findings"][0]["code"], "PERSON_NOT_MATCHED");
            bad["findings"].clone()
        };
        let counts = are_the_same(&world, purpose, act).await;
        assert!(counts.contains_key(&format!("{VAULT} open")), "{counts:?}");
    }
}

/// The desk; who is right is more work, so that the count would show it.
#[tokio::test]
async fn a_desk_tells_no_number_from_a_name() {
    let Holder {
        world,
        partner,
        staff,
        ..
    } = holder_in(World::new().await).await;
    let (right, known, unknown) = (name(1), number(1), number(NOBODY));
    let act = async |wrong: Wrong| {
        let who = match wrong {
            Wrong::Name => (NAME, known.as_str()),
            Wrong::Number => (right.as_str(), unknown.as_str()),
        };
        let answer = desk(&world, staff, &partner, who).await;
        assert_eq!(codes(&answer), ["PERSON_NOT_MATCHED"]);
        answer
    };
    let counts = are_the_same(&world, "mintDeskCredentials", act).await;
    let who = (right.as_str(), known.as_str());
    world.seal().await;
    let (answer, matched) = work_of(desk(&world, staff, &partner, who)).await;
    assert_eq!(codes(&answer), ["NOTHING_USABLE"]);
    assert_ne!(counts, matched);
    for what in ["open", "seal"] {
        let of_vault = format!("{VAULT} {what}");
        assert_eq!(counts[&of_vault], matched[&of_vault], "one comparison");
    }
}

/// Merging, of two records whose names differ and of two that have another document.
#[tokio::test]
async fn merging_tells_no_number_from_a_name() {
    let cast = crate::merges::cast().await;
    let world = &cast.world;
    let other = json!({ "name": NAME, "documentType": "RESIDENT_ID",
        "documentNumber": number(73) });
    let input = json!({ "organisationId": cast.union, "person": other });
    let selection = "membership { member { id } }";
    let operator = world.as_operator();
    let added = world.mutate(&operator, "addMembership", selection, input);
    let differs = Pair {
        survivor: member_of(&added.await["membership"]["member"]["id"]),
        merged: cast.merged,
    };
    let act = async |wrong: Wrong| {
        let (pair, passport) = match wrong {
            Wrong::Name => (differs, crate::merges::PASSPORT),
            Wrong::Number => (cast.pair(), "E12345679"),
        };
        let answer = merge(world, &operator, pair, passport).await;
        assert_eq!(codes(&answer), ["PERSON_NOT_MATCHED"]);
        answer
    };
    let counts = are_the_same(world, "mergeMembers", act).await;
    assert!(counts.contains_key(&format!("{VAULT} open")), "{counts:?}");
}

/// A world in which persons are verified, by nobody who answers.
async fn verifying() -> World {
    let verification = VerificationSettings {
        url: "http://127.0.0.1:9".to_owned(),
        secret_id: "id".to_owned(),
        secret_key: "key".into(),
    };
    World::with(Settings {
        verification: Some(verification),
        ..settings("http://127.0.0.1:9")
    })
    .await
}

/// A lost phone is claimed: whoever asks is answered as if it had begun. And who confirms one names
/// another document, or another phone.
#[tokio::test]
async fn recovering_tells_no_number_from_a_name() {
    let world = verifying().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let member = world.person(&union, 1).await;
    let next = std::cell::Cell::new(0_usize);
    let mut new = Vec::new();
    for at in 0..3 {
        let phone = format!("1360000{at:04}");
        new.push((code(&world, &phone).await, phone));
    }
    let claim = async |wrong: Wrong| {
        let (code, phone) = &new[next.replace(next.get() + 1)];
        // Named as another person is, by her number.
        let claim = match wrong {
            Wrong::Name => claim_of(phone, code, 2, &number(1)),
            Wrong::Number => claim_of(phone, code, 1, &number(NOBODY)),
        };
        let nobody = Caller::anonymous(Language::En);
        let selection = "expiresAt";
        let answer = world.mutate(&nobody, "recoverAccount", selection, claim);
        let answer = answer.await;
        assert_eq!(codes(&answer), [""; 0], "{answer}");
        answer
    };
    let counts = are_the_same(&world, "recoverAccount", claim).await;
    assert!(counts.contains_key(&format!("{VAULT} open")), "{counts:?}");
    confirming(&world, &officer, member).await;
}

async fn confirming(world: &World, officer: &Caller, member: MemberId) {
    let new = "13600009999";
    plant(world, member, new, None).await;
    let confirm = async |wrong: Wrong| {
        let (phone, document) = match wrong {
            Wrong::Name => ("13600008888", number(1)),
            Wrong::Number => (new, number(NOBODY)),
        };
        let input = json!({ "memberId": global(member), "phone": phone,
            "documentType": "RESIDENT_ID", "documentNumber": document });
        let answer = world.mutate(officer, "confirmPhoneRecovery", "expiresAt", input);
        let answer = answer.await;
        assert_eq!(codes(&answer), ["PERSON_NOT_MATCHED"]);
        answer
    };
    let _counts = are_the_same(world, "confirmPhoneRecovery", confirm).await;
}

/// A number is looked for that is somebody's elsewhere, and one that is nobody's.
#[tokio::test]
async fn searching_tells_nobody_elsewhere_from_nobody() {
    let world = World::new().await;
    let elsewhere = world.organisation("GRASSROOTS", "别的工会").await;
    let _ = world.person(&elsewhere, 1).await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let organisation = organisation_of(&union);
    let find = async |wrong: Wrong| {
        let number = phone(&number_of_phone(match wrong {
            Wrong::Name => 1,
            Wrong::Number => NOBODY,
        }));
        let number = (Some(&number), &[][..]);
        let found = find_by_number(ctx, vault, &officer, organisation, number).await;
        json!(found.unwrap().len())
    };
    let _counts = are_the_same(&world, "find_by_number", find).await;
}
