//! What a batch of scans is decided on, and what it leaves. The locks are taken in one order
//! everywhere: entitlements by id, then the venues' counters by id, then anything else.

mod hold;
mod left;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use credential::rules::{Province, VenueFacts, VenueId as FactsId};
use kit::types::{EntitlementId, GateId, Union, VenueId, shanghai_date};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{product, venue};
use crate::domain::desk::{Account, Desk, Door, Place, Uses};
use crate::domain::entitlement::{Entitlement, Grant};
use crate::domain::venue::Venue;

pub(crate) use hold::{Counter, Held, hold, lock_counter};
pub(crate) use left::{Figures, Left, add_figures, close, set_counters, set_presence};

/// A gate as a batch sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateState {
    pub(crate) venue: VenueId,
    pub(crate) door: Door,
    pub(crate) disabled: bool,
    pub(crate) enrolment: i32,
    /// The open shift there.
    pub(crate) shift: Option<Uuid>,
}

/// Venues and entitlements with all that decides.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) desk: Desk,
    pub(crate) gates: BTreeMap<GateId, GateState>,
    /// The venues' counters as they were read.
    pub(crate) counters: BTreeMap<VenueId, Counter>,
}

/// Loads what else decides of the venues and entitlements that are held. Venues and gates are read
/// after the locks: what was switched off while a batch waited stays shut.
pub(crate) async fn open(
    tx: &Tx,
    union: Union,
    (gates, venues): (&BTreeSet<GateId>, &BTreeSet<VenueId>),
    held: Held,
) -> Result<Opened> {
    let Held {
        entitlements,
        counters,
        unseen,
        budgets,
    } = held;
    let today = shanghai_date(tx.now());
    let mut places = BTreeMap::new();
    for venue in venue::all(tx, venues).await? {
        let counter = counters.get(&venue.id).ok_or(Error::NotFound)?;
        let place = Place {
            facts: facts(&venue, union, today),
            capacity: venue.details.capacity,
            inside: counter.inside_on(today),
        };
        places.insert(venue.id, place);
    }
    let gates = gate_states(tx, gates).await?;
    let accounts = accounts(tx, &places, entitlements).await?;
    let mut versions: Vec<(u32, i64)> = accounts
        .values()
        .filter_map(|account| match &account.entitlement.grant {
            Grant::Granted(word) => Some((account.entitlement.scope, word.rules_version)),
            Grant::Unseen | Grant::Blocked => None,
        })
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let desk = Desk {
        now: tx.now(),
        union,
        places,
        rules: product::book(tx, &versions, &unseen).await?,
        budgets,
        accounts,
    };
    Ok(Opened {
        desk,
        gates,
        counters,
    })
}

fn facts(venue: &Venue, union: Union, today: NaiveDate) -> VenueFacts {
    let province = match union {
        Union::Chongqing => Province::Chongqing,
        Union::Sichuan => Province::Sichuan,
    };
    VenueFacts {
        tags: venue.details.tags.clone(),
        suspended: venue.suspended,
        opening: venue
            .details
            .opening
            .as_ref()
            .map(|opening| opening.around(today)),
        tracks_exits: venue.details.tracks_exits,
        ..VenueFacts::new(FactsId(*venue.id.uuid().as_bytes()), province)
    }
}

fn uuids(venues: &BTreeSet<VenueId>) -> Vec<Uuid> {
    venues.iter().map(|venue| venue.uuid()).collect()
}

async fn gate_states(tx: &Tx, gates: &BTreeSet<GateId>) -> Result<BTreeMap<GateId, GateState>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        venue: Uuid,
        number: i16,
        unattended: bool,
        disabled: bool,
        enrolment: i32,
        shift: Option<Uuid>,
    }
    let ids: Vec<Uuid> = gates.iter().map(|gate| gate.uuid()).collect();
    let rows: Vec<Row> = tx
        .all(
            "SELECT g.id, g.venue, g.number, g.unattended, g.disabled, g.enrolment,
               (SELECT s.id FROM shift s WHERE s.gate = g.id AND s.closed_at IS NULL
                  AND s.closes_at > $2 ORDER BY s.opened_at DESC LIMIT 1) AS shift
             FROM gate g WHERE g.id = ANY ($1)",
            [ids.into(), tx.now().into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let state = GateState {
                venue: VenueId(row.venue),
                door: Door {
                    number: u8::try_from(row.number).unwrap_or_default(),
                    unattended: row.unattended,
                },
                disabled: row.disabled,
                enrolment: row.enrolment,
                shift: row.shift,
            };
            (GateId(row.id), state)
        })
        .collect())
}

