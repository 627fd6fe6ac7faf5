//! One union's passes with a database of their own, and the hands that tests need: a caller, an
//! operator, the graph, events of other services, due work, the outbox, the invariants.

use std::sync::atomic::{AtomicI64, Ordering};

use async_graphql::{Request, Variables};
use chrono::{DateTime, Utc};
use kit::access::{Caller, Role, seed};
use kit::audit::seal::seal_rows;
use kit::consumer::Handler;
use kit::event::Record;
use kit::graphql::{GlobalId, Language, Mode};
use kit::testing::TestDb;
use kit::types::{EntitlementId, LoginId, MemberId};
use kit::{Ctx, Result};
use passes::graphql::PassesSchema;
use passes::{ALL_MIGRATIONS, NAME, Passes, Settings};
use proto::admission as gate;
use proto::billing as money;
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

/// The key of the tests' entitlement ids: thirty-two times the letter k.
const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) passes: Passes,
    pub(crate) operator: Caller,
    pub(crate) schema: PassesSchema,
    seen: AtomicI64,
    pseq: AtomicI64,
}

/// An event as it lies in the outbox.
#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Emitted {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) key: Vec<u8>,
    pub(crate) version: i64,
    pub(crate) payload: Vec<u8>,
}

impl Emitted {
    pub(crate) fn decode<M: prost::Message + Default>(&self) -> M {
        M::decode(self.payload.as_slice()).unwrap()
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        entitlement_key: KEY.into(),
        catalogue_seconds: 5,
    }
}

pub(crate) fn caller(number: u128) -> Caller {
    let member = MemberId(Uuid::from_u128(0x1000 + number));
    Caller::member(
        member,
        LoginId(Uuid::from_u128(0x2000 + number)),
        Language::En,
    )
}

pub(crate) fn key() -> Uuid {
    let mut bytes = [0; 16];
    kit::Ids::random().fill(&mut bytes);
    Uuid::from_bytes(bytes)
}

impl World {
    pub(crate) async fn new() -> Self {
        let db = kit::testing::db(NAME, ALL_MIGRATIONS).await;
        let passes = Passes::new(db.ctx.clone(), &settings(), None).unwrap();
        let schema = passes::graphql::schema(&passes, Mode::Development);
        let operator = caller(0).stepped_up(DateTime::<Utc>::MAX_UTC);
        let world = Self {
            db,
            passes,
            operator,
            schema,
            seen: AtomicI64::new(0),
            pseq: AtomicI64::new(0),
        };
        world.seed_operator().await;
        world.seed_members().await;
        world
    }

    pub(crate) fn ctx(&self) -> &Ctx {
        &self.db.ctx
    }

    async fn seed_operator(&self) {
        let root = Uuid::from_u128(0x3000);
        self.ctx()
            .db
            .tx("seed", async |tx| {
                seed::heartbeat(tx).await?;
                seed::organisation(tx, root, &[]).await?;
                seed::role(tx, Uuid::from_u128(0x1000), root, Role::Operator).await
            })
            .await
            .unwrap();
    }

    /// Identity is heard of again, after the clock was moved.
    pub(crate) async fn heartbeat(&self) {
        self.ctx()
            .db
            .tx("heartbeat", async |tx| seed::heartbeat(tx).await)
            .await
            .unwrap();
    }

    /// The whole response of the graph.
    pub(crate) async fn respond(&self, caller: &Caller, query: &str, variables: Value) -> Value {
        let request = Request::new(query)
            .variables(Variables::from_json(variables))
            .data(caller.clone())
            .data(caller.language);
        serde_json::to_value(self.schema.execute(request).await).unwrap()
    }

    /// The data of the graph's answer; top-level errors fail the test.
    pub(crate) async fn ask(&self, caller: &Caller, query: &str, variables: Value) -> Value {
        let response = self.respond(caller, query, variables).await;
        assert!(response.get("errors").is_none(), "{response:#}");
        response["data"].clone()
    }

