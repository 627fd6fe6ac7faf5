//! What every service but identity owes a person who asks what is kept of her, or to be forgotten:
//! one consumer for all of them, which asks the service through [`Keeper`] and answers identity by
//! event.
//!
//! Before she is forgotten identity asks what keeps her, and from that moment nothing new is begun
//! for her: [`barred`] reads that under a lock of the person, which the question takes alone. So
//! what was begun before is counted, and what comes after is refused, whichever way the two meet.
//! It knows neither names nor what a service's rows mean.

use std::collections::BTreeSet;

use proto::identity as event;
use proto::v1::{PersonDataPart, PersonForgotten, PersonHeld, person_held};
use sea_orm::FromQueryResult;
use serde_json::Value;
use uuid::Uuid;

use crate::bus::Defect;
use crate::consumer::Handler;
use crate::event::{NewEvent, Record};
use crate::replica::{TOPIC, id};
use crate::types::MemberId;
use crate::{Error, Result, Tx};

/// The name under which it reads.
pub const CONSUMER: &str = "persons";
/// Rows of one person that a service answers with, at most; that some were left out is said.
pub const DATA_ROWS_MAX: usize = 20_000;
/// The JSON of one part of an answer, in bytes: well below what an event may hold.
pub const PART_BYTES_MAX: usize = 256 * 1024;

const DATA: &str = "bashu.identity.v1.DataRequested";
const ERASURE: &str = "bashu.identity.v1.ErasureChanged";
const ERASED: &str = "bashu.identity.v1.PersonErased";
const PART: &str = "bashu.v1.PersonDataPart";
const HELD: &str = "bashu.v1.PersonHeld";
const FORGOTTEN: &str = "bashu.v1.PersonForgotten";

/// A row that a service has of a person, as she will read it.
#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Kept {
    /// What it is one of, such as `pass`.
    pub section: String,
    /// An object of plain values.
    pub value: Value,
}

/// What keeps a person from being forgotten.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Hold {
    /// Such as `open_order`.
    pub kind: String,
    pub count: i64,
}

/// What a service knows of persons. All of it works through the transaction alone; persons are
/// given by all ids they ever had.
pub trait Keeper: Send + Sync + 'static {
    /// Every row that is about these, `rows_max` at most, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    fn data(
        &self,
        tx: &Tx,
        members: &[Uuid],
        rows_max: i64,
    ) -> impl Future<Output = Result<Vec<Kept>>> + Send;

    /// What is still open between these and others.
    ///
    /// # Errors
    /// When the database fails.
    fn holds(&self, tx: &Tx, members: &[Uuid]) -> impl Future<Output = Result<Vec<Hold>>> + Send;

    /// Removes what no law keeps; done twice it does nothing more.
    ///
    /// # Errors
    /// When the database fails.
    fn forget(&self, tx: &Tx, members: &[Uuid]) -> impl Future<Output = Result<()>> + Send;
}

/// The handler of what identity asks about persons.
#[derive(Clone, Copy, Debug)]
pub struct Persons<K> {
    /// As identity knows the service.
    pub service: &'static str,
    pub keeper: K,
}

impl<K: Keeper> Handler for Persons<K> {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    fn handles(&self, kind: &str) -> bool {
        [DATA, ERASURE, ERASED].contains(&kind)
    }

    /// Who was forgotten stays so, whatever waits.
    fn monotone(&self, record: &Record) -> bool {
        record.kind == ERASED
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        for record in records {
            match record.kind.as_str() {
                DATA => self.data(tx, record).await?,
                ERASURE => self.erasure(tx, record).await?,
                ERASED => self.erased(tx, record).await?,
                other => return Err(Error::permanent(format!("{other} is about no person"))),
            }
        }
        Ok(())
    }
}

