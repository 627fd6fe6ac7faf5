//! The vault: what encrypts personal data and signing keys, and what finds a person by a number.
//!
//! A person's data is encrypted with a data key of her own ([`suite`] says how), which a
//! key-encrypting key (KEK) outside the database wraps: without the data key the person is
//! forgotten. What a ciphertext belongs to (table, column, row) is authenticated with it, so one
//! moved to another row does not open. A number is found by a keyed hash under a separate key,
//! also outside the database; nothing that the database holds can be tried against all numbers.
//! What was opened is wiped when it is dropped.

pub mod blind;
pub mod guarded;
pub mod kek;
pub mod suite;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{Datelike, NaiveDate};
use kit::config::ConfigError;
use kit::{Error, Ids, Result};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;
use zeroize::Zeroizing;

use self::blind::{BlindIndex, Sought};
use self::kek::{KEY_ID_BYTES, Keks, KeyId};
use self::suite::{NONCE_BYTES, Suite};
use crate::domain::identifier::{Document, Phone};
use crate::domain::search::Term;
use crate::domain::subject::Subject;
use crate::domain::verification::Claim;

const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// Which cell of which row a ciphertext belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub table: &'static str,
    pub column: &'static str,
    pub row: Uuid,
}

impl Cell {
    pub const fn new(table: &'static str, column: &'static str, row: Uuid) -> Self {
        Self { table, column, row }
    }

    fn bytes(self) -> Vec<u8> {
        format!("{}/{}/{}", self.table, self.column, self.row.simple()).into_bytes()
    }
}

/// A key that seals cells, by the current suite, and opens what any suite has sealed by it.
#[derive(Clone)]
pub struct SealingKey {
    id: KeyId,
    key: Zeroizing<[u8; 32]>,
    suite: Suite,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    pub fn new(key: &[u8; 32]) -> Self {
        let hash = Suite::OF_KEY_IDS.mac(key, &[b"bashu key id"]);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self {
            id: KeyId(id),
            key: Zeroizing::new(*key),
            suite: Suite::CURRENT,
        }
    }

    /// The same key, were this suite the current one.
    #[cfg(test)]
    fn sealing_by(self, suite: Suite) -> Self {
        Self { suite, ..self }
    }

    /// What its ciphertexts name it by.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Suite, key id, nonce, then the ciphertext with its tag.
    ///
    /// # Errors
    /// When the plain text is longer than the cipher takes.
    pub fn seal(&self, ids: &Ids, cell: Cell, plain: &[u8]) -> Result<Vec<u8>> {
        count("seal");
        let mut nonce = [0; NONCE_BYTES];
        ids.fill(&mut nonce);
        let sealed = self
            .suite
            .cipher(&self.key)
            .seal(&nonce, &cell.bytes(), plain)
            .ok_or_else(|| Error::internal("a cell could not be sealed"))?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + sealed.len());
        bytes.push(self.suite.code());
        bytes.extend_from_slice(self.id.bytes());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// # Errors
    /// When another key sealed it, it belongs to another cell, or a bit of it was changed.
    pub fn open(&self, cell: Cell, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        count("open");
        let broken = || Error::internal(format!("{}.{} does not open", cell.table, cell.column));
        let (head, body) = sealed
            .split_first_chunk::<HEAD_BYTES>()
            .ok_or_else(broken)?;
        let suite = Suite::of(head[0]).ok_or_else(broken)?;
        if head[1..=KEY_ID_BYTES] != *self.id.bytes() {
            return Err(broken());
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&head[1 + KEY_ID_BYTES..]);
        suite
            .cipher(&self.key)
            .open(&nonce, &cell.bytes(), body)
            .map(Zeroizing::new)
            .ok_or_else(broken)
    }

