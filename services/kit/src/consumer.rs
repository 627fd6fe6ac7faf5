//! The consumer.

use crate::event::Record;
use crate::{Result, Tx};

/// What a service does with the events of other services: it turns each into a command of its
/// own on the given transaction, and nothing more.
pub trait Handler: Send + Sync + 'static {
    /// The consumer's name in `watermark`: stable for ever.
    fn name(&self) -> &'static str;
    /// The topics it reads, `identity.v1`.
    fn topics(&self) -> &'static [&'static str];
    /// Whether it knows this type; others are skipped, or parked when they must be understood.
    fn handles(&self, kind: &str) -> bool;
    /// Whether the record only ever freezes or revokes: applied even while its key is held.
    fn monotone(&self, record: &Record) -> bool {
        let _ = record;
        false
    }
    /// Applies records of one partition, in their order.
    fn apply(&self, tx: &Tx, records: &[Record]) -> impl Future<Output = Result<()>> + Send;
}
