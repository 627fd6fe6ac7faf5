//! Rows of `erasure`, its answers, and `person_right`; and what is removed with a person.

use chrono::{DateTime, TimeDelta, Utc};
use kit::person::Hold;
use kit::types::{LoginId, MemberId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use super::people::Blind;
use super::{broken, codes};
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

/// The version up to which others may have heard of a wish under this person's id: her next wish
/// begins above it. Whoever calls holds the person's lock.
///
/// # Errors
/// When the database fails.
pub async fn floor(tx: &Tx, member: MemberId) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Row {
        erasure_floor: i64,
    }
    let sql = "SELECT erasure_floor FROM member WHERE id = $1";
    let row = tx.one::<Row>(sql, [member.0.into()]).await?;
    Ok(row.map_or(0, |row| row.erasure_floor))
}

/// Raises the floor of a person over all that was said of another one, whose ids are or were hers.
/// Whoever calls holds the locks of both.
///
/// # Errors
/// When the database fails.
pub async fn raise_floor(tx: &Tx, member: MemberId, other: MemberId) -> Result<()> {
    tx.execute(
        "UPDATE member m
         SET erasure_floor = GREATEST(m.erasure_floor, o.erasure_floor, e.version)
         FROM member o LEFT JOIN erasure e ON e.member = o.id
         WHERE m.id = $1 AND o.id = $2",
        [member.0.into(), other.0.into()],
    )
    .await?;
    Ok(())
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

/// The ids under which others may know a person: hers, and those merged into it, those that were
/// forgotten with her among them.
///
/// # Errors
/// When the database fails.
pub async fn ids_of(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    let rows = tx
        .all::<Id>(
            "WITH RECURSIVE person (id) AS (
               SELECT $1::uuid
               UNION SELECT m.id FROM person JOIN member m ON m.merged_into = person.id)
             SELECT id FROM (
               SELECT id FROM person
               UNION SELECT g.merged FROM member_merge g JOIN member m ON m.id = g.merged
                 WHERE g.survivor = $1 AND g.state = 'done' AND m.state = 'erased') t
             ORDER BY id <> $1, id",
            [member.0.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

#[derive(FromQueryResult)]
struct Id {
    id: Uuid,
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

/// The organisations that a person is in, or holds a role in, under any of her ids. Nothing is
/// locked.
///
/// # Errors
/// When the database fails.
pub async fn places(tx: &Tx, members: &[Uuid]) -> Result<Vec<Uuid>> {
    let rows = tx
        .all::<Id>(
            "SELECT organisation AS id FROM membership WHERE member = ANY ($1) AND until IS NULL
             UNION SELECT organisation FROM role
               WHERE member = ANY ($1) AND withdrawn_at IS NULL
             ORDER BY id",
            [members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// The open memberships of a person under any of her ids, by theirs.
///
/// # Errors
/// When the database fails.
pub async fn open_memberships(tx: &Tx, members: &[Uuid]) -> Result<Vec<Uuid>> {
    let sql = "SELECT id FROM membership WHERE member = ANY ($1) AND until IS NULL ORDER BY id";
    let rows = tx.all::<Id>(sql, [members.to_vec().into()]).await?;
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

/// A record of a person: hers, or one that was merged into it.
#[derive(Clone, Copy, Debug, FromQueryResult)]
pub struct RecordRow {
    pub id: Uuid,
    pub version: i64,
}

/// An active person with the records that were merged into hers, locked in the order of their ids,
/// as by who merges and splits; without hers when she is not active.
///
/// # Errors
/// When the database fails.
pub async fn lock_records(tx: &Tx, member: MemberId) -> Result<Vec<RecordRow>> {
    tx.all(
        "SELECT id, version FROM member
         WHERE (id = $1 AND state = 'active') OR merged_into = $1 ORDER BY id FOR UPDATE",
        [member.0.into()],
    )
    .await
}

/// What waits for a decision or an answer and ends with who it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Roles that were proposed to her or by her.
    Proposals,
    Applications,
    /// Merges that no second operator has asked for.
    Merges,
    /// Resets of her second factor, or asked for by her.
    Resets,
    /// Second factors: of those that are not confirmed a timer is due.
    Factors,
    Verifications,
    Exports,
    /// Recoveries of her phone.
    Recoveries,
    /// Other phones that an operator has named for her, or she for somebody.
    Settings,
}

impl Waiting {
    /// What is evidence of what others decided keeps its row, which names ids alone.
    const fn sql(self) -> &'static str {
        match self {
            Self::Proposals => {
                "UPDATE role_proposal SET state = 'expired' WHERE state = 'open'
                   AND (member = ANY ($1) OR proposed_by = ANY ($1)) RETURNING id"
            }
            Self::Applications => {
                "DELETE FROM membership_application WHERE member = ANY ($1) RETURNING id"
            }
            Self::Merges => {
                "UPDATE member_merge SET state = 'expired' WHERE state = 'asked'
                   AND (survivor = ANY ($1) OR merged = ANY ($1)) RETURNING id"
            }
            Self::Resets => {
                "UPDATE second_factor_reset SET state = 'expired' WHERE state = 'asked'
                   AND (member = ANY ($1) OR asked_by = ANY ($1)) RETURNING id"
            }
            Self::Factors => "DELETE FROM second_factor WHERE member = ANY ($1) RETURNING id",
            Self::Verifications => "DELETE FROM verification WHERE member = ANY ($1) RETURNING id",
            Self::Exports => "DELETE FROM export WHERE member = ANY ($1) RETURNING id",
            Self::Recoveries => "DELETE FROM phone_recovery WHERE member = ANY ($1) RETURNING id",
            Self::Settings => {
                "UPDATE phone_setting SET state = 'expired', blind = NULL WHERE state = 'asked'
                   AND (member = ANY ($1) OR asked_by = ANY ($1)) RETURNING id"
            }
        }
    }
}

/// Ends what waits of a person, under any of her ids; the ids of what that was.
///
/// # Errors
/// When the database fails.
pub async fn end_waiting(tx: &Tx, what: Waiting, members: &[Uuid]) -> Result<Vec<Uuid>> {
    let rows = tx.all::<Id>(what.sql(), [members.to_vec().into()]).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Removes what a person is known and found by under any of her ids, her data keys first of all,
/// and how she signed in; what stays names nobody. Her logins were withdrawn before, and what waits
/// was ended ([`Waiting`]). A login that is with an issuer is nobody's yet, and keeps no member.
/// `phones` are the keyed hashes of those she had or asked for: see [`phones_of`].
///
/// # Errors
/// When the database fails.
pub async fn remove_people(tx: &Tx, members: &[Uuid], phones: &[Blind]) -> Result<()> {
    for sql in [
        "DELETE FROM search_term WHERE member = ANY ($1)",
        "DELETE FROM person WHERE member = ANY ($1)",
        "DELETE FROM document WHERE member = ANY ($1)",
        "DELETE FROM network_identity WHERE member = ANY ($1)",
        "DELETE FROM login_ticket WHERE blind IN
           (SELECT blind FROM login_method WHERE member = ANY ($1))",
        "DELETE FROM login_method WHERE member = ANY ($1)",
        "DELETE FROM phone_change WHERE member = ANY ($1)",
        "DELETE FROM former_phone WHERE member = ANY ($1)",
        "DELETE FROM recovery_code WHERE member = ANY ($1)",
        "DELETE FROM refresh_token WHERE login IN
           (SELECT id FROM login WHERE member = ANY ($1))",
        // What had run out by itself was never withdrawn.
        "DELETE FROM login WHERE member = ANY ($1) AND withdrawn_at IS NULL",
        "UPDATE login SET device = NULL, network = NULL WHERE member = ANY ($1)",
        "DELETE FROM notice WHERE member = ANY ($1)",
        "DELETE FROM notice_preference WHERE member = ANY ($1)",
        "DELETE FROM sms_message WHERE member = ANY ($1)",
        // That two records were one is evidence; by what either was found is not.
        "UPDATE member_merge SET networks = '{}'
           WHERE (survivor = ANY ($1) OR merged = ANY ($1)) AND networks <> '{}'",
        "DELETE FROM rendering_address WHERE rendering IN
           (SELECT id FROM rendering WHERE asker = ANY ($1))",
        // What an office has committed names an id. Before that it would bring her back unseen; a
        // row that is not compared yet comes as somebody new, whom the office is shown.
        "DELETE FROM roster_row w USING roster r WHERE r.id = w.roster AND w.member = ANY ($1)
           AND r.state NOT IN ('committed', 'failed', 'expired')",
        "UPDATE member SET state = 'erased', merged_into = NULL, version = version + 1
           WHERE id = ANY ($1)",
    ] {
        tx.execute(sql, [members.to_vec().into()]).await?;
    }
    // One that she had or asked for may be another's.
    codes::forget(tx, phones).await
}

/// The keyed hashes of the phones that a person has or had lately under any of her ids, and of the
/// one that she asks for, in one order.
///
/// # Errors
/// When the database fails.
pub async fn phones_of(tx: &Tx, members: &[Uuid]) -> Result<Vec<Blind>> {
    let sql = "SELECT blind FROM login_method WHERE member = ANY ($1) AND kind = 'phone'
               UNION SELECT blind FROM former_phone WHERE member = ANY ($1)
               UNION SELECT blind FROM phone_change WHERE member = ANY ($1)
               UNION SELECT blind FROM phone_recovery
                 WHERE member = ANY ($1) AND blind IS NOT NULL ORDER BY blind";
    let rows = tx.all::<BlindRow>(sql, [members.to_vec().into()]).await?;
    rows.into_iter().map(BlindRow::read).collect()
}

#[derive(FromQueryResult)]
struct BlindRow {
    blind: Vec<u8>,
}

impl BlindRow {
    fn read(self) -> Result<Blind> {
        Blind::try_from(self.blind.as_slice()).map_err(|_| broken("keyed hash"))
    }
}

/// The keyed hash of a person's phone.
///
/// # Errors
/// When the database fails.
pub async fn phone_of(tx: &Tx, member: MemberId) -> Result<Option<Blind>> {
    let sql = "SELECT blind FROM login_method WHERE member = $1 AND kind = 'phone'";
    let row = tx.one::<BlindRow>(sql, [member.0.into()]).await?;
    row.map(BlindRow::read).transpose()
}
