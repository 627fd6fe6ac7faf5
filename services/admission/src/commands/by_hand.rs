//! What supervisors do by hand: let somebody in against the rules, and take an admission back.
//! Each leaves an audit row with its reason, waits while such rows are not sealed, and takes the
//! locks of a scan in their order.

use chrono::TimeDelta;
use credential::rules::{Decision, Direction, Hints, Remaining};
use kit::access::{self, Caller, Member, VenueManager};
use kit::audit::require_sealing;
use kit::once::{self, Once, Request};
use kit::types::{EntitlementId, GateId, MemberId, VenueId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::as_absent;
use super::redeem::{add, count};
use super::shift::{SHIFT_HOURS_MAX, on_shift, shown_for};
use crate::domain::entitlement::{Entitlement, Grant};
use crate::domain::redemption::{Limits, Origin, REASON_CHARS_MAX, Redemption, Void};
use crate::domain::venue::{Venue, is_line};
use crate::error::{Refusal, recorded};
use crate::store::desk::Figures;
use crate::store::shift::Shift;
use crate::{publish, store};

/// How long ago a denial may be that is overridden, in minutes: who was denied still stands there.
pub const DENIAL_MINUTES_MAX: i64 = 30;
/// Overrides of one supervisor at one venue within the longest time a shift lasts, at most.
pub const OVERRIDES_PER_SHIFT_MAX: i64 = 50;
/// How long after it was let in a pass that was looked up is not let in again at the venue, in
/// minutes.
pub const LOOKED_UP_MINUTES_MIN: i64 = 10;

/// What a supervisor lets in: a scan that was denied, or a pass that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overridden {
    Denial(Uuid),
    LookedUp { venue: VenueId, pass: EntitlementId },
}

/// Lets the holder of an entitlement in against the rules. Its granter's word is no rule: what is
/// frozen, revoked or unconfirmed stays out.
///
/// # Errors
/// When the caller is no supervisor at work there or has shown no second factor for this shift,
/// there is nothing to let in, or it was done.
pub async fn override_admission(
    ctx: &Ctx,
    caller: &Caller,
    key: Uuid,
    what: Overridden,
    reason: &str,
) -> Result<Redemption> {
    check_reason(reason)?;
    let hash = once::hash("override_admission", &[&format!("{what:?}"), reason]);
    ctx.db
        .tx("override_admission", async |tx| {
            let (denial, venue, pass) = subject(tx, what).await?;
            let (venue, manager) = manager(tx, caller, venue).await?;
            // The locks of a scan, in their order.
            let known = store::entitlement::lock(tx, pass.as_slice()).await?;
            let inside = store::desk::lock_counter(tx, venue.id).await?;
            let request = Request {
                caller: manager.member.id.uuid(),
                key,
                hash,
            };
            match once::begin(tx, &request).await? {
                Once::First => {}
                Once::Done(id) => return load_outcome(tx, &id).await,
                Once::Refused(code) => return Err(recorded(&code)),
            }
            let shift = on_shift(tx, manager.member, venue.id).await?;
            shown_for(tx, caller, &shift).await?;
            check_denial(tx, denial.as_ref()).await?;
            check_bounds(tx, manager.member, (venue.id, what)).await?;
            let one = known
                .into_values()
                .next()
                .ok_or(Refusal::NothingToOverride)?;
            check_party(denial.as_ref(), &one)?;
            let by = By {
                manager: manager.member.id,
                reason,
            };
            let let_in = let_in(tx, &venue, &one, (denial.as_ref(), &shift), by)?;
            if let_in.inside_delta != 0 {
                let present = inside_today(tx, venue.id, one.id).await? + let_in.inside_delta;
                set_inside(tx, venue.id, one.id, present);
                let all = inside.saturating_add_signed(let_in.inside_delta);
                store::desk::set_counters(tx, &[(venue.id, all)]);
            }
            store::redemption::insert(tx, &[&let_in]);
            let mut figures = Figures::new();
            count(&mut figures, &let_in);
            store::desk::add_figures(tx, &figures);
            said(tx, ctx, manager, "override_admission", &let_in);
            once::finish(tx, let_in.id.as_bytes())?;
            Ok(let_in)
        })
        .await
}

