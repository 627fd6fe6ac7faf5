//! Two records of one person made one, by two operators who have seen her document, and made two
//! again within a window.
//!
//! What identity itself keeps of her goes over to the record that stays: documents, ways to sign
//! in, open memberships, what was verified; what she has asked for as the other one ends
//! (`merged_records`). What others wrote keeps the id it was written with, and they compare
//! persons through the merge. What she agreed to does not go over: she is asked again.
//!
//! Organisations are locked before records, in the order of their ids, as by all who change a
//! membership.

use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{self as timers, NewDue};
use kit::types::{MemberId, OrganisationId};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::logins::withdraw_all;
use super::matching::{same_text, stored_name};
use super::search_terms::terms_of;
use super::{consents, may_look_up, merged_records, notices, settled};
use crate::domain::identifier::Document;
use crate::domain::membership::Membership;
use crate::domain::merge::{self as domain, Asked, Belonging, Pair, Step};
use crate::domain::notice::Notice;
use crate::domain::search::SEARCH_VERSION;
use crate::due::MERGE_EXPIRY;
use crate::error::Refusal;
use crate::publish::{self, MemberState};
use crate::store::logins::Reason;
use crate::store::merges::{self as store, MemberRow, MergeRow, Moved, Place, SealedRow};
use crate::store::organisations::{self, Lock};
use crate::store::people::{self, PersonRow};
use crate::store::{role_proposals, search};
use crate::vault::{Cell, SealingKey, Vault};

/// Asks for a merge, or, as the second operator, does it. Both name the person's document, which
/// one of the two records must have; the names must be the same.
///
/// # Errors
/// Operators only, their second factor shown; refused for oneself, when a record is not there,
/// another merge waits, what is known of the two differs, the record that would go holds a role or
/// has others merged into it, one of them is to be forgotten or a copy of it is being gathered; and
/// while audit rows wait for their seal.
pub async fn merge_members(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    pair: Pair,
    document: &Document,
) -> Result<Step> {
    let result = ctx
        .db
        .tx("merge_members", async |tx| {
            let by = access::operator(tx, caller).await?.member;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let failures = may_look_up(tx, by.id.0).await?;
            let rows = lock(tx, pair).await?;
            let versions = match versions(tx, pair, &rows).await? {
                Records::Merged { undo_until } => return Ok(Ok(Step::Done { undo_until })),
                Records::Two(versions) => versions,
            };
            let asked = store::open(tx, pair.merged).await?;
            // Who is no operator any more is not the first of two.
            let counts = match &asked {
                Some(it) => role_proposals::may_propose(tx, MemberId(it.asked_by)).await?,
                None => false,
            };
            let first = asked.as_ref().filter(|_| counts).map(asked_of);
            let step = domain::ask(pair, by.id, first, tx.now())?;
            let Some(records) = verified(tx, vault, pair, document).await? else {
                failures.count(tx).await?;
                tx.audit(by.audit("merge_not_matched", pair.survivor));
                return Ok(Err(Refusal::PersonNotMatched));
            };
            must_be_free(tx, pair.merged).await?;
            merged_records::must_be_settled(tx, pair).await?;
            let change = Change::plan(tx, vault, pair, records).await?;
            match step {
                Step::Waits { .. } => {}
                Step::Begins { expires_at } => begin(tx, pair, by, asked, expires_at).await?,
                Step::Done { .. } => {
                    let id = asked.map(|it| it.id).ok_or(Refusal::MergeNotFound)?;
                    change.make(tx, versions, (id, by)).await?;
                }
            }
            Ok(Ok(step))
        })
        .await;
    settled(result)
}

fn asked_of(row: &MergeRow) -> Asked {
    Asked {
        by: MemberId(row.asked_by),
        survivor: MemberId(row.survivor),
        expires_at: row.expires_at,
    }
}

/// How the two records stand.
enum Records {
    /// Two, with the version of the one that would go.
    Two(i64),
    /// One already.
    Merged {
        undo_until: chrono::DateTime<chrono::Utc>,
    },
}

