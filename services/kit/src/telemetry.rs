//! Logs, metrics and traces.
//!
//! Logs are JSON lines for programs. Only fields on a list are written out, and long runs of
//! digits are masked in whatever text a library brings: a phone number or an ID number never
//! reaches a log. Traces follow W3C `traceparent` through HTTP, the outbox and Kafka.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider as _};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::{Error, Result};

mod log;
mod send;

pub use log::JsonLines;

const TRACEPARENT: &str = "traceparent";
/// How often what histograms were told is sorted into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Records of one batch whose traces are told, at most.
const LINKS_MAX: usize = 32;
/// Buckets of every histogram of seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0,
];
/// What other crates say below these levels is no help to an operator.
const QUIET: [&str; 6] = [
    "sqlx=warn",
    "hyper=warn",
    "h2=warn",
    "rdkafka=warn",
    "tower=warn",
    "opentelemetry=warn",
];

/// What is started once for the process.
#[derive(Debug)]
pub struct Telemetry {
    metrics: PrometheusHandle,
    traces: SdkTracerProvider,
}

/// How to start it.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// The name of the process in traces.
    pub process: String,
    /// A level, or directives of `EnvFilter`.
    pub log: String,
    /// Where traces are sent; nowhere when absent.
    pub otlp_endpoint: Option<String>,
}

impl Telemetry {
    /// Starts logs, metrics and traces for the whole process, once.
    ///
    /// # Errors
    /// When the filter or the endpoint is wrong, it was started before, or there is no runtime to
    /// send traces on.
    pub fn start(options: &TelemetryOptions) -> Result<Self> {
        let traces = tracer_provider(options)?;
        let filter = filter(&options.log)?;
        tracing_subscriber::registry()
            .with(JsonLines::new(std::io::stdout).with_filter(filter))
            .with(layer(&traces))
            .try_init()
            .map_err(|_| Error::internal("logs were started before"))?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .map_err(|_| Error::internal("the buckets of histograms are wrong"))?
            .install_recorder()
            .map_err(|_| Error::internal("metrics were started before"))?;
        Ok(Self { metrics, traces })
    }

    /// For the listener that shows metrics.
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// Sends what is left of the traces, and waits for it on another thread: the sending itself
    /// needs the runtime.
    pub async fn stop(self) {
        // Nobody is left to tell when the collector is away.
        let _ = tokio::task::spawn_blocking(move || self.traces.shutdown()).await;
    }
}

/// Sorts what histograms were told into their buckets until `stop`. Without it that happens when
/// metrics are read and at no other time: where nobody reads them, all of it would be kept.
pub(crate) async fn keep_up(metrics: PrometheusHandle, stop: CancellationToken) {
    loop {
        metrics.run_upkeep();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP_EVERY) => {}
        }
    }
}

fn filter(directives: &str) -> Result<EnvFilter> {
    let quiet = QUIET.join(",");
    EnvFilter::try_new(format!("{directives},{quiet}"))
        .map_err(|_| Error::internal("`log` is no level and no filter"))
}

fn tracer_provider(options: &TelemetryOptions) -> Result<SdkTracerProvider> {
    let resource = Resource::builder()
        .with_service_name(options.process.clone())
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &options.otlp_endpoint else {
        // Nobody will ever see what would be recorded; the ids go on all the same.
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    };
    let builder = builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(send::Sender::new()?)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|_| Error::internal("`otlp_endpoint` is no address"))?;
    Ok(builder.with_batch_exporter(exporter).build())
}

/// The layer that gives spans their trace; for [`Telemetry`] and for tests with an exporter of
/// their own.
pub fn layer<S>(traces: &SdkTracerProvider) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(traces.tracer("bashu"))
        .with_location(false)
        .with_threads(false)
        .with_filter(tracing_subscriber::filter::LevelFilter::INFO)
}

/// The W3C `traceparent` of the current span, for a row that continues the trace elsewhere.
pub fn traceparent() -> Option<String> {
    let mut carrier = std::collections::HashMap::new();
    let context = tracing::Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span`, which has not been entered, a child of the span that `traceparent` names; what
/// is no `traceparent` is passed over.
pub fn continue_from(span: &tracing::Span, traceparent: &str) {
    // Fails only where no trace is kept at all.
    let _ = span.set_parent(context_of(traceparent));
}

fn context_of(traceparent: &str) -> opentelemetry::Context {
    let carrier =
        std::collections::HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract(&carrier)
}

/// The span in which a consumer applies a batch: it continues the trace of the first record that
/// has one and is linked to those of the others, [`LINKS_MAX`] at most.
pub(crate) fn consumed<'a>(
    consumer: &'static str,
    traceparents: impl Iterator<Item = &'a str>,
) -> tracing::Span {
    let mut traceparents = traceparents.take(LINKS_MAX);
    let Some(first) = traceparents.next() else {
        return tracing::Span::none();
    };
    let span = tracing::info_span!("consume", consumer);
    continue_from(&span, first);
    for other in traceparents {
        span.add_link(context_of(other).span().span_context().clone());
    }
    span
}

/// The span of work that is done for several at once: a part of the first one's, and linked to
/// the others', [`LINKS_MAX`] at most.
pub(crate) fn joined<'a>(
    work: &'static str,
    mut spans: impl Iterator<Item = &'a tracing::Span>,
) -> tracing::Span {
    let Some(first) = spans.next() else {
        return tracing::Span::none();
    };
    let span = tracing::info_span!(parent: first, "batch", kind = work);
    for other in spans.take(LINKS_MAX) {
        span.follows_from(other);
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a collector nothing is recorded, and the ids of a trace go on.
    #[test]
    fn ids_go_on_without_a_collector() {
        let options = TelemetryOptions {
            process: "test".to_owned(),
            log: "info".to_owned(),
            otlp_endpoint: None,
        };
        let traces = tracer_provider(&options).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer(&traces));
        tracing::subscriber::with_default(subscriber, || {
            let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
            let span = tracing::info_span!("outer");
            continue_from(&span, &format!("00-{trace}-00f067aa0ba902b7-01"));
            let _entered = span.enter();
            let inner = tracing::info_span!("inner");
            let _entered = inner.enter();
            let told = traceparent().unwrap();
            assert!(told.contains(trace), "{told}");
            assert!(!inner.context().span().is_recording());
        });
        let subscriber = tracing_subscriber::registry().with(layer(&traces));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("root");
            let _entered = span.enter();
            assert!(traceparent().is_some());
        });
    }
}
