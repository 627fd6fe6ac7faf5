//! Shifts: staff sign in at a venue, perhaps at a gate, and sign out. A shift ends by itself.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller, Member, VenueStaff};
use kit::audit::AuditRow;
use kit::due::{self, NewDue};
use kit::types::{GateId, VenueId};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use crate::domain::venue::Venue;
use crate::error::Refusal;
use crate::store;
use crate::store::shift::Shift;

/// How long a shift lasts when nobody closes it, in hours.
pub const SHIFT_HOURS_MAX: i64 = 14;
/// How often a shift is opened against others of the same person at the same moment.
const OPEN_ATTEMPTS_MAX: usize = 3;
/// The due work that ends a shift.
pub(crate) const CLOSE_SHIFT: &str = "close_shift";

/// Opens a shift, and closes the one that the person had elsewhere. The same again is the same
/// shift.
///
/// # Errors
/// When the person does not work there, or the gate is another venue's.
pub async fn open_shift(
    ctx: &Ctx,
    caller: &Caller,
    venue: VenueId,
    gate: Option<GateId>,
) -> Result<Shift> {
    ctx.db
        .tx("open_shift", async |tx| {
            let at = store::venue::load(tx, venue).await?;
            let staff = access::venue_staff(tx, caller, at.organisation).await?;
            if let Some(gate) = gate {
                let gate = store::gate::load(tx, gate).await?;
                if gate.venue != venue {
                    return Err(Refusal::GateOfAnotherVenue.into());
                }
                if gate.disabled {
                    return Err(Refusal::GateDisabled.into());
                }
            }
            // Her other request may open one at the same moment: then its row decides.
            for _ in 0..OPEN_ATTEMPTS_MAX {
                if let Some(open) = store::shift::lock_open(tx, staff.member.id).await? {
                    if open.venue == venue && open.gate == gate && tx.now() < open.closes_at {
                        return remember(tx, caller, open).await;
                    }
                    end(tx, &open, tx.now()).await?;
                }
                let mut shift = new_shift(tx, staff.member, (venue, gate));
                shift.second_factor = access::is_stepped_up(tx, caller);
                if store::shift::insert(tx, &shift).await? {
                    tx.plan(NewDue::new(CLOSE_SHIFT, shift.id, shift.closes_at));
                    tx.audit(staff.member.audit("open_shift", shift.id));
                    return Ok(shift);
                }
            }
            Err(Error::Unavailable("this person's shift is being changed"))
        })
        .await
}

fn new_shift(tx: &Tx, member: Member, (venue, gate): (VenueId, Option<GateId>)) -> Shift {
    Shift {
        id: tx.uuid(),
        venue,
        gate,
        member: member.id,
        opened_at: tx.now(),
        closes_at: tx.now() + TimeDelta::hours(SHIFT_HOURS_MAX),
        closed_at: None,
        second_factor: false,
    }
}

/// The shift, which knows from now on that its person has shown a second factor, if she has.
async fn remember(tx: &Tx, caller: &Caller, shift: Shift) -> Result<Shift> {
    if shift.second_factor || !access::is_stepped_up(tx, caller) {
        return Ok(shift);
    }
    store::shift::remember_second_factor(tx, shift.id).await?;
    Ok(Shift {
        second_factor: true,
        ..shift
    })
}

/// What a supervisor at a door is asked for once in a shift: whoever stands in the sun with a queue
/// before her types no code for each guest. A shift ends by itself and bounds what is done in it,
/// so that the factor may count as long as the shift; what takes money back asks each time.
///
/// # Errors
/// `STEP_UP_REQUIRED`, when it was shown neither for this shift nor just now.
pub(super) async fn shown_for(tx: &Tx, caller: &Caller, shift: &Shift) -> Result<()> {
    if shift.second_factor {
        return Ok(());
    }
    access::stepped_up(tx, caller)?;
    store::shift::remember_second_factor(tx, shift.id).await
}

/// Closes the person's open shift; `None` when there is none.
///
/// # Errors
/// When nobody is signed in.
pub async fn close_shift(ctx: &Ctx, caller: &Caller) -> Result<Option<Shift>> {
    ctx.db
        .tx("close_shift", async |tx| {
            let member = access::member(tx, caller).await?;
            let Some(open) = store::shift::lock_open(tx, member.id).await? else {
                return Ok(None);
            };
            end(tx, &open, tx.now()).await?;
            tx.audit(member.audit("close_shift", open.id));
            Ok(Some(Shift {
                closed_at: Some(tx.now()),
                ..open
            }))
        })
        .await
}

/// Ends a shift whose time is over.
pub(crate) async fn expire_shift(ctx: &Ctx, id: Uuid) -> Result<()> {
    ctx.db
        .tx("expire_shift", async |tx| {
            let Some(shift) = store::shift::lock(tx, id).await? else {
                return Ok(());
            };
            if shift.closed_at.is_none() {
                store::shift::close(tx, id, shift.closes_at).await?;
                tx.audit(AuditRow::system("expire_shift", id));
            }
            Ok(())
        })
        .await
}

async fn end(tx: &Tx, shift: &Shift, at: DateTime<Utc>) -> Result<()> {
    store::shift::close(tx, shift.id, at.min(shift.closes_at)).await?;
    due::cancel(tx, CLOSE_SHIFT, &shift.id.to_string()).await
}

/// Staff, or a supervisor, at work at the venue now.
pub(super) async fn at_work(
    tx: &Tx,
    caller: &Caller,
    venue: &Venue,
) -> Result<(VenueStaff, Shift)> {
    let staff = access::venue_staff(tx, caller, venue.organisation).await?;
    let shift = on_shift(tx, staff.member, venue.id).await?;
    Ok((staff, shift))
}

/// The person's shift, if it is open at this venue.
pub(super) async fn on_shift(tx: &Tx, member: Member, venue: VenueId) -> Result<Shift> {
    let open = store::shift::lock_open(tx, member.id).await?;
    open.filter(|shift| shift.venue == venue && tx.now() < shift.closes_at)
        .ok_or_else(|| Error::from(Refusal::NoOpenShift))
}
