//! Making a roster's difference true: all of it in one transaction, or nothing.
//!
//! What is committed is what was shown. If any membership of the organisation has changed since,
//! the roster is refused as outdated and compared again. What it held of people is destroyed.

use std::collections::{HashMap, HashSet};

use kit::access::{self, Caller};
use kit::due::NewDue;
use kit::once::{self, Once, Request};
use kit::types::{MemberId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::matching::Blinds;
use super::notices;
use super::people::{By, Placed, RACE_ATTEMPTS_MAX, is_race, place_each, repeated};
use super::roles::leave_office;
use super::roster_work::{basis, new_person};
use super::rosters::{data_key, own_roster};
use crate::domain::membership::{End, Membership};
use crate::domain::notice::Notice;
use crate::domain::roster::{Bad, Change, Purpose, Roster, State};
use crate::error::{self, Refusal};
use crate::store::memberships::{self, Ground};
use crate::store::notices::NewNotice;
use crate::store::organisations::{self, Lock};
use crate::store::roster_people;
use crate::store::roster_rows as rows;
use crate::store::rosters::{self as store, Kept};
use crate::vault::{SealingKey, Vault};
use crate::{due, publish};

/// What an officer commits.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    pub roster: Uuid,
    /// Whether rows that are bad are left out; then nobody leaves.
    pub leave_out_bad_rows: bool,
    pub key: Uuid,
}

/// Commits a roster; again with the same key, or after it was committed, it answers the same.
///
/// # Errors
/// The officer who began it only, her second factor shown; refused while it is not ready, has bad
/// rows that nothing was said of, is outdated, or would end the last operator's membership.
pub async fn commit_roster(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    commit: Commit,
) -> Result<Roster> {
    let mut attempt = 1;
    let result = loop {
        let result = ctx
            .db
            .tx("commit_roster", async |tx| {
                decide(tx, vault, caller, commit).await
            })
            .await;
        match result {
            Err(error) if is_race(&error) && attempt < RACE_ATTEMPTS_MAX => attempt += 1,
            other => break other,
        }
    };
    if let Err(Error::Refused(refusal)) = &result
        && refusal.code == Refusal::RosterOutdated.code()
    {
        compare_again(ctx, caller, commit.roster).await?;
    }
    result
}

async fn decide(tx: &Tx, vault: &Vault, caller: &Caller, commit: Commit) -> Result<Roster> {
    let (kept, by) = own_roster(tx, caller, commit.roster).await?;
    access::stepped_up(tx, caller)?;
    let leave_out = commit.leave_out_bad_rows.to_string();
    let request = Request {
        caller: by.id.0,
        key: commit.key,
        hash: once::hash("commit_roster", &[&commit.roster.to_string(), &leave_out]),
    };
    match once::begin(tx, &request).await? {
        Once::First => {}
        Once::Done(_) => return Ok(kept.roster),
        Once::Refused(code) => {
            return error::recorded(&code);
        }
    }
    if matches!(kept.roster.state, State::Committed { .. }) {
        once::finish(tx, commit.roster.as_bytes())?;
        return Ok(kept.roster);
    }
    let counts = rows::counts(tx, commit.roster).await?;
    let bad = Bad::of(counts.bad, commit.leave_out_bad_rows);
    let roster = kept.roster.clone().commit(bad, tx.now()).map_err(passing)?;
    // Two rosters of one organisation, or a roster and people added otherwise, wait here.
    organisations::load(tx, roster.organisation, Lock::Change)
        .await?
        .ok_or(Refusal::OrganisationNotFound)?
        .must_be_open()
        .map_err(passing)?;
    let ended = match roster.purpose {
        Purpose::List => 0,
        Purpose::Membership { .. } => apply(tx, vault, by, &kept, bad).await?,
    };
    if rows::name_one_twice(tx, roster.id).await? {
        return Err(passing(Refusal::RosterOutdated).into());
    }
    rows::remove(tx, roster.id, &[Change::Bad]).await?;
    rows::forget(tx, roster.id).await?;
    store::save(tx, &roster, None).await?;
    let members = roster_people::committed(tx, roster.id)
        .await?
        .ok_or_else(|| Error::internal("a roster that was committed is not"))?;
    tx.emit(publish::roster_committed(&members));
    tell(tx, &roster, members.members).await?;
    tx.audit(
        by.audit("commit_roster", roster.id)
            .detail(serde_json::json!({
                "organisation": roster.organisation.0, "purpose": roster.purpose.as_str(),
                "new": counts.new, "changed": counts.changed, "unchanged": counts.unchanged,
                "ended": ended, "left_out": counts.bad,
            })),
    );
    once::finish(tx, roster.id.as_bytes())?;
    Ok(roster)
}

/// Tells those whom it concerns: who joined, or who is on a list. Whose membership goes on as it
/// was hears nothing each time that her union uploads its members.
async fn tell(tx: &Tx, roster: &Roster, named: Vec<Uuid>) -> Result<()> {
    let (members, joined) = match roster.purpose {
        Purpose::List => (named, false),
        Purpose::Membership { .. } => (roster_people::joined(tx, roster.id).await?, true),
    };
    let told: Vec<NewNotice> = members
        .into_iter()
        .map(|member| {
            let notice = Notice::OnRoster {
                organisation: roster.organisation,
                joined,
            };
            notices::about(MemberId(member), &format!("{}/{member}", roster.id), notice)
        })
        .collect();
    notices::tell(tx, &told).await
}

