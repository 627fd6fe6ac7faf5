//! What shows names is rendered here: for an officer over her own people, once, and not for ever.

use std::io::Cursor;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use calamine::{Reader, Xlsx};
use identity::consumers::renders::Renders;
use identity::domain::rendering::RENDERING_HOURS;
use kit::access::{Caller, Who};
use kit::consumer::Handler;
use kit::graphql::GlobalId;
use kit::types::{LoginId, MemberId};
use proto::identity::RenderingChanged;
use proto::identity::rendering_changed::State;
use proto::v1::{RenderRequested, render_requested};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::erasures::record;
use crate::rosters::{officer_of, settle};
use crate::world::{World, codes, name, number_of_phone, organisation_of};

const FILES: &str = "{ me { renderedFiles { id state title organisation { id } } } }";

async fn heard(world: &World, message: &RenderRequested) -> kit::Result<()> {
    let records = [record(world, message, "billing.v1")];
    assert!(Renders.handles(&records[0].kind));
    let db = &world.identity.ctx.db;
    db.tx("hear", async |tx| Renders.apply(tx, &records).await)
        .await
}

async fn hear(world: &World, message: &RenderRequested) {
    heard(world, message).await.unwrap();
}

fn member_of(caller: &Caller) -> MemberId {
    match caller.who {
        Who::Member { member, .. } => member,
        Who::Anonymous => panic!("signed in"),
    }
}

fn receipts(id: u128, union: &str, by: &Caller, members: &[MemberId]) -> RenderRequested {
    let row = |member: &MemberId| render_requested::Row {
        member_id: member.0.as_bytes().to_vec(),
        cells: vec!["A1".to_owned()],
    };
    RenderRequested {
        id: Uuid::from_u128(id).as_bytes().to_vec(),
        service: "billing".to_owned(),
        template: render_requested::Template::SignedReceipts.into(),
        about_id: Uuid::from_u128(7).as_bytes().to_vec(),
        asker_id: member_of(by).0.as_bytes().to_vec(),
        organisation_id: organisation_of(union).0.as_bytes().to_vec(),
        title: "演出票签收表".to_owned(),
        columns: vec!["座位".to_owned()],
        rows: members.iter().map(row).collect(),
        purpose: render_requested::Purpose::Handover.into(),
    }
}

async fn files(world: &World, who: &Caller) -> Vec<Value> {
    let me = world.run(who, FILES, json!({})).await;
    me["renderedFiles"].as_array().unwrap().clone()
}

async fn download(world: &World, who: &Caller, id: &Value) -> Value {
    let input = json!({ "fileId": id });
    let selection = "download { path expiresAt }";
    world
        .mutate(who, "downloadRenderedFile", selection, input)
        .await
}

async fn fetch(world: &World, path: &Value) -> (StatusCode, Vec<u8>) {
    let routes = identity::rest::renderings::routes(&world.identity);
    let request = Request::builder()
        .method(Method::GET)
        .uri(path.as_str().unwrap())
        .header(header::ACCEPT_LANGUAGE, "zh")
        .body(Body::empty())
        .unwrap();
    let response = kit::http::rest(routes).oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024);
    (status, body.await.unwrap().to_vec())
}

async fn said(world: &World) -> Vec<State> {
    let events = world.events_of("RenderingChanged").await;
    let state = |it: &crate::world::Emitted| it.decode::<RenderingChanged>().state();
    events.iter().map(state).collect()
}

