//! Money is to go back: decided in the command that gives cause, and taken off what came.

use kit::due::NewDue;
use kit::types::{Fen, OrderId, Union};
use kit::{Error, Ids, Result, Tx};
use uuid::Uuid;

use super::Held;
use crate::domain::{Refund, RefundCause, RefundState, Step, out_refund_no, refund_owed, spread};
use crate::store::{self, DiscrepancyKind, NewDiscrepancy, NewRefund, ReturnLine};
use crate::{due, publish};

/// A line that comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineBack {
    /// The return's id, and the refund's.
    pub(crate) id: Uuid,
    pub(crate) line: Uuid,
    pub(crate) fen: Fen,
}

struct Owed<'a> {
    id: Uuid,
    order: Option<OrderId>,
    transaction_id: Option<&'a str>,
    fen: Fen,
    cause: RefundCause,
    lines: Vec<(Uuid, Fen)>,
}

/// Writes down that money goes back, takes it off what came and plans the request. What is
/// nothing is done at once.
async fn owe(tx: &Tx, owed: Owed<'_>) -> Result<()> {
    let nothing = owed.fen.is_zero();
    if let Some(transaction_id) = owed.transaction_id.filter(|_| !nothing)
        && !store::take_from_receipt(tx, transaction_id, owed.fen).await?
    {
        return Err(Error::internal("more would go back than came"));
    }
    let refund = Refund {
        id: owed.id,
        order: owed.order,
        transaction_id: owed.transaction_id.filter(|_| !nothing).map(str::to_owned),
        cause: owed.cause,
        fen: owed.fen,
        state: if nothing {
            RefundState::Done
        } else {
            RefundState::Requested
        },
        attempt: 1,
        out_refund_no: out_refund_no(owed.id, 1),
        requested_at: tx.now(),
        accepted_at: None,
        done_at: nothing.then(|| tx.now()),
    };
    if !store::insert_refund(
        tx,
        &NewRefund {
            refund,
            lines: owed.lines,
        },
    )
    .await?
    {
        return Err(Error::internal("the return was taken in before"));
    }
    let of_order = owed.cause.is_of_order();
    store::book_transfers(tx, &refund_owed(owed.id, owed.fen, owed.order, of_order)).await?;
    if let Some(order) = owed.order {
        store::step(tx, order, Step::RefundRequested, Some(owed.fen)).await?;
    }
    if !nothing {
        tx.plan(NewDue::new(due::REFUND, owed.id, tx.now()));
    }
    Ok(())
}

/// Gives back in full what paid no order.
pub(crate) async fn give_back(
    tx: &Tx,
    order: Option<OrderId>,
    transaction_id: &str,
    fen: Fen,
    cause: RefundCause,
) -> Result<()> {
    let id = Ids::derive(Uuid::NAMESPACE_OID, &format!("refund/{transaction_id}"), 0);
    let transaction_id = Some(transaction_id);
    owe(
        tx,
        Owed {
            id,
            order,
            transaction_id,
            fen,
            cause,
            lines: Vec::new(),
        },
    )
    .await
}

/// Takes a line back in part or whole.
///
/// # Errors
/// Permanent, before anything is written, when it contradicts the order or what came for it.
pub(crate) async fn give_back_line(
    tx: &Tx,
    union: Union,
    held: &mut Held,
    back: LineBack,
) -> Result<()> {
    let left = store::line_return(tx, held.order.id, back.line).await?;
    if left.ok_or_else(|| Error::permanent("a return of another order's line"))? < back.fen {
        return Err(Error::permanent(
            "more would go back than the line has left",
        ));
    }
    let order = held.order.clone().take_back(back.fen);
    let order = order.map_err(|_| Error::permanent("more would go back than was paid"))?;
    if !back.fen.is_zero() {
        let receipt = store::receipt_for_order(tx, held.order.id).await?;
        let came = receipt.map_or(0, |one| one.fen - one.returned_fen);
        if came < back.fen.get() {
            return Err(Error::permanent("more would go back than came"));
        }
    }
    return_shares(tx, back.line, back.fen).await?;
    held.save(tx, order).await?;
    held.step(tx, Step::ReturnTaken, Some(back.fen)).await?;
    let lines = vec![(back.line, back.fen)];
    owe_for_order(
        tx,
        union,
        held,
        (back.id, back.fen, RefundCause::Returned),
        lines,
    )
    .await
}

