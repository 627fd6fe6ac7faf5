//! How a command says what it did: a table for people in their language, or JSON for programs.
//!
//! Results go to standard output; what is only true for a moment (progress) goes to standard
//! error, and only where a person looks at it.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kit::config::ConfigError;
use kit::graphql::Language;
use serde::Serialize;

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// What a command came to, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 0: done, and all is well.
    Well,
    /// 1: done, and something is not as it should be, which the output names.
    Unwell,
}

/// The command line or the configuration is wrong.
const EXIT_USAGE: u8 = 2;
/// It could not be done: a server is away, a file cannot be written.
const EXIT_FAILED: u8 = 3;

impl Outcome {
    pub(crate) const fn well_if(well: bool) -> Self {
        if well { Self::Well } else { Self::Unwell }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Well => Self::SUCCESS,
            Outcome::Unwell => Self::from(1),
        }
    }
}

/// A sentence in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Text {
    pub(crate) zh: Cow<'static, str>,
    pub(crate) en: Cow<'static, str>,
}

impl Text {
    pub(crate) fn new(zh: impl Into<Cow<'static, str>>, en: impl Into<Cow<'static, str>>) -> Self {
        Self {
            zh: zh.into(),
            en: en.into(),
        }
    }

    pub(crate) fn choose(&self, language: Language) -> &str {
        language.choose(&self.zh, &self.en)
    }
}

/// What the caller of the program wants to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    language: Language,
}

impl Output {
    /// `locale` is a language tag or what POSIX writes into `LANG`: `zh_CN.UTF-8`, `en`.
    pub(crate) fn new(json: bool, locale: &str) -> Self {
        Self {
            json,
            language: Language::parse(&locale.replace('_', "-")),
        }
    }

    /// Whether a program reads it.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) const fn language(&self) -> Language {
        self.language
    }

    /// Shows a result: `value` as JSON, or what `human` makes of it.
    ///
    /// # Errors
    /// When standard output cannot be written; one that nobody reads any more is no error.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(Language) -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            human(self.language)
        };
        match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Shows why a command was not carried out, on standard error; its exit code.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> ExitCode {
        let configuration = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<ConfigError>());
        let text = chain(error.chain());
        let line = match (self.json, configuration) {
            (true, None) => serde_json::json!({ "error": text }).to_string(),
            (true, Some(wrong)) => {
                serde_json::json!({ "error": text, "field": wrong.field }).to_string()
            }
            (false, _) => format!("{}: {text}", self.language.choose("失败", "failed")),
        };
        // Nothing is left to tell it to when standard error is gone.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
        ExitCode::from(if configuration.is_some() {
            EXIT_USAGE
        } else {
            EXIT_FAILED
        })
    }

    /// Something that moves while a person waits; invisible to programs.
    pub(crate) fn spinner(&self, what: &Text) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.set_prefix(what.choose(self.language).to_owned());
        spinner.enable_steady_tick(TICK);
        spinner
    }

    /// A bar over a known number of things; invisible to programs.
    pub(crate) fn bar(&self, what: &Text, count: u64) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(count);
        let template = "{prefix} {wide_bar} {pos}/{len} {msg} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.choose(self.language).to_owned());
        bar
    }
}

/// A chain of causes in one line; what a cause has said already is not said again.
pub(crate) fn chain<'a>(
    causes: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>,
) -> String {
    let mut text = String::new();
    for cause in causes.map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Rows under headings, columns as wide as their widest cell. Put the longest column last.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    let mut widths: Vec<usize> = heading.iter().map(|text| width(text)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let mut out = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (cell, widest) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(widest - width(cell) + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Columns of a terminal that a text takes: two for each Chinese character.
fn width(text: &str) -> usize {
    text.chars()
        .map(|character| if character < '\u{1100}' { 1 } else { 2 })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns line up when some cells are Chinese.
    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["重庆".to_owned(), "1".to_owned()],
            vec!["ab".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            table(&["union", "n"], &rows),
            "union  n\n重庆   1\nab     22\n"
        );
    }

    /// A shell's locale chooses the language; what names none is Chinese.
    #[test]
    fn the_locale_chooses_the_language() {
        for (locale, language) in [
            ("en_US.UTF-8", Language::En),
            ("zh_CN.UTF-8", Language::Zh),
            ("en", Language::En),
            ("C", Language::Zh),
            ("", Language::Zh),
        ] {
            assert_eq!(Output::new(false, locale).language(), language, "{locale}");
        }
    }
}
