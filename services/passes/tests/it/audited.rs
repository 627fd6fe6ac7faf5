//! Every mutation leaves the audit row that `schema/acts.json` says; and what changes prices, frees
//! or gives back waits while such rows are not sealed, where nothing else does.

use chrono::TimeDelta;
use kit::access::Caller;
use kit::audit::LAG_SECONDS_MAX;
use kit::bus::Defect;
use kit::testing::acts::Acts;
use serde_json::{Value, json};

use crate::holder_lists::{UNION, join, list_of, officer};
use crate::reservations::{day, pass, venue_id, visit};
use crate::world::{World, caller, key, usual_terms};

/// A world and what its mutations must leave.
struct Play<'a> {
    world: &'a World,
    acts: &'a Acts,
}

impl Play<'_> {
    /// Plays a mutation that is done; its payload.
    async fn act(&self, by: &Caller, mutation: &str, input: Value) -> Value {
        let run = self.world.mutate(by, mutation, input);
        let done = self.acts.left_by(mutation, run).await;
        assert_eq!(done["userErrors"], json!([]), "{mutation}: {done:#}");
        done
    }

    async fn products(&self) {
        let operator = &self.world.operator;
        let terms = usual_terms(&json!({}));
        let made = json!({ "terms": terms, "idempotencyKey": key() });
        let made = self.act(operator, "createPassProduct", made).await;
        let id = &made["product"]["id"];
        let change = json!({ "productId": id, "terms": terms, "idempotencyKey": key() });
        self.act(operator, "updatePassProduct", change).await;
        for mutation in ["publishPassProduct", "stopSale", "resumeSale"] {
            let input = json!({ "productId": id, "idempotencyKey": key() });
            self.act(operator, mutation, input).await;
        }
    }

    /// A pass that waits for its holder, bought and activated, replaced and given back.
    async fn holder(&self) {
        let (world, holder) = (self.world, caller(1));
        let within = json!({ "unit": "MONTHS", "count": 3 });
        let terms = json!({ "activation": { "mode": "AUTO", "within": within } });
        let product = world.product(terms).await;
        let input = json!({ "productId": product, "idempotencyKey": key() });
        let bought = self.act(&holder, "buyPass", input).await;
        let paid = world.paid(&bought["pass"], 2);
        world.tell(&[paid]).await.unwrap();
        for mutation in ["activatePass", "reissuePass", "requestPassRefund"] {
            let input = json!({ "passId": bought["pass"]["id"], "idempotencyKey": key() });
            self.act(&holder, mutation, input).await;
        }
    }

    async fn custody(&self) {
        let product = self.world.product(json!({})).await;
        let id = self.world.bought(&caller(2), &product).await;
        for mutation in ["freezePass", "unfreezePass"] {
            let input = reasoned(&id);
            self.act(&self.world.operator, mutation, input).await;
        }
        let mut void = reasoned(&id);
        void["refund"] = json!(true);
        self.act(&self.world.operator, "voidPass", void).await;
    }

    async fn lists(&self) {
        let by = officer(self.world).await;
        join(self.world, 4, UNION).await;
        let product = self.world.product(json!({})).await;
        self.world.bought(&caller(4), &product).await;
        let input = list_of(UNION, "OUTING");
        self.act(&by, "requestPassHolderList", input).await;
    }

    async fn visits(&self) {
        let id = pass(self.world, 3, json!({})).await;
        let open = json!({
            "venueId": venue_id(1), "first": day(self.world, 0).to_string(), "days": 7,
            "places": 2, "idempotencyKey": key(),
        });
        self.act(&self.world.operator, "openVisitDays", open).await;
        for mutation in ["reserveVisit", "cancelVisit"] {
            let input = visit(self.world, &id, (1, 3));
            self.act(&caller(3), mutation, input).await;
        }
    }
}

fn reasoned(pass: &str) -> Value {
    json!({ "passId": pass, "reason": "it was lent", "idempotencyKey": key() })
}

#[tokio::test]
async fn every_mutation_leaves_its_row() {
    let world = World::new().await;
    let acts = Acts::of(world.ctx());
    let play = Play {
        world: &world,
        acts: &acts,
    };
    play.products().await;
    play.holder().await;
    play.custody().await;
    play.visits().await;
    play.lists().await;
    acts.assert_complete();
    world.verify().await;
}

/// The code of a mutation's top-level error; empty when it is answered.
pub(crate) async fn refused(
    world: &World,
    by: &Caller,
    mutation: &str,
    kind: &str,
    input: Value,
) -> String {
    let query = format!(
        "mutation($input: {kind}!) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
    );
    let answer = world.respond(by, &query, json!({ "input": input })).await;
    let code = answer["errors"][0]["extensions"]["code"].as_str();
    code.unwrap_or_default().to_owned()
}

/// Identity was heard of, and nobody sealed anything.
pub(crate) async fn heard_of_unsealed(world: &World) {
    let sql = "UPDATE replica_heartbeat SET at = $1";
    let now = world.ctx().clock.now();
    world.ctx().db.execute(sql, [now.into()]).await.unwrap();
}

/// While rows wait too long for their seal no price changes and nothing goes back by an operator's
/// hand; to stop a sale, to freeze, and what members do goes on. With the guard off it is done.
#[tokio::test]
async fn privileges_wait_for_the_sealer() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let frozen = world.bought(&caller(2), &product).await;
    let terms = usual_terms(&json!({ "priceFen": 1 }));
    let create = || json!({ "terms": terms, "idempotencyKey": key() });
    let update = || json!({ "productId": product, "terms": terms, "idempotencyKey": key() });
    let shop = || json!({ "productId": product, "idempotencyKey": key() });
    world
        .ctx()
        .clock
        .advance(TimeDelta::seconds(LAG_SECONDS_MAX + 1));
    heard_of_unsealed(&world).await;
    let by = world.operator.clone();
    for (mutation, kind, input) in [
        ("createPassProduct", "CreatePassProductInput", create()),
        ("updatePassProduct", "UpdatePassProductInput", update()),
        ("publishPassProduct", "PublishPassProductInput", shop()),
        ("resumeSale", "PassSaleInput", shop()),
        ("unfreezePass", "PassCustodyInput", reasoned(&id)),
        ("voidPass", "VoidPassInput", reasoned(&id)),
    ] {
        let code = refused(&world, &by, mutation, kind, input).await;
        assert_eq!(code, "AUDIT_LAGS", "{mutation}");
    }
    let (holder, refund) = (caller(1), json!({ "passId": id, "idempotencyKey": key() }));
    for (who, mutation, kind, input) in [
        (&by, "freezePass", "PassCustodyInput", reasoned(&frozen)),
        (
            &holder,
            "requestPassRefund",
            "RequestPassRefundInput",
            refund,
        ),
        (&by, "stopSale", "PassSaleInput", shop()),
    ] {
        let code = refused(&world, who, mutation, kind, input).await;
        assert_eq!(code, "", "{mutation}");
    }
    let faults = world.ctx().db.faults();
    faults.switch_on(Defect::PrivilegedUnsealed);
    let resumed = refused(&world, &by, "resumeSale", "PassSaleInput", shop()).await;
    assert_eq!(resumed, "", "with the guard off");
    world.verify().await;
}
