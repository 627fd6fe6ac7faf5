//! Looking for people: by a number, which is counted, and seeing one of them unmasked, which is
//! counted too and says for what. By name see `queries::search`: nothing is counted there.

use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::types::{MemberId, OrganisationId};
use kit::{Ctx, Result, Tx};
use uuid::Uuid;

use super::people::officer_or_operator;
use super::{may_look_up, settled};
use crate::domain::identifier::{Document, Phone};
use crate::domain::search::ShowPurpose;
use crate::error::Refusal;
use crate::queries::{self, Profile};
use crate::store::{limits, people, search as store};
use crate::vault::Vault;

/// People whom one officer may see unmasked in an hour.
pub const SHOWN_PER_HOUR_MAX: i32 = 30;
/// People whom one officer may see unmasked in a day.
pub const SHOWN_PER_DAY_MAX: i32 = 100;
/// The scopes of those counts.
const SHOWN: (&str, &str) = ("shown_member_hour", "shown_member_day");

/// Who has this number and is in the organisation or below it. Nobody there and nobody at all are
/// one answer, and count as a failed look-up.
///
/// # Errors
/// Officers of the organisation or above it, and operators; refused when they failed too often.
pub async fn find_by_number(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    organisation: OrganisationId,
    (phone, documents): (Option<&Phone>, &[Document]),
) -> Result<Vec<Profile>> {
    let result = ctx
        .db
        .tx("find_by_number", async |tx| {
            let by = officer_or_operator(tx, caller, organisation).await?;
            let failures = may_look_up(tx, by.id.0).await?;
            let found = with_number(tx, vault, phone, documents).await?;
            let found = store::in_subtree(tx, organisation, &found).await?;
            let profiles = queries::search::profiles(tx, vault, &found).await?;
            if profiles.is_empty() {
                failures.count(tx).await?;
            }
            tx.audit(
                by.audit("find_by_number", organisation)
                    .detail(serde_json::json!({ "found": profiles.len() })),
            );
            Ok(Ok(profiles))
        })
        .await;
    settled(result)
}

async fn with_number(
    tx: &Tx,
    vault: &Vault,
    phone: Option<&Phone>,
    documents: &[Document],
) -> Result<Vec<Uuid>> {
    let blinds: Vec<people::Blind> = documents
        .iter()
        .map(|it| vault.blind_document(it))
        .collect();
    let by_document = people::by_documents(tx, &blinds).await?;
    let mut found: Vec<Uuid> = by_document.values().map(|row| row.member).collect();
    if let Some(phone) = phone {
        let by_phone = people::by_phone(tx, &vault.blind_phone(phone)).await?;
        found.extend(by_phone.map(|(person, _)| person.member));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// A person unmasked, for a purpose.
///
/// # Errors
/// Operators, and officers over an organisation that she is in, their second factor shown; to all
/// others she is absent. Refused beyond the hour's or the day's count, and while audit rows wait
/// for their seal.
pub async fn show_member(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    member: MemberId,
    purpose: ShowPurpose,
) -> Result<Profile> {
    ctx.db
        .tx("show_member", async |tx| {
            let by = access::member(tx, caller).await?;
            let absent = Refusal::MemberNotFound;
            if !queries::may_see(tx, by, member).await? {
                return Err(absent.into());
            }
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let counts = limits::count(tx, SHOWN, by.id, 1).await?;
            if counts.in_hour > SHOWN_PER_HOUR_MAX || counts.in_day > SHOWN_PER_DAY_MAX {
                return Err(Refusal::TooManyLookUps.into());
            }
            let profile = queries::search::profiles(tx, vault, &[member.0]).await?;
            let profile = profile.into_iter().next().ok_or(absent)?;
            tx.audit(
                by.audit("show_member", member)
                    .detail(serde_json::json!({ "purpose": purpose.as_str() })),
            );
            Ok(profile)
        })
        .await
}
