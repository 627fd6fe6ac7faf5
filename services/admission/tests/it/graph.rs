//! The whole way through the graph, as a gateway would send it: from an empty union to a person
//! inside, every text in the language that was asked for.

use admission::domain::venue::Details;
use admission::gate_key::{self, Assertion};
use async_graphql::{Request, Variables};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use credential::rules::Rules;
use ed25519_dalek::SigningKey;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language, Mode};
use kit::types::{GateId, Union};
use serde_json::{Value, json};

use crate::world::{World, daily, details};

pub(crate) async fn ask(world: &World, caller: &Caller, query: &str, variables: Value) -> Value {
    let schema = admission::schema(&world.admission, Mode::Production);
    let request = Request::new(query)
        .variables(Variables::from_json(variables))
        .data(caller.clone())
        .data(caller.language);
    let response = schema.execute(request).await;
    assert!(response.errors.is_empty(), "{:?}", response.errors);
    response.data.into_json().unwrap()
}

pub(crate) const CREATE_VENUE: &str = "mutation ($input: CreateVenueInput!) {
  createVenue(input: $input) {
  venue { id nameZh divisionName isStation hoursToday gcj02 { latitude } organisation { id }
    openingHours { weekday hours } gates { id } }
  userErrors { code field message } } }";
pub(crate) const CREATE_GATE: &str = "mutation ($input: CreateGateInput!) {
  createGate(input: $input) {
  gate { id number enrolment } enrolmentCode userErrors { code } } }";
pub(crate) const ENROL: &str = "mutation ($input: EnrolGateInput!) { enrolGate(input: $input) {
  gate { id enrolment } userErrors { code } } }";
pub(crate) const REDEEM: &str = "mutation ($input: RedeemInput!) { redeem(input: $input) {
  decision reason explanation remaining { today venue total } hints { documentCheck }
  nextTryAt redemption { id passNumber countedOn venue { nameEn } gate { number } }
  userErrors { code field message } } }";

pub(crate) fn venue_input(world: &World) -> Value {
    json!({ "input": {
        "idempotencyKey": world.uuid(),
        "organisationId": GlobalId::of_uuid("Organisation", world.company.uuid()),
        "nameZh": "重庆中国三峡博物馆", "nameEn": "Three Gorges Museum", "division": "500103",
        "coordinates": { "latitude": 29.562, "longitude": 106.55, "source": "general knowledge" },
        "tags": ["museum", "station"],
        "opening": { "daily": { "opens": "09:00", "closes": "17:00" },
            "exceptions": [{ "date": "2026-04-06" }] },
    } })
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn from_nothing_to_a_person_inside() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(0x3a).await;
    let made = ask(&world, &world.operator, CREATE_VENUE, venue_input(&world)).await;
    let venue = &made["createVenue"]["venue"];
    assert_eq!(venue["divisionName"], "渝中区");
    assert_eq!(venue["hoursToday"], "09:00-17:00");
    assert_eq!(venue["isStation"], true);
    assert_eq!(
        venue["openingHours"][6],
        json!({ "weekday": "SU", "hours": "09:00-17:00" })
    );
    let input = json!({ "input": {
        "idempotencyKey": world.uuid(), "venueId": venue["id"], "name": "北门" } });
    let made = ask(&world, &world.manager, CREATE_GATE, input).await;
    let code = made["createGate"]["enrolmentCode"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = SigningKey::from_bytes(&[8; 32]);
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes());
    let device = Caller::anonymous(Language::Zh);
    let input = json!({ "input": { "code": code, "publicKey": public } });
    let bound = ask(&world, &device, ENROL, input).await;
    let gate = bound["enrolGate"]["gate"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(bound["enrolGate"]["gate"]["enrolment"], 1);

    let now = world.now().timestamp();
    let assertion = Assertion {
        gate: GateId(GlobalId::uuid(&gate, "Gate").unwrap()),
        union: Union::Chongqing,
        enrolment: 1,
        id: world.uuid(),
        issued_at: now,
        expires_at: now + 60,
    };
    let device = Caller {
        gate_assertion: Some(gate_key::sign(&assertion, &key)),
        ..device
    };
    let scan = |seq: i64, text: &str| {
        json!({ "input": {
            "scanId": { "deviceId": gate, "enrolment": 1, "seq": seq },
            "token": text, "direction": "ENTRY", "deviceTime": "2026-04-01T10:00:00+08:00" } })
    };
    let text = world.token(0x3a);
    let first = ask(&world, &device, REDEEM, scan(1, &text)).await;
    let first = &first["redeem"];
    assert_eq!(first["decision"], "ADMIT");
    assert_eq!(first["reason"], Value::Null);
    assert_eq!(first["explanation"], "请入园。");
    assert_eq!(
        first["remaining"],
        json!({ "today": 0, "venue": null, "total": null })
    );
    assert_eq!(first["redemption"]["passNumber"], "000000000000003a");
    assert_eq!(first["redemption"]["gate"]["number"], 1);
    assert_eq!(first["userErrors"], json!([]));
    let again = ask(&world, &device, REDEEM, scan(2, &text)).await;
    let again = &again["redeem"];
    assert_eq!(
        (&again["decision"], &again["reason"]),
        (&json!("DENY"), &json!("USED_TODAY"))
    );
    assert_eq!(
        again["nextTryAt"], "2026-04-02T01:00:00+00:00",
        "when it opens tomorrow"
    );
    assert!(
        again["explanation"]
            .as_str()
            .unwrap()
            .contains("今日已入园1次"),
        "{again}"
    );
    let english = Caller {
        language: Language::En,
        ..device.clone()
    };
    let repeated = ask(&world, &english, REDEEM, scan(2, &text)).await;
    let repeated = &repeated["redeem"];
    assert_eq!(repeated["redemption"]["id"], again["redemption"]["id"]);
    assert!(
        repeated["explanation"]
            .as_str()
            .unwrap()
            .contains("Entries today: 1 of 1")
    );
    let reused = ask(&world, &english, REDEEM, scan(2, "another")).await;
    let error = &reused["redeem"]["userErrors"][0];
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("SCAN_ID_REUSED"), &json!(["scanId"]))
    );
    assert_eq!(reused["redeem"]["decision"], Value::Null);
    let stranger = ask(&world, &world.nobody, REDEEM, scan(3, &text)).await;
    let error = &stranger["redeem"]["userErrors"][0];
    assert_eq!(error["code"], "GATE_NOT_RECOGNISED");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("This gate is not recognised")
    );
    world.check().await;
}

