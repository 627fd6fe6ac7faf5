//! What the loads need, made before they begin: venues with enrolled gates, a product on sale,
//! members with tokens, and passes with credentials.
//!
//! Real, made through the graph and spread by events: organisations, members, offices, venues,
//! gates and their keys, the product and its entry rules. Laid in bulk, in the shape in which the
//! handler of `EntitlementChanged` writes them: the entitlements in admission's table, since
//! buying hundreds of thousands of passes first would take longer than the bench. Their ids are
//! spread over all 64 bits like real ones, and their credentials are signed with identity's key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use credential::token::{Claims, Flags, Holder, Kind, LIFETIME_MINUTES_MAX, Minute, Token};
use ed25519_dalek::SigningKey;
use kit::Clock;
use kit::graphql::GlobalId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::signing::{Caller, Gate, Keys};
use crate::world::Bench;

/// Over how many venues the scans are spread.
pub(crate) const VENUES: usize = 20;
/// The tag of these venues, which the product opens.
const TAG: &str = "sight";
/// How long an event may take from one service to another here.
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const DAY_MINUTES: u32 = 24 * 60;
/// Entitlements laid in one statement.
const CHUNK: u64 = 250_000;

const CREATE_VENUE: &str = "mutation ($input: CreateVenueInput!) { createVenue(input: $input) \
    { venue { id } userErrors { code message } } }";
const CREATE_GATE: &str = "mutation ($input: CreateGateInput!) { createGate(input: $input) \
    { gate { id } enrolmentCode userErrors { code message } } }";
const ENROL_GATE: &str = "mutation ($input: EnrolGateInput!) { enrolGate(input: $input) \
    { gate { id enrolment } userErrors { code message } } }";
const CREATE_PRODUCT: &str = "mutation ($input: CreatePassProductInput!) \
    { createPassProduct(input: $input) { product { id } userErrors { code message } } }";
const PUBLISH_PRODUCT: &str = "mutation ($input: PublishPassProductInput!) \
    { publishPassProduct(input: $input) { product { id } userErrors { code message } } }";

/// What the loads need.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) keys: Arc<Keys>,
    /// One for each venue.
    pub(crate) gates: Arc<Vec<Gate>>,
    /// As the graph names it.
    pub(crate) product: String,
    /// Members of the demonstration world.
    pub(crate) members: Vec<Uuid>,
    /// As admission knows the product.
    rules: RulesOf,
}

/// The product as admission knows it.
#[derive(Clone, Copy, Debug)]
struct RulesOf {
    scope: i64,
    epoch: i64,
    version: i64,
}

impl Prepared {
    /// Makes all of it but the passes.
    ///
    /// # Errors
    /// When a service refuses.
    pub(crate) async fn make(bench: &Bench) -> Result<Self> {
        let began = Instant::now();
        let keys = Keys::open(bench).await?;
        let database = bench.superuser();
        let operators = "SELECT member FROM replica_role WHERE role = 'operator' AND NOT withdrawn";
        let operator = uuids(bench, "admission", operators).await?;
        let operator = operator.first().ok_or_else(|| anyhow!("no operator"))?;
        let token = keys.token(*operator)?;
        let companies = "SELECT id FROM replica_organisation WHERE partner ORDER BY id LIMIT 1";
        let company = uuids(bench, "admission", companies).await?;
        let company = company.first().ok_or_else(|| anyhow!("no company"))?;
        let as_operator = Caller {
            token: Some(&token),
            gate: None,
        };
        let mut gates = Vec::with_capacity(VENUES);
        for number in 1..=VENUES {
            let venue = make_venue(bench, (&keys, as_operator), *company, number).await?;
            gates.push(make_gate(bench, (&keys, as_operator), &venue).await?);
        }
        let product = make_product(bench, (&keys, as_operator)).await?;
        let rules = rules_of(bench, &product).await?;
        let members = "SELECT DISTINCT member FROM replica_membership \
                       WHERE state IN ('full', 'retained') ORDER BY member";
        let members = uuids(bench, "passes", members).await?;
        ensure!(!members.is_empty(), "no members");
        database.sql("admission", &["VACUUM ANALYZE"]).await?;
        bench.say(&format!(
            "{} 家场馆与闸机、{} 名会员就绪 / {} venues with gates, {} members ready: {:.1} s",
            gates.len(),
            members.len(),
            gates.len(),
            members.len(),
            began.elapsed().as_secs_f64()
        ));
        Ok(Self {
            keys: Arc::new(keys),
            gates: Arc::new(gates),
            product,
            members,
            rules,
        })
    }

