//! What admission tells the other services: each event carries the whole public state of its
//! aggregate, and is said again by a resync.

use credential::rules::Direction;
use kit::event::NewEvent;
use kit::resync::{RESYNC_ROWS_MAX, Source};
use kit::types::{EntitlementId, Union};
use kit::{Error, Result, Tx};
use proto::admission as event;
use uuid::Uuid;

use crate::domain::entitlement::{Entitlement, Grant};
use crate::domain::gate::Gate;
use crate::domain::redemption::{Origin, Redemption};
use crate::domain::venue::Venue;
use crate::store;
use crate::store::alarm::Alarm;

const VENUE: &str = "bashu.admission.v1.VenueChanged";
const GATE: &str = "bashu.admission.v1.GateChanged";
const REDEMPTION: &str = "bashu.admission.v1.RedemptionChanged";
const FREEZE_APPLIED: &str = "bashu.admission.v1.FreezeApplied";
const BLOCKED: &str = "bashu.admission.v1.EntitlementBlocked";
const ALARM: &str = "bashu.admission.v1.ScanAlarmRaised";

fn bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// A venue's public state.
pub(crate) fn venue(venue: &Venue, union: Union) -> NewEvent {
    let details = &venue.details;
    let message = event::VenueChanged {
        id: bytes(venue.id.uuid()),
        version: venue.version,
        union: union.code().into(),
        name_zh: details.name_zh.clone(),
        name_en: details.name_en.clone(),
        division: details.division.to_string(),
        tags: details.tags.iter().cloned().collect(),
        organisation_id: bytes(venue.organisation.uuid()),
        latitude_e7: details.place.latitude_e7(),
        longitude_e7: details.place.longitude_e7(),
        opening_hours: store::venue::opening_text(details),
        suspended: venue.suspended,
        tracks_exits: details.tracks_exits,
    };
    NewEvent::of(&message, VENUE, venue.id.uuid().as_bytes(), venue.version)
}

/// A gate's public state: never its key.
pub(crate) fn gate(gate: &Gate) -> NewEvent {
    let message = event::GateChanged {
        id: bytes(gate.id.uuid()),
        version: gate.version,
        venue_id: bytes(gate.venue.uuid()),
        number: gate.number.into(),
        disabled: gate.disabled,
        unattended: gate.unattended,
    };
    NewEvent::of(&message, GATE, gate.id.uuid().as_bytes(), gate.version)
}

/// An admission; `None` for a scan that admitted nobody, which stays in this service.
pub(crate) fn redemption(one: &Redemption, union: Union) -> Option<NewEvent> {
    let entitlement = one.entitlement.filter(|_| one.is_admitted())?;
    let scan_id = match &one.origin {
        Origin::Scan { id, .. } => id.to_bytes(),
        Origin::Override { .. } => Vec::new(),
    };
    let message = event::RedemptionChanged {
        id: bytes(one.id),
        version: one.version,
        entitlement_id: entitlement.0,
        r#gen: one.generation.into(),
        scope: one.scope,
        union: union.code().into(),
        venue_id: bytes(one.venue.uuid()),
        gate_id: bytes(one.gate.uuid()),
        direction: match one.direction {
            Direction::Entry => event::redemption_changed::Direction::Entry,
            Direction::Exit => event::redemption_changed::Direction::Exit,
        }
        .into(),
        at: one.at.timestamp_millis(),
        date: one.counted_on.to_string(),
        persons: one.persons.into(),
        voided: one.void.is_some(),
        overridden: one.is_overridden(),
        payable: one.payable,
        scan_id,
    };
    Some(NewEvent::of(
        &message,
        REDEMPTION,
        one.id.as_bytes(),
        one.version,
    ))
}

/// The uses of a frozen entitlement, counted under its lock.
pub(crate) fn freeze_applied(
    id: EntitlementId,
    freeze_version: i64,
    uses: u32,
    union: Union,
) -> NewEvent {
    let message = event::FreezeApplied {
        entitlement_id: id.0,
        freeze_version,
        uses,
        // Leases come with offline gates; until then none is ever open.
        leases_open_until: 0,
        union: union.code().into(),
    };
    NewEvent::of(&message, FREEZE_APPLIED, &id.to_bytes(), freeze_version)
}

/// That an entitlement is blocked, or no longer.
pub(crate) fn blocked(one: &Entitlement) -> NewEvent {
    let message = event::EntitlementBlocked {
        entitlement_id: one.id.0,
        version: one.block_version,
        scope: one.scope,
        first_used_at: one.first_used_at.map_or(0, |at| at.timestamp_millis()),
        cleared: one.grant != Grant::Blocked,
    };
    NewEvent::of(&message, BLOCKED, &one.id.to_bytes(), one.block_version)
}

