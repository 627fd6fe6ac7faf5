//! Rosters from the address to the commit: what an officer sees of each step, what becomes of
//! people and memberships, and what stays of the file.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use identity::roster::{self, Cells, Column};
use kit::access::Caller;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::world::{World, codes, name, number, number_of_phone};

pub(crate) const HEADER: &str = "姓名,证件类型,证件号码,手机号,部门";
const IMPORT: &str = "rosterImport { id state } upload { path expiresAt bytesMax }";
const VIEW: &str = "id purpose isComplete state problem { code message } rowCount comparedCount
    newCount changedCount unchangedCount leavingCount badCount ignoredColumns";

/// An officer of a union of her own, the `at`-th person of the world.
pub(crate) async fn officer_of(world: &World, union_name: &str, at: u32) -> (String, Caller) {
    let union = world.organisation("GRASSROOTS", union_name).await;
    let officer = world.person(&union, at).await;
    let _ = world.grant(officer, &union, "OFFICER").await;
    (union, world.as_member(officer))
}

/// The `at`-th person of the world as a line.
pub(crate) fn line(at: u32) -> String {
    let (name, number, phone) = (name(at), number(at), number_of_phone(at));
    format!("{name},居民身份证,{number},{phone},一车间")
}

pub(crate) fn csv(lines: &[String]) -> Vec<u8> {
    format!("{HEADER}\n{}\n", lines.join("\n")).into_bytes()
}

pub(crate) async fn begin(world: &World, by: &Caller, union: &str, purpose: &str) -> Value {
    let input = json!({ "organisationId": union, "purpose": purpose });
    world.mutate(by, "importRoster", IMPORT, input).await
}

/// What the REST listener answers.
pub(crate) async fn rest(
    world: &World,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> (StatusCode, Vec<u8>) {
    let routes = identity::rest::rosters::routes(&world.identity);
    let routes = kit::http::rest(kit::http::limited(routes, roster::FILE_BYTES_MAX));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT_LANGUAGE, "en")
        .body(Body::from(body))
        .unwrap();
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 64 * 1024 * 1024);
    (status, body.await.unwrap().to_vec())
}

pub(crate) async fn put(world: &World, path: &Value, file: Vec<u8>) -> StatusCode {
    let path = path.as_str().unwrap();
    rest(world, Method::PUT, path, file).await.0
}

/// Runs what is due until nothing is.
pub(crate) async fn settle(world: &World) {
    let jobs = identity::due::Jobs(world.identity.clone());
    while kit::due::step(&world.identity.ctx, &jobs).await.unwrap() > 0 {}
}

pub(crate) async fn view(world: &World, by: &Caller, id: &Value) -> Value {
    let query = format!("query($id: ID!) {{ rosterImport(id: $id) {{ {VIEW} }} }}");
    world.run(by, &query, json!({ "id": id })).await
}

pub(crate) async fn difference(world: &World, by: &Caller, id: &Value) -> Vec<Value> {
    let query = "query($id: ID!) { rosterImport(id: $id) { difference(first: 100) {
        nodes { row change maskedName findings { code column message repair } } } } }";
    let roster = world.run(by, query, json!({ "id": id })).await;
    roster["difference"]["nodes"].as_array().unwrap().clone()
}

/// A roster that was uploaded and compared; its id.
pub(crate) async fn compared(
    world: &World,
    by: &Caller,
    (union, purpose): (&str, &str),
    file: Vec<u8>,
) -> Value {
    let begun = begin(world, by, union, purpose).await;
    assert_eq!(codes(&begun), [""; 0], "{begun}");
    let put = put(world, &begun["upload"]["path"], file).await;
    assert_eq!(put, StatusCode::ACCEPTED);
    settle(world).await;
    begun["rosterImport"]["id"].clone()
}

pub(crate) async fn commit(world: &World, by: &Caller, id: &Value, key: u128) -> Value {
    let input = json!({ "rosterImportId": id, "idempotencyKey": Uuid::from_u128(key) });
    world
        .mutate(by, "commitRoster", "rosterImport { id state }", input)
        .await
}

pub(crate) async fn open_memberships(world: &World) -> i64 {
    let sql = "SELECT count(*) AS count FROM membership WHERE until IS NULL";
    world.count(sql).await
}

