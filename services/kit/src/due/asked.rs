//! What this process has planned for now and may not have begun: a hint only. Rows that are not
//! here are found by looking for what is due.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

/// Rows remembered, at most: of more, the oldest are left to whoever looks for what is due.
const ASKED_MAX: usize = 4_096;

/// The rows, oldest first. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    rows: Arc<Mutex<VecDeque<Uuid>>>,
    some: Arc<Notify>,
}

impl Asked {
    pub(crate) fn push(&self, ids: impl IntoIterator<Item = Uuid>) {
        let mut rows = self.lock();
        let before = rows.len();
        rows.extend(ids);
        let is_more = rows.len() > before;
        let above = rows.len().saturating_sub(ASKED_MAX);
        rows.drain(..above);
        drop(rows);
        if is_more {
            self.some.notify_one();
        }
    }

    /// Takes the newest, up to a number.
    pub(crate) fn take(&self, rows_max: usize) -> Vec<Uuid> {
        let mut rows = self.lock();
        let left = rows.len().saturating_sub(rows_max);
        rows.split_off(left).into()
    }

    /// Returns when there are rows that were not there when it last returned.
    pub(crate) async fn more(&self) {
        self.some.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Uuid>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn ids(range: std::ops::Range<u128>) -> Vec<Uuid> {
        range.map(Uuid::from_u128).collect()
    }

    #[test]
    fn the_newest_goes_first() {
        let asked = Asked::default();
        asked.push(ids(0..2));
        asked.push(ids(2..5));
        assert_eq!(asked.take(2), ids(3..5));
        assert_eq!(asked.take(9), ids(0..3));
        assert!(asked.take(9).is_empty());
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let asked = Asked::default();
        let many = u128::try_from(ASKED_MAX).unwrap();
        asked.push(ids(0..10));
        asked.push(ids(10..many + 1));
        assert_eq!(asked.take(usize::MAX), ids(1..many + 1));
    }

    #[tokio::test]
    async fn one_hears_of_what_came_before_one_listened() {
        let asked = Asked::default();
        asked.push([]);
        assert!(asked.more().now_or_never().is_none(), "nothing came");
        asked.push(ids(0..1));
        asked.more().now_or_never().unwrap();
        assert!(asked.more().now_or_never().is_none(), "heard twice");
    }
}
