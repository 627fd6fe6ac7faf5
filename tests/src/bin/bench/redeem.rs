//! `redeem.direct` and `redeem.gateway`: scans of distinct passes at gates of twenty venues, with
//! relay, Kafka and all consumers running. Every answer counted was an admission after commit; in
//! the end the table must hold as many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use chrono::SecondsFormat;
use http_body_util::Full;
use hyper::StatusCode;
use kit::Clock;
use tests::load::{HttpRequest, Requests};

use crate::figure::Figure;
use crate::prepare::{Passes, VENUES};
use crate::search::Search;
use crate::signing::{Caller, Gate, Keys, operation, post};
use crate::world::Bench;

/// Passes of one part. No run makes more scans than this, so in each run they are distinct; a later
/// run shows them at another venue.
const PASSES: u64 = 200_000;
pub(crate) const DIRECT_FLOOR: f64 = 5_000.0;
pub(crate) const GATEWAY_FLOOR: f64 = 3_000.0;
const P99_MS_MAX: f64 = 30.0;
/// Times the figure of pgbench on one row.
const TIMES_PGBENCH: f64 = 2.0;

/// As a gate's program asks.
const REDEEM: &str = "mutation ($input: RedeemInput!) { redeem(input: $input) { decision reason \
    explanation nextTryAt remaining { today venue total } hints { documentCheck } redemption \
    { id } userErrors { code message } } }";
const ADMITTED: &[u8] = b"\"decision\":\"ADMIT\"";

/// The scans that no run has made yet.
#[derive(Clone, Debug)]
pub(crate) struct Scans {
    keys: Arc<Keys>,
    gates: Arc<Vec<Gate>>,
    passes: Passes,
    made: Arc<AtomicU64>,
    straight: bool,
}

impl Scans {
    /// Scans of these passes; straight to admission, or by the gateway.
    pub(crate) async fn new(bench: &Bench, passes: Passes, straight: bool) -> Result<Self> {
        let prepared = bench.prepared().await?;
        Ok(Self {
            keys: Arc::clone(&prepared.keys),
            gates: Arc::clone(&prepared.gates),
            passes,
            made: Arc::default(),
            straight,
        })
    }

    /// The same passes by the other door.
    pub(crate) fn by_gateway(&self) -> Self {
        Self {
            straight: false,
            ..self.clone()
        }
    }

    /// For one run.
    pub(crate) fn next(&self) -> Arc<dyn Requests> {
        Arc::new(self.clone())
    }
}

impl Requests for Scans {
    /// Each pass at one venue, and when all were somewhere, each at the next venue.
    fn request(&self, _: u64) -> HttpRequest {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let passes = self.passes.0.len();
        let at = usize::try_from(number).unwrap_or(0);
        let gate = &self.gates[(at + at / passes) % VENUES];
        let body = operation(
            REDEEM,
            &format!(
                "{{\"scanId\":{{\"deviceId\":\"{}\",\"enrolment\":{},\"seq\":{}}},\"token\":\"{}\",\
                 \"direction\":\"ENTRY\",\"deviceTime\":\"{}\",\"document\":\"MATCHES\"}}",
                gate.global,
                gate.enrolment,
                gate.next_seq(),
                self.passes.0[at % passes],
                Clock::System
                    .now()
                    .to_rfc3339_opts(SecondsFormat::Millis, true),
            ),
        );
        let assertion = gate.assertion(&self.keys);
        if self.straight {
            let caller = Caller {
                token: None,
                gate: Some(&assertion),
            };
            return self.keys.signed("admission", body, caller);
        }
        post()
            .header(admission::gate_key::HEADER, assertion)
            .body(Full::new(body))
            .unwrap_or_default()
    }

    fn judge(&self, _: u64, status: StatusCode, body: &[u8]) -> std::result::Result<(), String> {
        if status.is_success() && body.windows(ADMITTED.len()).any(|part| part == ADMITTED) {
            return Ok(());
        }
        Err(format!("{status} {}", String::from_utf8_lossy(body)))
    }
}

/// The part `redeem`.
///
/// # Errors
/// When a scan is not admitted, or the table holds another number of them.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let limits = *bench.limits().await?;
    let passes = bench
        .prepared()
        .await?
        .passes(bench, PASSES, PASSES)
        .await?;
    let direct = Scans::new(bench, passes, true).await?;
    let search = Search {
        name: "redeem.direct",
        address: bench.graphql("admission"),
        database: "admission",
        connections: bench.connections(),
        floor: DIRECT_FLOOR,
        p99_ms_max: P99_MS_MAX,
    };
    let figure = search.run(bench, &|| direct.next()).await?;
    let wanted = TIMES_PGBENCH * limits.hot_row;
    let enough = figure.value >= wanted;
    let straight = figure
        .limit("pgbench on one row, /s", limits.hot_row)
        .holds(enough, format!("2 × pgbench on one row is {wanted:.0}/s"));
    let straight = search.profiled(bench, &|| direct.next(), straight).await?;
    let through = direct.by_gateway();
    let search = Search {
        name: "redeem.gateway",
        address: bench.gateway(),
        floor: GATEWAY_FLOOR,
        ..search
    };
    let figure = search.run(bench, &|| through.next()).await?;
    let gateway = figure.limit("raw axum, /s", limits.axum);
    let gateway = search.profiled(bench, &|| through.next(), gateway).await?;
    let query = "SELECT count(*) FROM redemption WHERE decision = 'admit'";
    let stored = bench.superuser().number("admission", query).await?;
    let made = direct.made.load(Ordering::Relaxed);
    ensure!(
        u64::try_from(stored) == Ok(made),
        "{made} scans were admitted and {stored} are stored"
    );
    let note = format!("{made} admitted, {stored} stored");
    Ok(vec![straight.note(note.clone()), gateway.note(note)])
}
