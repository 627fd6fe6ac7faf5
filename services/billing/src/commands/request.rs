//! Orders come to be: a seller asks, with an id of its own, and billing promises.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::due::NewDue;
use kit::types::{Fen, OrderId, Union, shanghai_date};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::{Held, ends};
use crate::domain::{
    Line, Order, OrderNumber, OrderState, Payer, Received, Source, Step, request_total,
};
use crate::due;
use crate::store::{self, NewOrder};

/// Lines of an order, at most.
pub const LINES_MAX: usize = 2_000;

/// What a seller asks for.
#[derive(Clone, Debug)]
pub struct Requested {
    pub id: OrderId,
    pub revision: i64,
    pub payer: Payer,
    pub lines: Vec<Line>,
    pub total: Fen,
    pub content_hash: Vec<u8>,
    pub close_at: DateTime<Utc>,
    pub seller: String,
    /// The seller knows of the order's end.
    pub settled: bool,
}

/// Takes orders in, many at once; one that arrived before is the same order.
///
/// # Errors
/// Permanent, when a request contradicts itself or what arrived before.
pub async fn request_orders(tx: &Tx, union: Union, requested: Vec<Requested>) -> Result<()> {
    let ids: Vec<Uuid> = requested.iter().map(|one| one.id.0).collect();
    let seen = store::seen(tx, ids).await?;
    let mut fresh: Vec<Requested> = Vec::new();
    let mut known: HashMap<Uuid, (i64, Vec<u8>)> = seen
        .into_iter()
        .map(|(id, row)| (id, (row.revision, row.content_hash)))
        .collect();
    for one in requested {
        match known.get(&one.id.0) {
            Some((_, hash)) if *hash == one.content_hash => {}
            Some((revision, _)) if one.revision < *revision => {}
            Some(_) => return Err(Error::permanent("an order was asked for with other lines")),
            // It ended, and not here: nothing is asked for twice.
            None if one.settled => {
                tracing::error!(order = %one.id, "a settled order is not known here");
            }
            None => {
                check(&one)?;
                known.insert(one.id.0, (one.revision, one.content_hash.clone()));
                fresh.push(one);
            }
        }
    }
    take_in(tx, union, fresh).await
}

fn check(one: &Requested) -> Result<()> {
    if one.lines.is_empty() || one.lines.len() > LINES_MAX {
        return Err(Error::permanent("an order has no lines or too many"));
    }
    match request_total(&one.lines) {
        Ok(total) if total == one.total => Ok(()),
        Ok(_) | Err(_) => Err(Error::permanent(
            "an order's total is not that of its lines",
        )),
    }
}

async fn take_in(tx: &Tx, union: Union, fresh: Vec<Requested>) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    let today = shanghai_date(tx.now());
    let serials = store::next_serials(tx, fresh.len()).await?;
    let new: Vec<NewOrder> = fresh
        .into_iter()
        .zip(serials)
        .map(|(one, serial)| NewOrder {
            source: match one.payer {
                Payer::Member(_) => Source::SelfPaid,
                Payer::Organisation(_) => Source::UnionFunds,
            },
            lines: one.lines,
            order: Order {
                id: one.id,
                version: 1,
                number: OrderNumber::new(union, today, serial),
                payer: one.payer,
                seller: one.seller,
                revision: one.revision,
                content_hash: one.content_hash,
                total: one.total,
                state: OrderState::Open { closing: None },
                refused: None,
                returned: Fen::ZERO,
                refunded: Fen::ZERO,
                created_at: tx.now(),
                close_at: one.close_at,
            },
        })
        .collect();
    store::insert_orders(tx, &new).await?;
    let taken: Vec<(OrderId, Fen)> = new
        .iter()
        .map(|one| (one.order.id, one.order.total))
        .collect();
    store::first_steps(tx, &taken, Step::Requested).await?;
    for NewOrder { order, .. } in &new {
        tx.tell(order.id);
        if order.total.is_zero() {
            settle_free(tx, union, order.clone()).await?;
        } else {
            tx.plan(NewDue::new(due::CLOSE, order.id, order.close_at));
        }
    }
    ends::apply_early(tx, union, new.iter().map(|one| one.order.id.0).collect()).await
}

/// There is nothing to pay: the order is in force at once.
async fn settle_free(tx: &Tx, union: Union, order: Order) -> Result<()> {
    let mut held = Held::of(order);
    let Received::ForOrder(order) = held.order.clone().receive(tx.now()) else {
        return Err(Error::internal("a new order is not open"));
    };
    held.save(tx, order).await?;
    held.mark_shares(tx).await?;
    held.step(tx, Step::PaidWithoutMoney, None).await?;
    held.emit_state(tx, union).await?;
    ends::after_payment(tx, union, &mut held).await
}
