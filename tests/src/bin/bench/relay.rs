//! The way of an event from one service's outbox into another's tables: kit's own relay and
//! consumer over the world's Kafka, between two databases made for this. Nothing of the services
//! runs in it; what they add is in the parts that buy and pay.
//!
//! The same backlog is drained three times: by the relay alone into the topic, by the consumer
//! alone out of it, and by both at once, which is the figure. What each takes alone, and the CPU
//! of each process, say where the time goes.

mod bare;
mod beat;
mod cost;
mod drain;
mod stage;

use anyhow::Result;

use crate::figure::{Better, Figure};
use crate::world::Bench;
use drain::{Drained, Who};
use stage::Stage;

/// Events of the backlog.
pub(crate) const BACKLOG_EVENTS: u32 = 200_000;
/// Bytes of an event's payload.
pub(crate) const PAYLOAD_BYTES: usize = 200;
const DRAIN_RATE_MIN: f64 = 20_000.0;
const LATENCY_P99_MS_MAX: f64 = 100.0;

/// Measures both figures.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    Ok(vec![drained(bench).await?, beats(bench).await?])
}

async fn drained(bench: &Bench) -> Result<Figure> {
    let bare = bare::rate(bench.config().kafka.brokers.clone()).await?;
    let stage = Stage::make(bench, "apart").await?;
    let apart = async {
        stage.fill(BACKLOG_EVENTS).await?;
        let relay = drain::run(bench, &stage, Who::Relay).await?;
        let consumer = drain::run(bench, &stage, Who::Consumer).await?;
        Ok::<_, anyhow::Error>((relay, consumer))
    }
    .await;
    stage.clear(bench).await?;
    let (relay, consumer) = apart?;
    let stage = Stage::make(bench, "both").await?;
    let both = async {
        stage.fill(BACKLOG_EVENTS).await?;
        let reading = stage.read_backlog().await?;
        let drained = drain::run(bench, &stage, Who::Both).await?;
        Ok::<_, anyhow::Error>((reading, drained, stage.wrongs(BACKLOG_EVENTS).await?))
    }
    .await;
    stage.clear(bench).await?;
    let (reading, drained, wrongs) = both?;
    let mut figure = Figure::new("relay.drain", drained.rate(), "events/s", Better::Higher)
        .floor(DRAIN_RATE_MIN)
        .limit("bare rdkafka, produced and consumed, events/s", bare)
        .note(format!(
            "alone: the relay {:.0}/s ({:.2} s), the consumer {:.0}/s ({:.2} s); reading the \
             backlog by its cursor takes {reading:.2} s",
            relay.rate(),
            relay.seconds,
            consumer.rate(),
            consumer.seconds,
        ))
        .note(format!("CPU of both at once: {}", drained.cost))
        .note(format!("CPU of the relay alone: {}", relay.cost))
        .note(format!("CPU of the consumer alone: {}", consumer.cost))
        .holds(wrongs.is_empty(), wrongs.join("; "));
    let Drained {
        published, applied, ..
    } = drained;
    let waiting = published
        .iter()
        .map(|(at, sent)| (*at, f64::from(BACKLOG_EVENTS) - sent))
        .collect();
    figure = figure
        .series("seconds → events published", published)
        .series("seconds → events applied", applied)
        .series("seconds → events waiting in the outbox", waiting);
    Ok(figure)
}

async fn beats(bench: &Bench) -> Result<Figure> {
    let syncs = bench.limits().await?.syncs;
    let stage = Stage::make(bench, "beats").await?;
    let outcome = async {
        let beats = beat::run(&stage).await?;
        Ok::<_, anyhow::Error>((stage.wrongs(beats.events).await?, beats))
    }
    .await;
    stage.clear(bench).await?;
    let (wrongs, beats) = outcome?;
    let (from_commit, from_due) = (&beats.from_commit, &beats.from_due);
    let note = format!(
        "{} events/s, each its own transaction: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms \
         from commit to effect; p99 {:.1} ms from when it was due",
        beat::RATE,
        from_commit.quantile_ms(0.5),
        from_commit.quantile_ms(0.99),
        from_commit.quantile_ms(0.999),
        from_commit.max_ms(),
        from_due.quantile_ms(0.99),
    );
    let p99 = from_commit.quantile_ms(0.99);
    Ok(Figure::new("relay.p99_ms", p99, "ms", Better::Lower)
        .floor(LATENCY_P99_MS_MAX)
        .limit("one fdatasync, ms", 1_000.0 / syncs)
        .series("percentile → ms from commit to effect", from_commit.curve())
        .series("percentile → ms from due to effect", from_due.curve())
        .note(note)
        .holds(wrongs.is_empty(), wrongs.join("; ")))
}
