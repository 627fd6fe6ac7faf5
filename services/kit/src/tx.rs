//! What a command works on: a transaction, and what it wants written beside its own rows.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult, Value};
use uuid::Uuid;

use crate::audit::AuditRow;
use crate::bus::{Defect, Faults};
use crate::ctx::Wake;
use crate::db::{Db, statement};
use crate::due::NewDue;
use crate::event::NewEvent;
use crate::once::OpenOnce;
use crate::{Error, Ids, Result};

fn reads_only() -> Error {
    Error::internal("what only reads tried to change something")
}

/// Tests compare what two commands ask of the database by this.
fn count_statement() {
    metrics::counter!("bashu_statements_total").increment(1);
}

/// What statements run on.
#[derive(Debug)]
pub(crate) enum Inner {
    Transaction(DatabaseTransaction),
    /// Each on a connection of the pool; nothing is changed.
    Reading(Db),
}

/// A statement that changes rows of one table, and its values. In it `$` stands before the number
/// of a value and nowhere else.
#[derive(Debug)]
pub struct Write {
    sql: &'static str,
    values: Vec<Value>,
}

impl Write {
    /// A statement and the values of `$1` and on.
    pub fn new(sql: &'static str, values: impl IntoIterator<Item = Value>) -> Self {
        Self {
            sql,
            values: values.into_iter().collect(),
        }
    }
}

/// All in one statement, and so in one round trip; no two may touch the same row.
fn together(mut writes: Vec<Write>) -> Option<(String, Vec<Value>)> {
    let last = writes.pop()?;
    let (mut sql, mut values) = (String::new(), Vec::new());
    for (n, write) in writes.into_iter().enumerate() {
        sql.push_str(if n == 0 { "WITH w" } else { ", w" });
        sql.push_str(&n.to_string());
        sql.push_str(" AS (");
        push_numbered(&mut sql, write.sql, values.len());
        sql.push(')');
        values.extend(write.values);
    }
    push_numbered(&mut sql, last.sql, values.len());
    values.extend(last.values);
    Some((sql, values))
}

/// Appends a statement whose values come after so many others.
fn push_numbered(sql: &mut String, write: &str, before: usize) {
    let mut parts = write.split('$');
    sql.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit());
        let (number, rest) = part.split_at(end.unwrap_or(part.len()));
        let number: usize = number.parse().unwrap_or_default();
        sql.push('$');
        sql.push_str(&(before + number).to_string());
        sql.push_str(rest);
    }
}

/// An open transaction, and what its command wants written beside its own rows.
#[derive(Debug)]
pub struct Tx {
    inner: Inner,
    now: DateTime<Utc>,
    ids: Ids,
    faults: Faults,
    operator: Option<Arc<str>>,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    events: Vec<NewEvent>,
    audit: Vec<AuditRow>,
    due: Vec<NewDue>,
    told: Vec<String>,
    writes: Vec<Write>,
    once: Option<OpenOnce>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.audit.is_empty()
            && self.due.is_empty()
            && self.told.is_empty()
            && self.writes.is_empty()
            && self.once.is_none()
    }
}

impl Tx {
    pub(crate) fn on(db: &Db, inner: Inner) -> Self {
        Self {
            inner,
            now: db.clock().now(),
            ids: db.ids().clone(),
            faults: db.faults().clone(),
            operator: db.operator.clone(),
            pending: Mutex::default(),
        }
    }

