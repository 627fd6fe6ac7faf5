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
    /// What of ours is held against it, where that is not the figure itself: a share has no unit
    /// in which a machine could have a limit.
    pub(crate) ours: Option<f64>,
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
    /// Not finite where it could not be measured.
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What is asked of it, a ceiling where [`Better::Lower`]; `None` where nothing is asked.
    pub(crate) floor: Option<f64>,
    pub(crate) better: Better,
    pub(crate) limit: Option<Limit>,
    /// The share of one core that the generator of the load used.
    pub(crate) generator: Option<f64>,
    /// For the page.
    pub(crate) series: Vec<Series>,
    /// What a reader must know beside the number.
    pub(crate) notes: Vec<String>,
    /// Conditions beside the floor that do not hold, in words; any of them makes it missed.
    pub(crate) failed: Vec<String>,
    /// Where the time went, line by line: taken of what is missed.
    pub(crate) profile: Vec<String>,
}

impl Figure {
    /// A figure of which nothing is asked, without a limit, series or notes.
    pub(crate) fn new(name: &str, value: f64, unit: &'static str, better: Better) -> Self {
        Self {
            name: name.to_owned(),
            value,
            unit,
            floor: None,
            better,
            limit: None,
            generator: None,
            series: Vec::new(),
            notes: Vec::new(),
            failed: Vec::new(),
            profile: Vec::new(),
        }
    }

    /// Says what is asked of it.
    pub(crate) fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Asks nothing of it any more: it was taken under other conditions than those of the floor.
    pub(crate) fn unasked(mut self) -> Self {
        self.floor = None;
        self.notes.append(&mut self.failed);
        self
    }

    /// Says what the machine gives, in the figure's unit.
    pub(crate) fn limit(mut self, name: &str, value: f64) -> Self {
        self.limit = Some(Limit {
            name: name.to_owned(),
            value,
            ours: None,
        });
        self
    }

    /// Says what the machine gives where that is in another unit than the figure, and what of ours
    /// is held against it.
    pub(crate) fn limit_of(mut self, name: &str, value: f64, ours: f64) -> Self {
        self.limit = Some(Limit {
            name: name.to_owned(),
            value,
            ours: Some(ours),
        });
        self
    }

    /// Says how much of a core its generator used.
    pub(crate) fn generator(mut self, share: f64) -> Self {
        self.generator = Some(share);
        self
    }

    /// Adds what a reader must know.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says where the time went.
    pub(crate) fn profile(mut self, lines: Vec<String>) -> Self {
        self.profile = lines;
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
            .map(|limit| limit.ours.unwrap_or(self.value) / limit.value)
    }

    /// Whether what was asked is there; `None` where nothing was asked.
    pub(crate) fn met(&self) -> Option<bool> {
        if !self.failed.is_empty() {
            return Some(false);
        }
        let floor = self.floor?;
        let reached = match self.better {
            Better::Higher => self.value >= floor,
            Better::Lower => self.value <= floor,
        };
        Some(reached && self.value.is_finite())
    }

    /// Whether something was asked that is not there.
    pub(crate) fn is_missed(&self) -> bool {
        self.met() == Some(false)
    }

    /// Its entry in `target/bench.json`. What is no number there is null.
    pub(crate) fn json(&self) -> Value {
        let limit = self.limit.as_ref();
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "floor": self.floor,
            "limit": limit.map(|limit| limit.value),
            "limit_name": limit.map(|limit| &limit.name),
            "ratio": self.ratio(),
            "met": self.met(),
            "generator_cpu": self.generator,
            "failed": self.failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_met_from_above_and_a_ceiling_from_below() {
        let rate = |value| Figure::new("a.b", value, "/s", Better::Higher).floor(100.0);
        let wait = |value| Figure::new("a.b", value, "ms", Better::Lower).floor(30.0);
        for met in [rate(100.0), wait(30.0)] {
            assert_eq!(met.met(), Some(true), "{met:?}");
        }
        let worse = rate(200.0).holds(false, "p99 is 31 ms");
        for missed in [
            rate(99.9),
            wait(30.1),
            rate(f64::NAN),
            wait(f64::NAN),
            worse,
        ] {
            assert_eq!(missed.met(), Some(false), "{missed:?}");
        }
    }

    /// What nothing is asked of is neither met nor missed, also when a floor was taken back.
    #[test]
    fn nothing_asked_is_nothing_missed() {
        let figure = Figure::new("a.b", 1.0, "/s", Better::Higher);
        assert_eq!(figure.met(), None);
        let slower = figure.floor(100.0).holds(false, "p99 is 31 ms").unasked();
        assert_eq!(slower.met(), None);
        assert_eq!(slower.notes, ["p99 is 31 ms"]);
        let json = slower.json();
        assert!(json["floor"].is_null() && json["met"].is_null());
    }

    #[test]
    fn the_ratio_is_the_share_of_the_limit() {
        let figure = Figure::new("a.b", 50.0, "/s", Better::Higher);
        assert_eq!(figure.ratio(), None);
        let limited = figure.clone().limit("pgbench", 25.0);
        assert_eq!(limited.ratio(), Some(2.0));
        assert_eq!(limited.json()["limit"], 25.0);
        assert_eq!(limited.json()["limit_name"], "pgbench");
        let share = figure.limit_of("the bare router, /s", 8_000.0, 6_000.0);
        assert_eq!(share.ratio(), Some(0.75));
    }
}
