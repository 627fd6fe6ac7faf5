//! The highest rate that a service keeps up: where it is when it is never left idle, and then,
//! from there downwards, the first constant rate of arrivals at which nothing piles up and the
//! latencies stay within their bound. That rate is run once more for longer, and is the figure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::load::{self, Arrivals, Outcome, Plan, Requests};

use crate::figure::{Better, Figure};
use crate::observe::{Flow, Shares, flow, quiet};
use crate::world::Bench;

/// The rates tried, as shares of what the service answers when it is never left idle.
const SHARES: [f64; 12] = [
    1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.25,
];
const WARM_UP: Duration = Duration::from_secs(2);
const SATURATION: Duration = Duration::from_secs(6);
const TRIAL: Duration = Duration::from_secs(5);
const MS: f64 = 1_000.0;

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// The figure's name.
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// The database that does the work.
    pub(crate) database: &'static str,
    pub(crate) connections: usize,
    /// Answers in a second that are asked for.
    pub(crate) floor: f64,
    /// The p99 that is allowed, in ms.
    pub(crate) p99_ms_max: f64,
}

/// Makes the requests of the next run: none of them was made before.
pub(crate) type Next<'a> = &'a (dyn Fn() -> Arc<dyn Requests> + Send + Sync);

impl Search {
    /// Finds the rate.
    ///
    /// # Errors
    /// When the service cannot be reached, or gives a wrong answer.
    pub(crate) async fn run(&self, bench: &Bench, next: Next<'_>) -> Result<Figure> {
        self.measure(bench, next, (Arrivals::Saturate, WARM_UP))
            .await?;
        // Autovacuum does so once a minute. Before, statements run by plans for empty tables, and
        // which of the runs are past it would be chance.
        bench.superuser().sql(self.database, &["ANALYZE"]).await?;
        let (full, _) = self
            .measure(bench, next, (Arrivals::Saturate, SATURATION))
            .await?;
        bench.say(&format!("never idle: {}", said(&full)));
        let mut found = None;
        let mut tried = Vec::new();
        for share in SHARES {
            let rate = (full.rate() * share).floor();
            let (trial, _) = self
                .measure(bench, next, (Arrivals::Rate(rate), TRIAL))
                .await?;
            tried.push((rate, trial.latencies.quantile_ms(0.99)));
            bench.say(&format!("at {rate:.0}/s: {}", said(&trial)));
            if !self.is_good(&trial, TRIAL) {
                continue;
            }
            let long = (Arrivals::Rate(rate), bench.seconds());
            let (outcome, about) = self.measure(bench, next, long).await?;
            bench.say(&format!("at {rate:.0}/s, longer: {}", said(&outcome)));
            if self.is_good(&outcome, bench.seconds()) {
                found = Some((outcome, about));
                break;
            }
        }
        let floor = (Arrivals::Rate(self.floor), bench.seconds());
        let (at_floor, about_floor) = self.measure(bench, next, floor).await?;
        let rate = found.as_ref().map_or(0.0, |(outcome, _)| outcome.rate());
        let (shown, about) = found.unwrap_or_else(|| (at_floor.clone(), about_floor));
        tried.reverse();
        Ok(Figure::new(self.name, rate, "/s", Better::Higher)
            .floor(self.floor)
            .note(format!("open loop at the figure: {}", said(&shown)))
            .note(about)
            .note(format!(
                "never idle ({} connections, closed loop): {}",
                self.connections,
                said(&full)
            ))
            .note(format!("at the rate asked for: {}", said(&at_floor)))
            .series("latency, ms by percentile", shown.latencies.curve())
            .series(
                "latency at the rate asked for, ms by percentile",
                at_floor.latencies.curve(),
            )
            .series("answers/s by second", shown.throughput())
            .series("p99 in ms by answers/s tried", tried))
    }

    fn is_good(&self, outcome: &Outcome, length: Duration) -> bool {
        let plan = self.plan(Arrivals::Saturate, length);
        outcome.kept_up(&plan) && outcome.latencies.quantile_ms(0.99) <= self.p99_ms_max
    }

    fn plan(&self, arrivals: Arrivals, length: Duration) -> Plan {
        Plan {
            address: self.address,
            connections: self.connections,
            arrivals,
            length,
            requests_max: u64::MAX,
        }
    }

    /// One run, after everything before it has been published and applied.
    async fn measure(
        &self,
        bench: &Bench,
        next: Next<'_>,
        (arrivals, length): (Arrivals, Duration),
    ) -> Result<(Outcome, String)> {
        quiet(bench).await?;
        let before = flow(bench).await?;
        let shares = Shares::begin(bench);
        let outcome = load::run(self.plan(arrivals, length), next()).await?;
        let cores = shares.said();
        let after = flow(bench).await?;
        ensure!(
            outcome.wrong == 0,
            "{}: {} wrong answers, the first: {}",
            self.name,
            outcome.wrong,
            outcome.first_wrong.unwrap_or_default()
        );
        let about = format!(
            "{cores}, generator {:.2}; {}",
            outcome.cpu_share(),
            behind(&outcome, before, after)
        );
        Ok((outcome, about))
    }
}

fn behind(outcome: &Outcome, before: Flow, after: Flow) -> String {
    format!(
        "events published while it ran {:.0}/s, consumers {:.0} records behind at its end",
        (after.published - before.published) / outcome.elapsed.as_secs_f64(),
        after.behind
    )
}

/// An outcome in words.
pub(crate) fn said(outcome: &Outcome) -> String {
    let ms = |share| outcome.latencies.quantile_ms(share);
    format!(
        "{:.0}/s, p50 {:.1} ms, p99 {:.1} ms, max {:.0} ms, {} of {} in {:.1} s",
        outcome.rate(),
        ms(0.5),
        ms(0.99),
        outcome.latencies.max_ms(),
        outcome.right,
        outcome.due,
        outcome.elapsed.as_millis() as f64 / MS
    )
}
