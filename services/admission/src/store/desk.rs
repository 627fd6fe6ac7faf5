//! What a batch of scans is decided on, and what it leaves. The locks are taken in one order
//! everywhere: entitlements by id, then the venues' counters by id, then anything else.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, SubsecRound, TimeDelta, Utc};
use credential::rules::{Province, VenueFacts, VenueId as FactsId};
use kit::types::{EntitlementId, GateId, Union, VenueId, shanghai_date};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::entitlement::{self, Wanted};
use super::{product, venue};
use crate::domain::desk::{Account, Desk, Place, Uses};
use crate::domain::entitlement::{Entitlement, Grant, UNSEEN_PERSONS_PER_HOUR_MAX};
use crate::domain::venue::Venue;

/// A gate as a batch sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateState {
    pub(crate) venue: VenueId,
    pub(crate) number: u8,
    pub(crate) disabled: bool,
    pub(crate) enrolment: i32,
    /// The open shift there.
    pub(crate) shift: Option<Uuid>,
}

/// Venues under their locks.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) desk: Desk,
    pub(crate) gates: BTreeMap<GateId, GateState>,
}

/// Locks the entitlements, then the venues, and loads all that decides.
pub(crate) async fn open(
    tx: &Tx,
    union: Union,
    (gates, venues): (&BTreeSet<GateId>, &BTreeSet<VenueId>),
    wanted: &Wanted,
) -> Result<Opened> {
    let entitlements = entitlement::lock_or_insert(tx, wanted).await?;
    let inside = lock_counters(tx, venues).await?;
    let today = shanghai_date(tx.now());
    let mut places = BTreeMap::new();
    for venue in venue::all(tx, venues).await? {
        let inside = *inside.get(&venue.id).ok_or(Error::NotFound)?;
        let place = Place {
            facts: facts(&venue, union, today),
            capacity: venue.details.capacity,
            inside,
        };
        places.insert(venue.id, place);
    }
    let gates = gate_states(tx, gates).await?;
    let accounts = accounts(tx, &places, entitlements).await?;
    let mut versions = Vec::new();
    let mut unseen = Vec::new();
    for account in accounts.values() {
        match &account.entitlement.grant {
            Grant::Granted(word) => versions.push((account.entitlement.scope, word.rules_version)),
            Grant::Unseen | Grant::Blocked if account.entitlement.home == union => {
                unseen.push(account.entitlement.scope);
            }
            // Another union's: its rules are not here.
            Grant::Unseen | Grant::Blocked => {}
        }
    }
    unseen.sort_unstable();
    unseen.dedup();
    versions.sort_unstable();
    versions.dedup();
    let desk = Desk {
        now: tx.now(),
        union,
        places,
        rules: product::book(tx, &versions, &unseen).await?,
        budgets: lock_budgets(tx, &unseen).await?,
        accounts,
    };
    Ok(Opened { desk, gates })
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

/// Locks the venue's counter and begins its day; the people inside.
pub(crate) async fn lock_counter(tx: &Tx, venue: VenueId) -> Result<u32> {
    let mut inside = lock_counters(tx, &BTreeSet::from([venue])).await?;
    inside.remove(&venue).ok_or(Error::NotFound)
}

/// The same for some venues, in the order of their ids.
async fn lock_counters(tx: &Tx, venues: &BTreeSet<VenueId>) -> Result<BTreeMap<VenueId, u32>> {
    #[derive(FromQueryResult)]
    struct Counter {
        venue: Uuid,
        day: NaiveDate,
        inside: i32,
    }
    let counters: Vec<Counter> = tx
        .all(
            "SELECT venue, day, inside FROM venue_counter WHERE venue = ANY ($1)
             ORDER BY venue FOR UPDATE",
            [uuids(venues).into()],
        )
        .await?;
    if counters.len() < venues.len() {
        return Err(Error::NotFound);
    }
    let today = shanghai_date(tx.now());
    let inside = |counter: &Counter| match counter.day == today {
        true => u32::try_from(counter.inside).unwrap_or_default(),
        false => 0,
    };
    Ok(counters
        .iter()
        .map(|counter| (VenueId(counter.venue), inside(counter)))
        .collect())
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
        disabled: bool,
        enrolment: i32,
        shift: Option<Uuid>,
    }
    let ids: Vec<Uuid> = gates.iter().map(|gate| gate.uuid()).collect();
    let rows: Vec<Row> = tx
        .all(
            "SELECT g.id, g.venue, g.number, g.disabled, g.enrolment,
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
                number: u8::try_from(row.number).unwrap_or_default(),
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

/// The Shanghai hour in which an instant lies: full hours are the same everywhere here.
fn hour(at: DateTime<Utc>) -> DateTime<Utc> {
    let at = at.trunc_subsecs(0);
    at - TimeDelta::seconds(at.timestamp().rem_euclid(3_600))
}

async fn lock_budgets(tx: &Tx, scopes: &[u32]) -> Result<BTreeMap<u32, u32>> {
    #[derive(FromQueryResult)]
    struct Row {
        scope: i64,
        used: i32,
    }
    if scopes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let scopes: Vec<i64> = scopes.iter().map(|scope| i64::from(*scope)).collect();
    let hour = hour(tx.now());
    // Hours that are over decide nothing any more.
    tx.execute(
        "DELETE FROM unseen_budget WHERE scope = ANY ($1) AND hour < $2",
        [scopes.clone().into(), (hour - TimeDelta::hours(1)).into()],
    )
    .await?;
    tx.execute(
        "INSERT INTO unseen_budget (scope, hour, used)
         SELECT s, $2, 0 FROM UNNEST($1::bigint[]) AS t (s) ORDER BY s
         ON CONFLICT (scope, hour) DO NOTHING",
        [scopes.clone().into(), hour.into()],
    )
    .await?;
    let rows: Vec<Row> = tx
        .all(
            "SELECT scope, used FROM unseen_budget WHERE scope = ANY ($1) AND hour = $2
             ORDER BY scope FOR UPDATE",
            [scopes.into(), hour.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let used = u32::try_from(row.used).unwrap_or(u32::MAX);
            let left = UNSEEN_PERSONS_PER_HOUR_MAX.saturating_sub(used);
            u32::try_from(row.scope).ok().map(|scope| (scope, left))
        })
        .collect())
}

/// What happened at a gate, to be added to the day's figures: (venue, gate, what) to times and
/// persons.
pub(crate) type Figures = BTreeMap<(VenueId, GateId, String), (i64, i64)>;

/// What a batch leaves beside its redemptions.
#[derive(Debug)]
pub(crate) struct Left<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) figures: &'a Figures,
    /// Those that were admitted on their signature alone.
    pub(crate) unseen: &'a [EntitlementId],
    /// Those whose number inside a venue changed.
    pub(crate) moved: &'a BTreeSet<(VenueId, EntitlementId)>,
}

