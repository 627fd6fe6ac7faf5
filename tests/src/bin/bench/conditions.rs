//! Under which conditions figures were taken: which code, and what the bench was told. A figure of
//! fewer connections or shorter runs than are asked for stands nowhere without saying so.

use serde_json::{Value, json};

use crate::figure::Figure;
use crate::{Args, limits};

/// Seconds of each measured run, where nothing else is told.
pub(crate) const SECONDS: u64 = 15;

/// The conditions of one run of the bench.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    /// What the programs were built from: one commit, or that of each where they differ.
    pub(crate) commit: String,
    connections: usize,
    seconds: u64,
}

impl Conditions {
    /// Looked up before anything is measured: a later build puts other programs in their place.
    pub(crate) fn of(args: &Args) -> Self {
        let root = ::tests::root();
        let bench = std::env::current_exe().unwrap_or_default();
        let programs = [root.join(&args.program), root.join(&args.gateway), bench];
        let built = programs.map(|program| {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            // Where `deploy/dev/release.sh` wrote it down.
            let commit = std::fs::read_to_string(program.with_extension("commit"));
            let commit = commit.map_or("unknown".to_owned(), |text| text.trim().to_owned());
            (name.into_owned(), commit)
        });
        Self {
            commit: commit(&built),
            connections: args.connections,
            seconds: args.seconds,
        }
    }

    /// Says beside a figure that it was taken under other conditions than are asked for.
    pub(crate) fn note(&self, figure: &mut Figure) {
        let (connections, seconds) = (self.connections, self.seconds);
        if (connections, seconds) != (limits::CONNECTIONS, SECONDS) {
            figure.notes.push(format!(
                "this bench was told {connections} connections and runs of {seconds} s; asked for \
                 are {} and {SECONDS} s",
                limits::CONNECTIONS
            ));
        }
    }

    /// An entry of `target/bench.json` with them. A part may have connections of its own, so those
    /// stand there as what was told and not as what was measured with.
    pub(crate) fn with(&self, mut entry: Value) -> Value {
        entry["commit"] = json!(self.commit);
        entry["told"] = json!({ "connections": self.connections, "seconds": self.seconds });
        entry
    }
}

fn commit(built: &[(String, String)]) -> String {
    match built {
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => first.clone(),
        _ => {
            let each = built
                .iter()
                .map(|(name, commit)| format!("{name} {commit}"));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Better;

    fn told(connections: usize) -> Conditions {
        Conditions {
            commit: "0123abc".to_owned(),
            connections,
            seconds: SECONDS,
        }
    }

    /// An entry keeps what it has, and a figure says when less was asked of the services.
    #[test]
    fn conditions_stand_beside_a_figure() {
        let mut figure = Figure::new("a.b", 50.0, "/s", Better::Higher).floor(40.0);
        told(limits::CONNECTIONS).note(&mut figure);
        assert!(figure.notes.is_empty());
        told(8).note(&mut figure);
        assert!(figure.notes[0].contains("8 connections"), "{figure:?}");
        let entry = told(8).with(figure.json());
        assert_eq!(
            (&entry["name"], &entry["met"]),
            (&json!("a.b"), &json!(true))
        );
        assert_eq!(
            (&entry["commit"], &entry["told"]["connections"]),
            (&json!("0123abc"), &json!(8))
        );
    }

    /// Programs of several commits are told apart.
    #[test]
    fn one_commit_is_said_once() {
        let built = |second: &str| {
            let one = |name: &str, commit: &str| (name.to_owned(), commit.to_owned());
            commit(&[one("bashu", "a"), one("bench", second)])
        };
        assert_eq!(built("a"), "a");
        assert_eq!(built("b"), "bashu a, bench b");
    }
}
