//! What a roster must never allow: to be seen or committed by others, to try numbers out, to
//! happen twice, or to leave what it held of people behind.

use axum::http::{Method, StatusCode};
use futures::join;
use identity::publish::Aggregates;
use kit::access::Caller;
use kit::graphql::Language;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rosters::{
    HEADER, begin, commit, compared, csv, difference, line, officer_of, open_memberships, put,
    rest, settle, view,
};
use crate::world::{World, codes, name, number, number_of_phone, organisation_of, person};

/// An address takes one file, once, in its time, and only while who asked for it is in office.
/// ASVS V5.3.2, V14.2.1.
#[tokio::test]
async fn an_address_works_once() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let begun = begin(&world, &officer, &union, "MEMBERSHIP").await;
    let path = &begun["upload"]["path"];
    assert_eq!(begun["upload"]["bytesMax"], 4 * 1024 * 1024);
    let file = csv(&[line(100)]);
    let (one, two) = join!(
        put(&world, path, file.clone()),
        put(&world, path, csv(&[line(1)]))
    );
    let mut answers = [one, two];
    answers.sort();
    assert_eq!(answers, [StatusCode::ACCEPTED, StatusCode::NOT_FOUND]);
    assert_eq!(put(&world, path, file.clone()).await, StatusCode::NOT_FOUND);
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'receive_roster'";
    assert_eq!(world.count(audited).await, 1);

    let late = begin(&world, &officer, &union, "MEMBERSHIP").await;
    world.advance(30 * 60);
    let answer = put(&world, &late["upload"]["path"], file.clone()).await;
    assert_eq!(answer, StatusCode::NOT_FOUND);

    for path in [
        "/rosters/files/x",
        &format!("/rosters/files/{}", "A".repeat(500)),
    ] {
        for method in [Method::PUT, Method::GET] {
            let (status, _) = rest(&world, method, path, file.clone()).await;
            assert_eq!(status, StatusCode::NOT_FOUND);
        }
    }
    // An upload's address gives nothing.
    let begun = begin(&world, &officer, &union, "MEMBERSHIP").await;
    let path = begun["upload"]["path"].as_str().unwrap();
    let (status, _) = rest(&world, Method::GET, path, Vec::new()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let begun = begin(&world, &officer, &union, "MEMBERSHIP").await;
    withdraw_office(&world).await;
    let answer = put(&world, &begun["upload"]["path"], file).await;
    assert_eq!(answer, StatusCode::NOT_FOUND);
}

async fn withdraw_office(world: &World) {
    let owner = world.test.owner().await;
    let sql = "UPDATE role SET withdrawn_at = granted_at WHERE role = 'officer'";
    assert_eq!(owner.execute(sql, []).await.unwrap(), 1);
}

/// Rosters are begun by officers of the organisation itself, and seen by who began them.
#[tokio::test]
async fn nobody_else_sees_or_begins_a_roster() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let colleague = world.person(&union, 101).await;
    let _ = world.grant(colleague, &union, "OFFICER").await;
    let member = world.person(&union, 102).await;
    let (_, elsewhere) = officer_of(&world, "别的工会", 103).await;
    let root = kit::graphql::GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let above = world.person(&root, 104).await;
    let _ = world.grant(above, &root, "OFFICER").await;
    let file = csv(&[line(100), line(101).replace("138", "128"), line(102)]);
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;

    let others = [
        ("FORBIDDEN", world.as_operator()),
        ("FORBIDDEN", elsewhere),
        ("FORBIDDEN", world.as_member(above)),
        ("FORBIDDEN", world.as_member(member)),
        ("", world.as_member(colleague)),
    ];
    for (code, caller) in &others {
        let begun = begin(&world, caller, &union, "LIST").await;
        let expected: &[&str] = if code.is_empty() { &[] } else { &[code] };
        assert_eq!(codes(&begun), expected);
        assert_eq!(view(&world, caller, &id).await, Value::Null);
        let input = json!({ "rosterImportId": id });
        for (mutation, selection) in [
            ("correctRoster", "upload { path }"),
            ("downloadBadRows", "download { path }"),
        ] {
            let answer = world.mutate(caller, mutation, selection, input.clone());
            assert_eq!(codes(&answer.await), ["ROSTER_NOT_FOUND"]);
        }
        let answer = commit(&world, caller, &id, 1).await;
        assert_eq!(codes(&answer), ["ROSTER_NOT_FOUND"]);
    }
    let anonymous = Caller::anonymous(Language::En);
    assert_eq!(view(&world, &anonymous, &id).await, Value::Null);
    for made_up in [json!(union), json!("x"), other_id()] {
        assert_eq!(view(&world, &officer, &made_up).await, Value::Null);
    }
    let list_is_complete = json!({ "organisationId": union, "purpose": "LIST",
        "isComplete": true });
    let refused = world.mutate(
        &officer,
        "importRoster",
        "upload { path }",
        list_is_complete,
    );
    assert_eq!(codes(&refused.await), ["BAD_INPUT"]);
    // Out of office nothing of it is left to see.
    assert_ne!(view(&world, &officer, &id).await, Value::Null);
    let owner = world.test.owner().await;
    let withdrawn = "UPDATE role SET withdrawn_at = granted_at WHERE role = 'officer'";
    owner.execute(withdrawn, []).await.unwrap();
    assert_eq!(view(&world, &officer, &id).await, Value::Null);
}