/// Writes the counters, who is inside, the budgets, the entitlements used unseen, the figures.
pub(crate) async fn close(tx: &Tx, left: &Left<'_>) -> Result<()> {
    let desk = left.desk;
    let inside: Vec<(VenueId, u32)> = desk
        .places
        .iter()
        .map(|(venue, place)| (*venue, place.inside))
        .collect();
    set_counters(tx, &inside).await?;
    let moved: Vec<(VenueId, EntitlementId, u32)> = left
        .moved
        .iter()
        .filter_map(|(venue, id)| {
            let visits = desk.accounts.get(id)?.here.get(venue)?;
            Some((*venue, *id, visits.inside))
        })
        .collect();
    set_presence(tx, moved).await?;
    if !left.unseen.is_empty() {
        let changed: Vec<&Entitlement> = left
            .unseen
            .iter()
            .filter_map(|id| desk.accounts.get(id).map(|account| &account.entitlement))
            .collect();
        entitlement::save(tx, &changed).await?;
        save_budgets(tx, &desk.budgets).await?;
    }
    add_figures(tx, left.figures).await
}

/// Sets the number of people inside each venue today; only under their locks. A transaction that
/// began before midnight and got its locks after one that began later leaves the newer day alone.
pub(crate) async fn set_counters(tx: &Tx, inside: &[(VenueId, u32)]) -> Result<()> {
    let venues: Vec<Uuid> = inside.iter().map(|(venue, _)| venue.uuid()).collect();
    let numbers: Vec<i32> = inside
        .iter()
        .map(|(_, inside)| i32::try_from(*inside).unwrap_or(i32::MAX))
        .collect();
    tx.execute(
        "UPDATE venue_counter c SET day = $1, inside = t.inside
         FROM UNNEST($2::uuid[], $3::int[]) AS t (venue, inside)
         WHERE c.venue = t.venue AND c.day <= $1 AND (c.day, c.inside) <> ($1, t.inside)",
        [
            shanghai_date(tx.now()).into(),
            venues.into(),
            numbers.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Sets of each entitlement the number inside a venue today.
pub(crate) async fn set_presence(
    tx: &Tx,
    mut moved: Vec<(VenueId, EntitlementId, u32)>,
) -> Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    moved.sort_unstable_by_key(|(venue, id, _)| (*venue, id.to_i64()));
    moved.dedup_by_key(|(venue, id, _)| (*venue, *id));
    let venues: Vec<Uuid> = moved.iter().map(|(venue, _, _)| venue.uuid()).collect();
    let ids: Vec<i64> = moved.iter().map(|(_, id, _)| id.to_i64()).collect();
    let inside: Vec<i32> = moved
        .iter()
        .map(|(_, _, inside)| i32::try_from(*inside).unwrap_or(i32::MAX))
        .collect();
    tx.execute(
        "INSERT INTO presence (venue, entitlement, day, inside)
         SELECT v, i, $1, n FROM UNNEST($2::uuid[], $3::bigint[], $4::int[]) AS t (v, i, n)
         ON CONFLICT (venue, entitlement) DO UPDATE
           SET day = EXCLUDED.day, inside = EXCLUDED.inside
         WHERE presence.day <= EXCLUDED.day",
        [
            shanghai_date(tx.now()).into(),
            venues.into(),
            ids.into(),
            inside.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn save_budgets(tx: &Tx, budgets: &BTreeMap<u32, u32>) -> Result<()> {
    let scopes: Vec<i64> = budgets.keys().map(|scope| i64::from(*scope)).collect();
    let used: Vec<i32> = budgets
        .values()
        .map(|left| UNSEEN_PERSONS_PER_HOUR_MAX.saturating_sub(*left))
        .map(|used| i32::try_from(used).unwrap_or(i32::MAX))
        .collect();
    tx.execute(
        "UPDATE unseen_budget b SET used = t.u
         FROM UNNEST($1::bigint[], $2::int[]) AS t (s, u) WHERE b.scope = t.s AND b.hour = $3",
        [scopes.into(), used.into(), hour(tx.now()).into()],
    )
    .await?;
    Ok(())
}

/// Adds to the day's figures; only under the venues' locks.
pub(crate) async fn add_figures(tx: &Tx, figures: &Figures) -> Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    let today = shanghai_date(tx.now());
    let since = tx.now() - kit::types::day_start(today);
    let hour = i16::try_from(since.num_hours()).unwrap_or_default();
    let venues: Vec<Uuid> = figures.keys().map(|(venue, _, _)| venue.uuid()).collect();
    let gates: Vec<Uuid> = figures.keys().map(|(_, gate, _)| gate.uuid()).collect();
    let whats: Vec<String> = figures.keys().map(|(_, _, what)| what.clone()).collect();
    let times: Vec<i64> = figures.values().map(|(times, _)| *times).collect();
    let persons: Vec<i64> = figures.values().map(|(_, persons)| *persons).collect();
    tx.execute(
        "INSERT INTO figure AS f (venue, day, gate, hour, what, times, persons)
         SELECT v, $1, g, $2, w, n, p
         FROM UNNEST($3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[])
           AS t (v, g, w, n, p)
         ON CONFLICT (venue, day, gate, hour, what) DO UPDATE
           SET times = f.times + EXCLUDED.times, persons = f.persons + EXCLUDED.persons",
        [
            today.into(),
            hour.into(),
            venues.into(),
            gates.into(),
            whats.into(),
            times.into(),
            persons.into(),
        ],
    )
    .await?;
    Ok(())
}