    /// As [`SealingKey::open`], for text.
    ///
    /// # Errors
    /// As [`SealingKey::open`], or when it is no text.
    pub fn open_text(&self, cell: Cell, sealed: &[u8]) -> Result<Zeroizing<String>> {
        let plain = std::mem::take(&mut *self.open(cell, sealed)?);
        String::from_utf8(plain)
            .map(Zeroizing::new)
            .map_err(|error| {
                drop(Zeroizing::new(error.into_bytes()));
                Error::internal(format!("{}.{} is no text", cell.table, cell.column))
            })
    }

    /// Opens a key that this key has wrapped.
    ///
    /// # Errors
    /// As [`SealingKey::open`], or when it is no key.
    pub fn unwrap_key(&self, cell: Cell, sealed: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let plain = self.open(cell, sealed)?;
        <[u8; 32]>::try_from(plain.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| Error::internal(format!("{}.{} is no key", cell.table, cell.column)))
    }
}

/// The keys that are kept outside the database.
#[derive(Clone)]
pub struct Vault {
    keks: Keks,
    blind: BlindIndex,
    code: Zeroizing<[u8; 32]>,
    idtag: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// The keys as they are configured, each 32 bytes in base64.
#[derive(Clone, Copy, Debug)]
pub struct VaultKeys<'a> {
    pub kek: &'a SecretString,
    /// What was sealed under these is still opened.
    pub other_keks: &'a [SecretString],
    pub blind_index_key: &'a SecretString,
    pub code_key: &'a SecretString,
    pub idtag_key: &'a SecretString,
}

impl Vault {
    /// # Errors
    /// Names the key that is not 32 bytes in base64, or that is used for two things.
    pub fn new(keys: VaultKeys<'_>) -> std::result::Result<Self, ConfigError> {
        let kek = key_of("identity.kek", keys.kek)?;
        let blind = key_of("identity.blind_index_key", keys.blind_index_key)?;
        let code = key_of("identity.code_key", keys.code_key)?;
        let idtag = key_of("identity.idtag_key", keys.idtag_key)?;
        let others = keys
            .other_keks
            .iter()
            .map(|text| key_of("identity.other_keks", text))
            .collect::<std::result::Result<Vec<_>, ConfigError>>()?;
        let mut all = vec![&kek, &blind, &code, &idtag];
        all.extend(&others);
        let repeated = (1..all.len()).any(|at| all[..at].contains(&all[at]));
        if repeated {
            return Err(ConfigError::new(
                "identity.kek",
                "two keys of this section are the same",
            ));
        }
        let others = others.iter().map(|key| SealingKey::new(key)).collect();
        Ok(Self {
            keks: Keks::new(SealingKey::new(&kek), others),
            blind: BlindIndex::new(blind),
            code,
            idtag,
        })
    }

    /// What wraps data keys and signing keys.
    pub const fn kek(&self) -> &Keks {
        &self.keks
    }

    /// The key of document tags in credentials.
    pub fn idtag_key(&self) -> &[u8] {
        self.idtag.as_slice()
    }

    /// What a document is found by.
    ///
    /// # Errors
    /// Overloaded, when the process looks for too many ([`blind::BLIND_PER_SECOND_MAX`]).
    pub fn blind_document(&self, document: &Document) -> Result<[u8; 32]> {
        self.blind.hash(Sought::Document(document))
    }

    /// What a phone is found by.
    ///
    /// # Errors
    /// As [`Vault::blind_document`].
    pub fn blind_phone(&self, phone: &Phone) -> Result<[u8; 32]> {
        self.blind.hash(Sought::Phone(phone))
    }

