//! `bashu verify`: what must hold after everything that happened, over the databases of one or
//! both unions: the invariants of the chassis and of each service, and what no single database
//! can say of itself. It reads and changes nothing.
//!
//! Databases are read one after the other while the services go on, so what one says can be
//! newer than what another has heard: a violation counts only when it is seen in every look
//! until the time to settle is over.

mod between;
mod canary;
mod cross;
mod delivery;
mod stream;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kit::Ctx;
use kit::config::Config;
use kit::graphql::Language;
use kit::verify::{CHASSIS, Invariant};
use serde::Serialize;

use crate::output::{Outcome, Output, Text, table};
use crate::registry;
use crate::stack::Stack;

/// Violations shown of one promise, at most.
const VIOLATIONS_MAX: usize = 20;
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long events may take to arrive everywhere, in seconds, unless the operator says.
const SETTLE_SECONDS: u64 = 10;

/// What `bashu verify` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// 一个或两个联合会的配置文件，此时不读取 BASHU_* 变量（默认 BASHU_CONFIG）/ One or two unions,
    /// whose files then say all: no variable BASHU_* is read (default: BASHU_CONFIG, with them)
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// 等待事件送达的秒数 / How long events may take to arrive everywhere, in seconds
    #[arg(long, default_value_t = SETTLE_SECONDS)]
    settle: u64,
    /// 审计链从第一条记录起核对（默认只核对最近公布的链头之后）/ The audit chains from their first rows
    /// on (default: what is behind the last head that was published)
    #[arg(long)]
    whole: bool,
    /// 在所有数据库和主题里寻找这段不该出现的文字 / A text that must be nowhere
    #[arg(long, value_name = "TEXT")]
    canary: Vec<String>,
    /// 也在这些日志里寻找 / Logs to look for it in as well
    #[arg(long, value_name = "FILE", requires = "canary")]
    log: Vec<PathBuf>,
}

/// One union's databases.
pub(crate) struct Side {
    stack: Stack,
    /// In the order of the registry.
    databases: Vec<Ctx>,
    /// Whether the audit chains are hashed from their first rows on.
    whole: bool,
}

impl Side {
    async fn open(stack: Stack, whole: bool) -> Result<Self> {
        let mut databases = Vec::with_capacity(registry::ALL.len());
        for known in &registry::ALL {
            databases.push(stack.ctx(known).await?);
        }
        Ok(Self {
            stack,
            databases,
            whole,
        })
    }

    /// # Errors
    /// When no database is called so: a check names a service that is not there.
    fn database(&self, service: &str) -> Result<&Ctx> {
        named(&self.databases, service)
    }

    fn union(&self) -> u8 {
        self.stack.config.union.code()
    }
}

/// The database of this service.
///
/// # Errors
/// When there is none.
fn named<'a>(databases: &'a [Ctx], service: &str) -> Result<&'a Ctx> {
    databases
        .iter()
        .find(|ctx| ctx.service == service)
        .with_context(|| format!("no database is called {service}"))
}

/// What breaks a promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    pub subject: String,
    pub problem: String,
}

/// What is broken in the databases of one union at this instant, by the promise's id: for a world
/// in which everything has arrived, such as the simulation's.
///
/// # Errors
/// When a database fails.
pub async fn broken(databases: &[Ctx]) -> Result<Vec<(String, Violation)>> {
    let mut broken = Vec::new();
    for (known, ctx) in registry::ALL.iter().zip(databases) {
        for one in CHASSIS.iter().chain(known.invariants) {
            let found = kit::verify::check_whole(&ctx.db, one)
                .await
                .context(one.id)?;
            let ours = |it: kit::verify::Violation| (one.id.to_owned(), ours(it));
            broken.extend(found.into_iter().map(ours));
        }
    }
    for cross in cross::all() {
        let found = cross.look(databases).await.context(cross.id.clone())?;
        broken.extend(found.into_iter().map(|it| (cross.id.clone(), it)));
    }
    let late = delivery::look(databases).await?;
    broken.extend(late.into_iter().map(|it| (delivery::ID.to_owned(), it)));
    Ok(broken)
}

fn ours(one: kit::verify::Violation) -> Violation {
    Violation {
        subject: one.subject,
        problem: one.problem,
    }
}

