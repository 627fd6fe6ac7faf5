//! What a part of the bench reports: one figure, what the foundation asks of it, and the limit of
//! this machine that was taken in the same run. It measures nothing itself.

use serde_json::{Value, json};

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// `floor` is the least that is asked.
    Higher,
    /// `floor` is the most that is allowed: latencies, memory.
    Lower,
}

/// A figure of the machine, not of our code.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// A line of a plot: points of (x, y), with their units in the name.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One measured figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// `part.what`, as the issues name it.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What is asked of it: a ceiling where [`Better::Lower`].
    pub(crate) floor: f64,
    pub(crate) better: Better,
    pub(crate) limit: Option<Limit>,
    /// For the page.
    pub(crate) series: Vec<Series>,
    /// What a reader must know beside the number.
    pub(crate) notes: Vec<String>,
    /// Conditions beside the floor that do not hold, in words; any of them makes it missed.
    pub(crate) failed: Vec<String>,
}

impl Figure {
    /// A figure without a limit, series or notes.
    pub(crate) fn new(name: &str, value: f64, unit: &'static str, better: Better) -> Self {
        Self {
            name: name.to_owned(),
            value,
            unit,
            floor: match better {
                Better::Higher => 0.0,
                Better::Lower => f64::INFINITY,
            },
            better,
            limit: None,
            series: Vec::new(),
            notes: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Says what is asked of it.
    pub(crate) fn floor(mut self, floor: f64) -> Self {
        self.floor = floor;
        self
    }

    /// Says what the machine gives.
    pub(crate) fn limit(mut self, name: &str, value: f64) -> Self {
        self.limit = Some(Limit {
            name: name.to_owned(),
            value,
        });
        self
    }

    /// Adds what a reader must know.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds a line for the page.
    pub(crate) fn series(mut self, name: &str, points: Vec<(f64, f64)>) -> Self {
        self.series.push(Series {
            name: name.to_owned(),
            points,
        });
        self
    }

    /// Adds a condition of its own; one that does not hold makes the figure missed.
    pub(crate) fn holds(mut self, condition: bool, said: impl Into<String>) -> Self {
        if !condition {
            self.failed.push(said.into());
        }
        self
    }

    /// How much of the limit was reached.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.limit
            .as_ref()
            .filter(|limit| limit.value > 0.0)
            .map(|limit| self.value / limit.value)
    }

    /// Whether what was asked is there.
    pub(crate) fn met(&self) -> bool {
        let reached = match self.better {
            Better::Higher => self.value >= self.floor,
            Better::Lower => self.value <= self.floor,
        };
        reached && self.value.is_finite() && self.failed.is_empty()
    }

    /// Its entry in `target/bench.json`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "floor": self.floor,
            "limit": self.limit.as_ref().map(|limit| json!({
                "name": limit.name, "value": limit.value,
            })),
            "ratio": self.ratio(),
            "met": self.met(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_met_from_above_and_a_ceiling_from_below() {
        let rate = |value| Figure::new("a.b", value, "/s", Better::Higher).floor(100.0);
        assert!(rate(100.0).met() && !rate(99.9).met());
        let wait = |value| Figure::new("a.b", value, "ms", Better::Lower).floor(30.0);
        assert!(wait(30.0).met() && !wait(30.1).met());
        assert!(!rate(f64::NAN).met() && !wait(f64::NAN).met());
        assert!(!rate(200.0).holds(false, "p99 is 31 ms").met());
    }

    #[test]
    fn the_ratio_is_the_share_of_the_limit() {
        let figure = Figure::new("a.b", 50.0, "/s", Better::Higher);
        assert_eq!(figure.ratio(), None);
        assert_eq!(figure.limit("pgbench", 25.0).ratio(), Some(2.0));
    }
}
