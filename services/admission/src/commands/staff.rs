//! What staff do by hand: look a pass up, let somebody in against the rules, take an admission
//! back. Each leaves an audit row with its reason.

use chrono::TimeDelta;
use credential::rules::{Decision, Direction, Hints, Remaining};
use kit::access::{self, Caller, Member};
use kit::once::{self, Once, Request};
use kit::types::{EntitlementId, GateId, MemberId, OrderId, VenueId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::as_absent;
use super::redeem::{add, count};
use super::shift::{at_work, on_shift};
use crate::domain::entitlement::{Entitlement, Grant};
use crate::domain::gate::Gate;
use crate::domain::redemption::{Limits, Origin, REASON_CHARS_MAX, Redemption, Void};
use crate::domain::venue::is_line;
use crate::error::{Refusal, bad_input, recorded};
use crate::store::desk::Figures;
use crate::store::entitlement::Wanted;
use crate::{Admission, publish, store};

/// Look-ups of one person in [`LOOK_UP_WINDOW_MINUTES`], at most.
pub const LOOK_UPS_MAX: i32 = 30;
pub const LOOK_UP_WINDOW_MINUTES: i64 = 10;
/// Entitlements of one order that are shown, at most.
const ORDER_ENTITLEMENTS_MAX: i64 = 50;
/// Uses of one entitlement that are shown, at most: the newest.
pub const USES_SHOWN_MAX: i64 = 20;

/// What staff type: a pass's number, or an order's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    Pass(EntitlementId),
    Order(OrderId),
}

impl Number {
    /// Sixteen hexadecimal digits, or an order's id; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_pass = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_pass {
            return text.parse().ok().map(Self::Pass);
        }
        text.parse().ok().map(Self::Order)
    }
}

/// What is shown of an entitlement: never whose it is.
#[derive(Clone, Debug)]
pub struct Found {
    pub entitlement: Entitlement,
    /// The newest admissions, exits and voided ones included.
    pub uses: Vec<Redemption>,
}

