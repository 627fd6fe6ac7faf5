//! What a person must look at: a scan's number that was used for another scan.

use chrono::{DateTime, Utc};
use kit::types::{GateId, VenueId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

/// Keeps an alarm once; false when it was raised before.
pub(crate) async fn add(tx: &Tx, alarm: &Alarm) -> Result<bool> {
    let added = tx
        .execute(
            "INSERT INTO scan_alarm (id, venue, gate, redemption, code, at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
            [
                alarm.id.into(),
                alarm.venue.uuid().into(),
                alarm.gate.uuid().into(),
                alarm.redemption.into(),
                alarm.code.clone().into(),
                alarm.at.into(),
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Something a person must look at.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub id: Uuid,
    pub venue: VenueId,
    pub gate: GateId,
    /// The redemption whose scan id was used again.
    pub redemption: Uuid,
    pub code: String,
    pub at: DateTime<Utc>,
}

/// The columns of an alarm, for `SELECT`.
pub(crate) const COLUMNS: &str = "id, venue, gate, redemption, code, at";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    venue: Uuid,
    gate: Uuid,
    redemption: Uuid,
    code: String,
    at: DateTime<Utc>,
}

impl From<Row> for Alarm {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            venue: VenueId(row.venue),
            gate: GateId(row.gate),
            redemption: row.redemption,
            code: row.code,
            at: row.at,
        }
    }
}

/// Alarms after an id, for a resync.
pub(crate) async fn after(tx: &Tx, after: Uuid, rows_max: i64) -> Result<Vec<Alarm>> {
    let sql = format!("SELECT {COLUMNS} FROM scan_alarm WHERE id > $1 ORDER BY id LIMIT $2");
    let rows: Vec<Row> = tx.all(&sql, [after.into(), rows_max.into()]).await?;
    Ok(rows.into_iter().map(Alarm::from).collect())
}
