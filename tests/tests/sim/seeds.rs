//! Which seeds a run plays, and where those stay that found something.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// Seeds played by every run of the tests, beside the fresh one and those that once found
/// something.
const SEEDS_CI: u64 = 20;
/// Workers of a run of many seeds. They leave one ground to the sweeps, which are played meanwhile.
const WORKERS: u32 = 3;
/// Fresh seeds begin here, away from those that count from one.
const FRESH_FROM: u64 = 1_000_000;
/// Characters of what a seed found that are kept beside it.
const FOUND_CHARACTERS_MAX: usize = 200;

/// A number that the caller of the tests set.
pub(crate) fn told(name: &str) -> Option<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told by the environment alone"
    )]
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {value}")),
    )
}

/// The seed of this run alone: `SIM_FRESH`, else another one each time.
pub(crate) fn fresh() -> u64 {
    told("SIM_FRESH").unwrap_or_else(|| u64::from(std::process::id()) + FRESH_FROM)
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// By `SIM_SEED`.
    One(u64),
    /// By `SIM_SEEDS`: from one to this.
    Many(u64),
    /// A part for every run of the tests, with this fresh seed.
    Part(u64),
}

impl Asked {
    pub(crate) fn told() -> Self {
        match (told("SIM_SEED"), told("SIM_SEEDS")) {
            (Some(seed), _) => Self::One(seed),
            (None, Some(count)) => Self::Many(count),
            (None, None) => Self::Part(fresh()),
        }
    }

    /// The seeds in the order in which they are played: what is new comes before the time is over.
    pub(crate) fn seeds(self) -> Vec<u64> {
        match self {
            Self::One(seed) => vec![seed],
            Self::Many(count) => kept().into_iter().chain(1..=count).collect(),
            Self::Part(fresh) => {
                eprintln!("a fresh seed: SIM_SEED={fresh} make sim plays it again");
                let first = std::iter::once(fresh).chain(kept());
                first.chain(1..=SEEDS_CI).collect()
            }
        }
    }

    /// How many are played beside each other: others run tests while a part is played.
    pub(crate) const fn workers(self) -> u32 {
        match self {
            Self::Many(_) => WORKERS,
            Self::One(_) | Self::Part(_) => 1,
        }
    }

    pub(crate) const fn is_one(self) -> bool {
        matches!(self, Self::One(_))
    }

    pub(crate) const fn is_many(self) -> bool {
        matches!(self, Self::Many(_))
    }

    pub(crate) const fn is_part(self) -> bool {
        matches!(self, Self::Part(_))
    }
}

fn path() -> PathBuf {
    tests::root().join("tests/seeds.txt")
}

/// Seeds that once found something.
pub(crate) fn kept() -> Vec<u64> {
    let text = std::fs::read_to_string(path()).expect("tests/seeds.txt is there");
    listed(&text)
}

fn listed(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| !word.starts_with('#'))
        .map(|word| word.parse().expect("a seed is a number"))
        .collect()
}

/// Keeps a seed with what it found, for every later run.
pub(crate) fn keep(seed: u64, found: &str) {
    if kept().contains(&seed) {
        return;
    }
    let mut file = OpenOptions::new()
        .append(true)
        .open(path())
        .expect("tests/seeds.txt can be written");
    writeln!(file, "{}", line(seed, found)).expect("tests/seeds.txt can be written");
    eprintln!("seed {seed} stays in tests/seeds.txt: commit it");
}

fn line(seed: u64, found: &str) -> String {
    let found: String = found.split_whitespace().collect::<Vec<_>>().join(" ");
    let found: String = found.chars().take(FOUND_CHARACTERS_MAX).collect();
    format!("{seed} {found}")
}

/// A seed is kept on one line whatever it found, and is read from it again.
#[test]
fn a_kept_seed_is_played_again() {
    let text = format!(
        "# a comment\n{}\n{}\n",
        line(7, "a pass\nwaits"),
        line(1_000_123, "")
    );
    assert_eq!(listed(&text), [7, 1_000_123]);
    assert!(text.contains("7 a pass waits\n"));
}