/// Asked for twice it is one file; it shows the names, to its officer, once for ever.
#[tokio::test]
async fn a_file_is_for_its_officer_once() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let member = world.person(&union, 1).await;
    let asked = receipts(1, &union, &officer, &[member]);
    hear(&world, &asked).await;
    hear(&world, &asked).await;
    assert_eq!(said(&world).await, [State::Ready]);
    let told = "SELECT count(*) AS count FROM notice WHERE kind = 'rendering_ready'";
    assert_eq!(world.count(told).await, 1);
    let named = format!(
        "SELECT count(*) AS count FROM rendering WHERE content::text LIKE '%{}%'",
        name(1)
    );
    assert_eq!(world.count(&named).await, 0, "names stand in no row");
    let seen = files(&world, &officer).await;
    assert_eq!((seen.len(), &seen[0]["state"]), (1, &json!("READY")));
    let id = &seen[0]["id"];
    let other = download(&world, &world.as_operator(), id).await;
    assert_eq!(codes(&other), ["RENDERING_NOT_FOUND"]);
    let login = LoginId(Uuid::from_u128(99));
    let bare = Caller::member(member_of(&officer), login, officer.language);
    let refused = download(&world, &bare, id).await;
    assert_eq!(codes(&refused), ["STEP_UP_REQUIRED"]);

    let first = download(&world, &officer, id).await["download"]["path"].clone();
    let second = download(&world, &officer, id).await["download"]["path"].clone();
    let gone = fetch(&world, &first).await.0;
    assert_eq!(gone, StatusCode::NOT_FOUND, "the later address counts");
    let (status, file) = fetch(&world, &second).await;
    assert_eq!((status, &file[..2]), (StatusCode::OK, &b"PK"[..]));
    assert_eq!(fetch(&world, &second).await.0, StatusCode::NOT_FOUND);
    let over = download(&world, &officer, id).await;
    assert_eq!(codes(&over), ["RENDERING_OVER"]);
    assert_eq!(said(&world).await, [State::Ready, State::Fetched]);
    assert_eq!(world.broken("identity.renderings_forgotten").await, 0);
}

/// What is asked for no purpose is parked, and no row of it kept; what each is for stands in the
/// trail as it is taken in, as its address is given and as it is fetched.
#[tokio::test]
async fn each_file_is_for_one_purpose() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let member = world.person(&union, 1).await;
    let asked = RenderRequested {
        purpose: render_requested::Purpose::Outing.into(),
        ..receipts(1, &union, &officer, &[member])
    };
    let aimless = RenderRequested {
        purpose: render_requested::Purpose::Unspecified.into(),
        ..asked.clone()
    };
    let parked = heard(&world, &aimless).await.unwrap_err();
    assert!(matches!(parked, kit::Error::Permanent(_)), "{parked:?}");
    let kept = "SELECT count(*) AS count FROM rendering";
    assert_eq!(world.count(kept).await, 0);
    hear(&world, &asked).await;
    let id = files(&world, &officer).await[0]["id"].clone();
    let path = download(&world, &officer, &id).await["download"]["path"].clone();
    assert_eq!(fetch(&world, &path).await.0, StatusCode::OK);
    let told = "SELECT act || ' ' || (detail->>'purpose') AS name FROM audit
        WHERE act LIKE '%rendering%' ORDER BY act";
    let acts = ["download_rendering", "rendering_fetched", "take_rendering"];
    let expected = acts.map(|act| format!("{act} outing"));
    assert_eq!(world.names(told).await, expected);

    let again = RenderRequested {
        id: Uuid::from_u128(2).as_bytes().to_vec(),
        ..asked
    };
    hear(&world, &again).await;
    assert_eq!(world.broken("identity.renderings_forgotten").await, 0);
    let owner = world.test.owner().await;
    let sql = "UPDATE rendering SET purpose = NULL WHERE state = 'ready'";
    owner.execute(sql, []).await.unwrap();
    assert_eq!(world.broken("identity.renderings_forgotten").await, 1);
}

/// A list of names waits and is fetched like receipts are.
#[tokio::test]
async fn a_list_of_names_is_rendered_too() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let member = world.person(&union, 1).await;
    let asked = RenderRequested {
        service: "passes".to_owned(),
        template: render_requested::Template::NameList.into(),
        ..receipts(1, &union, &officer, &[member])
    };
    hear(&world, &asked).await;
    let id = files(&world, &officer).await[0]["id"].clone();
    let path = download(&world, &officer, &id).await["download"]["path"].clone();
    let (status, file) = fetch(&world, &path).await;
    assert_eq!(status, StatusCode::OK);
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(file)).unwrap();
    let sheet = book.worksheet_range("名单").unwrap();
    let shown = sheet.get_value((2, 1)).map(ToString::to_string);
    assert_eq!(shown, Some(name(1)));
    let kept = "SELECT count(*) AS count FROM rendering WHERE template = 'name_list'";
    assert_eq!(world.count(kept).await, 1);
}

