//! Journey 1: log in by SMS code, choose a product, pay by WeChat Pay, have the pass with its
//! code.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use kit::types::Union;
use kit::{Clock, Ids};
use serde_json::{Value, json};

use crate::client::{Client, text};
use crate::demo::persona::{self, Persona};
use crate::demo::{member_phone, products};
use crate::dev::World;
use crate::documents::Document;
use crate::say::Say;

/// Seconds of one member's turn: they take turns, so that a journey played often meets no limit
/// on login codes.
const TURN_SECONDS: i64 = 20;
/// How long money may take to become a code.
const CODE_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);

const PRODUCTS: &str = "query { passProducts(first: 20) { nodes { id name price { amountFen } \
    available } } }";
const BUY: &str = "mutation ($input: BuyPassInput!) { buyPass(input: $input) { pass { id number \
    state price { amountFen } order { id } } userErrors { code message } } }";
const PAY: &str = "mutation ($input: PayOrderInput!) { payOrder(input: $input) { payment { state \
    codeUrl } userErrors { code message } } }";
const CODE_URL: &str = "query ($id: ID!) { order(id: $id) { payment { state codeUrl } } }";
const PASS: &str = "query ($id: ID!) { pass(id: $id) { state start end credential { text \
    validUntil documentCheck } } }";

const HISTORY: &str = "query ($id: ID!) { pass(id: $id) { usesCount venuesToday(first: 3) { nodes \
    { venue { name } admits message } } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 6] = [
    ("passProducts", PRODUCTS),
    ("buyPass", BUY),
    ("payOrder", PAY),
    ("orderCodeUrl", CODE_URL),
    ("passCredential", PASS),
    ("passHistory", HISTORY),
];

/// What was bought.
#[derive(Debug)]
pub(crate) struct Bought {
    pub(crate) member: Persona,
    pub(crate) pass_id: String,
    pub(crate) pass_number: String,
    /// The text of the code.
    pub(crate) code: String,
    /// When it was paid.
    pub(crate) paid_at: Instant,
}

/// The numbers of those with whom the journey is played now and at each turn after this one.
pub fn players(members: u32) -> impl Iterator<Item = u32> {
    let half = i64::from(members / 2).max(1);
    let turn = Clock::System.now().timestamp() / TURN_SECONDS;
    (turn..).map(move |turn| u32::try_from(turn % half).unwrap_or_default())
}

/// Plays it with one of the first half of the demonstration's `members`; a phone gets one code in a
/// minute, and the others' are for who else is at work in this world.
///
/// # Errors
/// When a step does not answer what it must.
pub(crate) async fn play(world: &World, union: Union, members: u32, say: &Say) -> Result<Bought> {
    let phone = member_phone(union, players(members).next().unwrap_or_default());
    let began = Instant::now();
    let member = persona::by_code(world, union, &phone).await?;
    say.answer(
        "requestLoginCode, login",
        began.elapsed(),
        &format!("{phone} 已登录 / signed in"),
    );

    let began = Instant::now();
    let product = choose(&member.client).await?;
    let price = product["price"]["amountFen"].as_i64().unwrap_or_default();
    say.answer(
        "passProducts",
        began.elapsed(),
        &format!(
            "{}  {}.{:02} 元",
            text(&product, "/name")?,
            price / 100,
            price % 100
        ),
    );

    let began = Instant::now();
    let pass = buy(&member.client, &text(&product, "/id")?).await?;
    let (pass_id, number) = (text(&pass, "/id")?, text(&pass, "/number")?);
    say.answer(
        "buyPass",
        began.elapsed(),
        &format!("{number}  {}", text(&pass, "/state")?),
    );

    let began = Instant::now();
    let code_url = pay(&member.client, &text(&pass, "/order/id")?).await?;
    say.answer("payOrder", began.elapsed(), &code_url);

    pay_as_payer(world, &code_url).await?;
    let paid_at = Instant::now();
    let ready = wait_for_code(&member.client, &pass_id).await?;
    let took = paid_at.elapsed();
    let code = text(&ready, "/credential/text")?;
    say.answer(
        "付款 → 二维码 / paid → code",
        took,
        &format!(
            "{} {} … {}",
            text(&ready, "/state")?,
            text(&ready, "/start")?,
            &code[..32]
        ),
    );
    Ok(Bought {
        member,
        pass_id,
        pass_number: number,
        code,
        paid_at,
    })
}

