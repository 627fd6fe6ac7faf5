//! Every mutation leaves the audit row that `schema/acts.json` says; and what is done by hand waits
//! while such rows are not sealed, where a gate does not.

use async_graphql::{Request, Variables};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use ed25519_dalek::SigningKey;
use kit::access::Caller;
use kit::audit::LAG_SECONDS_MAX;
use kit::bus::Defect;
use kit::graphql::{GlobalId, Language, Mode};
use kit::testing::acts::Acts;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::graph::{CREATE_GATE, CREATE_VENUE, ENROL, REDEEM, ask, venue_input};
use crate::world::{Device, World, admits, daily};

/// A world and what its mutations must leave.
struct Play<'a> {
    world: &'a World,
    acts: &'a Acts,
}

impl Play<'_> {
    /// Plays a mutation that is done; its payload.
    async fn act(&self, by: &Caller, mutation: &str, query: &str, input: Value) -> Value {
        let run = ask(self.world, by, query, json!({ "input": input }));
        let done = self.acts.left_by(mutation, run).await;
        let payload = done[mutation].clone();
        assert_eq!(payload["userErrors"], json!([]), "{mutation}: {payload}");
        payload
    }

    async fn venues(&self) {
        let operator = &self.world.operator;
        let input = venue_input(self.world)["input"].clone();
        let made = self.act(operator, "createVenue", CREATE_VENUE, input).await;
        let id = &made["venue"]["id"];
        let update = query("updateVenue", "UpdateVenueInput", "venue { id }");
        let input = json!({ "venueId": id, "nameEn": "Another name" });
        self.act(operator, "updateVenue", &update, input).await;
        let suspend = query("suspendVenue", "SuspendVenueInput", "venue { id }");
        let input = json!({ "venueId": id });
        self.act(operator, "suspendVenue", &suspend, input).await;
    }

    async fn gates(&self, venue: &str) {
        let manager = &self.world.manager;
        let input = json!({
            "venueId": venue, "name": "南门", "idempotencyKey": self.world.uuid(),
        });
        let made = self.act(manager, "createGate", CREATE_GATE, input).await;
        let public = SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
        let input = json!({
            "code": made["enrolmentCode"], "publicKey": URL_SAFE_NO_PAD.encode(public),
        });
        let device = Caller::anonymous(Language::En);
        self.act(&device, "enrolGate", ENROL, input).await;
        for mutation in ["issueGateCode", "disableGate", "enableGate"] {
            let change = query(mutation, "GateInput", "gate { id }");
            let input = json!({ "gateId": made["gate"]["id"] });
            self.act(manager, mutation, &change, input).await;
        }
    }

    async fn desk(&self, door: &Device, venue: &str) {
        let (world, manager) = (self.world, &self.world.manager);
        let open = query("openShift", "OpenShiftInput", "shift { id }");
        let gate = GlobalId::of_uuid("Gate", door.gate.uuid());
        let input = json!({ "venueId": venue, "gateId": gate });
        self.act(manager, "openShift", &open, input).await;
        let text = world.token(1);
        assert!(admits(&world.enter(door, &text).await));
        let scan = json!({
            "scanId": { "deviceId": gate, "enrolment": door.enrolment, "seq": 2 },
            "token": text, "direction": "ENTRY", "deviceTime": "2026-04-01T10:00:00+08:00",
        });
        let device = world.asserting(door);
        let denied = self.act(&device, "redeem", REDEEM, scan).await;
        assert_eq!(denied["decision"], "DENY", "{denied}");
        let by_hand = query(
            "overrideAdmission",
            "OverrideAdmissionInput",
            "redemption { id }",
        );
        let input = json!({
            "redemptionId": denied["redemption"]["id"], "reason": "领导批准",
            "idempotencyKey": world.uuid(),
        });
        let let_in = self.act(manager, "overrideAdmission", &by_hand, input);
        let let_in = let_in.await["redemption"]["id"].clone();
        let void = query("voidRedemption", "VoidRedemptionInput", "redemption { id }");
        let input = json!({
            "redemptionId": let_in, "reason": "问错了人", "idempotencyKey": world.uuid(),
        });
        self.act(manager, "voidRedemption", &void, input).await;
        let look_up = query("lookUpPass", "LookUpPassInput", "passes { uses { at } }");
        let input = json!({ "venueId": venue, "number": "0000000000000001" });
        self.act(manager, "lookUpPass", &look_up, input).await;
        let close = "mutation { closeShift { shift { id } userErrors { code } } }";
        let closed = ask(world, manager, close, json!({}));
        let closed = self.acts.left_by("closeShift", closed).await;
        assert_eq!(closed["closeShift"]["userErrors"], json!([]), "{closed}");
    }
}

