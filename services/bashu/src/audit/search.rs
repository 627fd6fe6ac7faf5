//! Finds audit rows by who acted, what was done, to what and when, over all services. Who looks is
//! on record first: a row in each service that was looked into.

use anyhow::Result;
use chrono::{DateTime, NaiveDate, Utc};
use kit::audit::search::{Found, ROWS_MAX, Wanted, search};
use kit::graphql::{GlobalId, Language};
use kit::types::day_start;
use serde::Serialize;
use uuid::Uuid;

use crate::output::{Outcome, Output, table};
use crate::registry;
use crate::stack::{Operator, Stack};

/// Rows of each service that are shown unless the operator says.
const ROWS_SHOWN: i64 = 100;

/// What `bashu audit search` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// 只查这些服务 / Only these services
    #[arg(long, value_parser = registry::names())]
    service: Vec<String>,
    /// 谁做的：会员编号 / Who acted: a member's id
    #[arg(long, value_parser = member)]
    member: Option<Uuid>,
    /// 做了什么，如 grant_role / What was done: grant_role
    #[arg(long)]
    act: Option<String>,
    /// 对什么做的：编号 / What it was done to: an id, as the row has it
    #[arg(long)]
    subject: Option<String>,
    /// 从何时起（RFC 3339，或日期）/ From when on (RFC 3339, or a date in Shanghai)
    #[arg(long, value_parser = instant)]
    since: Option<DateTime<Utc>>,
    /// 到何时止，不含（RFC 3339，或日期）/ Before when (RFC 3339, or a date in Shanghai)
    #[arg(long, value_parser = instant)]
    until: Option<DateTime<Utc>>,
    /// 每个服务最多几条，最新的在前 / Rows of each service at most, newest first
    #[arg(long, default_value_t = ROWS_SHOWN, value_parser = rows())]
    rows: i64,
}

fn rows() -> clap::builder::RangedI64ValueParser<i64> {
    clap::value_parser!(i64).range(1..=ROWS_MAX)
}

/// A member as the graph or the tables name her.
fn member(text: &str) -> Result<Uuid, String> {
    let global = || GlobalId::uuid(text, "Member").ok();
    let id = text.parse().ok().or_else(global);
    id.ok_or_else(|| "不是会员编号 / no member's id".to_owned())
}

/// An instant, or the beginning of a day in Shanghai.
fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let date = || text.parse::<NaiveDate>().ok().map(day_start);
    let exact = DateTime::parse_from_rfc3339(text).ok();
    exact
        .map(|at| at.with_timezone(&Utc))
        .or_else(date)
        .ok_or_else(|| "须为 2026-04-01 或 2026-04-01T10:00:00+08:00 / no time".to_owned())
}

/// One row, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    service: &'static str,
    id: i64,
    /// Its place in the chain; absent while it is not sealed.
    position: Option<i64>,
    at: String,
    act: String,
    subject: String,
    member: Option<Uuid>,
    login: Option<Uuid>,
    detail: serde_json::Value,
}

impl Row {
    fn of(service: &'static str, found: Found) -> Result<Self> {
        let Found { entry, position } = found;
        Ok(Self {
            service,
            id: entry.id,
            position,
            at: entry.at.to_rfc3339(),
            act: entry.act,
            subject: entry.subject,
            member: entry.member,
            login: entry.login,
            detail: serde_json::from_str(&entry.detail)?,
        })
    }

    /// Who acted: a member, an operator at the machine, or the system by itself.
    fn who(&self, language: Language) -> String {
        match (self.member, self.detail["by"].as_str()) {
            (Some(member), _) => member.to_string(),
            (None, Some(operator)) => operator.to_owned(),
            (None, None) => language.choose("系统", "the system").to_owned(),
        }
    }

    fn cells(&self, language: Language) -> Vec<String> {
        let unsealed = || language.choose("未封存", "unsealed").to_owned();
        vec![
            self.service.to_owned(),
            self.position.map_or_else(unsealed, |at| at.to_string()),
            self.at.clone(),
            self.act.clone(),
            self.who(language),
            self.subject.clone(),
            self.detail.to_string(),
        ]
    }
}

/// Finds them.
///
/// # Errors
/// When a database is away.
pub(super) async fn run(args: SearchArgs, output: Output, operator: &Operator) -> Result<Outcome> {
    let stack = Stack::load()?;
    let looked_for = serde_json::json!({
        "member": args.member, "act": args.act, "subject": args.subject,
        "since": args.since, "until": args.until,
    });
    let wanted = Wanted {
        member: args.member,
        act: args.act,
        subject: args.subject,
        since: args.since,
        until: args.until,
    };
    let mut rows = Vec::new();
    for known in registry::chosen(&args.service)? {
        let ctx = stack.ctx(known).await?;
        operator
            .record(&ctx, "search_audit", ctx.service, looked_for.clone())
            .await?;
        for found in search(&ctx.db, &wanted, args.rows).await? {
            rows.push(Row::of(known.name, found)?);
        }
    }
    output.show(&rows, |language| human(&rows, language))?;
    Ok(Outcome::Well)
}

fn human(rows: &[Row], language: Language) -> String {
    if rows.is_empty() {
        return language.choose("没有找到", "nothing was found").to_owned();
    }
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.cells(language)).collect();
    let headings = match language {
        Language::Zh => ["服务", "位置", "时间", "行为", "谁", "对象", "详情"],
        Language::En => [
            "service", "position", "time", "act", "who", "subject", "detail",
        ],
    };
    table(&headings, &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day begins in Shanghai; an instant is one with its offset.
    #[test]
    fn times_are_read_as_people_write_them() {
        let at = |text: &str| instant(text).map(|at| at.to_rfc3339());
        assert_eq!(at("2026-04-01").unwrap(), "2026-03-31T16:00:00+00:00");
        let exact = "2026-04-01T10:00:00+08:00";
        assert_eq!(at(exact).unwrap(), "2026-04-01T02:00:00+00:00");
        assert!(at("yesterday").is_err());
    }

    /// A member is named as the tables do or as the graph does, and nobody else's id is one.
    #[test]
    fn a_member_is_named_either_way() {
        let id = Uuid::from_u128(7);
        assert_eq!(member(&id.to_string()).unwrap(), id);
        assert_eq!(member(&GlobalId::of_uuid("Member", id)).unwrap(), id);
        assert!(member(&GlobalId::of_uuid("Pass", id)).is_err());
        assert!(member("13900000001").is_err());
    }
}
