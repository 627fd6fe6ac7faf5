//! The story that `bashu dev` and `bashu demo` tell while they work: what they do, what each step
//! answered, how long it took. On a terminal long work shows a bar. A program that asked for JSON
//! gets the whole story as one object at the end.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::output::Output;

/// Who listens.
#[derive(Clone, Debug)]
pub(crate) struct Say {
    began: Instant,
    /// The story so far, where it is told at the end; `None` where it is told as it happens.
    kept: Option<Arc<Mutex<Story>>>,
}

/// What a program reads.
#[derive(Debug, Default, Serialize)]
struct Story {
    /// The part that has begun.
    #[serde(skip)]
    part: Option<String>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    part: Option<String>,
    /// Since the beginning.
    at_ms: u128,
    text: String,
    took_ms: Option<u128>,
    answer: Option<String>,
}

impl Say {
    /// A person at a terminal, a log, or a program that reads JSON.
    pub(crate) fn to(output: Output) -> Self {
        Self {
            began: Instant::now(),
            kept: output.is_json().then(Arc::default),
        }
    }

    /// A part of the story begins.
    pub(crate) fn title(&self, text: &str) {
        match &self.kept {
            None => print(&format!("\n== {text}")),
            Some(kept) => {
                let mut story = kept.lock().unwrap_or_else(PoisonError::into_inner);
                story.part = Some(text.to_owned());
            }
        }
    }

    /// Something was done.
    pub(crate) fn step(&self, text: &str) {
        if !self.keep(text, None) {
            let seconds = self.began.elapsed().as_secs_f64();
            print(&format!("   {seconds:>6.1} s  {text}"));
        }
    }

    /// A step that took this long, and what it answered.
    pub(crate) fn answer(&self, step: &str, took: Duration, answer: &str) {
        if !self.keep(step, Some((took, answer))) {
            let took = took.as_millis();
            self.step(&format!("{step}  ({took} ms)\n{:13}{answer}", ""));
        }
    }

    /// A line of plain text.
    pub(crate) fn line(&self, text: &str) {
        if !self.keep(text, None) {
            print(&format!("   {text}"));
        }
    }

    /// A bar for `steps` steps; hidden where nobody looks.
    pub(crate) fn bar(&self, name: &'static str, steps: u64) -> ProgressBar {
        if self.kept.is_some() || !std::io::stdout().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(steps).with_message(name);
        if let Ok(style) = ProgressStyle::with_template("   {msg} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        bar
    }

    /// Shows what was kept; nothing where everything was told as it happened.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn show(&self, output: Output) -> Result<()> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        let story = kept.lock().unwrap_or_else(PoisonError::into_inner);
        output.show(&*story, |_| String::new())
    }

    fn keep(&self, text: &str, answered: Option<(Duration, &str)>) -> bool {
        let Some(kept) = &self.kept else {
            return false;
        };
        let mut story = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let step = Step {
            part: story.part.clone(),
            at_ms: self.began.elapsed().as_millis(),
            text: text.to_owned(),
            took_ms: answered.map(|(took, _)| took.as_millis()),
            answer: answered.map(|(_, answer)| answer.to_owned()),
        };
        story.steps.push(step);
        true
    }
}

#[expect(
    clippy::print_stdout,
    reason = "this is the program's answer to a person"
)]
fn print(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program reads the whole story, each step with its part; a person has it as it happens.
    #[test]
    fn a_program_reads_the_story_at_the_end() {
        let say = Say::to(Output::new(true, "en"));
        say.step("before");
        say.title("a part");
        say.answer("buyPass", Duration::from_millis(12), "bought");
        let story = serde_json::to_value(&*say.kept.as_ref().unwrap().lock().unwrap()).unwrap();
        assert_eq!(story["steps"][0]["text"], "before");
        assert!(story["steps"][0]["part"].is_null());
        let step = &story["steps"][1];
        assert_eq!(
            (&step["part"], &step["took_ms"]),
            (&"a part".into(), &12.into())
        );
        assert_eq!(step["answer"], "bought");
        assert!(Say::to(Output::new(false, "en")).kept.is_none());
    }
}