fn numbers(view: &Value) -> [i64; 5] {
    ["new", "changed", "unchanged", "leaving", "bad"]
        .map(|name| view[format!("{name}Count")].as_i64().unwrap_or(-1))
}

/// The whole way: a messy roster, two bad rows fixed, the difference looked at and made true; the
/// same file again changes nothing.
#[tokio::test]
async fn a_messy_roster_becomes_memberships() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    for at in 1..=3 {
        let _ = world.person(&union, at).await;
    }
    let without_phone = crate::people::with(crate::world::person(4), "phone", Value::Null);
    let input = json!({ "organisationId": union, "person": without_phone });
    let added = world.mutate(&officer, "addMembership", "membership { id }", input);
    assert_eq!(codes(&added.await), [""; 0]);
    let lines = messy_lines();
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&lines)).await;
    let seen = view(&world, &officer, &id).await;
    assert_eq!(seen["state"], "READY", "{seen}");
    assert_eq!(numbers(&seen), [1, 1, 3, 1, 2]);
    assert_eq!(seen["ignoredColumns"], json!(["部门"]));
    let rows = difference(&world, &officer, &id).await;
    let changes: Vec<&str> = rows
        .iter()
        .map(|row| row["change"].as_str().unwrap())
        .collect();
    assert_eq!(
        changes,
        [
            "UNCHANGED",
            "UNCHANGED",
            "UNCHANGED",
            "CHANGED",
            "NEW",
            "BAD",
            "BAD",
            "LEAVING"
        ]
    );
    assert_eq!(rows[7]["row"], Value::Null);
    assert_eq!(rows[7]["maskedName"], "测*员");
    assert_eq!(rows[5]["findings"][0]["code"], "PHONE_INVALID");
    assert_eq!(rows[6]["findings"][0]["code"], "NUMBER_EATEN");
    assert_eq!(rows[6]["findings"][0]["column"], "DOCUMENT_NUMBER");
    let refused = commit(&world, &officer, &id, 1).await;
    assert_eq!(codes(&refused), ["ROSTER_HAS_BAD_ROWS"]);
    assert_eq!(open_memberships(&world).await, 6);

    correct(&world, &officer, &id).await;
    let seen = view(&world, &officer, &id).await;
    assert_eq!(numbers(&seen), [3, 1, 3, 1, 0], "{seen}");
    let done = commit(&world, &officer, &id, 1).await;
    assert_eq!(codes(&done), [""; 0], "{done}");
    assert_eq!(done["rosterImport"]["state"], "COMMITTED");
    // Operator, officer, 1, 2, 4, 5, 6, 7: without 3.
    assert_eq!(open_memberships(&world).await, 8);
    let left = "SELECT count(*) AS count FROM membership WHERE state = 'left'";
    assert_eq!(world.count(left).await, 1);
    let said = world.events_of("RosterCommitted").await;
    let event: proto::identity::RosterCommitted = said[0].decode();
    assert_eq!((said.len(), event.member_ids.len()), (1, 7));
    assert_eq!(commit(&world, &officer, &id, 1).await, done);
    assert_eq!(commit(&world, &officer, &id, 2).await, done);

    let mut same = lines[..5].to_vec();
    same.extend([line(6), fixed_seven()]);
    let again = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&same)).await;
    let seen = view(&world, &officer, &again).await;
    assert_eq!(numbers(&seen), [0, 0, 7, 0, 0], "{seen}");
    let memberships = world.events_of("MembershipChanged").await.len();
    let done = commit(&world, &officer, &again, 3).await;
    assert_eq!(codes(&done), [""; 0]);
    let after = world.events_of("MembershipChanged").await.len();
    assert_eq!(after, memberships, "nobody's membership is said again");
    // The difference can still be looked at, by what the vault knows.
    let rows = difference(&world, &officer, &id).await;
    assert_eq!(rows[0]["maskedName"], "测*员");
}

/// Person 3 is not on it; 4 gets a phone; 5 and 6 are new; two rows are bad.
fn messy_lines() -> Vec<String> {
    vec![
        line(100),
        line(1).replace("员", "　员"),
        line(2),
        line(4),
        line(5),
        line(6).replace("138", "128"),
        format!("王五,,5.10E+17,{},", number_of_phone(7)),
    ]
}

fn fixed_seven() -> String {
    format!("{},,{},{},", name(7), number(7), number_of_phone(7))
}

