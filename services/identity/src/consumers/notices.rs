//! What members are told of that happens elsewhere: their orders and their passes. A consumer of
//! its own, so that what cannot be told holds up no credential.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::{id, instant};
use kit::types::{EntitlementId, MemberId, OrderId, day_start};
use kit::{Error, Result, Tx};
use proto::billing::{Order, OrderPaid, RefundDone};
use proto::passes::pass_changed::State;
use proto::passes::{PassChanged, ProductChanged};

use crate::commands::notices::{about, plan_reminder, tell};
use crate::domain::notice::{NOTICE_DAYS, Notice, SMS_HOURS_MAX};
use crate::store::notice_products::{Product, put_product};
use crate::store::notices::NewNotice;

const PASS: &str = "bashu.passes.v1.PassChanged";
const PRODUCT: &str = "bashu.passes.v1.ProductChanged";
const ORDER_PAID: &str = "bashu.billing.v1.OrderPaid";
const REFUND_DONE: &str = "bashu.billing.v1.RefundDone";

/// The name under which it reads.
pub const CONSUMER: &str = "identity.notices";

/// The consumer that tells members.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notices;

impl Handler for Notices {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn topics(&self) -> &'static [&'static str] {
        &["passes.v1", "billing.v1"]
    }

    fn handles(&self, kind: &str) -> bool {
        [PASS, PRODUCT, ORDER_PAID, REFUND_DONE].contains(&kind)
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        let mut told = Vec::new();
        for record in records {
            let notice = match record.kind.as_str() {
                PASS => pass(tx, record)?,
                PRODUCT => {
                    product(tx, record).await?;
                    None
                }
                ORDER_PAID => paid(tx, record)?,
                REFUND_DONE => refunded(record)?,
                other => return Err(Error::permanent(format!("{other} tells nobody anything"))),
            };
            let is_news = record.at + TimeDelta::hours(SMS_HOURS_MAX) > tx.now();
            told.extend(notice.map(|it| NewNotice {
                sms: it.sms && is_news,
                ..it
            }));
        }
        tell(tx, &told).await
    }
}

/// A pass that opens doors, or that was voided. What it goes through beside is no news to its
/// holder: she asked for it.
fn pass(tx: &Tx, record: &Record) -> Result<Option<NewNotice>> {
    let event: PassChanged = record.decode()?;
    let pass = EntitlementId(event.id);
    let member = MemberId(id(&event.member_id)?);
    let product = id(&event.product_id)?;
    let told = match event.state() {
        State::Active => {
            let (start, end) = (date(&event.start)?, date(&event.end)?);
            plan_reminder(tx, pass, (start, end));
            is_recent(tx, day_start(start)).then_some(Notice::Activated {
                pass,
                product,
                start,
                end,
            })
        }
        State::Voided => Some(Notice::Cancelled { pass, product }),
        State::AwaitingPayment
        | State::Ready
        | State::Frozen
        | State::Refunding
        | State::Refunded
        | State::Lapsed
        | State::Forfeited => None,
        State::Unspecified => return Err(Error::permanent("a pass without a state")),
    };
    Ok(told.map(|notice| about(member, &pass.to_string(), notice)))
}

async fn product(tx: &Tx, record: &Record) -> Result<()> {
    let event: ProductChanged = record.decode()?;
    let product = Product {
        id: id(&event.product_id)?,
        epoch: record.epoch,
        version: event.version,
        scope: event.scope,
        name_zh: event.name_zh,
        name_en: event.name_en,
    };
    put_product(tx, &product).await
}

fn paid(tx: &Tx, record: &Record) -> Result<Option<NewNotice>> {
    let event: OrderPaid = record.decode()?;
    let Some((member, order)) = of_member(event.order)? else {
        return Ok(None);
    };
    if !is_recent(tx, instant(order.paid_at)?) {
        return Ok(None);
    }
    let id = OrderId(id(&order.id)?);
    let notice = Notice::Bought {
        order: id,
        number: order.number,
        fen: order.total_fen,
    };
    Ok(Some(about(member, &id.to_string(), notice)))
}

fn refunded(record: &Record) -> Result<Option<NewNotice>> {
    let event: RefundDone = record.decode()?;
    let Some((member, order)) = of_member(event.order)? else {
        return Ok(None);
    };
    if event.fen == 0 {
        return Ok(None);
    }
    let notice = Notice::Refunded {
        order: OrderId(id(&order.id)?),
        number: order.number,
        fen: event.fen,
    };
    let which = format!("{}/{}", id(&event.return_id)?, id(&event.line_id)?);
    Ok(Some(about(member, &which, notice)))
}

/// The order with the member who pays it herself; of one that an organisation pays, nobody is
/// told here.
fn of_member(order: Option<Order>) -> Result<Option<(MemberId, Order)>> {
    let order = order.ok_or_else(|| Error::permanent("an order's event without its order"))?;
    if order.member_id.is_empty() {
        return Ok(None);
    }
    Ok(Some((MemberId(id(&order.member_id)?), order)))
}

fn date(text: &str) -> Result<NaiveDate> {
    text.parse()
        .map_err(|_| Error::permanent("a pass that is active has no days"))
}

/// Whether a notice of it would still be kept: what is said again of years ago is told to nobody.
fn is_recent(tx: &Tx, at: DateTime<Utc>) -> bool {
    at + TimeDelta::days(NOTICE_DAYS) > tx.now()
}
