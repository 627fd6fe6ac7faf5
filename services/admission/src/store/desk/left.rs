//! What a batch leaves beside its redemptions.

use std::collections::{BTreeMap, BTreeSet};

use kit::tx::Write;
use kit::types::{EntitlementId, GateId, VenueId, shanghai_date};
use kit::{Result, Tx};
use uuid::Uuid;

use super::Counter;
use super::hold::hour;
use crate::domain::desk::Desk;
use crate::domain::entitlement::{Entitlement, UNSEEN_PERSONS_PER_HOUR_MAX};
use crate::store::entitlement;

/// What happened at a gate, to be added to the day's figures: (venue, gate, what) to times and
/// persons.
pub(crate) type Figures = BTreeMap<(VenueId, GateId, String), (i64, i64)>;

/// What a batch leaves beside its redemptions.
#[derive(Debug)]
pub(crate) struct Left<'a> {
    pub(crate) desk: &'a Desk,
    /// The venues' counters as they were read.
    pub(crate) counters: &'a BTreeMap<VenueId, Counter>,
    pub(crate) figures: &'a Figures,
    /// Those that were admitted on their signature alone.
    pub(crate) unseen: &'a [EntitlementId],
    /// Those whose number inside a venue changed.
    pub(crate) moved: &'a BTreeSet<(VenueId, EntitlementId)>,
}

/// Writes the counters, who is inside, the budgets, the entitlements used unseen, the figures.
pub(crate) async fn close(tx: &Tx, left: &Left<'_>) -> Result<()> {
    let desk = left.desk;
    let day = shanghai_date(tx.now());
    let inside: Vec<(VenueId, u32)> = desk
        .places
        .iter()
        .map(|(venue, place)| (*venue, place.inside))
        .filter(|(venue, inside)| {
            let inside = *inside;
            left.counters.get(venue) != Some(&Counter { day, inside })
        })
        .collect();
    set_counters(tx, &inside);
    let moved: Vec<(VenueId, EntitlementId, u32)> = left
        .moved
        .iter()
        .filter_map(|(venue, id)| {
            let visits = desk.accounts.get(id)?.here.get(venue)?;
            Some((*venue, *id, visits.inside))
        })
        .collect();
    set_presence(tx, moved);
    if !left.unseen.is_empty() {
        let changed: Vec<&Entitlement> = left
            .unseen
            .iter()
            .filter_map(|id| desk.accounts.get(id).map(|account| &account.entitlement))
            .collect();
        entitlement::save(tx, &changed).await?;
        save_budgets(tx, &desk.budgets).await?;
    }
    add_figures(tx, left.figures);
    Ok(())
}

/// Sets the number of people inside each venue today; only under their locks. A transaction that
/// began before midnight and got its locks after one that began later leaves the newer day alone.
pub(crate) fn set_counters(tx: &Tx, inside: &[(VenueId, u32)]) {
    if inside.is_empty() {
        return;
    }
    let venues: Vec<Uuid> = inside.iter().map(|(venue, _)| venue.uuid()).collect();
    let numbers: Vec<i32> = inside
        .iter()
        .map(|(_, inside)| i32::try_from(*inside).unwrap_or(i32::MAX))
        .collect();
    tx.at_end(Write::new(
        "UPDATE venue_counter c SET day = $1, inside = t.inside
         FROM UNNEST($2::uuid[], $3::int[]) AS t (venue, inside)
         WHERE c.venue = t.venue AND c.day <= $1 AND (c.day, c.inside) <> ($1, t.inside)",
        [
            shanghai_date(tx.now()).into(),
            venues.into(),
            numbers.into(),
        ],
    ));
}

/// Sets of each entitlement the number inside a venue today.
pub(crate) fn set_presence(tx: &Tx, mut moved: Vec<(VenueId, EntitlementId, u32)>) {
    if moved.is_empty() {
        return;
    }
    moved.sort_unstable_by_key(|(venue, id, _)| (*venue, id.to_i64()));
    moved.dedup_by_key(|(venue, id, _)| (*venue, *id));
    let venues: Vec<Uuid> = moved.iter().map(|(venue, _, _)| venue.uuid()).collect();
    let ids: Vec<i64> = moved.iter().map(|(_, id, _)| id.to_i64()).collect();
    let inside: Vec<i32> = moved
        .iter()
        .map(|(_, _, inside)| i32::try_from(*inside).unwrap_or(i32::MAX))
        .collect();
    tx.at_end(Write::new(
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
    ));
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
pub(crate) fn add_figures(tx: &Tx, figures: &Figures) {
    if figures.is_empty() {
        return;
    }
    let today = shanghai_date(tx.now());
    let since = tx.now() - kit::types::day_start(today);
    let hour = i16::try_from(since.num_hours()).unwrap_or_default();
    let venues: Vec<Uuid> = figures.keys().map(|(venue, _, _)| venue.uuid()).collect();
    let gates: Vec<Uuid> = figures.keys().map(|(_, gate, _)| gate.uuid()).collect();
    let whats: Vec<String> = figures.keys().map(|(_, _, what)| what.clone()).collect();
    let times: Vec<i64> = figures.values().map(|(times, _)| *times).collect();
    let persons: Vec<i64> = figures.values().map(|(_, persons)| *persons).collect();
    tx.at_end(Write::new(
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
    ));
}