    /// Makes admission's table of entitlements hold `rows` of them, and gives the codes of
    /// `codes` of these. Redemptions made so far go, so that no pass was used before.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn passes(&self, bench: &Bench, rows: u64, codes: u64) -> Result<Passes> {
        let began = Instant::now();
        let database = bench.superuser();
        let empty = "TRUNCATE entitlement, redemption, presence, figure, unseen_budget, scan_alarm";
        database.sql("admission", &[empty]).await?;
        let now = Minute::floor(Clock::System.now()).ok_or_else(|| anyhow!("a clock far off"))?;
        let window = (now.get() - 10 * DAY_MINUTES, now.get() + 355 * DAY_MINUTES);
        let mut from = 0;
        while from < rows {
            let until = (from + CHUNK).min(rows);
            let statement = self.insert(window, (from, until));
            database.sql("admission", &[&statement]).await?;
            from = until;
        }
        database
            .sql("admission", &["VACUUM (ANALYZE) entitlement", "CHECKPOINT"])
            .await?;
        let query = format!(
            "SELECT hashint8extended(g * {rows} / {codes}, 1) AS id
               FROM generate_series(0::bigint, {}) g",
            codes - 1
        );
        let mut ids = Vec::new();
        for row in database.rows("admission", &query).await? {
            ids.push(row.try_get_by_index::<i64>(0)?);
        }
        let texts = self.mint(ids, now).await?;
        bench.say(&format!(
            "{rows} 条权益、{} 张二维码 / {rows} entitlements, {} codes: {:.1} s",
            texts.len(),
            texts.len(),
            began.elapsed().as_secs_f64()
        ));
        Ok(Passes(Arc::new(texts)))
    }

    /// As the handler writes a granted one; an order of its own for each.
    fn insert(&self, (valid_from, valid_until): (u32, u32), (from, until): (u64, u64)) -> String {
        let RulesOf {
            scope,
            epoch,
            version,
        } = self.rules;
        format!(
            "INSERT INTO entitlement (id, epoch, version, home, scope, state, valid_from, \
               valid_until, gen, persons, document_check, rules_version, freeze_version, order_id)
             SELECT hashint8extended(g, 1), {epoch}, 2, 50, {scope}, 'active', {valid_from}, \
               {valid_until}, 0, 1, false, {version}, 0, gen_random_uuid()
             FROM generate_series({from}::bigint, {}) g ON CONFLICT DO NOTHING",
            until - 1
        )
    }

    /// Signs the credentials of these, on both cores.
    async fn mint(&self, ids: Vec<i64>, now: Minute) -> Result<Vec<String>> {
        let half = ids.len() / 2;
        let (first, second) = (ids[..half].to_vec(), ids[half..].to_vec());
        let (one, two) = tokio::try_join!(self.mint_some(first, now), self.mint_some(second, now))?;
        Ok(one.into_iter().chain(two).collect())
    }

    async fn mint_some(&self, ids: Vec<i64>, now: Minute) -> Result<Vec<String>> {
        let scope = u32::try_from(self.rules.scope)?;
        let keys = Arc::clone(&self.keys);
        tokio::task::spawn_blocking(move || {
            let (kid, key) = keys.entry();
            let until = Minute::new(now.get() + LIFETIME_MINUTES_MAX).unwrap_or(Minute::MAX);
            let sign = |id: i64| {
                let claims = Claims {
                    kind: Kind::Pass,
                    kid,
                    entitlement_id: u64::from_be_bytes(id.to_be_bytes()),
                    scope,
                    valid_from: now,
                    valid_until: until,
                    flags: Flags {
                        document_check: false,
                        rotating_required: false,
                    },
                    generation: 0,
                    holder: Holder::Bearer,
                    home_gate: 0,
                };
                let token = Token::new(claims).map_err(|error| anyhow!("{error}"))?;
                Ok(token.sign(key))
            };
            ids.into_iter().map(sign).collect()
        })
        .await?
    }
}

