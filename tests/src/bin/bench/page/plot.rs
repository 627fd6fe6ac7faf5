//! Lines over two axes as SVG. Colours and fonts are the page's, so that it follows light and
//! dark; it draws a few thousand points and is meant for no more.

use std::fmt::Write as _;

use anyhow::Result;

use super::escaped;
use crate::report::number;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 250.0;
/// Where the drawing begins and ends within the picture.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 466.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 208.0;
/// Ticks of an axis, about.
const TICKS: f64 = 5.0;
/// Colours that the page has.
const COLOURS: usize = 4;
/// Percentiles that get a tick, each ten times rarer than the one before or nearly so.
const PERCENTILES: [f64; 5] = [0.0, 50.0, 90.0, 99.0, 99.9];
/// Where the hundredth percentile is drawn, which would be infinitely far.
const LAST_PERCENTILE: f64 = 99.97;

/// One line of a plot.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: &'a [(f64, f64)],
}

/// Lines that share their axes.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) lines: Vec<Line<'a>>,
    /// Whether x counts percent and its end is what matters: each nine takes as much room.
    pub(super) is_percentile: bool,
}

/// An axis from its least to its greatest value.
struct Axis {
    least: f64,
    greatest: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// From zero to a round number not below `greatest`.
    fn up_to(greatest: f64) -> Self {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let step = round_step(greatest / TICKS);
        let steps = (greatest / step).ceil();
        let ticks = std::iter::successors(Some(0.0), |at| Some(at + 1.0))
            .take_while(|at| *at <= steps)
            .map(|at| at * step);
        Self {
            least: 0.0,
            greatest: steps * step,
            ticks: ticks.collect(),
        }
    }

    /// From the least to the greatest value of points, with round ticks within.
    fn between(least: f64, greatest: f64) -> Self {
        let greatest = if greatest > least {
            greatest
        } else {
            least + 1.0
        };
        let step = round_step((greatest - least) / TICKS);
        let first = (least / step).ceil();
        let ticks = std::iter::successors(Some(first), |at| Some(at + 1.0))
            .map(|at| at * step)
            .take_while(|at| *at <= greatest * (1.0 + f64::EPSILON));
        Self {
            least,
            greatest,
            ticks: ticks.collect(),
        }
    }

    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        from + (value - self.least) / (self.greatest - self.least) * (to - from)
    }
}

/// The next of 1, 2, 5, 10, … times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(power * 10.0)
}

/// How far out a percentile is: the nines it has.
fn nines(percent: f64) -> f64 {
    -(1.0 - percent.min(LAST_PERCENTILE) / 100.0).log10()
}

impl Plot<'_> {
    pub(super) fn svg(&self) -> Result<String> {
        let x = self.horizontal();
        let highest = self.points().map(|(_, y)| y).fold(0.0, f64::max);
        let y = Axis::up_to(highest);
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        for tick in &y.ticks {
            let at = y.place(*tick, BOTTOM, TOP);
            write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                short(*tick)
            )?;
        }
        for tick in &x.ticks {
            let (place, text) = (self.across(*tick, &x), short(*tick));
            write!(
                svg,
                "<line class=\"axis\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{BOTTOM}\" \
                 y2=\"{:.1}\"/><text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}\
                 </text>",
                BOTTOM + 4.0,
                BOTTOM + 17.0
            )?;
        }
        self.words(&mut svg)?;
        for (index, line) in self.lines.iter().enumerate() {
            let places = line
                .points
                .iter()
                .filter(|(x, y)| x.is_finite() && y.is_finite())
                .map(|(at, value)| {
                    let (across, up) = (self.across(*at, &x), y.place(*value, BOTTOM, TOP));
                    format!("{across:.1},{up:.1}")
                })
                .collect::<Vec<_>>();
            let colour = index % COLOURS;
            let places = places.join(" ");
            write!(
                svg,
                "<polyline class=\"line-{colour}\" points=\"{places}\"/>"
            )?;
        }
        svg.push_str("</svg>");
        Ok(svg)
    }

    /// Names of axes and lines.
    fn words(&self, svg: &mut String) -> Result<()> {
        let (middle, foot) = (f64::midpoint(LEFT, RIGHT), HEIGHT - 8.0);
        let x = escaped(self.x);
        write!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{foot:.1}\" text-anchor=\"middle\">{x}</text>"
        )?;
        let mut at = LEFT;
        if self.lines.len() == 1 {
            let y = escaped(self.y);
            write!(svg, "<text x=\"{at:.1}\" y=\"16\">{y}</text>")?;
            return Ok(());
        }
        for (index, line) in self.lines.iter().enumerate() {
            let (colour, name) = (index % COLOURS, escaped(line.name));
            write!(
                svg,
                "<rect class=\"line-{colour}\" x=\"{at:.1}\" y=\"9\" width=\"10\" height=\"4\" \
                 rx=\"2\"/><text x=\"{:.1}\" y=\"15\">{name}</text>",
                at + 15.0
            )?;
            at += 30.0 + width_of(line.name);
        }
        Ok(())
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().copied());
        all.filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    fn horizontal(&self) -> Axis {
        if self.is_percentile {
            return Axis {
                least: 0.0,
                greatest: 100.0,
                ticks: PERCENTILES.to_vec(),
            };
        }
        let least = self.points().map(|(x, _)| x).fold(f64::INFINITY, f64::min);
        let greatest = self
            .points()
            .map(|(x, _)| x)
            .fold(f64::NEG_INFINITY, f64::max);
        if least.is_finite() {
            Axis::between(least, greatest)
        } else {
            Axis::up_to(1.0)
        }
    }

    fn across(&self, value: f64, axis: &Axis) -> f64 {
        if self.is_percentile {
            let share = nines(value) / nines(LAST_PERCENTILE);
            return LEFT + share * (RIGHT - LEFT);
        }
        axis.place(value, LEFT, RIGHT)
    }
}

/// About how wide a text is in the plot's font.
fn width_of(text: &str) -> f64 {
    text.chars()
        .map(|letter| if letter.is_ascii() { 5.6 } else { 11.0 })
        .sum()
}

/// A tick's number without needless digits.
fn short(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value.abs() >= 10_000.0 {
        format!("{}k", number(value / 1_000.0).trim_end_matches(".0"))
    } else {
        let digits = format!("{value:.3}");
        digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Axes end at round numbers that hold every value.
    #[test]
    fn axes_are_round() {
        let axis = Axis::up_to(31_400.0);
        assert_eq!(axis.greatest, 40_000.0);
        assert_eq!(axis.ticks.len(), 5);
        assert_eq!(Axis::up_to(0.0).greatest, 1.0);
        let axis = Axis::between(0.3, 7.9);
        assert_eq!(axis.ticks, [2.0, 4.0, 6.0]);
    }

    /// Each nine of a percentile takes as much room as the one before.
    #[test]
    fn nines_are_as_wide_as_each_other() {
        assert!((nines(90.0) - 1.0).abs() < 1e-9);
        assert!((nines(99.0) - nines(90.0) - 1.0).abs() < 1e-9);
        assert!(nines(100.0).is_finite());
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!(short(20_000.0), "20k");
        assert_eq!(short(99.9), "99.9");
        assert_eq!(short(0.5), "0.5");
    }
}
