//! Rows of `erasure`, its answers, and `person_right`; and what is removed with a person.

use chrono::{DateTime, TimeDelta, Utc};
use kit::person::Hold;
use kit::types::{LoginId, MemberId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use super::broken;
use super::people::Blind;
use crate::domain::erasure::{Erasure, Right, State};

/// What a right gives, by its name: `export` or `erasure`.
///
/// # Errors
/// When the database fails.
pub async fn right(tx: &Tx, name: &str) -> Result<Right> {
    #[derive(FromQueryResult)]
    struct Row {
        deadline_days: i32,
        grace_hours: i32,
    }
    let sql = "SELECT deadline_days, grace_hours FROM person_right WHERE name = $1";
    let row = tx.one::<Row>(sql, [name.into()]).await?;
    let row = row.ok_or_else(|| broken("right"))?;
    Ok(Right {
        deadline: TimeDelta::days(row.deadline_days.into()),
        grace: TimeDelta::hours(row.grace_hours.into()),
    })
}

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    member: Uuid,
    version: i64,
    state: String,
    login: Uuid,
    asked_at: DateTime<Utc>,
    grace_until: DateTime<Utc>,
    deadline: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

pub(crate) const COLUMNS: &str =
    "member, version, state, login, asked_at, grace_until, deadline, ended_at";

impl Row {
    pub(crate) fn read(self) -> Result<Erasure> {
        let state = match (self.state.as_str(), self.ended_at) {
            ("asked", None) => State::Asked,
            ("closing", None) => State::Closing,
            ("held", None) => State::Held,
            ("recalled", Some(at)) => State::Recalled { at },
            ("erased", Some(at)) => State::Erased { at },
            _ => return Err(broken("erasure")),
        };
        Ok(Erasure {
            member: MemberId(self.member),
            version: self.version,
            state,
            login: LoginId(self.login),
            asked_at: self.asked_at,
            grace_until: self.grace_until,
            deadline: self.deadline,
        })
    }
}

/// What a person wished, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, member: MemberId) -> Result<Option<Erasure>> {
    let sql = format!("SELECT {COLUMNS} FROM erasure WHERE member = $1 FOR UPDATE");
    let row = tx.one::<Row>(&sql, [member.0.into()]).await?;
    row.map(Row::read).transpose()
}

/// What a person wished.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, member: MemberId) -> Result<Option<Erasure>> {
    let sql = format!("SELECT {COLUMNS} FROM erasure WHERE member = $1");
    let row = tx.one::<Row>(&sql, [member.0.into()]).await?;
    row.map(Row::read).transpose()
}