    /// What beginnings of a name, or all of it, are found by: the first 64 bits, so that the index
    /// of all of them stays small.
    ///
    /// # Errors
    /// As [`Vault::blind_document`]; a call counts as one.
    pub fn blind_terms<'a>(&self, terms: impl IntoIterator<Item = &'a Term>) -> Result<Vec<i64>> {
        let first_eight =
            |[a, b, c, d, e, f, g, h, ..]: [u8; 32]| i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let hashes = self.blind.terms(terms)?;
        Ok(hashes.into_iter().map(first_eight).collect())
    }

    /// What is found by whom another party names.
    ///
    /// # Errors
    /// As [`Vault::blind_document`].
    pub fn blind_subject(&self, subject: &Subject) -> Result<[u8; 32]> {
        self.blind.hash(Sought::Subject(subject))
    }

    /// What an address is counted by.
    ///
    /// # Errors
    /// As [`Vault::blind_document`].
    pub fn blind_address(&self, address: &str) -> Result<[u8; 32]> {
        self.blind.hash(Sought::Address(address))
    }

    /// What the digits of a login code follow from.
    pub fn code_hash(&self, code: Uuid, phone: &[u8; 32]) -> [u8; 32] {
        hmac(
            self.code.as_slice(),
            &[b"login code\0", code.as_bytes(), phone],
        )
    }

    /// What a recovery code is known by: the code itself is kept nowhere.
    pub fn recovery_hash(&self, member: Uuid, code: &str) -> [u8; 32] {
        hmac(
            self.code.as_slice(),
            &[b"recovery code\0", member.as_bytes(), code.as_bytes()],
        )
    }

    /// What a 网号 is found by.
    ///
    /// # Errors
    /// As [`Vault::blind_document`].
    pub fn blind_network(&self, id: &str) -> Result<[u8; 32]> {
        self.blind.hash(Sought::Network(id))
    }

    /// What a claim is known by that comes again under the same key.
    pub fn claim_hash(&self, member: Uuid, claim: &Claim) -> [u8; 32] {
        let text = claim.text();
        hmac(
            self.code.as_slice(),
            &[b"claim\0", member.as_bytes(), text.as_bytes()],
        )
    }

    /// What claims of one document from one address are counted by on a day: neither is found by
    /// it, and it is another one the next day.
    pub fn claims_hash(
        &self,
        (document, address): (&[u8; 32], &[u8; 32]),
        day: NaiveDate,
    ) -> [u8; 32] {
        let day = day.num_days_from_ce().to_be_bytes();
        hmac(
            self.code.as_slice(),
            &[b"claims of a day\0", &day, document, address],
        )
    }

    /// A value by which a later start knows that the blind index key is the same.
    pub fn blind_check(&self) -> [u8; 32] {
        let code = hmac(self.code.as_slice(), &[b"check"]);
        let idtag = hmac(self.idtag.as_slice(), &[b"check"]);
        self.blind.check([&code, &idtag])
    }

    /// A new data key, and as it is stored.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub fn new_data_key(&self, ids: &Ids, member: Uuid) -> Result<(SealingKey, Vec<u8>)> {
        let key = Zeroizing::new(ids.bytes32());
        let wrapped = self.keks.seal(ids, data_key_cell(member), key.as_slice())?;
        Ok((SealingKey::new(&key), wrapped))
    }

    /// A person's data key.
    ///
    /// # Errors
    /// When the KEK is another one, or the wrapped key another person's.
    pub fn data_key(&self, member: Uuid, wrapped: &[u8]) -> Result<SealingKey> {
        Ok(SealingKey::new(
            &*self.keks.unwrap_key(data_key_cell(member), wrapped)?,
        ))
    }
}

/// Counts work of the vault: who has people opened in bulk shows, and tests compare by it what is
/// done for a wrong name and for a wrong number.
fn count(what: &'static str) {
    metrics::counter!("bashu_vault_operations_total", "what" => what).increment(1);
}

const fn data_key_cell(member: Uuid) -> Cell {
    Cell::new("person", "data_key", member)
}

fn key_of(
    field: &'static str,
    text: &SecretString,
) -> std::result::Result<Zeroizing<[u8; 32]>, ConfigError> {
    let bytes = STANDARD
        .decode(text.expose_secret().trim())
        .map(Zeroizing::new);
    bytes
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok())
        .map(Zeroizing::new)
        .ok_or_else(|| ConfigError::new(field, "must be 32 bytes in base64"))
}

