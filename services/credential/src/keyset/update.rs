//! Whether an offered key set takes the place of the one held. A set never goes back: not in
//! version, not in what it says of a key.

use std::fmt;

use super::{Key, KeyId, KeySet};

/// What to do with an offered set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// It is newer: hold it instead.
    Replace(KeySet),
    /// It is the one held, or an older one that arrived late: nothing to do.
    Keep,
}

/// Why an offered set contradicts the one held. Each is an alarm: the root signed both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// Another issuer's.
    OtherIssuer,
    /// The same version with other content.
    SameVersion,
    /// A key is gone, so that its number could be used again.
    KeyDropped(KeyId),
    /// A key id now means another key or another purpose.
    KeyReused(KeyId),
    /// A retired or revoked key is back.
    KeyRevived(KeyId),
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherIssuer => f.write_str("the offered key set is another issuer's"),
            Self::SameVersion => f.write_str("two key sets of one version differ"),
            Self::KeyDropped(kid) => write!(f, "key {kid} is missing from the newer key set"),
            Self::KeyReused(kid) => write!(f, "key id {kid} was given to another key"),
            Self::KeyRevived(kid) => write!(f, "key {kid} was retired and is back"),
        }
    }
}

impl std::error::Error for UpdateError {}

/// Compares an offered set, already verified, with the one held.
///
/// # Errors
/// When both cannot be true of one issuer.
pub fn update(held: Option<&KeySet>, offered: KeySet) -> Result<Update, UpdateError> {
    let Some(held) = held else {
        return Ok(Update::Replace(offered));
    };
    if held.issuer() != offered.issuer() {
        return Err(UpdateError::OtherIssuer);
    }
    if offered.version() < held.version() {
        return Ok(Update::Keep);
    }
    if offered.version() == held.version() {
        return if *held == offered {
            Ok(Update::Keep)
        } else {
            Err(UpdateError::SameVersion)
        };
    }
    for old in held.keys() {
        let new = offered
            .key(old.kid)
            .ok_or(UpdateError::KeyDropped(old.kid))?;
        follows(old, new)?;
    }
    Ok(Update::Replace(offered))
}

fn follows(old: &Key, new: &Key) -> Result<(), UpdateError> {
    let same =
        old.public == new.public && old.purpose == new.purpose && old.algorithm == new.algorithm;
    if !same {
        return Err(UpdateError::KeyReused(old.kid));
    }
    if new.state < old.state {
        return Err(UpdateError::KeyRevived(old.kid));
    }
    Ok(())
}
