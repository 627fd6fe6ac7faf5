//! Walks the audit chain of each service and compares it with every head that was published: those
//! that the database remembers, those in the service's topic, and those that somebody kept
//! elsewhere. Only the latter two, which others witnessed, say anything against who can write the
//! database.
//!
//! It begins at the last head that was witnessed and says so; `--whole` begins at the first row.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use chrono::{SecondsFormat, TimeDelta};
use kit::Ctx;
use kit::audit::chain::Head;
use kit::audit::walk::{Fault, Restored, Walked, heads, restored, walk, walk_since};
use kit::graphql::Language;
use prost::{Message, Name};
use proto::v1::AuditHeadSealed;
use serde::Serialize;

use crate::broker::Broker;
use crate::output::{Outcome, Output, Text, table};
use crate::registry;
use crate::stack::Stack;

/// For how long a restore explains heads of what it lost: as long as the topic keeps them.
const EXPLAINED: TimeDelta = TimeDelta::days(7);

/// What `bashu audit verify` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// 只核对这些服务 / Only these services
    #[arg(long, value_parser = registry::names())]
    service: Vec<String>,
    /// 从第一条记录起逐条核对（默认从最近一个有旁证的链头起）/ From the first row on (default: since
    /// the last head that others witnessed)
    #[arg(long)]
    whole: bool,
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
    /// Rows at the beginning whose hashes nobody looked at this time.
    unseen: i64,
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
    /// What it may come from other than from somebody's hand, and what was done about that.
    explanation: Option<Text>,
}

impl Chain {
    fn of(
        service: &'static str,
        (walked, restored): (Walked, Option<Restored>),
        heads: usize,
    ) -> Self {
        let broken = walked.broken.map(|broken| Broken {
            explanation: explanation(broken.fault, restored),
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
            unseen: walked.unseen,
            position: walked.head.position,
            hash: walked.head.hash_text(),
            heads,
            broken,
        }
    }

    fn row(&self, language: Language) -> Vec<String> {
        let verdict = match &self.broken {
            None => self.sound(language),
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

    fn sound(&self, language: Language) -> String {
        let unseen = self.unseen;
        if unseen == 0 {
            return language.choose("完好", "sound").to_owned();
        }
        match language {
            Language::Zh => format!("其后完好；前 {unseen} 条未核对，--whole 可核对全部"),
            Language::En => {
                format!("sound since; the first {unseen} were not looked at, --whole does")
            }
        }
    }
}

/// Why a chain may be another than the heads that were published say, where its database was
/// restored to an earlier instant: that is no less true, and not somebody's hand.
fn explanation(fault: Fault, restored: Option<Restored>) -> Option<Text> {
    match fault {
        Fault::CutShort | Fault::HeadDiffers => {}
        Fault::SealMissing | Fault::RowMissing | Fault::HashDiffers | Fault::Unsealed => {
            return None;
        }
    }
    let Some(Restored { at, position }) = restored else {
        return Some(Text::new(
            "若数据库被恢复到更早的时刻，丢失部分的链头仍在主题里，请运行 bashu restored；若未恢复过，\
             则有人截去或改写了审计记录",
            "if the database was restored to an earlier instant, the heads of what was lost are \
             in the topic still: run bashu restored; if it was not, somebody cut or rewrote the \
             record",
        ));
    };
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let place = position.map_or_else(|| "?".to_owned(), |position| position.to_string());
    Some(Text::new(
        format!(
            "本库于 {at} 恢复过。bashu restored 已封存恢复后所余的记录，链自位置 {place} 接续，此后照常封存并\
             公布；恢复时刻之后丢失的审计记录不会回来，其链头留在主题里至多一周，其间本命令一直报告此处。请用恢复时刻\
             之前另存的链头（--head）和 --without-topics 核对其余部分；在此之外的不符仍是有人改写"
        ),
        format!(
            "this database was restored at {at}. bashu restored has sealed what was left, and the \
             chain goes on at position {place}, sealed and published as ever; the audit rows that \
             were lost do not come back, and their heads stay in the topic for a week, for so long \
             as this is said. Check the rest by --without-topics and a head kept from before that \
             instant (--head): what differs there is somebody's hand"
        ),
    ))
}

/// Walks the chains; exit code 1 when one is broken, in what was looked at.
///
/// # Errors
/// When a server is away, or tables are missing.
pub(super) async fn run(args: VerifyArgs, output: Output) -> Result<Outcome> {
    let stack = Stack::load()?;
    let mut chains = Vec::new();
    for known in registry::chosen(&args.service)? {
        let ctx = stack.ctx(known).await?;
        let remembered = heads(&ctx.db).await?;
        let mut witnessed = Vec::new();
        if !args.without_topics {
            let topic = in_topic(&stack, &ctx).await;
            witnessed.extend(topic.with_context(|| {
                let topic = ctx.topic();
                format!("heads in {topic}; leave them out by --without-topics")
            })?);
        }
        let kept = args.head.iter().filter(|(name, _)| name == known.name);
        witnessed.extend(kept.map(|(_, head)| *head));
        let spinner = output.spinner(&Text::new("核对审计链", "walking the audit chain"));
        let progress = |position: i64| spinner.set_message(format!("{} {position}", ctx.service));
        let count = remembered.len() + witnessed.len();
        let walked = if args.whole {
            let all = [remembered, witnessed].concat();
            walk(&ctx.db, &all, progress).await
        } else {
            walk_since(&ctx.db, (&witnessed[..], &remembered[..]), progress).await
        };
        spinner.finish_and_clear();
        let recent = restored(&ctx.db)
            .await?
            .filter(|it| ctx.clock.now() - it.at <= EXPLAINED);
        let found = (walked?, recent);
        chains.push(Chain::of(known.name, found, count));
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
    let mut told = table(&headings, &rows);
    for chain in chains {
        let broken = chain.broken.as_ref();
        if let Some(why) = broken.and_then(|broken| broken.explanation.as_ref()) {
            let line = format!("\n{}: {}", chain.service, why.choose(language));
            told.push_str(&line);
        }
    }
    told
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
