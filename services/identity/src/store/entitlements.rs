//! Rows of `entitlement`, the replica that credentials are minted from. Written by consumers
//! only; versions compare as (epoch, version).

use credential::token::{Kind, Minute};
use kit::types::{EntitlementId, MemberId};
use kit::{Result, Tx};
use sea_orm::{FromQueryResult, Value};
use uuid::Uuid;

use super::broken;
use crate::domain::mint::{Entitlement, State};

/// As it is stored.
pub const fn state_name(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Frozen => "frozen",
        State::Revoked => "revoked",
    }
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    state: String,
    blocked: bool,
    scope: i64,
    member: Uuid,
    kind: String,
    valid_from: i32,
    valid_until: i32,
    generation: i32,
    document_check: bool,
    persons: i32,
}

const COLUMNS: &str = "id, state, blocked, scope, member, kind, valid_from, valid_until, \
    generation, document_check, persons";

impl Row {
    fn read(self) -> Result<Entitlement> {
        let wrong = || broken("entitlement");
        let states = [State::Active, State::Frozen, State::Revoked];
        let minute = |number: i32| u32::try_from(number).ok().and_then(Minute::new);
        Ok(Entitlement {
            id: EntitlementId::from_i64(self.id),
            member: MemberId(self.member),
            kind: kind(&self.kind).ok_or_else(wrong)?,
            state: states
                .into_iter()
                .find(|state| state_name(*state) == self.state)
                .ok_or_else(wrong)?,
            blocked: self.blocked,
            scope: u32::try_from(self.scope).map_err(|_| wrong())?,
            valid_from: minute(self.valid_from).ok_or_else(wrong)?,
            valid_until: minute(self.valid_until).ok_or_else(wrong)?,
            generation: u8::try_from(self.generation).map_err(|_| wrong())?,
            document_check: self.document_check,
            persons: u16::try_from(self.persons).map_err(|_| wrong())?,
        })
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Pass => "pass",
        Kind::Ticket => "ticket",
        Kind::Course => "course",
        Kind::Station => "station",
        Kind::Relief => "relief",
        Kind::Group => "group",
    }
}

fn kind(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind_name(*kind) == text)
}

/// One entitlement whose grant has arrived.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: EntitlementId) -> Result<Option<Entitlement>> {
    let sql = format!("SELECT {COLUMNS} FROM entitlement WHERE id = $1 AND state <> 'unknown'");
    tx.one::<Row>(&sql, [id.to_i64().into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// Whether an entitlement of `holder` is this member's: she herself, or merged into her.
///
/// # Errors
/// When the database fails.
pub async fn is_of(tx: &Tx, holder: MemberId, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    if holder == member {
        return Ok(true);
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (SELECT 1 FROM member WHERE id = $1 AND merged_into = $2) AS found",
            [holder.0.into(), member.0.into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// A person's entitlements, those of records merged into hers included, `count` at most, those
/// that end last first.
///
/// # Errors
/// When the database fails.
pub async fn of_member(tx: &Tx, member: MemberId, count: i64) -> Result<Vec<Entitlement>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entitlement
         WHERE member IN (SELECT m.id FROM member m WHERE m.id = $1 OR m.merged_into = $1)
           AND state = 'active' AND NOT blocked
         ORDER BY valid_until DESC, id LIMIT $2"
    );
    let rows = tx.all::<Row>(&sql, [member.0.into(), count.into()]).await?;
    rows.into_iter().map(Row::read).collect()
}

/// An entitlement as its granter describes it.
#[derive(Clone, Debug)]
pub struct Described {
    pub entitlement: Entitlement,
    pub union: u8,
    pub epoch: i64,
    pub version: i64,
}

/// Keeps each description that is newer than what is known. A block stays as it is. No
/// entitlement may be among them twice.
///
/// # Errors
/// When the database fails.
pub async fn describe(tx: &Tx, described: &[Described]) -> Result<()> {
    if described.is_empty() {
        return Ok(());
    }
    let minute = |minute: Minute| i32::try_from(minute.get()).unwrap_or(i32::MAX);
    let each = || described.iter().map(|it| &it.entitlement);
    tx.execute(
        "INSERT INTO entitlement AS e (id, epoch, version, union_code, kind, state, scope, member,
           valid_from, valid_until, generation, document_check, persons)
         SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::text[],
           $6::text[], $7::bigint[], $8::uuid[], $9::int[], $10::int[], $11::int[], $12::boolean[],
           $13::int[])
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           union_code = EXCLUDED.union_code, kind = EXCLUDED.kind, state = EXCLUDED.state,
           scope = EXCLUDED.scope, member = EXCLUDED.member, valid_from = EXCLUDED.valid_from,
           valid_until = EXCLUDED.valid_until, generation = EXCLUDED.generation,
           document_check = EXCLUDED.document_check, persons = EXCLUDED.persons
         WHERE (e.epoch, e.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            array(each().map(|it| it.id.to_i64())),
            array(described.iter().map(|it| it.epoch)),
            array(described.iter().map(|it| it.version)),
            array(described.iter().map(|it| i16::from(it.union))),
            array(each().map(|it| kind_name(it.kind).to_owned())),
            array(each().map(|it| state_name(it.state).to_owned())),
            array(each().map(|it| i64::from(it.scope))),
            array(each().map(|it| it.member.0)),
            array(each().map(|it| minute(it.valid_from))),
            array(each().map(|it| minute(it.valid_until))),
            array(each().map(|it| i32::from(it.generation))),
            array(each().map(|it| it.document_check)),
            array(each().map(|it| i32::from(it.persons))),
        ],
    )
    .await?;
    Ok(())
}

/// A column of many rows.
fn array<T>(column: impl Iterator<Item = T>) -> Value
where
    Vec<T>: Into<Value>,
{
    column.collect::<Vec<T>>().into()
}

/// What admission says of an entitlement whose grant has not reached it.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub id: EntitlementId,
    pub scope: u32,
    pub blocked: bool,
    pub epoch: i64,
    pub version: i64,
}

/// Keeps each block, or its end, that is newer than what is known. Where the grant has not arrived
/// here either, a stub waits for it. No entitlement may be among them twice.
///
/// # Errors
/// When the database fails.
pub async fn block(tx: &Tx, blocks: &[Block]) -> Result<()> {
    if blocks.is_empty() {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO entitlement AS e
           (id, epoch, version, state, scope, blocked, blocked_epoch, blocked_version)
         SELECT i, 0, 0, 'unknown', s, b, p, v
         FROM UNNEST($1::bigint[], $2::bigint[], $3::boolean[], $4::bigint[], $5::bigint[])
           AS t (i, s, b, p, v)
         ON CONFLICT (id) DO UPDATE SET blocked = EXCLUDED.blocked,
           blocked_epoch = EXCLUDED.blocked_epoch, blocked_version = EXCLUDED.blocked_version
         WHERE (e.blocked_epoch, e.blocked_version)
             < (EXCLUDED.blocked_epoch, EXCLUDED.blocked_version)",
        [
            array(blocks.iter().map(|it| it.id.to_i64())),
            array(blocks.iter().map(|it| i64::from(it.scope))),
            array(blocks.iter().map(|it| it.blocked)),
            array(blocks.iter().map(|it| it.epoch)),
            array(blocks.iter().map(|it| it.version)),
        ],
    )
    .await?;
    Ok(())
}
