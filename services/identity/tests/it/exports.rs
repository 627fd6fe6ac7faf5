//! A member has a copy of all that is kept of her: whole, for her alone, once for each proof, and
//! gone after a week.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use identity::domain::export::{ANSWER_SECONDS, EXPORTS_PER_DAY_MAX, READY_DAYS};
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::{LoginId, MemberId};
use proto::identity::DataRequested;
use proto::v1::PersonDataPart;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::consents::member;
use crate::erasures::hear;
use crate::logins::caller;
use crate::rosters::settle;
use crate::world::{World, codes, name, number, number_of_phone};

const VIEW: &str = "{ me { dataExport { id state missingServices expiresAt } } }";

pub(crate) async fn export(world: &World, who: &Caller, key: u128) -> Value {
    let input = json!({ "idempotencyKey": Uuid::from_u128(key) });
    let selection = "export { id state missingServices }";
    world.mutate(who, "exportMyData", selection, input).await
}

async fn view(world: &World, who: &Caller) -> Value {
    world.run(who, VIEW, json!({})).await["dataExport"].clone()
}

pub(crate) async fn download(
    world: &World,
    who: &Caller,
    (id, format): (&Value, &str),
    code: Option<&str>,
) -> Value {
    let input = json!({ "exportId": id, "format": format, "code": code });
    let selection = "download { path expiresAt }";
    world.mutate(who, "downloadMyData", selection, input).await
}

pub(crate) async fn fetch(world: &World, method: Method, path: &Value) -> (StatusCode, Vec<u8>) {
    let routes = identity::rest::exports::routes(&world.identity);
    let request = Request::builder()
        .method(method)
        .uri(path.as_str().unwrap())
        .header(header::ACCEPT_LANGUAGE, "zh")
        .body(Body::empty())
        .unwrap();
    let response = kit::http::rest(routes).oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024);
    (status, body.await.unwrap().to_vec())
}

/// What a service answers to the newest question.
fn part(member: MemberId, id: &Value, service: &str, (part, parts): (i32, i32)) -> PersonDataPart {
    let rows = json!([{ "section": "order", "row": { "number": format!("{service}-{part}") } }]);
    let id = GlobalId::uuid(id.as_str().unwrap(), "DataExport").unwrap();
    PersonDataPart {
        request_id: id.as_bytes().to_vec(),
        version: 1,
        member_id: member.0.as_bytes().to_vec(),
        service: service.to_owned(),
        part,
        parts,
        json: rows.to_string().into_bytes(),
    }
}

pub(crate) async fn answer_all(world: &World, member: MemberId, id: &Value) {
    for service in ["passes", "billing", "admission"] {
        hear(world, &part(member, id, service, (1, 1))).await;
    }
}