/// One promise over one union, or between both.
enum Promise<'a> {
    /// Of one database.
    Within(&'a Side, &'a Ctx, &'static Invariant),
    /// Of two databases of one union.
    Across(&'a Side, cross::Cross),
    /// Every event reached every consumer.
    Delivered(&'a Side),
    /// Of the same service in both unions.
    Between(&'a Side, &'a Side, &'static between::Between),
}

impl Promise<'_> {
    fn id(&self) -> String {
        match self {
            Self::Within(_, _, invariant) => invariant.id.to_owned(),
            Self::Across(_, cross) => cross.id.clone(),
            Self::Delivered(_) => delivery::ID.to_owned(),
            Self::Between(_, _, between) => between.id.to_owned(),
        }
    }

    fn text(&self) -> Text {
        match self {
            Self::Within(_, _, invariant) => Text::new(invariant.zh, invariant.en),
            Self::Across(_, cross) => cross.text.clone(),
            Self::Delivered(_) => delivery::text(),
            Self::Between(_, _, between) => Text::new(between.zh, between.en),
        }
    }

    /// The union and the database it is about.
    fn place(&self) -> String {
        match self {
            Self::Within(side, ctx, _) => format!("{}/{}", side.union(), ctx.service),
            Self::Across(side, _) | Self::Delivered(side) => side.union().to_string(),
            Self::Between(one, other, _) => format!("{}+{}", one.union(), other.union()),
        }
    }

    async fn look(&self) -> Result<Vec<Violation>> {
        match self {
            Self::Within(side, ctx, invariant) => {
                let found = if side.whole {
                    kit::verify::check_whole(&ctx.db, invariant).await?
                } else {
                    kit::verify::check(&ctx.db, invariant).await?
                };
                Ok(found.into_iter().map(ours).collect())
            }
            Self::Across(side, cross) => cross.look(&side.databases).await,
            Self::Delivered(side) => delivery::look(&side.databases).await,
            Self::Between(one, other, between) => between.look(one, other).await,
        }
    }
}

/// What became of one promise.
#[derive(Debug, Serialize)]
struct Checked {
    id: String,
    place: String,
    promise: Text,
    violations: Vec<Violation>,
}

#[derive(Debug, Serialize)]
struct Report {
    unions: Vec<u8>,
    /// Whether the audit chains were hashed from their first rows on.
    whole: bool,
    checked: usize,
    /// Promises that are broken.
    broken: Vec<Checked>,
    /// How often the canary's bytes were read past, when one was given.
    scanned: Option<canary::Scanned>,
}

/// Looks at everything; exit code 1 when a promise is broken.
///
/// # Errors
/// When a server is away, or tables are missing.
pub(crate) async fn run(args: VerifyArgs, output: Output) -> Result<Outcome> {
    let sides = open(stacks(&args.config)?, args.whole).await?;
    let promises = promises(&sides);
    let checked = promises.len();
    let mut broken = settle(&promises, Duration::from_secs(args.settle), output).await?;
    let mut scanned = None;
    if !args.canary.is_empty() {
        let (found, count) = canary::scan(&sides, &args.canary, &args.log, output).await?;
        broken.extend(found);
        scanned = Some(count);
    }
    let report = Report {
        unions: sides.iter().map(Side::union).collect(),
        whole: args.whole,
        checked,
        broken,
        scanned,
    };
    output.show(&report, |language| human(&report, language))?;
    Ok(Outcome::well_if(report.broken.is_empty()))
}

/// Looks at unions while they run, as `bashu verify` without a canary does: what it would say to a
/// person, and whether all is well.
///
/// # Errors
/// When a server is away, or tables are missing.
pub(crate) async fn running(files: &[PathBuf], output: Output) -> Result<(String, Outcome)> {
    let sides = open(stacks(files)?, false).await?;
    let promises = promises(&sides);
    let report = Report {
        unions: sides.iter().map(Side::union).collect(),
        whole: false,
        checked: promises.len(),
        broken: settle(&promises, Duration::from_secs(SETTLE_SECONDS), output).await?,
        scanned: None,
    };
    let outcome = Outcome::well_if(report.broken.is_empty());
    Ok((human(&report, output.language()), outcome))
}

async fn open(stacks: Vec<Stack>, whole: bool) -> Result<Vec<Side>> {
    let mut sides = Vec::with_capacity(stacks.len());
    for stack in stacks {
        sides.push(Side::open(stack, whole).await?);
    }
    Ok(sides)
}

fn stacks(files: &[PathBuf]) -> Result<Vec<Stack>> {
    if files.is_empty() {
        return Ok(vec![Stack::load()?]);
    }
    let mut stacks = Vec::with_capacity(files.len());
    let mut unions = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        // The environment is of one union; a file stands for itself.
        let config = Config::from(Some(&text), []).with_context(|| {
            let file = file.display();
            format!("{file}, read without variables BASHU_* (they would be meant for which union?)")
        })?;
        if !unions.insert(config.union) {
            bail!("two configurations are of union {}", config.union);
        }
        stacks.push(Stack::of(config));
    }
    Ok(stacks)
}

fn promises(sides: &[Side]) -> Vec<Promise<'_>> {
    let mut promises = Vec::new();
    for side in sides {
        for (known, ctx) in registry::ALL.iter().zip(&side.databases) {
            let all = CHASSIS.iter().chain(known.invariants);
            promises.extend(all.map(|one| Promise::Within(side, ctx, one)));
        }
        promises.extend(
            cross::all()
                .into_iter()
                .map(|one| Promise::Across(side, one)),
        );
        promises.push(Promise::Delivered(side));
    }
    if let [one, other] = sides {
        promises.extend(
            between::ALL
                .iter()
                .map(|it| Promise::Between(one, other, it)),
        );
    }
    promises
}

