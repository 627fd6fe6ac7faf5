//! After the faults: what is unknown is asked for again with the same key and must become one
//! thing or the other, everything must come to its end, and what was acknowledged must be answered
//! the same again. Then the facts are gathered for the judge, which alone says what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use serde_json::Value;

use crate::client::Doubt;
use crate::judge::{Facts, Findings, LIVENESS, Return, Scan, Sold, Sum, Waiting};
use crate::judge::{repetition, uuid_of};
use crate::load::Load;
use crate::oplog::{self, Kind, Operation, Outcome};
use crate::people::CREATE_VENUE;
use crate::provider::Provider;
use crate::world::World;

/// Requests of the repetition under way at once.
const REPEATED_AT_ONCE: usize = 48;
/// Acknowledged operations of each kind that are asked for again, at most.
const ASKED_AGAIN_MAX: usize = 400;
const RETRY: Duration = Duration::from_millis(300);
/// How long what moves after the repetitions may look broken: sessions are still being kept.
pub(crate) const AGAIN_SETTLE: Duration = Duration::from_secs(5);

/// Asks again for everything unknown until it is known.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn repeat(
    load: &Arc<Load>,
    healed: Instant,
    findings: &mut Findings,
) -> Result<()> {
    let operations = oplog::read(load.log.path())?;
    let unknown: Vec<&Operation> = operations
        .values()
        .filter(|one| one.outcome() == Outcome::Unknown)
        .collect();
    findings.repeated = u64::try_from(unknown.len()).unwrap_or(u64::MAX);
    futures::stream::iter(unknown)
        .for_each_concurrent(REPEATED_AT_ONCE, |one| settle(load, one, healed))
        .await;
    Ok(())
}

