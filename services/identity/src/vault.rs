//! The vault: what encrypts personal data and signing keys, and what finds a person by a number.
//!
//! A person's data is encrypted with a data key of her own (AES-256-GCM), which the
//! key-encryption key (KEK) outside the database wraps: without the data key the person is
//! forgotten. What a ciphertext belongs to (table, column, row) is authenticated with it, so one
//! moved to another row does not open. A number is found by HMAC-SHA-256 under a separate key,
//! also outside the database; nothing that the database holds can be tried against all numbers.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use kit::config::ConfigError;
use kit::{Error, Ids, Result};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Settings;
use crate::domain::identifier::{Document, Phone};
use crate::domain::subject::Subject;

/// The first byte of a ciphertext: the only format so far.
const FORMAT: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
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

/// A key that seals cells.
#[derive(Clone)]
pub struct SealingKey {
    id: [u8; KEY_ID_BYTES],
    cipher: Aes256Gcm,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    pub fn new(key: &[u8; 32]) -> Self {
        let hash = hmac(key, &[b"bashu key id"]);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self {
            id,
            cipher: Aes256Gcm::new(key.into()),
        }
    }

    /// Format, key id, nonce, then the ciphertext with its tag.
    ///
    /// # Errors
    /// When the plain text is longer than the cipher takes.
    pub fn seal(&self, ids: &Ids, cell: Cell, plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        ids.fill(&mut nonce);
        let aad = cell.bytes();
        let sealed = self
            .cipher
            .encrypt(
                Nonce::from_slice(&nonce),
                Payload {
                    msg: plain,
                    aad: &aad,
                },
            )
            .map_err(|_| Error::internal("a cell could not be sealed"))?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// # Errors
    /// When another key sealed it, it belongs to another cell, or a bit of it was changed.
    pub fn open(&self, cell: Cell, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let broken = || Error::internal(format!("{}.{} does not open", cell.table, cell.column));
        let (head, body) = sealed.split_at_checked(HEAD_BYTES).ok_or_else(broken)?;
        if head[0] != FORMAT || head[1..=KEY_ID_BYTES] != self.id {
            return Err(broken());
        }
        let aad = cell.bytes();
        let nonce = Nonce::from_slice(&head[1 + KEY_ID_BYTES..]);
        self.cipher
            .decrypt(
                nonce,
                Payload {
                    msg: body,
                    aad: &aad,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| broken())
    }

    /// As [`SealingKey::open`], for text.
    ///
    /// # Errors
    /// As [`SealingKey::open`], or when it is no text.
    pub fn open_text(&self, cell: Cell, sealed: &[u8]) -> Result<String> {
        String::from_utf8(self.open(cell, sealed)?.to_vec())
            .map_err(|_| Error::internal(format!("{}.{} is no text", cell.table, cell.column)))
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
    kek: SealingKey,
    blind: Zeroizing<[u8; 32]>,
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
        let all = [&kek, &blind, &code, &idtag];
        let repeated = (1..all.len()).any(|at| all[..at].contains(&all[at]));
        if repeated {
            return Err(ConfigError::new(
                "identity.kek",
                "two keys of this section are the same",
            ));
        }
        Ok(Self {
            kek: SealingKey::new(&kek),
            blind,
            code,
            idtag,
        })
    }

    /// The vault with the keys of the settings.
    ///
    /// # Errors
    /// As [`Vault::new`].
    pub fn of(settings: &Settings) -> std::result::Result<Self, ConfigError> {
        Self::new(VaultKeys {
            kek: &settings.kek,
            blind_index_key: &settings.blind_index_key,
            code_key: &settings.code_key,
            idtag_key: &settings.idtag_key,
        })
    }

    pub fn kek(&self) -> &SealingKey {
        &self.kek
    }

    /// The key of document tags in credentials.
    pub fn idtag_key(&self) -> &[u8] {
        self.idtag.as_slice()
    }

    /// What a document is found by.
    pub fn blind_document(&self, document: &Document) -> [u8; 32] {
        let kind = [document.kind().code()];
        hmac(
            self.blind.as_slice(),
            &[b"document\0", &kind, document.number().as_bytes()],
        )
    }

    /// What a phone is found by.
    pub fn blind_phone(&self, phone: &Phone) -> [u8; 32] {
        hmac(
            self.blind.as_slice(),
            &[b"phone\0", phone.as_str().as_bytes()],
        )
    }

    /// What is found by whom another party names.
    pub fn blind_subject(&self, subject: &Subject) -> [u8; 32] {
        hmac(
            self.blind.as_slice(),
            &[
                b"subject\0",
                subject.kind().as_str().as_bytes(),
                b"\0",
                subject.text().as_bytes(),
            ],
        )
    }

    /// What an address is counted by.
    pub fn blind_address(&self, address: &str) -> [u8; 32] {
        hmac(self.blind.as_slice(), &[b"address\0", address.as_bytes()])
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

    /// A value by which a later start knows that the blind index key is the same.
    pub fn blind_check(&self) -> [u8; 32] {
        let code = hmac(self.code.as_slice(), &[b"check"]);
        let idtag = hmac(self.idtag.as_slice(), &[b"check"]);
        hmac(self.blind.as_slice(), &[b"check\0", &code, &idtag])
    }

    /// A new data key, and as it is stored.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub fn new_data_key(&self, ids: &Ids, member: Uuid) -> Result<(SealingKey, Vec<u8>)> {
        let key = Zeroizing::new(ids.bytes32());
        let wrapped = self.kek.seal(ids, data_key_cell(member), key.as_slice())?;
        Ok((SealingKey::new(&key), wrapped))
    }

    /// A person's data key.
    ///
    /// # Errors
    /// When the KEK is another one, or the wrapped key another person's.
    pub fn data_key(&self, member: Uuid, wrapped: &[u8]) -> Result<SealingKey> {
        Ok(SealingKey::new(
            &*self.kek.unwrap_key(data_key_cell(member), wrapped)?,
        ))
    }
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

/// HMAC-SHA-256 over the parts, one after the other.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes any key length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
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
            blind_index_key: &secret(2),
            code_key: &secret(3),
            idtag_key: &secret(4),
        })
        .unwrap()
    }

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
                .unwrap(),
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
            blind_index_key,
            code_key: &short,
            idtag_key: &short,
        };
        let (one, two) = (secret(1), secret(2));
        let error = Vault::new(keys(&one, &two)).unwrap_err();
        assert_eq!(error.field, "identity.code_key");
        let same = VaultKeys {
            kek: &one,
            blind_index_key: &one,
            code_key: &two,
            idtag_key: &two,
        };
        assert_eq!(Vault::new(same).unwrap_err().field, "identity.kek");
    }
}