/// Looks until nothing is broken or the time is over; what was broken in every look.
async fn settle(promises: &[Promise<'_>], time: Duration, output: Output) -> Result<Vec<Checked>> {
    let deadline = Instant::now() + time;
    let bar = output.bar(&Text::new("核对", "verifying"), promises.len() as u64);
    let mut open: Vec<(&Promise<'_>, Vec<Violation>)> = Vec::new();
    for promise in promises {
        bar.set_message(promise.id());
        let found = look(promise).await?;
        if !found.is_empty() {
            open.push((promise, found));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let spinner = output.spinner(&Text::new("等待事件送达", "waiting for events to arrive"));
    while !open.is_empty() && Instant::now() < deadline {
        spinner.set_message(open.len().to_string());
        tokio::time::sleep(LOOK_AGAIN).await;
        let mut still = Vec::new();
        for (promise, before) in open {
            let seen = still_broken(before, look(promise).await?);
            if !seen.is_empty() {
                still.push((promise, seen));
            }
        }
        open = still;
    }
    spinner.finish_and_clear();
    Ok(open
        .into_iter()
        .map(|(promise, violations)| Checked {
            id: promise.id(),
            place: promise.place(),
            promise: promise.text(),
            violations,
        })
        .collect())
}

async fn look(promise: &Promise<'_>) -> Result<Vec<Violation>> {
    promise
        .look()
        .await
        .with_context(|| format!("{} in {}", promise.id(), promise.place()))
}

/// What both looks saw. When a look stopped at its limit the other may have seen others of the
/// same kind, so the later one stands as it is.
fn still_broken(before: Vec<Violation>, now: Vec<Violation>) -> Vec<Violation> {
    if before.len() >= VIOLATIONS_MAX && now.len() >= VIOLATIONS_MAX {
        return now;
    }
    let before: BTreeSet<Violation> = before.into_iter().collect();
    now.into_iter().filter(|one| before.contains(one)).collect()
}

fn human(report: &Report, language: Language) -> String {
    let unions: Vec<String> = report.unions.iter().map(u8::to_string).collect();
    let unions = unions.join(", ");
    let (checked, broken) = (report.checked, report.broken.len());
    let mut out = String::new();
    for one in &report.broken {
        let promise = one.promise.choose(language);
        out.push_str(&format!("BROKEN  {} [{}]  {promise}\n", one.id, one.place));
        let rows: Vec<Vec<String>> = one
            .violations
            .iter()
            .map(|violation| vec![violation.subject.clone(), violation.problem.clone()])
            .collect();
        let headings = [
            language.choose("对象", "subject"),
            language.choose("问题", "problem"),
        ];
        for line in table(&headings, &rows).lines() {
            out.push_str(&format!("    {line}\n"));
        }
    }
    if let Some(scanned) = &report.scanned {
        out.push_str(&scanned.line(language));
    }
    if !report.whole {
        out.push_str(language.choose(
            "审计链只核对了最近公布的链头之后；之前的记录用 --whole 核对\n",
            "audit chains were hashed behind their last heads only: --whole does the rest\n",
        ));
    }
    out.push_str(&match language {
        Language::Zh => format!("联合会 {unions}：核对 {checked} 项，{broken} 项不成立"),
        Language::En => format!("union {unions}: {checked} promises checked, {broken} broken"),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(subject: &str) -> Violation {
        Violation {
            subject: subject.to_owned(),
            problem: "late".to_owned(),
        }
    }

    /// What one look saw and the next did not was on its way; what both saw is broken.
    #[test]
    fn what_arrives_late_is_not_broken() {
        let seen = still_broken(
            vec![violation("a"), violation("b")],
            vec![violation("b"), violation("c")],
        );
        assert_eq!(seen, vec![violation("b")]);
    }

    /// Two looks that both stopped at their limit prove that something is broken.
    #[test]
    fn a_look_that_stopped_at_its_limit_still_counts() {
        let many = |from: usize| -> Vec<Violation> {
            (from..from + VIOLATIONS_MAX)
                .map(|n| violation(&n.to_string()))
                .collect()
        };
        assert_eq!(still_broken(many(0), many(100)).len(), VIOLATIONS_MAX);
    }
}
