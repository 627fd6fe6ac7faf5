//! The seller's side of a test: requests, returns and ends, as its topic carries them.

use std::sync::atomic::Ordering;

use billing::consumers;
use chrono::TimeDelta;
use kit::Result;
use kit::consumer::Handler;
use kit::event::Record;
use kit::types::Union;
use prost::Message;
use proto::passes as event;
use uuid::Uuid;

use crate::world::{Asked, World, key, member};

impl World {
    pub(crate) fn record(&self, kind: &str, key: Uuid, payload: Vec<u8>) -> Record {
        let pseq = self.pseq.fetch_add(1, Ordering::SeqCst) + 1;
        Record {
            topic: "passes.v1".to_owned(),
            partition: 0,
            offset: pseq,
            epoch: 1,
            pseq,
            id: Uuid::from_u128(u128::try_from(pseq).unwrap()),
            kind: kind.to_owned(),
            key: key.as_bytes().to_vec(),
            version: 1,
            must_understand: false,
            at: self.db.ctx.clock.now(),
            traceparent: None,
            payload,
        }
    }

    pub(crate) async fn apply(&self, records: &[Record]) -> Result<()> {
        let handler = consumers::Sellers {
            union: Union::Chongqing,
        };
        self.db
            .ctx
            .db
            .tx("apply", async |tx| handler.apply(tx, records).await)
            .await
    }

    pub(crate) fn request(&self, prices: &[i64], minutes: i64) -> event::OrderRequested {
        let line = |price: &i64| event::OrderLine {
            id: key().as_bytes().to_vec(),
            member_id: member(1).as_bytes().to_vec(),
            item: "pass".to_owned(),
            product_id: Uuid::from_u128(7).as_bytes().to_vec(),
            price_fen: *price,
            title_zh: "巴蜀职工文旅年票".to_owned(),
            title_en: "Bashu worker pass".to_owned(),
            entitlement_id: 0xabc,
        };
        let lines: Vec<_> = prices.iter().map(line).collect();
        let close_at = self.db.ctx.clock.now() + TimeDelta::minutes(minutes);
        event::OrderRequested {
            order_id: key().as_bytes().to_vec(),
            revision: 1,
            union: 50,
            member_id: member(1).as_bytes().to_vec(),
            organisation_id: Vec::new(),
            total_fen: prices.iter().sum(),
            content_hash: consumers::content_hash(&lines),
            close_at: close_at.timestamp_millis(),
            seller: "passes".to_owned(),
            settled: false,
            lines,
        }
    }

    /// An order that another member is to pay.
    pub(crate) fn request_of(&self, payer: u128, prices: &[i64]) -> event::OrderRequested {
        event::OrderRequested {
            member_id: member(payer).as_bytes().to_vec(),
            ..self.request(prices, 15)
        }
    }

    pub(crate) fn requested(&self, request: &event::OrderRequested) -> Record {
        let id = Uuid::from_slice(&request.order_id).unwrap();
        self.record(
            "bashu.passes.v1.OrderRequested",
            id,
            request.encode_to_vec(),
        )
    }

    /// An order of these prices that is to be closed in a quarter of an hour.
    pub(crate) async fn order(&self, prices: &[i64]) -> Asked {
        self.order_for(prices, 15).await
    }

    pub(crate) async fn order_for(&self, prices: &[i64], minutes: i64) -> Asked {
        let request = self.request(prices, minutes);
        self.apply(&[self.requested(&request)]).await.unwrap();
        Asked {
            id: Uuid::from_slice(&request.order_id).unwrap(),
            lines: request
                .lines
                .iter()
                .map(|l| Uuid::from_slice(&l.id).unwrap())
                .collect(),
            total: request.total_fen,
        }
    }

    pub(crate) fn returned(&self, order: &Asked, line: usize, id: Uuid, fen: i64) -> Record {
        let message = event::LineReturned {
            return_id: id.as_bytes().to_vec(),
            version: 1,
            order_id: order.id.as_bytes().to_vec(),
            line_id: order.lines[line].as_bytes().to_vec(),
            refund_fen: fen,
            reason: "HOLDER".to_owned(),
        };
        self.record(
            "bashu.passes.v1.LineReturned",
            order.id,
            message.encode_to_vec(),
        )
    }

    pub(crate) fn lapsed(&self, order: Uuid) -> Record {
        let message = event::HoldLapsed {
            order_id: order.as_bytes().to_vec(),
        };
        self.record("bashu.passes.v1.HoldLapsed", order, message.encode_to_vec())
    }

    pub(crate) fn refused(&self, order: Uuid) -> Record {
        let reason = "LAPSED".to_owned();
        let message = event::FulfilmentRefused {
            order_id: order.as_bytes().to_vec(),
            reason,
        };
        self.record(
            "bashu.passes.v1.FulfilmentRefused",
            order,
            message.encode_to_vec(),
        )
    }
}
