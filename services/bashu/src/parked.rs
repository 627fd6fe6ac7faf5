//! `bashu parked`: what consumers could not apply, and partitions that have stopped. Nothing of
//! it leaves by itself: an operator retries after a fix, gives up with a reason, or lets a
//! stopped partition go on with a reason.

use anyhow::{Context, Result, anyhow};
use kit::Ctx;
use kit::consumer::Held;
use kit::parked::{Parked, Retried};
use kit::replica::Replica;
use sea_orm::FromQueryResult;
use serde::Serialize;

use crate::output::{Outcome, Output, Text, table};
use crate::registry;
use crate::stack::{Operator, Stack};

/// The least a reason says, in characters.
const REASON_CHARS_MIN: usize = 4;

/// What `bashu parked` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum ParkedCommand {
    /// 列出搁置的消息和停下的分区 / Parked records and stopped partitions
    List {
        /// 只列出这个服务 / Only this service
        #[arg(long, value_parser = registry::names())]
        service: Option<String>,
    },
    /// 按顺序重新处理一个键上等待的消息 / Apply what waits of a record's key again, in order
    Retry {
        /// 服务 / The service whose consumer parked it
        #[arg(value_parser = registry::names())]
        service: String,
        /// `parked list` 给出的编号 / The number that `parked list` shows
        #[arg(required_unless_present = "all")]
        id: Option<i64>,
        /// 该服务的所有键 / Every key of the service
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// 放弃一条消息并说明原因；其后的仍等待，请再 retry / Give one record up, for a reason
    Discard {
        /// 服务 / The service whose consumer parked it
        #[arg(value_parser = registry::names())]
        service: String,
        /// `parked list` 给出的编号 / The number that `parked list` shows
        id: i64,
        /// 原因，写入审计 / Why; kept in the audit
        #[arg(long, value_parser = reason)]
        reason: String,
    },
    /// 让停下的分区继续；丢失的内容由来源服务 resync 补回 / Let a stopped partition go on
    Release {
        /// 服务 / The service whose consumer stopped
        #[arg(value_parser = registry::names())]
        service: String,
        /// 消费者 / The consumer
        consumer: String,
        /// 主题 / The topic
        topic: String,
        /// 分区 / The partition
        partition: i32,
        /// 原因，写入审计 / Why; kept in the audit
        #[arg(long, value_parser = reason)]
        reason: String,
    },
}

pub(crate) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.chars().count() < REASON_CHARS_MIN {
        return Err("原因太短 / the reason is too short".to_owned());
    }
    Ok(text.to_owned())
}

/// Does what it is told.
///
/// # Errors
/// When there is no such record, or a server is away.
pub(crate) async fn run(
    command: ParkedCommand,
    output: Output,
    operator: &Operator,
) -> Result<Outcome> {
    let stack = Stack::load()?.acting(operator);
    match command {
        ParkedCommand::List { service } => list(&stack, service, output).await,
        ParkedCommand::Retry { service, id, .. } => {
            let ctx = stack.ctx(registry::named(&service)?).await?;
            retry(&stack, &ctx, id, (output, operator)).await
        }
        ParkedCommand::Discard {
            service,
            id,
            reason,
        } => {
            let ctx = stack.ctx(registry::named(&service)?).await?;
            let consumer = consumer_of(&ctx, id).await?;
            kit::parked::discard(&ctx, &consumer, id, &reason).await?;
            let done = serde_json::json!({ "service": ctx.service, "id": id, "discarded": true });
            output.show(&done, |language| {
                language
                    .choose(
                        "已放弃；该键上还有等待的消息时请运行 bashu parked retry",
                        "given up; run bashu parked retry for what still waits of its key",
                    )
                    .to_owned()
            })?;
            Ok(Outcome::Well)
        }
        ParkedCommand::Release {
            service,
            consumer,
            topic,
            partition,
            reason,
        } => {
            let ctx = stack.ctx(registry::named(&service)?).await?;
            let subject = format!("{consumer}/{topic}/{partition}");
            kit::consumer::release(&ctx, &consumer, &topic, partition, &reason)
                .await
                .with_context(|| format!("{subject} of {service} is not stopped"))?;
            let writer = topic.split('.').next().unwrap_or(&topic);
            let next = Text::new(
                format!("分区继续；请运行 bashu resync {writer} 补回可能丢失的内容"),
                format!("it goes on; run bashu resync {writer} for what may have been lost"),
            );
            let done = serde_json::json!({ "released": subject, "next": next });
            output.show(&done, |language| next.choose(language).to_owned())?;
            Ok(Outcome::Well)
        }
    }
}