pub(super) async fn choose(client: &Client) -> Result<Value> {
    let data = client.send(PRODUCTS, json!({})).await?;
    let nodes = data["passProducts"]["nodes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    nodes
        .into_iter()
        .find(|product| product["name"] == products::EVERYDAY)
        .ok_or_else(|| anyhow!("the catalogue lacks {}", products::EVERYDAY))
}

/// Buys a pass for oneself, twice with the same key; the one pass.
///
/// # Errors
/// When it is refused, or the second time bought another.
pub async fn buy(client: &Client, product: &str) -> Result<Value> {
    let key = Ids::random().uuid(Clock::System.now());
    let input = json!({ "productId": product, "idempotencyKey": key });
    let bought = client.run(BUY, json!({ "input": input })).await?;
    // The same request again must answer the same pass.
    let again = client.run(BUY, json!({ "input": input })).await?;
    ensure!(
        bought["pass"]["id"] == again["pass"]["id"],
        "a repeated purchase bought twice"
    );
    Ok(bought["pass"].clone())
}

/// Begins to pay an order; the address that the payer scans.
///
/// # Errors
/// When it is refused, or the provider gives no address.
pub async fn pay(client: &Client, order: &str) -> Result<String> {
    let key = Ids::random().uuid(Clock::System.now());
    let input = json!({ "orderId": order, "method": "WECHAT_NATIVE", "idempotencyKey": key });
    let payload = client.run(PAY, json!({ "input": input })).await?;
    if let Ok(url) = text(&payload, "/payment/codeUrl") {
        return Ok(url);
    }
    let began = Instant::now();
    while began.elapsed() < CODE_TIMEOUT {
        let data = client.send(CODE_URL, json!({ "id": order })).await?;
        if let Ok(url) = text(&data, "/order/payment/codeUrl") {
            return Ok(url);
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("the provider gave no address to pay at")
}

/// Pays at an address, as the person with the phone.
///
/// # Errors
/// When the provider's stand-in refuses.
pub async fn pay_as_payer(world: &World, code_url: &str) -> Result<()> {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/sandbox/pay", world.sandbox()))
        .json(&json!({ "code_url": code_url }))
        .send()
        .await?;
    ensure!(
        answer.status().is_success(),
        "the payer was refused: {}",
        answer.text().await?
    );
    Ok(())
}

/// The pass once it has begun and has its code.
///
/// # Errors
/// When it has none in time.
pub async fn wait_for_code(client: &Client, pass: &str) -> Result<Value> {
    let began = Instant::now();
    while began.elapsed() < CODE_TIMEOUT {
        let data = client.send(PASS, json!({ "id": pass })).await?;
        // Two services answer one after the other: the code can be there before the pass that was
        // read a moment earlier has begun.
        if data["pass"]["credential"]["text"].is_string() && data["pass"]["start"].is_string() {
            return Ok(data["pass"].clone());
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("no code {} s after the payment", CODE_TIMEOUT.as_secs())
}

/// What the member reads afterwards on her phone: how often she went, and where she can go now.
///
/// # Errors
/// When her own history does not show the entry.
pub(crate) async fn read_back(bought: &Bought, say: &Say) -> Result<()> {
    let began = Instant::now();
    loop {
        let data = bought
            .member
            .client
            .send(HISTORY, json!({ "id": bought.pass_id }))
            .await?;
        let pass = &data["pass"];
        if pass["usesCount"].as_i64().unwrap_or_default() > 0 {
            let places = pass["venuesToday"]["nodes"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let first = places
                .first()
                .ok_or_else(|| anyhow!("the pass opens nothing"))?;
            let told = format!(
                "{} 次 / uses; {}: {}",
                pass["usesCount"],
                text(first, "/venue/name")?,
                text(first, "/message")?
            );
            say.answer("pass.usage, pass.venuesToday", began.elapsed(), &told);
            return Ok(());
        }
        ensure!(
            began.elapsed() < CODE_TIMEOUT,
            "the entry is missing from her history: {data}"
        );
        tokio::time::sleep(POLL).await;
    }
}