    /// Runs a mutation of one input and one thing; the payload.
    pub(crate) async fn mutate(&self, caller: &Caller, name: &str, input: Value) -> Value {
        let (kind, thing) = match name {
            "createPassProduct" | "updatePassProduct" | "publishPassProduct" => {
                let mut kind = name.to_owned();
                kind[..1].make_ascii_uppercase();
                (kind, PRODUCT)
            }
            "stopSale" | "resumeSale" => ("PassSale".to_owned(), PRODUCT),
            "freezePass" | "unfreezePass" => ("PassCustody".to_owned(), PASS),
            "reserveVisit" | "cancelVisit" => {
                let payload = self.visit(caller, name, input).await;
                return payload;
            }
            "openVisitDays" => ("OpenVisitDays".to_owned(), "venue { id }"),
            "requestPassHolderList" => ("RequestPassHolderList".to_owned(), "fileId"),
            "voidPass" | "buyPass" | "activatePass" | "requestPassRefund" | "reissuePass" => {
                let mut kind = name.to_owned();
                kind[..1].make_ascii_uppercase();
                (kind, PASS)
            }
            other => panic!("no mutation {other}"),
        };
        let query = format!(
            "mutation($input: {kind}Input!) {{ {name}(input: $input) {{
               {thing} userErrors {{ code field message }} }} }}"
        );
        let data = self.ask(caller, &query, json!({ "input": input })).await;
        data[name].clone()
    }

    async fn visit(&self, caller: &Caller, name: &str, input: Value) -> Value {
        let query = format!(
            "mutation($input: VisitInput!) {{ {name}(input: $input) {{
               pass {{ id reservations {{ date canBeCancelled venue {{ id }} }} }}
               userErrors {{ code field message }} }} }}"
        );
        let data = self.ask(caller, &query, json!({ "input": input })).await;
        data[name].clone()
    }

    /// A published product with these terms over the usual ones; its id.
    pub(crate) async fn product(&self, terms: Value) -> String {
        let id = self.draft(terms).await;
        let input = json!({ "productId": id, "idempotencyKey": key() });
        let published = self
            .mutate(&self.operator, "publishPassProduct", input)
            .await;
        assert_eq!(published["userErrors"], json!([]), "{published:#}");
        id
    }

    pub(crate) async fn draft(&self, terms: Value) -> String {
        let input = json!({ "terms": usual_terms(&terms), "idempotencyKey": key() });
        let made = self
            .mutate(&self.operator, "createPassProduct", input)
            .await;
        assert_eq!(made["userErrors"], json!([]), "{made:#}");
        made["product"]["id"].as_str().unwrap().to_owned()
    }

    /// Buys one; the payload.
    pub(crate) async fn buy(&self, caller: &Caller, product: &str) -> Value {
        let input = json!({ "productId": product, "idempotencyKey": key() });
        self.mutate(caller, "buyPass", input).await
    }

    /// Buys one and pays for it; the pass's id.
    pub(crate) async fn bought(&self, caller: &Caller, product: &str) -> String {
        let bought = self.buy(caller, product).await;
        assert_eq!(bought["userErrors"], json!([]), "{bought:#}");
        let id = bought["pass"]["id"].as_str().unwrap().to_owned();
        self.tell(&[self.paid(&bought["pass"], 2)]).await.unwrap();
        id
    }

    pub(crate) async fn pass(&self, caller: &Caller, id: &str) -> Value {
        let query = format!(
            "query($id: ID!) {{ {} }}",
            PASS.replace("pass {", "pass(id: $id) {")
        );
        self.ask(caller, &query, json!({ "id": id })).await["pass"].clone()
    }

    pub(crate) fn record(&self, kind: &str, key: &[u8], version: i64, payload: Vec<u8>) -> Record {
        let pseq = self.pseq.fetch_add(1, Ordering::SeqCst) + 1;
        let topic = if kind.contains("billing") {
            "billing.v1"
        } else {
            "admission.v1"
        };
        Record {
            topic: topic.to_owned(),
            partition: 0,
            offset: pseq,
            epoch: 1,
            pseq,
            id: key_of(pseq),
            kind: kind.to_owned(),
            key: key.to_vec(),
            version,
            must_understand: false,
            at: self.ctx().clock.now(),
            traceparent: None,
            payload,
        }
    }

    /// Lets the handler apply records in a transaction of their own.
    pub(crate) async fn tell(&self, records: &[Record]) -> Result<()> {
        let follower = self.passes.follower();
        self.ctx()
            .db
            .tx("tell", async |tx| follower.apply(tx, records).await)
            .await
    }

    pub(crate) fn order(
        &self,
        pass: &Value,
        state: money::order::State,
        version: i64,
    ) -> money::Order {
        let id = GlobalId::uuid(pass["order"]["id"].as_str().unwrap(), "Order").unwrap();
        let total_fen = pass["price"]["amountFen"].as_i64().unwrap();
        let paid = state == money::order::State::Paid;
        money::Order {
            id: id.as_bytes().to_vec(),
            version,
            union: 50,
            number: "N1".to_owned(),
            state: state.into(),
            total_fen,
            paid_fen: if paid { total_fen } else { 0 },
            seller: "passes".to_owned(),
            paid_at: if paid {
                self.ctx().clock.now().timestamp_millis()
            } else {
                0
            },
            ..money::Order::default()
        }
    }

    pub(crate) fn paid(&self, pass: &Value, version: i64) -> Record {
        let order = self.order(pass, money::order::State::Paid, version);
        let (key, event) = (order.id.clone(), money::OrderPaid { order: Some(order) });
        self.record(
            "bashu.billing.v1.OrderPaid",
            &key,
            version,
            prost::Message::encode_to_vec(&event),
        )
    }

    pub(crate) fn closed(&self, pass: &Value, version: i64) -> Record {
        let order = self.order(pass, money::order::State::Closed, version);
        let (key, event) = (order.id.clone(), money::OrderClosed { order: Some(order) });
        let payload = prost::Message::encode_to_vec(&event);
        self.record("bashu.billing.v1.OrderClosed", &key, version, payload)
    }

    /// Billing has paid this return back.
    pub(crate) fn refunded(
        &self,
        pass: &Value,
        return_id: &[u8],
        fen: i64,
        version: i64,
    ) -> Record {
        let mut order = self.order(pass, money::order::State::Paid, version);
        order.refunded_fen = fen;
        order.refunds = vec![money::LineRefund {
            return_id: return_id.to_vec(),
            line_id: vec![0; 16],
            fen,
            done: true,
        }];
        let key = order.id.clone();
        let event = money::RefundDone {
            order: Some(order),
            return_id: return_id.to_vec(),
            line_id: vec![0; 16],
            fen,
        };
        let payload = prost::Message::encode_to_vec(&event);
        self.record("bashu.billing.v1.RefundDone", &key, version, payload)
    }

    pub(crate) fn venue(
        &self,
        number: u128,
        version: i64,
        change: impl Fn(&mut gate::VenueChanged),
    ) -> Record {
        let id = Uuid::from_u128(0x4000 + number);
        let mut event = gate::VenueChanged {
            id: id.as_bytes().to_vec(),
            version,
            union: 50,
            name_zh: format!("场馆{number}"),
            name_en: format!("Venue {number}"),
            division: "500103".to_owned(),
            ..gate::VenueChanged::default()
        };
        change(&mut event);
        let payload = prost::Message::encode_to_vec(&event);
        self.record(
            "bashu.admission.v1.VenueChanged",
            id.as_bytes(),
            version,
            payload,
        )
    }

    /// A use of a pass at a venue, now.
    pub(crate) fn used(&self, pass: &str, (number, venue): (u128, u128), voided: bool) -> Record {
        let id = Uuid::from_u128(0x5000 + number);
        let now = self.ctx().clock.now();
        let version = if voided { 2 } else { 1 };
        let event = gate::RedemptionChanged {
            id: id.as_bytes().to_vec(),
            version,
            entitlement_id: entitlement(pass).0,
            union: 50,
            venue_id: Uuid::from_u128(0x4000 + venue).as_bytes().to_vec(),
            direction: gate::redemption_changed::Direction::Entry.into(),
            at: now.timestamp_millis(),
            date: kit::types::shanghai_date(now).to_string(),
            persons: 1,
            voided,
            payable: true,
            ..gate::RedemptionChanged::default()
        };
        let payload = prost::Message::encode_to_vec(&event);
        self.record(
            "bashu.admission.v1.RedemptionChanged",
            id.as_bytes(),
            version,
            payload,
        )
    }

    pub(crate) fn counted(&self, pass: &str, freeze: i64, uses: u32, leases_until: i64) -> Record {
        self.freeze_applied(gate::FreezeApplied {
            entitlement_id: entitlement(pass).0,
            freeze_version: freeze,
            uses,
            leases_open_until: leases_until,
            union: 50,
        })
    }

    /// A union's admission answers a freeze; it has no lease open.
    pub(crate) fn counted_by(&self, union: i32, pass: &str, freeze: i64, uses: u32) -> Record {
        self.freeze_applied(gate::FreezeApplied {
            entitlement_id: entitlement(pass).0,
            freeze_version: freeze,
            uses,
            leases_open_until: 0,
            union,
        })
    }

    fn freeze_applied(&self, event: gate::FreezeApplied) -> Record {
        let id = EntitlementId(event.entitlement_id);
        let freeze = event.freeze_version;
        let payload = prost::Message::encode_to_vec(&event);
        self.record(
            "bashu.admission.v1.FreezeApplied",
            &id.to_bytes(),
            freeze,
            payload,
        )
    }

    /// Runs all that is due now.
    pub(crate) async fn due(&self) {
        let timers = self.passes.timers();
        while kit::due::step(self.ctx(), &timers).await.unwrap() > 0 {}
    }

    /// What was emitted since this was last asked.
    pub(crate) async fn emitted(&self) -> Vec<Emitted> {
        let after = self.seen.load(Ordering::SeqCst);
        let sql = "SELECT id, kind, key, version, payload FROM outbox WHERE id > $1 ORDER BY id";
        let rows: Vec<Emitted> = self.ctx().db.all(sql, [after.into()]).await.unwrap();
        if let Some(last) = rows.last() {
            self.seen.store(last.id, Ordering::SeqCst);
        }
        rows
    }

    /// The last event of this type that was emitted since this was last asked.
    pub(crate) async fn last<M: prost::Message + prost::Name + Default>(&self) -> M {
        let all = self.emitted().await;
        let found = all.iter().rev().find(|event| event.kind == M::full_name());
        found
            .unwrap_or_else(|| panic!("no {} in {all:?}", M::full_name()))
            .decode()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        #[derive(FromQueryResult)]
        struct Row {
            count: i64,
        }
        self.ctx()
            .db
            .one::<Row>(sql, [])
            .await
            .unwrap()
            .unwrap()
            .count
    }

    /// Every promise of this service and of the chassis holds.
    pub(crate) async fn verify(&self) {
        let sealed = self.ctx().db.tx("audit_seal", seal_rows).await;
        sealed.unwrap();
        for invariant in passes::verify::INVARIANTS
            .iter()
            .chain(kit::verify::CHASSIS)
        {
            let broken = kit::verify::check(&self.ctx().db, invariant).await.unwrap();
            assert!(broken.is_empty(), "{}: {broken:?}", invariant.id);
        }
    }
}

fn key_of(number: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(number).unwrap())
}

pub(crate) fn entitlement(pass: &str) -> EntitlementId {
    GlobalId::entitlement(pass, "Pass").unwrap()
}

const PRODUCT: &str = "product { id version scope name state available draft { version } }";
const PASS: &str = "pass { id number generation state start end lastDay activateBy payBy reason \
    price { amountFen } order { id } product { id version } \
    refund { state overdue uses fee { amountFen } amount { amountFen } reason } }";

/// A pass that begins at payment, for a year, 200 yuan, one for each member.
pub(crate) fn usual_terms(change: &Value) -> Value {
    let mut terms = json!({
        "nameZh": "巴蜀职工年票",
        "nameEn": "Bashu Workers' Annual Pass",
        "priceFen": 20_000,
        "memberLimit": 1,
        "renewalDays": 60,
        "rules": { "perVenueDaily": 1 },
    });
    for (name, value) in change.as_object().unwrap() {
        terms[name] = value.clone();
    }
    terms
}

pub(crate) fn code(payload: &Value) -> &str {
    payload["userErrors"][0]["code"].as_str().unwrap_or("")
}