/// What happens at a venue is for those who run it: for others it is as if absent.
#[tokio::test(flavor = "multi_thread")]
async fn scans_gates_and_figures_are_for_those_who_run_the_venue() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let used = world.enter(&door, &world.token(1)).await;
    let query = "query ($venue: ID!, $gate: ID!, $scan: ID!) {
      redemptions(venueId: $venue, first: 10) { nodes { id decision } }
      venueFigures(venueId: $venue, from: \"2026-04-01\", until: \"2026-04-02\") { what times }
      venue(id: $venue) { name gates { number } } gate(id: $gate) { number }
      redemption(id: $scan) { decision }
      _entities(representations: [{ __typename: \"Redemption\", id: $scan },
        { __typename: \"Venue\", id: $venue }, { __typename: \"Gate\", id: \"nonsense\" }]) {
        ... on Redemption { decision } ... on Venue { suspended } ... on Gate { number } } }";
    let variables = json!({
        "venue": GlobalId::of_uuid("Venue", door.venue.uuid()),
        "gate": GlobalId::of_uuid("Gate", door.gate.uuid()),
        "scan": GlobalId::of_uuid("Redemption", used.id),
    });
    for insider in [&world.staff, &world.manager, &world.operator] {
        let seen = ask(&world, insider, query, variables.clone()).await;
        assert_eq!(seen["redemptions"]["nodes"][0]["decision"], "ADMIT");
        assert_eq!(
            seen["venueFigures"],
            json!([{ "what": "entry", "times": 1 }])
        );
        assert_eq!(seen["venue"]["gates"], json!([{ "number": 1 }]));
        assert_eq!(seen["gate"]["number"], 1);
        assert_eq!(
            seen["_entities"],
            json!([{ "decision": "ADMIT" }, { "suspended": false }, null])
        );
    }
    let anonymous = Caller::anonymous(Language::Zh);
    for outsider in [&world.nobody, &world.rival(), &anonymous] {
        let seen = ask(&world, outsider, query, variables.clone()).await;
        assert_eq!(seen["redemptions"]["nodes"], json!([]));
        assert_eq!(seen["venueFigures"], json!([]));
        assert_eq!(seen["venue"]["gates"], json!([]));
        assert_eq!(
            (&seen["gate"], &seen["redemption"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            seen["_entities"],
            json!([null, { "suspended": false }, null])
        );
    }
}

/// ASVS V2.2.2.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_user_error_in_both_languages() {
    let world = World::new().await;
    for (field, value, zh, en) in [
        (
            "nameZh",
            json!(""),
            "须为一行 1 到 60 个字符",
            "must be 1 to 60 characters on one line",
        ),
        (
            "division",
            json!("500112"),
            "不是本省市现行的行政区划",
            "no division of this province today",
        ),
        (
            "coordinates",
            json!({ "latitude": 106.5, "longitude": 29.5, "source": "x" }),
            "不在川渝境内或附近",
            "no point in or near the provinces",
        ),
        (
            "opening",
            json!({ "daily": { "opens": "17:00", "closes": "09:00" } }),
            "须为 HH:MM 到更晚的 HH:MM",
            "HH:MM to a later HH:MM",
        ),
        (
            "tags",
            json!(["Capital"]),
            "最多 16 个，每个为 1 到 32 个 a-z、0-9 或 -",
            "at most 16, each of 1 to 32 of a-z, 0-9 and -",
        ),
        (
            "capacity",
            json!(10),
            "只有扫码出场的场馆才能限定人数",
            "can only be kept where exits are scanned",
        ),
    ] {
        let mut input = venue_input(&world);
        input["input"][field] = value;
        for (language, said) in [
            (Language::Zh, format!("输入有误（{field}）：{zh}。")),
            (Language::En, format!("Bad input in {field}: {en}.")),
        ] {
            let caller = Caller {
                language,
                ..world.operator.clone()
            };
            let made = ask(&world, &caller, CREATE_VENUE, input.clone()).await;
            let error = &made["createVenue"]["userErrors"][0];
            assert_eq!(
                (&error["code"], &error["field"]),
                (&json!("BAD_INPUT"), &json!([field]))
            );
            assert_eq!(error["message"], said);
        }
    }
    let taken = venue_input(&world);
    ask(&world, &world.operator, CREATE_VENUE, taken.clone()).await;
    let again = ask(&world, &world.operator, CREATE_VENUE, venue_input(&world)).await;
    assert_eq!(
        again["createVenue"]["userErrors"][0]["code"],
        "VENUE_NAME_TAKEN"
    );
}

/// The subgraph's contract names what the others count on.
#[test]
fn the_schema_says_what_is_promised() {
    let sdl = admission::sdl();
    for promised in [
        "type Venue @key(fields: \"id\")",
        "type Gate @key(fields: \"id\")",
        "type Redemption @key(fields: \"id\")",
        "redeem(input: RedeemInput!): RedeemPayload!",
        "enrolGate(input: EnrolGateInput!): EnrolGatePayload!",
        "voidRedemption(input: VoidRedemptionInput!): VoidRedemptionPayload!",
    ] {
        assert!(sdl.contains(promised), "{promised}\n{sdl}");
    }
}

/// Counts of many venues are read together, each for its own; one without exits has none.
#[tokio::test(flavor = "multi_thread")]
async fn each_venue_shows_its_own_count() {
    let world = World::new().await;
    world.product(&Rules::unlimited()).await;
    let mut doors = Vec::new();
    for (name, tracks_exits) in [("甲", true), ("乙", true), ("丙", false)] {
        let details = Details {
            tracks_exits,
            ..details(name)
        };
        let venue = world.venue(details).await;
        doors.push(world.device(venue.id).await);
    }
    for pass in 1..=3 {
        world.grant(pass).await;
        let door = &doors[usize::from(pass == 3)];
        world.enter(door, &world.token(pass)).await;
    }
    let named: Vec<Value> = doors
        .iter()
        .map(|door| GlobalId::of_uuid("Venue", door.venue.uuid()))
        .map(|id| json!({ "__typename": "Venue", "id": id }))
        .collect();
    let query = "query ($venues: [_Any!]!) { _entities(representations: $venues) {
      ... on Venue { a: occupancy b: occupancy gates { number } c: gates { number } } } }";
    let anonymous = Caller::anonymous(Language::Zh);
    let gate = json!([{ "number": 1 }]);
    for (caller, gates) in [(&anonymous, json!([])), (&world.staff, gate)] {
        let seen = ask(&world, caller, query, json!({ "venues": named })).await;
        let venue = |count: Value| json!({ "a": count, "b": count, "gates": gates, "c": gates });
        let counts = [json!(2), json!(1), Value::Null].map(venue);
        assert_eq!(seen["_entities"], json!(counts));
    }
}