/// Downloads the bad rows, corrects both and uploads them.
async fn correct(world: &World, officer: &Caller, id: &Value) {
    let input = json!({ "rosterImportId": id });
    let address = world
        .mutate(
            officer,
            "downloadBadRows",
            "download { path }",
            input.clone(),
        )
        .await;
    let path = address["download"]["path"].as_str().unwrap().to_owned();
    // Who only asks whether it is there does not use it up.
    let head = rest(world, Method::HEAD, &path, Vec::new()).await;
    assert_eq!(head.0, StatusCode::NOT_FOUND);
    let (status, file) = rest(world, Method::GET, &path, Vec::new()).await;
    assert_eq!(status, StatusCode::OK);
    let twice = rest(world, Method::GET, &path, Vec::new()).await;
    assert_eq!(twice.0, StatusCode::NOT_FOUND);
    let table = roster::read(&file).unwrap();
    let text = |row: usize, column| match table.rows[row].cell(column) {
        Some(roster::table::Cell::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(table.rows.len(), 2);
    assert_eq!([text(0, Column::Row), text(1, Column::Row)], ["7", "8"]);
    assert_eq!(text(0, Column::DocumentNumber), number(6));
    // One row first, then the other: each comes alone.
    for corrected in [format!("7,{}", line(6)), format!("8,{}", fixed_seven())] {
        let upload = world.mutate(officer, "correctRoster", "upload { path }", input.clone());
        let upload = upload.await;
        let file = format!("行号,{HEADER}\n{corrected}\n").into_bytes();
        let put = put(world, &upload["upload"]["path"], file).await;
        assert_eq!(put, StatusCode::ACCEPTED);
        settle(world).await;
    }
    let none = world.mutate(officer, "correctRoster", "upload { path }", input);
    assert_eq!(codes(&none.await), ["ROSTER_HAS_NO_BAD_ROWS"]);
}

/// A correction that names rows which are none of the bad ones changes nothing and says why.
#[tokio::test]
async fn a_correction_of_other_rows_is_refused() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let lines = vec![line(100), line(1).replace("138", "128")];
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), csv(&lines)).await;
    for (file, code) in [
        (format!("行号,{HEADER}\n2,{}\n", line(1)), "ROW_UNKNOWN"),
        (format!("行号,{HEADER}\n9,{}\n", line(1)), "ROW_UNKNOWN"),
        (
            format!("行号,{HEADER}\n3,{}\n3,{}\n", line(1), line(2)),
            "ROW_UNKNOWN",
        ),
        (format!("{HEADER}\n{}\n", line(1)), "ROW_COLUMN_MISSING"),
        ("hello".to_owned(), "HEADER_NOT_FOUND"),
    ] {
        let input = json!({ "rosterImportId": id });
        let upload = world.mutate(&officer, "correctRoster", "upload { path }", input);
        let put = put(&world, &upload.await["upload"]["path"], file.into_bytes()).await;
        assert_eq!(put, StatusCode::ACCEPTED);
        settle(&world).await;
        let seen = view(&world, &officer, &id).await;
        assert_eq!(seen["problem"]["code"], code, "{seen}");
        assert_eq!(seen["state"], "READY");
        assert_eq!(numbers(&seen), [0, 0, 1, 0, 1]);
    }
    // Left out by name, the row is gone; and as it may have been anybody's, nobody leaves.
    let _ = world.person(&union, 2).await;
    let input = json!({ "rosterImportId": id, "leaveOutBadRows": true,
        "idempotencyKey": Uuid::from_u128(1) });
    let selection = "rosterImport { state }";
    let outdated = world.mutate(&officer, "commitRoster", selection, input.clone());
    assert_eq!(codes(&outdated.await), ["ROSTER_OUTDATED"]);
    settle(&world).await;
    let seen = view(&world, &officer, &id).await;
    assert_eq!(numbers(&seen), [0, 0, 1, 1, 1], "{seen}");
    let done = world.mutate(&officer, "commitRoster", selection, input);
    assert_eq!(codes(&done.await), [""; 0]);
    assert_eq!(open_memberships(&world).await, 3);
}

