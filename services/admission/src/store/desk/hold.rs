//! The rows that decide a batch, under their locks: entitlements by id, then the venues' counters
//! by id, then the budgets of the scopes that somebody showed an unseen entitlement of.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, SubsecRound, TimeDelta, Utc};
use kit::types::{EntitlementId, Union, VenueId, shanghai_date};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::uuids;
use crate::domain::entitlement::{Entitlement, Grant, UNSEEN_PERSONS_PER_HOUR_MAX};
use crate::store::Hold;
use crate::store::entitlement::{self, Wanted};

/// What a batch holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) entitlements: BTreeMap<EntitlementId, Entitlement>,
    pub(super) counters: BTreeMap<VenueId, Counter>,
    /// The scopes of the own union's entitlements that are unseen.
    pub(super) unseen: Vec<u32>,
    /// People that each of them may still admit this hour.
    pub(super) budgets: BTreeMap<u32, u32>,
}

/// People inside a venue on one Shanghai day. No constraint holds them to its capacity: a
/// supervisor may let in beyond it, and a venue may be made smaller while people are inside. The
/// row's lock alone keeps scans within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) day: NaiveDate,
    pub(crate) inside: u32,
}

impl Counter {
    /// A new day begins empty.
    pub(crate) fn inside_on(self, day: NaiveDate) -> u32 {
        if self.day == day { self.inside } else { 0 }
    }
}

/// Takes hold of all that decides; `None` when an entitlement is not known and no row of it is to
/// be made.
pub(crate) async fn hold(
    tx: &Tx,
    union: Union,
    (venues, wanted): (&BTreeSet<VenueId>, &Wanted),
    hold: Hold,
) -> Result<Option<Held>> {
    let Some(entitlements) = entitlement::hold(tx, wanted, hold).await? else {
        return Ok(None);
    };
    let counters = counters(tx, venues, hold).await?;
    let unseen = unseen(&entitlements, union);
    let budgets = budgets(tx, &unseen, hold).await?;
    Ok(Some(Held {
        entitlements,
        counters,
        unseen,
        budgets,
    }))
}

/// Another union's entitlements are no matter of budgets: its rules are not here.
fn unseen(entitlements: &BTreeMap<EntitlementId, Entitlement>, union: Union) -> Vec<u32> {
    let scopes: BTreeSet<u32> = entitlements
        .values()
        .filter(|one| one.home == union && !matches!(one.grant, Grant::Granted(_)))
        .map(|one| one.scope)
        .collect();
    scopes.into_iter().collect()
}

/// Locks the venue's counter; the people inside today.
pub(crate) async fn lock_counter(tx: &Tx, venue: VenueId) -> Result<u32> {
    let counters = counters(tx, &BTreeSet::from([venue]), Hold::Known).await?;
    let counter = counters.get(&venue).ok_or(Error::NotFound)?;
    Ok(counter.inside_on(shanghai_date(tx.now())))
}

/// The counters of some venues, in the order of their ids.
async fn counters(
    tx: &Tx,
    venues: &BTreeSet<VenueId>,
    hold: Hold,
) -> Result<BTreeMap<VenueId, Counter>> {
    #[derive(FromQueryResult)]
    struct Row {
        venue: Uuid,
        day: NaiveDate,
        inside: i32,
    }
    let sql = format!(
        "SELECT venue, day, inside FROM venue_counter WHERE venue = ANY ($1) ORDER BY venue {}",
        hold.lock()
    );
    let rows: Vec<Row> = tx.all(&sql, [uuids(venues).into()]).await?;
    if rows.len() < venues.len() {
        return Err(Error::NotFound);
    }
    let counter = |row: Row| {
        let inside = u32::try_from(row.inside).unwrap_or_default();
        let day = row.day;
        (VenueId(row.venue), Counter { day, inside })
    };
    Ok(rows.into_iter().map(counter).collect())
}

/// The Shanghai hour in which an instant lies: full hours are the same everywhere here.
pub(super) fn hour(at: DateTime<Utc>) -> DateTime<Utc> {
    let at = at.trunc_subsecs(0);
    at - TimeDelta::seconds(at.timestamp().rem_euclid(3_600))
}

async fn budgets(tx: &Tx, scopes: &[u32], hold: Hold) -> Result<BTreeMap<u32, u32>> {
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
    let sql = format!(
        "SELECT scope, used FROM unseen_budget WHERE scope = ANY ($1) AND hour = $2
         ORDER BY scope {}",
        hold.lock()
    );
    let rows: Vec<Row> = tx.all(&sql, [scopes.into(), hour.into()]).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let used = u32::try_from(row.used).unwrap_or(u32::MAX);
            let left = UNSEEN_PERSONS_PER_HOUR_MAX.saturating_sub(used);
            u32::try_from(row.scope).ok().map(|scope| (scope, left))
        })
        .collect())
}