/// Gathered in whatever order the answers come, some of them twice; ready with the last, told by a
/// notice, and read in both forms.
#[tokio::test]
async fn a_copy_is_gathered_from_every_service() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    let asked = export(&world, &who, 1).await;
    assert_eq!(asked["export"]["state"], "GATHERING", "{asked}");
    let missing = json!(["passes", "billing", "admission"]);
    assert_eq!(asked["export"]["missingServices"], missing);
    assert_eq!(export(&world, &who, 1).await, asked);
    assert_eq!(export(&world, &who, 2).await, asked, "one at a time");
    let id = &asked["export"]["id"];
    let said = world.events_of("DataRequested").await;
    let event: DataRequested = said[0].decode();
    assert_eq!(said.len(), 1);
    assert_eq!(event.member_ids, [member.0.as_bytes().to_vec()]);

    let second = part(member, id, "billing", (2, 2));
    for message in [&second, &second, &part(member, id, "passes", (1, 1))] {
        hear(&world, message).await;
    }
    let stranger = part(world.operator, id, "admission", (1, 1));
    hear(&world, &stranger).await;
    let seen = view(&world, &who).await;
    assert_eq!(seen["missingServices"], json!(["billing", "admission"]));
    hear(&world, &part(member, id, "admission", (1, 1))).await;
    hear(&world, &part(member, id, "billing", (1, 2))).await;
    assert_eq!(view(&world, &who).await["state"], "READY");
    let told = "SELECT count(*) AS count FROM notice WHERE kind = 'export_ready'";
    assert_eq!(world.count(told).await, 1);

    let path = download(&world, &who, (id, "JSON"), None).await["download"]["path"].clone();
    let looked = fetch(&world, Method::HEAD, &path).await.0;
    assert_eq!(looked, StatusCode::NOT_FOUND, "to look is not to fetch");
    let (status, file) = fetch(&world, Method::GET, &path).await;
    assert_eq!(status, StatusCode::OK);
    let file: Value = serde_json::from_slice(&file).unwrap();
    let own = &file["services"]["identity"];
    assert_eq!(own["person"][0]["name"], name(1));
    assert_eq!(own["document"][0]["number"], number(1));
    assert_eq!(own["phone"][0]["number"], number_of_phone(1));
    assert_eq!(own["membership"][0]["state"], "full");
    let orders = json!([{ "number": "billing-1" }, { "number": "billing-2" }]);
    assert_eq!(file["services"]["billing"]["order"], orders);
    let again = fetch(&world, Method::GET, &path).await.0;
    assert_eq!(again, StatusCode::NOT_FOUND, "once");
    let path = download(&world, &who, (id, "XLSX"), None).await["download"]["path"].clone();
    let (status, file) = fetch(&world, Method::GET, &path).await;
    assert_eq!((status, &file[..2]), (StatusCode::OK, &b"PK"[..]));
    let told = "SELECT params->>'step' AS name FROM notice WHERE kind = 'right_used' ORDER BY name";
    let steps = ["copy_asked", "copy_fetched", "copy_fetched"];
    assert_eq!(world.names(told).await, steps);
}

/// Of each login she reads with what and from where, as her list of logins says it, and no more of
/// an address than is kept.
#[tokio::test]
async fn a_copy_tells_her_devices_apart() {
    let world = World::new().await;
    for (device, address) in [("华为 Mate 70", "198.51.100.7"), ("办公室电脑", "")] {
        let signed_in = crate::devices::sign_in(&world, json!(device), address).await;
        assert_eq!(codes(&signed_in), [""; 0]);
    }
    let who = world.as_operator();
    let id = export(&world, &who, 1).await["export"]["id"].clone();
    answer_all(&world, world.operator, &id).await;
    let path = download(&world, &who, (&id, "JSON"), None).await["download"]["path"].clone();
    let (status, file) = fetch(&world, Method::GET, &path).await;
    assert_eq!(status, StatusCode::OK);
    let file: Value = serde_json::from_slice(&file).unwrap();
    let logins = file["services"]["identity"]["login"].as_array().unwrap();
    let of = |device: &str| logins.iter().find(|it| it["device"] == device).unwrap();
    assert_eq!(of("华为 Mate 70")["network"], "198.51.*.*");
    assert_eq!(of("华为 Mate 70")["ended_at"], Value::Null);
    assert_eq!(of("办公室电脑")["network"], Value::Null);
    assert!(!file.to_string().contains("198.51.100"));
}

/// A token alone shows nothing: a code to her phone or a second factor does. An address dies with
/// the login that asked for it, and nobody else gets one.
#[tokio::test]
async fn a_copy_is_for_its_person_alone() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    let id = export(&world, &who, 1).await["export"]["id"].clone();
    let early = download(&world, &who, (&id, "JSON"), None).await;
    assert_eq!(codes(&early), ["EXPORT_NOT_READY"]);
    answer_all(&world, member, &id).await;
    let other = download(&world, &world.as_operator(), (&id, "JSON"), None).await;
    assert_eq!(codes(&other), ["EXPORT_NOT_FOUND"]);
    let bare = Caller::member(member, LoginId(Uuid::from_u128(99)), Language::En);
    let refused = download(&world, &bare, (&id, "JSON"), None).await;
    assert_eq!(codes(&refused), ["STEP_UP_REQUIRED"]);
    let phone = number_of_phone(1);
    let session = world.sign_in(&phone).await;
    let used = world.code(&phone).await;
    let refused = download(&world, &bare, (&id, "JSON"), Some(&used)).await;
    assert_eq!(codes(&refused), ["CODE_EXPIRED"], "it has signed her in");
    world.advance(61);
    let nobody = Caller::anonymous(Language::En);
    let ask = json!({ "phone": phone });
    world.mutate(&nobody, "requestLoginCode", "", ask).await;
    let code = world.code(&phone).await;
    let signed_in = caller(&session);
    let given = download(&world, &signed_in, (&id, "JSON"), Some(&code)).await;
    assert_eq!(codes(&given), [""; 0], "{given}");
    let out = "mutation { logout { loginId } }";
    world.run(&signed_in, out, json!({})).await;
    let path = &given["download"]["path"];
    let gone = fetch(&world, Method::GET, path).await.0;
    assert_eq!(gone, StatusCode::NOT_FOUND);
    let made_up = json!("/exports/files/AAAA");
    let gone = fetch(&world, Method::GET, &made_up).await.0;
    assert_eq!(gone, StatusCode::NOT_FOUND);
}

