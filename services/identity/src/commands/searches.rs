//! Looking for people: by a number, which is counted, and seeing one of them unmasked, which is
//! counted too and says for what. By name see `queries::search`: nothing is counted there.

use chrono::TimeDelta;
use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::types::{MemberId, OrganisationId};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::people::officer_or_operator;
use super::{may_look_up, notices, settled};
use crate::domain::identifier::{Document, Phone};
use crate::domain::notice::Notice;
use crate::domain::organisation::root_id;
use crate::domain::search::ShowPurpose;
use crate::error::Refusal;
use crate::queries::{self, Profile};
use crate::store::limits::{self, Counter};
use crate::store::{memberships, people, search as store};
use crate::vault::Vault;

/// People whom one officer may see unmasked in an hour.
pub const SHOWN_PER_HOUR_MAX: i32 = 30;
/// People whom one officer may see unmasked in a day.
pub const SHOWN_PER_DAY_MAX: i32 = 100;
/// Refusals that one person may have in an hour before it alarms.
pub const SHOW_REFUSALS_PER_HOUR_MAX: i32 = 5;
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
        .collect::<Result<_>>()?;
    let by_document = people::by_documents(tx, &blinds).await?;
    let mut found: Vec<Uuid> = by_document.values().map(|row| row.member).collect();
    if let Some(phone) = phone {
        let by_phone = people::by_phone(tx, &vault.blind_phone(phone)?).await?;
        found.extend(by_phone.map(|(person, _)| person.member));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// A person unmasked, for a purpose that she is told. Who is refused leaves a row of that, and who
/// is refused often an alarm.
///
/// # Errors
/// Operators, and officers over an organisation that answers for her, their second factor shown;
/// to all others she is absent. Refused where the organisation knows her by a name and a phone
/// alone, beyond the hour's or the day's count, and while audit rows wait for their seal.
pub async fn show_member(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    member: MemberId,
    purpose: ShowPurpose,
) -> Result<Profile> {
    let root = root_id(ctx.union);
    ctx.db
        .tx("show_member", async |tx| {
            let by = access::member(tx, caller).await?;
            let show = Show {
                by,
                member,
                purpose,
            };
            match show.decide(tx, vault, (caller, root)).await {
                Ok(profile) => Ok(Ok(profile)),
                // What changed nothing and failed at nothing: the row of it is committed.
                Err(Error::Refused(why)) => {
                    show.refused(tx, why.code).await?;
                    Ok(Err(Error::Refused(why)))
                }
                Err(Error::AuditLags) => {
                    show.refused(tx, "AUDIT_LAGS").await?;
                    Ok(Err(Error::AuditLags))
                }
                Err(error) => Err(error),
            }
        })
        .await?
}

/// Who wants to see whom unmasked, and for what.
#[derive(Clone, Copy, Debug)]
struct Show {
    by: access::Member,
    member: MemberId,
    purpose: ShowPurpose,
}

impl Show {
    async fn decide(
        self,
        tx: &Tx,
        vault: &Vault,
        (caller, root): (&Caller, OrganisationId),
    ) -> Result<Profile> {
        let Self {
            by,
            member,
            purpose,
        } = self;
        let absent = Refusal::MemberNotFound;
        if !queries::may_see(tx, by, member).await? {
            return Err(absent.into());
        }
        // The person before her memberships, as by who forgets her.
        people::active(tx, member).await?.ok_or(absent)?;
        let organisation = self.answers(tx, caller, root).await?;
        access::stepped_up(tx, caller)?;
        require_sealing(tx).await?;
        let counts = limits::count(tx, SHOWN, by.id, 1).await?;
        if counts.in_hour > SHOWN_PER_HOUR_MAX || counts.in_day > SHOWN_PER_DAY_MAX {
            // Nobody was shown, so nobody is counted.
            limits::count(tx, SHOWN, by.id, -1).await?;
            return Err(Refusal::TooManyLookUps.into());
        }
        let profile = queries::search::profiles(tx, vault, &[member.0]).await?;
        let profile = profile.into_iter().next().ok_or(absent)?;
        let told = Notice::Unmasked {
            organisation,
            purpose,
            at: tx.now(),
        };
        notices::tell(tx, &[notices::about(member, &tx.uuid().to_string(), told)]).await?;
        tx.audit(by.audit("show_member", member).detail(
            serde_json::json!({ "purpose": purpose.as_str(), "organisation": organisation.0 }),
        ));
        Ok(profile)
    }

    /// The organisation in whose name she is shown: the one that answers for her, or the union's
    /// own for its operators.
    async fn answers(
        self,
        tx: &Tx,
        caller: &Caller,
        root: OrganisationId,
    ) -> Result<OrganisationId> {
        if let Some(organisation) = memberships::answers_for(tx, self.by.id, self.member).await? {
            return Ok(organisation);
        }
        match access::operator(tx, caller).await {
            Ok(_) => Ok(root),
            Err(Error::Forbidden(_)) => Err(Refusal::NotAnsweredFor.into()),
            Err(error) => Err(error),
        }
    }

    /// Puts a refusal on record and counts it.
    async fn refused(self, tx: &Tx, code: &str) -> Result<()> {
        let Self {
            by,
            member,
            purpose,
        } = self;
        let refused = Counter {
            scope: "show_refused",
            subject: by.id.0.as_bytes(),
            window: TimeDelta::hours(1),
        };
        let in_hour = refused.add(tx, 1).await?;
        metrics::counter!("bashu_identity_show_refused_total").increment(1);
        if in_hour > SHOW_REFUSALS_PER_HOUR_MAX {
            metrics::counter!("bashu_identity_show_refused_often_total").increment(1);
            tracing::error!(member = %by.id, in_hour, "refused too often to see people unmasked");
        }
        tx.audit(
            by.audit("show_member_refused", member)
                .detail(serde_json::json!({
                    "purpose": purpose.as_str(), "code": code, "in_hour": in_hour,
                })),
        );
        Ok(())
    }
}
