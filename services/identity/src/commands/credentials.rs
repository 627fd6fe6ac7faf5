//! Minting credentials. Nothing is stored: a credential is the entitlement as it is known now,
//! signed.

use chrono::{DateTime, Utc};
use credential::token::{DocumentTag, Holder, Token};
use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::types::{EntitlementId, MemberId, OrganisationId};
use kit::{Ctx, Error, Result, Tx};

use super::matching::Comparisons;
use super::{may_look_up, settled};
use crate::domain::identifier::{Document, DocumentKind};
use crate::domain::mint::{Carrier, Entitlement};
use crate::domain::name::PersonName;
use crate::error::Refusal;
use crate::signing;
use crate::store::people::PersonRow;
use crate::store::{entitlements, limits, people};
use crate::vault::{Cell, Vault, hmac};

/// Entitlements that a desk is shown at once.
const DESK_ENTITLEMENTS_MAX: i64 = 20;
/// What look-ups are counted under: those of an hour and those of a day.
const LOOK_UPS: (&str, &str) = ("desk_look_ups_hour", "desk_look_ups");
/// Look-ups of one staff member in an hour: one a minute, more than a desk ever needs.
pub const LOOK_UPS_PER_HOUR_MAX: i32 = 60;
/// Look-ups of one staff member in a day, so that nobody walks through all members.
pub const LOOK_UPS_PER_DAY_MAX: i32 = 300;
/// Look-ups of one staff member in a day after which somebody should have a look.
pub const LOOK_UPS_PER_DAY_ALARM: i32 = 100;

/// A signed credential.
#[derive(Clone)]
pub struct Minted {
    pub entitlement: EntitlementId,
    /// `CY1:` and 138 more characters.
    pub text: String,
    pub valid_from: DateTime<Utc>,
    pub valid_until: DateTime<Utc>,
    /// The gate will ask for the holder's document.
    pub document_check: bool,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted")
            .field("entitlement", &self.entitlement)
            .finish_non_exhaustive()
    }
}