/// Something a person must look at.
pub(crate) fn alarm(alarm: &Alarm) -> NewEvent {
    let message = event::ScanAlarmRaised {
        id: bytes(alarm.id),
        venue_id: bytes(alarm.venue.uuid()),
        gate_id: bytes(alarm.gate.uuid()),
        code: alarm.code.clone(),
        at: alarm.at.timestamp_millis(),
    };
    NewEvent::of(&message, ALARM, alarm.id.as_bytes(), 1)
}

/// Says the state of everything again.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionSource {
    union: Union,
}

impl AdmissionSource {
    /// The source of this union's admission.
    pub const fn new(union: Union) -> Self {
        Self { union }
    }
}

const VENUES: &str = "venue";
const GATES: &str = "gate";
const REDEMPTIONS: &str = "redemption";
const BLOCKS: &str = "entitlement_block";
const FREEZES: &str = "entitlement_freeze";
const ALARMS: &str = "scan_alarm";

impl Source for AdmissionSource {
    fn aggregates(&self) -> &'static [&'static str] {
        &[VENUES, GATES, REDEMPTIONS, BLOCKS, FREEZES, ALARMS]
    }

    async fn resync(
        &self,
        tx: &Tx,
        aggregate: &str,
        after: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        match aggregate {
            VENUES => {
                let all = store::venue::after(tx, uuid_after(after)?, RESYNC_ROWS_MAX).await?;
                all.iter().for_each(|one| tx.emit(venue(one, self.union)));
                Ok(all.last().map(|one| bytes(one.id.uuid())))
            }
            GATES => {
                let all = store::gate::after(tx, uuid_after(after)?, RESYNC_ROWS_MAX).await?;
                all.iter().for_each(|one| tx.emit(gate(one)));
                Ok(all.last().map(|one| bytes(one.id.uuid())))
            }
            REDEMPTIONS => {
                let all = store::redemption::after(tx, uuid_after(after)?, RESYNC_ROWS_MAX).await?;
                let events = all.iter().filter_map(|one| redemption(one, self.union));
                events.for_each(|event| tx.emit(event));
                Ok(all.last().map(|one| bytes(one.id)))
            }
            BLOCKS => {
                let from = number_after(after)?;
                let all = store::entitlement::once_blocked_after(tx, from, RESYNC_ROWS_MAX).await?;
                all.iter().for_each(|one| tx.emit(blocked(one)));
                Ok(all.last().map(|one| one.id.to_i64().to_be_bytes().to_vec()))
            }
            FREEZES => self.freezes(tx, number_after(after)?).await,
            ALARMS => {
                let from = uuid_after(after)?;
                let all = store::alarm::after(tx, from, RESYNC_ROWS_MAX).await?;
                all.iter().for_each(|one| tx.emit(alarm(one)));
                Ok(all.last().map(|one| bytes(one.id)))
            }
            other => Err(Error::internal(format!(
                "{other} is no aggregate of admission"
            ))),
        }
    }
}

impl AdmissionSource {
    async fn freezes(&self, tx: &Tx, after: i64) -> Result<Option<Vec<u8>>> {
        let all = store::entitlement::frozen_after(tx, after, RESYNC_ROWS_MAX).await?;
        let ids: Vec<EntitlementId> = all.iter().map(|one| one.id).collect();
        let uses = store::entitlement::uses(tx, &ids).await?;
        for one in &all {
            if let Some(freeze) = one.freeze_to_answer() {
                let count = uses.get(&one.id).copied().unwrap_or(0);
                tx.emit(freeze_applied(one.id, freeze, count, self.union));
            }
        }
        Ok(all.last().map(|one| one.id.to_i64().to_be_bytes().to_vec()))
    }
}

fn uuid_after(after: Option<Vec<u8>>) -> Result<Uuid> {
    let Some(bytes) = after else {
        return Ok(Uuid::nil());
    };
    Uuid::from_slice(&bytes).map_err(|_| Error::internal("a cursor that is no id"))
}

fn number_after(after: Option<Vec<u8>>) -> Result<i64> {
    let Some(bytes) = after else {
        return Ok(i64::MIN);
    };
    let bytes = <[u8; 8]>::try_from(bytes.as_slice())
        .map_err(|_| Error::internal("a cursor that is no number"))?;
    Ok(i64::from_be_bytes(bytes))
}
