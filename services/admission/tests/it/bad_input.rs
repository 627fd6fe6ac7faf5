//! Devices that may not ask, scan numbers that are not their own, and dates that nobody means: each
//! is answered with its code and a sentence in the language that was asked for, through the graph.

use admission::commands::gate::{create_gate, issue_gate_code, switch_gate};
use admission::gate_key::{self, Assertion};
use async_graphql::{Request, Variables};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use ed25519_dalek::SigningKey;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language, Mode};
use kit::types::Union;
use serde_json::{Value, json};

use crate::world::{Device, World, attended, daily};

pub(crate) const REDEEM: &str = "mutation ($input: RedeemInput!) { redeem(input: $input) {
  decision reason explanation userErrors { code field message } } }";
const ENROL: &str = "mutation ($input: EnrolGateInput!) { enrolGate(input: $input) {
  gate { id } userErrors { code message } } }";

pub(crate) async fn respond(
    world: &World,
    caller: &Caller,
    query: &str,
    variables: Value,
) -> Value {
    let schema = admission::schema(&world.admission, Mode::Production);
    let request = Request::new(query)
        .variables(Variables::from_json(variables))
        .data(caller.clone())
        .data(caller.language);
    serde_json::to_value(schema.execute(request).await).unwrap()
}

/// The payload of a mutation, in Chinese and in English.
pub(crate) async fn both(world: &World, caller: &Caller, query: &str, input: &Value) -> [Value; 2] {
    let mut answers = Vec::new();
    for language in [Language::Zh, Language::En] {
        let caller = Caller {
            language,
            ..caller.clone()
        };
        let variables = json!({ "input": input });
        let response = respond(world, &caller, query, variables).await;
        assert!(response.get("errors").is_none(), "{response:#}");
        let data = response["data"].as_object().unwrap();
        answers.extend(data.values().cloned());
    }
    answers.try_into().unwrap()
}

/// The next scan of a device, as it sends it.
pub(crate) fn scan(world: &World, door: &Device, text: &str) -> Value {
    let id = world.scan(door, text).id;
    json!({
        "scanId": { "deviceId": GlobalId::of_uuid("Gate", id.gate.uuid()),
            "enrolment": id.enrolment, "seq": id.seq },
        "token": text, "direction": "ENTRY", "deviceTime": world.now().to_rfc3339(),
    })
}

/// Decision, reason and both sentences of a scan. The second request is the same scan again, so
/// it is the stored answer in another language.
pub(crate) async fn scanned(world: &World, door: &Device, text: &str) -> [String; 4] {
    let input = scan(world, door, text);
    let [zh, en] = both(world, &world.asserting(door), REDEEM, &input).await;
    assert_eq!(zh["userErrors"], json!([]));
    assert_eq!(zh["decision"], en["decision"]);
    [
        &zh["decision"],
        &zh["reason"],
        &zh["explanation"],
        &en["explanation"],
    ]
    .map(|value| value.as_str().unwrap_or_default().to_owned())
}

/// Code and both sentences of a refusal.
pub(crate) async fn refused(
    world: &World,
    caller: &Caller,
    query: &str,
    input: &Value,
) -> [String; 3] {
    let [zh, en] = both(world, caller, query, input).await;
    let of = |answer: &Value, what: &str| {
        let errors = answer["userErrors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{answer}");
        errors[0][what].as_str().unwrap().to_owned()
    };
    assert_eq!(of(&zh, "code"), of(&en, "code"));
    [of(&zh, "code"), of(&zh, "message"), of(&en, "message")]
}

/// A gate of another venue, one that is disabled, one of the other union, and a device that
/// speaks for another one.
#[tokio::test(flavor = "multi_thread")]
async fn gates_that_may_not_ask() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let (door, other) = (world.door("博物馆").await, world.door("动物园").await);
    let now = world.now().timestamp();
    let foreign = Assertion {
        gate: door.gate,
        union: Union::Sichuan,
        enrolment: door.enrolment,
        id: world.uuid(),
        issued_at: now,
        expires_at: now + 60,
    };
    let foreign = Caller {
        gate_assertion: Some(gate_key::sign(&foreign, &door.key)),
        ..Caller::anonymous(Language::En)
    };
    let text = world.token(1);
    let mut astray = scan(&world, &door, &text);
    astray["venueId"] = json!(GlobalId::of_uuid("Venue", other.venue.uuid()));
    let unknown = [
        "GATE_NOT_RECOGNISED",
        "无法识别此检票设备，请重新登记设备。",
        "This gate is not recognised; please enrol it again.",
    ];
    let mismatch = [
        "GATE_MISMATCH",
        "扫码编号中的设备与发出请求的设备不符。",
        "The scan id names another device than the one that asks.",
    ];
    let elsewhere = [
        "GATE_OF_ANOTHER_VENUE",
        "此检票口不属于该场馆。",
        "This gate belongs to another venue.",
    ];
    let nobody = Caller::anonymous(Language::En);
    for (caller, input, expected) in [
        (&foreign, scan(&world, &door, &text), unknown),
        (&nobody, scan(&world, &door, &text), unknown),
        (
            &world.asserting(&door),
            scan(&world, &other, &text),
            mismatch,
        ),
        (&world.asserting(&door), astray, elsewhere),
    ] {
        assert_eq!(refused(&world, caller, REDEEM, &input).await, expected);
    }
    let asserting = world.asserting(&door);
    switch_gate(world.ctx(), &world.manager, door.gate, true)
        .await
        .unwrap();
    let disabled = [
        "GATE_DISABLED",
        "此检票口已停用，请联系场馆管理员。",
        "This gate is disabled; please contact the venue's supervisor.",
    ];
    let input = scan(&world, &door, &text);
    assert_eq!(refused(&world, &asserting, REDEEM, &input).await, disabled);
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 0);
}

