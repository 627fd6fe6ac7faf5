//! The payment provider's books, as its journal has them: what was paid and what went back. Read
//! when the provider stands still; the last state of each thing counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// What stands before the token in the code that a payer is shown.
const BEFORE_TOKEN: &str = "pr=";

/// Sums in fen by the provider's own numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Provider {
    /// By transaction id.
    pub(crate) payments: BTreeMap<String, i64>,
    /// By the merchant's refund number; those that went back.
    pub(crate) refunds: BTreeMap<String, i64>,
    /// The merchant's order number by the token of a code; an order may have had several.
    pub(crate) tokens: BTreeMap<String, String>,
    /// The merchant's numbers of the orders that are paid.
    pub(crate) paid: BTreeSet<String>,
}

impl Provider {
    /// # Errors
    /// When the journal is not there or not as expected.
    pub(crate) fn read(journal: &Path) -> Result<Self> {
        let file =
            File::open(journal).with_context(|| format!("{} is missing", journal.display()))?;
        let mut provider = Self::default();
        for line in BufReader::new(file).lines() {
            provider.line(&line?)?;
        }
        Ok(provider)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let entries: Vec<Value> = serde_json::from_str(line).context("a line of the journal")?;
        for entry in &entries {
            self.order(&entry["order.v1"]);
            self.refund(&entry["refund.v1"]);
        }
        Ok(())
    }

    /// Whether the order that a code leads to is paid.
    pub(crate) fn is_paid(&self, code_url: &str) -> bool {
        let token = code_url.split_once(BEFORE_TOKEN).map(|(_, token)| token);
        let number = token.and_then(|token| self.tokens.get(token));
        number.is_some_and(|number| self.paid.contains(number))
    }

    fn order(&mut self, order: &Value) {
        let Some(number) = order["terms"]["out_trade_no"].as_str() else {
            return;
        };
        if let Some(token) = order["token"].as_str() {
            self.tokens.insert(token.to_owned(), number.to_owned());
        }
        let payment = order.pointer("/state/Paid");
        if let Some(id) = payment.and_then(|payment| payment["transaction_id"].as_str()) {
            let fen = order["terms"]["total_fen"].as_i64().unwrap_or_default();
            self.payments.insert(id.to_owned(), fen);
            self.paid.insert(number.to_owned());
        }
    }

    fn refund(&mut self, refund: &Value) {
        if refund.pointer("/state/Success").is_some()
            && let Some(number) = refund["out_refund_no"].as_str()
        {
            let fen = refund["refund_fen"].as_i64().unwrap_or_default();
            self.refunds.insert(number.to_owned(), fen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Provider;

    /// The books are read as the provider writes them: an order first, then its payment, then
    /// what went back of it; what is only begun counts for nothing.
    #[test]
    fn the_journal_is_read() {
        let order = |number: &str, token: &str, state: &str| {
            format!(
                r#"[{{"order.v1":{{"terms":{{"out_trade_no":"{number}","total_fen":1990}},
                "token":"{token}","state":{state}}}}}]"#
            )
        };
        let refund = |number: &str, state: &str| {
            format!(
                r#"[{{"refund.v1":{{"out_refund_no":"{number}","refund_fen":990,
                "state":{state}}}}}]"#
            )
        };
        let lines = [
            order("N1", "one", r#""Unpaid""#),
            order("N1", "two", r#"{"Paid":{"transaction_id":"T1"}}"#),
            order("N2", "three", r#""Unpaid""#),
            refund("R1", r#"{"Success":{"success_ms":1}}"#),
            refund("R2", r#""Processing""#),
        ];
        let mut provider = Provider::default();
        for line in lines {
            provider.line(&line.replace('\n', "")).unwrap();
        }
        assert_eq!(provider.payments, [("T1".to_owned(), 1990)].into());
        assert_eq!(provider.refunds, [("R1".to_owned(), 990)].into());
        let code = |token: &str| format!("weixin://wxpay/bizpayurl?pr={token}");
        assert!(provider.is_paid(&code("one")) && provider.is_paid(&code("two")));
        assert!(!provider.is_paid(&code("three")) && !provider.is_paid(&code("four")));
    }
}
