//! `bashu migrate`: brings the tables of every service up to this program, as the owner role.
//! Migrations only go forward; what was run is never run again.

use anyhow::{Context, Result};
use kit::config::Config;
use kit::migrate::Migration;
use serde::Serialize;

use crate::output::{Outcome, Output, Text, table};
use crate::registry::{self, Known};
use crate::stack::{Operator, Stack};

/// What `bashu migrate` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// 只迁移这些服务（默认全部）/ Only these services (default: all)
    #[arg(value_parser = registry::names())]
    services: Vec<String>,
    /// 只列出尚未执行的迁移，有则退出码 1 / Only list what has not run; exit code 1 if any
    #[arg(long)]
    check: bool,
}

/// What became of one service's tables.
#[derive(Debug, Serialize)]
struct Migrated {
    service: &'static str,
    /// What ran now, or with `--check` would run.
    migrations: Vec<&'static str>,
}

/// Migrates, or says what would be.
///
/// # Errors
/// When a database is away, or a migration fails or was edited after it had run.
pub(crate) async fn run(args: MigrateArgs, output: Output, operator: &Operator) -> Result<Outcome> {
    let stack = Stack::load()?;
    let chosen = registry::chosen(&args.services)?;
    let what = Text::new("迁移", "migrating");
    let bar = output.bar(&what, chosen.len() as u64);
    let mut migrated = Vec::with_capacity(chosen.len());
    for known in chosen {
        bar.set_message(known.name);
        let migrations = if args.check {
            pending(&stack, known).await?
        } else {
            migrate(&stack, known, operator).await?
        };
        migrated.push(Migrated {
            service: known.name,
            migrations,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    output.show(&migrated, |language| {
        let rows: Vec<Vec<String>> = migrated
            .iter()
            .map(|one| {
                let none = language.choose("无", "none");
                let list = one.migrations.join(", ");
                vec![
                    one.service.to_owned(),
                    if list.is_empty() {
                        none.to_owned()
                    } else {
                        list
                    },
                ]
            })
            .collect();
        let done = if args.check {
            language.choose("待执行", "pending")
        } else {
            language.choose("已执行", "ran")
        };
        table(&[language.choose("服务", "service"), done], &rows)
    })?;
    let none_left = migrated.iter().all(|one| one.migrations.is_empty());
    Ok(Outcome::well_if(!args.check || none_left))
}

/// Migrates every database of a union; how many migrations ran.
///
/// # Errors
/// As [`run`].
pub(crate) async fn union(config: &Config) -> Result<usize> {
    let stack = Stack::of(config.clone());
    let operator = Operator("bashu dev".to_owned());
    let mut ran = 0;
    for known in &registry::ALL {
        ran += migrate(&stack, known, &operator).await?.len();
    }
    Ok(ran)
}

async fn migrate(stack: &Stack, known: &Known, operator: &Operator) -> Result<Vec<&'static str>> {
    let ctx = stack.owner(known).await?;
    let all: Vec<Migration> = known.migrations.concat();
    let ran = kit::migrate::run(&ctx.db, &all)
        .await
        .with_context(|| format!("the migrations of {}", known.name))?;
    if !ran.is_empty() {
        let detail = serde_json::json!({ "migrations": ran });
        operator.record(&ctx, "migrate", known.name, detail).await?;
    }
    Ok(ran)
}

async fn pending(stack: &Stack, known: &Known) -> Result<Vec<&'static str>> {
    let ctx = stack.ctx(known).await?;
    let all: Vec<Migration> = known.migrations.concat();
    Ok(kit::migrate::standing(&ctx.db, &all).await?.pending)
}