    /// The instant of this transaction: the same for all it does.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// A new id, sorting by time.
    pub fn uuid(&self) -> Uuid {
        self.ids.uuid(self.now)
    }

    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// # Errors
    /// When the database fails.
    pub async fn all<R: FromQueryResult>(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<R>> {
        count_statement();
        let open = match &self.inner {
            Inner::Transaction(open) => open,
            Inner::Reading(db) => return db.all(sql, values).await,
        };
        Ok(R::find_by_statement(statement(sql, values))
            .all(open)
            .await?)
    }

    /// # Errors
    /// When the database fails.
    pub async fn one<R: FromQueryResult>(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<R>> {
        count_statement();
        let open = match &self.inner {
            Inner::Transaction(open) => open,
            Inner::Reading(db) => return db.one(sql, values).await,
        };
        Ok(R::find_by_statement(statement(sql, values))
            .one(open)
            .await?)
    }

    /// The rows it touched.
    ///
    /// # Errors
    /// When the database fails, or a constraint says no: see [`Error::constraint`].
    pub async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64> {
        let Inner::Transaction(open) = &self.inner else {
            return Err(reads_only());
        };
        count_statement();
        let done = open.execute_raw(statement(sql, values)).await?;
        Ok(done.rows_affected())
    }

    /// Publishes the state of an aggregate that this transaction holds locked.
    pub fn emit(&self, event: NewEvent) {
        self.pending(|pending| pending.events.push(event));
    }

    /// Leaves an audit row in this transaction.
    pub fn audit(&self, row: AuditRow) {
        let row = match &self.operator {
            Some(operator) => row.by(operator),
            None => row,
        };
        self.pending(|pending| pending.audit.push(row));
    }

    /// Plans work for later, in this transaction.
    pub fn plan(&self, due: NewDue) {
        self.pending(|pending| pending.due.push(due));
    }

    /// Tells those of this process who wait for a thing of this name that it has changed, once
    /// this transaction has committed; see [`crate::told`].
    pub fn tell(&self, subject: impl ToString) {
        let subject = subject.to_string();
        self.pending(|pending| pending.told.push(subject));
    }

    /// Whether its command left nothing to be written.
    pub(crate) fn has_changed_nothing(&self) -> Result<()> {
        if self.pending(|pending| pending.is_empty()) {
            Ok(())
        } else {
            Err(reads_only())
        }
    }

    /// Whether a test switched this mistake on.
    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.faults.has(defect)
    }

    pub(crate) fn open_once(&self, open: OpenOnce) {
        self.pending(|pending| pending.once = Some(open));
    }

    pub(crate) fn take_once(&self) -> Option<OpenOnce> {
        self.pending(|pending| pending.once.take())
    }

    fn pending<T>(&self, change: impl FnOnce(&mut Pending) -> T) -> T {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes this together with the events, audit rows and due work, when the command is done: for
    /// what nothing in the command reads again. No two writes of a command may touch the same row;
    /// what a constraint says against one, the end of the command says.
    pub fn at_end(&self, write: Write) {
        self.pending(|pending| pending.writes.push(write));
    }

    /// Writes what the command collected in one statement, then commits and wakes who may have
    /// work.
    pub(crate) async fn commit(self, wake: &Wake) -> Result<()> {
        let mut pending = self.pending(std::mem::take);
        if pending.once.is_some() {
            return Err(Error::internal(
                "a command ended without recording its outcome",
            ));
        }
        let mut writes = std::mem::take(&mut pending.writes);
        writes.extend(crate::outbox::insert(&self, &pending.events)?);
        writes.extend(crate::audit::insert(&self, &pending.audit));
        writes.extend(crate::due::insert(&self, &pending.due));
        if let Some((sql, values)) = together(writes) {
            self.execute(&sql, values).await?;
        }
        let asked = crate::due::for_now(&self, &pending.due);
        self.end().await?;
        if !pending.events.is_empty() {
            wake.relay.notify_one();
        }
        wake.asked.push(asked);
        pending
            .told
            .iter()
            .for_each(|subject| wake.told.tell(subject));
        Ok(())
    }

    /// Undoes the command; keeps the record of a lasting refusal where a key is open.
    pub(crate) async fn refuse(self, refusal: &crate::Refusal) -> Result<()> {
        let once = self.pending(std::mem::take).once;
        match once {
            Some(once) if !refusal.transient => {
                crate::once::record_refusal(&self, &once, refusal).await?;
                self.end().await
            }
            Some(_) | None => self.rollback().await,
        }
    }

    async fn end(self) -> Result<()> {
        match self.inner {
            Inner::Transaction(open) => Ok(open.commit().await?),
            Inner::Reading(_) => Ok(()),
        }
    }

    pub(crate) async fn rollback(self) -> Result<()> {
        match self.inner {
            Inner::Transaction(open) => Ok(open.rollback().await?),
            Inner::Reading(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_come_together_in_one_statement() {
        let one = || Write::new("UPDATE a SET b = $2 WHERE c = $1", [1.into(), 2.into()]);
        let ten = || Write::new("INSERT INTO d VALUES ($1, '0')", [3.into()]);
        assert!(together(Vec::new()).is_none());
        let (sql, values) = together(vec![one()]).unwrap();
        assert_eq!(sql, "UPDATE a SET b = $2 WHERE c = $1");
        assert_eq!(values, [1.into(), 2.into()]);
        let (sql, values) = together(vec![one(), ten(), ten()]).unwrap();
        assert_eq!(
            sql,
            "WITH w0 AS (UPDATE a SET b = $2 WHERE c = $1), w1 AS (INSERT INTO d VALUES ($3, '0'))\
             INSERT INTO d VALUES ($4, '0')"
        );
        assert_eq!(values, [1.into(), 2.into(), 3.into(), 3.into()]);
    }
}
