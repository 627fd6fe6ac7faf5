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
pub(crate) struct Alarm {
    pub(crate) id: Uuid,
    pub(crate) venue: VenueId,
    pub(crate) gate: GateId,
    /// The redemption whose scan id was used again.
    pub(crate) redemption: Uuid,
    pub(crate) code: String,
    pub(crate) at: DateTime<Utc>,
}

/// Alarms after an id, for a resync.
pub(crate) async fn after(tx: &Tx, after: Uuid, rows_max: i64) -> Result<Vec<Alarm>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        venue: Uuid,
        gate: Uuid,
        redemption: Uuid,
        code: String,
        at: DateTime<Utc>,
    }
    let rows: Vec<Row> = tx
        .all(
            "SELECT id, venue, gate, redemption, code, at FROM scan_alarm WHERE id > $1
             ORDER BY id LIMIT $2",
            [after.into(), rows_max.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Alarm {
            id: row.id,
            venue: VenueId(row.venue),
            gate: GateId(row.gate),
            redemption: row.redemption,
            code: row.code,
            at: row.at,
        })
        .collect())
}
