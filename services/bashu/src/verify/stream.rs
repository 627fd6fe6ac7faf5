//! Two databases compared without holding either in memory: each side is a sorted stream of
//! `(key, fact)`, and the two are walked side by side.

use anyhow::Result;
use kit::Ctx;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseTransaction, DbBackend, FromQueryResult, IsolationLevel,
    Statement, TransactionTrait,
};

use super::{VIOLATIONS_MAX, Violation};

/// Rows taken from a cursor at once.
const FETCH_ROWS: usize = 2_000;

/// One row of either side.
#[derive(Clone, Debug, FromQueryResult)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) fact: String,
}

/// A query's rows by key, from one snapshot.
pub(super) struct Stream {
    cursor: DatabaseTransaction,
    rows: std::vec::IntoIter<Row>,
    exhausted: bool,
}

impl Stream {
    /// `sql` answers `(key text, fact text)`; a key stands there once.
    pub(super) async fn open(ctx: &Ctx, sql: &str) -> Result<Self> {
        let cursor = ctx
            .db
            .pool()
            .begin_with_config(
                Some(IsolationLevel::RepeatableRead),
                Some(AccessMode::ReadOnly),
            )
            .await?;
        let declare = format!(
            "DECLARE side NO SCROLL CURSOR FOR
             SELECT key, fact FROM ({sql}) AS rows ORDER BY key COLLATE \"C\""
        );
        cursor.execute_unprepared(&declare).await?;
        Ok(Self {
            cursor,
            rows: Vec::new().into_iter(),
            exhausted: false,
        })
    }

    async fn next(&mut self) -> Result<Option<Row>> {
        if let Some(row) = self.rows.next() {
            return Ok(Some(row));
        }
        if self.exhausted {
            return Ok(None);
        }
        let fetch = format!("FETCH {FETCH_ROWS} FROM side");
        let statement = Statement::from_string(DbBackend::Postgres, fetch);
        let rows = Row::find_by_statement(statement).all(&self.cursor).await?;
        self.exhausted = rows.len() < FETCH_ROWS;
        self.rows = rows.into_iter();
        Ok(self.rows.next())
    }

    async fn close(self) -> Result<()> {
        Ok(self.cursor.rollback().await?)
    }
}

/// What two sides owe each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The same rows.
    Same,
    /// The right side may have more: the left one forgets in time.
    Within,
}

/// How two sides are named where they differ.
pub(super) type Names<'a> = (&'a str, &'a str);

/// Where the sides do not say the same: at most [`VIOLATIONS_MAX`] keys.
pub(super) async fn compare(
    (mut left, mut right): (Stream, Stream),
    names: Names<'_>,
    extent: Extent,
) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    let (mut one, mut other) = (left.next().await?, right.next().await?);
    while found.len() < VIOLATIONS_MAX {
        let Some((violation, step)) = judge(one.as_ref(), other.as_ref(), names) else {
            break;
        };
        if extent == Extent::Same || step != Step::Right {
            found.extend(violation);
        }
        if step != Step::Right {
            one = left.next().await?;
        }
        if step != Step::Left {
            other = right.next().await?;
        }
    }
    left.close().await?;
    right.close().await?;
    Ok(found)
}

/// The keys that both sides have: at most [`VIOLATIONS_MAX`].
pub(super) async fn shared(
    (mut left, mut right): (Stream, Stream),
    names: Names<'_>,
) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    let (mut one, mut other) = (left.next().await?, right.next().await?);
    while let (Some(left_row), Some(right_row)) = (&one, &other) {
        match left_row.key.as_bytes().cmp(right_row.key.as_bytes()) {
            std::cmp::Ordering::Less => one = left.next().await?,
            std::cmp::Ordering::Greater => other = right.next().await?,
            std::cmp::Ordering::Equal => {
                let problem = format!("{} and {} both have it", names.0, names.1);
                found.push(Violation {
                    subject: left_row.key.clone(),
                    problem,
                });
                if found.len() >= VIOLATIONS_MAX {
                    break;
                }
                one = left.next().await?;
                other = right.next().await?;
            }
        }
    }
    left.close().await?;
    right.close().await?;
    Ok(found)
}

/// Which side goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Left,
    Right,
    Both,
}

/// What the two rows ahead come to; `None` at the end of both.
fn judge(
    one: Option<&Row>,
    other: Option<&Row>,
    (left, right): Names<'_>,
) -> Option<(Option<Violation>, Step)> {
    let missing = |row: &Row, has: &str, lacks: &str| {
        let problem = format!("{has} says {}, {lacks} does not know it", row.fact);
        Some(Violation {
            subject: row.key.clone(),
            problem,
        })
    };
    Some(match (one, other) {
        (None, None) => return None,
        (Some(row), None) => (missing(row, left, right), Step::Left),
        (None, Some(row)) => (missing(row, right, left), Step::Right),
        (Some(row), Some(twin)) => match row.key.as_bytes().cmp(twin.key.as_bytes()) {
            std::cmp::Ordering::Less => (missing(row, left, right), Step::Left),
            std::cmp::Ordering::Greater => (missing(twin, right, left), Step::Right),
            std::cmp::Ordering::Equal if row.fact == twin.fact => (None, Step::Both),
            std::cmp::Ordering::Equal => {
                let problem = format!("{left} says {}, {right} says {}", row.fact, twin.fact);
                let subject = row.key.clone();
                (Some(Violation { subject, problem }), Step::Both)
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, fact: &str) -> Row {
        Row {
            key: key.to_owned(),
            fact: fact.to_owned(),
        }
    }

    /// Walks both lists as the streams are walked; the subjects of what differs.
    fn walk(left: &[Row], right: &[Row]) -> Vec<String> {
        let (mut one, mut other) = (left.iter(), right.iter());
        let (mut a, mut b) = (one.next(), other.next());
        let mut found = Vec::new();
        while let Some((violation, step)) = judge(a, b, ("left", "right")) {
            found.extend(violation.map(|one| format!("{}: {}", one.subject, one.problem)));
            if step != Step::Right {
                a = one.next();
            }
            if step != Step::Left {
                b = other.next();
            }
        }
        found
    }

    /// What one side lacks and what both say differently is found, in both directions.
    #[test]
    fn every_difference_is_found() {
        let left = [row("a", "1"), row("b", "1"), row("d", "1")];
        let right = [row("b", "2"), row("c", "1"), row("d", "1"), row("e", "1")];
        assert_eq!(
            walk(&left, &right),
            [
                "a: left says 1, right does not know it",
                "b: left says 1, right says 2",
                "c: right says 1, left does not know it",
                "e: right says 1, left does not know it",
            ]
        );
        assert!(walk(&left, &left).is_empty());
        assert!(walk(&[], &[]).is_empty());
    }
}
