//! A loop that ends is started again: an error and a panic alike are logged and waited out.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::Ctx;
use crate::graphql::log_chain;

/// The pause after a loop's first failure; doubles with each that follows soon.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause. A loop that ran for longer than this starts again with the shortest.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(10);

pub(super) async fn run(name: &'static str, run: Run, ctx: Ctx, stop: CancellationToken) {
    let mut pause = PAUSE_MIN;
    while !stop.is_cancelled() {
        let started = Instant::now();
        let once = async { run(ctx.clone(), stop.clone()).await };
        let outcome = match AssertUnwindSafe(once).catch_unwind().await {
            _ if stop.is_cancelled() => return,
            Ok(Ok(())) => "ended",
            Ok(Err(error)) => {
                log_chain(&error);
                "failed"
            }
            Err(_) => "panicked",
        };
        tracing::error!(
            service = ctx.service,
            name,
            state = outcome,
            "a loop is started again"
        );
        metrics::counter!(
            "bashu_loop_restarts_total",
            "service" => ctx.service, "loop" => name, "outcome" => outcome
        )
        .increment(1);
        if started.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
