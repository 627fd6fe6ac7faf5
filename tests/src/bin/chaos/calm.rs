//! The load while nothing was broken: between the return of all that one fault took away and the
//! next fault. There every arrival must begin and nearly each be answered; while something is
//! broken that cannot be asked. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::client::ANSWER_TIMEOUT;
use crate::faults::Event;
use crate::oplog::{Kind, Operation};

/// The last of each stretch does not count, in milliseconds: what begins there may still be under
/// way when the next fault comes.
const EDGE_MS: u64 = 500;

/// How many of one kind began, and how many of those were answered, by a deed or a refusal, within
/// the time in which an answer may come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Arrivals {
    pub(crate) begun: f64,
    pub(crate) answered: f64,
}

/// What arrived in all stretches together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Calm {
    pub(crate) seconds: f64,
    pub(crate) purchases: Arrivals,
    pub(crate) scans: Arrivals,
}

/// The stretches without a fault, in milliseconds of the log of operations: from the first
/// purchases that went all the way to the last fault.
pub(crate) fn stretches(warm_ms: u64, events: &[Event]) -> Vec<Range<u64>> {
    let mut from = warm_ms;
    let mut found = Vec::new();
    for event in events {
        let until = event.at_ms.saturating_sub(EDGE_MS);
        if from < until {
            found.push(from..until);
        }
        from = event.at_ms + event.took_ms;
    }
    found
}

impl Calm {
    pub(crate) fn of(stretches: &[Range<u64>], operations: &BTreeMap<u64, Operation>) -> Self {
        let lasted: u64 = stretches.iter().map(|one| one.end - one.start).sum();
        let mut calm = Self {
            seconds: lasted as f64 / 1_000.0,
            ..Self::default()
        };
        let in_time = ANSWER_TIMEOUT.as_millis();
        for one in operations.values() {
            let arrivals = match one.kind {
                Kind::Buy => &mut calm.purchases,
                Kind::Redeem => &mut calm.scans,
                Kind::Pay | Kind::Payer | Kind::Refund => continue,
            };
            if !stretches.iter().any(|range| range.contains(&one.sent_ms)) {
                continue;
            }
            arrivals.begun += 1.0;
            let took = one.known_ms.map(|at| u128::from(at - one.sent_ms));
            if took.is_some_and(|took| took <= in_time) {
                arrivals.answered += 1.0;
            }
        }
        calm
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Arrivals, Calm, stretches};
    use crate::faults::{Ending, Event};
    use crate::oplog::{Kind, Operation, Outcome};
    use crate::schedule::Fault;

    fn event(at_ms: u64, took_ms: u64) -> Event {
        Event {
            at_ms,
            took_ms,
            recovered: None,
            fault: Fault::Flush,
            seen: String::new(),
            ending: Ending::Healed,
        }
    }

    /// A stretch begins when a fault is over and ends a little before the next; a pause that is no
    /// longer than that little is none.
    #[test]
    fn stretches_lie_between_faults() {
        let events = [event(3_000, 1_000), event(4_500, 2_000), event(9_000, 1)];
        assert_eq!(stretches(1_000, &events), [1_000..2_500, 6_500..8_500]);
        assert_eq!(stretches(1_000, &[]), []);
    }

    /// What began in a stretch counts, and is answered when something definite came in time.
    #[test]
    fn what_is_not_answered_in_time_is_told_from_what_is() {
        let operation = |number: u64, kind, sent, answer: Option<(u64, Outcome)>| {
            let mut one = Operation::new(number, kind, 0, (sent, json!({})));
            if let Some((at, outcome)) = answer {
                one.answered(at, outcome, json!({}));
            }
            (number, one)
        };
        let operations = [
            operation(1, Kind::Buy, 1_000, Some((1_100, Outcome::Ok))),
            operation(2, Kind::Redeem, 2_999, Some((14_999, Outcome::Refused))),
            operation(3, Kind::Redeem, 2_000, Some((14_001, Outcome::Ok))),
            operation(4, Kind::Redeem, 2_000, Some((2_001, Outcome::Unknown))),
            operation(5, Kind::Redeem, 2_000, None),
            operation(6, Kind::Redeem, 3_000, Some((3_001, Outcome::Ok))),
            operation(7, Kind::Pay, 2_000, Some((2_001, Outcome::Ok))),
        ];
        let arrivals = |begun, answered| Arrivals { begun, answered };
        let calm = Calm::of(&[1_000..2_500, 2_500..3_000], &operations.into());
        let asked = Calm {
            seconds: 2.0,
            purchases: arrivals(1.0, 1.0),
            scans: arrivals(4.0, 1.0),
        };
        assert_eq!(calm, asked);
    }
}