/// A list of names has nobody whom the office knows by a name and a phone alone, until she says
/// that she is its member.
#[tokio::test]
async fn a_list_names_whom_its_office_knows() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let known = world.person(&union, 1).await;
    let other = world.organisation("GRASSROOTS", "别的工会").await;
    let named = world.person(&other, 2).await;
    let by_name = json!({ "name": name(2), "phone": number_of_phone(2) });
    let input = json!({ "organisationId": union, "person": by_name });
    let added = world
        .mutate(&officer, "addMembership", "membership { id }", input)
        .await;
    assert_eq!(codes(&added), [""; 0], "{added}");
    let ask = async |id: u128, members: &[MemberId]| {
        let asked = RenderRequested {
            service: "passes".to_owned(),
            template: render_requested::Template::NameList.into(),
            ..receipts(id, &union, &officer, members)
        };
        hear(&world, &asked).await;
    };
    ask(1, &[named]).await;
    assert_eq!(said(&world).await, [State::Refused], "nobody is left");
    ask(2, &[known, named]).await;
    assert_eq!(fetched(&world, &officer).await, [name(1)]);
    let of = format!(
        "SELECT id::text AS name FROM membership WHERE member = '{named}' AND organisation = '{}'",
        organisation_of(&union).0
    );
    let id: Uuid = world.names(&of).await[0].parse().unwrap();
    let input = json!({ "membershipId": GlobalId::of_uuid("Membership", id) });
    let herself = world.as_member(named);
    let said = world.mutate(&herself, "confirmMembership", "", input).await;
    assert_eq!(codes(&said), [""; 0], "{said}");
    ask(3, &[known, named]).await;
    assert_eq!(fetched(&world, &officer).await, [name(1), name(2)]);
}

/// The names in the list that waits for an officer, who fetches it.
async fn fetched(world: &World, officer: &Caller) -> Vec<String> {
    let all = files(world, officer).await;
    let id = &all.iter().find(|it| it["state"] == "READY").unwrap()["id"];
    let path = download(world, officer, id).await["download"]["path"].clone();
    let (status, file) = fetch(world, &path).await;
    assert_eq!(status, StatusCode::OK);
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(file)).unwrap();
    let sheet = book.worksheet_range("名单").unwrap();
    // A title and what the columns are called stand above them.
    let rows = sheet.rows().skip(2);
    rows.map(|row| row[1].to_string()).collect()
}

/// Who is no officer there has none, and an officer none that names others' people. One who is an
/// officer no more cannot fetch what waited for her.
#[tokio::test]
async fn nobody_learns_names_that_are_not_hers_to_know() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let (other, _) = officer_of(&world, "别的工会", 101).await;
    let stranger = world.person(&other, 2).await;
    let member = world.person(&union, 1).await;
    hear(&world, &receipts(1, &union, &officer, &[member, stranger])).await;
    let plain = world.as_member(member);
    hear(&world, &receipts(2, &union, &plain, &[member])).await;
    let mut large = receipts(3, &union, &officer, &[member]);
    large.columns.clear();
    hear(&world, &large).await;
    assert_eq!(said(&world).await, [State::Refused; 3]);
    hear(&world, &receipts(4, &union, &officer, &[member])).await;
    let id = files(&world, &officer).await;
    let id = &id.iter().find(|it| it["state"] == "READY").unwrap()["id"];
    let given = download(&world, &officer, id).await["download"]["path"].clone();
    let owner = world.test.owner().await;
    let sql = "UPDATE role SET withdrawn_at = granted_at WHERE role = 'officer'";
    owner.execute(sql, []).await.unwrap();
    assert_eq!(fetch(&world, &given).await.0, StatusCode::NOT_FOUND);
    let refused = download(&world, &officer, id).await;
    assert_eq!(codes(&refused), ["RENDERING_NOT_FOUND"]);
}

#[tokio::test]
async fn what_nobody_fetches_is_forgotten() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let member = world.person(&union, 1).await;
    hear(&world, &receipts(1, &union, &officer, &[member])).await;
    world.advance(RENDERING_HOURS * 3_600 - 1);
    settle(&world).await;
    assert_eq!(files(&world, &officer).await[0]["state"], "READY");
    world.advance(1);
    settle(&world).await;
    assert_eq!(files(&world, &officer).await[0]["state"], "EXPIRED");
    let kept = "SELECT count(*) AS count FROM rendering WHERE content IS NOT NULL";
    assert_eq!(world.count(kept).await, 0);
    assert_eq!(said(&world).await, [State::Ready, State::Expired]);
}

/// A file for the audit test; its id.
pub(crate) async fn waiting(world: &World, union: &str, officer: &Caller) -> Value {
    let who = member_of(officer);
    hear(world, &receipts(9, union, officer, &[who])).await;
    files(world, officer).await[0]["id"].clone()
}
