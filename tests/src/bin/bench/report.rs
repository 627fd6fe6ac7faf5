//! The figures for whoever reads them: a table on the terminal and `target/bench.json`. The page
//! with plots is `page`'s.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::conditions::Conditions;
use crate::figure::{Better, Figure};

/// The results' names in [`folder`].
const JSON: &str = "bench.json";
pub(crate) const PAGE: &str = "bench.html";
/// The table's heading.
const HEADING: [&str; 6] = ["figure", "value", "asked", "limit", "ratio", "met"];

/// What is asked, or a dash.
pub(crate) fn asked(figure: &Figure) -> String {
    match (figure.floor, figure.better) {
        (None, _) => "–".to_owned(),
        (Some(floor), Better::Higher) => format!("≥ {}", number(floor)),
        (Some(floor), Better::Lower) => format!("≤ {}", number(floor)),
    }
}

/// Three digits that matter, and thousands apart.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        "–".to_owned()
    } else if value.abs() >= 1_000.0 {
        let whole = format!("{value:.0}");
        let (sign, digits) = whole
            .strip_prefix('-')
            .map_or(("", whole.as_str()), |digits| ("-", digits));
        let mut out = String::from(sign);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                out.push(',');
            }
            out.push(digit);
        }
        out
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn row(figure: &Figure) -> [String; 6] {
    let limit = figure.limit.as_ref().map_or_else(String::new, |limit| {
        format!("{} {}", number(limit.value), limit.name)
    });
    [
        figure.name.clone(),
        format!("{} {}", number(figure.value), figure.unit),
        asked(figure),
        limit,
        figure.ratio().map(number).unwrap_or_default(),
        match figure.met() {
            None => String::new(),
            Some(true) => "yes".to_owned(),
            Some(false) => "NO".to_owned(),
        },
    ]
}

/// One figure as soon as it is known.
pub(crate) fn line(figure: &Figure) {
    let [name, value, asked, limit, ratio, met] = row(figure);
    println!("   [{name}] {value}  ({asked}; {limit} {ratio}) {met}");
    let said = figure.failed.iter().chain(&figure.notes);
    for said in said.chain(&figure.profile) {
        println!("       {said}");
    }
}

/// All of them.
pub(crate) fn table(figures: &[Figure]) {
    let rows: Vec<[String; 6]> = std::iter::once(HEADING.map(str::to_owned))
        .chain(figures.iter().map(row))
        .collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    println!();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// Takes the last run's results away, so that a run which ends early leaves none that is not its
/// own.
///
/// # Errors
/// When a file is there and stays.
pub(crate) fn forget() -> Result<()> {
    for name in [JSON, PAGE] {
        let path = folder().join(name);
        if path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

/// Where the results are, in the checkout.
pub(crate) fn folder() -> PathBuf {
    ::tests::root().join("target")
}

/// Writes `target/bench.json` of the checkout, with the run's conditions in each entry.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn json(conditions: &Conditions, figures: &[Figure]) -> Result<PathBuf> {
    std::fs::create_dir_all(folder())?;
    let path = folder().join(JSON);
    let list: Vec<serde_json::Value> = figures
        .iter()
        .map(|figure| conditions.with(figure.json()))
        .collect();
    std::fs::write(&path, format!("{:#}\n", serde_json::Value::Array(list)))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let shown: Vec<String> = [0.854, 12.34, 123.4, 5_000.4, 1_234_567.0, -1_500.0]
            .into_iter()
            .map(number)
            .collect();
        assert_eq!(
            shown,
            ["0.85", "12.3", "123", "5,000", "1,234,567", "-1,500"]
        );
    }
}