/// Asks for one operation until its answer is definite or the time is over.
async fn settle(load: &Arc<Load>, one: &Operation, healed: Instant) {
    while healed.elapsed() < LIVENESS {
        let answer = load.ask(one.id, one.kind, one.who, &one.request).await;
        if answer.outcome != Outcome::Unknown {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Asks again for a part of what was acknowledged, each for as long as anything may take.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn ask_again(load: &Arc<Load>, findings: &mut Findings) -> Result<()> {
    let operations = oplog::read(load.log.path())?;
    for kind in [Kind::Buy, Kind::Pay, Kind::Refund, Kind::Redeem] {
        let known: Vec<&Operation> = operations
            .values()
            .filter(|one| one.kind == kind && one.outcome() == Outcome::Ok)
            .collect();
        let step = known.len().div_ceil(ASKED_AGAIN_MAX).max(1);
        let again: Vec<&Operation> = known.into_iter().step_by(step).collect();
        findings.asked_again += u64::try_from(again.len()).unwrap_or(0);
        let answers: Vec<Option<String>> = futures::stream::iter(again)
            .map(|one| same_again(load, one))
            .buffer_unordered(REPEATED_AT_ONCE)
            .collect()
            .await;
        for problem in answers.into_iter().flatten() {
            findings.add("replay_same_answer", problem);
        }
    }
    Ok(())
}

async fn same_again(load: &Arc<Load>, one: &Operation) -> Option<String> {
    let began = Instant::now();
    loop {
        let answer = load.ask(one.id, one.kind, one.who, &one.request).await;
        if answer.outcome != Outcome::Unknown {
            return repetition(one, (answer.outcome, &answer.value));
        }
        if began.elapsed() > LIVENESS {
            return Some(format!("{:?} {}: {}", one.kind, one.id, answer.value));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Waits until nothing is pending: every payment has its pass, every return its money.
///
/// # Errors
/// When a database does not answer.
pub(crate) async fn finish(
    world: &World,
    load: &Load,
    healed: Instant,
    findings: &mut Findings,
) -> Result<()> {
    let operations = oplog::read(load.log.path())?;
    let paid = operations
        .values()
        .filter(|one| one.kind == Kind::Payer && one.outcome() == Outcome::Ok)
        .filter_map(|one| uuid_of(one.request["orderId"].as_str()?))
        .collect();
    let mut waiting = Waiting {
        paid,
        ..Waiting::default()
    };
    drop(operations);
    loop {
        look(world, &mut waiting).await?;
        if findings.finished(&waiting.pending(), healed.elapsed()) {
            return Ok(());
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Reads what is still unfinished.
async fn look(world: &World, waiting: &mut Waiting) -> Result<()> {
    let passes = "SELECT order_id, state FROM pass";
    waiting.passes = pairs(world.rows("passes", passes).await?);
    let refunds = "SELECT id, state FROM refund WHERE state <> 'done'";
    waiting.refunds = pairs(world.rows("billing", refunds).await?);
    let given_back = "SELECT order_id FROM receipt WHERE order_id IS NOT NULL GROUP BY order_id \
                      HAVING sum(refunded_fen) = sum(fen)";
    let rows = world.rows("billing", given_back).await?;
    waiting.given_back = rows.into_iter().map(first).collect();
    Ok(())
}

/// Why somebody with an office cannot work within the time that everything has: it needs identity
/// to have been heard of by the same clock.
pub(crate) async fn office_rests(load: &Load, healed: Instant) -> Option<String> {
    let input = load.cast.office_work(&load.ids);
    loop {
        let caller = load.cast.operator.caller();
        let answer = load.api.run(&caller, CREATE_VENUE, &input).await;
        if answer.is_ok() {
            return None;
        }
        if answer.doubt == Doubt::Stranger {
            load.cast.operator.refused();
        }
        if answer.outcome == Outcome::Refused || healed.elapsed() > LIVENESS {
            return Some(answer.value.to_string());
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What the clients know, what the databases hold, and what the provider wrote down.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn facts(world: &World, load: &Load) -> Result<Facts> {
    let passes = "SELECT p.id, p.order_id FROM pass p JOIN product_version v ON v.product = \
                  p.product AND v.number = p.product_version WHERE v.name_en = 'Fault drill pass'";
    let scans = "SELECT gate, seq, id, decision, entitlement, venue, counted_on FROM redemption \
                 WHERE NOT overridden";
    let refunds = "SELECT out_refund_no, fen FROM refund WHERE state = 'done' AND fen > 0";
    let balance = "SELECT code, debit_fen - credit_fen FROM account_balance WHERE code = \
                   'wechat_clearing'";
    let rows = async |database: &str, query: &str| world.rows(database, query).await;
    Ok(Facts {
        operations: oplog::read(load.log.path())?,
        gates: load
            .cast
            .gates
            .iter()
            .map(|gate| gate.uuid.uuid().to_string())
            .collect(),
        sold: rows("passes", passes)
            .await?
            .into_iter()
            .map(sold)
            .collect(),
        payments: rows("billing", "SELECT id FROM payment")
            .await?
            .into_iter()
            .map(first)
            .collect(),
        scans: rows("admission", scans)
            .await?
            .into_iter()
            .map(scan)
            .collect(),
        returns: rows("passes", "SELECT pass, state, cause FROM refund")
            .await?
            .into_iter()
            .map(returned)
            .collect(),
        receipts: sums(rows("billing", "SELECT transaction_id, fen FROM receipt").await?)?,
        refunds: sums(rows("billing", refunds).await?)?,
        balance_fen: sums(rows("billing", balance).await?)?
            .iter()
            .map(|sum| sum.fen)
            .sum(),
        provider: Provider::read(&world.folder.join("sandbox/journal.jsonl"))?,
    })
}

/// A row of a query; every column it selects is there.
type Row = Vec<String>;

fn columns<const COUNT: usize>(row: Row) -> [String; COUNT] {
    let mut columns = row.into_iter();
    std::array::from_fn(|_| columns.next().unwrap_or_default())
}

fn first(row: Row) -> String {
    let [one] = columns(row);
    one
}

fn pairs(rows: Vec<Row>) -> BTreeMap<String, String> {
    let pair = |row| {
        let [name, value] = columns(row);
        (name, value)
    };
    rows.into_iter().map(pair).collect()
}

fn sold(row: Row) -> Sold {
    let [pass, order] = columns(row);
    Sold { pass, order }
}

fn scan(row: Row) -> Scan {
    let [gate, seq, id, decision, entitlement, venue, day] = columns(row);
    Scan {
        gate,
        seq,
        id,
        decision,
        entitlement,
        venue,
        day,
    }
}

fn returned(row: Row) -> Return {
    let [pass, state, cause] = columns(row);
    Return { pass, state, cause }
}

fn sums(rows: Vec<Row>) -> Result<Vec<Sum>> {
    let sum = |row| {
        let [number, fen] = columns(row);
        let fen = fen
            .parse()
            .with_context(|| format!("{number}: {fen} is no sum"))?;
        Ok(Sum { number, fen })
    };
    rows.into_iter().map(sum).collect()
}

/// Takes in what `bashu verify` says of the databases, which it looks at again for so long as
/// something is broken.
///
/// # Errors
/// When it says nothing that can be read.
pub(crate) async fn verify(world: &World, time: Duration, findings: &mut Findings) -> Result<()> {
    let settle = time.as_secs().to_string();
    let output = world
        .bashu(&["--json", "verify", "--whole", "--settle", &settle])
        .await?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "verify said no JSON: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let broken = report["broken"].as_array().into_iter().flatten();
    let before = findings.total();
    for one in broken {
        let subject = format!("{} [{}]: {}", one["id"], one["place"], one["violations"]);
        findings.add("verify", subject);
    }
    let checked = report["checked"].as_u64().unwrap_or(0);
    if checked == 0 || (!output.status.success() && findings.total() == before) {
        findings.add("verify", format!("{}: {report}", output.status));
    }
    println!("   verify: {checked} promises checked");
    Ok(())
}

/// Takes in what `bashu audit verify` says: every chain from its first row on, against all heads
/// that its topic heard of, whatever was killed between a row, its seal and its head.
///
/// # Errors
/// When it says nothing that can be read.
pub(crate) async fn audit(world: &World, findings: &mut Findings) -> Result<()> {
    let arguments = ["--json", "audit", "verify", "--whole"];
    let output = world.bashu(&arguments).await?;
    let chains: Vec<Value> = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "audit verify said no list: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let heads = |chain: &Value| chain["heads"].as_u64().unwrap_or(0);
    for chain in &chains {
        // One that was compared with no head shows nothing.
        if !chain["broken"].is_null() || heads(chain) == 0 {
            findings.add("audit_chain_stands", chain.to_string());
        }
    }
    if chains.is_empty() {
        findings.add("audit_chain_stands", "no chain was walked");
    }
    let heads: u64 = chains.iter().map(heads).sum();
    println!("   audit: {} chains, {heads} heads compared", chains.len());
    Ok(())
}