/// Finds entitlements by number for staff at work at a venue.
///
/// # Errors
/// When the caller is not at work there, or looks up too much.
pub async fn look_up(
    ctx: &Ctx,
    caller: &Caller,
    venue: VenueId,
    number: Number,
) -> Result<Vec<Found>> {
    // Counted first and in a transaction of its own, so that no failure is free.
    let window = TimeDelta::minutes(LOOK_UP_WINDOW_MINUTES);
    ctx.db
        .tx("count_look_up", async |tx| {
            let at = store::venue::load(tx, venue).await?;
            let (staff, _) = at_work(tx, caller, &at).await?;
            let seconds = tx.now().timestamp();
            let began = seconds - seconds.rem_euclid(window.num_seconds());
            let window_at = chrono::DateTime::from_timestamp(began, 0)
                .ok_or_else(|| Error::internal("a window out of range"))?;
            let subject = staff.member.id.uuid();
            let scope = "admission.look_up";
            let count =
                store::staff::count_attempt(tx, scope, subject.as_bytes(), window_at).await?;
            tx.audit(
                staff
                    .member
                    .audit("look_up", venue)
                    .detail(serde_json::json!({ "refused": count > LOOK_UPS_MAX })),
            );
            Ok(count > LOOK_UPS_MAX)
        })
        .await
        .and_then(|refused| {
            if refused {
                Err(Refusal::TooManyLookUps.into())
            } else {
                Ok(())
            }
        })?;
    ctx.db
        .tx("look_up", async |tx| {
            let ids = match number {
                Number::Pass(id) => vec![id],
                Number::Order(order) => {
                    store::entitlement::ids_of_order(tx, order, ORDER_ENTITLEMENTS_MAX).await?
                }
            };
            let known = store::entitlement::lock(tx, &ids).await?;
            let mut found = Vec::with_capacity(known.len());
            for (id, entitlement) in known {
                let uses = store::redemption::of_entitlement(tx, id, USES_SHOWN_MAX).await?;
                found.push(Found { entitlement, uses });
            }
            Ok(found)
        })
        .await
}

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
/// When the caller is no supervisor at work there, there is nothing to let in, or it was done.
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
            let (denial, venue_id, entitlement) = subject(tx, what).await?;
            let venue = store::venue::load(tx, venue_id).await?;
            let manager = access::venue_manager(tx, caller, venue.organisation)
                .await
                .map_err(as_absent)?;
            let wanted = Wanted::new();
            // The locks of a batch, in their order.
            let known = store::entitlement::lock(tx, entitlement.as_slice()).await?;
            let mut opened = store::desk::open(tx, ctx.union, venue_id, &wanted).await?;
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
            let shift = on_shift(tx, manager.member, venue_id).await?;
            if let Some(denial) = &denial {
                if denial.is_admitted() {
                    return Err(Refusal::NothingToOverride.into());
                }
                if store::redemption::is_overridden(tx, denial.id).await? {
                    return Err(Refusal::AlreadyOverridden.into());
                }
            }
            let one = known
                .into_values()
                .next()
                .ok_or(Refusal::NothingToOverride)?;
            if !one.is_overridable() {
                return Err(Refusal::OverrideNotAllowed.into());
            }
            let gate = denial.as_ref().map(|denial| denial.gate).or(shift.gate);
            let gate = gate.ok_or(Refusal::NoOpenShift)?;
            let persons = denial.as_ref().map_or(1, |denial| denial.persons);
            let delta = if venue.details.tracks_exits {
                i32::from(persons)
            } else {
                0
            };
            let let_in = Redemption {
                gate,
                persons,
                inside_delta: delta,
                shift: Some(shift.id),
                ..overriding(
                    tx,
                    venue_id,
                    &one,
                    manager.member.id,
                    denial.map(|one| one.id),
                    reason,
                )
            };
            if delta != 0 {
                let id = one.id.to_i64();
                let present = store::desk::presence(tx, venue_id, vec![id]).await?;
                let today = shanghai_date(tx.now());
                let inside = present.get(&one.id).filter(|(day, _)| *day == today);
                let inside = inside.map_or(0, |(_, inside)| *inside) + u32::from(persons);
                store::desk::set_presence(tx, venue_id, vec![(one.id, inside)]).await?;
                opened.desk.inside = opened.desk.inside.saturating_add(persons.into());
                let count = i32::try_from(opened.desk.inside).unwrap_or(i32::MAX);
                store::desk::set_counter(tx, venue_id, count).await?;
            }
            store::redemption::insert(tx, venue_id, &[&let_in]).await?;
            let mut figures = Figures::new();
            count(&mut figures, &let_in);
            store::desk::add_figures(tx, venue_id, &figures).await?;
            audited(tx, manager.member, "override_admission", &let_in, reason);
            publish::redemption(&let_in, ctx.union)
                .into_iter()
                .for_each(|event| tx.emit(event));
            once::finish(tx, let_in.id.as_bytes()).await?;
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

fn overriding(
    tx: &Tx,
    venue: VenueId,
    one: &Entitlement,
    by: MemberId,
    of: Option<Uuid>,
    reason: &str,
) -> Redemption {
    let today = shanghai_date(tx.now());
    let (generation, rules_version) = match &one.grant {
        Grant::Granted(word) => (word.generation, Some(word.rules_version)),
        Grant::Unseen | Grant::Blocked => (0, None),
    };
    Redemption {
        id: tx.uuid(),
        version: 1,
        venue,
        gate: GateId(Uuid::nil()),
        origin: Origin::Override {
            of,
            by,
            reason: reason.to_owned(),
        },
        entitlement: Some(one.id),
        generation,
        scope: one.scope,
        direction: Direction::Entry,
        persons: 1,
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
        inside_delta: 0,
        payable: true,
        shift: None,
        limits: Limits {
            rules_version,
            ..Limits::default()
        },
        void: None,
    }
}