/// A lost answer is asked for again under a daily limit of one; the number with another token is
/// refused and reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_number_again() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    world.grant(2).await;
    let door = world.door("博物馆").await;
    let mut input = scan(&world, &door, &world.token(1));
    let asserting = world.asserting(&door);
    for answer in both(&world, &asserting, REDEEM, &input).await {
        assert_eq!(answer["decision"], "ADMIT");
    }
    input["token"] = json!(world.token(2));
    let reused = [
        "SCAN_ID_REUSED",
        "此扫码编号已用于另一次扫码，已记录并告警。",
        "This scan id was used for another scan; it has been recorded and reported.",
    ];
    assert_eq!(refused(&world, &asserting, REDEEM, &input).await, reused);
    assert_eq!(world.events("ScanAlarmRaised").await.len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 1);
    world.check().await;
}

/// An enrolment code that is wrong, and one whose time is over.
#[tokio::test(flavor = "multi_thread")]
async fn enrolment_codes_that_do_not_bind() {
    let world = World::new().await;
    let venue = world.venue(crate::world::details("博物馆")).await;
    let key = world.uuid();
    let new = create_gate(world.ctx(), &world.manager, key, venue.id, attended("北门"))
        .await
        .unwrap();
    let gate = new.gate.id;
    let public = SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes();
    let input = |code: &str| json!({ "code": code, "publicKey": URL_SAFE_NO_PAD.encode(public) });
    let device = Caller::anonymous(Language::En);
    let wrong = [
        "ENROLMENT_CODE_WRONG",
        "登记码不正确，请核对后重试，或请管理员重新生成。",
        "The enrolment code is wrong; check it, or ask for a new one.",
    ];
    let code = new.code.unwrap();
    let guessed = format!("{}-000000000000", code.split_once('-').unwrap().0);
    for bad in ["nonsense", "00000000-000000000000", &guessed] {
        assert_eq!(refused(&world, &device, ENROL, &input(bad)).await, wrong);
    }
    let issued = issue_gate_code(world.ctx(), &world.manager, gate).await;
    let code = issued.unwrap().code.unwrap();
    world.advance(TimeDelta::minutes(30)).await;
    let expired = [
        "ENROLMENT_CODE_EXPIRED",
        "登记码已失效，请管理员重新生成。",
        "The enrolment code has expired; ask for a new one.",
    ];
    let answer = refused(&world, &device, ENROL, &input(&code)).await;
    assert_eq!(answer, expired);
    let bound = "SELECT count(*) FROM gate WHERE public_key IS NOT NULL";
    assert_eq!(world.count(bound).await, 0);
}

/// Dates beyond what a database keeps, or anybody means, are refused where the input is read:
/// they reach no statement.
#[tokio::test(flavor = "multi_thread")]
async fn absurd_years_are_bad_input() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let venue = GlobalId::of_uuid("Venue", door.venue.uuid());
    let create = "mutation ($input: CreateVenueInput!) { createVenue(input: $input) {
      venue { id } userErrors { code } } }";
    let figures = "query ($venue: ID!, $from: Date!, $until: Date!) {
      venueFigures(venueId: $venue, from: $from, until: $until) { what } }";
    for absurd in ["-4800-01-01", "1899-12-31", "2201-01-01", "+262000-01-01"] {
        let mut input = scan(&world, &door, &world.token(1));
        input["deviceTime"] = json!(format!("{absurd}T00:00:00Z"));
        let opening = json!({ "exceptions": [{ "date": absurd }] });
        let made = json!({
            "idempotencyKey": world.uuid(), "nameZh": "馆", "nameEn": "x", "division": "500103",
            "organisationId": GlobalId::of_uuid("Organisation", world.company.uuid()),
            "coordinates": { "latitude": 29.5, "longitude": 106.5, "source": "x" },
            "opening": opening,
        });
        let span = |from, until| json!({ "venue": venue, "from": from, "until": until });
        for (query, variables) in [
            (REDEEM, json!({ "input": input })),
            (create, json!({ "input": made })),
            (figures, span(absurd, "2026-04-01")),
            (figures, span("2026-04-01", absurd)),
        ] {
            let response = respond(&world, &world.asserting(&door), query, variables).await;
            // The door of the service gives what is marked so the code `BAD_INPUT`.
            let error = &response["errors"][0];
            assert_eq!(error["extensions"]["unreadable"], true, "{absurd}: {error}");
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM venue").await, 1);
}

/// The same key with another request: the first one's answer is not given for the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_for_another_request() {
    let world = World::new().await;
    let door = world.door("博物馆").await;
    let create = "mutation ($input: CreateGateInput!) { createGate(input: $input) {
      gate { id unattended } userErrors { code field message } } }";
    let mut input = json!({
        "idempotencyKey": world.uuid(), "name": "南门",
        "venueId": GlobalId::of_uuid("Venue", door.venue.uuid()),
    });
    let [made, again] = both(&world, &world.manager, create, &input).await;
    assert_eq!(made["gate"], again["gate"]);
    assert_eq!(made["gate"]["unattended"], false);
    let texts = kit::once::key_reused();
    let expected = ["IDEMPOTENCY_KEY_REUSED", &*texts.zh, &*texts.en];
    input["unattended"] = json!(true);
    let other = refused(&world, &world.manager, create, &input).await;
    assert_eq!(other, expected);
    input["unattended"] = json!(false);
    input["name"] = json!("东门");
    let other = refused(&world, &world.manager, create, &input).await;
    assert_eq!(other, expected);
    assert_eq!(world.count("SELECT count(*) FROM gate").await, 2);
}
