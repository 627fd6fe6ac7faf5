//! After the faults: what is unknown is asked for again with the same key and must become one
//! thing or the other; then the log of operations, the databases and the provider's books are
//! compared. Everything it finds is a violation with its subject.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt;
use serde_json::Value;

use crate::load::Load;
use crate::oplog::{self, Kind, Operation, Outcome};
use crate::people::ENTRIES_MAX;
use crate::provider::Provider;
use crate::world::World;

/// Everything must have finished so long after the healing.
pub(crate) const LIVENESS: Duration = Duration::from_secs(60);
/// Requests of the repetition under way at once.
const REPEATED_AT_ONCE: usize = 16;
/// Acknowledged operations of each kind that are asked for again, at most.
const ASKED_AGAIN_MAX: usize = 400;
const RETRY: Duration = Duration::from_millis(300);
/// Violations of one kind that are named, at most.
const NAMED_MAX: usize = 20;

/// What must not be.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) subject: String,
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<Violation>,
    /// Violations by rule, also those that are not named.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    /// Operations by kind: done, refused, unknown until they were asked for again.
    pub(crate) operations: BTreeMap<Kind, [u64; 3]>,
    /// Operations whose answer was unknown when the faults were over.
    pub(crate) repeated: u64,
    /// Acknowledged operations that were asked for again.
    pub(crate) asked_again: u64,
    /// From the healing until nothing was pending.
    pub(crate) finished: Option<Duration>,
}

impl Findings {
    pub(crate) fn add(&mut self, rule: &'static str, subject: impl Into<String>) {
        let count = self.counts.entry(rule).or_default();
        *count += 1;
        if *count <= NAMED_MAX {
            self.violations.push(Violation {
                rule,
                subject: subject.into(),
            });
        }
    }
}

/// Asks again for everything unknown until it is known, and for a part of what was acknowledged.
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
    for kind in [Kind::Buy, Kind::Pay, Kind::Refund, Kind::Redeem] {
        let known: Vec<&Operation> = operations
            .values()
            .filter(|one| one.kind == kind && one.outcome() == Outcome::Ok)
            .collect();
        let step = known.len().div_ceil(ASKED_AGAIN_MAX).max(1);
        let again: Vec<&Operation> = known.into_iter().step_by(step).collect();
        findings.asked_again += u64::try_from(again.len()).unwrap_or(0);
        let answers: Vec<Option<String>> = futures::stream::iter(again)
            .map(|one| same_again(load, one, healed))
            .buffer_unordered(REPEATED_AT_ONCE)
            .collect()
            .await;
        for problem in answers.into_iter().flatten() {
            findings.add("replay_same_answer", problem);
        }
    }
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

/// What is wrong with the answer to a repetition of something acknowledged.
async fn same_again(load: &Arc<Load>, one: &Operation, healed: Instant) -> Option<String> {
    let before = identity(one.kind, one.done()?);
    loop {
        let answer = load.ask(one.id, one.kind, one.who, &one.request).await;
        match answer.outcome {
            Outcome::Ok => {
                let now = identity(one.kind, &answer.value);
                return (now != before)
                    .then(|| format!("{:?} {}: {before:?}, now {now:?}", one.kind, one.id));
            }
            Outcome::Refused => {
                return Some(format!(
                    "{:?} {}: done, now refused: {}",
                    one.kind, one.id, answer.value
                ));
            }
            Outcome::Unknown if healed.elapsed() > LIVENESS => {
                return Some(format!("{:?} {}: {}", one.kind, one.id, answer.value));
            }
            Outcome::Unknown => tokio::time::sleep(RETRY).await,
        }
    }
}

