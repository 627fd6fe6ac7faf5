//! `pay_to_credential.p99_ms`: from the payer confirming that she pays to the member
//! reading her code, at a constant rate of purchases. All by the gateway and the provider's real
//! protocol: purchase, prepayment, payment, notification, the ledger, Kafka to passes and on to
//! identity, minting.
//!
//! The member asks for her code again and again, as an app does, so what is measured is up to one
//! pause between two questions too long, never too short. Where the rate that is asked for is not
//! borne, lower ones tell which is, and there it is looked where the time goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tests::load::Histogram;
use tokio::task::JoinSet;

use crate::figure::{Better, Figure};
use crate::observe::{DATABASES, Flowed, Shares, flow, quiet};
use crate::process::cpu_seconds;
use crate::profile::Profile;
use crate::signing::{Keys, payload};
use crate::world::Bench;

/// Purchases in a second.
const RATE: u32 = 100;
/// Lower rates that are tried one after the other when that one is not borne.
const LOWER_RATES: [u32; 5] = [70, 50, 35, 25, 15];
/// So many purchases stand in the tables before the first is measured that statements are planned
/// as for a union's: by indexes.
const WARM_UP_RATE: u32 = 25;
const WARM_UP_SECONDS: u32 = 20;
const P99_MS_MAX: f64 = 500.0;
/// Purchases that have ended a second after the last was begun, of all: fewer and the latencies
/// are of another load.
const DONE_SHARE_MIN: f64 = 0.99;
const ENDING_SECONDS: f64 = 1.0;
/// How long it is looked where the time goes, in seconds.
const WATCHED_SECONDS: u32 = 5;
/// How long a member waits before she asks for what cannot be there at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between two questions for the same thing.
const POLL: Duration = Duration::from_millis(50);
/// A connection that idled longer is not used again: the gateway closes it soon.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// How long a purchase may take from its button to its code.
const PURCHASE_TIMEOUT: Duration = Duration::from_secs(30);

const BUY: &str = "mutation ($input: BuyPassInput!) { buyPass(input: $input) { pass { id \
    order { id } } userErrors { code message } } }";
const PAY: &str = "mutation ($input: PayOrderInput!) { payOrder(input: $input) { payment { state \
    codeUrl } userErrors { code message } } }";
const CODE_URL: &str = "query ($id: ID!) { order(id: $id) { payment { codeUrl } } }";
const PASS: &str = "query ($id: ID!) { pass(id: $id) { credential { text } } }";

/// What all purchases share.
struct Shop {
    http: reqwest::Client,
    gateway: String,
    payer: String,
    keys: Arc<Keys>,
    tokens: Vec<String>,
    product: String,
    next: AtomicU64,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    /// From the payer's confirmation to the code.
    paid_to_code: Histogram,
    /// From the button to the address to pay at.
    button_to_address: Histogram,
    /// When (seconds of the run) and how long (ms).
    points: Vec<(f64, f64)>,
    /// Why a purchase came to no code.
    failed: Vec<String>,
}

/// The part `pay`.
///
/// # Errors
/// When purchases fail already at the rate of the warm-up.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let shop = shop(bench).await?;
    quiet(bench).await?;
    purchases(&shop, WARM_UP_RATE, WARM_UP_SECONDS).await?;
    let failed = shop.tally().failed;
    let first = failed.first();
    ensure!(first.is_none(), "at {WARM_UP_RATE} purchases/s: {first:?}");
    quiet(bench).await?;
    // Autovacuum does so once a minute.
    for database in DATABASES {
        bench.superuser().sql(database, &["ANALYZE"]).await?;
    }
    let mut figure = measured(bench, &shop, RATE).await?;
    if !figure.is_missed() {
        return Ok(vec![figure]);
    }
    let mut watched_rate = LOWER_RATES.iter().copied().min().unwrap_or(RATE);
    for rate in LOWER_RATES {
        let lower = measured(bench, &shop, rate).await?;
        let borne = !lower.is_missed();
        let said = if borne { "borne" } else { "not borne either" };
        let told = [lower.failed, lower.notes].concat().join("; ");
        figure = figure.note(format!("{rate} purchases/s are {said}: {told}"));
        if borne {
            watched_rate = rate;
            break;
        }
    }
    quiet(bench).await?;
    let length = Duration::from_secs(u64::from(WATCHED_SECONDS));
    let profile = Profile::begin(bench, length).await?;
    let watched = purchases(&shop, watched_rate, WATCHED_SECONDS).await;
    let lines = profile.end(bench).await?;
    watched?;
    let figure = figure.note(format!("the profile is of {watched_rate} purchases/s"));
    Ok(vec![figure.profile(lines)])
}

async fn shop(bench: &Bench) -> Result<Arc<Shop>> {
    let prepared = bench.prepared().await?;
    let members = prepared.members.iter();
    let tokens: Result<Vec<String>> = members.map(|one| prepared.keys.token(*one)).collect();
    Ok(Arc::new(Shop {
        http: reqwest::Client::builder()
            .timeout(PURCHASE_TIMEOUT)
            .pool_idle_timeout(IDLE_MAX)
            .build()?,
        gateway: format!("http://{}/graphql", bench.gateway()),
        payer: format!("http://{}/sandbox/pay", bench.sandbox()),
        keys: Arc::clone(&prepared.keys),
        tokens: tokens?,
        product: prepared.product.clone(),
        next: AtomicU64::new(0),
        tally: Mutex::default(),
    }))
}

