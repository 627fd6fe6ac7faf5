//! Every field of the graph, asked for as everybody: who is answered and how all others are refused
//! is in `schema/authorisation.json`. What was refused changed nothing.

use std::panic::AssertUnwindSafe;

use async_graphql::{Request, Response, Variables};
use kit::graphql::GlobalId;
use kit::testing::cast::Cast;
use kit::testing::rights::{Ask, Rights, View};
use kit::types::EntitlementId;
use proto::admission::VenueChanged;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::holder_lists::{join, list_of};
use crate::reservations::{day, open, pass, reserve, venue_id, visit};
use crate::world::{World, caller, key, usual_terms};

/// The number of the member whose passes they are, among the callers of the world.
const MEMBER: u128 = 900;
/// Days, and places of each, that are opened for visits: more than are reserved here.
const OPENED: (u32, u32) = (7, 500);
const ARGUMENTS: [(&str, &str); 1] = [("Venue.visitDays", "from: \"2026-04-02\", first: 1")];

/// Who asks, and of what.
struct Play {
    world: World,
    cast: Cast,
    rights: Rights,
}

impl Play {
    async fn new() -> Self {
        let world = World::new().await;
        let companies = [Uuid::from_u128(0x71), Uuid::from_u128(0x72)];
        let cast = Cast::seed(&world.ctx().db, Uuid::from_u128(0x3000), companies).await;
        let rights = Rights::of("passes", &passes::graphql::sdl(), &ARGUMENTS);
        Self {
            world,
            cast,
            rights,
        }
    }