fn other_id() -> Value {
    let id = kit::graphql::GlobalId::of_uuid("RosterImport", Uuid::from_u128(5));
    json!(id.to_string())
}

/// A list finds its own people alone: who is elsewhere, whose name is another's and who is nobody
/// are answered alike, and a list changes no membership.
#[tokio::test]
async fn a_list_tells_nothing_of_people_elsewhere() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let elsewhere = world.organisation("GRASSROOTS", "别的工会").await;
    for at in 1..=2 {
        let _ = world.person(&union, at).await;
    }
    let _ = world.person(&elsewhere, 3).await;
    let before = world.events().await.len();
    let online = format!("{},网号,,{},", name(2), number_of_phone(2));
    let lines = [
        line(1),
        online,
        line(1)
            .replace(&name(1), "别人")
            .replace(&number(1), &number(4)),
        line(3),
        line(5).replace(&name(5), "别人"),
        line(6),
    ];
    let id = compared(&world, &officer, (&union, "LIST"), csv(&lines[..])).await;
    let rows = difference(&world, &officer, &id).await;
    let changes: Vec<&str> = rows
        .iter()
        .map(|row| row["change"].as_str().unwrap())
        .collect();
    // The third repeats the phone of the first, which is told before anybody is looked up.
    assert_eq!(
        changes,
        ["UNCHANGED", "UNCHANGED", "BAD", "BAD", "BAD", "BAD"]
    );
    assert_eq!(rows[2]["findings"][0]["code"], "PERSON_REPEATED");
    for row in &rows[3..] {
        assert_eq!(row["findings"], rows[3]["findings"]);
        assert_eq!(row["findings"][0]["code"], "PERSON_NOT_MATCHED");
    }
    let failures = "SELECT COALESCE(sum(count), 0)::bigint AS count FROM attempt
                    WHERE scope = 'person_not_matched'";
    assert_eq!(world.count(failures).await, 3);
    let input = json!({ "rosterImportId": id, "leaveOutBadRows": true,
        "idempotencyKey": Uuid::from_u128(1) });
    let done = world.mutate(&officer, "commitRoster", "rosterImport { state }", input);
    assert_eq!(codes(&done.await), [""; 0]);
    let events = world.events().await;
    assert_eq!(events.len(), before + 1);
    let said: proto::identity::RosterCommitted = events[before].decode();
    assert_eq!(said.member_ids.len(), 2);
    assert_eq!(said.organisation_id, organisation_of(&union).0.as_bytes());
}