/// Locks the organisations that either record is in, and then both records.
async fn lock(tx: &Tx, pair: Pair) -> Result<Vec<MemberRow>> {
    let places = store::places(tx, pair).await?;
    for place in &places {
        organisations::load(tx, OrganisationId(*place), Lock::Change).await?;
    }
    let rows = store::lock_members(tx, pair).await?;
    // Whoever has a record join waits for the record: from now on these are all.
    if store::places(tx, pair).await? != places {
        return Err(Error::Unavailable("a record joins an organisation now"));
    }
    Ok(rows)
}

async fn versions(tx: &Tx, pair: Pair, rows: &[MemberRow]) -> Result<Records> {
    let of = |member: MemberId| rows.iter().find(|row| row.id == member.0);
    let absent = Refusal::MemberNotFound;
    let survivor = of(pair.survivor).ok_or(absent)?;
    let merged = of(pair.merged).ok_or(absent)?;
    if merged.merged_into == Some(pair.survivor.0) {
        let done = store::open(tx, pair.merged).await?;
        let done_at = done.and_then(|row| row.done_at).ok_or(absent)?;
        return Ok(Records::Merged {
            undo_until: domain::undo_until(done_at),
        });
    }
    if !survivor.is_active() || !merged.is_active() {
        return Err(absent.into());
    }
    Ok(Records::Two(merged.version))
}

/// Both records, when one of them has this document and both have one name.
async fn verified(
    tx: &Tx,
    vault: &Vault,
    pair: Pair,
    document: &Document,
) -> Result<Option<(PersonRow, PersonRow)>> {
    let blind = vault.blind_document(document)?;
    let found = people::by_documents(tx, &[blind]).await?;
    let holder = found.get(&blind).map(|row| MemberId(row.member));
    let is_theirs = holder == Some(pair.survivor) || holder == Some(pair.merged);
    let absent = Refusal::MemberNotFound;
    let survivor = people::active(tx, pair.survivor).await?.ok_or(absent)?;
    let merged = people::active(tx, pair.merged).await?.ok_or(absent)?;
    let name = stored_name(vault, &merged)?;
    let same = same_text(stored_name(vault, &survivor)?.as_str(), &name);
    Ok((is_theirs && same).then_some((survivor, merged)))
}

async fn must_be_free(tx: &Tx, merged: MemberId) -> Result<()> {
    if store::has_merged(tx, merged).await? {
        return Err(Refusal::MergedBefore.into());
    }
    if store::holds_role(tx, merged).await? {
        return Err(Refusal::HoldsRole.into());
    }
    Ok(())
}

async fn begin(
    tx: &Tx,
    pair: Pair,
    by: access::Member,
    over: Option<MergeRow>,
    expires_at: chrono::DateTime<chrono::Utc>,
) -> Result<()> {
    if let Some(over) = over {
        store::expire(tx, over.id).await?;
    }
    let id = tx.uuid();
    store::insert(tx, id, pair, (by.id, expires_at)).await?;
    tx.plan(NewDue::new(MERGE_EXPIRY, id, expires_at));
    tx.audit(
        by.audit("ask_member_merge", pair.merged)
            .detail(serde_json::json!({ "merge": id, "survivor": pair.survivor.to_string() })),
    );
    Ok(())
}

/// A cell that goes over to another record.
struct Cells {
    place: Place,
    rows: Vec<SealedRow>,
}

/// What a merge changes: nothing is changed by making the plan.
struct Change {
    pair: Pair,
    from: SealingKey,
    to: SealingKey,
    cells: [Cells; 2],
    memberships: Vec<Membership>,
}

