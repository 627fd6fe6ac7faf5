//! The judge: from what the clients know, what the databases hold and what the provider wrote
//! down it finds what must not be. Pure: it reads no file, asks nobody and waits for nothing, so
//! that its tests can plant every violation and see it found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::oplog::{Kind, Operation, Outcome};
use crate::people::{ENTRIES_MAX, ENTRIES_PER_VENUE_DAILY};
use crate::provider::Provider;

/// Everything must have finished so long after the healing.
pub(crate) const LIVENESS: Duration = Duration::from_secs(60);
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
    /// Operations by kind: done, refused, unknown after they were asked for again.
    pub(crate) operations: BTreeMap<Kind, [u64; 3]>,
    /// Refusals by kind and code.
    pub(crate) refusals: BTreeMap<(Kind, String), u64>,
    /// Scans by decision.
    pub(crate) decisions: BTreeMap<String, u64>,
    /// Operations whose answer was unknown when the faults were over.
    pub(crate) repeated: u64,
    /// Acknowledged operations that were asked for again.
    pub(crate) asked_again: u64,
    /// From the healing until nothing was pending.
    pub(crate) finished: Option<Duration>,
    /// From the healing until `bashu verify` had looked at everything.
    pub(crate) verified: Option<Duration>,
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

    /// All violations, also those that are not named.
    pub(crate) fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// Takes in what is still pending so long after the healing; whether there is nothing more to
    /// wait for. What ends after the limit has not ended in time either.
    pub(crate) fn finished(&mut self, pending: &[String], after: Duration) -> bool {
        let late = after > LIVENESS;
        if pending.is_empty() {
            self.finished = Some(after);
            if late {
                let seconds = after.as_secs_f64();
                self.add(
                    "finished_in_time",
                    format!("all of it after {seconds:.1} s"),
                );
            }
            return true;
        }
        if late {
            for one in pending {
                self.add("finished_in_time", one.clone());
            }
        }
        late
    }
}

/// A pass of the load's product.
#[derive(Clone, Debug)]
pub(crate) struct Sold {
    pub(crate) pass: String,
    pub(crate) order: String,
}

/// A scan at one of the load's gates.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) gate: String,
    pub(crate) seq: String,
    pub(crate) id: String,
    pub(crate) decision: String,
    pub(crate) entitlement: String,
    pub(crate) venue: String,
    /// The date it counts on.
    pub(crate) day: String,
}

/// A return of a pass.
#[derive(Clone, Debug)]
pub(crate) struct Return {
    pub(crate) pass: String,
    pub(crate) state: String,
    pub(crate) cause: String,
}

/// A sum of money under a number.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) number: String,
    pub(crate) fen: i64,
}

/// All that is compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) operations: BTreeMap<u64, Operation>,
    /// The gates' UUIDs, by the place that operations name.
    pub(crate) gates: Vec<String>,
    pub(crate) sold: Vec<Sold>,
    /// The payments' UUIDs in billing.
    pub(crate) payments: BTreeSet<String>,
    pub(crate) scans: Vec<Scan>,
    pub(crate) returns: Vec<Return>,
    /// What billing has booked as received, by the provider's transaction.
    pub(crate) receipts: Vec<Sum>,
    /// What billing has booked as given back, by its own number.
    pub(crate) refunds: Vec<Sum>,
    /// What the ledger says the provider holds for us.
    pub(crate) balance_fen: i64,
    pub(crate) provider: Provider,
}

/// Compares all of it.
pub(crate) fn compare(facts: &Facts, findings: &mut Findings) {
    known(facts, findings);
    purchases(facts, findings);
    payments(facts, findings);
    scans(facts, findings);
    entries(facts, findings);
    returns(facts, findings);
    money(facts, findings);
}

/// Every operation is done or refused after its repetition.
fn known(facts: &Facts, findings: &mut Findings) {
    for one in facts.operations.values() {
        let counts = findings.operations.entry(one.kind).or_default();
        match one.outcome() {
            Outcome::Ok => counts[0] += 1,
            Outcome::Refused => {
                counts[1] += 1;
                let code = one.refused().and_then(Value::as_str).unwrap_or("other");
                *findings
                    .refusals
                    .entry((one.kind, code.to_owned()))
                    .or_default() += 1;
            }
            Outcome::Unknown => {
                counts[2] += 1;
                let (kind, at, last) = (one.kind, one.sent_ms, &one.unknown);
                let subject = format!("{kind:?} {} of {at} ms: {last:?}", one.id);
                findings.add("known_after_replay", subject);
            }
        }
    }
}

fn of_kind(facts: &Facts, kind: Kind) -> impl Iterator<Item = (&Operation, &Value)> {
    let all = facts.operations.values();
    all.filter(move |one| one.kind == kind)
        .filter_map(|one| Some((one, one.done()?)))
}

