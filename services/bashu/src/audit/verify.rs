//! Walks the audit chain of each service from its first row and compares it with every head that
//! was published: those that the database remembers, those in the service's topic, and those that
//! somebody kept elsewhere. Only the latter two say anything against who can write the database.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use kit::Ctx;
use kit::audit::chain::Head;
use kit::audit::walk::{Walked, heads, walk};
use kit::graphql::Language;
use prost::{Message, Name};
use proto::v1::AuditHeadSealed;
use serde::Serialize;

use crate::broker::Broker;
use crate::output::{Outcome, Output, Text, table};
use crate::registry;
use crate::stack::Stack;

/// What `bashu audit verify` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// 只核对这些服务 / Only these services
    #[arg(long, value_parser = registry::names())]
    service: Vec<String>,
    /// 不读取主题里的链头：Kafka 不可用时 / Leave the topics unread, where Kafka is away
    #[arg(long)]
    without_topics: bool,
    /// 另行保存的链头（如取自日志），服务:位置:散列 / A head kept elsewhere, from a log say
    #[arg(long, value_name = "SERVICE:POSITION:HASH", value_parser = kept_head)]
    head: Vec<(String, Head)>,
}

/// A head as a person keeps it.
fn kept_head(text: &str) -> Result<(String, Head), String> {
    let wrong = || "服务:位置:散列 / service:position:hash".to_owned();
    let parts: Vec<&str> = text.split(':').collect();
    let [service, position, hash] = parts.as_slice() else {
        return Err(wrong());
    };
    let service = registry::named(service).map_err(|error| error.to_string())?;
    let position = position.parse().map_err(|_| wrong())?;
    let head = Head::kept(position, hash).ok_or_else(wrong)?;
    Ok((service.name.to_owned(), head))
}

/// One service's chain.
#[derive(Debug, Serialize)]
struct Chain {
    service: &'static str,
    /// Rows up to which all is well.
    position: i64,
    /// The hash there, in hexadecimal, in groups of eight.
    hash: String,
    /// Heads that it was compared with.
    heads: usize,
    /// The first place where it is not what it was.
    broken: Option<Broken>,
}

#[derive(Debug, Serialize)]
struct Broken {
    position: i64,
    /// The audit row's id, where one is known.
    row: Option<i64>,
    code: &'static str,
    problem: Text,
}

impl Chain {
    fn of(service: &'static str, walked: Walked, heads: usize) -> Self {
        let broken = walked.broken.map(|broken| Broken {
            position: broken.position,
            row: broken.audit,
            code: broken.fault.code(),
            problem: Text::new(
                broken.fault.message(Language::Zh),
                broken.fault.message(Language::En),
            ),
        });
        Self {
            service,
            position: walked.head.position,
            hash: walked.head.hash_text(),
            heads,
            broken,
        }
    }

    fn row(&self, language: Language) -> Vec<String> {
        let verdict = match &self.broken {
            None => language.choose("完好", "sound").to_owned(),
            Some(broken) => {
                let at = broken.position;
                let row = broken
                    .row
                    .map_or_else(|| "-".to_owned(), |id| id.to_string());
                let problem = broken.problem.choose(language);
                match language {
                    Language::Zh => format!("位置 {at}（记录 {row}）断裂：{problem}"),
                    Language::En => format!("BROKEN at position {at} (row {row}): {problem}"),
                }
            }
        };
        vec![
            self.service.to_owned(),
            self.position.to_string(),
            self.heads.to_string(),
            self.hash.clone(),
            verdict,
        ]
    }
}

/// Walks the chains; exit code 1 when one is broken.
///
/// # Errors
/// When a server is away, or tables are missing.
pub(super) async fn run(args: VerifyArgs, output: Output) -> Result<Outcome> {
    let stack = Stack::load()?;
    let mut chains = Vec::new();
    for known in registry::chosen(&args.service)? {
        let ctx = stack.ctx(known).await?;
        let mut published = heads(&ctx.db).await?;
        if !args.without_topics {
            let topic = in_topic(&stack, &ctx).await;
            published.extend(topic.with_context(|| {
                let topic = ctx.topic();
                format!("heads in {topic}; leave them out by --without-topics")
            })?);
        }
        let kept = args.head.iter().filter(|(name, _)| name == known.name);
        published.extend(kept.map(|(_, head)| *head));
        let spinner = output.spinner(&Text::new("核对审计链", "walking the audit chain"));
        let walked = walk(&ctx.db, &published, |position| {
            spinner.set_message(format!("{} {position}", ctx.service));
        })
        .await;
        spinner.finish_and_clear();
        chains.push(Chain::of(known.name, walked?, published.len()));
    }
    output.show(&chains, |language| human(&chains, language))?;
    Ok(Outcome::well_if(
        chains.iter().all(|chain| chain.broken.is_none()),
    ))
}

/// The heads in the service's topic: those of a week, as long as it keeps records.
async fn in_topic(stack: &Stack, ctx: &Ctx) -> Result<Vec<Head>> {
    let broker = Broker::new(&stack.config)?;
    let (topic, service) = (ctx.topic(), ctx.service);
    broker
        .ask(move |broker| {
            let mut found = BTreeMap::new();
            let mut unread = 0;
            if !broker.names()?.contains(&topic) {
                return Ok(Vec::new());
            }
            let kind = AuditHeadSealed::full_name();
            broker.read_kind(&[topic], &kind, |payload| {
                match AuditHeadSealed::decode(payload) {
                    Ok(said) if said.service == service => {
                        let head = Head::of(said.position, &said.hash);
                        unread += usize::from(head.is_none());
                        // One that says another hash of the same place is a head of its own.
                        found.extend(head.map(|head| ((head.position, head.hash), head)));
                    }
                    Ok(_) | Err(_) => unread += 1,
                }
            })?;
            if unread > 0 {
                return Err(anyhow!("{unread} heads in the topic cannot be read"));
            }
            Ok(found.into_values().collect())
        })
        .await
}

fn human(chains: &[Chain], language: Language) -> String {
    let rows: Vec<Vec<String>> = chains.iter().map(|chain| chain.row(language)).collect();
    let headings = match language {
        Language::Zh => ["服务", "记录数", "已比链头", "链头散列", "结论"],
        Language::En => ["service", "rows", "heads compared", "hash", "verdict"],
    };
    table(&headings, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head that somebody kept is read as it was written down; what is none is refused.
    #[test]
    fn a_kept_head_is_read() {
        let hash = "ab".repeat(32);
        let (service, head) = kept_head(&format!("billing:7:{hash}")).unwrap();
        assert_eq!((service.as_str(), head.position), ("billing", 7));
        assert_eq!(head.hash, [0xab; 32]);
        for wrong in [
            format!("nobody:7:{hash}"),
            format!("billing:x:{hash}"),
            format!("billing:7:{}", &hash[2..]),
            format!("billing:7:{}zz", &hash[2..]),
            format!("billing:7:{hash}:8"),
            hash.clone(),
        ] {
            assert!(kept_head(&wrong).is_err(), "{wrong}");
        }
    }
}
