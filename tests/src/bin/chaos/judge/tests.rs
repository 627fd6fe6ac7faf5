//! The judge is judged: a world in which all is well has no findings, and each violation that is
//! planted in it is found under its own rule and no other.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Facts, Findings, LIVENESS, Return, Scan, Sold, Sum, Waiting, compare, repetition};
use crate::oplog::{Kind, Operation, Outcome};
use crate::people::{ENTRIES_MAX, ENTRIES_PER_VENUE_DAILY};

const PRICE_FEN: i64 = 1_990;
/// The operations of the clean world, by their numbers.
const BUY: u64 = 1;
const PAY: u64 = 2;
const PAYER: u64 = 3;
const REFUND: u64 = 4;
const REDEEM: u64 = 5;
const KEPT: u64 = 6;

fn uuid(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

fn opaque(name: &str, bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([name.as_bytes(), b":", bytes].concat())
}

fn id(name: &str, number: u128) -> String {
    opaque(name, Uuid::from_u128(number).as_bytes())
}

fn bought(pass: i64, order: u128) -> Value {
    json!({ "pass": {
        "id": opaque("Pass", &pass.to_be_bytes()),
        "number": "1",
        "order": { "id": id("Order", order) },
    } })
}

fn scanned(number: u128) -> Value {
    json!({ "decision": "ADMIT", "reason": null, "redemption": { "id": id("Redemption", number) } })
}

fn operation(number: u64, kind: Kind, request: Value, answer: Value) -> (u64, Operation) {
    let mut one = Operation::new(number, kind, 0, (number * 10, request));
    one.answered(number * 10 + 1, Outcome::Unknown, json!("no answer"));
    one.answered(number * 10 + 2, Outcome::Ok, answer);
    (number, one)
}

fn scan(number: u128, seq: u64) -> Scan {
    Scan {
        gate: uuid(70),
        seq: seq.to_string(),
        id: uuid(number),
        decision: "admit".to_owned(),
        entitlement: "-12".to_owned(),
        venue: uuid(80),
        day: "2026-11-24".to_owned(),
    }
}

fn sum(number: &str) -> Sum {
    Sum {
        number: number.to_owned(),
        fen: PRICE_FEN,
    }
}

/// Two passes are bought. One is paid, entered and kept; one is paid and goes back.
fn clean() -> Facts {
    let pass = json!({ "pass": { "id": opaque("Pass", &11_i64.to_be_bytes()) } });
    let payer = json!({ "codeUrl": "weixin://wxpay/bizpayurl?pr=one", "orderId": id("Order", 21) });
    let mut facts = Facts {
        operations: [
            operation(BUY, Kind::Buy, json!({}), bought(11, 21)),
            operation(
                PAY,
                Kind::Pay,
                json!({}),
                json!({ "payment": { "id": id("Payment", 31) } }),
            ),
            operation(PAYER, Kind::Payer, payer, json!({})),
            operation(REFUND, Kind::Refund, json!({}), pass),
            operation(
                REDEEM,
                Kind::Redeem,
                json!({ "scanId": { "seq": 1 } }),
                scanned(41),
            ),
            operation(KEPT, Kind::Buy, json!({}), bought(-12, 22)),
        ]
        .into(),
        gates: vec![uuid(70)],
        sold: [("11", 21), ("-12", 22)]
            .map(|(pass, order)| Sold {
                pass: pass.to_owned(),
                order: uuid(order),
            })
            .to_vec(),
        payments: [uuid(31)].into(),
        scans: vec![scan(41, 1)],
        returns: vec![Return {
            pass: "11".to_owned(),
            state: "done".to_owned(),
            cause: "holder".to_owned(),
        }],
        receipts: vec![sum("T1"), sum("T2")],
        refunds: vec![sum("R1")],
        balance_fen: PRICE_FEN,
        ..Facts::default()
    };
    let provider = &mut facts.provider;
    provider.payments = ["T1", "T2"].map(|one| (one.to_owned(), PRICE_FEN)).into();
    provider.refunds = [("R1".to_owned(), PRICE_FEN)].into();
    provider.tokens = [("one".to_owned(), "N1".to_owned())].into();
    provider.paid = ["N1".to_owned()].into();
    facts
}

fn rules(facts: &Facts) -> Vec<&'static str> {
    let mut findings = Findings::default();
    compare(facts, &mut findings);
    findings.counts.into_keys().collect()
}

