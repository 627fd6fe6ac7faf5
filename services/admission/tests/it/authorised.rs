//! Every field of the graph, asked for as everybody: who is answered and how all others are refused
//! is in `schema/authorisation.json`. What was refused changed nothing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use admission::commands::by_hand::{Overridden, override_admission, void_redemption};
use admission::commands::gate;
use admission::commands::redeem::Scanned;
use admission::commands::shift::open_shift;
use async_graphql::{Request, Response, Variables};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use kit::graphql::{GlobalId, Mode};
use kit::testing::cast::Cast;
use kit::testing::rights::{Ask, Rights, View};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::graph::venue_input;
use crate::world::{Device, World, admits, attended, daily, details, refused};

/// The first scan that this test numbers by itself; the world's own begin at one.
const SEQ_FROM: i64 = 1_000;

/// Who asks, and of what.
struct Play {
    world: World,
    cast: Cast,
    rights: Rights,
    door: Device,
    venue: String,
    /// Passes that were granted, so that each is fresh.
    passes: AtomicU64,
    seq: AtomicI64,
}

impl Play {
    async fn new() -> Self {
        let world = World::new().await;
        let companies = [Uuid::from_u128(10), Uuid::from_u128(11)];
        let cast = Cast::seed(&world.ctx().db, Uuid::from_u128(1), companies).await;
        let rights = Rights::of("admission", &admission::sdl(), &[]);
        world.product(&daily()).await;
        let door = world.door("博物馆").await;
        let venue = global("Venue", door.venue.uuid());
        for actor in ["venue_staff", "manager"] {
            let who = cast.caller(actor);
            open_shift(world.ctx(), who, door.venue, Some(door.gate))
                .await
                .unwrap();
        }
        Self {
            world,
            cast,
            rights,
            door,
            venue,
            passes: AtomicU64::new(0),
            seq: AtomicI64::new(SEQ_FROM),
        }
    }

    async fn answer(&self, actor: &str, ask: &Ask) -> Response {
        let caller = match actor {
            "gate" => self.world.asserting(&self.door),
            other => ask.asked_by(self.cast.caller(other)),
        };
        let schema = admission::schema(&self.world.admission, Mode::Production);
        let request = Request::new(&ask.query)
            .variables(Variables::from_json(ask.variables.clone()))
            .data(caller.clone())
            .data(caller.language);
        schema.execute(request).await
    }

    async fn query(&self, name: &str, query: &str, variables: Value) {
        let ask = Ask::new(query.to_owned(), variables);
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        self.rights.query(name, &ask, answer).await;
    }

