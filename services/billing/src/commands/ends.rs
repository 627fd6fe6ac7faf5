//! What a seller says of an order: the hold lapsed, it cannot be given, a line came back. What is
//! said of an order that has not arrived, or is not paid yet, waits for it.

use kit::types::{Fen, OrderId, Union};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::{Held, close, refund};
use crate::domain::{CloseReason, OrderState, Refund, RefundState, Step};
use crate::store::{self, EarlyEnd, EarlyReturn};

/// A seller speaks of its own orders alone.
fn own(held: &Held, seller: &str) -> Result<()> {
    if held.order.seller == seller {
        Ok(())
    } else {
        Err(Error::permanent("another seller's order"))
    }
}

/// The seller no longer holds what the order is for. Of one that has ended it may not have heard,
/// or it would not say so: it is told again.
///
/// # Errors
/// When it is another seller's order.
pub async fn hold_lapsed(tx: &Tx, union: Union, order: OrderId, seller: &str) -> Result<()> {
    let Some(mut held) = Held::lock(tx, order).await? else {
        let kind = "hold_lapsed".to_owned();
        let (reason, seller) = (String::new(), seller.to_owned());
        return store::early_end(
            tx,
            &EarlyEnd {
                order_id: order.0,
                kind,
                reason,
                seller,
            },
        )
        .await;
    };
    own(&held, seller)?;
    match held.order.state {
        OrderState::Open { .. } => close::begin(tx, &mut held, CloseReason::HoldLapsed).await,
        OrderState::Paid { .. } | OrderState::Closed { .. } => held.emit_state(tx, union).await,
    }
}

/// The seller cannot give what was sold: an open order is closed, a paid one given back whole.
///
/// # Errors
/// When it is another seller's order.
pub async fn refuse_fulfilment(
    tx: &Tx,
    union: Union,
    order: OrderId,
    reason: &str,
    seller: &str,
) -> Result<()> {
    let Some(mut held) = Held::lock(tx, order).await? else {
        let (kind, reason) = ("refused".to_owned(), reason.to_owned());
        let seller = seller.to_owned();
        return store::early_end(
            tx,
            &EarlyEnd {
                order_id: order.0,
                kind,
                reason,
                seller,
            },
        )
        .await;
    };
    own(&held, seller)?;
    match held.order.state {
        // It has ended, and its seller has not heard of it.
        OrderState::Closed { .. } => held.emit_state(tx, union).await,
        OrderState::Open { .. } | OrderState::Paid { .. } if held.order.refused.is_some() => Ok(()),
        OrderState::Open { .. } => {
            let order = held.order.clone().refuse(reason);
            held.save(tx, order).await?;
            close::begin(tx, &mut held, CloseReason::Refused).await
        }
        OrderState::Paid { .. } => {
            let order = held.order.clone().refuse(reason);
            held.save(tx, order).await?;
            held.step(tx, Step::FulfilmentRefused, None).await?;
            refund::give_back_all(tx, union, &mut held).await
        }
    }
}

/// The seller takes a line back for this much.
///
/// # Errors
/// Permanent, when it contradicts the order: more than is left, another's line.
pub async fn line_returned(tx: &Tx, union: Union, early: EarlyReturn) -> Result<()> {
    let Some(mut held) = Held::lock(tx, OrderId(early.order_id)).await? else {
        return store::early_return(tx, &early).await;
    };
    own(&held, &early.seller)?;
    match held.order.state {
        OrderState::Open { .. } => store::early_return(tx, &early).await,
        OrderState::Closed { .. } => match store::refund(tx, early.return_id).await? {
            Some(known) => say_again(tx, union, &held, &known).await,
            None => Err(Error::permanent("a return of a closed order")),
        },
        OrderState::Paid { .. } => take_back(tx, union, &mut held, &early).await,
    }
}

/// A return that is said again after its money has gone back was not heard of by its seller.
async fn say_again(tx: &Tx, union: Union, held: &Held, known: &Refund) -> Result<()> {
    if known.state == RefundState::Done {
        held.emit_state(tx, union).await?;
    }
    Ok(())
}

/// Takes a line of a paid order back, once for the return. What contradicts the order is refused
/// before anything is written.
async fn take_back(tx: &Tx, union: Union, held: &mut Held, early: &EarlyReturn) -> Result<()> {
    own(held, &early.seller)?;
    match store::refund(tx, early.return_id).await? {
        Some(known) if known.order == Some(held.order.id) => {
            return say_again(tx, union, held, &known).await;
        }
        Some(_) => return Err(Error::permanent("another order's return")),
        None => {}
    }
    let fen =
        Fen::new(early.refund_fen).map_err(|_| Error::permanent("a return's amount is none"))?;
    let back = refund::LineBack {
        id: early.return_id,
        line: early.line_id,
        fen,
    };
    refund::give_back_line(tx, union, held, back).await
}

/// What was said while the order was not paid takes effect now.
pub(crate) async fn after_payment(tx: &Tx, union: Union, held: &mut Held) -> Result<()> {
    for early in store::early_returns(tx, held.order.id).await? {
        match take_back(tx, union, held, &early).await {
            // It contradicts the order: the payment stands, a person looks at the return.
            Err(Error::Permanent(reason)) => {
                refund::note_stuck(tx, early.return_id, held, &reason).await?;
            }
            other => other?,
        }
    }
    if held.order.refused.is_some() && matches!(held.order.state, OrderState::Paid { .. }) {
        held.step(tx, Step::FulfilmentRefused, None).await?;
        refund::give_back_all(tx, union, held).await?;
    }
    Ok(())
}

/// Applies the ends that were said of orders before they arrived.
pub(crate) async fn apply_early(tx: &Tx, union: Union, orders: Vec<Uuid>) -> Result<()> {
    for early in store::early_ends(tx, orders).await? {
        let order = OrderId(early.order_id);
        let applied = match early.kind.as_str() {
            "refused" => refuse_fulfilment(tx, union, order, &early.reason, &early.seller).await,
            _ => hold_lapsed(tx, union, order, &early.seller).await,
        };
        match applied {
            // Another seller spoke of an order that was not its own.
            Err(Error::Permanent(reason)) => tracing::error!(%reason, "an early end is dropped"),
            other => other?,
        }
    }
    Ok(())
}
