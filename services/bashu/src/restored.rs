//! `bashu restored`: opens a new epoch for the topics of a union whose databases or topics went
//! back in time. It changes how everything after it is counted, so it explains itself and asks
//! for `--yes`.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::output::{Outcome, Output, Text, table};
use crate::registry;
use crate::stack::{Operator, Stack};

/// What `bashu restored` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RestoredArgs {
    /// 只处理这些服务（默认全部）/ Only these services (default: all)
    #[arg(value_parser = registry::names())]
    services: Vec<String>,
    /// 确认执行 / Do it
    #[arg(long)]
    yes: bool,
}

const EXPLAINED_ZH: &str = "\
数据库被恢复到更早的时刻，或主题被清空之后，中继会拒绝发布，因为主题里的记录与数据库对不上。
本命令为每个服务的主题开启新的纪元（epoch）：之后的记录重新编号，消费者从新纪元的公告处继续。
丢失部分的内容不会自己回来，所以顺序是：

  1. 停止这些服务（bashu serve）；一个联合会的数据库要一起恢复到同一时刻
  2. bashu restored --yes
  3. 启动服务，等 bashu doctor 显示中继正常
  4. bashu resync identity，然后 passes、billing、admission：重新宣布所有当前状态
  5. bashu verify

审计链：本命令封存恢复后所余的审计记录，链从那里接续。丢失的审计记录不会回来，它们的链头在主题里还留一周，其间
bashu audit verify 会报告链被截去（CUT_SHORT）或与已公布的链头不符（HEAD_DIFFERS），并说明何时恢复过。

确认无误后加上 --yes 再运行。";

const EXPLAINED_EN: &str = "\
After the databases were restored to an earlier instant, or a topic was wiped, the relay refuses
to publish, because the records of the topic and the database do not explain each other. This
command opens a new epoch for each service's topic: records after it are numbered anew, and
consumers go on where the new epoch is announced. What was lost does not come back by itself, so:

  1. stop the services (bashu serve); all databases of a union are restored to one instant
  2. bashu restored --yes
  3. start the services, wait until bashu doctor shows the relays well
  4. bashu resync identity, then passes, billing, admission: says all current state again
  5. bashu verify

Of the audit chain it seals what was left, and the chain goes on from there. Audit rows that were
lost do not come back, and their heads stay in the topic for a week: for so long bashu audit verify
says that the chain was cut (CUT_SHORT) or is not what was published (HEAD_DIFFERS), and when it
was restored.

Run it again with --yes when you are sure.";

#[derive(Debug, Serialize)]
struct Restored {
    service: &'static str,
    epoch: i64,
}

/// Explains, or opens a new epoch of each topic.
///
/// # Errors
/// When a service still runs, or a server is away. What was opened before stays open.
pub(crate) async fn run(
    args: RestoredArgs,
    output: Output,
    operator: &Operator,
) -> Result<Outcome> {
    if !args.yes {
        let explained = Text::new(EXPLAINED_ZH, EXPLAINED_EN);
        output.show(
            &serde_json::json!({ "done": false, "explanation": explained }),
            |language| explained.choose(language).to_owned(),
        )?;
        return Ok(Outcome::Unwell);
    }
    let stack = Stack::load()?.acting(operator);
    let bus = stack.bus();
    let mut opened = Vec::new();
    for known in registry::chosen(&args.services)? {
        let ctx = stack.ctx(known).await?;
        let epoch = kit::relay::restored(&ctx, &bus)
            .await
            .with_context(|| format!("the topic of {}", known.name))?;
        opened.push(Restored {
            service: known.name,
            epoch,
        });
    }
    output.show(&opened, |language| {
        let rows: Vec<Vec<String>> = opened
            .iter()
            .map(|one| vec![one.service.to_owned(), one.epoch.to_string()])
            .collect();
        let headings = [
            language.choose("服务", "service"),
            language.choose("新纪元", "new epoch"),
        ];
        let next = language.choose(
            "下一步：启动服务，然后 bashu resync identity、passes、billing、admission",
            "next: start the services, then bashu resync identity, passes, billing, admission",
        );
        format!("{}\n{next}", table(&headings, &rows))
    })?;
    Ok(Outcome::Well)
}