fn of(facts: &mut Facts, number: u64) -> &mut Operation {
    facts.operations.get_mut(&number).expect("it is planted")
}

/// Makes an operation one that was answered like this and by nothing else.
fn answered(facts: &mut Facts, number: u64, (outcome, answer): (Outcome, Value)) {
    let one = of(facts, number);
    let mut other = Operation::new(
        one.id,
        one.kind,
        one.who,
        (one.sent_ms, one.request.clone()),
    );
    other.answered(one.sent_ms + 1, outcome, answer);
    *one = other;
}

/// A world in which all is well has no findings, and its operations are counted.
#[test]
fn nothing_is_found_where_all_is_well() {
    let mut findings = Findings::default();
    compare(&clean(), &mut findings);
    assert_eq!(findings.counts, [].into());
    assert_eq!(findings.operations[&Kind::Buy], [2, 0, 0]);
    assert_eq!(findings.operations[&Kind::Redeem], [1, 0, 0]);
    assert_eq!(findings.decisions, [("admit".to_owned(), 1)].into());
}

/// What was refused counts by its code, and what is refused leaves nothing behind.
#[test]
fn a_refusal_is_no_violation() {
    let mut facts = clean();
    answered(&mut facts, KEPT, (Outcome::Refused, json!("SOLD_OUT")));
    facts.sold.retain(|row| row.pass != "-12");
    let mut findings = Findings::default();
    compare(&facts, &mut findings);
    assert_eq!(findings.counts, [].into());
    let refusal = (Kind::Buy, "SOLD_OUT".to_owned());
    assert_eq!(findings.refusals, [(refusal, 1)].into());
}

