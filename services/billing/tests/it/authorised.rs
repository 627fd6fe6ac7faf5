//! Every field of the graph, asked for as everybody: who is answered and how all others are refused
//! is in `schema/authorisation.json`. What was refused changed nothing.

use async_graphql::{Request, Response, Variables};
use kit::graphql::GlobalId;
use kit::testing::cast::Cast;
use kit::testing::rights::{Ask, Rights, View};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::books::{DAY, compared, next_morning};
use crate::world::{Asked, World, caller, key, member};

/// The number of the member whose orders they are, among the callers of the world.
const MEMBER: u128 = 900;
/// The union of the world.
const ROOT: Uuid = Uuid::from_u128(0x50);

/// Who asks, and of what.
struct Play {
    world: World,
    cast: Cast,
    rights: Rights,
}

impl Play {
    async fn new() -> Self {
        let world = World::start().await;
        let companies = [Uuid::from_u128(0x71), Uuid::from_u128(0x72)];
        let cast = Cast::seed(&world.db.ctx.db, ROOT, companies).await;
        let rights = Rights::of("billing", &billing::sdl(), &[]);
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
        let prepare = async |_: &str| {
            let variables = json!({ "input": input().await });
            self.quiet().await;
            Ask::new(query.clone(), variables)
        };
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        let db = &self.world.db.ctx.db;
        self.rights.mutation(db, name, prepare, answer).await;
    }

    /// Waits until nothing is due: then nothing changes but by who asks.
    async fn quiet(&self) {
        let now = self.world.db.ctx.clock.now().to_rfc3339();
        let due = format!("due WHERE run_at <= '{now}'");
        self.world
            .until("quiet", async || self.world.count(&due).await == 0)
            .await;
    }

    async fn order(&self) -> Asked {
        let request = self.world.request_of(MEMBER, &[100]);
        self.world
            .apply(&[self.world.requested(&request)])
            .await
            .unwrap();
        let lines = request.lines.iter().map(|line| uuid(&line.id)).collect();
        Asked {
            id: uuid(&request.order_id),
            lines,
            total: request.total_fen,
        }
    }

    async fn paid(&self) -> Asked {
        let order = self.order().await;
        let paying = self.world.pay_order(&caller(MEMBER), order.id, key()).await;
        assert_eq!(paying["payment"]["state"], "WAITING", "{paying}");
        let number = self.world.trade_no(order.id).await;
        self.world.payer_pays(&number).await;
        self.world.deliver().await;
        assert_eq!(self.world.order_state(order.id).await, "paid");
        order
    }

    /// A refund that the provider has been asked for.
    async fn refund(&self) -> (Asked, Uuid) {
        let (order, id) = (self.paid().await, key());
        let back = self.world.returned(&order, 0, id, 1);
        self.world.apply(&[back]).await.unwrap();
        (order, id)
    }

