//! `dates.json`: published terms of annual passes.

use credential::dates::{DateRange, Span, add_days};
use serde_json::Value;

use super::{date, list, load, number};

fn span(value: &Value) -> Span {
    if value["days"].is_null() {
        Span::Months(number(value, "months"))
    } else {
        Span::Days(number(value, "days"))
    }
}

/// A pass starts when activated, or by itself when its activation span is over, and ends where
/// the published terms say.
#[test]
fn published_windows_hold() {
    let file = load("dates.json");
    assert_eq!(list(&file, "pass_window").len(), 3);
    for case in list(&file, "pass_window") {
        let activation = DateRange::lasting(date(case, "buy"), span(&case["activation"]))
            .expect("an activation span");
        let activated = (!case["activate"].is_null()).then(|| date(case, "activate"));
        let start = activated
            .filter(|day| activation.contains(*day))
            .unwrap_or(activation.end());
        assert_eq!(start, date(case, "start"), "{case}");
        if !case["last_activation_day"].is_null() {
            assert_eq!(
                activation.last(),
                date(case, "last_activation_day"),
                "{case}"
            );
        }
        let window = DateRange::lasting(start, span(&case["duration"])).expect("a window");
        if case["end_exclusive"].is_null() {
            assert_eq!(window.last(), date(case, "last_day_inclusive"), "{case}");
            assert_eq!(Some(window.end()), add_days(window.last(), 1));
        } else {
            assert_eq!(window.end(), date(case, "end_exclusive"), "{case}");
        }
    }
}
