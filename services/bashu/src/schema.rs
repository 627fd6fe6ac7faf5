//! `bashu schema`: writes each service's part of the graph into `schema/`, where it is committed
//! and composed into the supergraph, and the registered documents beside it. Needs no
//! server and no configuration.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::output::{Outcome, Output, table};
use crate::{documents, registry};

/// What `bashu schema` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// 只比较，不写；不一致则退出码 1 / Compare and write nothing; exit code 1 if they differ
    #[arg(long)]
    check: bool,
    /// 文件夹 / Where the files are
    #[arg(long, default_value = "schema")]
    folder: PathBuf,
}

/// What one file is, compared with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Same,
    /// Written now.
    Written,
    /// Not written, because of `--check`.
    Missing,
    Differs,
}

#[derive(Debug, Serialize)]
struct File {
    path: PathBuf,
    state: State,
    /// The first line that is not the same, from one.
    line: Option<usize>,
}

/// Writes or compares.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn run(args: &SchemaArgs, output: Output) -> Result<Outcome> {
    let mut files = Vec::with_capacity(registry::ALL.len() + 1);
    for known in &registry::ALL {
        let path = args.folder.join(format!("{}.graphql", known.name));
        files.push(one(args.check, path, &(known.sdl)())?);
    }
    let path = args.folder.join(documents::FILE);
    files.push(one(args.check, path, &documents::json()?)?);
    output.show(&files, |language| {
        let rows: Vec<Vec<String>> = files
            .iter()
            .map(|file| {
                let state = match file.state {
                    State::Same => language.choose("一致", "up to date"),
                    State::Written => language.choose("已写入", "written"),
                    State::Missing => {
                        language.choose("缺失：运行 make schema", "missing: run make schema")
                    }
                    State::Differs => {
                        language.choose("不一致：运行 make schema", "differs: run make schema")
                    }
                };
                let line = file.line.map(|line| format!(":{line}")).unwrap_or_default();
                vec![format!("{}{line}", file.path.display()), state.to_owned()]
            })
            .collect();
        table(
            &[
                language.choose("文件", "file"),
                language.choose("状态", "state"),
            ],
            &rows,
        )
    })?;
    let well = |file: &File| matches!(file.state, State::Same | State::Written);
    Ok(Outcome::well_if(files.iter().all(well)))
}

fn one(check: bool, path: PathBuf, sdl: &str) -> Result<File> {
    let committed = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let line = committed
        .as_deref()
        .and_then(|committed| first_difference(committed, sdl));
    let state = match (&committed, line) {
        (Some(_), None) => State::Same,
        _ if !check => {
            std::fs::write(&path, sdl)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            State::Written
        }
        (None, _) => State::Missing,
        (Some(_), Some(_)) => State::Differs,
    };
    Ok(File { path, state, line })
}

/// The number of the first line that differs; `None` when the texts are the same.
fn first_difference(committed: &str, sdl: &str) -> Option<usize> {
    if committed == sdl {
        return None;
    }
    let same = committed
        .lines()
        .zip(sdl.lines())
        .take_while(|(one, other)| one == other);
    Some(same.count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change is found where it is, also when a text only ends earlier.
    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a\nb", "a\nb\n"), Some(3));
    }
}
