//! Rows of `entitlement`, the replica that credentials are minted from. Written by consumers
//! only; versions compare as (epoch, version).

use credential::token::{Kind, Minute};
use kit::types::{EntitlementId, MemberId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
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

/// A person's entitlements, `count` at most, those that end last first.
///
/// # Errors
/// When the database fails.
pub async fn of_member(tx: &Tx, member: MemberId, count: i64) -> Result<Vec<Entitlement>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entitlement
         WHERE member = $1 AND state = 'active' AND NOT blocked
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

/// Keeps the description if it is newer than what is known. A block stays as it is.
///
/// # Errors
/// When the database fails.
pub async fn describe(tx: &Tx, described: &Described) -> Result<()> {
    let it = &described.entitlement;
    let minute = |minute: Minute| i32::try_from(minute.get()).unwrap_or(i32::MAX);
    tx.execute(
        "INSERT INTO entitlement AS e (id, epoch, version, union_code, kind, state, scope, member,
           valid_from, valid_until, generation, document_check, persons)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           union_code = EXCLUDED.union_code, kind = EXCLUDED.kind, state = EXCLUDED.state,
           scope = EXCLUDED.scope, member = EXCLUDED.member, valid_from = EXCLUDED.valid_from,
           valid_until = EXCLUDED.valid_until, generation = EXCLUDED.generation,
           document_check = EXCLUDED.document_check, persons = EXCLUDED.persons
         WHERE (e.epoch, e.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            it.id.to_i64().into(),
            described.epoch.into(),
            described.version.into(),
            i16::from(described.union).into(),
            kind_name(it.kind).into(),
            state_name(it.state).into(),
            i64::from(it.scope).into(),
            it.member.0.into(),
            minute(it.valid_from).into(),
            minute(it.valid_until).into(),
            i32::from(it.generation).into(),
            it.document_check.into(),
            i32::from(it.persons).into(),
        ],
    )
    .await?;
    Ok(())
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

/// Keeps the block, or its end, if it is newer than what is known. Where the grant has not
/// arrived here either, a stub waits for it.
///
/// # Errors
/// When the database fails.
pub async fn block(tx: &Tx, block: Block) -> Result<()> {
    tx.execute(
        "INSERT INTO entitlement AS e
           (id, epoch, version, state, scope, blocked, blocked_epoch, blocked_version)
         VALUES ($1, 0, 0, 'unknown', $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET blocked = EXCLUDED.blocked,
           blocked_epoch = EXCLUDED.blocked_epoch, blocked_version = EXCLUDED.blocked_version
         WHERE (e.blocked_epoch, e.blocked_version)
             < (EXCLUDED.blocked_epoch, EXCLUDED.blocked_version)",
        [
            block.id.to_i64().into(),
            i64::from(block.scope).into(),
            block.blocked.into(),
            block.epoch.into(),
            block.version.into(),
        ],
    )
    .await?;
    Ok(())
}