impl Change {
    async fn plan(
        tx: &Tx,
        vault: &Vault,
        pair: Pair,
        (survivor, merged): (PersonRow, PersonRow),
    ) -> Result<Self> {
        let theirs = store::sealed(tx, Place::Document, pair.survivor).await?;
        let mut documents = store::sealed(tx, Place::Document, pair.merged).await?;
        let moved = domain::documents_moved(&belongings(&theirs), &belongings(&documents))?;
        documents.retain(|row| moved.contains(&row.id));
        let theirs = store::sealed(tx, Place::LoginMethod, pair.survivor).await?;
        let mut methods = store::sealed(tx, Place::LoginMethod, pair.merged).await?;
        let moved = domain::methods_moved(&belongings(&theirs), &belongings(&methods), "phone");
        methods.retain(|row| moved.contains(&row.id));
        Ok(Self {
            pair,
            from: vault.data_key(merged.member, &merged.data_key)?,
            to: vault.data_key(survivor.member, &survivor.data_key)?,
            cells: [
                Cells {
                    place: Place::Document,
                    rows: documents,
                },
                Cells {
                    place: Place::LoginMethod,
                    rows: methods,
                },
            ],
            memberships: memberships_moved(tx, pair).await?,
        })
    }

    async fn make(self, tx: &Tx, version: i64, (id, by): (Uuid, access::Member)) -> Result<()> {
        let Pair { survivor, merged } = self.pair;
        let ids = |cells: &Cells| cells.rows.iter().map(|row| row.id).collect();
        let moved = Moved {
            documents: ids(&self.cells[0]),
            methods: ids(&self.cells[1]),
            memberships: self.memberships.iter().map(|it| it.id).collect(),
        };
        for cells in &self.cells {
            reseal(tx, cells, (&self.from, &self.to), survivor).await?;
        }
        for membership in self.memberships {
            give_membership(tx, membership, survivor).await?;
        }
        consents::withdraw_all(tx, merged, by.login).await?;
        let logins = withdraw_all(tx, merged, None, Reason::Withdrawn).await?;
        search::replace(tx, 0, &[(merged.0, Vec::new())]).await?;
        let ended = merged_records::follow(tx, (id, Pair { survivor, merged }), by).await?;
        let detail = serde_json::json!({
            "merge": id, "survivor": survivor.to_string(), "documents": moved.documents.len(),
            "methods": moved.methods.len(), "memberships": moved.memberships.len(),
            "logins": logins, "ended": ended,
        });
        store::save_member(tx, merged, version + 1, Some(survivor)).await?;
        store::finish(tx, id, by.id, moved).await?;
        timers::cancel(tx, MERGE_EXPIRY, &id.to_string()).await?;
        let state = MemberState::Merged { into: survivor };
        tx.emit(publish::member(merged, version + 1, state));
        tx.audit(by.audit("merge_members", merged).detail(detail));
        tell(tx, (id, true), &[survivor]).await
    }
}

/// Tells who is one record now, or two again.
async fn tell(tx: &Tx, (id, merged): (Uuid, bool), members: &[MemberId]) -> Result<()> {
    let told = members.iter().map(|member| {
        let at = tx.now();
        let about = format!("{id}/{merged}/{member}");
        notices::about(*member, &about, Notice::RecordsChanged { merged, at })
    });
    notices::tell(tx, &told.collect::<Vec<_>>()).await
}

fn belongings(rows: &[SealedRow]) -> Vec<Belonging<String>> {
    let belonging = |row: &SealedRow| Belonging {
        id: row.id,
        kind: row.kind.clone(),
    };
    rows.iter().map(belonging).collect()
}

/// The memberships that go over; their organisations are locked.
async fn memberships_moved(tx: &Tx, pair: Pair) -> Result<Vec<Membership>> {
    let before = store::memberships(tx, pair.merged).await?;
    let survivor = store::memberships(tx, pair.survivor).await?;
    Ok(domain::memberships_moved(&survivor, before))
}

async fn reseal(
    tx: &Tx,
    cells: &Cells,
    (from, to): (&SealingKey, &SealingKey),
    owner: MemberId,
) -> Result<()> {
    let (table, column) = cells.place.names();
    for row in &cells.rows {
        let cell = Cell::new(table, column, row.id);
        let plain = from.open(cell, &row.sealed)?;
        let sealed = to.seal(tx.ids(), cell, &plain)?;
        store::give(tx, cells.place, (row.id, owner), sealed).await?;
    }
    Ok(())
}

