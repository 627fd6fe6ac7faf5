//! The sellers' events, each turned into a command of billing.

pub mod person;

use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::{id, instant};
use kit::types::{Fen, MemberId, OrderId, OrganisationId, Union};
use kit::{Error, Result, Tx};
use prost::Message;
use proto::passes as event;
use sha2::{Digest, Sha256};

use crate::commands::{self, Requested};
use crate::domain::{Line, Payer};
use crate::store::EarlyReturn;

const ORDER_REQUESTED: &str = "bashu.passes.v1.OrderRequested";
const LINE_RETURNED: &str = "bashu.passes.v1.LineReturned";
const HOLD_LAPSED: &str = "bashu.passes.v1.HoldLapsed";
const FULFILMENT_REFUSED: &str = "bashu.passes.v1.FulfilmentRefused";
/// The longest title of a line, in characters.
const TITLE_CHARS_MAX: usize = 200;

/// The consumer of the selling services' topics.
#[derive(Clone, Copy, Debug)]
pub struct Sellers {
    pub union: Union,
}

impl Handler for Sellers {
    fn name(&self) -> &'static str {
        "sellers"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["passes.v1"]
    }

    fn handles(&self, kind: &str) -> bool {
        [
            ORDER_REQUESTED,
            LINE_RETURNED,
            HOLD_LAPSED,
            FULFILMENT_REFUSED,
        ]
        .contains(&kind)
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        // Requests that stand together are taken in together.
        let mut requested = Vec::new();
        for record in records {
            if record.kind == ORDER_REQUESTED {
                requested.push(self.requested(record)?);
                continue;
            }
            let orders = std::mem::take(&mut requested);
            commands::request_orders(tx, self.union, orders).await?;
            self.end(tx, record).await?;
        }
        commands::request_orders(tx, self.union, requested).await
    }
}

/// The service a topic is written by: it speaks for itself alone.
fn seller(record: &Record) -> Result<&str> {
    record
        .topic
        .strip_suffix(".v1")
        .ok_or_else(|| Error::permanent("a topic without a version"))
}

/// The hash that binds an order's lines: SHA-256 over their encodings in their order.
pub fn content_hash(lines: &[event::OrderLine]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for line in lines {
        digest.update(line.encode_to_vec());
    }
    digest.finalize().to_vec()
}

fn fen(fen: i64) -> Result<Fen> {
    Fen::new(fen).map_err(|_| Error::permanent("an amount is none"))
}

fn title(text: &str) -> String {
    text.chars().take(TITLE_CHARS_MAX).collect()
}

fn line(line: &event::OrderLine) -> Result<Line> {
    Ok(Line {
        id: id(&line.id)?,
        member: MemberId(id(&line.member_id)?),
        item: title(&line.item),
        product: id(&line.product_id)?,
        entitlement: kit::types::EntitlementId(line.entitlement_id).to_i64(),
        title_zh: title(&line.title_zh),
        title_en: title(&line.title_en),
        price: fen(line.price_fen)?,
        returned: Fen::ZERO,
    })
}

impl Sellers {
    fn requested(&self, record: &Record) -> Result<Requested> {
        let event: event::OrderRequested = record.decode()?;
        if event.union != i32::from(self.union.code()) {
            return Err(Error::permanent("an order of the other union"));
        }
        if event.seller != seller(record)? {
            return Err(Error::permanent("a seller asks in another's name"));
        }
        if content_hash(&event.lines) != event.content_hash {
            return Err(Error::permanent("an order's lines do not have its hash"));
        }
        let payer = match (event.member_id.is_empty(), event.organisation_id.is_empty()) {
            (false, true) => Payer::Member(MemberId(id(&event.member_id)?)),
            (true, false) => Payer::Organisation(OrganisationId(id(&event.organisation_id)?)),
            _ => return Err(Error::permanent("an order has not one payer")),
        };
        Ok(Requested {
            id: OrderId(id(&event.order_id)?),
            revision: event.revision,
            payer,
            lines: event.lines.iter().map(line).collect::<Result<_>>()?,
            total: fen(event.total_fen)?,
            content_hash: event.content_hash,
            close_at: instant(event.close_at)?,
            seller: event.seller,
            settled: event.settled,
        })
    }

    async fn end(&self, tx: &Tx, record: &Record) -> Result<()> {
        let seller = seller(record)?;
        match record.kind.as_str() {
            LINE_RETURNED => {
                let event: event::LineReturned = record.decode()?;
                let early = EarlyReturn {
                    return_id: id(&event.return_id)?,
                    order_id: id(&event.order_id)?,
                    line_id: id(&event.line_id)?,
                    refund_fen: fen(event.refund_fen)?.get(),
                    seller: seller.to_owned(),
                };
                commands::line_returned(tx, self.union, early).await
            }
            HOLD_LAPSED => {
                let event: event::HoldLapsed = record.decode()?;
                let order = OrderId(id(&event.order_id)?);
                commands::hold_lapsed(tx, self.union, order, seller).await
            }
            FULFILMENT_REFUSED => {
                let event: event::FulfilmentRefused = record.decode()?;
                let order = OrderId(id(&event.order_id)?);
                let reason = title(&event.reason);
                commands::refuse_fulfilment(tx, self.union, order, &reason, seller).await
            }
            other => Err(Error::permanent(format!("{other} is no seller's"))),
        }
    }
}
