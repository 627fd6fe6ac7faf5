//! The unions' key sets as the replica keeps them: believed when their root signed them, and held
//! in memory for whoever verifies. It decides nothing about which set replaces which.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use credential::keyset::{Issuer, KeySet, KeyState, Purpose, SignedKeySet, TestIssuer};
use sea_orm::FromQueryResult;
use tokio_util::sync::CancellationToken;

use super::Roots;
use crate::token::{AccessKey, AccessKeys};
use crate::types::Union;
use crate::{Ctx, Db, Error, Result};

#[derive(FromQueryResult)]
pub(super) struct KeySetRow {
    issuer: i16,
    bytes: Vec<u8>,
    signature: Vec<u8>,
}

pub(super) fn signed(bytes: Vec<u8>, signature: &[u8]) -> Result<SignedKeySet> {
    let root_signature = signature
        .try_into()
        .map_err(|_| Error::permanent("a root signature is not 64 bytes"))?;
    Ok(SignedKeySet {
        bytes,
        root_signature,
    })
}

/// The set, if the root of the issuer it names has signed it. Each root is tried: the issuer is
/// known only once a signature holds.
pub(super) fn verify(roots: &Roots, signed: &SignedKeySet) -> Result<KeySet> {
    for (issuer, root) in roots {
        if let Ok(set) = signed.verify(root, TestIssuer::Refuse)
            && set.issuer() == *issuer
        {
            return Ok(set);
        }
    }
    Err(Error::permanent(
        "no root that we know has signed this key set",
    ))
}

/// A set as it is kept here, if it is still what its root signed. One that is not gives no keys and
/// an alarm, and leaves the sets of other issuers alone; identity's next set takes its place.
pub(super) fn believed(roots: &Roots, row: KeySetRow) -> Option<KeySet> {
    let issuer = row.issuer;
    let set = signed(row.bytes, &row.signature).and_then(|signed| verify(roots, &signed));
    let problem = match set {
        Ok(set) if i16::from(set.issuer().nibble()) == issuer => return Some(set),
        Ok(_) => Error::internal("a key set is kept under another issuer"),
        Err(error) => error,
    };
    metrics::counter!("bashu_key_sets_disbelieved_total", "issuer" => issuer.to_string())
        .increment(1);
    tracing::error!(issuer, error = %problem, "a stored key set is not believed");
    None
}

/// The key sets a service verifies with, read from its replica and held in memory.
#[derive(Clone)]
pub struct Keys {
    roots: Roots,
    union: Union,
    held: Arc<RwLock<BTreeMap<Issuer, Arc<KeySet>>>>,
    access: AccessKeys,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("issuers", &self.roots.keys())
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// No keys yet: see [`Keys::load`].
    pub fn new(union: Union, roots: Roots) -> Self {
        Self {
            roots,
            union,
            held: Arc::default(),
            access: AccessKeys::default(),
        }
    }

    /// The keys that verify access tokens of the own union, kept up to date by [`Keys::load`].
    pub fn access(&self) -> &AccessKeys {
        &self.access
    }

    /// Reads the sets from the replica; called every second, and when a key is not known.
    ///
    /// # Errors
    /// When the database fails. A stored set that no root signed gives no keys and an alarm.
    pub async fn load(&self, db: &Db) -> Result<()> {
        let rows = db
            .all::<KeySetRow>("SELECT issuer, bytes, signature FROM replica_key_set", [])
            .await?;
        let sets: BTreeMap<Issuer, Arc<KeySet>> = rows
            .into_iter()
            .filter_map(|row| believed(&self.roots, row))
            .map(|set| (set.issuer(), Arc::new(set)))
            .collect();
        let own = sets
            .values()
            .find(|set| set.issuer().nibble() == self.union.issuer());
        self.access
            .replace(own.into_iter().flat_map(|set| access_keys(set)));
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = sets;
        Ok(())
    }

    /// The newest set of an issuer.
    pub fn of(&self, issuer: Issuer) -> Option<Arc<KeySet>> {
        self.held
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&issuer)
            .cloned()
    }
}

/// The keys of a set that verify access tokens, under the names that tokens give them.
fn access_keys(set: &KeySet) -> Vec<AccessKey> {
    set.keys()
        .iter()
        .filter(|key| key.purpose == Purpose::Access && key.state != KeyState::Revoked)
        .map(|key| AccessKey {
            kid: key.kid.to_string(),
            public: key.public.to_bytes(),
            not_before: key.not_before,
            not_after: key.not_after,
        })
        .collect()
}

/// How often the key sets are read again, in milliseconds: a revoked key is dead this much later.
const LOAD_MS: u64 = 1_000;

/// Keeps `keys` up to date until `stop`.
///
/// # Errors
/// When the database fails.
pub async fn keys_loop(ctx: Ctx, keys: Keys, stop: CancellationToken) -> Result<()> {
    while !stop.is_cancelled() {
        keys.load(&ctx.db).await?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(LOAD_MS)) => {}
        }
    }
    Ok(())
}