/// One planted violation, by the rule that must find it.
type Planted = (&'static str, fn(&mut Facts));

const PURCHASES: [Planted; 8] = [
    ("acknowledged_purchase_exists", |facts| {
        facts.sold.retain(|row| row.pass != "-12");
    }),
    ("acknowledged_purchase_exists", |facts| {
        facts.sold[0].order = uuid(99);
    }),
    // Two buyers were told the same pass.
    ("acknowledged_purchase_exists", |facts| {
        let (number, twin) = operation(9, Kind::Buy, json!({}), bought(11, 21));
        facts.operations.insert(number, twin);
    }),
    ("acknowledged_purchase_exists", |facts| {
        answered(facts, KEPT, (Outcome::Ok, json!({ "pass": null })));
        facts.sold.retain(|row| row.pass != "-12");
    }),
    ("no_purchase_from_nowhere", |facts| {
        facts.sold.push(Sold {
            pass: "13".to_owned(),
            order: uuid(23),
        });
    }),
    // It was refused, and done all the same.
    ("no_purchase_from_nowhere", |facts| {
        answered(facts, KEPT, (Outcome::Refused, json!("SOLD_OUT")));
    }),
    ("known_after_replay", |facts| {
        answered(facts, KEPT, (Outcome::Unknown, json!("no answer")));
        facts.sold.retain(|row| row.pass != "-12");
    }),
    // It was done: that is no second finding.
    ("known_after_replay", |facts| {
        answered(facts, KEPT, (Outcome::Unknown, json!("no answer")));
    }),
];

const SCANS: [Planted; 8] = [
    ("acknowledged_scan_exists_once", |facts| facts.scans.clear()),
    ("acknowledged_scan_exists_once", |facts| {
        facts.scans[0].decision = "deny".to_owned();
    }),
    ("acknowledged_scan_exists_once", |facts| {
        facts.scans[0].id = uuid(49);
    }),
    ("acknowledged_scan_exists_once", |facts| {
        facts.scans.push(scan(42, 1));
    }),
    ("no_scan_from_nowhere", |facts| {
        facts.scans.push(scan(42, 2));
    }),
    ("known_after_replay", |facts| {
        answered(facts, REDEEM, (Outcome::Unknown, json!("no answer")));
    }),
    ("entries_within_pass", |facts| {
        entered(facts, ENTRIES_MAX + 1, |number, scan| {
            scan.venue = uuid(number)
        });
    }),
    ("entries_within_pass", |facts| {
        entered(facts, ENTRIES_PER_VENUE_DAILY + 1, |_, _| {});
    }),
];

/// So many scans at the gate admitted the same pass, each of them acknowledged.
fn entered(facts: &mut Facts, times: usize, differs: fn(u128, &mut Scan)) {
    facts.scans.clear();
    facts.operations.remove(&REDEEM);
    for (number, seq) in (100_u128..).zip(100_u64..).take(times) {
        let mut row = scan(number, seq);
        differs(number, &mut row);
        facts.scans.push(row);
        let request = json!({ "scanId": { "seq": seq } });
        let (id, one) = operation(seq, Kind::Redeem, request, scanned(number));
        facts.operations.insert(id, one);
    }
}

const MONEY: [Planted; 12] = [
    ("acknowledged_payment_exists", |facts| {
        facts.payments.clear()
    }),
    ("acknowledged_money_is_at_provider", |facts| {
        facts.provider.paid.clear();
    }),
    ("acknowledged_return_ends", |facts| facts.returns.clear()),
    ("acknowledged_return_ends", |facts| {
        facts.returns[0].state = "counting".to_owned();
    }),
    ("no_return_from_nowhere", |facts| {
        let pass = "-12".to_owned();
        let other = facts.returns[0].clone();
        facts.returns.push(Return { pass, ..other });
    }),
    // The provider has money that nobody booked; the ledger's balance is of what was booked.
    ("payments_are_booked", |facts| {
        facts.receipts[0].number = "T9".to_owned();
    }),
    ("payments_are_booked", |facts| {
        facts.receipts[0].fen = 1;
    }),
    ("payments_are_booked", |facts| {
        let twice = facts.receipts[0].clone();
        facts.receipts.push(twice);
    }),
    ("refunds_are_booked", |facts| facts.refunds.clear()),
    ("refunds_are_booked", |facts| {
        let twice = facts.refunds[0].clone();
        facts.refunds.push(twice);
    }),
    ("bill_is_ledger", |facts| facts.balance_fen = 0),
    ("bill_is_ledger", |facts| facts.balance_fen += 1),
];

#[test]
fn each_planted_violation_is_found_under_its_rule_alone() {
    let planted = PURCHASES.iter().chain(&SCANS).chain(&MONEY);
    for (number, (rule, plant)) in planted.enumerate() {
        let mut facts = clean();
        plant(&mut facts);
        assert_eq!(rules(&facts), [*rule], "violation {number}");
    }
}

/// An entry that the pass allows is none too many: the rules count to the limit and not below it.
#[test]
fn entries_up_to_the_limit_are_allowed() {
    let mut facts = clean();
    entered(&mut facts, ENTRIES_PER_VENUE_DAILY, |_, _| {});
    assert_eq!(rules(&facts), Vec::<&str>::new());
    entered(&mut facts, ENTRIES_MAX, |number, scan| {
        scan.venue = uuid(number)
    });
    assert_eq!(rules(&facts), Vec::<&str>::new());
}

/// A pass that was returned in its holder's name twice, once without her end, is not at its end.
#[test]
fn every_return_of_a_pass_must_end() {
    let mut facts = clean();
    let open = Return {
        state: "returned".to_owned(),
        ..facts.returns[0].clone()
    };
    facts.returns.push(open);
    assert_eq!(rules(&facts), ["acknowledged_return_ends"]);
}

/// A repetition that answers with something else, or with a refusal, is told; other fields may
/// show today's state.
#[test]
fn a_repetition_answers_the_same() {
    let facts = clean();
    let one = &facts.operations[&BUY];
    let mut later = bought(11, 21);
    later["pass"]["state"] = json!("ACTIVE");
    assert_eq!(repetition(one, (Outcome::Ok, &later)), None);
    assert_eq!(
        repetition(one, (Outcome::Unknown, &json!("no answer"))),
        None
    );
    let other = bought(14, 21);
    assert!(repetition(one, (Outcome::Ok, &other)).is_some());
    assert!(repetition(one, (Outcome::Refused, &json!("SOLD_OUT"))).is_some());
    let scan = &facts.operations[&REDEEM];
    let mut denied = scanned(41);
    denied["decision"] = json!("DENY");
    assert!(repetition(scan, (Outcome::Ok, &denied)).is_some());
}

fn waiting() -> Waiting {
    let states = [
        (21, "refunded"),
        (22, "active"),
        (23, "awaiting_payment"),
        (24, "lapsed"),
    ];
    Waiting {
        paid: [uuid(21), uuid(22)].into(),
        passes: states
            .map(|(order, state)| (uuid(order), state.to_owned()))
            .into(),
        ..Waiting::default()
    }
}

/// Nothing is pending when every paid order has its pass or its money back: unpaid ones may wait.
#[test]
fn what_is_unpaid_may_wait() {
    assert_eq!(waiting().pending(), Vec::<String>::new());
    let mut back = waiting();
    back.paid.insert(uuid(24));
    back.given_back.insert(uuid(24));
    assert_eq!(back.pending(), Vec::<String>::new());
}

/// Each thing that must still happen is pending.
#[test]
fn what_is_unfinished_is_pending() {
    let planted: [fn(&mut Waiting); 5] = [
        |waiting| drop(waiting.passes.remove(&uuid(22))),
        |waiting| {
            drop(
                waiting
                    .passes
                    .insert(uuid(22), "awaiting_payment".to_owned()),
            )
        },
        |waiting| drop(waiting.passes.insert(uuid(22), "lapsed".to_owned())),
        |waiting| drop(waiting.passes.insert(uuid(21), "refunding".to_owned())),
        |waiting| drop(waiting.refunds.insert(uuid(51), "processing".to_owned())),
    ];
    for (number, plant) in planted.into_iter().enumerate() {
        let mut waiting = waiting();
        plant(&mut waiting);
        assert_eq!(waiting.pending().len(), 1, "violation {number}");
    }
}

/// Within the limit one waits on; after it what is pending is told, and so is an end that came
/// too late.
#[test]
fn everything_finishes_in_time() {
    let late = LIVENESS + Duration::from_millis(1);
    let pending = ["refund 1 is processing".to_owned()];
    let mut findings = Findings::default();
    assert!(!findings.finished(&pending, LIVENESS));
    assert!(findings.finished(&[], LIVENESS));
    assert_eq!((findings.total(), findings.finished), (0, Some(LIVENESS)));

    let mut findings = Findings::default();
    assert!(findings.finished(&pending, late));
    assert_eq!(findings.counts, [("finished_in_time", 1)].into());
    assert_eq!(findings.finished, None);

    let mut findings = Findings::default();
    assert!(findings.finished(&[], late));
    assert_eq!(findings.counts, [("finished_in_time", 1)].into());
}

/// Of many violations of one rule some are named, and all are counted.
#[test]
fn what_is_not_named_is_counted() {
    let mut findings = Findings::default();
    for number in 0..100 {
        findings.add("bill_is_ledger", number.to_string());
    }
    assert_eq!(
        (findings.total(), findings.violations.len()),
        (100, super::NAMED_MAX)
    );
}
