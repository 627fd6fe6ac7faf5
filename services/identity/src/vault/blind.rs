//! The blind index: what a person is found by without her number standing anywhere. Its key is
//! outside the database and leaves this file in no form; what asks for a hash is counted here,
//! and nowhere else can one be had.
//!
//! The limit is the process's own and comes on top of those of phones, addresses and officers. It
//! is wide enough for rosters and full logins, and keeps whoever can call this from trying all
//! numbers there are: 10⁹ would take over two days, and show in the metrics at once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kit::{Error, Result};
use zeroize::Zeroizing;

use super::suite::Suite;
use crate::domain::identifier::{Document, Phone};
use crate::domain::search::Term;
use crate::domain::subject::Subject;

/// Hashes that a process gives in a second, in the long run.
pub const BLIND_PER_SECOND_MAX: u32 = 5_000;
/// Hashes that it gives at once when it was asked for none before: a few of the largest rosters.
pub const BLIND_BURST_MAX: u32 = 50_000;

/// What somebody is looked for by.
#[derive(Clone, Copy)]
pub enum Sought<'a> {
    Document(&'a Document),
    Phone(&'a Phone),
    /// Whom another party names.
    Subject(&'a Subject),
    /// A client's address, which is counted by its hash.
    Address(&'a str),
    /// A 网号.
    Network(&'a str),
}

impl fmt::Debug for Sought<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sought")
    }
}

/// The key, and how much of it was used lately. Copies share the count.
#[derive(Clone)]
pub(super) struct BlindIndex {
    key: Zeroizing<[u8; 32]>,
    bucket: Arc<Mutex<Bucket>>,
}

impl BlindIndex {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key,
            bucket: Arc::new(Mutex::new(Bucket::full(Instant::now()))),
        }
    }

    /// Hashes under the key what a client gave.
    ///
    /// # Errors
    /// Overloaded, beyond [`BLIND_PER_SECOND_MAX`].
    pub(super) fn hash(&self, sought: Sought<'_>) -> Result<[u8; 32]> {
        self.take()?;
        Ok(match sought {
            Sought::Document(document) => {
                let kind = [document.kind().code()];
                self.mac(&[b"document\0", &kind, document.number().as_bytes()])
            }
            Sought::Phone(phone) => self.mac(&[b"phone\0", phone.as_str().as_bytes()]),
            Sought::Subject(subject) => self.mac(&[
                b"subject\0",
                subject.kind().as_str().as_bytes(),
                b"\0",
                subject.text().as_bytes(),
            ]),
            Sought::Address(address) => self.mac(&[b"address\0", address.as_bytes()]),
            Sought::Network(id) => self.mac(&[b"network\0", id.as_bytes()]),
        })
    }

    /// All that one person's name is found by, or what one search looks for. It counts as one: a
    /// name has a dozen beginnings.
    ///
    /// # Errors
    /// As [`BlindIndex::hash`].
    pub(super) fn terms<'a>(
        &self,
        terms: impl IntoIterator<Item = &'a Term>,
    ) -> Result<Vec<[u8; 32]>> {
        self.take()?;
        let hash = |term: &Term| {
            let kind = [term.kind().code()];
            self.mac(&[b"search\0", &kind, term.text().as_bytes()])
        };
        Ok(terms.into_iter().map(hash).collect())
    }

    fn take(&self) -> Result<()> {
        super::count("hash");
        let taken = self
            .bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(Instant::now());
        if taken {
            return Ok(());
        }
        metrics::counter!("bashu_blind_index_refused_total").increment(1);
        Err(Error::Overloaded)
    }

    /// A value by which a later start knows that the key is the same; `others` are bound in.
    pub(super) fn check(&self, others: [&[u8]; 2]) -> [u8; 32] {
        self.mac(&[b"check\0", others[0], others[1]])
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        Suite::OF_INDEX.mac(self.key.as_slice(), parts)
    }
}

/// What may still be taken: it fills at the rate and holds a burst.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            left: f64::from(BLIND_BURST_MAX),
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let waited: Duration = now.saturating_duration_since(self.at);
        let filled = waited.as_secs_f64() * f64::from(BLIND_PER_SECOND_MAX);
        self.left = (self.left + filled).min(f64::from(BLIND_BURST_MAX));
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A burst, then the rate, and never more than a burst after however long a pause.
    #[test]
    fn hashes_are_given_at_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let mut taken = |now: Instant, asked: u32| (0..asked).filter(|_| bucket.take(now)).count();
        let (burst, rate) = (BLIND_BURST_MAX as usize, BLIND_PER_SECOND_MAX as usize);
        assert_eq!(taken(start, BLIND_BURST_MAX + 10), burst);
        let second = start + Duration::from_secs(1);
        assert_eq!(taken(second, BLIND_BURST_MAX), rate);
        let year = second + Duration::from_secs(31_000_000);
        assert_eq!(taken(year, 2 * BLIND_BURST_MAX), burst);
    }

    /// The function that everybody calls refuses when the process has asked too often, whatever
    /// copy of the key it was asked through.
    #[test]
    fn copies_share_one_limit() {
        let index = BlindIndex::new(Zeroizing::new([1; 32]));
        let copy = index.clone();
        let sought = Sought::Address("192.0.2.1");
        let hash = index.hash(sought).unwrap();
        assert_eq!(copy.hash(sought).unwrap(), hash);
        // A minute's worth is owed: neither gives any more.
        copy.bucket.lock().unwrap().left = -f64::from(BLIND_PER_SECOND_MAX) * 60.0;
        for one in [&index, &copy] {
            assert!(matches!(one.hash(sought), Err(Error::Overloaded)));
        }
        index.bucket.lock().unwrap().left = f64::from(BLIND_BURST_MAX);
        assert_eq!(copy.hash(sought).unwrap(), hash);
    }
}
