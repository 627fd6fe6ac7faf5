//! What the load needs in the world, made through the gateway as people would: venues with
//! enrolled gates, a product that opens them, members who are signed in.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use admission::gate_key::{Assertion, LIFE_SECONDS_MAX, sign};
use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use futures::{StreamExt, TryStreamExt};
use kit::graphql::GlobalId;
use kit::types::{GateId, Union};
use kit::{Clock, Ids};
use serde_json::{Value, json};

use crate::client::{Api, Caller, text};
use crate::sessions::Person;
use crate::world::World;

/// Members who buy, each about every six seconds at a hundred purchases a second. No rule limits
/// how many passes of the load's product a member has, but thousands each would be nobody's case.
const MEMBERS: usize = 600;
/// Members of the demonstration world: the buyers are the first of them.
pub(crate) const WORLD_MEMBERS: &str = "600";
/// Members who sign in at the same time.
const SIGN_IN_AT_ONCE: usize = 8;
/// Venues, each with its own counter row, and gates at each.
const VENUES: usize = 4;
const GATES_PER_VENUE: usize = 2;
/// Entries that a pass of the load allows in all, and at one venue on one day.
pub(crate) const ENTRIES_MAX: usize = 5;
pub(crate) const ENTRIES_PER_VENUE_DAILY: usize = 2;
/// What one pass costs, in fen.
const PRICE_FEN: i64 = 1_990;
/// The demonstration's operator and venue manager.
const OPERATOR: &str = "19950900001";
const MANAGER: &str = "19950900002";
/// The company that runs the venues.
const COMPANY: &str = "巴渝景区运营有限公司";
const TAG: &str = "chaos";
/// Half of an assertion's life: one in flight never runs out.
const ASSERTION_USED_FOR: Duration = Duration::from_secs(30);

const ROOT: &str = "query { organisations(first: 10) { nodes { id } } }";
const CHILDREN: &str = "query ($parent: ID) { organisations(parentId: $parent, first: 100) \
    { nodes { id name } } }";
pub(crate) const CREATE_VENUE: &str = "mutation ($input: CreateVenueInput!) { \
    createVenue(input: $input) { venue { id } userErrors { code message } } }";
const CREATE_GATE: &str = "mutation ($input: CreateGateInput!) { createGate(input: $input) { gate \
    { id } enrolmentCode userErrors { code message } } }";
const ENROL: &str = "mutation ($input: EnrolGateInput!) { enrolGate(input: $input) { gate { id \
    enrolment } userErrors { code message } } }";
const CREATE_PRODUCT: &str = "mutation ($input: CreatePassProductInput!) { \
    createPassProduct(input: $input) { product { id } userErrors { code field message } } }";
const PUBLISH: &str = "mutation ($input: PublishPassProductInput!) { publishPassProduct(input: \
    $input) { product { id } userErrors { code field message } } }";

/// An enrolled gate, as its device runs it.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) id: String,
    pub(crate) uuid: GateId,
    pub(crate) enrolment: i32,
    key: SigningKey,
    next: AtomicI64,
    assertion: Mutex<Option<(Instant, String)>>,
}

impl Gate {
    /// A scan id that this gate never gave before.
    pub(crate) fn next_scan_id(&self) -> Value {
        let seq = self.next.fetch_add(1, Ordering::SeqCst);
        json!({ "deviceId": self.id, "enrolment": self.enrolment, "seq": seq })
    }

    /// What the gate says of itself, made anew twice a minute.
    pub(crate) fn caller(&self, ids: &Ids) -> Caller {
        let mut kept = self
            .assertion
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((made, text)) = &*kept
            && made.elapsed() < ASSERTION_USED_FOR
        {
            return Caller::Gate(text.clone());
        }
        let now = Clock::System.now();
        let assertion = Assertion {
            gate: self.uuid,
            union: Union::Chongqing,
            enrolment: self.enrolment,
            id: ids.uuid(now),
            issued_at: now.timestamp(),
            expires_at: now.timestamp() + LIFE_SECONDS_MAX,
        };
        let text = sign(&assertion, &self.key);
        *kept = Some((Instant::now(), text.clone()));
        Caller::Gate(text)
    }
}

/// Who and what the load moves.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) members: Vec<Person>,
    pub(crate) gates: Vec<Gate>,
    pub(crate) product: String,
    /// Who holds an office.
    pub(crate) operator: Person,
    company: String,
    /// Nobody asks for a code now.
    pub(crate) codes_closed: AtomicBool,
}

impl Cast {
    /// Everybody who is to stay signed in.
    pub(crate) fn people(&self) -> impl Iterator<Item = &Person> {
        std::iter::once(&self.operator).chain(&self.members)
    }

    /// Something that only an office may do: another venue, with nothing in it.
    pub(crate) fn office_work(&self, ids: &Ids) -> Value {
        venue_input(&self.company, VENUES, ids)
    }
}

