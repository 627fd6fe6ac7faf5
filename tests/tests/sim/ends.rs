//! What a saga came to, in words: the questions that are asked of every service and of the provider
//! when it is over.

use anyhow::{Context, Result};
use kit::types::{EntitlementId, OrderId};

use crate::sweep::Sweep;
use crate::world::Service;

impl Sweep<'_> {
    /// What it all came to, without what differs from one purchase to the next, and without
    /// whether the hold ended before its order did: two services' timers run out at about the same
    /// moment, and a pass whose order is closed already needs no end of its hold. Twice would show.
    #[expect(
        clippy::too_many_lines,
        reason = "a list of questions, one after the other"
    )]
    pub(crate) async fn end(
        &self,
        (pass, order): (EntitlementId, OrderId),
        number: &str,
    ) -> Result<String> {
        let id = pass.to_i64();
        let mut lines = Vec::new();
        for (service, name, sql) in [
            (
                Service::Passes,
                "pass",
                format!(
                    "SELECT state, version - (SELECT count(*) FROM audit
                       WHERE subject = '{pass}' AND act = 'end_hold') FROM pass WHERE id = {id}"
                ),
            ),
            (
                Service::Passes,
                "returns",
                format!(
                    "SELECT cause, state, uses, fee_fen, refund_fen FROM refund WHERE pass = {id}"
                ),
            ),
            (
                Service::Passes,
                "uses",
                format!("SELECT count(*), bool_or(voided) FROM replica_use WHERE pass = {id}"),
            ),
            (
                Service::Passes,
                "acts",
                format!(
                    "SELECT act, count(*) FROM audit WHERE subject = '{pass}' GROUP BY act
                     HAVING act <> 'end_hold' OR count(*) > 1"
                ),
            ),
            (
                Service::Billing,
                "order",
                format!(
                    "SELECT state, version, total_fen, paid_fen, returned_fen, refunded_fen
                 FROM orders WHERE id = '{order}'"
                ),
            ),
            (
                Service::Billing,
                "payments",
                format!("SELECT state, fen FROM payment WHERE order_id = '{order}'"),
            ),
            (
                Service::Billing,
                "receipts",
                format!(
                    "SELECT kind, fen, returned_fen, refunded_fen FROM receipt
                 WHERE order_id = '{order}'"
                ),
            ),
            (
                Service::Billing,
                "refunds",
                format!("SELECT cause, state, fen, attempt FROM refund WHERE order_id = '{order}'"),
            ),
            (
                Service::Billing,
                "ledger",
                format!(
                    "SELECT debit, credit, sum(fen), count(*) FROM transfer
                 WHERE order_id = '{order}' GROUP BY debit, credit"
                ),
            ),
            (
                Service::Billing,
                "differences",
                format!("SELECT kind FROM discrepancy WHERE order_id = '{order}'"),
            ),
            (
                Service::Admission,
                "right",
                format!(
                    "SELECT state, version, freeze_version, blocked FROM entitlement
                     WHERE id = {id}"
                ),
            ),
            (
                Service::Admission,
                "entries",
                format!(
                    "SELECT decision, direction, count(*) FROM redemption WHERE entitlement = {id}
                 GROUP BY decision, direction"
                ),
            ),
            (
                Service::Identity,
                "minted from",
                format!("SELECT state, version, blocked FROM entitlement WHERE id = {id}"),
            ),
        ] {
            let sql = format!(
                "SELECT string_agg(line, '; ' ORDER BY line) FROM (
                   SELECT (r)::text AS line FROM ({sql}) AS r) AS rows"
            );
            let text = self.world.text(service, &sql).await?.unwrap_or_default();
            lines.push(format!("{name}: {text}"));
        }
        let provider = self.world.provider_orders().await?;
        let there = provider.iter().find(|one| one["out_trade_no"] == number);
        let there = there.context("the provider's own order")?;
        lines.push(format!(
            "provider: {} back {}",
            there["trade_state"], there["refunded"]
        ));
        Ok(lines.join("\n"))
    }
}