/// What of an answer stays the same for ever: other fields show today's state.
fn identity(kind: Kind, answer: &Value) -> Vec<Value> {
    let fields: &[&str] = match kind {
        Kind::Buy => &["/pass/id", "/pass/number", "/pass/order/id"],
        Kind::Pay => &["/payment/id"],
        Kind::Payer => &[],
        Kind::Refund => &["/pass/id"],
        Kind::Redeem => &["/decision", "/reason", "/redemption/id"],
    };
    let field = |pointer: &&str| answer.pointer(pointer).cloned().unwrap_or_default();
    fields.iter().map(field).collect()
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
    let paid: BTreeSet<String> = of_kind(&operations, Kind::Payer)
        .filter_map(|(one, _)| uuid_of(one.request["orderId"].as_str()?))
        .collect();
    loop {
        let pending = pending(world, &paid).await?;
        if pending.is_empty() {
            findings.finished = Some(healed.elapsed());
            return Ok(());
        }
        if healed.elapsed() > LIVENESS {
            for one in pending {
                findings.add("finished_in_time", one);
            }
            return Ok(());
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn pending(world: &World, paid: &BTreeSet<String>) -> Result<Vec<String>> {
    let passes = world
        .rows(
            "passes",
            "SELECT order_id, state FROM pass WHERE state IN ('awaiting_payment', 'refunding', \
             'lapsed')",
        )
        .await?;
    let mut found: Vec<String> = passes
        .iter()
        .filter(|row| row[1] == "refunding" || paid.contains(&row[0]))
        .map(|row| format!("the pass of order {} is {}", row[0], row[1]))
        .collect();
    let known = world.rows("passes", "SELECT order_id FROM pass").await?;
    let known: BTreeSet<&String> = known.iter().map(|row| &row[0]).collect();
    let lost = paid.iter().filter(|order| !known.contains(order));
    found.extend(lost.map(|order| format!("order {order} was paid and has no pass")));
    let refunds = world
        .rows(
            "billing",
            "SELECT id, state FROM refund WHERE state <> 'done'",
        )
        .await?;
    found.extend(
        refunds
            .iter()
            .map(|row| format!("refund {} is {}", row[0], row[1])),
    );
    Ok(found)
}

/// Compares the log, the databases and the provider's books.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn compare(world: &World, load: &Load, findings: &mut Findings) -> Result<()> {
    let operations = oplog::read(load.log.path())?;
    for one in operations.values() {
        let counts = findings.operations.entry(one.kind).or_default();
        match one.outcome() {
            Outcome::Ok => counts[0] += 1,
            Outcome::Refused => counts[1] += 1,
            Outcome::Unknown => {
                counts[2] += 1;
                let (kind, at, last) = (one.kind, one.sent_ms, one.answers.last());
                let subject = format!("{kind:?} {} of {at} ms: {last:?}", one.id);
                findings.add("known_after_replay", subject);
            }
        }
    }
    purchases(world, &operations, findings).await?;
    scans(world, load, &operations, findings).await?;
    returns(world, &operations, findings).await?;
    money(world, findings).await
}

fn of_kind(
    operations: &BTreeMap<u64, Operation>,
    kind: Kind,
) -> impl Iterator<Item = (&Operation, &Value)> {
    operations
        .values()
        .filter(move |one| one.kind == kind)
        .filter_map(|one| Some((one, one.done()?)))
}

/// Every acknowledged purchase is a pass under the order it was told, and no pass of the load's
/// product comes from nowhere.
async fn purchases(
    world: &World,
    operations: &BTreeMap<u64, Operation>,
    findings: &mut Findings,
) -> Result<()> {
    let rows = world
        .rows(
            "passes",
            "SELECT p.id, p.order_id FROM pass p JOIN product_version v ON v.product = p.product \
             AND v.number = p.product_version WHERE v.name_en = 'Fault drill pass'",
        )
        .await?;
    let mut there: BTreeMap<String, String> = rows
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    for (one, answer) in of_kind(operations, Kind::Buy) {
        let pass = answer.pointer("/pass/id").and_then(Value::as_str);
        let order = answer.pointer("/pass/order/id").and_then(Value::as_str);
        let (Some(pass), Some(order)) = (pass.and_then(number_of), order.and_then(uuid_of)) else {
            findings.add(
                "acknowledged_purchase_exists",
                format!("{}: {answer}", one.id),
            );
            continue;
        };
        match there.remove(&pass) {
            Some(found) if found == order => {}
            found => findings.add(
                "acknowledged_purchase_exists",
                format!(
                    "operation {}: pass {pass}, order {order}: {found:?}",
                    one.id
                ),
            ),
        }
    }
    for (pass, order) in there {
        findings.add(
            "no_purchase_from_nowhere",
            format!("pass {pass}, order {order}"),
        );
    }
    Ok(())
}

/// Every acknowledged scan is there exactly once with its decision, none comes from nowhere, and
/// no pass entered more often than it allows.
async fn scans(
    world: &World,
    load: &Load,
    operations: &BTreeMap<u64, Operation>,
    findings: &mut Findings,
) -> Result<()> {
    let rows = world
        .rows(
            "admission",
            "SELECT gate, seq, id, decision, entitlement FROM redemption WHERE NOT overridden",
        )
        .await?;
    let mut entered: BTreeMap<String, usize> = BTreeMap::new();
    let mut there: BTreeMap<(String, String), Vec<(String, String)>> = BTreeMap::new();
    for row in rows {
        if row[3] == "admit" {
            *entered.entry(row[4].clone()).or_default() += 1;
        }
        let key = (row[0].clone(), row[1].clone());
        there
            .entry(key)
            .or_default()
            .push((row[2].clone(), row[3].clone()));
    }
    for (entitlement, count) in entered {
        if count > ENTRIES_MAX {
            findings.add("entries_within_pass", format!("{entitlement}: {count}"));
        }
    }
    for (one, answer) in of_kind(operations, Kind::Redeem) {
        let gate = load.cast.gates[one.who].uuid.uuid().to_string();
        let seq = one.request["scanId"]["seq"].to_string();
        let found = there.remove(&(gate, seq)).unwrap_or_default();
        let decision = answer["decision"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase();
        let id = answer.pointer("/redemption/id").and_then(Value::as_str);
        let told = (id.and_then(uuid_of).unwrap_or_default(), decision);
        if found != [told.clone()] {
            let subject = format!("operation {}: told {told:?}, found {found:?}", one.id);
            findings.add("acknowledged_scan_exists_once", subject);
        }
    }
    for (scan, found) in there {
        findings.add("no_scan_from_nowhere", format!("{scan:?}: {found:?}"));
    }
    Ok(())
}

/// Every acknowledged return ended: the money went back, or the pass had been used.
async fn returns(
    world: &World,
    operations: &BTreeMap<u64, Operation>,
    findings: &mut Findings,
) -> Result<()> {
    let rows = world
        .rows("passes", "SELECT pass, state FROM refund")
        .await?;
    let states: BTreeMap<&String, &String> = rows.iter().map(|row| (&row[0], &row[1])).collect();
    for (one, answer) in of_kind(operations, Kind::Refund) {
        let pass = answer.pointer("/pass/id").and_then(Value::as_str);
        let pass = pass.and_then(number_of).unwrap_or_default();
        match states.get(&pass).map(|state| state.as_str()) {
            Some("done" | "refused") => {}
            state => findings.add(
                "acknowledged_return_ends",
                format!("operation {}: pass {pass}: {state:?}", one.id),
            ),
        }
    }
    Ok(())
}

/// The provider's books are the ledger's: the same payments, the same refunds, the same balance.
async fn money(world: &World, findings: &mut Findings) -> Result<()> {
    let provider = Provider::read(&world.folder.join("sandbox/journal.jsonl"))?;
    let receipts = world
        .rows("billing", "SELECT transaction_id, fen FROM receipt")
        .await?;
    let booked: BTreeMap<String, i64> = sums(&receipts).context("receipts")?;
    differ("payments_are_booked", &provider.payments, &booked, findings);
    let refunds = world
        .rows(
            "billing",
            "SELECT out_refund_no, fen FROM refund WHERE state = 'done' AND fen > 0",
        )
        .await?;
    let booked: BTreeMap<String, i64> = sums(&refunds).context("refunds")?;
    differ("refunds_are_booked", &provider.refunds, &booked, findings);
    let balance = world
        .rows(
            "billing",
            "SELECT code, debit_fen - credit_fen FROM account_balance WHERE code = \
             'wechat_clearing'",
        )
        .await?;
    let ours: i64 = sums(&balance).context("balance")?.values().sum();
    let theirs: i64 =
        provider.payments.values().sum::<i64>() - provider.refunds.values().sum::<i64>();
    if ours != theirs {
        findings.add(
            "bill_is_ledger",
            format!("the provider holds {theirs} fen, the ledger says {ours}"),
        );
    }
    Ok(())
}

fn sums(rows: &[Vec<String>]) -> Result<BTreeMap<String, i64>> {
    rows.iter()
        .map(|row| Ok((row[0].clone(), row[1].parse()?)))
        .collect()
}

fn differ(
    rule: &'static str,
    theirs: &BTreeMap<String, i64>,
    ours: &BTreeMap<String, i64>,
    findings: &mut Findings,
) {
    let subjects: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for subject in subjects {
        let (at_provider, here) = (theirs.get(subject), ours.get(subject));
        if at_provider != here {
            findings.add(rule, format!("{subject}: {at_provider:?}, booked {here:?}"));
        }
    }
}

/// The UUID in an opaque id.
fn uuid_of(id: &str) -> Option<String> {
    let plain = URL_SAFE_NO_PAD.decode(id).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    Some(
        uuid::Uuid::from_slice(&plain[colon + 1..])
            .ok()?
            .to_string(),
    )
}

/// The number in an opaque id of a pass, signed as the databases keep it.
fn number_of(id: &str) -> Option<String> {
    let plain = URL_SAFE_NO_PAD.decode(id).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    let bytes: [u8; 8] = plain[colon + 1..].try_into().ok()?;
    Some(i64::from_be_bytes(bytes).to_string())
}