/// HMAC-SHA-256 over the parts, one after the other, whatever suite is current.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    Suite::OF_INDEX.mac(key, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> SecretString {
        STANDARD.encode([byte; 32]).into()
    }

    fn vault(kek: u8) -> Vault {
        Vault::new(VaultKeys {
            kek: &secret(kek),
            other_keks: &[],
            blind_index_key: &secret(2),
            code_key: &secret(3),
            idtag_key: &secret(4),
        })
        .unwrap()
    }

    /// ASVS V11.3.3.
    #[test]
    fn a_ciphertext_opens_in_its_own_cell_only() {
        let ids = Ids::seeded(1);
        let key = SealingKey::new(&[9; 32]);
        let row = Uuid::from_u128(1);
        let sealed = key
            .seal(&ids, Cell::new("person", "name", row), "张三".as_bytes())
            .unwrap();
        assert_eq!(
            key.open_text(Cell::new("person", "name", row), &sealed)
                .unwrap()
                .as_str(),
            "张三"
        );
        for cell in [
            Cell::new("person", "name", Uuid::from_u128(2)),
            Cell::new("person", "phone", row),
            Cell::new("document", "name", row),
        ] {
            assert!(key.open(cell, &sealed).is_err(), "{cell:?}");
        }
        let other = SealingKey::new(&[8; 32]);
        assert!(
            other
                .open(Cell::new("person", "name", row), &sealed)
                .is_err()
        );
    }

    /// ASVS V11.3.2.
    #[test]
    fn every_changed_bit_is_noticed() {
        let ids = Ids::seeded(1);
        let key = SealingKey::new(&[9; 32]);
        let cell = Cell::new("person", "name", Uuid::from_u128(1));
        let sealed = key.seal(&ids, cell, b"x").unwrap();
        for at in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(key.open(cell, &changed).is_err(), "bit {at}");
        }
        assert!(key.open(cell, &sealed[..10]).is_err());
    }

    #[test]
    fn another_kek_or_another_person_opens_no_data_key() {
        let ids = Ids::seeded(1);
        let member = Uuid::from_u128(1);
        let (_, wrapped) = vault(1).new_data_key(&ids, member).unwrap();
        assert!(vault(1).data_key(member, &wrapped).is_ok());
        assert!(vault(7).data_key(member, &wrapped).is_err());
        assert!(vault(1).data_key(Uuid::from_u128(2), &wrapped).is_err());
    }

    #[test]
    fn a_bad_or_repeated_key_is_refused_by_name() {
        let short = SecretString::from("AAAA");
        let keys = |kek, blind_index_key| VaultKeys {
            kek,
            other_keks: &[],
            blind_index_key,
            code_key: &short,
            idtag_key: &short,
        };
        let (one, two) = (secret(1), secret(2));
        let error = Vault::new(keys(&one, &two)).unwrap_err();
        assert_eq!(error.field, "identity.code_key");
        let same = VaultKeys {
            kek: &one,
            other_keks: &[],
            blind_index_key: &one,
            code_key: &two,
            idtag_key: &two,
        };
        assert_eq!(Vault::new(same).unwrap_err().field, "identity.kek");
        let others = [one.clone()];
        let repeated = VaultKeys {
            other_keks: &others,
            blind_index_key: &two,
            code_key: &secret(3),
            idtag_key: &secret(4),
            ..same
        };
        assert_eq!(Vault::new(repeated).unwrap_err().field, "identity.kek");
        let others = [short.clone()];
        let unreadable = VaultKeys {
            other_keks: &others,
            ..repeated
        };
        let field = Vault::new(unreadable).unwrap_err().field;
        assert_eq!(field, "identity.other_keks");
    }
}