/// Nothing of a copy stands in the database in clear, and after a week nothing of it stands there.
#[tokio::test]
async fn a_copy_is_sealed_and_forgotten() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    let id = export(&world, &who, 1).await["export"]["id"].clone();
    answer_all(&world, member, &id).await;
    let clear = "SELECT count(*) AS count FROM export_part
        WHERE position('number'::bytea IN sealed) > 0 OR position('name'::bytea IN sealed) > 0";
    assert_eq!(world.count(clear).await, 0);
    assert_eq!(world.broken("identity.rights_go_on").await, 0);
    let given = download(&world, &who, (&id, "JSON"), None).await;
    world.advance(READY_DAYS * 86_400);
    let path = &given["download"]["path"];
    let gone = fetch(&world, Method::GET, path).await.0;
    assert_eq!(gone, StatusCode::NOT_FOUND);
    settle(&world).await;
    assert_eq!(view(&world, &who).await["state"], "EXPIRED");
    let parts = "SELECT count(*) AS count FROM export_part";
    assert_eq!(world.count(parts).await, 0);
    let late = download(&world, &who, (&id, "JSON"), None).await;
    assert_eq!(codes(&late), ["EXPORT_NOT_READY"]);
    let db = &world.test.ctx.db;
    let _ = db
        .execute(
            "INSERT INTO export_part SELECT gen_random_uuid(), id, 'passes', 1, 1, 1, ''
             FROM export",
            [],
        )
        .await
        .unwrap();
    assert_eq!(world.broken("identity.copies_forgotten").await, 1);
}

/// Who does not answer is named and asked again; an answer to either question does.
#[tokio::test]
async fn who_does_not_answer_is_asked_again() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    let id = export(&world, &who, 1).await["export"]["id"].clone();
    hear(&world, &part(member, &id, "passes", (1, 1))).await;
    hear(&world, &part(member, &id, "billing", (1, 2))).await;
    world.advance(ANSWER_SECONDS);
    settle(&world).await;
    let said = world.events_of("DataRequested").await;
    let again: DataRequested = said[1].decode();
    assert_eq!((said.len(), again.version), (2, 2));
    let seen = view(&world, &who).await;
    assert_eq!(seen["missingServices"], json!(["billing", "admission"]));
    // The later answer has one part: what came of the earlier one does not mix with it.
    let newer = PersonDataPart {
        version: 2,
        ..part(member, &id, "billing", (1, 1))
    };
    hear(&world, &newer).await;
    hear(&world, &part(member, &id, "billing", (2, 2))).await;
    hear(&world, &part(member, &id, "admission", (1, 1))).await;
    assert_eq!(view(&world, &who).await["state"], "READY");
    let parts = "SELECT count(*) AS count FROM export_part WHERE service = 'billing'";
    assert_eq!(world.count(parts).await, 1);
}

#[tokio::test]
async fn copies_are_counted_by_day() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    for key in 1..=u128::try_from(EXPORTS_PER_DAY_MAX).unwrap() {
        let made = export(&world, &who, key).await;
        assert_eq!(codes(&made), [""; 0], "{made}");
        answer_all(&world, member, &made["export"]["id"]).await;
        world.advance(1);
    }
    let refused = export(&world, &who, 99).await;
    assert_eq!(codes(&refused), ["TOO_MANY_EXPORTS"]);
    world.advance(86_400);
    let made = export(&world, &who, 99).await;
    assert_eq!(codes(&made), [""; 0], "the same request, a day later");
}