/// Writes it.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, it: &Erasure) -> Result<()> {
    let (state, ended_at) = match it.state {
        State::Asked => ("asked", None),
        State::Closing => ("closing", None),
        State::Held => ("held", None),
        State::Recalled { at } => ("recalled", Some(at)),
        State::Erased { at } => ("erased", Some(at)),
    };
    tx.execute(
        "INSERT INTO erasure
           (member, version, state, login, asked_at, grace_until, deadline, ended_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (member) DO UPDATE SET version = EXCLUDED.version, state = EXCLUDED.state,
           login = EXCLUDED.login, asked_at = EXCLUDED.asked_at,
           grace_until = EXCLUDED.grace_until, deadline = EXCLUDED.deadline,
           ended_at = EXCLUDED.ended_at",
        [
            it.member.0.into(),
            it.version.into(),
            state.into(),
            it.login.0.into(),
            it.asked_at.into(),
            it.grace_until.into(),
            it.deadline.into(),
            ended_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The ids under which others may know a person: hers, and those merged into it.
///
/// # Errors
/// When the database fails.
pub async fn ids_of(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let rows = tx
        .all::<Id>(
            "WITH RECURSIVE person (id) AS (
               SELECT $1::uuid
               UNION SELECT m.id FROM person JOIN member m ON m.merged_into = person.id)
             SELECT id FROM person ORDER BY id <> $1, id",
            [member.0.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// What a service answered, and to which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub service: String,
    pub version: i64,
    pub holds: Vec<Hold>,
}

/// What services answered last.
///
/// # Errors
/// When the database fails.
pub async fn answers(tx: &Tx, member: MemberId) -> Result<Vec<Answer>> {
    #[derive(FromQueryResult)]
    struct Row {
        service: String,
        version: i64,
        holds: Value,
    }
    let rows = tx
        .all::<Row>(
            "SELECT service, version, holds FROM erasure_answer WHERE member = $1
             ORDER BY service",
            [member.0.into()],
        )
        .await?;
    let read = |row: Row| {
        let holds = row.holds.as_array().ok_or_else(|| broken("answer"))?;
        let hold = |it: &Value| {
            Some(Hold {
                kind: it.get("kind")?.as_str()?.to_owned(),
                count: it.get("count")?.as_i64()?,
            })
        };
        let holds = holds.iter().map(hold).collect::<Option<Vec<Hold>>>();
        Ok(Answer {
            service: row.service,
            version: row.version,
            holds: holds.ok_or_else(|| broken("answer"))?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Keeps an answer, unless a newer one is known.
///
/// # Errors
/// When the database fails.
pub async fn put_answer(tx: &Tx, member: MemberId, answer: &Answer) -> Result<()> {
    let hold = |it: &Hold| json!({ "kind": it.kind, "count": it.count });
    let holds: Vec<Value> = answer.holds.iter().map(hold).collect();
    tx.execute(
        "INSERT INTO erasure_answer AS a (member, service, version, holds)
         VALUES ($1, $2, $3, $4::text::jsonb)
         ON CONFLICT (member, service) DO UPDATE SET version = EXCLUDED.version,
           holds = EXCLUDED.holds WHERE a.version <= EXCLUDED.version",
        [
            member.0.into(),
            answer.service.clone().into(),
            answer.version.into(),
            Value::from(holds).to_string().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Keeps that a service has forgotten her.
///
/// # Errors
/// When the database fails.
pub async fn put_applied(
    tx: &Tx,
    member: MemberId,
    service: &str,
    at: DateTime<Utc>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO erasure_applied (member, service, applied_at) VALUES ($1, $2, $3)
         ON CONFLICT (member, service) DO NOTHING",
        [member.0.into(), service.into(), at.into()],
    )
    .await?;
    Ok(())
}

/// Which services have forgotten her.
///
/// # Errors
/// When the database fails.
pub async fn applied(tx: &Tx, member: MemberId) -> Result<Vec<String>> {
    #[derive(FromQueryResult)]
    struct Row {
        service: String,
    }
    let sql = "SELECT service FROM erasure_applied WHERE member = $1";
    let rows = tx.all::<Row>(sql, [member.0.into()]).await?;
    Ok(rows.into_iter().map(|row| row.service).collect())
}

/// The organisations that a person is in, or holds a role in, by their ids. Nothing is locked.
///
/// # Errors
/// When the database fails.
pub async fn places(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        organisation: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "SELECT organisation FROM membership WHERE member = $1 AND until IS NULL
             UNION SELECT organisation FROM role WHERE member = $1 AND withdrawn_at IS NULL
             ORDER BY organisation",
            [member.0.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.organisation).collect())
}

/// The open memberships of a person, by their ids.
///
/// # Errors
/// When the database fails.
pub async fn open_memberships(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let sql = "SELECT id FROM membership WHERE member = $1 AND until IS NULL ORDER BY id";
    let rows = tx.all::<Row>(sql, [member.0.into()]).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// An active person, locked against everybody who decides on her; the version of her row.
///
/// # Errors
/// When the database fails.
pub async fn lock_person(tx: &Tx, member: MemberId) -> Result<Option<i64>> {
    #[derive(FromQueryResult)]
    struct Row {
        version: i64,
    }
    let sql = "SELECT version FROM member WHERE id = $1 AND state = 'active' FOR UPDATE";
    let row = tx.one::<Row>(sql, [member.0.into()]).await?;
    Ok(row.map(|row| row.version))
}

/// Removes what a person is known and found by, her data key first of all, and how she signed in;
/// what stays names nobody. Her logins were withdrawn before. `phone` is the keyed hash of hers.
///
/// # Errors
/// When the database fails.
pub async fn remove_person(tx: &Tx, member: MemberId, phone: Option<&Blind>) -> Result<()> {
    for sql in [
        "DELETE FROM person WHERE member = $1",
        "DELETE FROM document WHERE member = $1",
        "DELETE FROM login_ticket WHERE blind IN
           (SELECT blind FROM login_method WHERE member = $1)",
        "DELETE FROM login_method WHERE member = $1",
        "DELETE FROM second_factor WHERE member = $1",
        "DELETE FROM recovery_code WHERE member = $1",
        "UPDATE second_factor_reset SET state = 'expired' WHERE member = $1 AND state = 'asked'",
        "DELETE FROM refresh_token WHERE login IN (SELECT id FROM login WHERE member = $1)",
        // What had run out by itself was never withdrawn.
        "DELETE FROM login WHERE member = $1 AND withdrawn_at IS NULL",
        "UPDATE login SET device = NULL, network = NULL WHERE member = $1",
        "DELETE FROM notice WHERE member = $1",
        "DELETE FROM notice_preference WHERE member = $1",
        "DELETE FROM export WHERE member = $1",
        "UPDATE rendering SET state = 'expired', content = NULL, version = version + 1
           WHERE asker = $1 AND state = 'ready'",
        "UPDATE member SET state = 'erased', version = version + 1 WHERE id = $1",
    ] {
        tx.execute(sql, [member.0.into()]).await?;
    }
    if let Some(phone) = phone {
        let sql = "DELETE FROM login_code WHERE phone = $1";
        tx.execute(sql, [phone.to_vec().into()]).await?;
    }
    Ok(())
}

/// The keyed hash of a person's phone.
///
/// # Errors
/// When the database fails.
pub async fn phone_of(tx: &Tx, member: MemberId) -> Result<Option<Blind>> {
    #[derive(FromQueryResult)]
    struct Row {
        blind: Vec<u8>,
    }
    let sql = "SELECT blind FROM login_method WHERE member = $1 AND kind = 'phone'";
    let row = tx.one::<Row>(sql, [member.0.into()]).await?;
    row.map(|row| Blind::try_from(row.blind.as_slice()).map_err(|_| broken("keyed hash")))
        .transpose()
}
