//! What billing and admission tell. Each event becomes a command of this service on the
//! consumer's transaction; nothing is decided here.

pub mod person;

use std::collections::BTreeMap;

use chrono::NaiveDate;
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::{id, instant};
use kit::types::{EntitlementId, Fen, OrderId, Union};
use kit::{Error, Result, Tx};
use proto::admission as gate;
use proto::billing as money;
use uuid::Uuid;

use crate::commands::{self, Counted};
use crate::domain::{Order, OrderState};
use crate::publish::SELLER;
use crate::store::{self, FreshOrder, NewUse, NewVenue};

const ORDER_PAID: &str = "bashu.billing.v1.OrderPaid";
const ORDER_CLOSED: &str = "bashu.billing.v1.OrderClosed";
const REFUND_DONE: &str = "bashu.billing.v1.RefundDone";
const VENUE: &str = "bashu.admission.v1.VenueChanged";
const REDEMPTION: &str = "bashu.admission.v1.RedemptionChanged";
const FREEZE_APPLIED: &str = "bashu.admission.v1.FreezeApplied";
const BLOCKED: &str = "bashu.admission.v1.EntitlementBlocked";
const ALL: [&str; 7] = [
    ORDER_PAID,
    ORDER_CLOSED,
    REFUND_DONE,
    VENUE,
    REDEMPTION,
    FREEZE_APPLIED,
    BLOCKED,
];

/// The handler of `billing.v1` and `admission.v1`.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    pub union: Union,
}

impl Handler for Follower {
    fn name(&self) -> &'static str {
        "passes"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["billing.v1", "admission.v1"]
    }

    fn handles(&self, kind: &str) -> bool {
        ALL.contains(&kind)
    }

    /// A batch is of one partition, so of one topic: orders together, then what admission told
    /// in the order in which the parts need each other.
    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        if let Some(stranger) = records.iter().find(|record| !self.handles(&record.kind)) {
            return Err(Error::permanent(format!(
                "{} is not for passes",
                stranger.kind
            )));
        }
        self.orders(tx, records).await?;
        venues(tx, records).await?;
        uses(tx, records).await?;
        self.freezes(tx, records).await?;
        self.blocks(tx, records).await
    }
}

fn of<'a>(records: &'a [Record], kind: &'static str) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| record.kind == kind)
}

/// The newest of what a batch says of each thing.
fn newest<K: Ord, T>(
    all: impl Iterator<Item = Result<(K, (i64, i64), T)>>,
) -> Result<BTreeMap<K, T>> {
    let mut found: BTreeMap<K, ((i64, i64), T)> = BTreeMap::new();
    for one in all {
        let (key, version, value) = one?;
        if found.get(&key).is_none_or(|(known, _)| *known < version) {
            found.insert(key, (version, value));
        }
    }
    Ok(found
        .into_iter()
        .map(|(key, (_, value))| (key, value))
        .collect())
}

fn fen(value: i64) -> Result<Fen> {
    Fen::new(value).map_err(|error| Error::permanent(error.to_string()))
}

fn order_of(record: &Record) -> Result<money::Order> {
    let order = match record.kind.as_str() {
        ORDER_PAID => record.decode::<money::OrderPaid>()?.order,
        ORDER_CLOSED => record.decode::<money::OrderClosed>()?.order,
        _ => record.decode::<money::RefundDone>()?.order,
    };
    order.ok_or_else(|| Error::permanent("an order's event without its order"))
}

/// An order as it is kept and as it is followed.
fn read_order(epoch: i64, order: &money::Order) -> Result<(FreshOrder, Order)> {
    let state = match order.state() {
        money::order::State::Open => OrderState::Open,
        money::order::State::Paid => OrderState::Paid {
            at: instant(order.paid_at)?,
        },
        money::order::State::Closed => OrderState::Closed,
        money::order::State::Unspecified => {
            return Err(Error::permanent("an order without a state"));
        }
    };
    let order_id = OrderId(id(&order.id)?);
    let fresh = FreshOrder {
        id: order_id,
        epoch,
        version: order.version,
        number: order.number.clone(),
        state: match state {
            OrderState::Open => "open",
            OrderState::Paid { .. } => "paid",
            OrderState::Closed => "closed",
        },
        total_fen: order.total_fen,
        refunded_fen: order.refunded_fen,
        paid_at: (order.paid_at > 0)
            .then(|| instant(order.paid_at))
            .transpose()?,
    };
    let returns_done = order
        .refunds
        .iter()
        .filter(|refund| refund.done)
        .map(|refund| id(&refund.return_id))
        .collect::<Result<Vec<Uuid>>>()?;
    let followed = Order {
        id: order_id,
        state,
        total: fen(order.total_fen)?,
        refunded: fen(order.refunded_fen)?,
        returns_done,
    };
    Ok((fresh, followed))
}

