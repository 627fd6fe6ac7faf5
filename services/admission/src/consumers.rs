//! What admission does when it hears of entitlements, products and orders: it keeps its replica,
//! counts the uses of what is frozen, and clears what it had blocked. Of an order it keeps the
//! number that people quote, of the holder nothing.

pub mod person;

use std::collections::BTreeSet;

use credential::rules::{EVALUATOR_VERSION, VenueId};
use credential::token::{GROUP_PERSONS_MAX, Minute};
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::id;
use kit::types::{EntitlementId, OrderId, Union};
use kit::{Error, Result, Tx};
use proto::billing::{OrderClosed, OrderPaid};
use proto::passes::{ProductChanged, product_changed};
use proto::v1::{EntitlementChanged, Reservation, entitlement};
use uuid::Uuid;

use crate::commands;
use crate::commands::entitlement::Word;
use crate::domain::entitlement::{Granted, RESERVATIONS_MAX, Reserved, State};
use crate::store;
use crate::store::order::NumberedOrder;
use crate::store::product::Product;

const ENTITLEMENT: &str = "bashu.v1.EntitlementChanged";
const PRODUCT: &str = "bashu.passes.v1.ProductChanged";
const ORDER_PAID: &str = "bashu.billing.v1.OrderPaid";
const ORDER_CLOSED: &str = "bashu.billing.v1.OrderClosed";
/// The longest number of an order, in bytes.
const ORDER_NUMBER_BYTES_MAX: usize = 40;

/// The handler of the topics that grant entitlements, and number the orders they come from.
#[derive(Clone, Copy, Debug)]
pub struct Grants {
    union: Union,
}

impl Grants {
    /// The handler in this union's stack.
    pub const fn new(union: Union) -> Self {
        Self { union }
    }
}

impl Handler for Grants {
    fn name(&self) -> &'static str {
        "admission.grants"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["passes.v1", "billing.v1"]
    }

    fn handles(&self, kind: &str) -> bool {
        [ENTITLEMENT, PRODUCT, ORDER_PAID, ORDER_CLOSED].contains(&kind)
    }

    /// A freeze or a revocation never waits behind a record that could not be applied.
    fn monotone(&self, record: &Record) -> bool {
        record.kind == ENTITLEMENT
            && record.decode::<EntitlementChanged>().is_ok_and(|event| {
                event.entitlement.is_some_and(|one| match one.state() {
                    entitlement::State::Frozen | entitlement::State::Revoked => true,
                    entitlement::State::Active | entitlement::State::Unspecified => false,
                })
            })
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        let mut words = Vec::new();
        let mut orders = Vec::new();
        for record in records {
            match record.kind.as_str() {
                ENTITLEMENT => words.push(word(record)?),
                PRODUCT => product(tx, record).await?,
                ORDER_PAID | ORDER_CLOSED => orders.push(numbered(record)?),
                other => return Err(Error::permanent(format!("{other} grants nothing"))),
            }
        }
        store::order::save_numbers(tx, &orders).await?;
        commands::entitlement::apply_words(tx, self.union, words).await
    }
}

/// The number of an order, and nothing else of it.
fn numbered(record: &Record) -> Result<NumberedOrder> {
    let order = match record.kind.as_str() {
        ORDER_PAID => record.decode::<OrderPaid>()?.order,
        _ => record.decode::<OrderClosed>()?.order,
    };
    let order = order.ok_or_else(|| Error::permanent("an order's event without its order"))?;
    if order.number.is_empty() || order.number.len() > ORDER_NUMBER_BYTES_MAX {
        return Err(Error::permanent("an order without a number of our kind"));
    }
    Ok(NumberedOrder {
        order: OrderId(id(&order.id)?),
        number: order.number,
        epoch: record.epoch,
    })
}

/// The granter's word, without the holder.
fn word(record: &Record) -> Result<Word> {
    let event: EntitlementChanged = record.decode()?;
    let one = event
        .entitlement
        .ok_or_else(|| Error::permanent("an entitlement event without an entitlement"))?;
    let bad = |what: &'static str| Error::permanent(what);
    let state = match one.state() {
        entitlement::State::Active => State::Active,
        entitlement::State::Frozen => State::Frozen,
        entitlement::State::Revoked => State::Revoked,
        entitlement::State::Unspecified => return Err(bad("an entitlement without a state")),
    };
    let minute = |value: u32| Minute::new(value).ok_or_else(|| bad("a minute out of range"));
    let order = match one.order_id.as_slice() {
        [] => None,
        bytes => Some(OrderId(id(bytes)?)),
    };
    if one.version < 1 {
        return Err(bad("an entitlement without a version"));
    }
    Ok(Word {
        id: EntitlementId(one.id),
        home: Union::from_code(one.union.into()).ok_or_else(|| bad("an unknown union"))?,
        scope: one.scope,
        granted: Granted {
            epoch: record.epoch,
            version: one.version,
            state,
            valid_from: minute(one.valid_from)?,
            valid_until: minute(one.valid_until)?,
            generation: u8::try_from(one.r#gen).map_err(|_| bad("a generation out of range"))?,
            persons: persons(one.persons).ok_or_else(|| bad("too many persons"))?,
            document_check: one.document_check,
            rules_version: one.rules_version,
            freeze_version: one.freeze_version,
            order,
            reservations: reserved(&one.reservations)?,
        },
    })
}

/// The visits that are reserved.
fn reserved(told: &[Reservation]) -> Result<Vec<Reserved>> {
    if told.len() > RESERVATIONS_MAX {
        return Err(Error::permanent("too many reservations"));
    }
    told.iter()
        .map(
            |one| match (Minute::new(one.from), Minute::new(one.until)) {
                (Some(from), Some(until)) if from < until => Ok(Reserved {
                    venue: VenueId(*id(&one.venue_id)?.as_bytes()),
                    from,
                    until,
                }),
                _ => Err(Error::permanent("a reservation without a time")),
            },
        )
        .collect()
}

/// How many it is for; none is one, and more than a credential can name are no group of ours.
fn persons(said: u32) -> Option<u16> {
    let persons = u16::try_from(said.max(1)).ok()?;
    (persons <= GROUP_PERSONS_MAX).then_some(persons)
}

/// Keeps a product's public state and the rules of its version.
async fn product(tx: &Tx, record: &Record) -> Result<()> {
    let event: ProductChanged = record.decode()?;
    let state = match event.state() {
        product_changed::State::Draft => "draft",
        product_changed::State::Published => "published",
        product_changed::State::Stopped => "stopped",
        product_changed::State::Unspecified => {
            return Err(Error::permanent("a product without a state"));
        }
    };
    let is_sold = state != "draft";
    if event.evaluator_version > u32::from(EVALUATOR_VERSION) {
        tracing::warn!(
            scope = event.scope,
            needs = event.evaluator_version,
            "rules that this evaluator only asks about"
        );
    }
    let venue_ids: BTreeSet<Uuid> = event
        .venue_ids
        .iter()
        .map(|bytes| id(bytes))
        .collect::<Result<_>>()?;
    let product = Product {
        scope: event.scope,
        id: id(&event.product_id)?,
        epoch: record.epoch,
        version: event.version,
        name_zh: event.name_zh,
        name_en: event.name_en,
        state,
        rules_version: is_sold.then_some(event.rules_version),
        venue_ids: venue_ids.into_iter().collect(),
        venue_tags: event.venue_tags,
    };
    store::product::save(tx, &product).await?;
    if is_sold {
        let (scope, version) = (event.scope, event.rules_version);
        store::product::save_rules(tx, scope, version, record.epoch, event.rules).await?;
    }
    Ok(())
}
