//! Gates: their keys and one-time codes.

use chrono::{DateTime, Utc};
use kit::types::{GateId, VenueId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::gate::{GATES_MAX, Gate, GateKey, PendingCode};
use crate::error::Refusal;

const COLUMNS: &str = "id, version, venue, number, name, unattended, disabled, enrolment, \
    public_key, enrolled_at, code_selector, code_hash, code_expires_at, code_attempts, code_used";

#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct GateRow {
    id: Uuid,
    version: i64,
    venue: Uuid,
    number: i16,
    name: String,
    unattended: bool,
    disabled: bool,
    enrolment: i32,
    public_key: Option<Vec<u8>>,
    enrolled_at: Option<DateTime<Utc>>,
    code_selector: Option<String>,
    code_hash: Option<Vec<u8>>,
    code_expires_at: Option<DateTime<Utc>>,
    code_attempts: i16,
    code_used: bool,
}

impl TryFrom<GateRow> for Gate {
    type Error = Error;

    fn try_from(row: GateRow) -> Result<Self> {
        let broken = || Error::internal(format!("the row of gate {} is broken", row.id));
        let bytes = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| broken());
        let key = match (row.public_key, row.enrolled_at) {
            (Some(public), Some(since)) => Some(GateKey {
                enrolment: row.enrolment,
                public: bytes(public)?,
                since,
            }),
            _ => None,
        };
        let code = match (row.code_selector, row.code_hash, row.code_expires_at) {
            (Some(selector), Some(hash), Some(expires_at)) => Some(PendingCode {
                selector,
                hash: bytes(hash)?,
                expires_at,
                attempts: row.code_attempts,
                used: row.code_used,
            }),
            _ => None,
        };
        Ok(Self {
            id: GateId(row.id),
            version: row.version,
            venue: VenueId(row.venue),
            number: u8::try_from(row.number).map_err(|_| broken())?,
            name: row.name,
            unattended: row.unattended,
            disabled: row.disabled,
            key,
            code,
        })
    }
}

/// The gate, locked; `NotFound` when absent.
pub async fn lock(tx: &Tx, id: GateId) -> Result<Gate> {
    let sql = format!("SELECT {COLUMNS} FROM gate WHERE id = $1 FOR UPDATE");
    tx.one::<GateRow>(&sql, [id.uuid().into()])
        .await?
        .ok_or(Error::NotFound)?
        .try_into()
}

/// The gate; `NotFound` when absent.
pub async fn load(tx: &Tx, id: GateId) -> Result<Gate> {
    let sql = format!("SELECT {COLUMNS} FROM gate WHERE id = $1");
    tx.one::<GateRow>(&sql, [id.uuid().into()])
        .await?
        .ok_or(Error::NotFound)?
        .try_into()
}

/// The gate that a code's selector finds, locked.
pub(crate) async fn lock_by_selector(tx: &Tx, selector: &str) -> Result<Option<Gate>> {
    let sql = format!("SELECT {COLUMNS} FROM gate WHERE code_selector = $1 FOR UPDATE");
    tx.one::<GateRow>(&sql, [selector.into()])
        .await?
        .map(Gate::try_from)
        .transpose()
}

/// Takes the venue's next gate number.
pub(crate) async fn next_number(tx: &Tx, venue: VenueId) -> Result<u8> {
    #[derive(FromQueryResult)]
    struct Row {
        gates: i16,
    }
    let row = tx
        .one::<Row>(
            "UPDATE venue SET gates = gates + 1 WHERE id = $1 AND gates < $2 RETURNING gates",
            [venue.uuid().into(), GATES_MAX.into()],
        )
        .await?
        .ok_or(Refusal::TooManyGates)?;
    u8::try_from(row.gates).map_err(|_| Error::internal("a gate number beyond eight bits"))
}

/// Adds a gate, or writes a changed one back.
pub async fn save(tx: &Tx, gate: &Gate) -> Result<()> {
    let (key, code) = (gate.key.as_ref(), gate.code.as_ref());
    tx.execute(
        "INSERT INTO gate (id, version, venue, number, name, disabled, enrolment, public_key,
           enrolled_at, code_selector, code_hash, code_expires_at, code_attempts, code_used,
           created_at, unattended)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version, name = EXCLUDED.name,
           disabled = EXCLUDED.disabled, enrolment = EXCLUDED.enrolment,
           public_key = EXCLUDED.public_key, enrolled_at = EXCLUDED.enrolled_at,
           code_selector = EXCLUDED.code_selector, code_hash = EXCLUDED.code_hash,
           code_expires_at = EXCLUDED.code_expires_at, code_attempts = EXCLUDED.code_attempts,
           code_used = EXCLUDED.code_used",
        [
            gate.id.uuid().into(),
            gate.version.into(),
            gate.venue.uuid().into(),
            i16::from(gate.number).into(),
            gate.name.clone().into(),
            gate.disabled.into(),
            key.map_or(0, |key| key.enrolment).into(),
            key.map(|key| key.public.to_vec()).into(),
            key.map(|key| key.since).into(),
            code.map(|code| code.selector.clone()).into(),
            code.map(|code| code.hash.to_vec()).into(),
            code.map(|code| code.expires_at).into(),
            code.map_or(0, |code| code.attempts).into(),
            code.is_some_and(|code| code.used).into(),
            tx.now().into(),
            gate.unattended.into(),
        ],
    )
    .await?;
    Ok(())
}

/// What a gate's assertion is held against: its venue, key and enrolment. `None` when no device
/// is bound to it.
pub(crate) async fn key(db: &kit::Db, id: GateId) -> Result<Option<(VenueId, GateKey)>> {
    let sql = format!("SELECT {COLUMNS} FROM gate WHERE id = $1");
    let row = db.one::<GateRow>(&sql, [id.uuid().into()]).await?;
    let gate = row.map(Gate::try_from).transpose()?;
    Ok(gate.and_then(|gate| gate.key.map(|key| (gate.venue, key))))
}

/// Gates after an id, locked so that nothing older can be said after them.
pub(crate) async fn after(tx: &Tx, after: Uuid, rows_max: i64) -> Result<Vec<Gate>> {
    let sql = format!("SELECT {COLUMNS} FROM gate WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE");
    let rows: Vec<GateRow> = tx.all(&sql, [after.into(), rows_max.into()]).await?;
    rows.into_iter().map(Gate::try_from).collect()
}

/// A venue's gates, by number.
pub(crate) async fn of_venue(db: &kit::Db, venue: VenueId) -> Result<Vec<Gate>> {
    let sql = format!("SELECT {COLUMNS} FROM gate WHERE venue = $1 ORDER BY number");
    let rows: Vec<GateRow> = db.all(&sql, [venue.uuid().into()]).await?;
    rows.into_iter().map(Gate::try_from).collect()
}

/// These gates, in no order.
pub(crate) async fn of_ids(db: &kit::Db, ids: &[GateId]) -> Result<Vec<Gate>> {
    let sql = format!("SELECT {COLUMNS} FROM gate WHERE id = ANY ($1)");
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<GateRow> = db.all(&sql, [ids.into()]).await?;
    rows.into_iter().map(Gate::try_from).collect()
}
