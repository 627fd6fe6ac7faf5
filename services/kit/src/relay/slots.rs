//! Empties the outbox, slot by slot: no row is ever deleted by itself.

use sea_orm::{ConnectionTrait, FromQueryResult};

use crate::db::statement;
use crate::outbox::{SLOT_SECONDS, SLOTS};
use crate::{Ctx, Error, Result};

/// How often slots are looked at.
pub(super) const EMPTY_EVERY_SECONDS: i64 = 60;

#[derive(FromQueryResult)]
struct Flag {
    yes: bool,
}

/// Empties each slot that is neither in use nor next and whose every row lies in a finished tick.
pub(super) async fn empty(ctx: &Ctx) -> Result<()> {
    let current = ctx.clock.now().timestamp().div_euclid(SLOT_SECONDS);
    for slot in 0..SLOTS {
        let in_use = (current..=current + 1).any(|seconds| seconds.rem_euclid(SLOTS) == slot);
        if in_use {
            continue;
        }
        match empty_one(ctx, slot).await {
            Ok(_) => {}
            // Somebody writes or reads there: another time.
            Err(error) if error.is_retryable() => {
                tracing::debug!(slot, "an outbox slot is busy");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn empty_one(ctx: &Ctx, slot: i64) -> Result<bool> {
    let table = format!("outbox_{slot}");
    let any = format!("SELECT EXISTS (SELECT 1 FROM {table}) AS yes");
    if !ctx
        .db
        .one::<Flag>(&any, [])
        .await?
        .is_some_and(|flag| flag.yes)
    {
        return Ok(false);
    }
    let tx = ctx.db.open(None, None).await?;
    tx.execute_unprepared("SET LOCAL lock_timeout = '200ms'")
        .await?;
    // Waits for the open writers of this slot: after it, what is not seen will never be.
    tx.execute_unprepared(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        .await?;
    let unsent = format!(
        "SELECT EXISTS (SELECT 1 FROM {table} o, outbox_relay r
           WHERE o.xid >= pg_snapshot_xmin(r.s1)
             AND NOT pg_visible_in_snapshot(o.xid, r.s1)) AS yes"
    );
    let unsent = Flag::find_by_statement(statement(&unsent, []))
        .one(&tx)
        .await?;
    if unsent.is_none_or(|flag| flag.yes) {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.execute_unprepared(&format!("TRUNCATE {table}")).await?;
    tx.commit().await.map_err(Error::from)?;
    Ok(true)
}