async fn give_membership(tx: &Tx, membership: Membership, to: MemberId) -> Result<()> {
    let moved = Membership {
        version: membership.version + 1,
        member: to,
        ..membership
    };
    store::move_membership(tx, &moved).await?;
    tx.emit(publish::membership(&moved));
    Ok(())
}

/// Makes the two records of a merge two again: what went over goes back, what of it is still
/// there. The person signs in anew and is asked for her consents again. When it is undone already,
/// nothing changes.
///
/// # Errors
/// Operators only, their second factor shown; refused for oneself, when the record was not merged,
/// the window is over, or services are just asked what keeps both from being forgotten; and while
/// audit rows wait for their seal.
pub async fn split_members(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    merged: MemberId,
) -> Result<Pair> {
    ctx.db
        .tx("split_members", async |tx| {
            let by = access::operator(tx, caller).await?.member;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let absent = Refusal::MergeNotFound;
            let merge = store::open(tx, merged).await?.ok_or(absent)?;
            let survivor = MemberId(merge.survivor);
            let pair = Pair { survivor, merged };
            let rows = lock(tx, pair).await?;
            // Whoever was first has changed it.
            let merge = store::open(tx, merged).await?.ok_or(absent)?;
            let done_at = merge.done_at.ok_or(absent)?;
            domain::undo(pair, by.id, done_at, tx.now())?;
            // Forgotten with the survivor, it is merged into nobody any more.
            let into = Some(survivor.0);
            let row = rows
                .iter()
                .find(|row| row.id == merged.0 && row.merged_into == into);
            let version = row.ok_or(absent)?.version + 1;
            give_back(tx, vault, pair, &merge).await?;
            merged_records::part(tx, pair, &merge).await?;
            store::save_member(tx, merged, version, None).await?;
            store::undo(tx, merge.id, by.id).await?;
            let person = people::active(tx, merged).await?.ok_or(absent)?;
            let terms = terms_of(vault, &stored_name(vault, &person)?)?;
            search::replace(tx, SEARCH_VERSION, &[(merged.0, terms)]).await?;
            // Who sees her from now on may be another than before.
            withdraw_all(tx, survivor, None, Reason::Withdrawn).await?;
            tx.emit(publish::member(merged, version, MemberState::Active));
            tell(tx, (merge.id, false), &[survivor, merged]).await?;
            tx.audit(by.audit("split_members", merged).detail(serde_json::json!({
                "merge": merge.id, "survivor": survivor.to_string(),
            })));
            Ok(pair)
        })
        .await
}

async fn give_back(tx: &Tx, vault: &Vault, pair: Pair, merge: &MergeRow) -> Result<()> {
    let Pair { survivor, merged } = pair;
    let absent = Refusal::MemberNotFound;
    let key = async |member: MemberId| -> Result<SealingKey> {
        let row = people::kept(tx, member).await?.ok_or(absent)?;
        vault.data_key(row.member, &row.data_key)
    };
    let (from, to) = (key(survivor).await?, key(merged).await?);
    for (place, moved) in [
        (Place::Document, &merge.documents),
        (Place::LoginMethod, &merge.methods),
    ] {
        let mut rows = store::sealed(tx, place, survivor).await?;
        rows.retain(|row| moved.contains(&row.id));
        reseal(tx, &Cells { place, rows }, (&from, &to), merged).await?;
    }
    let mut memberships = store::memberships(tx, survivor).await?;
    memberships.retain(|it| merge.memberships.contains(&it.id));
    for membership in memberships {
        give_membership(tx, membership, merged).await?;
    }
    Ok(())
}

/// Ends a merge that no second operator asked for in time.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: Uuid) -> Result<()> {
    ctx.db
        .tx("expire_member_merge", async |tx| {
            if store::expire(tx, id).await? > 0 {
                tx.audit(AuditRow::system("expire_member_merge", id));
            }
            Ok(())
        })
        .await
}
