//! The private halves of signing keys: unsealed for one signature and forgotten again.

use credential::keyset::{Issuer, KeyId};
use ed25519_dalek::SigningKey;
use kit::types::Union;
use kit::{Error, Result, Tx};
use uuid::Uuid;

use crate::domain::keys::{Purpose, Span, signing_key};
use crate::domain::mint::Signer;
use crate::store::keys::{self as store, KeyRow};
use crate::vault::{Cell, Vault};

/// The issuer of a union's credentials and key sets.
pub const fn issuer(union: Union) -> Issuer {
    match union {
        Union::Chongqing => Issuer::Chongqing,
        Union::Sichuan => Issuer::Sichuan,
    }
}

/// A key's id as it stands in credentials and, as text, in access tokens.
///
/// # Errors
/// When the numbers are used up.
pub fn key_id(union: Union, number: u16) -> Result<KeyId> {
    KeyId::new(issuer(union), number).ok_or_else(|| Error::internal("key numbers are used up"))
}

/// Which cell a private half belongs to: keys have numbers, not ids.
pub(crate) fn private_cell(number: u16) -> Cell {
    Cell::new(
        "signing_key",
        "private",
        Uuid::from_u128(u128::from(number)),
    )
}

async fn load(tx: &Tx, vault: &Vault, purpose: Purpose) -> Result<(Span, SigningKey)> {
    let keys = store::all(tx).await?;
    let spans: Vec<_> = keys.iter().map(|key| key.span).collect();
    let span = signing_key(&spans, purpose, tx.now()).ok_or(Error::Unavailable(
        "no published key signs now: run `bashu keys publish`",
    ))?;
    let row = keys
        .into_iter()
        .find(|key| key.span.number == span.number)
        .ok_or_else(|| Error::internal("a signing key vanished"))?;
    open(vault, &row).map(|key| (span, key))
}

/// The private half of a key.
///
/// # Errors
/// When the KEK does not open it, or it does not fit its public half.
pub fn open(vault: &Vault, row: &KeyRow) -> Result<SigningKey> {
    let private = vault
        .kek()
        .unwrap_key(private_cell(row.span.number), &row.private)?;
    let key = SigningKey::from_bytes(&private);
    if key.verifying_key().as_bytes() == &row.public {
        Ok(key)
    } else {
        Err(Error::internal(
            "a signing key does not fit its public half",
        ))
    }
}

/// What signs access tokens now.
///
/// # Errors
/// Unavailable when no published key signs now.
pub async fn access_key(union: Union, tx: &Tx, vault: &Vault) -> Result<kit::token::SigningKey> {
    let (span, key) = load(tx, vault, Purpose::Access).await?;
    kit::token::SigningKey::new(key_id(union, span.number)?.to_string(), &key)
}

/// What signs credentials now, and until when gates believe it.
///
/// # Errors
/// Unavailable when no published key signs now.
pub async fn entry_key(union: Union, tx: &Tx, vault: &Vault) -> Result<(Signer, SigningKey)> {
    let (span, key) = load(tx, vault, Purpose::Entry).await?;
    let signer = Signer {
        kid: key_id(union, span.number)?,
        not_after: span.not_after,
    };
    Ok((signer, key))
}