/// Each file that cannot be used is answered with its own code, and nothing of it is kept.
#[tokio::test]
async fn a_file_that_cannot_be_used_fails_the_roster() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    for (file, code) in [
        (Vec::new(), "FILE_EMPTY"),
        (b"<html></html>".to_vec(), "FILE_NOT_A_TABLE"),
        (b"PK\x03\x04".to_vec(), "FILE_UNREADABLE"),
        (csv(&[]), "NO_ROWS"),
    ] {
        let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;
        let seen = view(&world, &officer, &id).await;
        assert_eq!(seen["state"], "FAILED");
        assert_eq!(seen["problem"]["code"], code, "{seen}");
        let refused = commit(&world, &officer, &id, 1).await;
        assert_eq!(codes(&refused), ["ROSTER_NOT_READY"]);
    }
    let kept = "SELECT count(*) AS count FROM roster WHERE file IS NOT NULL
                OR data_key IS NOT NULL";
    assert_eq!(world.count(kept).await, 0);
    let begun = begin(&world, &officer, &union, "MEMBERSHIP").await;
    let large = vec![b'a'; roster::FILE_BYTES_MAX + 1];
    let put = put(&world, &begun["upload"]["path"], large).await;
    assert_eq!(put, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Workbooks and the encodings of old programs come to the same rows.
#[tokio::test]
async fn workbooks_and_old_encodings_are_the_same_roster() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let cells = |at| Cells {
        name: name(at),
        document_number: number(at),
        phone: number_of_phone(at),
        ..Cells::default()
    };
    let rows: Vec<_> = [100, 1, 2]
        .map(|at| roster::write::BadRow {
            row: at,
            cells: cells(at),
            findings: Vec::new(),
        })
        .into();
    let workbook = roster::write::bad_rows(&rows, kit::graphql::Language::Zh).unwrap();
    let text = String::from_utf8(csv(&[line(100), line(1), line(2)])).unwrap();
    let gbk = encoding_rs::GBK.encode(&text).0.into_owned();
    for file in [workbook, gbk] {
        let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;
        let seen = view(&world, &officer, &id).await;
        assert_eq!(numbers(&seen), [2, 0, 1, 0, 0], "{seen}");
    }
}

/// Templates need no address, and read as rosters of nobody.
#[tokio::test]
async fn templates_are_everybodys() {
    let world = World::new().await;
    for query in ["", "?language=zh", "?language=en"] {
        let path = format!("/rosters/template.xlsx{query}");
        let (status, file) = rest(&world, Method::GET, &path, Vec::new()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(roster::read(&file), Err(roster::Problem::NoRows));
    }
}

/// The largest roster, as a workbook, from the upload to the commit; and nothing is out of order
/// afterwards.
#[tokio::test]
async fn five_thousand_people_join_at_once() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 5_000).await;
    let mut rows = Vec::with_capacity(roster::ROWS_MAX);
    for at in 1..=u32::try_from(roster::ROWS_MAX).unwrap() {
        let cells = Cells {
            name: name(at),
            document_number: number(at),
            phone: number_of_phone(at),
            ..Cells::default()
        };
        rows.push(roster::write::BadRow {
            row: at,
            cells,
            findings: Vec::new(),
        });
    }
    let workbook = roster::write::bad_rows(&rows, kit::graphql::Language::Zh).unwrap();
    let started = std::time::Instant::now();
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), workbook).await;
    let compared_ms = started.elapsed().as_millis();
    let seen = view(&world, &officer, &id).await;
    assert_eq!(numbers(&seen), [4_999, 0, 1, 0, 0], "{seen}");
    let done = commit(&world, &officer, &id, 1).await;
    let all_ms = started.elapsed().as_millis();
    println!("5,000 people compared in {compared_ms} ms, committed after {all_ms} ms");
    assert_eq!(codes(&done), [""; 0], "{done}");
    assert_eq!(open_memberships(&world).await, 5_001);
    let said = world.events_of("RosterCommitted").await;
    let event: proto::identity::RosterCommitted = said[0].decode();
    assert_eq!(event.member_ids.len(), 5_000);
    for invariant in kit::verify::CHASSIS
        .iter()
        .chain(identity::verify::INVARIANTS)
    {
        let ctx = &world.identity.ctx;
        let violations = kit::verify::check(&ctx.db, invariant).await.unwrap();
        assert!(violations.is_empty(), "{}: {violations:?}", invariant.id);
    }
}