    async fn orders(&self) {
        let (order, _) = self.refund().await;
        self.quiet().await;
        let of = json!({ "id": global("Order", order.id) });
        let number = format!("SELECT number FROM orders WHERE id = '{}'", order.id);
        let number = self.world.text(&number).await;
        self.query(
            "order",
            "query($id: ID!) { order(id: $id) { id } }",
            of.clone(),
        )
        .await;
        self.query(
            "myOrders",
            "{ myOrders(first: 5) { nodes { id } } }",
            json!({}),
        )
        .await;
        let timeline = "query($number: String!) { orderTimeline(number: $number) { id } }";
        self.query("orderTimeline", timeline, json!({ "number": number }))
            .await;
        let one = "query($id: ID!) { order(id: $id) { FIELD } }";
        self.view("Order", one, of.clone(), &["order"]).await;
        let one = "query($id: ID!) { order(id: $id) { lines { FIELD } } }";
        self.view("OrderLine", one, of.clone(), &["order", "lines"])
            .await;
        let one = "query($id: ID!) { order(id: $id) { payment { FIELD } } }";
        self.view("Payment", one, of.clone(), &["order", "payment"])
            .await;
        let one = "query($id: ID!) { order(id: $id) { refunds { FIELD } } }";
        self.view("Refund", one, of.clone(), &["order", "refunds"])
            .await;
        let one = "query($id: ID!) { order(id: $id) { timeline { FIELD } } }";
        self.view("OrderStep", one, of, &["order", "timeline"])
            .await;
        let one = "query($of: [_Any!]!) { _entities(representations: $of) {
            ... on Member { FIELD } } }";
        let of = json!({ "__typename": "Member", "id": global("Member", member(MEMBER)) });
        self.view("Member", one, json!({ "of": [of] }), &["_entities"])
            .await;
    }

    async fn payers(&self) {
        self.mutation("payOrder", "PayOrderInput", async || {
            let id = global("Order", self.order().await.id);
            json!({ "orderId": id, "method": "WECHAT_NATIVE", "idempotencyKey": key() })
        })
        .await;
        self.mutation("cancelOrder", "CancelOrderInput", async || {
            let id = global("Order", self.order().await.id);
            json!({ "orderId": id, "idempotencyKey": key() })
        })
        .await;
        self.mutation("retryRefund", "RetryRefundInput", async || {
            let (_, id) = self.refund().await;
            json!({ "refundId": global("Refund", id), "idempotencyKey": key() })
        })
        .await;
    }

    /// Something that must be looked at; its id.
    async fn found(&self) -> Uuid {
        let id = key();
        let sql = format!(
            "INSERT INTO discrepancy
               (id, kind, subject, bill_date, ours_fen, theirs_fen, detail, found_at)
             VALUES ('{id}', 'fee_differs', '{id}', '{DAY}', 1, 2, 'test', now())"
        );
        let _one = self.world.db.ctx.db.execute(&sql, []).await.unwrap();
        id
    }

    async fn books(&self) {
        next_morning(&self.world).await;
        compared(&self.world, 1).await;
        self.world.heartbeat().await;
        let _found = self.found().await;
        let day = "{ reconciliations(first: 5) { nodes { FIELD } } }";
        self.view(
            "Reconciliation",
            day,
            json!({}),
            &["reconciliations", "nodes"],
        )
        .await;
        let one = "{ discrepancies(first: 5) { nodes { FIELD } } }";
        self.view("Discrepancy", one, json!({}), &["discrepancies", "nodes"])
            .await;
        let one = "{ ledgerAccounts { FIELD } }";
        self.view("LedgerAccount", one, json!({}), &["ledgerAccounts"])
            .await;
        for (name, query) in [
            (
                "reconciliations",
                "{ reconciliations(first: 5) { nodes { date } } }",
            ),
            (
                "discrepancies",
                "{ discrepancies(first: 5) { nodes { id } } }",
            ),
            ("ledgerAccounts", "{ ledgerAccounts { code } }"),
        ] {
            self.query(name, query, json!({})).await;
        }
        self.mutation(
            "explainDiscrepancy",
            "ExplainDiscrepancyInput",
            async || {
                let id = global("Discrepancy", self.found().await);
                json!({ "discrepancyId": id, "reason": "told twice", "idempotencyKey": key() })
            },
        )
        .await;
        self.mutation(
            "reconcile",
            "ReconcileInput",
            async || json!({ "date": DAY }),
        )
        .await;
    }
}

fn global(kind: &str, id: Uuid) -> String {
    GlobalId::of_uuid(kind, id).to_string()
}

fn uuid(bytes: &[u8]) -> Uuid {
    Uuid::from_slice(bytes).unwrap()
}

/// ASVS V8.2.2.
#[tokio::test]
async fn everybody_is_answered_what_is_hers() {
    let play = Play::new().await;
    play.orders().await;
    play.payers().await;
    play.books().await;
    play.rights.assert_complete();
    play.world.verify().await;
}
