//! `rules.json`: rules and facts in, a decision out.

use std::collections::BTreeSet;

use credential::dates::DateRange;
use credential::rules::{Decision, EVALUATOR_VERSION, Language, Reason, Rules, RulesError, decide};
use serde_json::{Value, json};

use super::{facts, hold, instant, list, load, shanghai, text};

fn evaluate(case: &Value) -> Decision {
    decide(
        &facts::rules(&case["rules"]),
        &facts::entitlement(&case["entitlement"]),
        &facts::history(case),
        &facts::venue(&case["venue"]),
        instant(case, "now"),
        &facts::scan(&case["scan"]),
    )
}

fn outcome(decision: &Decision) -> Value {
    match decision {
        Decision::Admit {
            remaining,
            hints,
            counted_on,
        } => json!({
            "decision": "admit",
            "remaining": {
                "today": remaining.today, "venue": remaining.venue, "total": remaining.total,
            },
            "hints": { "document_check": hints.document_check, "photo": hints.photo },
            "counted_on": counted_on.to_string(),
        }),
        Decision::Deny {
            reason,
            next_try_at,
            ..
        } => json!({
            "decision": "deny",
            "reason": reason.code(),
            "next_try_at": next_try_at.map(shanghai),
        }),
        Decision::Ask { reason } => json!({ "decision": "ask", "reason": reason.code() }),
    }
}

/// Every case gives the outcome that was written down for it by hand.
#[test]
fn the_evaluator_gives_the_golden_outcomes() {
    let file = load("rules.json");
    let cases = list(&file, "cases");
    assert!(cases.len() >= 80);
    let mut names = BTreeSet::new();
    for case in cases {
        let name = text(case, "name");
        assert!(names.insert(name), "two cases are called {name:?}");
        assert_eq!(outcome(&evaluate(case)), case["expect"], "{name}");
    }
}

/// The canonical bytes and the texts stand beside each case.
#[test]
fn the_bytes_and_texts_are_golden() {
    let mut file = load("rules.json");
    file["evaluator_version"] = json!(EVALUATOR_VERSION);
    for case in file["cases"].as_array_mut().expect("cases") {
        let bytes = facts::rules(&case["rules"])
            .to_bytes()
            .expect("within the limits");
        let decision = evaluate(case);
        case["rules_hex"] = json!(hex::encode(bytes));
        case["texts"] = json!({
            "zh": decision.text(Language::Chinese),
            "en": decision.text(Language::English),
        });
    }
    hold("rules.json", &file);
}

/// The bytes read back as the rules, save those for a newer evaluator, which are not even read.
#[test]
fn the_golden_bytes_read_back() {
    for case in list(&load("rules.json"), "cases") {
        let rules = facts::rules(&case["rules"]);
        let bytes = hex::decode(text(case, "rules_hex")).expect("hexadecimal");
        let expected = if rules.evaluator_least > EVALUATOR_VERSION {
            Err(RulesError::EvaluatorTooOld)
        } else {
            Ok(rules)
        };
        assert_eq!(
            Rules::from_bytes(&bytes),
            expected,
            "{}",
            text(case, "name")
        );
    }
}

/// A form that a gate cannot read makes it ask, never admit.
#[test]
fn unreadable_rules_are_asked_about() {
    let good = Rules::unlimited().to_bytes().expect("within the limits");
    let mut later = good.clone();
    later[3] = 2;
    let cut = &good[..good.len() - 1];
    for (bytes, error, reason) in [
        (
            later.as_slice(),
            RulesError::UnknownForm,
            Reason::EvaluatorTooOld,
        ),
        (
            b"CYR\x01\x00\x03anything",
            RulesError::EvaluatorTooOld,
            Reason::EvaluatorTooOld,
        ),
        (b"{}", RulesError::UnknownForm, Reason::EvaluatorTooOld),
        (cut, RulesError::Malformed, Reason::Internal),
    ] {
        assert_eq!(Rules::from_bytes(bytes), Err(error));
        assert_eq!(error.decision(), Decision::Ask { reason });
    }
}

/// A list that repeats or falls is another text of the same rules, and so refused.
#[test]
fn lists_rise_without_repetition() {
    let day = |text: &str| text.parse().expect("a date");
    let range = |start, end| DateRange::new(day(start), day(end)).expect("not empty");
    let blackouts = [
        range("2026-05-01", "2026-05-06"),
        range("2026-10-01", "2026-10-08"),
    ]
    .into();
    let rules = Rules {
        blackouts,
        ..Rules::unlimited()
    };
    let bytes = rules.to_bytes().expect("within the limits");
    // Behind the two ranges of eight bytes stand the suspensions' count, the flags and the grace.
    let end = bytes.len() - 5;
    let (first, second) = (
        bytes[end - 16..end - 8].to_vec(),
        bytes[end - 8..end].to_vec(),
    );
    let with = |ranges: [&[u8]; 2]| {
        let changed = [&bytes[..end - 16], ranges[0], ranges[1], &bytes[end..]].concat();
        Rules::from_bytes(&changed)
    };
    assert_eq!(with([&first, &second]), Ok(rules));
    assert_eq!(with([&first, &first]), Err(RulesError::Malformed));
    assert_eq!(with([&second, &first]), Err(RulesError::Malformed));
}

/// Every reason that rules can give occurs in the vectors; the others come from parsing,
/// verifying and our own faults.
#[test]
fn every_reason_has_a_case() {
    let file = load("rules.json");
    let seen: BTreeSet<&str> = list(&file, "cases")
        .iter()
        .filter_map(|case| case["expect"]["reason"].as_str())
        .collect();
    let elsewhere = [
        "bad_format",
        "unknown_version",
        "unknown_key",
        "bad_signature",
        "internal",
    ];
    for reason in Reason::ALL {
        let code = reason.code();
        assert_eq!(seen.contains(code), !elsewhere.contains(&code), "{code}");
    }
}

/// Texts are whole sentences in both languages, and no two reasons read the same.
#[test]
fn every_reason_has_texts_of_its_own() {
    let mut seen = BTreeSet::new();
    for reason in Reason::ALL {
        let (zh, en) = (
            reason.text(Language::Chinese),
            reason.text(Language::English),
        );
        assert!(
            zh.ends_with('。') && zh.contains('，') && !zh.contains('.'),
            "{zh}"
        );
        assert!(en.ends_with('.') && en.is_ascii(), "{en}");
        assert!(seen.insert(zh) && seen.insert(en), "{reason}");
    }
}
