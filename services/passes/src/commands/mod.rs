//! What can be done here, one function and one transaction each: authorise, load what is decided
//! on and lock it, look the request up, decide, save, publish.

mod batch;
mod follow;
mod forgotten;
mod holder;
mod holder_list;
mod operator;
mod products;
mod purchase;
mod reserve;
mod timers;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use kit::due::NewDue;
use kit::once::{self, Once, Request};
use kit::types::{EntitlementId, MemberId, Union, shanghai_date};
use kit::{Result, Tx};
use uuid::Uuid;

pub use follow::{Counted, admit_again, count_uses, follow_orders};
pub use forgotten::{end_of_forgotten, give_back_of_leaver};
pub use operator::{Custody, REASON_CHARS_MAX, Reason};
pub use products::{CheckedTerms, Shop};
pub use purchase::{BuyPass, CLOSE_AFTER_MINUTES, Purchase, buy_batch};
pub use reserve::{OpenDays, VisitRequest, Wish, reserve_batch};
pub use timers::{
    HOLD, HOLD_MARGIN_MINUTES, HOLD_REMINDER_MINUTES, end_activation, end_count, end_hold,
    remind_to_activate,
};

use crate::domain::{Change, Effect, Pass, ProductId, Reservation, Terms, Timer};
use crate::error::{on_constraint, recorded};
use crate::store::Moved;
use crate::{publish, store};

/// The terms of the versions that one transaction meets, each read once.
#[derive(Debug, Default)]
pub struct TermsBook(BTreeMap<(ProductId, u32), Terms>);

impl TermsBook {
    /// The terms a pass was sold under.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of(&mut self, tx: &Tx, pass: &Pass) -> Result<&Terms> {
        let key = (pass.product, pass.product_version);
        match self.0.entry(key) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let terms = store::terms_of(tx, pass.product, pass.product_version).await?;
                Ok(place.insert(terms))
            }
        }
    }
}

/// Saves what was decided and lets all of it follow: stock, events, timers. One statement for
/// each table, however many passes.
async fn carry_out(tx: &Tx, union: Union, changes: &[Change], book: &mut TermsBook) -> Result<()> {
    let changed: Vec<Pass> = changes
        .iter()
        .filter(|change| change.changed)
        .map(|change| change.pass.clone())
        .collect();
    store::save_all(tx, &changed).await.map_err(on_constraint)?;
    move_stock(tx, changes).await?;
    let ended = changed.iter().filter(|pass| pass.has_ended());
    let ended: Vec<EntitlementId> = ended.map(|pass| pass.id).collect();
    store::release_after(tx, &ended, shanghai_date(tx.now())).await?;
    for pass in &changed {
        tx.emit(publish::pass(pass));
    }
    say_rights(tx, union, &changed, book).await?;
    withdraw_reminders(tx, &changed, book).await?;
    for change in changes {
        for effect in &change.effects {
            follow_up(tx, &change.pass, effect);
        }
    }
    Ok(())
}

/// Tells gates of these passes, which are locked, as they stand: with what is reserved since
/// yesterday, whose grace may last.
///
/// # Errors
/// When the database fails.
pub(crate) async fn say_rights(
    tx: &Tx,
    union: Union,
    passes: &[Pass],
    book: &mut TermsBook,
) -> Result<()> {
    let mut needing = Vec::new();
    for pass in passes.iter().filter(|pass| pass.entitlement().is_some()) {
        if book.of(tx, pass).await?.rules.reservation_required {
            needing.push(pass.id);
        }
    }
    let today = shanghai_date(tx.now());
    let reserved = store::reserved(tx, &needing, today.pred_opt().unwrap_or(today)).await?;
    for pass in passes {
        let held: &[Reservation] = reserved.get(&pass.id).map_or(&[], Vec::as_slice);
        if let Some(right) = publish::entitlement(pass, book.of(tx, pass).await?, held, union)? {
            tx.emit(right);
        }
    }
    Ok(())
}