/// Numbers cannot be tried out by rosters: with more rows that do not match than are left, nobody
/// is named and the hour is used up, for other ways of looking up too. One's own members do not
/// count.
#[tokio::test]
async fn an_officer_cannot_try_numbers_out_by_rosters() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let elsewhere = world.organisation("GRASSROOTS", "别的工会").await;
    for at in 0..12 {
        let _ = world.person(&elsewhere, at).await;
    }
    let other_name = |at: u32| line(at).replace(&name(at), "别人");
    let own: Vec<String> = vec![other_name(100)];
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&own)).await;
    assert_eq!(view(&world, &officer, &id).await["badCount"], 1);
    let some: Vec<String> = (0..9).map(other_name).collect();
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&some)).await;
    assert_eq!(view(&world, &officer, &id).await["badCount"], 9);
    let more: Vec<String> = (9..12).map(other_name).chain([line(50)]).collect();
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&more)).await;
    let seen = view(&world, &officer, &id).await;
    assert_eq!(seen["state"], "FAILED");
    assert_eq!(seen["problem"]["code"], "TOO_MANY_FAILURES");
    assert_eq!(
        (&seen["rowCount"], &seen["badCount"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(difference(&world, &officer, &id).await, [Value::Null; 0]);
    let locked = begin(&world, &officer, &union, "LIST").await;
    assert_eq!(codes(&locked), ["TOO_MANY_FAILURES"]);
    let input = json!({ "organisationId": union, "person": person(60) });
    let added = world.mutate(&officer, "addMembership", "membership { id }", input);
    assert_eq!(codes(&added.await), ["TOO_MANY_FAILURES"]);
    let refused = "SELECT count(*) AS count FROM audit WHERE act = 'roster_refused'";
    assert_eq!(world.count(refused).await, 1);
}

/// Committed twice at once, with one key or with two, a roster happens once.
#[tokio::test]
async fn a_roster_happens_once() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let file = csv(&[line(100), line(1), line(2)]);
    for keys in [(1, 1), (2, 3)] {
        let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file.clone()).await;
        let (one, two) = join!(
            commit(&world, &officer, &id, keys.0),
            commit(&world, &officer, &id, keys.1)
        );
        assert_eq!(codes(&one), [""; 0], "{one}");
        assert_eq!(one, two);
        assert_eq!(open_memberships(&world).await, 4);
        let other_input = json!({ "rosterImportId": id, "leaveOutBadRows": true,
            "idempotencyKey": Uuid::from_u128(keys.0) });
        let reused = world.mutate(&officer, "commitRoster", "rosterImport { id }", other_input);
        assert_eq!(codes(&reused.await), ["IDEMPOTENCY_KEY_REUSED"]);
    }
    let committed = "SELECT count(*) AS count FROM audit WHERE act = 'commit_roster'";
    assert_eq!(world.count(committed).await, 2);
    assert_eq!(world.events_of("RosterCommitted").await.len(), 2);
}

/// Two officers with two rosters of one organisation at once: one is made true, the other is
/// outdated by it and compared again.
#[tokio::test]
async fn two_officers_do_not_undo_each_other_unseen() {
    let world = World::new().await;
    let (union, first) = officer_of(&world, "基层工会", 100).await;
    let second = world.person(&union, 101).await;
    let _ = world.grant(second, &union, "OFFICER").await;
    let second = world.as_member(second);
    let file = |at| csv(&[line(100), line(101), line(at)]);
    let one = compared(&world, &first, (&union, "MEMBERSHIP"), file(1)).await;
    let two = compared(&world, &second, (&union, "MEMBERSHIP"), file(2)).await;
    let (done, late) = join!(
        commit(&world, &first, &one, 1),
        commit(&world, &second, &two, 2)
    );
    let mut answers = [codes(&done), codes(&late)];
    answers.sort_by_key(Vec::len);
    assert_eq!(answers, [vec![], vec!["ROSTER_OUTDATED"]]);
    settle(&world).await;
    let (caller, id, key) = if codes(&done).is_empty() {
        (&second, &two, 2)
    } else {
        (&first, &one, 1)
    };
    let seen = view(&world, caller, id).await;
    assert_eq!(seen["state"], "READY", "{seen}");
    assert_eq!(
        (&seen["newCount"], &seen["leavingCount"]),
        (&json!(1), &json!(1))
    );
    // The refusal was for the moment: the same key goes on.
    assert_eq!(codes(&commit(&world, caller, id, key).await), [""; 0]);
    assert_eq!(open_memberships(&world).await, 4);
}