/// One waiting record, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    service: &'static str,
    id: i64,
    consumer: String,
    topic: String,
    partition: i32,
    offset: i64,
    kind: String,
    /// The aggregate, in hexadecimal.
    key: String,
    version: i64,
    /// Why; absent for what only waits behind an earlier record of its key.
    error: Option<String>,
    parked_at: String,
}

impl Row {
    fn of(service: &'static str, parked: Parked) -> Self {
        Self {
            service,
            id: parked.id,
            consumer: parked.consumer,
            topic: parked.topic,
            partition: parked.part,
            offset: parked.offset,
            kind: parked.kind,
            key: hex::encode(parked.key),
            version: parked.version,
            error: parked.error,
            parked_at: parked.parked_at.to_rfc3339(),
        }
    }
}

/// One stopped partition, as it is shown.
#[derive(Debug, Serialize)]
struct Stopped {
    service: &'static str,
    consumer: String,
    topic: String,
    partition: i32,
    /// `gap`, `epoch`, `log`, `broken` or `circuit`, then a sentence.
    held: String,
    held_offset: Option<i64>,
}

impl Stopped {
    fn of(service: &'static str, held: Held) -> Self {
        Self {
            service,
            consumer: held.consumer,
            topic: held.topic,
            partition: held.part,
            held: held.held,
            held_offset: held.held_offset,
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct Waiting {
    parked: Vec<Row>,
    stopped: Vec<Stopped>,
}

async fn list(stack: &Stack, service: Option<String>, output: Output) -> Result<Outcome> {
    let names: Vec<String> = service.into_iter().collect();
    let mut waiting = Waiting::default();
    for known in registry::chosen(&names)? {
        let ctx = stack.ctx(known).await?;
        let parked = kit::parked::list(&ctx.db, None).await?;
        waiting
            .parked
            .extend(parked.into_iter().map(|one| Row::of(known.name, one)));
        let held = kit::consumer::held(&ctx.db).await?;
        waiting
            .stopped
            .extend(held.into_iter().map(|one| Stopped::of(known.name, one)));
    }
    output.show(&waiting, |language| {
        if waiting.parked.is_empty() && waiting.stopped.is_empty() {
            return language
                .choose("没有搁置的消息", "nothing is parked")
                .to_owned();
        }
        let behind = language.choose("（排在同一键的消息之后）", "(behind its key)");
        let parked: Vec<Vec<String>> = waiting
            .parked
            .iter()
            .map(|row| {
                vec![
                    row.service.to_owned(),
                    row.id.to_string(),
                    row.consumer.clone(),
                    row.kind.clone(),
                    row.key.clone(),
                    row.error.clone().unwrap_or_else(|| behind.to_owned()),
                ]
            })
            .collect();
        let mut out = table(
            &["service", "id", "consumer", "type", "key", "error"],
            &parked,
        );
        if !waiting.stopped.is_empty() {
            let stopped: Vec<Vec<String>> = waiting
                .stopped
                .iter()
                .map(|row| {
                    vec![
                        row.service.to_owned(),
                        row.consumer.clone(),
                        row.topic.clone(),
                        row.partition.to_string(),
                        row.held.clone(),
                    ]
                })
                .collect();
            out.push('\n');
            out.push_str(&table(
                &["service", "consumer", "topic", "partition", "stopped"],
                &stopped,
            ));
        }
        out
    })?;
    Ok(Outcome::Well)
}

#[derive(FromQueryResult)]
struct Consumer {
    consumer: String,
}

async fn consumer_of(ctx: &Ctx, id: i64) -> Result<String> {
    let row: Option<Consumer> = ctx
        .db
        .one(
            "SELECT consumer FROM parked WHERE id = $1 AND state = 'waiting'",
            [id.into()],
        )
        .await?;
    row.map(|row| row.consumer).ok_or_else(|| {
        anyhow!(
            "no record {id} waits in {}: see bashu parked list",
            ctx.service
        )
    })
}

/// What a retry came to, as it is shown.
#[derive(Debug, Serialize)]
struct Tried {
    service: &'static str,
    consumer: String,
    id: i64,
    applied: usize,
    /// Why it stopped; absent when the key flows again.
    error: Option<String>,
}

async fn retry(
    stack: &Stack,
    ctx: &Ctx,
    id: Option<i64>,
    (output, operator): (Output, &Operator),
) -> Result<Outcome> {
    let ids = match id {
        Some(id) => vec![id],
        None => first_of_each_key(ctx).await?,
    };
    let bar = output.bar(&Text::new("重试", "retrying"), ids.len() as u64);
    let mut tried = Vec::with_capacity(ids.len());
    for id in ids {
        let consumer = consumer_of(ctx, id).await?;
        let subject = format!("{consumer}/{id}");
        operator
            .record_begin(ctx, "run_parked_retry", &subject)
            .await?;
        let Retried { applied, error } = retry_one(stack, ctx, &consumer, id).await?;
        tried.push(Tried {
            service: ctx.service,
            consumer,
            id,
            applied,
            error,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    output.show(&tried, |language| {
        if tried.is_empty() {
            return language
                .choose("没有搁置的消息", "nothing is parked")
                .to_owned();
        }
        let flows = language.choose("该键恢复正常", "its key flows again");
        let rows: Vec<Vec<String>> = tried
            .iter()
            .map(|one| {
                let then = one.error.clone().unwrap_or_else(|| flows.to_owned());
                vec![one.id.to_string(), one.applied.to_string(), then]
            })
            .collect();
        table(&["id", language.choose("已处理", "applied"), ""], &rows)
    })?;
    Ok(Outcome::well_if(
        tried.iter().all(|one| one.error.is_none()),
    ))
}

async fn first_of_each_key(ctx: &Ctx) -> Result<Vec<i64>> {
    let mut seen = std::collections::HashSet::new();
    let waiting = kit::parked::list(&ctx.db, None).await?;
    let first =
        |one: &Parked| seen.insert((one.consumer.clone(), one.topic.clone(), one.key.clone()));
    Ok(waiting
        .into_iter()
        .filter(first)
        .map(|one| one.id)
        .collect())
}

/// Applies what waits with the handler that could not.
async fn retry_one(stack: &Stack, ctx: &Ctx, consumer: &str, id: i64) -> Result<Retried> {
    let union = ctx.union;
    if consumer == "replica" {
        let replica = Replica::new(crate::serve::roots(&stack.config)?);
        return Ok(kit::parked::retry(ctx, &replica, id).await?);
    }
    if consumer == kit::person::CONSUMER {
        return Ok(retry_about_person(ctx, id).await?);
    }
    let retried = match ctx.service {
        identity::NAME if consumer == identity::consumers::persons::CONSUMER => {
            let settings: identity::Settings = stack.config.section(identity::NAME)?;
            let vault = settings.vault()?;
            kit::parked::retry(ctx, &identity::consumers::persons::Persons { vault }, id).await
        }
        identity::NAME if consumer == identity::consumers::notices::CONSUMER => {
            kit::parked::retry(ctx, &identity::consumers::notices::Notices, id).await
        }
        identity::NAME if consumer == identity::consumers::renders::CONSUMER => {
            kit::parked::retry(ctx, &identity::consumers::renders::Renders, id).await
        }
        identity::NAME => kit::parked::retry(ctx, &identity::consumers::Entitlements, id).await,
        passes::NAME => kit::parked::retry(ctx, &passes::consumers::Follower { union }, id).await,
        billing::NAME => kit::parked::retry(ctx, &billing::consumers::Sellers { union }, id).await,
        _ => kit::parked::retry(ctx, &admission::Grants::new(union), id).await,
    };
    retried.with_context(|| format!("{} has no consumer {consumer}", ctx.service))
}

/// The same for what identity asks every other service about persons.
async fn retry_about_person(ctx: &Ctx, id: i64) -> kit::Result<Retried> {
    match ctx.service {
        passes::NAME => {
            let persons = passes::consumers::person::persons(ctx.union);
            kit::parked::retry(ctx, &persons, id).await
        }
        billing::NAME => kit::parked::retry(ctx, &billing::consumers::person::PERSONS, id).await,
        _ => kit::parked::retry(ctx, &admission::consumers::person::PERSONS, id).await,
    }
}