/// Gives back all that is left of a paid order.
pub(crate) async fn give_back_all(tx: &Tx, union: Union, held: &mut Held) -> Result<()> {
    let mut lines = Vec::new();
    for line in store::lines(tx, held.order.id).await? {
        let left = line.price.sub(line.returned).unwrap_or(Fen::ZERO);
        return_shares(tx, line.id, left).await?;
        lines.push((line.id, left));
    }
    let paid = held.order.paid();
    let left = paid.sub(held.order.returned).unwrap_or(Fen::ZERO);
    let order = held.order.clone().take_back(left);
    held.save(
        tx,
        order.map_err(|_| Error::internal("what is left cannot go back"))?,
    )
    .await?;
    let id = Ids::derive(held.order.id.0, "fulfilment_refused", 0);
    owe_for_order(tx, union, held, (id, left, RefundCause::Refused), lines).await
}

async fn return_shares(tx: &Tx, line: Uuid, fen: Fen) -> Result<()> {
    let shares = store::shares(tx, line).await?;
    let parts = spread(fen, &shares);
    let shares = shares
        .iter()
        .map(|share| share.ordinal)
        .zip(parts)
        .collect();
    if store::return_line(tx, &ReturnLine { line, fen, shares }).await? {
        Ok(())
    } else {
        Err(Error::internal("more would go back than the line has left"))
    }
}

async fn owe_for_order(
    tx: &Tx,
    union: Union,
    held: &mut Held,
    (id, fen, cause): (Uuid, Fen, RefundCause),
    lines: Vec<(Uuid, Fen)>,
) -> Result<()> {
    let receipt = store::receipt_for_order(tx, held.order.id).await?;
    let transaction_id = receipt.as_ref().map(|one| one.transaction_id.as_str());
    if transaction_id.is_none() && !fen.is_zero() {
        return Err(Error::internal(
            "an order without money has none to give back",
        ));
    }
    let order = Some(held.order.id);
    owe(
        tx,
        Owed {
            id,
            order,
            transaction_id,
            fen,
            cause,
            lines,
        },
    )
    .await?;
    if fen.is_zero() {
        return went_back(tx, union, held, id, fen).await;
    }
    Ok(())
}

/// The order after the money of one of its returns has gone back.
pub(crate) async fn went_back(
    tx: &Tx,
    union: Union,
    held: &mut Held,
    id: Uuid,
    fen: Fen,
) -> Result<()> {
    let order = held.order.clone().gave_back(fen);
    held.save(
        tx,
        order.map_err(|_| Error::internal("a return that was not taken in"))?,
    )
    .await?;
    held.step(tx, Step::RefundDone, Some(fen)).await?;
    let refunds = store::refund_lines(tx, held.order.id).await?;
    for (at, done) in refunds.iter().filter(|one| one.refund == id).enumerate() {
        if at > 0 {
            // Each event of an order has a version of its own.
            let order = held.order.clone();
            held.save(
                tx,
                crate::domain::Order {
                    version: order.version + 1,
                    ..order
                },
            )
            .await?;
        }
        tx.emit(publish::refund_done(&held.order, &refunds, done, union));
    }
    if let Some(order) = held.order.clone().end_refused(tx.now()) {
        held.save(tx, order).await?;
        held.step(tx, Step::Closed, None).await?;
        held.emit_state(tx, union).await?;
    }
    Ok(())
}

/// Notes a return that cannot be made.
pub(crate) async fn note_stuck(tx: &Tx, id: Uuid, held: &Held, reason: &str) -> Result<()> {
    let new = NewDiscrepancy {
        kind: DiscrepancyKind::RefundStuck,
        subject: id.to_string(),
        bill_date: None,
        order: Some(held.order.id),
        ours_fen: None,
        theirs_fen: None,
        detail: format!("the return contradicts its order: {reason}"),
    };
    store::note_discrepancy(tx, &new).await
}