/// Two rosters with the same stranger, committed at once in two unions: one person.
#[tokio::test]
async fn a_person_of_two_rosters_is_one_person() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "第一工会", 100).await;
    let (other_union, other) = officer_of(&world, "第二工会", 101).await;
    let one = csv(&[line(100), line(1)]);
    let two = csv(&[line(101), line(1)]);
    let one = compared(&world, &officer, (&union, "MEMBERSHIP"), one).await;
    let two = compared(&world, &other, (&other_union, "MEMBERSHIP"), two).await;
    let (done, late) = join!(
        commit(&world, &officer, &one, 1),
        commit(&world, &other, &two, 2)
    );
    assert_eq!((codes(&done), codes(&late)), (vec![], vec![]));
    let members = "SELECT count(*) AS count FROM member";
    assert_eq!(world.count(members).await, 4);
    assert_eq!(open_memberships(&world).await, 5);
}

/// Every column of the database that can hold text or bytes, and how many rows hold this.
async fn rows_with(world: &World, needle: &str) -> i64 {
    let bytes = hex::encode(needle);
    let text =
        |table: &str| format!("(SELECT count(*) FROM {table} t WHERE t::text LIKE '%{needle}%')");
    let raw = |column: &str, table: &str| {
        format!(
            "(SELECT count(*) FROM {table} WHERE position('\\x{bytes}'::bytea in {column}) > 0)"
        )
    };
    let sql = format!(
        "SELECT ({} + {} + {} + {} + {} + {} + {} + {} + {} + {})::bigint AS count",
        text("audit"),
        text("due"),
        text("once"),
        text("roster"),
        text("roster_row"),
        text("roster_address"),
        raw("payload", "outbox"),
        raw("file", "roster"),
        raw("told", "roster"),
        raw("sealed", "roster_row"),
    );
    world.count(&sql).await
}

const KEPT: &str = "SELECT (SELECT count(*) FROM roster WHERE file IS NOT NULL
    OR data_key IS NOT NULL OR told IS NOT NULL)
  + (SELECT count(*) FROM roster_row WHERE sealed IS NOT NULL) AS count";

/// What a file says of people is nowhere to be read while it waits, and gone after the commit.
#[tokio::test]
async fn what_a_file_says_of_people_is_sealed_and_then_gone() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let canary = format!("金丝雀,,{},13700000001,甲乙丙部门", number(7));
    let bad = "银丝雀,,110105194912310020,13700000002,".to_owned();
    let text = format!("{HEADER},丁戊己列\n{}\n{canary}\n{bad}\n", line(100));
    let begun = begin(&world, &officer, &union, "MEMBERSHIP").await;
    let id = begun["rosterImport"]["id"].clone();
    let uploaded = put(&world, &begun["upload"]["path"], text.into_bytes()).await;
    assert_eq!(uploaded, StatusCode::ACCEPTED);
    let numbers = [number(7), "110105194912310020".to_owned()];
    let mut needles = vec!["金丝雀", "银丝雀", "13700000001", "丁戊己列", "甲乙丙部门"];
    needles.extend(numbers.iter().map(String::as_str));
    for needle in &needles {
        assert_eq!(
            rows_with(&world, needle).await,
            0,
            "{needle} after the upload"
        );
    }
    settle(&world).await;
    assert_eq!(view(&world, &officer, &id).await["newCount"], 1);
    assert!(world.count(KEPT).await > 0);
    for needle in &needles {
        assert_eq!(rows_with(&world, needle).await, 0, "{needle} when compared");
    }
    let input = json!({ "rosterImportId": id, "leaveOutBadRows": true,
        "idempotencyKey": Uuid::from_u128(1) });
    let done = world.mutate(&officer, "commitRoster", "rosterImport { state }", input);
    assert_eq!(codes(&done.await), [""; 0]);
    assert_eq!(world.count(KEPT).await, 0);
    for needle in &needles {
        assert_eq!(
            rows_with(&world, needle).await,
            0,
            "{needle} after the commit"
        );
    }
    // The search finds what is there: a union's name in an event, an act in the audit.
    assert!(rows_with(&world, "基层工会").await > 0);
    assert_eq!(rows_with(&world, "commit_roster").await, 1);
}

