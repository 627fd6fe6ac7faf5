//! Staff at work look up how a pass stands, by its number or its order's: never whose it is. Each
//! look-up is counted and recorded before it is answered.
//!
//! Where a pass was used is where somebody was, and another company's staff are another handler:
//! they see it only while the holder consents (个人信息保护法 Art. 23 and 29). What they are shown is
//! recorded, in the transaction that keeps the consent locked.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, TimeDelta};
use kit::access::{Caller, Member};
use kit::consent;
use kit::types::{EntitlementId, OrderId, OrganisationId, Processing, VenueId};
use kit::{Ctx, Error, Result, Tx};

use super::shift::at_work;
use crate::domain::entitlement::Entitlement;
use crate::domain::redemption::Redemption;
use crate::error::Refusal;
use crate::store;

/// Look-ups of one person in [`LOOK_UP_WINDOW_MINUTES`], at most.
pub const LOOK_UPS_MAX: i32 = 30;
pub const LOOK_UP_WINDOW_MINUTES: i64 = 10;
/// Entitlements of one order that are shown, at most.
const ORDER_ENTITLEMENTS_MAX: i64 = 50;
/// The longest 受理号, in bytes.
const QUOTED_BYTES_MAX: usize = 40;
/// Uses of one entitlement that are shown, at most: the newest.
pub const USES_SHOWN_MAX: i64 = 20;

/// What staff type: a pass's number, or what names its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    Pass(EntitlementId),
    Order(OrderId),
    /// 受理号, the number that people quote: `B50-20260401-000123-7`.
    Quoted(String),
}

impl Number {
    /// Sixteen hexadecimal digits, an order's number or its id; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_pass = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_pass {
            return text.parse().ok().map(Self::Pass);
        }
        if is_quoted(text) {
            return Some(Self::Quoted(text.to_ascii_uppercase()));
        }
        text.parse().ok().map(Self::Order)
    }
}

/// Whether a text looks like a 受理号: the letter and union, date, count and check digit. Billing
/// alone says whether there is such an order.
fn is_quoted(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['B', 'b']) else {
        return false;
    };
    let parts: Vec<&str> = rest.split('-').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let [union, date, _, check] = parts.as_slice() else {
        return false;
    };
    text.len() <= QUOTED_BYTES_MAX
        && (union.len(), date.len(), check.len()) == (2, 8, 1)
        && parts.iter().all(digits)
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(id) => id.fmt(f),
            Self::Order(id) => id.fmt(f),
            Self::Quoted(number) => f.write_str(number),
        }
    }
}

/// What is shown of an entitlement: never whose it is.
#[derive(Clone, Debug)]
pub struct Found {
    pub entitlement: Entitlement,
    /// The newest admissions, exits and voided ones included; those at other companies' venues
    /// only where `elsewhere`.
    pub uses: Vec<Use>,
    /// Whether the holder consents that uses at other companies' venues are shown.
    pub elsewhere: bool,
}

/// A use of an entitlement as staff of one company see it.
#[derive(Clone, Debug)]
pub struct Use {
    pub redemption: Redemption,
    /// At a venue of their own company. Of another's they see when and where, and no more.
    pub own: bool,
}

/// Finds entitlements by number for staff at work at a venue.
///
/// # Errors
/// When the caller is not at work there, or looks up too much.
pub async fn look_up(
    ctx: &Ctx,
    caller: &Caller,
    venue: VenueId,
    number: &Number,
) -> Result<Vec<Found>> {
    // Counted first and in a transaction of its own, so that no failure is free.
    let (staff, company) = count_look_up(ctx, caller, venue, number).await?;
    ctx.db
        .tx("look_up", async |tx| {
            let ids = match number {
                Number::Pass(id) => vec![*id],
                Number::Order(order) => {
                    store::entitlement::ids_of_order(tx, *order, ORDER_ENTITLEMENTS_MAX).await?
                }
                Number::Quoted(number) => {
                    let max = ORDER_ENTITLEMENTS_MAX;
                    store::entitlement::ids_of_order_number(tx, number, max).await?
                }
            };
            let known = store::entitlement::lock(tx, &ids).await?;
            let mut used = Vec::with_capacity(known.len());
            for (id, entitlement) in known {
                let uses = store::redemption::of_entitlement(tx, id, USES_SHOWN_MAX).await?;
                used.push((entitlement, uses));
            }
            let venues: BTreeSet<VenueId> = used
                .iter()
                .flat_map(|(_, uses)| uses.iter().map(|one| one.venue))
                .collect();
            let own = store::venue::of_company(tx, company, venues).await?;
            let ids: Vec<EntitlementId> = used.iter().map(|(it, _)| it.id).collect();
            let visits = Processing::VisitsToVenues;
            let consented = consent::holders_consent(tx, &ids, visits).await?;
            let found: Vec<Found> = used
                .into_iter()
                .map(|(entitlement, uses)| {
                    let elsewhere = consented.contains(&entitlement.id);
                    let uses = uses.into_iter().map(|redemption| Use {
                        own: own.contains(&redemption.venue),
                        redemption,
                    });
                    Found {
                        uses: uses.filter(|one| one.own || elsewhere).collect(),
                        entitlement,
                        elsewhere,
                    }
                })
                .collect();
            record_shown(tx, staff, venue, &found);
            Ok(found)
        })
        .await
}

/// Leaves a row for what was shown of other companies' venues.
fn record_shown(tx: &Tx, staff: Member, venue: VenueId, found: &[Found]) {
    let of_others = |it: &&Found| it.uses.iter().any(|one| !one.own);
    let shown = found.iter().filter(of_others);
    let passes: Vec<String> = shown.map(|it| it.entitlement.id.to_string()).collect();
    if !passes.is_empty() {
        let detail = serde_json::json!({ "passes": passes });
        tx.audit(staff.audit("show_visits", venue).detail(detail));
    }
}

/// Counts a look-up and records it with what was looked up, whoever it may turn out to be; who
/// looks up, and the company at whose venue she is at work.
async fn count_look_up(
    ctx: &Ctx,
    caller: &Caller,
    venue: VenueId,
    number: &Number,
) -> Result<(Member, OrganisationId)> {
    let window = TimeDelta::minutes(LOOK_UP_WINDOW_MINUTES);
    let (count, staff, company) = ctx
        .db
        .tx("count_look_up", async |tx| {
            let at = store::venue::load(tx, venue).await?;
            let (staff, _) = at_work(tx, caller, &at).await?;
            let seconds = tx.now().timestamp();
            let began = seconds - seconds.rem_euclid(window.num_seconds());
            let window_at = DateTime::from_timestamp(began, 0)
                .ok_or_else(|| Error::internal("a window out of range"))?;
            let subject = staff.member.id.uuid();
            let scope = "admission.look_up";
            let count =
                store::staff::count_attempt(tx, scope, subject.as_bytes(), window_at).await?;
            let detail = serde_json::json!({
                "number": number.to_string(), "refused": count > LOOK_UPS_MAX,
            });
            tx.audit(staff.member.audit("look_up", venue).detail(detail));
            Ok((count, staff.member, at.organisation))
        })
        .await?;
    if count > LOOK_UPS_MAX {
        return Err(Refusal::TooManyLookUps.into());
    }
    Ok((staff, company))
}