/// Makes all of it.
///
/// # Errors
/// When the gateway refuses something.
pub(crate) async fn gather(api: &Api, world: &World, ids: &Ids) -> Result<Cast> {
    let operator = operator(api, world).await?;
    let office = operator.caller();
    let company = company(api, &office).await?;
    let product = product(api, &office, ids).await?;
    let manager = Person::sign_in(api, MANAGER, (0, 1)).await?.caller();
    let mut gates = Vec::new();
    for number in 0..VENUES {
        let input = venue_input(&company, number, ids);
        let made = api.done(&office, CREATE_VENUE, &input).await?;
        let venue = text(&made, "/venue/id")?;
        for gate in 0..GATES_PER_VENUE {
            gates.push(enrolled(api, &manager, &venue, gate, ids).await?);
        }
    }
    let member = async |number: usize| {
        let phone = format!("19950{number:06}");
        Person::sign_in(api, &phone, (number, MEMBERS)).await
    };
    let members = futures::stream::iter(0..MEMBERS).map(member);
    let members = members.buffered(SIGN_IN_AT_ONCE).try_collect().await?;
    Ok(Cast {
        members,
        gates,
        product,
        operator,
        company,
        codes_closed: AtomicBool::new(false),
    })
}

/// The operator signed in a moment ago to load the world; the refresh token is kept in a file.
async fn operator(api: &Api, world: &World) -> Result<Person> {
    let path = world
        .union_folder()
        .join("keys")
        .join(format!("login-{OPERATOR}"));
    let token =
        std::fs::read_to_string(&path).with_context(|| format!("{} is missing", path.display()))?;
    let operator = Person::continued(api, OPERATOR, &token).await?;
    // It is used up: nobody shall come with it again.
    std::fs::remove_file(&path)?;
    Ok(operator)
}

async fn company(api: &Api, operator: &Caller) -> Result<String> {
    let roots = api.send(operator, ROOT, json!({})).await?;
    let root = text(&roots, "/organisations/nodes/0/id")?;
    let children = api
        .send(operator, CHILDREN, json!({ "parent": root }))
        .await?;
    let nodes = children["organisations"]["nodes"].as_array();
    let found = nodes.and_then(|nodes| nodes.iter().find(|node| node["name"] == COMPANY));
    text(
        found.ok_or_else(|| anyhow!("the world lacks {COMPANY}"))?,
        "/id",
    )
}

async fn product(api: &Api, operator: &Caller, ids: &Ids) -> Result<String> {
    let now = Clock::System.now();
    let terms = json!({
        "nameZh": "故障演练票",
        "nameEn": "Fault drill pass",
        "priceFen": PRICE_FEN,
        "rules": {
            "venueTags": [TAG],
            "perVenueDaily": ENTRIES_PER_VENUE_DAILY,
            "total": ENTRIES_MAX,
        },
    });
    let input = json!({ "terms": terms, "idempotencyKey": ids.uuid(now) });
    let made = api.done(operator, CREATE_PRODUCT, &input).await?;
    let id = text(&made, "/product/id")?;
    let input = json!({ "productId": id, "idempotencyKey": ids.uuid(now) });
    api.done(operator, PUBLISH, &input).await?;
    Ok(id)
}

fn venue_input(company: &str, number: usize, ids: &Ids) -> Value {
    json!({
        "idempotencyKey": ids.uuid(Clock::System.now()),
        "organisationId": company,
        "nameZh": format!("演练场{number}"),
        "nameEn": format!("Drill ground {number}"),
        "division": "500103",
        "coordinates": { "latitude": 29.56, "longitude": 106.57, "source": "made up" },
        "tags": [TAG],
        "opening": { "daily": { "opens": "00:00", "closes": "24:00" } },
    })
}

async fn enrolled(
    api: &Api,
    manager: &Caller,
    venue: &str,
    number: usize,
    ids: &Ids,
) -> Result<Gate> {
    let key = SigningKey::from_bytes(&ids.bytes32());
    let input = json!({
        "idempotencyKey": ids.uuid(Clock::System.now()),
        "venueId": venue,
        "name": format!("gate {number}"),
    });
    let made = api.done(manager, CREATE_GATE, &input).await?;
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let input = json!({ "code": text(&made, "/enrolmentCode")?, "publicKey": public });
    let enrolled = api.done(&Caller::Anonymous, ENROL, &input).await?;
    let id = text(&enrolled, "/gate/id")?;
    let enrolment = enrolled["gate"]["enrolment"].as_i64().unwrap_or_default();
    ensure!(enrolment > 0, "the gate is not enrolled: {enrolled}");
    let uuid = GateId(GlobalId::uuid(&id, "Gate").map_err(|_| anyhow!("no gate's id: {id}"))?);
    Ok(Gate {
        id,
        uuid,
        enrolment: i32::try_from(enrolment)?,
        key,
        next: AtomicI64::new(1),
        assertion: Mutex::new(None),
    })
}