fn query(mutation: &str, kind: &str, selection: &str) -> String {
    format!(
        "mutation ($input: {kind}!) {{ {mutation}(input: $input) {{ {selection}
           userErrors {{ code }} }} }}"
    )
}

/// A gate at a venue, whose pass number one is let in once a day.
async fn door(world: &World) -> (Device, String) {
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let venue = GlobalId::of_uuid("Venue", door.venue.uuid()).to_string();
    (door, venue)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_leaves_its_row() {
    let world = World::new().await;
    let acts = Acts::of(world.ctx());
    let play = Play {
        world: &world,
        acts: &acts,
    };
    let (door, venue) = door(&world).await;
    play.venues().await;
    play.gates(&venue).await;
    play.desk(&door, &venue).await;
    acts.assert_complete();
    world.check().await;
}

/// The code of a mutation's top-level error; null when it is answered.
async fn refused(
    world: &World,
    by: &Caller,
    (mutation, kind): (&str, &str),
    input: Value,
) -> Value {
    let schema = admission::schema(&world.admission, Mode::Development);
    let request = Request::new(query(mutation, kind, ""))
        .variables(Variables::from_json(json!({ "input": input })))
        .data(by.clone())
        .data(by.language);
    let answer = serde_json::to_value(schema.execute(request).await).unwrap();
    answer["errors"][0]["extensions"]["code"].clone()
}

/// While rows wait too long for their seal nobody is let in or taken back by hand, and no device
/// becomes a gate; a gate is switched off, and scans are decided. With the guard off it is done.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_by_hand_waits_for_the_sealer() {
    let world = World::new().await;
    let (door, venue) = door(&world).await;
    let admitted = world.enter(&door, &world.token(1)).await;
    let denied = world.enter(&door, &world.token(1)).await;
    let ctx = world.ctx();
    ctx.clock.advance(TimeDelta::seconds(LAG_SECONDS_MAX + 1));
    let heard = "UPDATE replica_heartbeat SET at = $1";
    let now = ctx.clock.now();
    ctx.db.execute(heard, [now.into()]).await.unwrap();
    let redemption = |id: Uuid| GlobalId::of_uuid("Redemption", id);
    let by_hand = |id: Uuid| {
        json!({ "redemptionId": redemption(id), "reason": "领导批准",
            "idempotencyKey": world.uuid() })
    };
    let gate = json!({ "gateId": GlobalId::of_uuid("Gate", door.gate.uuid()) });
    let new = json!({ "venueId": venue, "name": "南门", "idempotencyKey": world.uuid() });
    for (mutation, input) in [
        (
            ("overrideAdmission", "OverrideAdmissionInput"),
            by_hand(denied.id),
        ),
        (
            ("voidRedemption", "VoidRedemptionInput"),
            by_hand(admitted.id),
        ),
        (("createGate", "CreateGateInput"), new),
        (("issueGateCode", "GateInput"), gate.clone()),
    ] {
        let code = refused(&world, &world.manager, mutation, input).await;
        assert_eq!(code, "AUDIT_LAGS", "{mutation:?}");
    }
    assert!(!admits(&world.enter(&door, &world.token(1)).await));
    let switched = ("disableGate", "GateInput");
    let code = refused(&world, &world.manager, switched, gate.clone()).await;
    assert_eq!(code, Value::Null);
    ctx.db.faults().switch_on(Defect::PrivilegedUnsealed);
    let given = ("issueGateCode", "GateInput");
    let code = refused(&world, &world.manager, given, gate).await;
    assert_eq!(code, Value::Null, "with the guard off");
}
