//! Looks for a text that must be nowhere: planted personal data, say. Every column of every table
//! of every service that can hold text or bytes is searched, identity's encrypted vault included
//! since plain text has no place there either, and every record of every topic.
//!
//! It is looked for as it is and as programs write it: hexadecimal, base64, JSON escapes. What
//! was found is named by place; the text itself is never shown.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use indicatif::ProgressBar;
use kit::Ctx;
use kit::graphql::Language;
use sea_orm::FromQueryResult;
use serde::Serialize;

use super::{Checked, Side, VIOLATIONS_MAX, Violation};
use crate::broker::Broker;
use crate::output::{Output, Text};

const ID: &str = "canary";
/// Shorter texts are found everywhere by chance.
const CANARY_CHARS_MIN: usize = 4;

/// How much was searched.
#[derive(Debug, Default, Serialize)]
pub(super) struct Scanned {
    columns: usize,
    records: u64,
    files: usize,
}

impl Scanned {
    pub(super) fn line(&self, language: Language) -> String {
        let Self {
            columns,
            records,
            files,
        } = self;
        match language {
            Language::Zh => format!("搜索了 {columns} 列、{records} 条消息、{files} 个日志\n"),
            Language::En => {
                format!("searched {columns} columns, {records} records, {files} logs\n")
            }
        }
    }
}

/// Where any of the texts is.
///
/// # Errors
/// When a server is away, a log cannot be read, or a text is too short to mean anything.
pub(super) async fn scan(
    sides: &[Side],
    texts: &[String],
    logs: &[std::path::PathBuf],
    output: Output,
) -> Result<(Vec<Checked>, Scanned)> {
    let needles = needles(texts)?;
    let spinner = output.spinner(&Text::new("搜索", "searching"));
    let mut scanned = Scanned::default();
    let mut checked = Vec::new();
    for side in sides {
        let mut violations = Vec::new();
        for ctx in &side.databases {
            violations.extend(database(ctx, &needles, (&mut scanned, &spinner)).await?);
        }
        violations.extend(topics(side, &needles, (&mut scanned, &spinner)).await?);
        checked.extend(broken(side.union().to_string(), violations));
    }
    let mut violations = Vec::new();
    for path in logs {
        let bytes =
            std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        scanned.files += 1;
        if holds(&bytes, &needles) {
            violations.push(found(path.display().to_string()));
        }
    }
    checked.extend(broken("log".to_owned(), violations));
    spinner.finish_and_clear();
    Ok((checked, scanned))
}

fn broken(place: String, violations: Vec<Violation>) -> Option<Checked> {
    (!violations.is_empty()).then(|| Checked {
        id: ID.to_owned(),
        place,
        promise: Text::new(
            "个人信息不出现在明文里",
            "no personal data stands anywhere in plain",
        ),
        violations,
    })
}

fn found(place: String) -> Violation {
    Violation {
        subject: place,
        problem: "the canary stands here".to_owned(),
    }
}

/// Every way in which a text may be written.
fn needles(texts: &[String]) -> Result<Vec<Vec<u8>>> {
    let mut needles = Vec::new();
    for text in texts {
        anyhow::ensure!(
            text.chars().count() >= CANARY_CHARS_MIN,
            "a canary has at least {CANARY_CHARS_MIN} characters"
        );
        let bytes = text.as_bytes();
        needles.push(bytes.to_vec());
        needles.push(hex::encode(bytes).into_bytes());
        needles.push(hex::encode_upper(bytes).into_bytes());
        needles.extend((0..3).map(|shift| base64_inside(bytes, shift)));
        needles.push(escaped(text).into_bytes());
    }
    needles.retain(|needle| needle.len() >= CANARY_CHARS_MIN);
    needles.sort();
    needles.dedup();
    Ok(needles)
}

/// What is always there of the bytes in base64 when `shift` bytes stand before them: the digits
/// that no neighbour has a part in.
fn base64_inside(bytes: &[u8], shift: usize) -> Vec<u8> {
    let padded = [&vec![0; shift][..], bytes].concat();
    let digits = STANDARD_NO_PAD.encode(&padded).into_bytes();
    let first = (shift * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    digits[first.min(last)..last].to_vec()
}

/// As JSON may write it: every character beyond ASCII as `\uXXXX`.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn holds(bytes: &[u8], needles: &[Vec<u8>]) -> bool {
    needles
        .iter()
        .any(|needle| bytes.windows(needle.len()).any(|window| window == needle))
}