/// A credential for the caller's own entitlement; `None` for another's, as for one that does not
/// exist, and for one that cannot be used.
///
/// # Errors
/// Unavailable when no key signs; never because of who asks.
pub async fn mint(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    id: EntitlementId,
) -> Result<Option<Minted>> {
    ctx.db
        .read("mint_credential", async |tx| {
            let member = match access::member(tx, caller).await {
                Ok(member) => member,
                Err(Error::Unauthenticated(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            let entitlement = entitlements::load(tx, id).await?;
            let Some(entitlement) = entitlement else {
                return Ok(None);
            };
            if !entitlements::is_of(tx, entitlement.member, member.id).await? {
                return Ok(None);
            }
            let Some(person) = people::active(tx, member.id).await? else {
                return Ok(None);
            };
            let minted = Mint {
                ctx,
                vault,
                carrier: Carrier::Phone,
            }
            .sign(tx, &person, &[entitlement])
            .await?;
            Ok(minted.into_iter().next())
        })
        .await
}

/// What venue staff give for a person whose phone is dead.
#[derive(Clone, Debug)]
pub struct DeskLookUp {
    /// The company that runs the venue.
    pub venue_organisation: OrganisationId,
    pub document: Document,
    pub name: PersonName,
}

/// Credentials of ten minutes with document check for all that a person can use now, shown to
/// the staff member who asks and to nobody else.
///
/// # Errors
/// Staff of the venue's company only. One refusal for a wrong name and a wrong number, after as
/// much work; ten of them in an hour, or too many look-ups of any kind, and the staff member
/// must wait; all must while audit rows wait for their seal.
pub async fn mint_desk_credentials(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    look_up: &DeskLookUp,
) -> Result<Vec<Minted>> {
    let result = ctx
        .db
        .tx("mint_desk_credentials", async |tx| {
            let staff = access::venue_staff(tx, caller, look_up.venue_organisation)
                .await?
                .member;
            require_sealing(tx).await?;
            let failures = may_look_up(tx, staff.id.0).await?;
            if count_look_up(tx, staff.id).await? == LOOK_UPS_PER_DAY_ALARM {
                tracing::warn!(member = %staff.id, "a staff member looks up very many people");
                metrics::counter!("bashu_identity_look_up_alarms_total").increment(1);
                tx.audit(staff.audit("desk_look_ups_alarm", look_up.venue_organisation));
            }
            let Some(person) = find(tx, vault, look_up).await? else {
                failures.count(tx).await?;
                tx.audit(staff.audit("desk_look_up_failed", look_up.venue_organisation));
                return Ok(Err(Refusal::PersonNotMatched));
            };
            let held =
                entitlements::of_member(tx, MemberId(person.member), DESK_ENTITLEMENTS_MAX).await?;
            let minted = Mint {
                ctx,
                vault,
                carrier: Carrier::Desk,
            }
            .sign(tx, &person, &held)
            .await?;
            tx.audit(staff.audit("mint_desk_credentials", person.member).detail(
                serde_json::json!({
                    "organisation": look_up.venue_organisation.to_string(),
                    "credentials": minted.len(),
                }),
            ));
            Ok(if minted.is_empty() {
                Err(Refusal::NothingUsable)
            } else {
                Ok(minted)
            })
        })
        .await;
    settled(result)
}

/// Counts a look-up, found or not; how many there were today. One too many is refused, and what
/// is refused is rolled back and so not counted.
async fn count_look_up(tx: &Tx, staff: MemberId) -> Result<i32> {
    let counts = limits::count(tx, LOOK_UPS, staff, 1).await?;
    if counts.in_hour > LOOK_UPS_PER_HOUR_MAX || counts.in_day > LOOK_UPS_PER_DAY_MAX {
        return Err(Refusal::TooManyLookUps.into());
    }
    Ok(counts.in_day)
}

/// One comparison, whether her number is unknown or her name another.
async fn find(tx: &Tx, vault: &Vault, look_up: &DeskLookUp) -> Result<Option<PersonRow>> {
    let blind = vault.blind_document(&look_up.document)?;
    let mut found = people::by_documents(tx, &[blind]).await?;
    let mut comparisons = Comparisons::new(tx.ids(), vault)?;
    let same = comparisons.same(vault, found.get(&blind), &look_up.name);
    Ok(found.remove(&blind).filter(|_| same))
}

/// What signs for one person, and where it will be shown.
struct Mint<'a> {
    ctx: &'a Ctx,
    vault: &'a Vault,
    carrier: Carrier,
}

impl Mint<'_> {
    /// The credentials of those entitlements that can be used now.
    async fn sign(
        &self,
        tx: &Tx,
        person: &PersonRow,
        entitlements: &[Entitlement],
    ) -> Result<Vec<Minted>> {
        let usable: Vec<&Entitlement> = entitlements
            .iter()
            .filter(|it| it.is_usable(tx.now()))
            .collect();
        if usable.is_empty() {
            return Ok(Vec::new());
        }
        let (signer, key) = signing::entry_key(self.ctx.union, tx, self.vault).await?;
        let document = document(tx, self.vault, person).await?;
        let minted = usable.into_iter().filter_map(|entitlement| {
            let holder = document.as_ref().map_or(Holder::Bearer, |document| {
                Holder::Document(tag(self.vault, document, entitlement))
            });
            let token: Token = entitlement.token(self.carrier, holder, signer, tx.now())?;
            Some(Minted {
                entitlement: entitlement.id,
                text: token.sign(&key),
                valid_from: token.valid_from(),
                valid_until: token.valid_until(),
                document_check: token.claims().flags.document_check,
            })
        });
        Ok(minted.collect())
    }
}

/// The document a gate will compare: a person's first, in the order of kinds.
async fn document(tx: &Tx, vault: &Vault, person: &PersonRow) -> Result<Option<Document>> {
    let rows = people::documents(tx, MemberId(person.member)).await?;
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let key = vault.data_key(person.member, &person.data_key)?;
    let number = key.open_text(Cell::new("document", "number", row.id), &row.number)?;
    let kind = DocumentKind::from_code(row.kind)
        .ok_or_else(|| Error::internal("a document of an unknown kind"))?;
    Ok(Some(Document::stored(kind, number)))
}

/// Twelve bits of the document, keyed by scope and entitlement.
fn tag(vault: &Vault, document: &Document, entitlement: &Entitlement) -> DocumentTag {
    let scope_key = hmac(
        vault.idtag_key(),
        &[b"scope\0", &entitlement.scope.to_be_bytes()],
    );
    DocumentTag::of(
        document.kind().code(),
        document.number(),
        entitlement.id.0,
        &scope_key,
    )
}