async fn accounts(
    tx: &Tx,
    places: &BTreeMap<VenueId, Place>,
    entitlements: BTreeMap<EntitlementId, Entitlement>,
) -> Result<BTreeMap<EntitlementId, Account>> {
    #[derive(FromQueryResult)]
    struct Row {
        entitlement: i64,
        venue: Uuid,
        today: i64,
        yesterday: i64,
        total: i64,
    }
    let ids: Vec<i64> = entitlements.keys().map(|id| id.to_i64()).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut accounts: BTreeMap<EntitlementId, Account> = entitlements
        .into_iter()
        .map(|(id, entitlement)| (id, Account::new(entitlement)))
        .collect();
    let today = shanghai_date(tx.now());
    let yesterday = today.pred_opt().unwrap_or(today);
    let rows: Vec<Row> = tx
        .all(
            "SELECT entitlement, venue,
               COALESCE(sum(persons) FILTER (WHERE counted_on = $2), 0) AS today,
               COALESCE(sum(persons) FILTER (WHERE counted_on = $3), 0) AS yesterday,
               sum(persons) AS total
             FROM redemption
             WHERE entitlement = ANY ($1) AND decision = 'admit' AND direction = 'entry'
               AND voided_at IS NULL
             GROUP BY entitlement, venue",
            [ids.clone().into(), today.into(), yesterday.into()],
        )
        .await?;
    let count = |sum: i64| u32::try_from(sum).unwrap_or(u32::MAX);
    for row in rows {
        let uses = Uses {
            today: count(row.today),
            yesterday: count(row.yesterday),
            total: count(row.total),
        };
        if let Some(account) = accounts.get_mut(&EntitlementId::from_i64(row.entitlement)) {
            account.visited(VenueId(row.venue), uses);
        }
    }
    let tracked: BTreeSet<VenueId> = places
        .iter()
        .filter(|(_, place)| place.facts.tracks_exits)
        .map(|(venue, _)| *venue)
        .collect();
    if !tracked.is_empty() {
        for ((venue, id), (day, inside)) in presences(tx, &tracked, ids).await? {
            if let Some(account) = accounts.get_mut(&id) {
                let visits = account.here.entry(venue).or_default();
                visits.inside = if day == today { inside } else { 0 };
                visits.stayed = day != today && inside > 0;
            }
        }
    }
    Ok(accounts)
}

/// Of each entitlement the day and the number inside the venue.
pub(crate) async fn presence(
    tx: &Tx,
    venue: VenueId,
    ids: Vec<i64>,
) -> Result<BTreeMap<EntitlementId, (NaiveDate, u32)>> {
    let all = presences(tx, &BTreeSet::from([venue]), ids).await?;
    Ok(all.into_iter().map(|((_, id), day)| (id, day)).collect())
}

type Presences = BTreeMap<(VenueId, EntitlementId), (NaiveDate, u32)>;

async fn presences(tx: &Tx, venues: &BTreeSet<VenueId>, ids: Vec<i64>) -> Result<Presences> {
    #[derive(FromQueryResult)]
    struct Row {
        venue: Uuid,
        entitlement: i64,
        day: NaiveDate,
        inside: i32,
    }
    let rows: Vec<Row> = tx
        .all(
            "SELECT venue, entitlement, day, inside FROM presence
             WHERE venue = ANY ($1) AND entitlement = ANY ($2)",
            [uuids(venues).into(), ids.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let inside = u32::try_from(row.inside).unwrap_or_default();
            let key = (VenueId(row.venue), EntitlementId::from_i64(row.entitlement));
            (key, (row.day, inside))
        })
        .collect())
}