/// The texts of the codes of passes that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Passes(pub(crate) Arc<Vec<String>>);

/// The operator and her keys.
type Operator<'a> = (&'a Keys, Caller<'a>);

async fn make_venue(
    bench: &Bench,
    (keys, operator): Operator<'_>,
    company: Uuid,
    number: usize,
) -> Result<String> {
    let input = json!({
        "idempotencyKey": keys.uuid(),
        "organisationId": GlobalId::of_uuid("Organisation", company).as_str(),
        "nameZh": format!("压测场馆{number}"),
        "nameEn": format!("Bench venue {number}"),
        "division": "500103",
        "coordinates": { "latitude": 29.56, "longitude": 106.58, "source": "bench" },
        "tags": [TAG],
    });
    let asked = (CREATE_VENUE, json!({ "input": input }));
    let made = keys.ask(bench, ("admission", operator), asked).await?;
    text(&made, "/venue/id")
}

async fn make_gate(bench: &Bench, (keys, operator): Operator<'_>, venue: &str) -> Result<Gate> {
    let input = json!({ "idempotencyKey": keys.uuid(), "venueId": venue, "name": "bench" });
    let asked = (CREATE_GATE, json!({ "input": input }));
    let made = keys.ask(bench, ("admission", operator), asked).await?;
    let key = SigningKey::from_bytes(&keys.bytes32());
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let input = json!({ "code": text(&made, "/enrolmentCode")?, "publicKey": public });
    let asked = (ENROL_GATE, json!({ "input": input }));
    let enrolled = keys
        .ask(bench, ("admission", Caller::default()), asked)
        .await?;
    let global = text(&enrolled, "/gate/id")?;
    let id = GlobalId::uuid(&global, "Gate")?;
    let enrolment = enrolled["gate"]["enrolment"]
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
        .ok_or_else(|| anyhow!("no enrolment: {enrolled}"))?;
    Ok(Gate::new(
        (id, global),
        enrolment,
        bench.config().union,
        key,
    ))
}

/// A pass for all sights, each once a day; anybody buys as many as she likes, because a bench has
/// fewer members than purchases.
async fn make_product(bench: &Bench, (keys, operator): Operator<'_>) -> Result<String> {
    let terms = json!({
        "nameZh": "压测年票", "nameEn": "Bench pass", "priceFen": 20_000,
        "rules": { "venueTags": [TAG], "perVenueDaily": 1 },
    });
    let input = json!({ "terms": terms, "idempotencyKey": keys.uuid() });
    let asked = (CREATE_PRODUCT, json!({ "input": input }));
    let made = keys.ask(bench, ("passes", operator), asked).await?;
    let product = text(&made, "/product/id")?;
    let input = json!({ "productId": product, "idempotencyKey": keys.uuid() });
    let asked = (PUBLISH_PRODUCT, json!({ "input": input }));
    keys.ask(bench, ("passes", operator), asked).await?;
    Ok(product)
}

/// Waits until admission knows the product's rules.
async fn rules_of(bench: &Bench, product: &str) -> Result<RulesOf> {
    let id = hex::encode(GlobalId::bytes_of(product, "PassProduct")?);
    let query = format!(
        "SELECT p.scope, r.epoch, r.rules_version FROM product p \
         JOIN product_rules r USING (scope) WHERE p.id = '{id}'::uuid \
         ORDER BY r.rules_version DESC LIMIT 1"
    );
    let began = Instant::now();
    loop {
        let rows = bench.superuser().rows("admission", &query).await?;
        if let Some(row) = rows.first() {
            return Ok(RulesOf {
                scope: row.try_get_by_index(0)?,
                epoch: row.try_get_by_index(1)?,
                version: row.try_get_by_index(2)?,
            });
        }
        ensure!(
            began.elapsed() < EVENT_TIMEOUT,
            "admission does not hear of the product"
        );
        tokio::time::sleep(POLL).await;
    }
}

async fn uuids(bench: &Bench, database: &str, query: &str) -> Result<Vec<Uuid>> {
    let rows = bench.superuser().rows(database, query).await?;
    rows.into_iter()
        .map(|row| Ok(row.try_get_by_index::<Uuid>(0)?))
        .collect()
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .with_context(|| format!("the answer has no {pointer}: {value}"))
}