#[derive(FromQueryResult)]
struct Column {
    table: String,
    name: String,
    is_bytes: bool,
}

#[derive(FromQueryResult)]
struct Hits {
    rows: i64,
}

async fn database(
    ctx: &Ctx,
    needles: &[Vec<u8>],
    (scanned, spinner): (&mut Scanned, &ProgressBar),
) -> Result<Vec<Violation>> {
    let columns: Vec<Column> = ctx
        .db
        .all(
            "SELECT format('%I', c.relname) AS table, format('%I', a.attname) AS name,
               a.atttypid = 'bytea'::regtype AS is_bytes
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             JOIN pg_type t ON t.oid = a.atttypid
             WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND (t.typcategory IN ('S', 'A') OR t.typname IN ('bytea', 'json', 'jsonb', 'xml'))
             ORDER BY c.relname, a.attnum",
            [],
        )
        .await?;
    let needles: Vec<Vec<u8>> = needles.to_vec();
    let mut violations = Vec::new();
    for Column {
        table,
        name,
        is_bytes,
    } in columns
    {
        spinner.set_message(format!("{}.{table}.{name}", ctx.service));
        scanned.columns += 1;
        let cell = format!("scanned.{name}");
        let bytes = if is_bytes {
            cell.clone()
        } else {
            format!("convert_to({cell}::text, 'UTF8')")
        };
        let sql = format!(
            "SELECT count(*) AS rows FROM {table} AS scanned WHERE {cell} IS NOT NULL AND EXISTS (
               SELECT 1 FROM UNNEST($1::bytea[]) AS needles (needle)
               WHERE position(needles.needle IN {bytes}) > 0)"
        );
        let hits: Option<Hits> = ctx.db.one(&sql, [needles.clone().into()]).await?;
        if let Some(Hits { rows: rows @ 1.. }) = hits {
            let place = format!("{}.{table}.{name}", ctx.service);
            violations.push(Violation {
                subject: place,
                problem: format!("the canary stands in {rows} rows"),
            });
        }
    }
    Ok(violations)
}

async fn topics(
    side: &Side,
    needles: &[Vec<u8>],
    (scanned, spinner): (&mut Scanned, &ProgressBar),
) -> Result<Vec<Violation>> {
    let broker = Broker::new(&side.stack.config)?;
    let names: Vec<String> = side.databases.iter().map(Ctx::topic).collect();
    spinner.set_message(names.join(", "));
    let needles = needles.to_vec();
    let (violations, records) = broker
        .ask(move |broker| {
            let there = broker.names()?;
            let names: Vec<String> = names
                .into_iter()
                .filter(|name| there.contains(name))
                .collect();
            let mut violations: Vec<Violation> = Vec::new();
            let records = broker.read_all(&names, |topic, partition, offset, bytes| {
                if violations.len() < VIOLATIONS_MAX && holds(bytes, &needles) {
                    violations.push(found(format!("{topic}/{partition} @ {offset}")));
                }
            })?;
            Ok((violations, records))
        })
        .await?;
    scanned.records += records;
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The canary is found however a program wrote it, wherever it stands.
    #[test]
    fn the_canary_is_found_in_every_writing() {
        let canary = "张三丰13900000000";
        let needles = needles(&[canary.to_owned()]).unwrap();
        for before in ["", "a", "ab", "abc"] {
            let text = format!("{before}{canary}, and more");
            for written in [
                text.clone(),
                hex::encode(&text),
                hex::encode_upper(&text),
                STANDARD_NO_PAD.encode(&text),
                escaped(&text),
            ] {
                assert!(holds(written.as_bytes(), &needles), "{written}");
            }
        }
        assert!(!holds("李四13900000001 e5bca0e4b889".as_bytes(), &needles));
    }

    /// A text so short that it stands everywhere by chance proves nothing.
    #[test]
    fn a_short_canary_is_refused() {
        assert!(needles(&["张三".to_owned()]).is_err());
    }
}