/// Those of which nobody knows whether they were done; a finding each, of their own.
fn unknown(facts: &Facts, kind: Kind) -> impl Iterator<Item = &Operation> {
    let all = facts.operations.values();
    all.filter(move |one| one.kind == kind && one.outcome() == Outcome::Unknown)
}

/// Every acknowledged purchase is a pass under the order it was told, and no pass of the load's
/// product comes from nowhere.
fn purchases(facts: &Facts, findings: &mut Findings) {
    let rows = facts.sold.iter();
    let mut there: BTreeMap<&str, &str> = rows
        .map(|row| (row.pass.as_str(), row.order.as_str()))
        .collect();
    for (one, answer) in of_kind(facts, Kind::Buy) {
        let pass = id_at(answer, "/pass/id", number_of);
        let order = id_at(answer, "/pass/order/id", uuid_of);
        let (Some(pass), Some(order)) = (pass, order) else {
            let subject = format!("{}: {answer}", one.id);
            findings.add("acknowledged_purchase_exists", subject);
            continue;
        };
        let found = there.remove(pass.as_str());
        if found != Some(order.as_str()) {
            let subject = format!(
                "operation {}: pass {pass}, order {order}: {found:?}",
                one.id
            );
            findings.add("acknowledged_purchase_exists", subject);
        }
    }
    // Nobody knows which pass a purchase without an answer became: so many may be theirs.
    if there.len() <= unknown(facts, Kind::Buy).count() {
        return;
    }
    for (pass, order) in there {
        let subject = format!("pass {pass}, order {order}");
        findings.add("no_purchase_from_nowhere", subject);
    }
}

/// Every acknowledged payment is in billing, and what its payer was told is in the provider's
/// books.
fn payments(facts: &Facts, findings: &mut Findings) {
    for (one, answer) in of_kind(facts, Kind::Pay) {
        let id = id_at(answer, "/payment/id", uuid_of).unwrap_or_default();
        if !facts.payments.contains(&id) {
            let subject = format!("operation {}: payment {id}", one.id);
            findings.add("acknowledged_payment_exists", subject);
        }
    }
    for (one, _) in of_kind(facts, Kind::Payer) {
        let code_url = one.request["codeUrl"].as_str().unwrap_or_default();
        if !facts.provider.is_paid(code_url) {
            let subject = format!("operation {}: {code_url}", one.id);
            findings.add("acknowledged_money_is_at_provider", subject);
        }
    }
}

/// Every acknowledged scan is there exactly once with its decision, and none comes from nowhere.
fn scans(facts: &Facts, findings: &mut Findings) {
    let mut there: BTreeMap<(&str, String), Vec<(&str, &str)>> = BTreeMap::new();
    for row in &facts.scans {
        let found = there.entry((&row.gate, row.seq.clone())).or_default();
        found.push((&row.id, &row.decision));
    }
    let key = |one: &Operation| {
        let gate = facts.gates.get(one.who).map_or("", String::as_str);
        (gate, one.request["scanId"]["seq"].to_string())
    };
    for (one, answer) in of_kind(facts, Kind::Redeem) {
        let found = there.remove(&key(one)).unwrap_or_default();
        let decision = answer["decision"].as_str().unwrap_or_default();
        let decision = decision.to_lowercase();
        let id = id_at(answer, "/redemption/id", uuid_of).unwrap_or_default();
        if found != [(id.as_str(), decision.as_str())] {
            let subject = format!(
                "operation {}: told {id} {decision}, found {found:?}",
                one.id
            );
            findings.add("acknowledged_scan_exists_once", subject);
        }
        *findings.decisions.entry(decision).or_default() += 1;
    }
    for one in unknown(facts, Kind::Redeem) {
        there.remove(&key(one));
    }
    for (scan, found) in there {
        findings.add("no_scan_from_nowhere", format!("{scan:?}: {found:?}"));
    }
}

/// No pass entered more often than it allows, in all or at one venue on one day.
fn entries(facts: &Facts, findings: &mut Findings) {
    let mut in_all: BTreeMap<&str, usize> = BTreeMap::new();
    let mut daily: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for row in facts.scans.iter().filter(|row| row.decision == "admit") {
        *in_all.entry(&row.entitlement).or_default() += 1;
        let place = (
            row.entitlement.as_str(),
            row.venue.as_str(),
            row.day.as_str(),
        );
        *daily.entry(place).or_default() += 1;
    }
    for (entitlement, count) in in_all.into_iter().filter(|(_, count)| *count > ENTRIES_MAX) {
        findings.add("entries_within_pass", format!("{entitlement}: {count}"));
    }
    let daily = daily.into_iter();
    for (place, count) in daily.filter(|(_, count)| *count > ENTRIES_PER_VENUE_DAILY) {
        findings.add("entries_within_pass", format!("{place:?}: {count}"));
    }
}