/// Takes an admission back: it counts no more, and nobody is paid for it.
///
/// # Errors
/// When the caller is no supervisor of that venue's company, it admitted nobody or was voided.
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
            let venue = store::venue::load(tx, seen.venue).await?;
            let manager = access::venue_manager(tx, caller, venue.organisation)
                .await
                .map_err(as_absent)?;
            let ids: Vec<EntitlementId> = seen.entitlement.into_iter().collect();
            store::entitlement::lock(tx, &ids).await?;
            let opened = store::desk::open(tx, ctx.union, seen.venue, &Wanted::new()).await?;
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
            // Read again: it may have been voided before the locks were held.
            let one = store::redemption::load(tx, id).await?;
            let today = shanghai_date(tx.now());
            let inside = match one.entitlement {
                Some(id) => inside_today(tx, one.venue, id).await?,
                None => 0,
            };
            let void = Void {
                at: tx.now(),
                by: manager.member.id,
                reason: reason.to_owned(),
            };
            let (voided, change) = one.voided(void, inside, today)?;
            store::redemption::save(tx, &voided).await?;
            if let (Some(id), true) = (voided.entitlement, change != 0) {
                let left = u32::try_from(inside + change).unwrap_or_default();
                store::desk::set_presence(tx, voided.venue, vec![(id, left)]).await?;
                let count = i32::try_from(opened.desk.inside).unwrap_or(i32::MAX) + change;
                store::desk::set_counter(tx, voided.venue, count).await?;
            }
            let mut figures = Figures::new();
            add(&mut figures, &voided, "void".to_owned());
            store::desk::add_figures(tx, voided.venue, &figures).await?;
            audited(tx, manager.member, "void_redemption", &voided, reason);
            publish::redemption(&voided, ctx.union)
                .into_iter()
                .for_each(|event| tx.emit(event));
            once::finish(tx, voided.id.as_bytes()).await?;
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

async fn load_outcome(tx: &Tx, id: &[u8]) -> Result<Redemption> {
    let id = Uuid::from_slice(id).map_err(|_| Error::internal("no redemption id"))?;
    store::redemption::load(tx, id).await
}

fn audited(tx: &Tx, member: Member, act: &'static str, one: &Redemption, reason: &str) {
    tx.audit(
        member
            .audit(act, one.id)
            .detail(serde_json::json!({ "reason": reason })),
    );
}

fn check_reason(reason: &str) -> Result<()> {
    if is_line(reason, REASON_CHARS_MAX) {
        Ok(())
    } else {
        Err(bad_input(
            "reason",
            "must be 1 to 200 characters on one line",
        ))
    }
}

/// Whether the caller may see what happens at a venue: its staff, its supervisors, operators.
///
/// # Errors
/// When the database fails, or identity is not heard of.
pub(crate) async fn may_see(service: &Admission, caller: &Caller, venue: VenueId) -> Result<bool> {
    let seen = service
        .ctx
        .db
        .tx("may_see", async |tx| {
            let venue = store::venue::load(tx, venue).await?;
            match access::venue_staff(tx, caller, venue.organisation).await {
                Err(Error::Forbidden(_)) => access::operator(tx, caller).await.map(|_| ()),
                other => other.map(|_| ()),
            }
        })
        .await;
    match seen {
        Ok(()) => Ok(true),
        Err(Error::Forbidden(_) | Error::NotFound | Error::Unauthenticated(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A redemption, for whom its venue concerns; `None` for others as when it is absent.
///
/// # Errors
/// When the database fails, or identity is not heard of.
pub async fn redemption(
    service: &Admission,
    caller: &Caller,
    id: Uuid,
) -> Result<Option<Redemption>> {
    let found = service
        .ctx
        .db
        .tx("redemption", async |tx| {
            store::redemption::load(tx, id).await
        })
        .await;
    match found {
        Ok(one) if may_see(service, caller, one.venue).await? => Ok(Some(one)),
        Ok(_) | Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A gate, for whom its venue concerns; `None` for others as when it is absent.
///
/// # Errors
/// When the database fails, or identity is not heard of.
pub async fn gate(service: &Admission, caller: &Caller, id: GateId) -> Result<Option<Gate>> {
    let found = service
        .ctx
        .db
        .tx("gate", async |tx| store::gate::load(tx, id).await)
        .await;
    match found {
        Ok(one) if may_see(service, caller, one.venue).await? => Ok(Some(one)),
        Ok(_) | Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
