//! `target/bench.html`: the figures for a person, on one page that needs nothing else: a table
//! for each pass, the curves behind the figures, and the machine. Its script is none; its plots
//! are SVG from [`plot`].

mod machine;
mod plot;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use crate::conditions::Conditions;
use crate::figure::{Figure, Series};
use crate::report::{PAGE, asked, folder, number};
use crate::world::Bench;
use plot::{Line, Plot};

/// The end of the names of figures taken while commits took 2 ms more.
pub(crate) const DELAYED: &str = "@2ms";

/// Writes the page.
///
/// # Errors
/// When it cannot be written, or the machine does not say what it is.
pub(crate) async fn write(
    bench: &Bench,
    conditions: &Conditions,
    figures: &[Figure],
) -> Result<PathBuf> {
    let machine = machine::rows(bench, conditions, figures).await?;
    std::fs::create_dir_all(folder())?;
    let path = folder().join(PAGE);
    std::fs::write(&path, page(figures, &machine)?)?;
    Ok(path)
}

fn page(figures: &[Figure], machine: &[machine::Row]) -> Result<String> {
    let (delayed, direct): (Vec<&Figure>, Vec<&Figure>) = figures
        .iter()
        .partition(|figure| figure.name.ends_with(DELAYED));
    let mut html = String::from(HEAD);
    write!(html, "<p class=\"machine\">")?;
    for row in machine {
        write!(
            html,
            "<span><b>{}</b> {}</span>",
            escaped(row.name),
            escaped(&row.value)
        )?;
    }
    html.push_str("</p>");
    let of = |met| direct.iter().filter(|one| one.met() == Some(met)).count();
    let (met, missed) = (of(true), of(false));
    write!(
        html,
        "<p class=\"sum\">{met} 项达标，{missed} 项未达 / {met} met, {missed} missed</p>"
    )?;
    section(&mut html, "指标 / Figures", &direct)?;
    if !delayed.is_empty() {
        let heading = "每次提交多 2 毫秒，如云盘 / Each commit 2 ms slower, as on a cloud disk";
        section(&mut html, heading, &delayed)?;
    }
    html.push_str("<h2>曲线 / Curves</h2><div class=\"plots\">");
    for figure in figures {
        plots(&mut html, figure)?;
    }
    html.push_str("</div></main></body></html>\n");
    Ok(html)
}

fn section(html: &mut String, heading: &str, figures: &[&Figure]) -> Result<()> {
    write!(
        html,
        "<h2>{heading}</h2><div class=\"wide\"><table><thead><tr>"
    )?;
    for column in [
        "指标 figure",
        "实测 value",
        "要求 asked",
        "本机极限 limit of this machine",
        "比值 ratio",
        "达标 met",
    ] {
        write!(html, "<th>{column}</th>")?;
    }
    html.push_str("</tr></thead><tbody>");
    for figure in figures {
        row(html, figure)?;
    }
    html.push_str("</tbody></table></div>");
    Ok(())
}

fn row(html: &mut String, figure: &Figure) -> Result<()> {
    let limit = figure.limit.as_ref().map_or_else(String::new, |limit| {
        format!(
            "{} <small>{}</small>",
            number(limit.value),
            escaped(&limit.name)
        )
    });
    let (class, met) = match figure.met() {
        None => ("plain", "–"),
        Some(true) => ("met", "✓ 达标 met"),
        Some(false) => ("missed", "✗ 未达 missed"),
    };
    write!(
        html,
        "<tr class=\"{class}\"><th scope=\"row\">{}</th><td>{} <small>{}</small></td><td>{}</td>\
         <td>{limit}</td><td>{}</td><td class=\"mark\">{met}</td></tr>",
        escaped(&figure.name),
        number(figure.value),
        escaped(figure.unit),
        escaped(&asked(figure)),
        figure.ratio().map(number).unwrap_or_default(),
    )?;
    notes(html, figure)
}

