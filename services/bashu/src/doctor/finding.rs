//! What the doctor says of one thing: how it is, and what to do when it is not well.

use serde::Serialize;

use crate::output::Text;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    Ok,
    /// It works, and will not for ever.
    Warn,
    /// Something does not work, or is open to the wrong people.
    Fail,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What was looked at, stable: `postgres.version`.
    pub(crate) check: &'static str,
    /// Whose: a service, a topic, an address; empty when there is only one.
    pub(crate) subject: String,
    pub(crate) severity: Severity,
    /// How it is.
    pub(crate) found: Text,
    /// What to do; absent when all is well.
    pub(crate) to_do: Option<Text>,
}

impl Finding {
    /// All is well.
    pub(crate) fn ok(check: &'static str, subject: impl Into<String>, found: Text) -> Self {
        Self {
            check,
            subject: subject.into(),
            severity: Severity::Ok,
            found,
            to_do: None,
        }
    }

    /// It will not stay well.
    pub(crate) fn warn(
        check: &'static str,
        subject: impl Into<String>,
        found: Text,
        to_do: Text,
    ) -> Self {
        let severity = Severity::Warn;
        Self {
            check,
            subject: subject.into(),
            severity,
            found,
            to_do: Some(to_do),
        }
    }

    /// It is not well.
    pub(crate) fn fail(
        check: &'static str,
        subject: impl Into<String>,
        found: Text,
        to_do: Text,
    ) -> Self {
        let severity = Severity::Fail;
        Self {
            check,
            subject: subject.into(),
            severity,
            found,
            to_do: Some(to_do),
        }
    }
}

/// The chain of an error in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    crate::output::chain(std::iter::successors(Some(error), |error| error.source()))
}
