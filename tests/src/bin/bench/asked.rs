//! Which figures a part has and what is asked of each, so that a part which could not be measured
//! stands on the page as missed, and not as if it had never been there.

use crate::figure::{Better, Figure};

/// A figure's name, its unit and which way it is good.
type Asked = (&'static str, &'static str, Better);

/// The figures of a part of which something is asked.
fn figures(part: &str) -> &'static [Asked] {
    match part {
        "verify" => &[("credential.verify_us", "µs", Better::Lower)],
        "vault" => &[("vault.read_us", "µs", Better::Lower)],
        "keys" => &[("keys.rotate_rate", "people/s", Better::Higher)],
        "login" => &[("login.rate", "/s", Better::Higher)],
        "roster" => &[
            ("roster.import_s", "s", Better::Lower),
            ("roster.import_mb", "MB", Better::Lower),
        ],
        "join" => &[("gateway.join_ratio", "of bare", Better::Higher)],
        "redeem" => &[
            ("redeem.direct", "/s", Better::Higher),
            ("redeem.gateway", "/s", Better::Higher),
        ],
        "buy" => &[("buy_pass.direct", "/s", Better::Higher)],
        "pay" => &[("pay_to_credential.p99_ms", "ms", Better::Lower)],
        "memory" => &[
            ("memory.idle_mb", "MB", Better::Lower),
            ("memory.idle_after_load_mb", "MB", Better::Lower),
            ("memory.load_mb", "MB", Better::Lower),
        ],
        "relay" => &[
            ("relay.drain", "events/s", Better::Higher),
            ("relay.p99_ms", "ms", Better::Lower),
        ],
        "growth" => &[("redeem.growth", "×", Better::Lower)],
        "member" => &[("member.search_p99_ms", "ms", Better::Lower)],
        _ => &[],
    }
}

/// The figures of a part that could not be measured, missed for that.
pub(crate) fn unmeasured(part: &str, why: &str) -> Vec<Figure> {
    let figures = figures(part).iter();
    figures
        .map(|(name, unit, better)| {
            let said = format!("not measured: {why}");
            Figure::new(name, f64::NAN, unit, *better).holds(false, said)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was not measured has no number and is missed.
    #[test]
    fn a_part_that_fails_is_missed() {
        let figures = unmeasured("redeem", "a scan was refused");
        let names: Vec<&str> = figures.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["redeem.direct", "redeem.gateway"]);
        for figure in &figures {
            let json = figure.json();
            assert!(json["value"].is_null() && json["met"] == false, "{json}");
        }
    }

    /// Every part but the one that only shows the machine has a figure to miss.
    #[test]
    fn every_part_has_figures() {
        let without = |part: &&str| figures(part).is_empty();
        let without: Vec<&str> = crate::PARTS.into_iter().filter(without).collect();
        assert_eq!(without, ["limits"]);
    }
}
