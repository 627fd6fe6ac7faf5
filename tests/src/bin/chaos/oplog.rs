//! The append-only log of operations: one line before an operation is sent, one after it was
//! answered. It is what the clients know; after the run it is read again and compared with the
//! databases, so that nothing rests on what this process remembers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Buy,
    Pay,
    /// The payer paid at the provider.
    Payer,
    Refund,
    Redeem,
}

/// What a client knows of an operation afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    Refused,
    /// No answer, or one that does not say whether it was done.
    Unknown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
enum Line {
    Sent {
        id: u64,
        at_ms: u64,
        kind: Kind,
        /// The member or the gate that asks, by its place.
        who: usize,
        request: Value,
    },
    Answered {
        id: u64,
        at_ms: u64,
        outcome: Outcome,
        answer: Value,
    },
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct OpLog {
    path: PathBuf,
    file: Mutex<File>,
    next: AtomicU64,
    began: Instant,
}

impl OpLog {
    /// A new, empty log.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            next: AtomicU64::new(1),
            began: Instant::now(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Milliseconds since the log was begun.
    pub(crate) fn at_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Logs that an operation is about to be sent; its number.
    pub(crate) fn sent(&self, kind: Kind, who: usize, request: Value) -> u64 {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        self.write(&Line::Sent {
            id,
            at_ms: self.at_ms(),
            kind,
            who,
            request,
        });
        id
    }

    /// Logs what became of it. The same number may be answered again, by a repetition.
    pub(crate) fn answered(&self, id: u64, outcome: Outcome, answer: Value) {
        self.write(&Line::Answered {
            id,
            at_ms: self.at_ms(),
            outcome,
            answer,
        });
    }

    /// One write for each line: what the operating system has taken outlives this process.
    fn write(&self, line: &Line) {
        let mut text = serde_json::to_vec(line).expect("a line is JSON");
        text.push(b'\n');
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&text)
            .expect("the log of operations can be written");
    }
}

/// One operation as the log tells it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) who: usize,
    pub(crate) request: Value,
    pub(crate) sent_ms: u64,
    /// The first definite answer: what the client knows for good.
    definite: Option<(Outcome, Value)>,
    /// When that one came.
    pub(crate) known_ms: Option<u64>,
    /// Why nothing was known the last time.
    pub(crate) unknown: Option<Value>,
}

impl Operation {
    pub(crate) fn new(id: u64, kind: Kind, who: usize, (sent_ms, request): (u64, Value)) -> Self {
        Self {
            id,
            kind,
            who,
            request,
            sent_ms,
            definite: None,
            known_ms: None,
            unknown: None,
        }
    }

    /// Takes an answer. A long run has many that tell nothing, so only the last of those is kept.
    pub(crate) fn answered(&mut self, at_ms: u64, outcome: Outcome, answer: Value) {
        match outcome {
            Outcome::Unknown => self.unknown = Some(answer),
            Outcome::Ok | Outcome::Refused => {
                self.definite.get_or_insert((outcome, answer));
                self.known_ms.get_or_insert(at_ms);
            }
        }
    }

    /// What the client knows: the first definite answer, else unknown.
    pub(crate) fn outcome(&self) -> Outcome {
        self.definite
            .as_ref()
            .map_or(Outcome::Unknown, |(outcome, _)| *outcome)
    }

    /// The payload of an operation that was done.
    pub(crate) fn done(&self) -> Option<&Value> {
        let (outcome, answer) = self.definite.as_ref()?;
        (*outcome == Outcome::Ok).then_some(answer)
    }

    /// The code of an operation that was refused.
    pub(crate) fn refused(&self) -> Option<&Value> {
        let (outcome, answer) = self.definite.as_ref()?;
        (*outcome == Outcome::Refused).then_some(answer)
    }
}

/// Reads a log back.
///
/// # Errors
/// When the file is not there or a line is none of ours.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<u64, Operation>> {
    let mut found = BTreeMap::new();
    let file = File::open(path).with_context(|| format!("{} is missing", path.display()))?;
    for line in BufReader::new(file).lines() {
        match serde_json::from_str(&line?).context("a line of the log")? {
            Line::Sent {
                id,
                at_ms,
                kind,
                who,
                request,
            } => {
                found.insert(id, Operation::new(id, kind, who, (at_ms, request)));
            }
            Line::Answered {
                id,
                at_ms,
                outcome,
                answer,
            } => {
                let operation: &mut Operation = found
                    .get_mut(&id)
                    .with_context(|| format!("operation {id} was answered before it was sent"))?;
                operation.answered(at_ms, outcome, answer);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Kind, OpLog, Outcome, read};

    /// What was written is read back, and the first definite answer is what the client knows: a
    /// repetition changes nothing of it. An operation without an answer is unknown.
    #[test]
    fn the_log_is_read_back() {
        let path = std::env::temp_dir().join(format!("chaos-{}.jsonl", std::process::id()));
        let log = OpLog::create(&path).unwrap();
        let request = json!({ "productId": "one" });
        let first = log.sent(Kind::Buy, 3, request.clone());
        let second = log.sent(Kind::Redeem, 0, json!({}));
        log.answered(first, Outcome::Unknown, json!("no answer"));
        log.answered(first, Outcome::Ok, json!("done"));
        log.answered(first, Outcome::Refused, json!("other"));
        let operations = read(&path);
        std::fs::remove_file(&path).unwrap();

        let operations = operations.unwrap();
        let known = &operations[&first];
        assert_eq!(
            (known.kind, known.who, &known.request),
            (Kind::Buy, 3, &request)
        );
        assert_eq!(known.outcome(), Outcome::Ok);
        assert_eq!(
            (known.done(), known.refused()),
            (Some(&json!("done")), None)
        );
        assert_eq!(known.unknown, Some(json!("no answer")));
        assert!(known.known_ms.is_some_and(|at| at >= known.sent_ms));
        assert_eq!(operations[&second].outcome(), Outcome::Unknown);
        assert_eq!(operations[&second].known_ms, None);
    }
}