async fn subject(
    tx: &Tx,
    what: Overridden,
) -> Result<(Option<Redemption>, VenueId, Option<EntitlementId>)> {
    match what {
        Overridden::Denial(id) => {
            let denial = store::redemption::load(tx, id).await?;
            let (venue, entitlement) = (denial.venue, denial.entitlement);
            Ok((Some(denial), venue, entitlement))
        }
        Overridden::LookedUp { venue, pass } => Ok((None, venue, Some(pass))),
    }
}

async fn manager(tx: &Tx, caller: &Caller, venue: VenueId) -> Result<(Venue, VenueManager)> {
    let venue = store::venue::load(tx, venue).await?;
    let manager = access::venue_manager(tx, caller, venue.organisation)
        .await
        .map_err(as_absent)?;
    require_sealing(tx).await?;
    Ok((venue, manager))
}

async fn check_denial(tx: &Tx, denial: Option<&Redemption>) -> Result<()> {
    let Some(denial) = denial else { return Ok(()) };
    if denial.is_admitted() || denial.direction == Direction::Exit {
        return Err(Refusal::NothingToOverride.into());
    }
    if store::redemption::is_overridden(tx, denial.id).await? {
        return Err(Refusal::AlreadyOverridden.into());
    }
    if denial.at + TimeDelta::minutes(DENIAL_MINUTES_MAX) <= tx.now() {
        return Err(Refusal::DenialTooOld.into());
    }
    Ok(())
}

/// An override is paid for: nobody makes them without bound. Under the venue's lock, so that two
/// at once are counted one after the other.
async fn check_bounds(
    tx: &Tx,
    manager: Member,
    (venue, what): (VenueId, Overridden),
) -> Result<()> {
    if let Overridden::LookedUp { pass, .. } = what {
        let since = tx.now() - TimeDelta::minutes(LOOKED_UP_MINUTES_MIN);
        if store::redemption::looked_up_since(tx, venue, pass, since).await? {
            return Err(Refusal::OverriddenLately.into());
        }
    }
    // Who closes a shift and opens another does not begin anew.
    let since = tx.now() - TimeDelta::hours(SHIFT_HOURS_MAX);
    let made = store::redemption::overrides_since(tx, venue, manager.id, since).await?;
    if made >= OVERRIDES_PER_SHIFT_MAX {
        metrics::counter!("bashu_admission_overrides_refused_total").increment(1);
        tracing::warn!(venue = %venue.uuid(), "a supervisor overrides more than a shift allows");
        return Err(Refusal::TooManyOverrides.into());
    }
    Ok(())
}

/// A supervisor sets rules aside, never the granter's word: what it is not in force for, and more
/// persons than it is for, stay out.
fn check_party(denial: Option<&Redemption>, one: &Entitlement) -> Result<()> {
    if !one.is_overridable() {
        return Err(Refusal::OverrideNotAllowed.into());
    }
    if party(denial) > one.persons() {
        return Err(Refusal::TooManyPersons.into());
    }
    Ok(())
}

/// How many are let in: those who were denied, or the one who stands there with a number.
fn party(denial: Option<&Redemption>) -> u16 {
    denial.map_or(1, |denial| denial.persons)
}

/// Who overrides, and why.
#[derive(Clone, Copy)]
struct By<'a> {
    manager: MemberId,
    reason: &'a str,
}

fn let_in(
    tx: &Tx,
    venue: &Venue,
    one: &Entitlement,
    (denial, shift): (Option<&Redemption>, &Shift),
    by: By<'_>,
) -> Result<Redemption> {
    let today = shanghai_date(tx.now());
    let gate: Option<GateId> = denial.map(|denial| denial.gate).or(shift.gate);
    let persons = party(denial);
    let (generation, rules_version) = match &one.grant {
        Grant::Granted(word) => (word.generation, Some(word.rules_version)),
        Grant::Unseen | Grant::Blocked => (0, None),
    };
    Ok(Redemption {
        id: tx.uuid(),
        version: 1,
        venue: venue.id,
        // A pass that was looked up is let in at the gate of the supervisor's shift.
        gate: gate.ok_or(Refusal::NoOpenShift)?,
        origin: Origin::Override {
            of: denial.map(|denial| denial.id),
            by: by.manager,
            reason: by.reason.to_owned(),
        },
        entitlement: Some(one.id),
        generation,
        scope: one.scope,
        direction: Direction::Entry,
        persons,
        decision: Decision::Admit {
            remaining: Remaining {
                today: None,
                venue: None,
                total: None,
            },
            hints: Hints {
                document_check: false,
                photo: false,
            },
            counted_on: today,
        },
        at: tx.now(),
        device_at: None,
        scanned_on: today,
        counted_on: today,
        inside_delta: if venue.details.tracks_exits {
            i32::from(persons)
        } else {
            0
        },
        payable: true,
        shift: Some(shift.id),
        limits: Limits {
            rules_version,
            persons: Some(one.persons()),
            ..Limits::default()
        },
        void: None,
    })
}

