//! What a batch of one venue is decided on, and what it leaves. The locks are taken in one order
//! everywhere: entitlements by id, then the venue's counter, then anything else.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, SubsecRound, TimeDelta, Utc};
use credential::rules::{DayUses, History, Presence, Province, VenueFacts, VenueId as FactsId};
use kit::types::{EntitlementId, GateId, Union, VenueId, shanghai_date};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::entitlement::{self, Wanted};
use super::{product, venue};
use crate::domain::desk::{Account, Desk};
use crate::domain::entitlement::{Entitlement, Grant, UNSEEN_PERSONS_PER_HOUR_MAX};
use crate::domain::venue::Venue;

/// A gate as a batch sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateState {
    pub(crate) number: u8,
    pub(crate) disabled: bool,
    pub(crate) enrolment: i32,
    /// The open shift there.
    pub(crate) shift: Option<Uuid>,
}

/// A venue under its lock.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) desk: Desk,
    pub(crate) venue: Venue,
    pub(crate) gates: BTreeMap<GateId, GateState>,
}

/// Locks the entitlements, then the venue, and loads all that decides.
pub(crate) async fn open(tx: &Tx, union: Union, id: VenueId, wanted: &Wanted) -> Result<Opened> {
    let entitlements = entitlement::lock_or_insert(tx, wanted).await?;
    let inside = lock_counter(tx, id).await?;
    let venue = venue::load(tx, id).await?;
    let gates = gates(tx, id).await?;
    let accounts = accounts(tx, &venue, entitlements).await?;
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
        venue: facts(&venue, union, shanghai_date(tx.now())),
        capacity: venue.details.capacity,
        inside,
        rules: product::book(tx, &versions, &unseen).await?,
        budgets: lock_budgets(tx, &unseen).await?,
        accounts,
    };
    Ok(Opened { desk, venue, gates })
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
    #[derive(FromQueryResult)]
    struct Counter {
        day: NaiveDate,
        inside: i32,
    }
    let counter = tx
        .one::<Counter>(
            "SELECT day, inside FROM venue_counter WHERE venue = $1 FOR UPDATE",
            [venue.uuid().into()],
        )
        .await?
        .ok_or(Error::NotFound)?;
    let is_today = counter.day == shanghai_date(tx.now());
    Ok(if is_today {
        u32::try_from(counter.inside).unwrap_or_default()
    } else {
        0
    })
}

async fn gates(tx: &Tx, venue: VenueId) -> Result<BTreeMap<GateId, GateState>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        number: i16,
        disabled: bool,
        enrolment: i32,
        shift: Option<Uuid>,
    }
    let rows: Vec<Row> = tx
        .all(
            "SELECT g.id, g.number, g.disabled, g.enrolment,
               (SELECT s.id FROM shift s WHERE s.gate = g.id AND s.closed_at IS NULL
                  AND s.closes_at > $2 ORDER BY s.opened_at DESC LIMIT 1) AS shift
             FROM gate g WHERE g.venue = $1",
            [venue.uuid().into(), tx.now().into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let state = GateState {
                number: u8::try_from(row.number).unwrap_or_default(),
                disabled: row.disabled,
                enrolment: row.enrolment,
                shift: row.shift,
            };
            (GateId(row.id), state)
        })
        .collect())
}

#[derive(FromQueryResult)]
struct Uses {
    entitlement: i64,
    today_here: i64,
    today: i64,
    yesterday_here: i64,
    yesterday: i64,
    here: i64,
    total: i64,
}

