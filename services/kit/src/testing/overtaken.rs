//! A race with one order: the second of two comes while the first is about to commit.

use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::FromQueryResult;

use super::TestDb;

/// Runs `first`, in this process, until it is about to commit, and then `second`, of another
/// process, until that waits for a lock or is done; then `first` commits.
pub async fn overtaken<A, B>(
    db: &TestDb,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let watcher = db.superuser().await;
    let hold = db.ctx.db.faults().hold_at("tx.before_commit");
    let done = AtomicBool::new(false);
    let second = async {
        hold.reached().await;
        let answer = second.await;
        done.store(true, Ordering::SeqCst);
        answer
    };
    let releasing = async {
        while !done.load(Ordering::SeqCst) && !is_waited_for(&watcher, db.name()).await {
            tokio::task::yield_now().await;
        }
        hold.release();
    };
    let (first, second, ()) = tokio::join!(first, second, releasing);
    (first, second)
}

/// Whether somebody waits for a lock in this database.
async fn is_waited_for(watcher: &crate::Db, name: &str) -> bool {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let sql = "SELECT count(*) AS count FROM pg_stat_activity
               WHERE datname = $1 AND wait_event_type = 'Lock'";
    match watcher.one::<Count>(sql, [name.into()]).await {
        Ok(found) => found.is_some_and(|found| found.count > 0),
        Err(error) => panic!("nobody sees who waits: {error:?}"),
    }
}
