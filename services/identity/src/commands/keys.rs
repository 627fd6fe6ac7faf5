//! Signing keys: made, announced by a key set that the offline root signs, and replaced.
//!
//! The root is a file outside every database, and signs nothing but key sets. `rotate` needs
//! only the service's own keys; `publish` is the one act that needs the root at hand.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use credential::keyset::{Algorithm, Key, KeySet, KeyState, Purpose as SetPurpose, SignedKeySet};
use ed25519_dalek::{SigningKey, VerifyingKey};
use kit::audit::AuditRow;
use kit::{Ctx, Error, Ids, Result, Tx};
use zeroize::Zeroizing;

use crate::domain::keys::{self, Purpose, Span, State};
use crate::publish;
use crate::signing;
use crate::store::keys::{self as store, KeyRow, SetRow};
use crate::vault::Vault;

/// Makes the offline root: a file of 32 bytes in base64 that only its owner reads.
///
/// # Errors
/// When the file is there already, or cannot be written.
pub fn init_root(path: &Path, ids: &Ids) -> std::io::Result<VerifyingKey> {
    let secret = Zeroizing::new(ids.bytes32());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let text = Zeroizing::new(STANDARD.encode(secret.as_slice()));
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(SigningKey::from_bytes(&secret).verifying_key())
}

/// Reads the root that [`init_root`] made.
///
/// # Errors
/// When the file cannot be read, or is no root.
pub fn read_root(path: &Path) -> std::io::Result<SigningKey> {
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not a root key file");
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| invalid())?);
    let secret = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| invalid())?;
    Ok(SigningKey::from_bytes(&Zeroizing::new(secret)))
}

/// Makes the next key of a purpose; it signs after it was announced for long enough, and the one
/// before it ends when its last signatures have. [`publish`] must follow.
///
/// # Errors
/// When the database fails.
pub async fn rotate(ctx: &Ctx, vault: &Vault, purpose: Purpose) -> Result<Span> {
    ctx.db
        .tx("rotate_key", async |tx| {
            store::lock(tx).await?;
            rotate_in(tx, vault, purpose).await
        })
        .await
}

async fn rotate_in(tx: &Tx, vault: &Vault, purpose: Purpose) -> Result<Span> {
    let spans: Vec<Span> = store::all(tx).await?.iter().map(|key| key.span).collect();
    let rotation = keys::rotate(&spans, purpose, tx.now());
    let secret = Zeroizing::new(tx.ids().bytes32());
    let cell = signing::private_cell(rotation.new.number);
    let row = KeyRow {
        span: rotation.new,
        public: SigningKey::from_bytes(&secret).verifying_key().to_bytes(),
        private: vault.kek().seal(tx.ids(), cell, secret.as_slice())?,
    };
    store::insert(tx, &row).await?;
    for span in &rotation.shortened {
        store::save(tx, span).await?;
    }
    tx.audit(
        AuditRow::system("rotate_key", rotation.new.number).detail(serde_json::json!({
            "purpose": purpose.as_str(),
        })),
    );
    Ok(rotation.new)
}

/// Takes a key back at once: what it signed is believed no more, once published.
///
/// # Errors
/// Not found, when there is no such key.
pub async fn revoke(ctx: &Ctx, number: u16, reason: &str) -> Result<()> {
    ctx.db
        .tx("revoke_key", async |tx| {
            store::lock(tx).await?;
            let key = store::all(tx)
                .await?
                .into_iter()
                .find(|key| key.span.number == number)
                .ok_or(Error::NotFound)?;
            store::save(
                tx,
                &Span {
                    state: State::Revoked,
                    ..key.span
                },
            )
            .await?;
            let detail = serde_json::json!({ "reason": reason });
            tx.audit(AuditRow::system("revoke_key", number).detail(detail));
            Ok(())
        })
        .await
}

/// Signs the keys as they are now with the root and tells everyone. The version of the set, which
/// stays when nothing has changed.
///
/// # Errors
/// When the database fails, or the keys make no set.
pub async fn publish(ctx: &Ctx, root: &SigningKey) -> Result<i64> {
    ctx.db
        .tx("publish_keys", async |tx| {
            store::lock(tx).await?;
            publish_in(ctx, tx, root).await
        })
        .await
}