impl Follower {
    async fn orders(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        let told = records
            .iter()
            .filter(|record| [ORDER_PAID, ORDER_CLOSED, REFUND_DONE].contains(&&*record.kind))
            .map(|record| order_of(record).map(|order| (record.epoch, order)))
            .filter(|told| {
                told.as_ref()
                    .map_or(true, |(_, order)| order.seller == SELLER)
            })
            .map(|told| {
                let (epoch, order) = told?;
                let (fresh, followed) = read_order(epoch, &order)?;
                Ok((fresh.id, (epoch, order.version), (fresh, followed)))
            });
        let told = newest(told)?;
        if told.is_empty() {
            return Ok(());
        }
        let fresh: Vec<FreshOrder> = told.values().map(|(fresh, _)| fresh.clone()).collect();
        let news = store::put_orders(tx, &fresh).await?;
        let followed: Vec<Order> = told
            .into_values()
            .map(|(_, order)| order)
            .filter(|order| news.contains(&order.id))
            .collect();
        commands::follow_orders(tx, self.union, &followed).await
    }

    /// Only the own union's admission answers a freeze: another's count says nothing of the gates
    /// that opened here.
    async fn freezes(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        let own = i32::from(self.union.code());
        let answers = of(records, FREEZE_APPLIED)
            .map(|record| record.decode::<gate::FreezeApplied>())
            .filter(|event| event.as_ref().map_or(true, |event| event.union == own))
            .map(|event| {
                let event = event?;
                let leases_until = (event.leases_open_until > 0)
                    .then(|| instant(event.leases_open_until))
                    .transpose()?;
                Ok(Counted {
                    pass: EntitlementId(event.entitlement_id),
                    freeze_version: event.freeze_version,
                    uses: event.uses,
                    leases_until,
                })
            })
            .collect::<Result<Vec<Counted>>>()?;
        if answers.is_empty() {
            return Ok(());
        }
        commands::count_uses(tx, self.union, &answers).await
    }

    async fn blocks(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        let blocked = of(records, BLOCKED)
            .map(|record| record.decode::<gate::EntitlementBlocked>())
            .filter(|event| event.as_ref().map_or(true, |event| !event.cleared))
            .map(|event| event.map(|event| EntitlementId(event.entitlement_id)))
            .collect::<Result<Vec<EntitlementId>>>()?;
        if blocked.is_empty() {
            return Ok(());
        }
        commands::admit_again(tx, self.union, &blocked).await
    }
}

fn province(union: i32) -> Result<i16> {
    match union {
        50 => Ok(50),
        51 => Ok(51),
        _ => Err(Error::permanent("a venue of no province that we know")),
    }
}

async fn venues(tx: &Tx, records: &[Record]) -> Result<()> {
    let told = newest(of(records, VENUE).map(|record| {
        let event: gate::VenueChanged = record.decode()?;
        let venue = NewVenue {
            id: id(&event.id)?,
            epoch: record.epoch,
            version: event.version,
            province: province(event.union)?,
            name_zh: event.name_zh,
            name_en: event.name_en,
            division: event.division,
            tags: event.tags,
            opening_hours: event.opening_hours,
            suspended: event.suspended,
            tracks_exits: event.tracks_exits,
        };
        Ok((venue.id, (record.epoch, event.version), venue))
    }))?;
    store::put_venues(tx, &told.into_values().collect::<Vec<_>>()).await
}

async fn uses(tx: &Tx, records: &[Record]) -> Result<()> {
    let told = newest(of(records, REDEMPTION).map(|record| {
        let event: gate::RedemptionChanged = record.decode()?;
        let date: NaiveDate = event
            .date
            .parse()
            .map_err(|_| Error::permanent("a redemption's date is not ISO 8601"))?;
        let one = NewUse {
            id: id(&event.id)?,
            epoch: record.epoch,
            version: event.version,
            pass: EntitlementId(event.entitlement_id),
            province: province(event.union)?,
            venue: id(&event.venue_id)?,
            entry: event.direction() == gate::redemption_changed::Direction::Entry,
            at: instant(event.at)?,
            date,
            persons: i32::try_from(event.persons)
                .map_err(|_| Error::permanent("a redemption of too many persons"))?,
            voided: event.voided,
            overridden: event.overridden,
        };
        Ok((one.id, (record.epoch, event.version), one))
    }))?;
    if told.is_empty() {
        return Ok(());
    }
    let ids: Vec<EntitlementId> = told.values().map(|one| one.pass).collect();
    let ours = store::passes_known(tx, &ids).await?;
    let uses: Vec<NewUse> = told
        .into_values()
        .filter(|one| ours.contains(&one.pass))
        .collect();
    store::put_uses(tx, &uses).await
}