async fn accounts(
    tx: &Tx,
    venue: &Venue,
    entitlements: BTreeMap<EntitlementId, Entitlement>,
) -> Result<BTreeMap<EntitlementId, Account>> {
    let ids: Vec<i64> = entitlements.keys().map(|id| id.to_i64()).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let today = shanghai_date(tx.now());
    let yesterday = today.pred_opt().unwrap_or(today);
    let rows: Vec<Uses> = tx
        .all(
            "SELECT entitlement,
               COALESCE(sum(persons) FILTER (WHERE counted_on = $3 AND venue = $2), 0)
                 AS today_here,
               COALESCE(sum(persons) FILTER (WHERE counted_on = $3), 0) AS today,
               COALESCE(sum(persons) FILTER (WHERE counted_on = $4 AND venue = $2), 0)
                 AS yesterday_here,
               COALESCE(sum(persons) FILTER (WHERE counted_on = $4), 0) AS yesterday,
               COALESCE(sum(persons) FILTER (WHERE venue = $2), 0) AS here,
               sum(persons) AS total
             FROM redemption
             WHERE entitlement = ANY ($1) AND decision = 'admit' AND direction = 'entry'
               AND voided_at IS NULL
             GROUP BY entitlement",
            [
                ids.clone().into(),
                venue.id.uuid().into(),
                today.into(),
                yesterday.into(),
            ],
        )
        .await?;
    let mut histories: BTreeMap<i64, History> = rows
        .into_iter()
        .map(|row| (row.entitlement, history(&row)))
        .collect();
    let present = if venue.details.tracks_exits {
        presence(tx, venue.id, ids).await?
    } else {
        BTreeMap::new()
    };
    Ok(entitlements
        .into_iter()
        .map(|(id, entitlement)| {
            let (day, inside) = present.get(&id).copied().unwrap_or((today, 0));
            let account = Account {
                entitlement,
                history: histories.remove(&id.to_i64()).unwrap_or(History::none()),
                inside: if day == today { inside } else { 0 },
                stayed: day != today && inside > 0,
            };
            (id, account)
        })
        .collect())
}

fn history(row: &Uses) -> History {
    let count = |sum: i64| u32::try_from(sum).unwrap_or(u32::MAX);
    History {
        today: DayUses {
            here: count(row.today_here),
            everywhere: count(row.today),
        },
        yesterday: DayUses {
            here: count(row.yesterday_here),
            everywhere: count(row.yesterday),
        },
        here: count(row.here),
        // Every venue of this union lies in its province.
        province: count(row.total),
        total: count(row.total),
        presence: Presence::Outside,
    }
}

