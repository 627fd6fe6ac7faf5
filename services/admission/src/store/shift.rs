//! Shifts: staff at work at a venue, and perhaps at one of its gates.

use chrono::{DateTime, Utc};
use kit::person::Kept;
use kit::types::{GateId, MemberId, VenueId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

/// A shift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    pub id: Uuid,
    pub venue: VenueId,
    pub gate: Option<GateId>,
    pub member: MemberId,
    pub opened_at: DateTime<Utc>,
    /// When it ends by itself.
    pub closes_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    /// Whether its person showed a second factor for it.
    pub second_factor: bool,
}

const OPEN: &str =
    "SELECT id, venue, gate, member, opened_at, closes_at, closed_at, second_factor FROM shift
     WHERE member = $1 AND closed_at IS NULL";

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    venue: Uuid,
    gate: Option<Uuid>,
    member: Uuid,
    opened_at: DateTime<Utc>,
    closes_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
    second_factor: bool,
}

impl From<Row> for Shift {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            venue: VenueId(row.venue),
            gate: row.gate.map(GateId),
            member: MemberId(row.member),
            opened_at: row.opened_at,
            closes_at: row.closes_at,
            closed_at: row.closed_at,
            second_factor: row.second_factor,
        }
    }
}

/// The person's open shift, wherever it is; over ones included.
pub(crate) async fn open(tx: &Tx, member: MemberId) -> Result<Option<Shift>> {
    let row = tx.one::<Row>(OPEN, [member.uuid().into()]).await?;
    Ok(row.map(Shift::from))
}

/// The same, locked.
pub async fn lock_open(tx: &Tx, member: MemberId) -> Result<Option<Shift>> {
    let sql = format!("{OPEN} FOR UPDATE");
    let row = tx.one::<Row>(&sql, [member.uuid().into()]).await?;
    Ok(row.map(Shift::from))
}

/// The shift of that id, locked.
pub(crate) async fn lock(tx: &Tx, id: Uuid) -> Result<Option<Shift>> {
    let row = tx
        .one::<Row>(
            "SELECT id, venue, gate, member, opened_at, closes_at, closed_at, second_factor
             FROM shift WHERE id = $1 FOR UPDATE",
            [id.into()],
        )
        .await?;
    Ok(row.map(Shift::from))
}

/// Adds a shift; false when the person has an open one that could not be seen before.
pub async fn insert(tx: &Tx, shift: &Shift) -> Result<bool> {
    let added = tx
        .execute(
            "INSERT INTO shift (id, venue, gate, member, opened_at, closes_at, second_factor)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (member) WHERE closed_at IS NULL DO NOTHING",
            [
                shift.id.into(),
                shift.venue.uuid().into(),
                shift.gate.map(GateId::uuid).into(),
                shift.member.uuid().into(),
                shift.opened_at.into(),
                shift.closes_at.into(),
                shift.second_factor.into(),
            ],
        )
        .await?;
    Ok(added == 1)
}

/// A shift's person has shown a second factor for it.
pub(crate) async fn remember_second_factor(tx: &Tx, id: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE shift SET second_factor = true WHERE id = $1",
        [id.into()],
    )
    .await?;
    Ok(())
}

/// Ends a shift.
pub(crate) async fn close(tx: &Tx, id: Uuid, at: DateTime<Utc>) -> Result<()> {
    tx.execute(
        "UPDATE shift SET closed_at = $2 WHERE id = $1 AND closed_at IS NULL",
        [id.into(), at.into()],
    )
    .await?;
    Ok(())
}

/// The shifts of a person, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn data_of_person(tx: &Tx, members: &[Uuid], rows_max: i64) -> Result<Vec<Kept>> {
    tx.all(
        "SELECT 'shift' AS section, jsonb_build_object('venue', v.name_zh,
           'opened_at', s.opened_at, 'closed_at', s.closed_at) AS value
         FROM shift s JOIN venue v ON v.id = s.venue
         WHERE s.member = ANY ($1) ORDER BY s.opened_at DESC, s.id LIMIT $2",
        [members.to_vec().into(), rows_max.into()],
    )
    .await
}

/// Ends the open shift of a person; its timer then finds it closed.
///
/// # Errors
/// When the database fails.
pub async fn close_of_person(tx: &Tx, members: &[Uuid]) -> Result<()> {
    tx.execute(
        "UPDATE shift SET closed_at = $2 WHERE member = ANY ($1) AND closed_at IS NULL",
        [members.to_vec().into(), tx.now().into()],
    )
    .await?;
    Ok(())
}