impl<K: Keeper> Persons<K> {
    async fn data(&self, tx: &Tx, record: &Record) -> Result<()> {
        let asked: event::DataRequested = record.decode()?;
        let members = ids(&asked.member_ids)?;
        let rows_max = i64::try_from(DATA_ROWS_MAX).unwrap_or(i64::MAX);
        // One more, to know that there are more.
        let rows = self.keeper.data(tx, &members, rows_max + 1).await?;
        let parts = parts(rows);
        let count = i32::try_from(parts.len()).unwrap_or(i32::MAX);
        for (part, json) in (1..).zip(parts) {
            let message = PersonDataPart {
                request_id: asked.id.clone(),
                version: asked.version,
                member_id: asked.member_id.clone(),
                service: self.service.to_owned(),
                part,
                parts: count,
                json,
            };
            tx.emit(NewEvent::of(&message, PART, &asked.id, asked.version));
        }
        Ok(())
    }

    async fn erasure(&self, tx: &Tx, record: &Record) -> Result<()> {
        use event::erasure_changed::State;
        let told: event::ErasureChanged = record.decode()?;
        let members = ids(&told.member_ids)?;
        let state = match told.state() {
            State::Open => "open",
            State::Closing => "closing",
            State::Unspecified => return Err(Error::permanent("an erasure without a state")),
        };
        lock_alone(tx, &members).await?;
        let is_news = put(tx, &members, (record.epoch, told.version, state)).await?;
        if !is_news || told.state() == State::Open {
            return Ok(());
        }
        let holds = self.keeper.holds(tx, &members).await?;
        let hold = |it: Hold| person_held::Hold {
            kind: it.kind,
            count: it.count,
        };
        let message = PersonHeld {
            member_id: told.member_id.clone(),
            version: told.version,
            service: self.service.to_owned(),
            holds: holds
                .into_iter()
                .filter(|it| it.count > 0)
                .map(hold)
                .collect(),
        };
        tx.emit(NewEvent::of(&message, HELD, &told.member_id, told.version));
        Ok(())
    }

    async fn erased(&self, tx: &Tx, record: &Record) -> Result<()> {
        let told: event::PersonErased = record.decode()?;
        let members = ids(&told.member_ids)?;
        lock_alone(tx, &members).await?;
        put(tx, &members, (record.epoch, told.version, "erased")).await?;
        self.keeper.forget(tx, &members).await?;
        let message = PersonForgotten {
            member_id: told.member_id.clone(),
            version: told.version,
            service: self.service.to_owned(),
            at: tx.now().timestamp_millis(),
        };
        tx.emit(NewEvent::of(
            &message,
            FORGOTTEN,
            &told.member_id,
            told.version,
        ));
        Ok(())
    }
}

fn ids(bytes: &[Vec<u8>]) -> Result<Vec<Uuid>> {
    let ids = bytes
        .iter()
        .map(|it| id(it))
        .collect::<Result<Vec<Uuid>>>()?;
    if ids.is_empty() {
        return Err(Error::permanent("a person without an id"));
    }
    Ok(ids)
}

/// JSON arrays of the rows in their order, each within [`PART_BYTES_MAX`]; one at least. A row that
/// alone is longer is left out, as those beyond [`DATA_ROWS_MAX`] are, and that is said.
pub fn parts(mut rows: Vec<Kept>) -> Vec<Vec<u8>> {
    let mut left_out = rows.len() > DATA_ROWS_MAX;
    rows.truncate(DATA_ROWS_MAX);
    let (mut parts, mut open) = (Vec::new(), String::new());
    let texts = rows.into_iter().map(|it| text(&it.section, &it.value));
    for row in texts {
        // Two brackets and a comma.
        if row.len() + 2 > PART_BYTES_MAX {
            left_out = true;
            continue;
        }
        if open.len() + row.len() + 3 > PART_BYTES_MAX {
            parts.push(format!("[{open}]").into_bytes());
            open.clear();
        }
        if !open.is_empty() {
            open.push(',');
        }
        open.push_str(&row);
    }
    if !open.is_empty() || (parts.is_empty() && !left_out) {
        parts.push(format!("[{open}]").into_bytes());
    }
    if left_out {
        let said = text("left_out", &serde_json::json!({ "rows_left_out": true }));
        parts.push(format!("[{said}]").into_bytes());
    }
    parts
}

fn text(section: &str, row: &Value) -> String {
    serde_json::json!({ "section": section, "row": row }).to_string()
}

/// What the lock of a person is called by.
const LOCK_SEED: i64 = 0x0050_4552_534F_4E00;

