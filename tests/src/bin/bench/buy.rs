//! `buy_pass.direct`: purchases straight at passes, each by a member with a token of her own,
//! which passes verifies. The orders go to billing by Kafka while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use hyper::StatusCode;
use tests::load::{HttpRequest, Requests};

use crate::figure::Figure;
use crate::search::Search;
use crate::signing::{Caller, Keys, operation};
use crate::world::Bench;

pub(crate) const FLOOR: f64 = 4_000.0;
/// As for a scan: nobody waits longer for a button.
const P99_MS_MAX: f64 = 100.0;
const BUY: &str = "mutation ($input: BuyPassInput!) { buyPass(input: $input) { pass { id number \
    state price { amountFen } order { id } } userErrors { code message } } }";
const BOUGHT: &[u8] = b"\"userErrors\":[]";

/// Purchases that no run has made yet.
#[derive(Clone, Debug)]
pub(crate) struct Purchases {
    keys: Arc<Keys>,
    tokens: Arc<Vec<String>>,
    product: Arc<str>,
    made: Arc<AtomicU64>,
}

impl Purchases {
    /// Purchases by members who have just signed in.
    ///
    /// # Errors
    /// When a token cannot be signed.
    pub(crate) fn new(keys: &Arc<Keys>, members: &[uuid::Uuid], product: &str) -> Result<Self> {
        let tokens: Result<Vec<String>> =
            members.iter().map(|member| keys.token(*member)).collect();
        Ok(Self {
            keys: Arc::clone(keys),
            tokens: Arc::new(tokens?),
            product: product.into(),
            made: Arc::default(),
        })
    }
}

impl Requests for Purchases {
    fn request(&self, _: u64) -> HttpRequest {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(number).unwrap_or(0) % self.tokens.len();
        let input = format!(
            "{{\"productId\":\"{}\",\"idempotencyKey\":\"{}\"}}",
            self.product,
            self.keys.uuid(),
        );
        let body = operation(BUY, &input);
        let caller = Caller {
            token: Some(&self.tokens[at]),
            gate: None,
        };
        self.keys.signed("passes", body, caller)
    }

    fn judge(&self, _: u64, status: StatusCode, body: &[u8]) -> std::result::Result<(), String> {
        if status.is_success() && body.windows(BOUGHT.len()).any(|part| part == BOUGHT) {
            return Ok(());
        }
        Err(format!("{status} {}", String::from_utf8_lossy(body)))
    }
}

/// The part `buy`.
///
/// # Errors
/// When a purchase is refused, or the table holds another number of them.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let limits = *bench.limits().await?;
    let prepared = bench.prepared().await?;
    let count = "SELECT count(*) FROM pass";
    let before = bench.superuser().number("passes", count).await?;
    let made = Arc::new(AtomicU64::new(0));
    let search = Search {
        name: "buy_pass.direct",
        address: bench.graphql("passes"),
        database: "passes",
        connections: bench.connections(),
        floor: FLOOR,
        p99_ms_max: P99_MS_MAX,
    };
    // Tokens live for ten minutes, so each run signs in again.
    let first = Purchases::new(&prepared.keys, &prepared.members, &prepared.product)?;
    let next = || -> Arc<dyn Requests> {
        let again = Purchases::new(&prepared.keys, &prepared.members, &prepared.product);
        let purchases = again.unwrap_or_else(|_| first.clone());
        Arc::new(Purchases {
            made: Arc::clone(&made),
            ..purchases
        })
    };
    let figure = search.run(bench, &next).await?;
    let figure = search.profiled(bench, &next, figure).await?;
    let stored = bench.superuser().number("passes", count).await? - before;
    let made = made.load(Ordering::Relaxed);
    ensure!(
        u64::try_from(stored) == Ok(made),
        "{made} purchases were confirmed and {stored} are stored"
    );
    Ok(vec![
        figure
            .limit("pgbench on one row, /s", limits.hot_row)
            .note(format!("{made} bought, {stored} stored"))
            .note(format!(
                "{} members, each signed in anew for each run: her first purchase of a run has \
                 her token's signature verified, a later one finds it remembered and her row warm",
                prepared.members.len()
            )),
    ])
}
