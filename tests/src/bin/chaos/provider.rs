//! The payment provider's books, as its journal has them: what was paid and what went back. Read
//! when the provider stands still; the last state of each thing counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// Sums in fen by the provider's own numbers.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    /// By transaction id.
    pub(crate) payments: BTreeMap<String, i64>,
    /// By the merchant's refund number; those that went back.
    pub(crate) refunds: BTreeMap<String, i64>,
}

impl Provider {
    /// # Errors
    /// When the journal is not there or not as expected.
    pub(crate) fn read(journal: &Path) -> Result<Self> {
        let file =
            File::open(journal).with_context(|| format!("{} is missing", journal.display()))?;
        let mut provider = Self::default();
        for line in BufReader::new(file).lines() {
            let entries: Vec<Value> =
                serde_json::from_str(&line?).context("a line of the journal")?;
            for entry in &entries {
                provider.take(entry);
            }
        }
        Ok(provider)
    }

    fn take(&mut self, entry: &Value) {
        let order = &entry["order.v1"];
        if let Some(payment) = order.pointer("/state/Paid")
            && let Some(id) = payment["transaction_id"].as_str()
        {
            let fen = order["terms"]["total_fen"].as_i64().unwrap_or_default();
            self.payments.insert(id.to_owned(), fen);
        }
        let refund = &entry["refund.v1"];
        if refund.pointer("/state/Success").is_some()
            && let Some(number) = refund["out_refund_no"].as_str()
        {
            let fen = refund["refund_fen"].as_i64().unwrap_or_default();
            self.refunds.insert(number.to_owned(), fen);
        }
    }
}