/// Of each entitlement the day and the number inside the venue.
pub(crate) async fn presence(
    tx: &Tx,
    venue: VenueId,
    ids: Vec<i64>,
) -> Result<BTreeMap<EntitlementId, (NaiveDate, u32)>> {
    #[derive(FromQueryResult)]
    struct Row {
        entitlement: i64,
        day: NaiveDate,
        inside: i32,
    }
    let rows: Vec<Row> = tx
        .all(
            "SELECT entitlement, day, inside FROM presence
             WHERE venue = $1 AND entitlement = ANY ($2)",
            [venue.uuid().into(), ids.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let inside = u32::try_from(row.inside).unwrap_or_default();
            (EntitlementId::from_i64(row.entitlement), (row.day, inside))
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

/// What happened at a gate, to be added to the day's figures: (gate, what) to times and persons.
pub(crate) type Figures = BTreeMap<(GateId, String), (i64, i64)>;

/// What a batch leaves beside its redemptions.
#[derive(Debug)]
pub(crate) struct Left<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) figures: &'a Figures,
    /// Those that were admitted on their signature alone.
    pub(crate) unseen: &'a [EntitlementId],
    /// Those whose number inside changed.
    pub(crate) moved: &'a [EntitlementId],
}

/// Writes the counter, who is inside, the budgets, the entitlements used unseen, the figures.
pub(crate) async fn close(tx: &Tx, venue: VenueId, left: &Left<'_>) -> Result<()> {
    let desk = left.desk;
    let inside = i32::try_from(desk.inside).unwrap_or(i32::MAX);
    set_counter(tx, venue, inside).await?;
    let moved: Vec<(EntitlementId, u32)> = left
        .moved
        .iter()
        .filter_map(|id| desk.accounts.get(id).map(|account| (*id, account.inside)))
        .collect();
    set_presence(tx, venue, moved).await?;
    if !left.unseen.is_empty() {
        let changed: Vec<&Entitlement> = left
            .unseen
            .iter()
            .filter_map(|id| desk.accounts.get(id).map(|account| &account.entitlement))
            .collect();
        entitlement::save(tx, &changed).await?;
        save_budgets(tx, &desk.budgets).await?;
    }
    add_figures(tx, venue, left.figures).await
}

/// Sets the number of people inside today. A transaction that began before midnight and got its
/// locks after one that began later leaves the newer day alone.
pub(crate) async fn set_counter(tx: &Tx, venue: VenueId, inside: i32) -> Result<()> {
    let today = shanghai_date(tx.now());
    tx.execute(
        "UPDATE venue_counter SET day = $2, inside = $3
         WHERE venue = $1 AND day <= $2 AND (day, inside) <> ($2, $3)",
        [venue.uuid().into(), today.into(), inside.into()],
    )
    .await?;
    Ok(())
}

/// Sets of each entitlement the number inside today.
pub(crate) async fn set_presence(
    tx: &Tx,
    venue: VenueId,
    mut moved: Vec<(EntitlementId, u32)>,
) -> Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    moved.sort_unstable_by_key(|(id, _)| id.to_i64());
    moved.dedup_by_key(|(id, _)| *id);
    let ids: Vec<i64> = moved.iter().map(|(id, _)| id.to_i64()).collect();
    let inside: Vec<i32> = moved
        .iter()
        .map(|(_, inside)| i32::try_from(*inside).unwrap_or(i32::MAX))
        .collect();
    tx.execute(
        "INSERT INTO presence (venue, entitlement, day, inside)
         SELECT $1, i, $2, n FROM UNNEST($3::bigint[], $4::int[]) AS t (i, n)
         ON CONFLICT (venue, entitlement) DO UPDATE
           SET day = EXCLUDED.day, inside = EXCLUDED.inside
         WHERE presence.day <= EXCLUDED.day",
        [
            venue.uuid().into(),
            shanghai_date(tx.now()).into(),
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

/// Adds to the day's figures; only under the venue's lock.
pub(crate) async fn add_figures(tx: &Tx, venue: VenueId, figures: &Figures) -> Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    let today = shanghai_date(tx.now());
    let since = tx.now() - kit::types::day_start(today);
    let hour = i16::try_from(since.num_hours()).unwrap_or_default();
    let gates: Vec<Uuid> = figures.keys().map(|(gate, _)| gate.uuid()).collect();
    let whats: Vec<String> = figures.keys().map(|(_, what)| what.clone()).collect();
    let times: Vec<i64> = figures.values().map(|(times, _)| *times).collect();
    let persons: Vec<i64> = figures.values().map(|(_, persons)| *persons).collect();
    tx.execute(
        "INSERT INTO figure AS f (venue, day, gate, hour, what, times, persons)
         SELECT $1, $2, g, $3, w, n, p
         FROM UNNEST($4::uuid[], $5::text[], $6::bigint[], $7::bigint[]) AS t (g, w, n, p)
         ON CONFLICT (venue, day, gate, hour, what) DO UPDATE
           SET times = f.times + EXCLUDED.times, persons = f.persons + EXCLUDED.persons",
        [
            venue.uuid().into(),
            today.into(),
            hour.into(),
            gates.into(),
            whats.into(),
            times.into(),
            persons.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Keeps an alarm once; false when it was raised before.
pub(crate) async fn add_alarm(tx: &Tx, alarm: &Alarm) -> Result<bool> {
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
pub(crate) async fn alarms_after(tx: &Tx, after: Uuid, rows_max: i64) -> Result<Vec<Alarm>> {
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