/// What stands below a figure's row.
fn notes(html: &mut String, figure: &Figure) -> Result<()> {
    if figure.notes.is_empty() && figure.failed.is_empty() && figure.profile.is_empty() {
        return Ok(());
    }
    html.push_str("<tr class=\"notes\"><td></td><td colspan=\"5\">");
    for failed in &figure.failed {
        write!(html, "<p class=\"failed\">{}</p>", escaped(failed))?;
    }
    for note in &figure.notes {
        write!(html, "<p>{}</p>", escaped(note))?;
    }
    if !figure.profile.is_empty() {
        write!(
            html,
            "<details open><summary>时间去了哪里 / where the time went</summary><pre>{}</pre>\
             </details>",
            escaped(&figure.profile.join("\n"))
        )?;
    }
    html.push_str("</td></tr>");
    Ok(())
}

/// The plots of one figure: series over the same axis share one.
fn plots(html: &mut String, figure: &Figure) -> Result<()> {
    let mut axes: Vec<(&str, Vec<Line<'_>>, &str)> = Vec::new();
    for series in &figure.series {
        let (name, x, y) = axes_of(series);
        let line = Line {
            name,
            points: &series.points,
        };
        match axes.iter_mut().find(|(other, ..)| *other == x) {
            Some((_, lines, _)) => lines.push(line),
            None => axes.push((x, vec![line], y)),
        }
    }
    for (x, lines, y) in axes {
        let plot = Plot {
            x,
            y,
            lines,
            is_percentile: x.starts_with("percentile"),
        };
        let svg = plot.svg()?;
        write!(
            html,
            "<figure><figcaption>{}</figcaption>{svg}</figure>",
            escaped(&figure.name)
        )?;
    }
    Ok(())
}

/// What a series is called, and its axes: `name: x → y`, where any part may be missing.
fn axes_of(series: &Series) -> (&str, &str, &str) {
    let (name, axes) = series
        .name
        .split_once(": ")
        .unwrap_or(("", series.name.as_str()));
    match axes.split_once(" → ") {
        Some((x, y)) if name.is_empty() => (y, x, y),
        Some((x, y)) => (name, x, y),
        None => (axes, "", axes),
    }
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

/// Everything before the first word that depends on a run.
const HEAD: &str = concat!(
    "<!doctype html><html lang=\"zh\"><head><meta charset=\"utf-8\">",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
    "<title>Bashu 性能测量 / bench</title><style>",
    include_str!("page/page.css"),
    "</style></head><body><main><h1>Bashu 性能测量 <span>/ bench</span></h1>",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Better;

    fn figure() -> Figure {
        Figure::new("relay.drain", 31_000.0, "events/s", Better::Higher)
            .floor(20_000.0)
            .limit("a <limit>", 40_000.0)
            .series(
                "seconds → events published",
                vec![(0.0, 0.0), (5.0, 200_000.0)],
            )
            .series(
                "seconds → events applied",
                vec![(0.0, 0.0), (6.0, 200_000.0)],
            )
            .series("ours: percentile → ms", vec![(50.0, 1.0), (100.0, 30.0)])
    }

    /// What comes from a run is text and never markup, and each axis has one plot.
    #[test]
    fn a_page_shows_what_it_is_given() {
        let mut missed = figure().holds(false, "a & b");
        missed.name.push_str(DELAYED);
        missed = missed.profile(vec!["50 % of <fsync>".to_owned()]);
        let html = page(&[figure(), missed], &[]).unwrap();
        assert!(html.contains("50 % of &lt;fsync&gt;"));
        assert!(html.contains("a &lt;limit&gt;") && html.contains("a &amp; b"));
        assert!(!html.contains("<limit>"));
        assert_eq!(html.matches("<svg").count(), 4);
        assert!(html.contains("31,000") && html.contains("✓ 达标 met"));
        assert!(html.contains("✗ 未达 missed") && html.contains("cloud disk"));
        assert!(html.contains("1 项达标，0 项未达"));
    }

    /// The parts of a series' name.
    #[test]
    fn a_series_names_its_axes() {
        let named = |name: &str| Series {
            name: name.to_owned(),
            points: Vec::new(),
        };
        let ours = named("ours: turn → joins/s");
        assert_eq!(axes_of(&ours), ("ours", "turn", "joins/s"));
        let plain = named("seconds → events");
        assert_eq!(axes_of(&plain), ("events", "seconds", "events"));
        assert_eq!(axes_of(&named("rate")), ("rate", "", "rate"));
    }
}
