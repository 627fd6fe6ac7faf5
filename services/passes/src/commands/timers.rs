//! What happens because time has passed. Each is run from a row of due work, does nothing when
//! the pass has moved on, and says when it must be looked at again.

use chrono::{DateTime, TimeDelta, Utc};
use kit::audit::AuditRow;
use kit::due::After;
use kit::types::EntitlementId;
use kit::{Ctx, Result, Tx};

use super::forgotten::or_end;
use super::{TermsBook, carry_out, say_rights};
use crate::domain::{BILLING_REMINDER_HOURS, Change, FREEZE_REMINDER_HOURS, Pass, State};
use crate::{publish, store};

/// The kind of the row that ends a hold.
pub const HOLD: &str = "hold";
/// How long after the end of its time to pay a hold is looked at, in minutes: billing closes by
/// itself, and this is what happens when it is not heard of.
pub const HOLD_MARGIN_MINUTES: i64 = 5;
/// How long billing may take to answer that a hold has lapsed before it is told again, in minutes.
pub const HOLD_REMINDER_MINUTES: i64 = 60;

async fn carry(tx: &Tx, ctx: &Ctx, change: Change, act: &'static str) -> Result<()> {
    if change.changed {
        tx.audit(AuditRow::system(act, change.pass.id));
    }
    carry_out(tx, ctx.union, &[change], &mut TermsBook::default()).await
}

/// The time to pay is over: billing is told that nothing is held any longer, and told again until
/// it says how the order ended. Only then does the stock come back.
///
/// # Errors
/// When the database fails.
pub async fn end_hold(ctx: &Ctx, id: EntitlementId) -> Result<After> {
    ctx.db
        .tx("end_hold", async |tx| {
            let change = store::lock(tx, id).await?.hold_over(tx.now());
            let waits = matches!(change.pass.state, State::AwaitingPayment(_));
            carry(tx, ctx, change, "end_hold").await?;
            Ok(again(
                waits,
                tx.now() + TimeDelta::minutes(HOLD_REMINDER_MINUTES),
            ))
        })
        .await
}

fn again(waits: bool, at: DateTime<Utc>) -> After {
    if waits { After::At(at) } else { After::Done }
}

/// The time to activate is over: the pass begins, is forfeited or goes back.
///
/// # Errors
/// When the database fails.
pub async fn end_activation(ctx: &Ctx, id: EntitlementId) -> Result<After> {
    ctx.db
        .tx("end_activation", async |tx| {
            let pass = store::lock(tx, id).await?;
            let mut book = TermsBook::default();
            let terms = book.of(tx, &pass).await?;
            let change = pass.activation_over(tx.now(), terms);
            carry(tx, ctx, change, "end_activation").await?;
            Ok(After::Done)
        })
        .await
}

/// The time to activate is nearly over and the pass would be forfeited: its holder is told by SMS,
/// which identity words with her name. Done twice, it is the same message.
///
/// # Errors
/// When the database fails.
pub async fn remind_to_activate(ctx: &Ctx, id: EntitlementId) -> Result<After> {
    ctx.db
        .tx("remind_to_activate", async |tx| {
            let pass = store::lock(tx, id).await?;
            let mut book = TermsBook::default();
            let terms = book.of(tx, &pass).await?;
            if let Some(last_day) = pass.forfeited_after(tx.now(), terms) {
                tx.emit(publish::pass_to_activate(&pass, &terms.names, last_day));
                tx.audit(AuditRow::system("remind_to_activate", id));
            }
            Ok(After::Done)
        })
        .await
}

/// The last lease is over: what was counted decides. Where admission's answer is overdue an alarm
/// is raised and the freeze said again, as often as it takes; where billing's is, it is told
/// again.
///
/// # Errors
/// When the database fails.
pub async fn end_count(ctx: &Ctx, id: EntitlementId) -> Result<After> {
    ctx.db
        .tx("end_count", async |tx| {
            let pass = store::lock(tx, id).await?;
            let known = store::uses_counted(tx, id).await?;
            let mut book = TermsBook::default();
            let terms = book.of(tx, &pass).await?;
            if pass.lacks_count() {
                return ask_again(tx, ctx, pass).await;
            }
            let forgotten = store::erased(tx, &[pass.member.0]).await?;
            let counted = pass.count_over(known, tx.now(), terms);
            let change = or_end(tx, counted, &forgotten).or_remind();
            let waits = change.pass.refund_overdue();
            carry(tx, ctx, change, "end_count").await?;
            Ok(again(
                waits,
                tx.now() + TimeDelta::hours(BILLING_REMINDER_HOURS),
            ))
        })
        .await
}

/// Says the freeze again, since admission answers each that it hears, and alarms when the answer
/// is overdue: the refund waits, however long.
async fn ask_again(tx: &Tx, ctx: &Ctx, pass: Pass) -> Result<After> {
    if pass.count_overdue(tx.now()) {
        tx.audit(AuditRow::system("count_overdue", pass.id));
        metrics::counter!("bashu_passes_counts_overdue_total").increment(1);
        tracing::error!(pass = %pass.id, "a refund waits: admission has not answered its freeze");
    }
    say_rights(tx, ctx.union, &[pass], &mut TermsBook::default()).await?;
    Ok(After::At(
        tx.now() + TimeDelta::hours(FREEZE_REMINDER_HOURS),
    ))
}

impl Change {
    /// Tells billing again what goes back, where nothing else was decided.
    fn or_remind(self) -> Self {
        if self.changed || !self.pass.refund_overdue() {
            return self;
        }
        let pass: Pass = self.pass;
        Self {
            effects: vec![crate::domain::Effect::LineReturned],
            ..Self::none(pass)
        }
    }
}
