//! `bashu resync <service>`: says the current state of every aggregate of a service again, in
//! small transactions, beside a running service. It repairs a topic that was wiped and consumers
//! that missed something; it changes no aggregate.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kit::Ctx;
use kit::resync::Source;
use serde::Serialize;

use crate::output::{Outcome, Output, Text, table};
use crate::registry;
use crate::stack::{Operator, Stack};

/// How long a running relay may take to publish it all before that is only told.
const PUBLISH_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// What `bashu resync` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ResyncArgs {
    /// 服务 / The service
    #[arg(value_parser = registry::names())]
    service: String,
}

/// What was said again.
#[derive(Debug, Serialize)]
struct Said {
    service: &'static str,
    /// Transactions, each of at most `kit::resync::RESYNC_ROWS_MAX` aggregates.
    transactions: u64,
    /// Whether some of it still waits in the outbox: the relay is not running, or is behind.
    waiting: bool,
}

/// Says everything again.
///
/// # Errors
/// When the database fails; running it again from the start is harmless.
pub(crate) async fn run(args: ResyncArgs, output: Output, operator: &Operator) -> Result<Outcome> {
    let stack = Stack::load()?;
    let known = registry::named(&args.service)?;
    let ctx = stack.ctx(known).await?;
    operator.record_begin(&ctx, "resync", &ctx.topic()).await?;
    let union = ctx.union;
    let transactions = match known.name {
        identity::NAME => say(&ctx, &identity::publish::Aggregates(union), output).await,
        passes::NAME => say(&ctx, &passes::publish::Resync { union }, output).await,
        billing::NAME => say(&ctx, &billing::publish::Resync { union }, output).await,
        _ => say(&ctx, &admission::AdmissionSource::new(union), output).await,
    }
    .with_context(|| format!("resync of {}", known.name))?;
    let waiting = !published(&ctx, output).await?;
    let said = Said {
        service: known.name,
        transactions,
        waiting,
    };
    output.show(&said, |language| {
        let headings = [
            language.choose("服务", "service"),
            language.choose("事务数", "transactions"),
        ];
        let rows = [vec![said.service.to_owned(), said.transactions.to_string()]];
        let note = if said.waiting {
            language.choose(
                "事件在发件箱里等待中继；若服务没有运行，请启动 bashu serve",
                "the events wait for the relay; start bashu serve if the service does not run",
            )
        } else {
            language.choose("已全部发布", "all of it is published")
        };
        format!("{}{note}", table(&headings, &rows))
    })?;
    Ok(Outcome::Well)
}

/// Whether all is published before long: with a relay that runs it is.
async fn published(ctx: &Ctx, output: Output) -> Result<bool> {
    let spinner = output.spinner(&Text::new("等待发布", "waiting for the relay"));
    let began = Instant::now();
    let mut published = false;
    while !published && began.elapsed() < PUBLISH_MAX {
        tokio::time::sleep(POLL).await;
        published = kit::relay::oldest_unpublished(ctx).await?.is_none();
    }
    spinner.finish_and_clear();
    Ok(published)
}

async fn say<S: Source>(ctx: &Ctx, source: &S, output: Output) -> kit::Result<u64> {
    let spinner = output.spinner(&Text::new("重新宣布", "saying again"));
    let total = kit::resync::run(ctx, source, |aggregate, steps| {
        spinner.set_message(format!("{aggregate} ×{steps}"));
    })
    .await;
    spinner.finish_and_clear();
    total
}
