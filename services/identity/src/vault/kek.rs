//! The key-encrypting keys (KEK): one seals, those beside it only open what they have sealed
//! before. A ciphertext names its KEK, so that while one follows another both are read.

use std::fmt;

use kit::{Error, Ids, Result};
use zeroize::Zeroizing;

use super::{Cell, SealingKey};

/// Bytes of a key's id.
pub const KEY_ID_BYTES: usize = 4;

/// The id of a key that seals: it follows from the key, and tells nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub(super) [u8; KEY_ID_BYTES]);

impl KeyId {
    /// As a row keeps it.
    pub const fn bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }

    /// Out of a row; `None` when it is none.
    pub fn stored(bytes: &[u8]) -> Option<Self> {
        <[u8; KEY_ID_BYTES]>::try_from(bytes).map(Self).ok()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The KEKs of a process.
#[derive(Clone)]
pub struct Keks {
    current: SealingKey,
    others: Vec<SealingKey>,
}

impl fmt::Debug for Keks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keks")
    }
}

impl Keks {
    pub(super) const fn new(current: SealingKey, others: Vec<SealingKey>) -> Self {
        Self { current, others }
    }

    /// The one that seals.
    pub const fn current(&self) -> KeyId {
        self.current.id()
    }

    /// Whether what this key has sealed can be opened.
    pub fn knows(&self, id: KeyId) -> bool {
        self.named(id).is_some()
    }

    /// As [`SealingKey::seal`], with the current one.
    ///
    /// # Errors
    /// As [`SealingKey::seal`].
    pub fn seal(&self, ids: &Ids, cell: Cell, plain: &[u8]) -> Result<Vec<u8>> {
        self.current.seal(ids, cell, plain)
    }

    /// As [`SealingKey::open`], with the one that sealed it.
    ///
    /// # Errors
    /// As [`SealingKey::open`], or when that KEK is not configured.
    pub fn open(&self, cell: Cell, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.of(cell, sealed)?.open(cell, sealed)
    }

    /// As [`SealingKey::open_text`], with the one that sealed it.
    ///
    /// # Errors
    /// As [`Keks::open`], or when it is no text.
    pub fn open_text(&self, cell: Cell, sealed: &[u8]) -> Result<Zeroizing<String>> {
        self.of(cell, sealed)?.open_text(cell, sealed)
    }

    /// As [`SealingKey::unwrap_key`], with the one that sealed it.
    ///
    /// # Errors
    /// As [`Keks::open`], or when it is no key.
    pub fn unwrap_key(&self, cell: Cell, sealed: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        self.of(cell, sealed)?.unwrap_key(cell, sealed)
    }

    /// The same plain text of the same cell, sealed by the current one.
    ///
    /// # Errors
    /// As [`Keks::open`].
    pub fn rewrap(&self, ids: &Ids, cell: Cell, sealed: &[u8]) -> Result<Vec<u8>> {
        self.current.seal(ids, cell, &self.open(cell, sealed)?)
    }

    fn named(&self, id: KeyId) -> Option<&SealingKey> {
        std::iter::once(&self.current)
            .chain(&self.others)
            .find(|key| key.id() == id)
    }

    fn of(&self, cell: Cell, sealed: &[u8]) -> Result<&SealingKey> {
        sealed
            .get(1..=KEY_ID_BYTES)
            .and_then(KeyId::stored)
            .and_then(|id| self.named(id))
            .ok_or_else(|| {
                let (table, column) = (cell.table, cell.column);
                Error::internal(format!("no configured KEK has sealed {table}.{column}"))
            })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::suite::Suite;
    use super::*;

    const CELL: Cell = Cell::new("person", "data_key", Uuid::nil());

    /// While one key follows another both open; what is sealed anew is under the new one, and
    /// belongs to the same cell.
    #[test]
    fn one_kek_follows_another() {
        let ids = Ids::seeded(1);
        let (old, new) = (SealingKey::new(&[1; 32]), SealingKey::new(&[2; 32]));
        let before = Keks::new(old.clone(), Vec::new());
        let between = Keks::new(new.clone(), vec![old]);
        let after = Keks::new(new, Vec::new());
        let sealed = before.seal(&ids, CELL, &[7; 32]).unwrap();
        assert!(after.open(CELL, &sealed).is_err(), "it is not known there");
        let wrapped = between.rewrap(&ids, CELL, &sealed).unwrap();
        for keks in [&between, &after] {
            assert_eq!(*keks.unwrap_key(CELL, &wrapped).unwrap(), [7; 32]);
        }
        assert_eq!(*between.unwrap_key(CELL, &sealed).unwrap(), [7; 32]);
        assert!(before.open(CELL, &wrapped).is_err());
        let other = Cell::new("person", "data_key", Uuid::from_u128(1));
        assert!(between.rewrap(&ids, other, &sealed).is_err());
        assert!(between.open(CELL, &sealed[..3]).is_err());
    }

    /// What was sealed while another suite was current opens, and is the current one's when it was
    /// sealed anew.
    #[test]
    fn sealing_anew_moves_to_the_current_suite() {
        let ids = Ids::seeded(1);
        let [old, new] = [[1; 32], [2; 32]].map(|key| SealingKey::new(&key));
        let before = Keks::new(old.clone(), Vec::new());
        let [old, new] = [old, new].map(|key| key.sealing_by(Suite::Next));
        let between = Keks::new(new, vec![old]);
        let sealed = before.seal(&ids, CELL, &[7; 32]).unwrap();
        let wrapped = between.rewrap(&ids, CELL, &sealed).unwrap();
        let suites = [&sealed, &wrapped].map(|it| Suite::of(it[0]));
        assert_eq!(suites, [Some(Suite::CURRENT), Some(Suite::Next)]);
        for it in [&sealed, &wrapped] {
            assert_eq!(*between.unwrap_key(CELL, it).unwrap(), [7; 32]);
        }
    }
}
