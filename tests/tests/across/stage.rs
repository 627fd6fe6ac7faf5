//! What the proofs act with in one union: its operator, members who are signed in, a product of
//! their own, and two venues with gates. All of it is made or found through the gateway.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bashu::client::{Client, text};
use bashu::demo::persona::{self, Persona};
use bashu::demo::{member_phone, office_phone, products, venues};
use bashu::dev::World;
use bashu::journey::gate::Gate;
use bashu::journey::purchase;
use kit::types::Union;
use kit::{Clock, Ids};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::running::{MEMBERS, arrival};

/// Rows of one page, as many as the graph gives.
const PAGE_ROWS: u32 = 100;

const HOME: &str = "query ($id: ID!) { venue(id: $id) { division organisation { id } } }";
const REDEMPTIONS: &str = "query ($venue: ID!, $first: Int!, $after: String) { \
    redemptions(venueId: $venue, first: $first, after: $after) { nodes { id decision voided pass \
    { id } } pageInfo { hasNextPage endCursor } } }";
const STATE: &str = "query ($id: ID!) { pass(id: $id) { state } }";
const ACTIVATE: &str = "mutation ($input: ActivatePassInput!) { activatePass(input: $input) \
    { pass { state } userErrors { code message } } }";

/// One union with everybody in place.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) world: &'a World,
    pub(crate) union: Union,
    /// Whose it is: what is made under this name is another proof's no more.
    proof: &'static str,
    operator: Client,
    manager: Client,
    venues: [String; 2],
}

/// A pass that opens doors.
#[derive(Clone, Debug)]
pub(crate) struct Bought {
    pub(crate) holder: Client,
    pub(crate) pass: String,
    pub(crate) order: String,
    pub(crate) code: String,
}

impl<'a> Stage<'a> {
    pub(crate) async fn new(world: &'a World, union: Union, proof: &'static str) -> Result<Self> {
        let office = async |name| persona::again(world, union, &office_phone(union, name)).await;
        let operator = office("OPERATOR").await?.client.patient();
        let manager = office("VENUE_MANAGER").await?.client.patient();
        let first = venues::id_of(&operator, venues::open_always(union)).await?;
        let second = beside(&operator, &first, proof).await?;
        Ok(Self {
            world,
            union,
            proof,
            operator,
            manager,
            venues: [first, second],
        })
    }

    /// Who may grant and withdraw.
    pub(crate) const fn operator(&self) -> &Client {
        &self.operator
    }

    /// The venue that the journeys enter.
    pub(crate) fn first_venue(&self) -> &str {
        &self.venues[0]
    }

    /// A member of this number, signed in by a code. The journeys play with the first half.
    pub(crate) async fn member(&self, number: u32) -> Result<Client> {
        ensure!(
            (MEMBERS / 2..MEMBERS).contains(&number),
            "{number} may be asked for a code by the journeys"
        );
        let phone = member_phone(self.union, number);
        let Persona { client } = persona::by_code(self.world, self.union, &phone).await?;
        Ok(client.patient())
    }

    /// So many gates, in turn at one venue and at the other.
    pub(crate) async fn gates(&self, count: usize) -> Result<Vec<Gate>> {
        let mut gates = Vec::new();
        for (number, venue) in (0..count).zip(self.venues.iter().cycle()) {
            let name = format!("{}-{number}", self.proof);
            gates.push(Gate::named(self.world, self.union, &self.manager, venue, &name).await?);
        }
        Ok(gates)
    }

    /// A product on sale.
    pub(crate) async fn product(&self, terms: &Value) -> Result<String> {
        products::publish(&self.operator, terms, [key(), key()]).await
    }

    /// Buys, pays, activates where it is not active by the payment, and waits for the code.
    pub(crate) async fn buy(&self, holder: &Client, product: &str) -> Result<Bought> {
        let made = purchase::buy(holder, product).await?;
        let (pass, order) = (text(&made, "/id")?, text(&made, "/order/id")?);
        let address = purchase::pay(holder, &order).await?;
        purchase::pay_as_payer(self.world, &address).await?;
        let paid = arrival("the pass is paid", async || {
            let data = holder.send(STATE, json!({ "id": pass })).await?;
            let state = text(&data, "/pass/state")?;
            Ok((state != "AWAITING_PAYMENT").then_some(state))
        });
        if paid.await? == "READY" {
            let input = json!({ "passId": pass, "idempotencyKey": key() });
            holder.run(ACTIVATE, json!({ "input": input })).await?;
        }
        let ready = purchase::wait_for_code(holder, &pass).await?;
        Ok(Bought {
            holder: holder.clone(),
            pass,
            order,
            code: text(&ready, "/credential/text")?,
        })
    }

    /// What admission has on record: the admissions of each pass, at both venues, none taken back.
    pub(crate) async fn admissions(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for venue in &self.venues {
            let mut after = Value::Null;
            loop {
                let variables = json!({ "venue": venue, "first": PAGE_ROWS, "after": after });
                let data = self.manager.send(REDEMPTIONS, variables).await?;
                let page = &data["redemptions"];
                for row in page["nodes"].as_array().into_iter().flatten() {
                    if row["decision"] == "ADMIT" && row["voided"] == false {
                        let admissions = found.entry(text(row, "/pass/id")?).or_default();
                        admissions.push(text(row, "/id")?);
                    }
                }
                if page["pageInfo"]["hasNextPage"] != true {
                    break;
                }
                after = page["pageInfo"]["endCursor"].clone();
            }
        }
        for admissions in found.values_mut() {
            admissions.sort();
        }
        Ok(found)
    }
}

/// A second venue of the same company, open day and night like the first; its opaque id.
async fn beside(operator: &Client, venue: &str, proof: &str) -> Result<String> {
    let data = operator.send(HOME, json!({ "id": venue })).await?;
    let home = &data["venue"];
    ensure!(home.is_object(), "the venue cannot be read: {data}");
    let input = json!({
        "idempotencyKey": key(),
        "organisationId": home["organisation"]["id"],
        "nameZh": format!("江对岸 {proof}"),
        "nameEn": format!("Across the river, {proof}"),
        "division": home["division"],
        "coordinates": { "latitude": 30.0, "longitude": 106.0, "source": "made up for a test" },
        "tags": ["sight"],
        "opening": { "daily": { "opens": "00:00", "closes": "24:00" } },
    });
    let made = operator
        .run(venues::CREATE, json!({ "input": input }))
        .await?;
    text(&made, "/venue/id")
}

/// An idempotency key of its own.
pub(crate) fn key() -> Uuid {
    Ids::random().uuid(Clock::System.now())
}
