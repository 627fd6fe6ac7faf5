//! The one guard of what is done with personal data only while the person consents.
//!
//! Consents are read from identity's replica in the transaction that processes, and stay locked
//! until it ends: a withdrawal comes before it or after it, never in between. One to an older
//! text than the one in force is none. Where identity has not been heard of for
//! [`crate::access::FRESH_SECONDS`], nobody can know that a consent still stands, and nothing is
//! processed: so a withdrawal is effective everywhere within that time, whatever is broken. In
//! identity itself the replica's names are views over its own tables.

use std::collections::BTreeSet;

use sea_orm::FromQueryResult;

use crate::access::fresh;
use crate::types::{EntitlementId, MemberId, Processing};
use crate::{Result, Tx};

/// A person consents, until the end of the transaction that was told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consented {
    pub member: MemberId,
    pub processing: Processing,
    /// The version of the consent that says so.
    pub version: i64,
}

/// Whether a consent `c` is to the text that is in force at `$4`. Without any text it is not.
const IN_FORCE: &str = "c.given AND c.text_version >= (
    SELECT max(t.version) FROM replica_consent_text t
    WHERE t.purpose = c.purpose AND t.recipient = c.recipient AND t.effective_from <= $4)";

/// Whether the person consents to this; her consent is locked until the transaction ends.
///
/// # Errors
/// Unavailable when identity is not heard of.
pub async fn consents(
    tx: &Tx,
    member: MemberId,
    processing: Processing,
) -> Result<Option<Consented>> {
    #[derive(FromQueryResult)]
    struct Row {
        version: i64,
    }
    fresh(tx).await?;
    let sql = format!(
        "SELECT c.version FROM replica_consent c
         WHERE c.member = $1 AND c.purpose = $2 AND c.recipient = $3 AND {IN_FORCE}
         FOR SHARE OF c"
    );
    let values = [
        member.0.into(),
        processing.purpose().into(),
        processing.recipient().into(),
        tx.now().into(),
    ];
    let row = tx.one::<Row>(&sql, values).await?;
    Ok(row.map(|row| Consented {
        member,
        processing,
        version: row.version,
    }))
}

/// [`consents`] for those who know entitlements and not whose they are: those whose holders
/// consent.
///
/// # Errors
/// Unavailable when identity is not heard of.
pub async fn holders_consent(
    tx: &Tx,
    entitlements: &[EntitlementId],
    processing: Processing,
) -> Result<BTreeSet<EntitlementId>> {
    #[derive(FromQueryResult)]
    struct Row {
        entitlement: i64,
    }
    fresh(tx).await?;
    let sql = format!(
        "SELECT c.entitlement FROM replica_entitlement_consent c
         WHERE c.entitlement = ANY ($1) AND c.purpose = $2 AND c.recipient = $3 AND {IN_FORCE}
         ORDER BY c.entitlement FOR SHARE OF c"
    );
    let ids: Vec<i64> = entitlements.iter().map(|id| id.to_i64()).collect();
    let values = [
        ids.into(),
        processing.purpose().into(),
        processing.recipient().into(),
        tx.now().into(),
    ];
    let rows = tx.all::<Row>(&sql, values).await?;
    Ok(rows
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.entitlement))
        .collect())
}

/// Rows that tests of other services need in place of identity's events.
#[cfg(feature = "testing")]
pub mod seed {
    use crate::types::{EntitlementId, Processing};
    use crate::{Result, Tx};

    /// The holder of an entitlement consents, or no longer, to the only text there is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holder(
        tx: &Tx,
        entitlement: EntitlementId,
        processing: Processing,
        given: bool,
    ) -> Result<()> {
        let (purpose, recipient) = (processing.purpose(), processing.recipient());
        tx.execute(
            "INSERT INTO replica_consent_text (purpose, recipient, version, effective_from)
             VALUES ($1, $2, 1, $3) ON CONFLICT DO NOTHING",
            [purpose.into(), recipient.into(), tx.now().into()],
        )
        .await?;
        tx.execute(
            "INSERT INTO replica_entitlement_consent AS c
               (entitlement, purpose, recipient, epoch, version, text_version, given)
             VALUES ($1, $2, $3, 1, 1, 1, $4)
             ON CONFLICT (entitlement, purpose, recipient)
             DO UPDATE SET version = c.version + 1, given = EXCLUDED.given",
            [
                entitlement.to_i64().into(),
                purpose.into(),
                recipient.into(),
                given.into(),
            ],
        )
        .await?;
        Ok(())
    }
}
