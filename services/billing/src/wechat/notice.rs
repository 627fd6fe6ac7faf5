//! A notification of the provider's, from its raw bytes to what it says: believed on them first,
//! then read and opened. Pure: the time is an argument, and nothing is kept.

use std::fmt;

use axum::http::HeaderMap;

use super::cipher::Sealed;
use super::merchant::Merchant;
use super::message::Notification;
use super::signature::{Proof, Untrusted};

/// The only kind of resource that there is.
const SEALED_RESOURCE: &str = "encrypt-resource";

/// A notification that verified and was opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The provider's name for it, of any length.
    pub id: String,
    /// What happened, of any length.
    pub event_type: String,
    /// What was sealed.
    pub plain: Vec<u8>,
}

/// What was sealed names a payer, so it is never shown.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// Why one is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("it is signed and no notification")]
    Malformed,
    #[error("it is signed and does not open")]
    Sealed,
}

/// Believes and opens the bytes, or says why not. `now` in seconds since the Unix epoch.
///
/// # Errors
/// As [`Unopened`].
pub fn open(
    merchant: &Merchant,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Opened, Unopened> {
    Proof::from_headers(headers)?.verify(&merchant.platform_keys, body, now)?;
    let notification: Notification =
        serde_json::from_slice(body).map_err(|_| Unopened::Malformed)?;
    if notification.resource_type != SEALED_RESOURCE {
        return Err(Unopened::Malformed);
    }
    let resource = &notification.resource;
    let sealed = Sealed {
        algorithm: &resource.algorithm,
        ciphertext: &resource.ciphertext,
        associated_data: &resource.associated_data,
        nonce: &resource.nonce,
    };
    let plain = merchant.apiv3_key.open(&sealed).ok_or(Unopened::Sealed)?;
    Ok(Opened {
        id: notification.id,
        event_type: notification.event_type,
        plain,
    })
}