    async fn view(
        &self,
        kind: &'static str,
        query: &str,
        variables: Value,
        path: &'static [&'static str],
    ) {
        let ask = Ask::new(query.to_owned(), variables);
        let view = View { kind, ask, path };
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        self.rights.view(&view, answer).await;
    }

    async fn mutation(&self, name: &str, kind: &str, input: impl AsyncFn() -> Value) {
        let query = format!(
            "mutation($input: {kind}!) {{ {name}(input: $input) {{ userErrors {{ code }} }} }}"
        );
        let prepare = async |_: &str| Ask::new(query.clone(), json!({ "input": input().await }));
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        let db = &self.world.ctx().db;
        self.rights.mutation(db, name, prepare, answer).await;
    }

    /// The code of a pass that nobody has shown.
    async fn pass(&self) -> (u64, String) {
        let id = self.passes.fetch_add(1, Ordering::SeqCst) + 1;
        self.world.grant(id).await;
        (id, self.world.token(id))
    }

    /// A scan that was refused: the pass was here already today.
    async fn denial(&self) -> Uuid {
        let (_, text) = self.pass().await;
        assert!(admits(&self.world.enter(&self.door, &text).await));
        self.world.enter(&self.door, &text).await.id
    }

    /// An entry by hand that was taken back.
    async fn taken_back(&self) -> Uuid {
        let (ctx, manager) = (self.world.ctx(), self.cast.caller("manager"));
        let what = Overridden::Denial(self.denial().await);
        let let_in = override_admission(ctx, manager, self.world.uuid(), what, "lost child");
        let id = let_in.await.unwrap().id;
        let _voided = void_redemption(ctx, manager, self.world.uuid(), id, "the wrong one")
            .await
            .unwrap();
        id
    }

    /// A scan's number that comes again with another code.
    async fn alarm(&self) {
        let (_, text) = self.pass().await;
        let scanned = self.world.scan(&self.door, &text);
        let _first = self
            .world
            .redeem(&self.door, scanned.clone())
            .await
            .unwrap();
        let (_, text) = self.pass().await;
        let other = Scanned { text, ..scanned };
        let again = self.world.redeem(&self.door, other).await;
        assert_eq!(refused(again), "SCAN_ID_REUSED");
    }

    async fn venue(&self) {
        self.alarm().await;
        let of = json!({ "id": self.venue });
        self.query(
            "venue",
            "query($id: ID!) { venue(id: $id) { id } }",
            of.clone(),
        )
        .await;
        self.query("venues", "{ venues(first: 5) { nodes { id } } }", json!({}))
            .await;
        let one = "query($id: ID!) { venue(id: $id) { FIELD } }";
        self.view("Venue", one, of.clone(), &["venue"]).await;
        let one = "query($id: ID!) { venue(id: $id) { alarms(first: 5) { nodes { FIELD } } } }";
        self.view("ScanAlarm", one, of.clone(), &["venue", "alarms", "nodes"])
            .await;
        let figures = "query($id: ID!) {
            venueFigures(venueId: $id, from: \"2026-04-01\", until: \"2026-04-02\") { FIELD } }";
        self.query(
            "venueFigures",
            &figures.replace("FIELD", "times"),
            of.clone(),
        )
        .await;
        self.view("VenueFigure", figures, of, &["venueFigures"])
            .await;
    }

    async fn gate(&self) {
        let (ctx, manager) = (self.world.ctx(), self.cast.caller("manager"));
        let _code = gate::issue_gate_code(ctx, manager, self.door.gate)
            .await
            .unwrap();
        let of = json!({ "id": global("Gate", self.door.gate.uuid()) });
        self.query(
            "gate",
            "query($id: ID!) { gate(id: $id) { id } }",
            of.clone(),
        )
        .await;
        let one = "query($id: ID!) { gate(id: $id) { FIELD } }";
        self.view("Gate", one, of, &["gate"]).await;
    }

    async fn scans(&self) {
        let of = json!({ "id": global("Redemption", self.taken_back().await) });
        let one = "query($id: ID!) { redemption(id: $id) { id } }";
        self.query("redemption", one, of.clone()).await;
        let one = "query($id: ID!) { redemption(id: $id) { FIELD } }";
        self.view("Redemption", one, of, &["redemption"]).await;
        let all = "query($id: ID!) { redemptions(venueId: $id, first: 5) { nodes { id } } }";
        self.query("redemptions", all, json!({ "id": self.venue }))
            .await;
    }

    async fn staff(&self) {
        self.query("myShift", "{ myShift { id } }", json!({})).await;
        self.view("Shift", "{ myShift { FIELD } }", json!({}), &["myShift"])
            .await;
        let (id, text) = self.pass().await;
        assert!(admits(&self.world.enter(&self.door, &text).await));
        let one = "mutation($input: LookUpPassInput!) { lookUpPass(input: $input) {
            passes { FIELD } } }";
        let input = json!({ "venueId": self.venue, "number": format!("{id:016x}") });
        let path = &["lookUpPass", "passes"];
        self.view("LookedUpPass", one, json!({ "input": input }), path)
            .await;
        self.world.advance(chrono::TimeDelta::minutes(11)).await;
    }

    /// A gate of the venue, and the code that binds a device to it.
    async fn new_gate(&self) -> (String, String) {
        let (ctx, key) = (self.world.ctx(), self.world.uuid());
        let manager = self.cast.caller("manager");
        let made = gate::create_gate(ctx, manager, key, self.door.venue, attended("南门"))
            .await
            .unwrap();
        (global("Gate", made.gate.id.uuid()), made.code.unwrap())
    }

    async fn places(&self) {
        let named = || {
            let mut input = venue_input(&self.world)["input"].clone();
            let name = format!("馆{}", &self.world.uuid().simple().to_string()[20..]);
            (input["nameZh"], input["nameEn"]) = (json!(name), json!(name));
            input
        };
        let fresh = async || {
            let name = self.world.uuid().simple().to_string()[20..].to_owned();
            global("Venue", self.world.venue(details(&name)).await.id.uuid())
        };
        self.mutation("createVenue", "CreateVenueInput", async || named())
            .await;
        self.mutation(
            "updateVenue",
            "UpdateVenueInput",
            async || json!({ "venueId": fresh().await, "tracksExits": true }),
        )
        .await;
        self.mutation(
            "suspendVenue",
            "SuspendVenueInput",
            async || json!({ "venueId": fresh().await }),
        )
        .await;
        self.mutation("createGate", "CreateGateInput", async || {
            json!({
                "venueId": self.venue, "name": "东门", "idempotencyKey": self.world.uuid(),
            })
        })
        .await;
        for mutation in ["issueGateCode", "disableGate", "enableGate"] {
            self.mutation(
                mutation,
                "GateInput",
                async || json!({ "gateId": self.new_gate().await.0 }),
            )
            .await;
        }
        self.mutation("enrolGate", "EnrolGateInput", async || {
            let public = SigningKey::from_bytes(&self.world.ctx().ids.bytes32())
                .verifying_key()
                .to_bytes();
            let (_, code) = self.new_gate().await;
            json!({ "code": code, "publicKey": URL_SAFE_NO_PAD.encode(public) })
        })
        .await;
    }

    async fn doors(&self) {
        self.mutation("redeem", "RedeemInput", async || {
            let (_, text) = self.pass().await;
            let seq = self.seq.fetch_add(1, Ordering::SeqCst);
            let gate = global("Gate", self.door.gate.uuid());
            json!({
                "scanId": { "deviceId": gate, "enrolment": self.door.enrolment, "seq": seq },
                "token": text, "direction": "ENTRY", "deviceTime": "2026-04-01T10:00:00+08:00",
            })
        })
        .await;
        let by_hand = |id: Uuid| {
            json!({
                "redemptionId": global("Redemption", id), "reason": "领导批准",
                "idempotencyKey": self.world.uuid(),
            })
        };
        self.mutation("overrideAdmission", "OverrideAdmissionInput", async || {
            by_hand(self.denial().await)
        })
        .await;
        self.mutation("voidRedemption", "VoidRedemptionInput", async || {
            let (_, text) = self.pass().await;
            by_hand(self.world.enter(&self.door, &text).await.id)
        })
        .await;
        self.mutation("lookUpPass", "LookUpPassInput", async || {
            let (id, _) = self.pass().await;
            json!({ "venueId": self.venue, "number": format!("{id:016x}") })
        })
        .await;
        self.mutation("openShift", "OpenShiftInput", async || {
            let (gate, _) = self.new_gate().await;
            json!({ "venueId": self.venue, "gateId": gate })
        })
        .await;
        let close = "mutation { closeShift { userErrors { code } } }";
        let prepare = async |_: &str| Ask::new(close.to_owned(), json!({}));
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        let db = &self.world.ctx().db;
        self.rights
            .mutation(db, "closeShift", prepare, answer)
            .await;
    }
}

fn global(kind: &str, id: Uuid) -> String {
    GlobalId::of_uuid(kind, id).to_string()
}

/// ASVS V8.2.3.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_answered_what_is_hers() {
    let play = Play::new().await;
    play.venue().await;
    play.gate().await;
    play.scans().await;
    play.staff().await;
    play.places().await;
    play.doors().await;
    play.rights.assert_complete();
    play.world.check().await;
}
