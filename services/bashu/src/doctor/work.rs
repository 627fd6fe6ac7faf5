//! Work that waits: stopped partitions, parked records, timers nobody drains, and audit rows that
//! nobody seals.

use chrono::{DateTime, Utc};
use kit::Ctx;
use kit::audit::LAG_SECONDS_MAX;
use sea_orm::FromQueryResult;

use super::{Finding, kafka, unanswered};
use crate::output::Text;
use crate::registry::Known;

/// How late due work may be: a service drains it twice a second, and a failing job waits up to
/// five minutes between attempts by its own plan.
const OVERDUE_SECONDS_MAX: i64 = 60;

pub(super) async fn examine(opened: &[(&'static Known, Ctx)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (known, ctx) in opened {
        findings.extend(kafka::stopped(known.name, ctx).await);
        findings.push(due(known.name, ctx).await);
        findings.push(sealed(known.name, ctx).await);
    }
    findings
}

/// Whether the audit rows are sealed in time.
async fn sealed(service: &'static str, ctx: &Ctx) -> Finding {
    let check = "audit.sealed";
    let oldest = match kit::audit::unsealed_since(&ctx.db, ctx.clock.now()).await {
        Ok(oldest) => oldest,
        Err(error) => return unanswered(check, service, &error),
    };
    let waited = oldest.map_or(0, |at| (ctx.clock.now() - at).num_seconds().max(0));
    if waited <= LAG_SECONDS_MAX {
        let text = Text::new("审计记录已及时封存", "audit rows are sealed in time");
        return Finding::ok(check, service, text);
    }
    Finding::fail(
        check,
        service,
        Text::new(
            format!("最早的未封存审计记录已等待 {waited} 秒，特权操作被拒绝"),
            format!("an audit row waits {waited} s for its seal; privileged acts are refused"),
        ),
        Text::new(
            format!("启动 bashu serve {service}：审计记录由它封存"),
            format!("start bashu serve {service}: it seals audit rows"),
        ),
    )
}

#[derive(FromQueryResult)]
struct Due {
    oldest: Option<DateTime<Utc>>,
    failing: i64,
    last_error: Option<String>,
}

async fn due(service: &'static str, ctx: &Ctx) -> Finding {
    let check = "due.age";
    let asked = ctx
        .db
        .one::<Due>(
            "SELECT min(run_at) FILTER (WHERE claimed_until IS NULL OR claimed_until < $1)
               AS oldest,
               count(*) FILTER (WHERE last_error IS NOT NULL) AS failing,
               (SELECT last_error FROM due WHERE last_error IS NOT NULL
                ORDER BY attempts DESC LIMIT 1) AS last_error
             FROM due",
            [ctx.clock.now().into()],
        )
        .await;
    let due = match asked {
        Ok(Some(due)) => due,
        Ok(None) => Due {
            oldest: None,
            failing: 0,
            last_error: None,
        },
        Err(error) => return unanswered(check, service, &error),
    };
    let late = due
        .oldest
        .map_or(0, |at| (ctx.clock.now() - at).num_seconds().max(0));
    if late > OVERDUE_SECONDS_MAX {
        return Finding::fail(
            check,
            service,
            Text::new(
                format!("最早的待办已晚 {late} 秒"),
                format!("the oldest due work is {late} s late"),
            ),
            Text::new(
                format!("启动 bashu serve {service}：定时任务和对外调用都由它完成"),
                format!("start bashu serve {service}: it runs timers and calls to the outside"),
            ),
        );
    }
    if due.failing > 0 {
        let (count, why) = (due.failing, due.last_error.unwrap_or_default());
        return Finding::warn(
            check,
            service,
            Text::new(
                format!("{count} 项待办失败后等待重试：{why}"),
                format!("{count} pieces of due work failed and wait to be tried again: {why}"),
            ),
            Text::new(
                "多半是外部服务商不可达：核对其地址与密钥，恢复后会自动重试",
                "most often a provider is away: compare its address and keys; it is tried again \
                 by itself",
            ),
        );
    }
    Finding::ok(
        check,
        service,
        Text::new("没有逾期的待办", "no due work is late"),
    )
}