/// The figure at a rate.
async fn measured(bench: &Bench, shop: &Arc<Shop>, rate: u32) -> Result<Figure> {
    quiet(bench).await?;
    shop.tally();
    let (shares, before) = (Shares::begin(bench), flow(bench).await?);
    let (began, cpu) = (Instant::now(), cpu_seconds(std::process::id()));
    let seconds = u32::try_from(bench.seconds().as_secs())?;
    purchases(shop, rate, seconds).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let own = (cpu_seconds(std::process::id()) - cpu) / elapsed;
    let cores = shares.said();
    let flowed = Flowed::between(before, flow(bench).await?, elapsed);
    let tally = shop.tally();
    let all = &tally.paid_to_code;
    let (count, last) = (
        f64::from(rate * seconds),
        f64::from(seconds) + ENDING_SECONDS,
    );
    let late = |(at, took): &&(f64, f64)| at + took / 1_000.0 > last;
    let late = f64::from(u32::try_from(tally.points.iter().filter(late).count())?);
    let (failed, first) = (tally.failed.len(), tally.failed.first());
    let done = (count - late) / count;
    let button = tally.button_to_address.quantile_ms(0.99);
    let name = "pay_to_credential.p99_ms";
    let figure = Figure::new(name, all.quantile_ms(0.99), "ms", Better::Lower)
        .floor(P99_MS_MAX)
        .generator(own)
        .holds(
            failed == 0,
            format!("{failed} of {count} purchases failed, the first: {first:?}"),
        )
        .holds(
            done >= DONE_SHARE_MIN,
            format!(
                "{late} of {count} purchases ended later than {ENDING_SECONDS} s after the last \
                began"
            ),
        )
        .note(format!(
            "{count} purchases begun at {rate}/s, ended in {elapsed:.1} s: p50 {:.0} ms, max {:.0} \
             ms; p99 from the button to the address to pay at {button:.0} ms",
            all.quantile_ms(0.5),
            all.max_ms(),
        ))
        .note(format!("{cores}, generator {own:.2}; {}", flowed.said()))
        .series("latency, ms by percentile", all.curve())
        .series("ms by second of the run", tally.points);
    Ok(figure)
}

/// The purchases of so many seconds, evenly at the rate, whatever becomes of those before.
async fn purchases(shop: &Arc<Shop>, rate: u32, seconds: u32) -> Result<()> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..rate * seconds {
        let intended = began + Duration::from_secs(1) * number / rate;
        tokio::time::sleep_until(intended.into()).await;
        let shop = Arc::clone(shop);
        running.spawn(async move {
            tokio::time::timeout(PURCHASE_TIMEOUT, shop.purchase(began, intended))
                .await
                .map_err(|_| anyhow!("no code after {} s", PURCHASE_TIMEOUT.as_secs()))?
        });
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended? {
            shop.tallied().failed.push(format!("{error:#}"));
        }
    }
    Ok(())
}

impl Shop {
    /// The latencies so far; they begin anew.
    fn tally(&self) -> Tally {
        std::mem::take(&mut self.tallied())
    }

    fn tallied(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn purchase(&self, began: Instant, intended: Instant) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let buyer = usize::try_from(number)? % self.tokens.len();
        let token = &self.tokens[buyer];
        let input = json!({ "productId": self.product, "idempotencyKey": self.keys.uuid() });
        let bought = payload(self.send(token, BUY, json!({ "input": input })).await?)?;
        let (pass, order) = (&bought["pass"]["id"], &bought["pass"]["order"]["id"]);
        let address = self.address(token, order).await?;
        // Before the payer is told: the provider wakes its notifier before it answers her.
        let confirmed = Instant::now();
        let paid = self
            .http
            .post(&self.payer)
            .json(&json!({ "code_url": address }))
            .send()
            .await?;
        ensure!(
            paid.status().is_success(),
            "the payer was refused: {}",
            paid.text().await?
        );
        paid.bytes().await?;
        tokio::time::sleep_until((confirmed + FIRST_PAUSE).into()).await;
        loop {
            let answer = self.send(token, PASS, json!({ "id": pass })).await?;
            if answer["data"]["pass"]["credential"]["text"].is_string() {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        let took = confirmed.elapsed();
        let mut tally = self.tallied();
        tally.paid_to_code.record(took);
        tally.button_to_address.record(confirmed - intended);
        let at = (confirmed - began).as_secs_f64();
        tally.points.push((at, took.as_secs_f64() * 1_000.0));
        Ok(())
    }

    /// Where the payer pays.
    async fn address(&self, token: &str, order: &Value) -> Result<String> {
        let input = json!({
            "orderId": order, "method": "WECHAT_NATIVE", "idempotencyKey": self.keys.uuid(),
        });
        let asked = payload(self.send(token, PAY, json!({ "input": input })).await?)?;
        if let Some(address) = asked["payment"]["codeUrl"].as_str() {
            return Ok(address.to_owned());
        }
        loop {
            let answer = self.send(token, CODE_URL, json!({ "id": order })).await?;
            if let Some(address) = answer["data"]["order"]["payment"]["codeUrl"].as_str() {
                return Ok(address.to_owned());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn send(&self, token: &str, query: &str, variables: Value) -> Result<Value> {
        let answer = self
            .http
            .post(&self.gateway)
            .bearer_auth(token)
            .json(&json!({ "query": query, "variables": variables }))
            .send()
            .await
            .context("the gateway does not answer")?;
        let answer: Value = answer.json().await?;
        ensure!(answer.get("errors").is_none_or(Value::is_null), "{answer}");
        Ok(answer)
    }
}
