//! What holds a service to `schema/acts.json`, which says for each mutation of the graph the acts
//! that it leaves in the audit table: a test plays every mutation of its service once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use sea_orm::FromQueryResult;

use crate::Ctx;

/// The acts of every mutation, by service.
const TABLE: &str = include_str!("../../../../schema/acts.json");

/// The mutations of one service, and which have been seen to leave their row.
#[derive(Debug)]
pub struct Acts {
    ctx: Ctx,
    table: BTreeMap<String, Vec<String>>,
    seen: Mutex<BTreeSet<String>>,
}

impl Acts {
    /// The table of the service whose database this is.
    ///
    /// # Panics
    /// When the table cannot be read, or says nothing of the service.
    pub fn of(ctx: &Ctx) -> Self {
        let mut all: BTreeMap<String, BTreeMap<String, Vec<String>>> =
            match serde_json::from_str(TABLE) {
                Ok(all) => all,
                Err(error) => panic!("schema/acts.json cannot be read: {error}"),
            };
        let Some(table) = all.remove(ctx.service) else {
            panic!("schema/acts.json says nothing of {}", ctx.service);
        };
        Self {
            ctx: ctx.clone(),
            table,
            seen: Mutex::default(),
        }
    }

    /// Runs a mutation; its answer.
    ///
    /// # Panics
    /// When it left none of the acts that the table says.
    pub async fn left_by<T>(&self, mutation: &str, run: impl Future<Output = T>) -> T {
        let Some(acts) = self.table.get(mutation) else {
            panic!("schema/acts.json says nothing of {mutation}");
        };
        let before = self.last_row().await;
        let answer = run.await;
        let left = self.acts_after(before).await;
        assert!(
            left.iter().any(|act| acts.contains(act)),
            "{mutation} left {left:?} in the audit table and none of {acts:?}"
        );
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(mutation.to_owned());
        answer
    }

    /// # Panics
    /// When a mutation of the service was not played.
    pub fn assert_complete(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.table.keys();
        let unplayed: Vec<&String> = all.filter(|name| !seen.contains(*name)).collect();
        assert!(unplayed.is_empty(), "not played: {unplayed:?}");
    }

    async fn last_row(&self) -> i64 {
        #[derive(FromQueryResult)]
        struct Last {
            id: Option<i64>,
        }
        let last = self.ctx.db.one("SELECT max(id) AS id FROM audit", []);
        let last: Option<Last> = readable(last.await);
        last.and_then(|row| row.id).unwrap_or(0)
    }

    async fn acts_after(&self, row: i64) -> Vec<String> {
        #[derive(FromQueryResult)]
        struct Left {
            act: String,
        }
        let sql = "SELECT act FROM audit WHERE id > $1 ORDER BY id";
        let left: Vec<Left> = readable(self.ctx.db.all(sql, [row.into()]).await);
        left.into_iter().map(|row| row.act).collect()
    }
}

fn readable<T>(read: crate::Result<T>) -> T {
    match read {
        Ok(read) => read,
        Err(error) => panic!("the audit table cannot be read: {error:?}"),
    }
}