/// Identity, which sends the reminders and does not know what waits to be activated, is told of
/// those that are so no more, by the message's own key: it hears that after what asked for it.
async fn withdraw_reminders(tx: &Tx, passes: &[Pass], book: &mut TermsBook) -> Result<()> {
    for pass in passes.iter().filter(|pass| pass.paid_at().is_some()) {
        if pass.reminded_in_vain(tx.now(), book.of(tx, pass).await?) {
            tx.emit(publish::nothing_to_activate(pass));
        }
    }
    Ok(())
}

fn follow_up(tx: &Tx, pass: &Pass, effect: &Effect) {
    match effect {
        Effect::StockSold | Effect::StockBack => {}
        Effect::HoldLapsed => tx.emit(publish::hold_lapsed(pass)),
        Effect::FulfilmentRefused(reason) => tx.emit(publish::fulfilment_refused(pass, reason)),
        Effect::LineReturned => {
            if let Some(event) = publish::line_returned(pass) {
                tx.emit(event);
            }
        }
        Effect::Plan(timer, at) => {
            // A later request for a refund has timers of its own.
            let ordinal = pass.refund().map_or(0, |refund| refund.ordinal);
            let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
            tx.plan(NewDue::new(timer_kind(*timer), pass.id, *at).ordinal(ordinal));
        }
    }
}

/// The kind of a timer's row.
pub const fn timer_kind(timer: Timer) -> &'static str {
    match timer {
        Timer::Activation => "activation",
        Timer::Reminder => "activation_reminder",
        Timer::Leases => "leases",
        Timer::Refund => "refund",
    }
}

async fn move_stock(tx: &Tx, changes: &[Change]) -> Result<()> {
    let mut moves: BTreeMap<ProductId, Moved> = BTreeMap::new();
    let mut members: BTreeMap<(ProductId, MemberId), i32> = BTreeMap::new();
    for Change { pass, effects, .. } in changes {
        for effect in effects {
            let moved = match effect {
                Effect::StockSold => Moved { sold: 1, back: 0 },
                Effect::StockBack => {
                    if pass.renews.is_none() {
                        *members.entry((pass.product, pass.member)).or_default() += 1;
                    }
                    Moved { sold: 0, back: 1 }
                }
                Effect::HoldLapsed
                | Effect::FulfilmentRefused(_)
                | Effect::LineReturned
                | Effect::Plan(..) => continue,
            };
            let sum = moves.entry(pass.product).or_default();
            sum.sold += moved.sold;
            sum.back += moved.back;
        }
    }
    store::move_stock(tx, &moves).await?;
    store::release_members(tx, &members).await
}

/// Looks a request up: `None` means that it is new and must be decided, else the id of what it
/// did before.
async fn seen(tx: &Tx, caller: Uuid, key: Uuid, hash: [u8; 32]) -> Result<Option<Vec<u8>>> {
    match once::begin(tx, &Request { caller, key, hash }).await? {
        Once::First => Ok(None),
        Once::Done(id) => Ok(Some(id)),
        Once::Refused(code) => recorded(&code),
    }
}

/// The pass that a record names.
async fn recorded_pass(tx: &Tx, id: &[u8]) -> Result<Pass> {
    let id = <[u8; 8]>::try_from(id)
        .map_err(|_| kit::Error::internal("an idempotency record names no pass"))?;
    store::load(tx, EntitlementId(u64::from_be_bytes(id)))
        .await?
        .ok_or(kit::Error::NotFound)
}

/// Decides about one locked pass under an open key, carries it out and records it.
async fn settle(tx: &Tx, union: Union, change: Change) -> Result<Pass> {
    let pass = change.pass.clone();
    carry_out(tx, union, &[change], &mut TermsBook::default()).await?;
    once::finish(tx, &pass.id.to_bytes())?;
    Ok(pass)
}
