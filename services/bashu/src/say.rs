//! The story that `bashu dev` tells while it works: what it does, what each step answered, how
//! long it took. On a terminal long work shows a bar.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Who listens.
#[derive(Clone, Debug)]
pub(crate) struct Say {
    began: Instant,
}

impl Say {
    /// A person at a terminal, or a log.
    pub(crate) fn terminal() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// A part of the story begins.
    #[expect(
        clippy::print_stdout,
        reason = "this is the program's answer to a person"
    )]
    pub(crate) fn title(&self, text: &str) {
        println!("\n== {text}");
    }

    /// Something was done.
    #[expect(
        clippy::print_stdout,
        reason = "this is the program's answer to a person"
    )]
    pub(crate) fn step(&self, text: &str) {
        println!("   {:>6.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// A step that took this long, and what it answered.
    pub(crate) fn answer(&self, step: &str, took: Duration, answer: &str) {
        self.step(&format!(
            "{step}  ({} ms)\n{:13}{answer}",
            took.as_millis(),
            ""
        ));
    }

    /// A line of plain text.
    #[expect(
        clippy::print_stdout,
        reason = "this is the program's answer to a person"
    )]
    pub(crate) fn line(&self, text: &str) {
        println!("   {text}");
    }

    /// A bar for `steps` steps; hidden where nobody looks.
    pub(crate) fn bar(&self, name: &'static str, steps: u64) -> ProgressBar {
        if !std::io::stdout().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(steps).with_message(name);
        if let Ok(style) = ProgressStyle::with_template("   {msg} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        bar
    }
}