/// What may be gone when the same request comes again is not remembered under its key.
fn passing(refusal: Refusal) -> kit::Refusal {
    kit::Refusal::from(refusal).transient()
}

/// Joins, gives phones, and ends; how many memberships ended.
async fn apply(tx: &Tx, vault: &Vault, by: access::Member, kept: &Kept, bad: Bad) -> Result<usize> {
    let roster = &kept.roster;
    let open = roster_people::open_memberships(tx, roster.organisation, Lock::Change).await?;
    if kept.basis.as_deref() != Some(&basis(&open)) {
        return Err(passing(Refusal::RosterOutdated).into());
    }
    let wrapped = kept
        .data_key
        .as_deref()
        .ok_or_else(|| Error::internal("a roster that is ready has no key"))?;
    let key = data_key(vault, roster.id, wrapped)?;
    join(tx, (vault, &key), by, roster).await?;
    document(tx, &key, roster).await?;
    if !roster.ends_memberships(bad) {
        rows::remove(tx, roster.id, &[Change::Leaving]).await?;
        return Ok(0);
    }
    let by_id: HashMap<Uuid, Membership> = open.into_iter().map(|it| (it.id, it)).collect();
    let today = shanghai_date(tx.now());
    let mut ended = Vec::new();
    for row in rows::all(tx, roster.id, &[Change::Leaving]).await? {
        let membership = row.membership.and_then(|id| by_id.get(&id)).cloned();
        let membership = membership.ok_or_else(|| passing(Refusal::RosterOutdated))?;
        ended.push(membership.end(End::Left, today, today)?);
    }
    roster_people::end_memberships(tx, &ended).await?;
    for membership in &ended {
        tx.emit(publish::membership(membership));
    }
    let left: Vec<Uuid> = ended.iter().map(|it| it.member.0).collect();
    match leave_office(tx, roster.organisation, &left).await {
        Ok(_) => Ok(ended.len()),
        // There may be another operator when the same request comes again.
        Err(Error::Refused(refusal)) => Err((*refusal).transient().into()),
        Err(error) => Err(error),
    }
}

/// Adds those who are new, and the phones of those who get one.
async fn join(
    tx: &Tx,
    (vault, key): (&Vault, &SealingKey),
    by: access::Member,
    roster: &Roster,
) -> Result<()> {
    let mut joining = rows::all(tx, roster.id, &[Change::New, Change::Changed]).await?;
    let today = shanghai_date(tx.now());
    let mut people = Vec::with_capacity(joining.len());
    for row in &joining {
        people.push(new_person(&rows::open(key, roster.id, row)?, today)?);
    }
    let blinds = Blinds::of(vault, &people)?;
    let placings = place_each(tx, vault, By::Officer(by), &people, &blinds).await?;
    // Two of them were made one person since.
    if !repeated(&placings).is_empty() {
        return Err(passing(Refusal::RosterOutdated).into());
    }
    // Somebody was added elsewhere since, and does not match any more.
    let places = placings.into_iter().map(|it| it.place);
    let places = places
        .collect::<std::result::Result<Vec<_>, Refusal>>()
        .map_err(|_| passing(Refusal::RosterOutdated))?;
    let placed = Placed { places };
    let made = placed
        .save(tx, vault, roster.organisation.into(), &people)
        .await?;
    for (row, membership) in joining.iter_mut().zip(&made) {
        row.member = Some(membership.member.0);
        row.membership = Some(membership.id);
    }
    rows::put(tx, roster.id, &joining).await
}

/// Memberships that began by a name and a phone, and go on as they were, rest on the document that
/// the roster gives of them.
async fn document(tx: &Tx, key: &SealingKey, roster: &Roster) -> Result<()> {
    let by_name = memberships::by_name_alone(tx, roster.organisation).await?;
    if by_name.is_empty() {
        return Ok(());
    }
    let by_name: HashSet<Uuid> = by_name.into_iter().collect();
    let today = shanghai_date(tx.now());
    let mut documented = Vec::new();
    for row in rows::all(tx, roster.id, &[Change::Unchanged]).await? {
        let Some(membership) = row.membership.filter(|id| by_name.contains(id)) else {
            continue;
        };
        let person = new_person(&rows::open(key, roster.id, &row)?, today)?;
        if person.document.is_some() {
            documented.push(membership);
        }
    }
    memberships::rest_on(tx, &documented, Ground::Document).await
}

/// Plans the comparison of a roster that is outdated.
async fn compare_again(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<()> {
    ctx.db
        .tx("compare_roster_again", async |tx| {
            let (kept, by) = own_roster(tx, caller, id).await?;
            // Otherwise somebody else has planned it, or it is over.
            let Ok(roster) = kept.roster.compare() else {
                return Ok(());
            };
            rows::compare_again(tx, id).await?;
            store::save(tx, &roster, kept.problem).await?;
            tx.plan(NewDue::new(due::ROSTER, id, tx.now()));
            tx.audit(by.audit("compare_roster_again", id));
            Ok(())
        })
        .await
}