/// Every acknowledged return ended: the money went back, or the pass had been used. Nobody's pass
/// was returned in her name without her.
fn returns(facts: &Facts, findings: &mut Findings) {
    let mut there: BTreeMap<&str, Vec<&Return>> = BTreeMap::new();
    for row in &facts.returns {
        there.entry(&row.pass).or_default().push(row);
    }
    for (one, answer) in of_kind(facts, Kind::Refund) {
        let pass = id_at(answer, "/pass/id", number_of).unwrap_or_default();
        let found = there.remove(pass.as_str()).unwrap_or_default();
        let ended = |row: &&Return| matches!(row.state.as_str(), "done" | "refused");
        if found.is_empty() || !found.iter().all(ended) {
            let states: Vec<&str> = found.iter().map(|row| row.state.as_str()).collect();
            let subject = format!("operation {}: pass {pass}: {states:?}", one.id);
            findings.add("acknowledged_return_ends", subject);
        }
    }
    let left = there.into_values().flatten();
    for row in left.filter(|row| row.cause == "holder") {
        let subject = format!("pass {}: {}", row.pass, row.state);
        findings.add("no_return_from_nowhere", subject);
    }
}

/// The provider's books are the ledger's: the same payments, the same refunds, the same balance.
fn money(facts: &Facts, findings: &mut Findings) {
    let provider = &facts.provider;
    let (received, returned) = (added_up(&facts.receipts), added_up(&facts.refunds));
    differ(
        "payments_are_booked",
        &provider.payments,
        &received,
        findings,
    );
    differ("refunds_are_booked", &provider.refunds, &returned, findings);
    let sum = |sums: &BTreeMap<String, i64>| sums.values().sum::<i64>();
    let theirs = sum(&provider.payments) - sum(&provider.refunds);
    let ours = facts.balance_fen;
    if ours != theirs {
        let subject = format!("the provider holds {theirs} fen, the ledger says {ours}");
        findings.add("bill_is_ledger", subject);
    }
}

/// What is booked twice under one number counts twice.
fn added_up(sums: &[Sum]) -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    for sum in sums {
        *found.entry(sum.number.clone()).or_default() += sum.fen;
    }
    found
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

/// What must still happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// Orders whose payers were told that they have paid.
    pub(crate) paid: BTreeSet<String>,
    /// Orders that passes knows, with the state of their pass.
    pub(crate) passes: BTreeMap<String, String>,
    /// Orders whose money went back as a whole.
    pub(crate) given_back: BTreeSet<String>,
    /// Billing's refunds that are not done, with their states.
    pub(crate) refunds: BTreeMap<String, String>,
}

impl Waiting {
    /// What is unfinished, one sentence each. A paid order has its pass, or its money back.
    pub(crate) fn pending(&self) -> Vec<String> {
        let mut found = Vec::new();
        for order in &self.paid {
            match self.passes.get(order).map(String::as_str) {
                None => found.push(format!("order {order} was paid and has no pass")),
                Some("awaiting_payment" | "lapsed") if self.given_back.contains(order) => {}
                Some(state @ ("awaiting_payment" | "lapsed")) => {
                    found.push(format!("order {order} was paid and its pass is {state}"));
                }
                Some(_) => {}
            }
        }
        let refunding = self
            .passes
            .iter()
            .filter(|(_, state)| *state == "refunding");
        found.extend(refunding.map(|(order, _)| format!("the pass of order {order} is refunding")));
        let refunds = self.refunds.iter();
        found.extend(refunds.map(|(id, state)| format!("refund {id} is {state}")));
        found
    }
}

/// What is wrong with the answer to a repetition of something acknowledged; nothing as long as
/// that answer is unknown.
pub(crate) fn repetition(one: &Operation, again: (Outcome, &Value)) -> Option<String> {
    let (outcome, answer) = again;
    match outcome {
        Outcome::Ok => {
            let before = identity(one.kind, one.done()?);
            let now = identity(one.kind, answer);
            let (kind, id) = (one.kind, one.id);
            (now != before).then(|| format!("{kind:?} {id}: {before:?}, now {now:?}"))
        }
        Outcome::Refused => {
            let (kind, id) = (one.kind, one.id);
            Some(format!("{kind:?} {id}: done, now refused: {answer}"))
        }
        Outcome::Unknown => None,
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

fn id_at(answer: &Value, pointer: &str, read: fn(&str) -> Option<String>) -> Option<String> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .and_then(read)
}

/// The bytes in an opaque id, after its type.
fn bytes_of(id: &str) -> Option<Vec<u8>> {
    let plain = URL_SAFE_NO_PAD.decode(id).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    Some(plain[colon + 1..].to_vec())
}

/// The UUID in an opaque id.
pub(crate) fn uuid_of(id: &str) -> Option<String> {
    let uuid = uuid::Uuid::from_slice(&bytes_of(id)?).ok()?;
    Some(uuid.to_string())
}

/// The number in an opaque id of a pass, signed as the databases keep it.
fn number_of(id: &str) -> Option<String> {
    let bytes: [u8; 8] = bytes_of(id)?.try_into().ok()?;
    Some(i64::from_be_bytes(bytes).to_string())
}

#[cfg(test)]
mod tests;
