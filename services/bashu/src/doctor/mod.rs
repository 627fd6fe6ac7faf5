//! `bashu doctor`: looks at everything a union's stack stands on and says of each what it found
//! and what to do. It changes nothing: it makes no topic, runs no migration, releases nothing.

mod configuration;
mod finding;
mod gateway;
mod kafka;
mod keys;
mod machine;
mod offices;
mod postgres;
mod redis;
mod vault;
mod work;

use anyhow::Result;
use kit::Ctx;
use kit::graphql::Language;
use serde::Serialize;

use finding::chain;
pub(crate) use finding::{Finding, Severity};

use crate::output::{Outcome, Output, Text};
use crate::registry::{self, Known};
use crate::stack::Stack;

/// What `bashu doctor` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// 网关地址，检查其防护 / The gateway's address, to try its protections
    #[arg(long, value_name = "HOST:PORT")]
    gateway: Option<String>,
    /// 只显示有问题的 / Only what is not well
    #[arg(long)]
    problems: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    union: Option<u8>,
    worst: Severity,
    findings: Vec<Finding>,
}

/// Looks at everything; exit code 1 when anything fails.
///
/// # Errors
/// When the report cannot be written: all else is a finding.
pub(crate) async fn run(args: DoctorArgs, output: Output) -> Result<Outcome> {
    let (union, mut findings) = match Stack::load() {
        Ok(stack) => {
            let union = stack.config.union.code();
            (
                Some(union),
                examine(&stack, args.gateway.as_deref(), output).await,
            )
        }
        Err(error) => (None, vec![configuration::refused(&error)]),
    };
    let worst = findings
        .iter()
        .map(|one| one.severity)
        .max()
        .unwrap_or(Severity::Ok);
    if args.problems {
        findings.retain(|one| one.severity != Severity::Ok);
    }
    let report = Report {
        union,
        worst,
        findings,
    };
    output.show(&report, |language| human(&report, language))?;
    Ok(Outcome::well_if(worst != Severity::Fail))
}

async fn examine(stack: &Stack, gateway: Option<&str>, output: Output) -> Vec<Finding> {
    let spinner = output.spinner(&Text::new("检查", "looking"));
    let look = |what: &'static str| spinner.set_message(what);
    look("configuration");
    let mut findings = configuration::examine(&stack.config);
    look("PostgreSQL");
    let mut opened: Vec<(&'static Known, Ctx)> = Vec::new();
    // Side by side: a server that is away is waited for once.
    let examined = registry::ALL
        .iter()
        .map(async |known| (known, postgres::examine(stack, known).await));
    for (known, (found, ctx)) in futures::future::join_all(examined).await {
        findings.extend(found);
        opened.extend(ctx.map(|ctx| (known, ctx)));
    }
    look("Redis");
    findings.extend(redis::examine(&stack.config).await);
    look("Kafka");
    findings.extend(kafka::examine(stack, &opened).await);
    look("keys");
    findings.extend(keys::examine(&stack.config, &opened).await);
    findings.extend(offices::examine(&stack.config, &opened).await);
    look("vault");
    findings.extend(vault::examine(&stack.config, &opened).await);
    look("work");
    findings.extend(work::examine(&opened).await);
    look("machine");
    findings.extend(machine::examine(&stack.config).await);
    if let Some(address) = gateway {
        look("gateway");
        findings.extend(gateway::examine(address, stack.config.mode).await);
    }
    spinner.finish_and_clear();
    findings
}

fn human(report: &Report, language: Language) -> String {
    let mut out = String::new();
    for one in &report.findings {
        let mark = match one.severity {
            Severity::Ok => "ok  ",
            Severity::Warn => "warn",
            Severity::Fail => "FAIL",
        };
        let subject = if one.subject.is_empty() {
            String::new()
        } else {
            format!(" [{}]", one.subject)
        };
        let found = one.found.choose(language);
        out.push_str(&format!("{mark}  {}{subject}  {found}\n", one.check));
        if let Some(to_do) = &one.to_do {
            out.push_str(&format!("      → {}\n", to_do.choose(language)));
        }
    }
    let count = |severity| {
        report
            .findings
            .iter()
            .filter(|one| one.severity == severity)
            .count()
    };
    let (warned, failed) = (count(Severity::Warn), count(Severity::Fail));
    out.push_str(&match language {
        Language::Zh => format!("\n失败 {failed} 项，警告 {warned} 项"),
        Language::En => format!("\n{failed} failed, {warned} warned"),
    });
    out
}

/// A finding for a question that the database did not answer.
fn unanswered(check: &'static str, service: &str, error: &kit::Error) -> Finding {
    let why = chain(error);
    Finding::fail(
        check,
        service,
        Text::new(
            format!("数据库没有回答：{why}"),
            format!("the database does not answer: {why}"),
        ),
        Text::new(
            "确认 PostgreSQL 在运行、迁移已执行（bashu migrate），再试一次",
            "see that PostgreSQL runs and the migrations have run (bashu migrate), then try again",
        ),
    )
}
