//! What must hold between the two unions: nothing that one of them made exists in the other.

use anyhow::Result;

use super::stream::{Stream, shared};
use super::{Side, Violation};

/// Keys of a service that the two unions must not share.
pub(super) struct Between {
    pub(super) id: &'static str,
    pub(super) zh: &'static str,
    pub(super) en: &'static str,
    service: &'static str,
    /// Answers `(key text, fact text)`.
    sql: &'static str,
}

pub(super) const ALL: &[Between] = &[
    Between {
        id: "between.members",
        zh: "两会没有相同的会员编号",
        en: "no member id is in both unions",
        service: "identity",
        sql: "SELECT id::text AS key, state AS fact FROM member",
    },
    Between {
        id: "between.organisations",
        zh: "两会没有相同的组织编号",
        en: "no organisation id is in both unions",
        service: "identity",
        sql: "SELECT id::text AS key, kind AS fact FROM organisation",
    },
    Between {
        id: "between.passes",
        zh: "两会没有相同的通行证编号",
        en: "no pass id is in both unions",
        service: "passes",
        sql: "SELECT id::text AS key, state AS fact FROM pass",
    },
    Between {
        id: "between.orders",
        zh: "两会没有相同的订单编号",
        en: "no order id is in both unions",
        service: "billing",
        sql: "SELECT id::text AS key, state AS fact FROM orders",
    },
    Between {
        id: "between.order_numbers",
        zh: "两会没有相同的受理号",
        en: "no order number is in both unions",
        service: "billing",
        sql: "SELECT number AS key, state AS fact FROM orders",
    },
    Between {
        id: "between.venues",
        zh: "两会没有相同的场馆编号",
        en: "no venue id is in both unions",
        service: "admission",
        sql: "SELECT id::text AS key, name_zh AS fact FROM venue",
    },
    Between {
        id: "between.gate_keys",
        zh: "没有一把闸机密钥在两会登记",
        en: "no gate's key is enrolled in both unions",
        service: "admission",
        sql: "SELECT encode(public_key, 'hex') AS key, id::text AS fact FROM gate
              WHERE public_key IS NOT NULL",
    },
];

impl Between {
    /// # Errors
    /// When a database fails.
    pub(super) async fn look(&self, one: &Side, other: &Side) -> Result<Vec<Violation>> {
        let left = Stream::open(one.database(self.service)?, self.sql).await?;
        let right = Stream::open(other.database(self.service)?, self.sql).await?;
        let (a, b) = (one.union().to_string(), other.union().to_string());
        shared((left, right), (&a, &b)).await
    }
}