async fn publish_in(ctx: &Ctx, tx: &Tx, root: &SigningKey) -> Result<i64> {
    let rows = store::all(tx).await?;
    let mut public = Vec::with_capacity(rows.len());
    for row in rows {
        let span = retired_when_followed(tx, row.span).await?;
        public.push(set_key(ctx, &KeyRow { span, ..row })?);
    }
    let held = store::newest_set(tx).await?;
    let held_version = held.as_ref().map_or(0, |held| held.version);
    if let Some(held) = &held
        && signed(ctx, root, held_version, public.clone())?.bytes == held.bytes
    {
        return Ok(held_version);
    }
    let version = held_version + 1;
    let signed = signed(ctx, root, version, public)?;
    let set = SetRow {
        issuer: ctx.union.issuer().into(),
        version,
        bytes: signed.bytes,
        signature: signed.root_signature.to_vec(),
    };
    store::insert_set(tx, &set).await?;
    tx.emit(publish::key_set(ctx.union, &set));
    tx.audit(AuditRow::system("publish_keys", version));
    Ok(version)
}

fn signed(ctx: &Ctx, root: &SigningKey, version: i64, keys: Vec<Key>) -> Result<SignedKeySet> {
    let version = u64::try_from(version).unwrap_or_default();
    KeySet::new(version, signing::issuer(ctx.union), keys)
        .map(|set| set.sign(root))
        .map_err(|why| Error::internal(why.to_string()))
}

/// A key that a younger one has followed signs no more.
async fn retired_when_followed(tx: &Tx, span: Span) -> Result<Span> {
    if span.state != State::Active {
        return Ok(span);
    }
    let spans: Vec<Span> = store::all(tx).await?.iter().map(|key| key.span).collect();
    let follower = keys::signing_key(&spans, span.purpose, tx.now());
    if follower.is_none_or(|follower| follower.not_before <= span.not_before) {
        return Ok(span);
    }
    let span = Span {
        state: State::Retired,
        ..span
    };
    store::save(tx, &span).await?;
    Ok(span)
}

fn set_key(ctx: &Ctx, row: &KeyRow) -> Result<Key> {
    Ok(Key {
        kid: signing::key_id(ctx.union, row.span.number)?,
        algorithm: Algorithm::Ed25519,
        public: VerifyingKey::from_bytes(&row.public)
            .map_err(|_| Error::internal("a public key is none"))?,
        purpose: match row.span.purpose {
            Purpose::Entry => SetPurpose::Entry,
            Purpose::Access => SetPurpose::Access,
        },
        not_before: row.span.not_before,
        not_after: row.span.not_after,
        scopes: std::collections::BTreeSet::new(),
        state: match row.span.state {
            State::Active => KeyState::Active,
            State::Retired => KeyState::Retired,
            State::Revoked => KeyState::Revoked,
        },
    })
}

/// Makes the keys that are due and publishes what is new: for a stack whose root is at hand.
///
/// # Errors
/// When the database fails, or the keys make no set.
pub async fn maintain(ctx: &Ctx, vault: &Vault, root: &SigningKey) -> Result<i64> {
    ctx.db
        .tx("maintain_keys", async |tx| {
            store::lock(tx).await?;
            for purpose in Purpose::ALL {
                let spans: Vec<Span> = store::all(tx).await?.iter().map(|key| key.span).collect();
                if keys::is_due(&spans, purpose, tx.now()) {
                    rotate_in(tx, vault, purpose).await?;
                }
            }
            publish_in(ctx, tx, root).await
        })
        .await
}

/// All signing keys there ever were.
///
/// # Errors
/// When the database fails.
pub async fn list(ctx: &Ctx) -> Result<Vec<Span>> {
    ctx.db
        .read("list_keys", async |tx| {
            Ok(store::all(tx)
                .await?
                .into_iter()
                .map(|key| key.span)
                .collect())
        })
        .await
}
