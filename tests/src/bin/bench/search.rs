//! The highest rate that a service keeps up: where it is when it is never left idle, and then,
//! from there downwards, the first constant rate of arrivals at which nothing piles up and the
//! latencies stay within their bound. That rate is run once more for longer, and is the figure.
//! What may not pile up is the requests, the events in the outboxes, and the records before the
//! consumers: a rate at which relays starve is none that the service keeps up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::load::{self, Arrivals, Outcome, Plan, Requests};

use crate::figure::{Better, Figure};
use crate::observe::{Flowed, Shares, flow, quiet};
use crate::profile::Profile;
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

/// One run and what relays and consumers did meanwhile.
#[derive(Clone, Debug)]
struct Run {
    outcome: Outcome,
    flowed: Flowed,
    cores: String,
}

impl Run {
    fn said(&self) -> String {
        format!(
            "{}; generator {:.2} of a core; {}; {}",
            said(&self.outcome),
            self.outcome.cpu_share(),
            self.cores,
            self.flowed.said()
        )
    }
}

/// What the rates tried came to.
struct Tried {
    /// The longer run at the first rate that was kept up.
    found: Option<Run>,
    /// The trial that answered the most in a second, and was not kept up.
    best: Option<Run>,
    /// Rates and their p99.
    points: Vec<(f64, f64)>,
}

impl Search {
    /// Finds the rate. Where none of those tried is kept up, the figure is the most that was
    /// answered in a second and is missed for it.
    ///
    /// # Errors
    /// When the service cannot be reached, or gives a wrong answer.
    pub(crate) async fn run(&self, bench: &Bench, next: Next<'_>) -> Result<Figure> {
        self.measure(bench, next, (Arrivals::Saturate, WARM_UP))
            .await?;
        // Autovacuum does so once a minute. Before, statements run by plans for empty tables, and
        // which of the runs are past it would be chance.
        bench.superuser().sql(self.database, &["ANALYZE"]).await?;
        let full = self
            .measure(bench, next, (Arrivals::Saturate, SATURATION))
            .await?;
        bench.say(&format!("never idle: {}", full.said()));
        let tried = self.search(bench, next, full.outcome.rate()).await?;
        let floor = (Arrivals::Rate(self.floor), bench.seconds());
        let at_floor = self.measure(bench, next, floor).await?;
        let is_found = tried.found.is_some();
        let shown = tried.found.or(tried.best);
        let shown = shown.unwrap_or_else(|| at_floor.clone());
        let mut points = tried.points;
        points.reverse();
        let (at, unit) = (shown.outcome.rate(), "/s");
        let kept = format!(
            "at no rate tried was p99 within {} ms with nothing piling up here, in outboxes or \
             before consumers",
            self.p99_ms_max
        );
        Ok(Figure::new(self.name, at, unit, Better::Higher)
            .floor(self.floor)
            .generator(shown.outcome.cpu_share())
            .holds(is_found, kept)
            .note(format!("open loop at the figure: {}", shown.said()))
            .note(format!(
                "never idle ({} connections, closed loop): {}",
                self.connections,
                full.said()
            ))
            .note(format!("at the rate asked for: {}", at_floor.said()))
            .series("latency, ms by percentile", shown.outcome.latencies.curve())
            .series(
                "latency at the rate asked for, ms by percentile",
                at_floor.outcome.latencies.curve(),
            )
            .series("answers/s by second", shown.outcome.throughput())
            .series("p99 in ms by answers/s tried", points))
    }

    /// From what is answered in full downwards, until a rate is kept up.
    async fn search(&self, bench: &Bench, next: Next<'_>, full: f64) -> Result<Tried> {
        let mut tried = Tried {
            found: None,
            best: None,
            points: Vec::new(),
        };
        for share in SHARES {
            let rate = (full * share).floor();
            let trial = self
                .measure(bench, next, (Arrivals::Rate(rate), TRIAL))
                .await?;
            let p99 = trial.outcome.latencies.quantile_ms(0.99);
            tried.points.push((rate, p99));
            bench.say(&format!("at {rate:.0}/s: {}", trial.said()));
            let is_good = self.is_good(&trial, TRIAL);
            let best = tried.best.as_ref().map_or(0.0, |run| run.outcome.rate());
            if trial.outcome.rate() > best {
                tried.best = Some(trial);
            }
            if !is_good {
                continue;
            }
            let long = (Arrivals::Rate(rate), bench.seconds());
            let run = self.measure(bench, next, long).await?;
            bench.say(&format!("at {rate:.0}/s, longer: {}", run.said()));
            if self.is_good(&run, bench.seconds()) {
                tried.found = Some(run);
                break;
            }
        }
        Ok(tried)
    }

    /// The figure, and where it is missed what one more run without idling spends its time with.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub(crate) async fn profiled(
        &self,
        bench: &Bench,
        next: Next<'_>,
        figure: Figure,
    ) -> Result<Figure> {
        if !figure.is_missed() {
            return Ok(figure);
        }
        let profile = Profile::begin(bench, TRIAL).await?;
        let run = self.measure(bench, next, (Arrivals::Saturate, TRIAL)).await;
        let mut lines = profile.end(bench).await?;
        lines.insert(0, format!("never idle, watched: {}", run?.said()));
        Ok(figure.profile(lines))
    }

    fn is_good(&self, run: &Run, length: Duration) -> bool {
        let plan = self.plan(Arrivals::Saturate, length);
        run.outcome.kept_up(&plan)
            && run.outcome.latencies.quantile_ms(0.99) <= self.p99_ms_max
            && run.flowed.kept_up()
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
    ) -> Result<Run> {
        // Before the cores are looked at: its tokens may have to be signed.
        let requests = next();
        quiet(bench).await?;
        let before = flow(bench).await?;
        let shares = Shares::begin(bench);
        let outcome = load::run(self.plan(arrivals, length), requests).await?;
        let cores = shares.said();
        let after = flow(bench).await?;
        ensure!(
            outcome.wrong == 0,
            "{}: {} wrong answers, the first: {}",
            self.name,
            outcome.wrong,
            outcome.first_wrong.unwrap_or_default()
        );
        let flowed = Flowed::between(before, after, outcome.elapsed.as_secs_f64());
        Ok(Run {
            outcome,
            flowed,
            cores,
        })
    }
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