/// Takes an admission back: it counts no more, and nobody is paid for it.
///
/// # Errors
/// When the caller is no supervisor at work there or has not shown the second factor, it admitted
/// nobody or was voided.
pub async fn void_redemption(
    ctx: &Ctx,
    caller: &Caller,
    key: Uuid,
    id: Uuid,
    reason: &str,
) -> Result<Redemption> {
    check_reason(reason)?;
    let hash = once::hash("void_redemption", &[&id.to_string(), reason]);
    ctx.db
        .tx("void_redemption", async |tx| {
            let seen = store::redemption::load(tx, id).await?;
            let (venue, manager) = manager(tx, caller, seen.venue).await?;
            access::stepped_up(tx, caller)?;
            store::entitlement::lock(tx, seen.entitlement.as_slice()).await?;
            let all = store::desk::lock_counter(tx, venue.id).await?;
            let request = Request {
                caller: manager.member.id.uuid(),
                key,
                hash,
            };
            match once::begin(tx, &request).await? {
                Once::First => {}
                Once::Done(id) => return load_outcome(tx, &id).await,
                Once::Refused(code) => return Err(recorded(&code)),
            }
            on_shift(tx, manager.member, venue.id).await?;
            // Read again: it may have been voided before the locks were held.
            let one = store::redemption::load(tx, id).await?;
            let pass = one.entitlement.ok_or(Refusal::NotAdmitted)?;
            let inside = inside_today(tx, venue.id, pass).await?;
            let void = Void {
                at: tx.now(),
                by: manager.member.id,
                reason: reason.to_owned(),
            };
            let (voided, change) = one.voided(void, inside, shanghai_date(tx.now()))?;
            store::redemption::save(tx, &voided).await?;
            if change != 0 {
                set_inside(tx, venue.id, pass, inside + change);
                let all = all.saturating_add_signed(change);
                store::desk::set_counters(tx, &[(venue.id, all)]);
            }
            let mut figures = Figures::new();
            add(&mut figures, &voided, "void".to_owned());
            store::desk::add_figures(tx, &figures);
            said(tx, ctx, manager, "void_redemption", &voided);
            once::finish(tx, voided.id.as_bytes())?;
            Ok(voided)
        })
        .await
}

async fn inside_today(tx: &Tx, venue: VenueId, id: EntitlementId) -> Result<i32> {
    let present = store::desk::presence(tx, venue, vec![id.to_i64()]).await?;
    let today = shanghai_date(tx.now());
    let inside = present
        .get(&id)
        .filter(|(day, _)| *day == today)
        .map_or(0, |(_, inside)| *inside);
    Ok(i32::try_from(inside).unwrap_or(i32::MAX))
}

fn set_inside(tx: &Tx, venue: VenueId, id: EntitlementId, inside: i32) {
    let inside = u32::try_from(inside).unwrap_or_default();
    store::desk::set_presence(tx, vec![(venue, id, inside)]);
}

async fn load_outcome(tx: &Tx, id: &[u8]) -> Result<Redemption> {
    let id = Uuid::from_slice(id).map_err(|_| Error::internal("no redemption id"))?;
    store::redemption::load(tx, id).await
}

/// Records the act with its reason, and publishes what came of it.
fn said(tx: &Tx, ctx: &Ctx, manager: VenueManager, act: &'static str, one: &Redemption) {
    let reason = match (&one.void, &one.origin) {
        (Some(void), _) => &void.reason,
        (None, Origin::Override { reason, .. }) => reason,
        (None, Origin::Scan { .. }) => "",
    };
    let detail = serde_json::json!({ "reason": reason });
    tx.audit(manager.member.audit(act, one.id).detail(detail));
    publish::redemption(one, ctx.union)
        .into_iter()
        .for_each(|event| tx.emit(event));
}

fn check_reason(reason: &str) -> Result<()> {
    if is_line(reason, REASON_CHARS_MAX) {
        Ok(())
    } else {
        Err(Error::bad_input(
            "reason",
            "须为一行 1 到 200 个字符",
            "must be 1 to 200 characters on one line",
        ))
    }
}
