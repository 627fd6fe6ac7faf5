//! Hints within a process that something has changed, for requests that wait for it: a payer for
//! her payment's code, an order for its seller's event.
//!
//! What is changed is named ([`crate::Tx::tell`]), and only those wake who wait for that name:
//! were all woken by every change, a hundred who wait would each read a hundred times.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How long one waits without a hint at first, and then twice as long each time: another process
/// may have made the change.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// Who waits for what. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Told {
    waited_for: Arc<Mutex<HashMap<String, watch::Sender<()>>>>,
}

impl Told {
    /// Begins to listen for a name; before the first look, so that no change falls between.
    pub fn listen(&self, subject: impl ToString) -> Listener {
        let subject = subject.to_string();
        let mut waited_for = self.lock();
        let sender = waited_for.entry(subject.clone()).or_default();
        let heard = sender.subscribe();
        drop(waited_for);
        Listener {
            told: self.clone(),
            subject,
            heard,
            pause: LOOK_AGAIN,
        }
    }

    /// Wakes those who listen for this name.
    pub(crate) fn tell(&self, subject: &str) {
        if let Some(sender) = self.lock().get(subject) {
            sender.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.waited_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who listens for a name.
#[derive(Debug)]
pub struct Listener {
    told: Told,
    subject: String,
    heard: watch::Receiver<()>,
    pause: Duration,
}

impl Listener {
    /// Returns when something may have changed since it last returned: when this process was told
    /// so, or after a pause of a second at most.
    pub async fn changed(&mut self) {
        // Its sender stays as long as somebody listens.
        let _hint = tokio::time::timeout(self.pause, self.heard.changed()).await;
        self.pause = (2 * self.pause).min(LOOK_AGAIN_MAX);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waited_for = self.told.lock();
        if let Entry::Occupied(entry) = waited_for.entry(std::mem::take(&mut self.subject))
            && entry.get().receiver_count() == 1
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_change_wakes_those_who_wait_for_it_and_nobody_else() {
        let told = Told::default();
        let (mut one, mut twin, mut other) =
            (told.listen("one"), told.listen("one"), told.listen("other"));
        told.tell("one");
        told.tell("nobody");
        one.heard.changed().now_or_never().unwrap().unwrap();
        twin.heard.changed().now_or_never().unwrap().unwrap();
        assert!(one.heard.changed().now_or_never().is_none(), "heard twice");
        assert!(other.changed().now_or_never().is_none(), "woken by another");
        assert!(!told.lock().contains_key("nobody"));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_forgotten() {
        let told = Told::default();
        let (one, mut twin) = (told.listen("one"), told.listen("one"));
        drop(one);
        told.tell("one");
        twin.heard.changed().now_or_never().unwrap().unwrap();
        drop(twin);
        assert!(told.lock().is_empty());
    }

    #[tokio::test]
    async fn without_a_hint_one_looks_again() {
        let told = Told::default();
        told.listen("one").changed().await;
    }
}
