//! What librdkafka says of its connections, for an operator to read: while a broker is away, each
//! client says the same about every second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

/// How long the same is not told again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What one client said.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<String, Told>>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How often it was said since then.
    kept: u32,
}

impl Complaints {
    /// Logs it, and how often it was said without being logged.
    pub(super) fn hear(&self, error: &KafkaError, reason: &str) {
        if let Some(count) = self.due(error.to_string(), Instant::now()) {
            tracing::warn!(%error, reason, count, "a connection to Kafka complains");
        }
    }

    fn due(&self, what: String, now: Instant) -> Option<u32> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Told { at: now, kept: 0 };
        match all.get_mut(&what) {
            Some(told) if now.duration_since(told.at) < AGAIN_AFTER => {
                told.kept += 1;
                None
            }
            Some(told) => Some(std::mem::replace(told, fresh).kept),
            None => {
                all.insert(what, fresh);
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while_with_how_often_it_was_said() {
        let complaints = Complaints::default();
        let began = Instant::now();
        let said = |what: &str, seconds| {
            complaints.due(what.to_owned(), began + Duration::from_secs(seconds))
        };
        assert_eq!(said("down", 0), Some(0));
        assert_eq!(said("down", 1), None);
        assert_eq!(said("down", 29), None);
        assert_eq!(said("reset", 29), Some(0), "something else");
        assert_eq!(said("down", 30), Some(2));
        assert_eq!(said("down", 31), None);
        assert_eq!(said("down", 60), Some(1));
    }
}