/// Keeps everybody out who begins something for these, until the transaction ends.
async fn lock_alone(tx: &Tx, members: &[Uuid]) -> Result<()> {
    lock(tx, "pg_advisory_xact_lock", members).await
}

/// In one order, so that two never wait for each other.
async fn lock(tx: &Tx, function: &str, members: &[Uuid]) -> Result<()> {
    let sql = format!(
        "SELECT {function}(k) FROM (
           SELECT DISTINCT hashtextextended(m::text, $2) AS k FROM UNNEST($1::uuid[]) AS t (m)
           ORDER BY 1) AS keys"
    );
    tx.execute(&sql, [members.to_vec().into(), LOCK_SEED.into()])
        .await?;
    Ok(())
}

/// Keeps what identity said of these; whether it is no older than what was known. Who was erased
/// stays so.
async fn put(tx: &Tx, members: &[Uuid], (epoch, version, state): (i64, i64, &str)) -> Result<bool> {
    let forgotten_at = (state == "erased").then(|| tx.now());
    let rows = tx
        .execute(
            "INSERT INTO replica_erasure AS r (member, epoch, version, state, forgotten_at)
             SELECT m, $2, $3, $4, $5 FROM UNNEST($1::uuid[]) AS t (m)
             ON CONFLICT (member) DO UPDATE SET epoch = EXCLUDED.epoch,
               version = EXCLUDED.version, state = EXCLUDED.state,
               forgotten_at = EXCLUDED.forgotten_at
             WHERE r.state <> 'erased' AND (EXCLUDED.state = 'erased'
               OR (r.epoch, r.version) <= (EXCLUDED.epoch, EXCLUDED.version))",
            [
                members.to_vec().into(),
                epoch.into(),
                version.into(),
                state.into(),
                forgotten_at.into(),
            ],
        )
        .await?;
    Ok(rows > 0)
}

/// Those of these for whom nothing may be begun, since they are being forgotten or were. None of
/// the others comes to be so before this transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn barred(tx: &Tx, members: &[MemberId]) -> Result<BTreeSet<MemberId>> {
    #[derive(FromQueryResult)]
    struct Row {
        member: Uuid,
    }
    let ids: Vec<Uuid> = members.iter().map(|it| it.0).collect();
    if !tx.has(Defect::PersonUnlocked) {
        lock(tx, "pg_advisory_xact_lock_shared", &ids).await?;
    }
    // A statement of its own: what the lock waited for is seen.
    let rows = tx
        .all::<Row>(
            "SELECT member FROM replica_erasure WHERE member = ANY ($1) AND state <> 'open'",
            [ids.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| MemberId(row.member)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: usize) -> Kept {
        Kept {
            section: "pass".to_owned(),
            value: serde_json::json!({ "text": "x".repeat(bytes) }),
        }
    }

    fn read(parts: &[Vec<u8>]) -> Vec<Vec<Value>> {
        let read = |part: &Vec<u8>| {
            assert!(part.len() <= PART_BYTES_MAX);
            serde_json::from_slice(part).unwrap()
        };
        parts.iter().map(read).collect()
    }

    /// Nothing is lost between two parts, and who has nothing answers so in one part.
    #[test]
    fn rows_are_parted_in_their_order() {
        assert_eq!(read(&parts(Vec::new())), [Vec::<Value>::new()]);
        let rows: Vec<Kept> = (0..9).map(|at| row(50_000 + at)).collect();
        let parted = read(&parts(rows.clone()));
        assert_eq!(parted.len(), 2);
        let back: Vec<Value> = parted.into_iter().flatten().collect();
        let lengths = back
            .iter()
            .map(|it| it["row"]["text"].as_str().unwrap().len());
        assert!(lengths.eq((0..9).map(|at| 50_000 + at)));
    }

    #[test]
    fn what_is_left_out_is_said() {
        for rows in [
            vec![row(PART_BYTES_MAX)],
            (0..=DATA_ROWS_MAX).map(|_| row(1)).collect(),
        ] {
            let parted = read(&parts(rows));
            let last = parted.last().unwrap();
            assert_eq!(last[0]["section"], "left_out");
        }
        let all = read(&parts((0..DATA_ROWS_MAX).map(|_| row(1)).collect()));
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), DATA_ROWS_MAX);
    }
}