    async fn answer(&self, actor: &str, ask: &Ask) -> Response {
        let caller = ask.asked_by(self.cast.caller(actor));
        let request = Request::new(&ask.query)
            .variables(Variables::from_json(ask.variables.clone()))
            .data(caller.clone())
            .data(caller.language);
        self.world.schema.execute(request).await
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

    /// A pass in use, with a use and a reservation; its product, which has a draft.
    async fn passes(&self) {
        let world = &self.world;
        let product = world.product(json!({})).await;
        let terms = usual_terms(&json!({ "priceFen": 30_000 }));
        let draft = json!({ "productId": product, "terms": terms, "idempotencyKey": key() });
        let _drafted = world
            .mutate(&world.operator, "updatePassProduct", draft)
            .await;
        let used = pass(world, MEMBER, json!({})).await;
        let _opened = open(world, 1, (0, OPENED.0, OPENED.1)).await;
        for after in [0, 1] {
            let reserved = reserve(world, MEMBER, &used, (1, after)).await;
            assert_eq!(reserved["userErrors"], json!([]), "{reserved}");
        }
        world
            .tell(&[world.used(&used, (1, 1), false)])
            .await
            .unwrap();
        let of = json!({ "id": used });
        self.query(
            "pass",
            "query($id: ID!) { pass(id: $id) { id } }",
            of.clone(),
        )
        .await;
        self.query(
            "myPasses",
            "{ myPasses(first: 5) { nodes { id } } }",
            json!({}),
        )
        .await;
        let one = "query($id: ID!) { pass(id: $id) { FIELD } }";
        self.view("Pass", one, of.clone(), &["pass"]).await;
        let one = "query($id: ID!) { pass(id: $id) { reservations { FIELD } } }";
        let path = &["pass", "reservations"];
        self.view("PassReservation", one, of.clone(), path).await;
        let one = "query($id: ID!) { pass(id: $id) { usage(first: 5) { nodes { FIELD } } } }";
        self.view("PassUse", one, of.clone(), &["pass", "usage", "nodes"])
            .await;
        let one = "query($id: ID!) { pass(id: $id) { venuesToday(first: 5) { nodes { FIELD } } } }";
        let path = &["pass", "venuesToday", "nodes"];
        self.view("PassVenueToday", one, of, path).await;
        self.returned().await;
        self.catalogue(&product).await;
    }

    /// A pass that was asked to be given back.
    async fn returned(&self) {
        let product = self.world.product(json!({})).await;
        let id = self.world.bought(&caller(MEMBER), &product).await;
        let input = json!({ "passId": id, "idempotencyKey": key() });
        let asked = self
            .world
            .mutate(&caller(MEMBER), "requestPassRefund", input)
            .await;
        assert_eq!(asked["userErrors"], json!([]), "{asked}");
        let one = "query($id: ID!) { pass(id: $id) { refund { FIELD } } }";
        self.view("PassRefund", one, json!({ "id": id }), &["pass", "refund"])
            .await;
    }

    async fn catalogue(&self, product: &str) {
        let of = json!({ "id": product });
        let one = "query($id: ID!) { passProduct(id: $id) { id } }";
        self.query("passProduct", one, of.clone()).await;
        self.query(
            "passProducts",
            "{ passProducts(first: 5) { nodes { id } } }",
            json!({}),
        )
        .await;
        let one = "query($id: ID!) { passProduct(id: $id) { FIELD } }";
        self.view("PassProduct", one, of, &["passProduct"]).await;
        let member = GlobalId::of_uuid("Member", Uuid::from_u128(0x1000 + MEMBER));
        for (kind, id) in [("Member", member.to_string()), ("Venue", venue_id(1))] {
            let one = format!(
                "query($of: [_Any!]!) {{ _entities(representations: $of) {{
                   ... on {kind} {{ FIELD }} }} }}"
            );
            let of = json!({ "of": [{ "__typename": kind, "id": id }] });
            self.view(kind, &one, of, &["_entities"]).await;
        }
    }

    async fn holders(&self) {
        let world = &self.world;
        self.mutation("buyPass", "BuyPassInput", async || {
            let product = world.product(json!({})).await;
            json!({ "productId": product, "idempotencyKey": key() })
        })
        .await;
        self.mutation("activatePass", "ActivatePassInput", async || {
            let within = json!({ "unit": "MONTHS", "count": 3 });
            let terms = json!({ "activation": { "mode": "AUTO", "within": within } });
            let product = world.product(terms).await;
            let id = world.bought(&caller(MEMBER), &product).await;
            json!({ "passId": id, "idempotencyKey": key() })
        })
        .await;
        self.mutation("reissuePass", "ReissuePassInput", async || {
            let product = world.product(json!({})).await;
            let id = world.bought(&caller(MEMBER), &product).await;
            json!({ "passId": id, "reason": "posted online", "idempotencyKey": key() })
        })
        .await;
        self.mutation("requestPassRefund", "RequestPassRefundInput", async || {
            let product = world.product(json!({})).await;
            let id = world.bought(&caller(MEMBER), &product).await;
            json!({ "passId": id, "idempotencyKey": key() })
        })
        .await;
        self.mutation("reserveVisit", "VisitInput", async || {
            let id = pass(world, MEMBER, json!({})).await;
            visit(world, &id, (1, 2))
        })
        .await;
        self.mutation("cancelVisit", "VisitInput", async || {
            let id = pass(world, MEMBER, json!({})).await;
            let reserved = reserve(world, MEMBER, &id, (1, 2)).await;
            assert_eq!(reserved["userErrors"], json!([]), "{reserved}");
            visit(world, &id, (1, 2))
        })
        .await;
    }

    async fn products(&self) {
        let world = &self.world;
        let terms = usual_terms(&json!({}));
        self.mutation(
            "createPassProduct",
            "CreatePassProductInput",
            async || json!({ "terms": terms, "idempotencyKey": key() }),
        )
        .await;
        self.mutation("updatePassProduct", "UpdatePassProductInput", async || {
            let id = world.product(json!({})).await;
            json!({ "productId": id, "terms": terms, "idempotencyKey": key() })
        })
        .await;
        self.mutation(
            "publishPassProduct",
            "PublishPassProductInput",
            async || {
                let id = world.draft(json!({})).await;
                json!({ "productId": id, "idempotencyKey": key() })
            },
        )
        .await;
        self.mutation("stopSale", "PassSaleInput", async || {
            let id = world.product(json!({})).await;
            json!({ "productId": id, "idempotencyKey": key() })
        })
        .await;
        self.mutation("resumeSale", "PassSaleInput", async || {
            let id = world.product(json!({})).await;
            let stop = json!({ "productId": id, "idempotencyKey": key() });
            let _stopped = world.mutate(&world.operator, "stopSale", stop).await;
            json!({ "productId": id, "idempotencyKey": key() })
        })
        .await;
        self.mutation("openVisitDays", "OpenVisitDaysInput", async || {
            world
                .tell(&[world.venue(2, 1, |_: &mut VenueChanged| {})])
                .await
                .unwrap();
            json!({
                "venueId": venue_id(2), "first": day(world, 0).to_string(), "days": 7,
                "places": 2, "idempotencyKey": key(),
            })
        })
        .await;
    }

    async fn lists(&self) {
        let world = &self.world;
        // The officer's own union, as the cast has it.
        let union = Uuid::from_u128(0x7002);
        join(world, MEMBER, union).await;
        let product = world.product(json!({})).await;
        world.bought(&caller(MEMBER), &product).await;
        let (name, kind) = ("requestPassHolderList", "RequestPassHolderListInput");
        self.mutation(name, kind, async || list_of(union, "OUTING"))
            .await;
    }

    async fn custody(&self) {
        let world = &self.world;
        let reasoned =
            |id: &str| json!({ "passId": id, "reason": "it was lent", "idempotencyKey": key() });
        let bought = async || {
            let product = world.product(json!({})).await;
            world.bought(&caller(MEMBER), &product).await
        };
        self.mutation("freezePass", "PassCustodyInput", async || {
            reasoned(&bought().await)
        })
        .await;
        self.mutation("unfreezePass", "PassCustodyInput", async || {
            let id = bought().await;
            let _frozen = world
                .mutate(&world.operator, "freezePass", reasoned(&id))
                .await;
            reasoned(&id)
        })
        .await;
        self.mutation("voidPass", "VoidPassInput", async || {
            let mut input = reasoned(&bought().await);
            input["refund"] = json!(true);
            input
        })
        .await;
    }
}

/// ASVS V8.3.1.
#[tokio::test]
async fn everybody_is_answered_what_is_hers() {
    let play = Play::new().await;
    play.passes().await;
    play.holders().await;
    play.products().await;
    play.custody().await;
    play.lists().await;
    play.rights.assert_complete();
    play.world.verify().await;
}

/// Who fares otherwise than the table says is found, and so is a field that nobody asked for.
#[tokio::test]
async fn a_wrong_row_is_found() {
    let play = Play::new().await;
    let nobodys = GlobalId::of_entitlement("Pass", EntitlementId(1));
    let query = "query($id: ID!) { pass(id: $id) { id } }";
    play.query("pass", query, json!({ "id": nobodys })).await;
    let compared = AssertUnwindSafe(|| play.rights.assert_complete());
    let said = std::panic::catch_unwind(compared).unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    for wrong in [
        "Query.pass member: absent, not Some(\"answered\")",
        "Mutation.buyPass was asked for by nobody",
    ] {
        assert!(said.contains(wrong), "{said}");
    }
    let right = "Query.pass other_member";
    assert!(!said.contains(right), "{said}");
}
