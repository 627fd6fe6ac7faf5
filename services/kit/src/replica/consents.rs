//! Consents and their texts as the replica keeps them. Whether one is enough, `kit::consent` says.

use proto::identity as event;

use super::{id, instant};
use crate::event::Record;
use crate::types::EntitlementId;
use crate::{Error, Result, Tx};

pub(super) const CONSENT: &str = "bashu.identity.v1.ConsentChanged";
pub(super) const ENTITLEMENT_CONSENT: &str = "bashu.identity.v1.EntitlementConsentChanged";
pub(super) const TEXT: &str = "bashu.identity.v1.ConsentTextPublished";

/// Whether the record only ends what was allowed: a withdrawal does, and a new text, since nobody
/// has agreed to it yet.
pub(super) fn only_ends(record: &Record) -> bool {
    match record.kind.as_str() {
        CONSENT => record
            .decode::<event::ConsentChanged>()
            .is_ok_and(|it| !it.given),
        ENTITLEMENT_CONSENT => record
            .decode::<event::EntitlementConsentChanged>()
            .is_ok_and(|it| !it.given),
        TEXT => true,
        _ => false,
    }
}

pub(super) async fn consent(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::ConsentChanged = record.decode()?;
    tx.execute(
        "INSERT INTO replica_consent AS r
           (id, epoch, version, member, purpose, recipient, text_version, given)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           text_version = EXCLUDED.text_version, given = EXCLUDED.given
         WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            id(&event.id)?.into(),
            record.epoch.into(),
            event.version.into(),
            id(&event.member_id)?.into(),
            named(event.purpose)?.into(),
            named(event.recipient)?.into(),
            event.text_version.into(),
            event.given.into(),
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn entitlement_consent(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::EntitlementConsentChanged = record.decode()?;
    tx.execute(
        "INSERT INTO replica_entitlement_consent AS r
           (entitlement, purpose, recipient, epoch, version, text_version, given)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (entitlement, purpose, recipient) DO UPDATE SET epoch = EXCLUDED.epoch,
           version = EXCLUDED.version, text_version = EXCLUDED.text_version,
           given = EXCLUDED.given
         WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            EntitlementId(event.entitlement_id).to_i64().into(),
            named(event.purpose)?.into(),
            named(event.recipient)?.into(),
            record.epoch.into(),
            event.version.into(),
            event.text_version.into(),
            event.given.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A text that was published stays as it was: said again, it changes nothing.
pub(super) async fn text(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::ConsentTextPublished = record.decode()?;
    tx.execute(
        "INSERT INTO replica_consent_text (purpose, recipient, version, effective_from)
         VALUES ($1, $2, $3, $4) ON CONFLICT (purpose, recipient, version) DO NOTHING",
        [
            named(event.purpose)?.into(),
            named(event.recipient)?.into(),
            event.version.into(),
            instant(event.effective_from)?.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A purpose or a recipient. One that this program does not know is kept too: it guards nothing
/// here.
fn named(text: String) -> Result<String> {
    if text.is_empty() {
        return Err(Error::permanent("a consent without a purpose or recipient"));
    }
    Ok(text)
}
