//! Staff at work look up how a pass stands, by its number or its order's: never whose it is. Each
//! look-up is counted and recorded before it is answered.

use chrono::{DateTime, TimeDelta};
use kit::access::Caller;
use kit::types::{EntitlementId, OrderId, VenueId};
use kit::{Ctx, Error, Result};

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
            let window_at = DateTime::from_timestamp(began, 0)
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