/// A roster that nobody commits is forgotten in time.
#[tokio::test]
async fn a_roster_that_waits_too_long_is_forgotten() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let awaiting = begin(&world, &officer, &union, "MEMBERSHIP").await;
    let file = csv(&[line(100), line(1)]);
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;
    assert!(world.count(KEPT).await > 0);
    world.advance(72 * 3_600);
    settle(&world).await;
    for id in [&id, &awaiting["rosterImport"]["id"]] {
        assert_eq!(view(&world, &officer, id).await["state"], "EXPIRED");
    }
    assert_eq!(world.count(KEPT).await, 0);
    let rows = "SELECT count(*) AS count FROM roster_row";
    assert_eq!(world.count(rows).await, 0);
    let refused = commit(&world, &officer, &id, 1).await;
    assert_eq!(codes(&refused), ["ROSTER_NOT_READY"]);
}

/// A committed roster is said again as it was.
#[tokio::test]
async fn a_committed_roster_is_said_again() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let file = csv(&[line(100), line(1)]);
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;
    assert_eq!(codes(&commit(&world, &officer, &id, 1).await), [""; 0]);
    let ctx = &world.identity.ctx;
    kit::resync::run(ctx, &Aggregates(ctx.union), |_, _| ())
        .await
        .unwrap();
    let said = world.events_of("RosterCommitted").await;
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].payload, said[1].payload);
    assert_eq!(said[0].key, said[1].key);
}

/// Only the newest address of a roster counts, and an officer begins so many rosters and no more.
#[tokio::test]
async fn addresses_do_not_pile_up() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let file = csv(&[line(100), line(1).replace("138", "128")]);
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;
    let input = json!({ "rosterImportId": id });
    let correct = async || {
        let answer = world.mutate(&officer, "correctRoster", "upload { path }", input.clone());
        answer.await["upload"]["path"].clone()
    };
    let (old, new) = (correct().await, correct().await);
    let corrected = format!("行号,{HEADER}\n3,{}\n", line(1)).into_bytes();
    let answer = put(&world, &old, corrected.clone()).await;
    assert_eq!(answer, StatusCode::NOT_FOUND);
    assert_eq!(put(&world, &new, corrected).await, StatusCode::ACCEPTED);
    // One was begun already.
    for _ in 1..30 {
        let begun = begin(&world, &officer, &union, "LIST").await;
        assert_eq!(codes(&begun), [""; 0]);
    }
    let refused = begin(&world, &officer, &union, "LIST").await;
    assert_eq!(codes(&refused), ["TOO_MANY_ROSTERS"]);
    world.advance(3_600);
    let begun = begin(&world, &officer, &union, "LIST").await;
    assert_eq!(codes(&begun), [""; 0]);
}

/// Two processes that work on one roster at once, as after a claim has run out, come to what one
/// would: nothing is counted twice.
#[tokio::test]
async fn two_workers_do_the_work_of_one() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let elsewhere = world.organisation("GRASSROOTS", "别的工会").await;
    for at in 0..4 {
        let _ = world.person(&elsewhere, at).await;
    }
    let mut lines: Vec<String> = (0..4)
        .map(|at| line(at).replace(&name(at), "别人"))
        .collect();
    lines.extend((1_000..1_700).map(line));
    let begun = begin(&world, &officer, &union, "MEMBERSHIP").await;
    let id = begun["rosterImport"]["id"].clone();
    let uploaded = put(&world, &begun["upload"]["path"], csv(&lines)).await;
    assert_eq!(uploaded, StatusCode::ACCEPTED);
    let uuid = kit::graphql::GlobalId::uuid(id.as_str().unwrap(), "RosterImport").unwrap();
    let work = || identity::commands::roster_work::run(&world.identity, uuid);
    let (one, two, three) = join!(work(), work(), work());
    for done in [one, two, three] {
        done.unwrap();
    }
    let seen = view(&world, &officer, &id).await;
    assert_eq!(seen["state"], "READY", "{seen}");
    assert_eq!(
        (&seen["newCount"], &seen["badCount"]),
        (&json!(700), &json!(4))
    );
    let failures = "SELECT sum(count)::bigint AS count FROM attempt
                    WHERE scope = 'person_not_matched'";
    assert_eq!(world.count(failures).await, 4);
}
