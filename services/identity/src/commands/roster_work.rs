//! What happens to a roster between its upload and its commit, as due work: the file is read, then
//! its rows are compared with who is known, some hundred in a transaction.
//!
//! Rows that do not match are counted for the officer as any look-up is. Once there are more of
//! them than she may get wrong, the roster fails as a whole and names nobody.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use kit::access;
use kit::types::{OrganisationId, shanghai_date};
use kit::{Error, Result, Tx};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::matching::Blinds;
use super::people::{By, NewPerson, Place, place_each};
use super::rosters::{data_key, file_cell};
use super::{may_look_up, roster_list};
use crate::Identity;
use crate::domain::membership::{Membership, Standing};
use crate::domain::roster::{Change, Purpose, Roster, State};
use crate::error::Refusal;
use crate::roster::judge::{self, Judged};
use crate::roster::{self as file, Code, Column, Finding, Problem, Table};
use crate::store::organisations::Lock;
use crate::store::roster_rows::{self as rows, Content, RosterRow};
use crate::store::rosters::{self as store, Kept};
use crate::store::{people as people_store, roster_people};
use crate::vault::{SealingKey, Vault};

/// Rows compared in one transaction.
pub const BATCH_ROWS: i64 = 500;
/// Files read at the same time: each takes a core and some memory.
const READERS_MAX: usize = 2;
static READERS: Semaphore = Semaphore::const_new(READERS_MAX);

/// Does all that can be done with a roster now.
///
/// # Errors
/// When the database fails; it goes on from there when it is run again.
pub async fn run(identity: &Identity, id: Uuid) -> Result<()> {
    loop {
        let kept = identity
            .ctx
            .db
            .tx("load_roster", async |tx| store::lock(tx, id).await)
            .await?;
        match kept.map(|kept| kept.roster.state) {
            Some(State::Reading { .. }) => read(identity, id).await?,
            Some(State::Matching) => compare(identity, id).await?,
            Some(
                State::Awaiting
                | State::Ready
                | State::Committed { .. }
                | State::Failed
                | State::Expired,
            )
            | None => return Ok(()),
        }
    }
}

/// Reads the file outside any transaction, then keeps what it said.
async fn read(identity: &Identity, id: Uuid) -> Result<()> {
    let loaded = identity
        .ctx
        .db
        .tx("load_roster_file", async |tx| {
            let file = store::file(tx, id).await?;
            let kept = store::lock(tx, id).await?;
            Ok(kept.zip(file))
        })
        .await?;
    let Some((kept, sealed)) = loaded else {
        return Ok(());
    };
    let key = roster_key(identity, &kept)?;
    let bytes = key.open(file_cell(id), &sealed)?;
    let today = shanghai_date(identity.ctx.clock.now());
    let permit = READERS
        .acquire()
        .await
        .map_err(|_| Error::internal("nobody reads files any more"))?;
    let judged = tokio::task::spawn_blocking(move || {
        let table = file::read(&bytes)?;
        let rows = judge::judge(&table, today);
        Ok((table, rows))
    })
    .await;
    drop(permit);
    // A reader that panics on a file has found it damaged in its own way.
    let judged = judged.unwrap_or(Err(Problem::Unreadable));
    identity
        .ctx
        .db
        .tx("read_roster", async |tx| {
            let Some(kept) = store::lock(tx, id).await? else {
                return Ok(());
            };
            if !matches!(kept.roster.state, State::Reading { .. }) {
                return Ok(());
            }
            keep(tx, kept, &key, today, judged.clone()).await
        })
        .await
}

fn roster_key(identity: &Identity, kept: &Kept) -> Result<SealingKey> {
    let wrapped = kept
        .data_key
        .as_deref()
        .ok_or_else(|| Error::internal("a roster that is not over has no key"))?;
    data_key(&identity.vault, kept.roster.id, wrapped)
}

type Read = std::result::Result<(Table, Vec<Judged>), Problem>;

async fn keep(tx: &Tx, kept: Kept, key: &SealingKey, today: NaiveDate, read: Read) -> Result<()> {
    let id = kept.roster.id;
    let correcting = kept.roster.state == State::Reading { correcting: true };
    let merged = match read {
        Err(problem) => Err(problem),
        Ok((table, judged)) if correcting => {
            let known = known_rows(tx, key, id, today).await?;
            corrected(&table, known, judged)
        }
        Ok((table, judged)) => {
            let told = rows::seal_told(tx.ids(), key, id, &table.header.ignored)?;
            store::save_told(tx, id, told).await?;
            Ok(judged)
        }
    };
    let mut judged = match merged {
        Ok(judged) => judged,
        Err(problem) => return store::save(tx, &kept.roster.reject(), Some(problem)).await,
    };
    judge::mark_repeated(&mut judged);
    rows::remove(tx, id, &Change::ALL).await?;
    let mut new = Vec::with_capacity(judged.len());
    for it in judged {
        let (change, findings) = match it.person {
            Ok(_) => (Change::Pending, Vec::new()),
            Err(findings) => (Change::Bad, findings),
        };
        let place = i32::try_from(it.row).map_err(|_| Error::internal("a row beyond all"))?;
        let content = Content {
            cells: it.cells,
            findings,
        };
        new.push(RosterRow {
            place,
            change,
            sealed: Some(rows::seal(tx.ids(), key, id, place, &content)?),
            member: None,
            membership: None,
        });
    }
    rows::put(tx, id, &new).await?;
    store::save(tx, &kept.roster.compare()?, None).await
}

/// The rows that are there, as if they had just been judged.
async fn known_rows(
    tx: &Tx,
    key: &SealingKey,
    id: Uuid,
    today: NaiveDate,
) -> Result<BTreeMap<u32, Judged>> {
    let changes = [
        Change::Pending,
        Change::New,
        Change::Changed,
        Change::Unchanged,
        Change::Bad,
    ];
    let mut known = BTreeMap::new();
    for row in rows::all(tx, id, &changes).await? {
        let content = rows::open(key, id, &row)?;
        let place = u32::try_from(row.place).unwrap_or_default();
        let person = match row.change {
            Change::Bad => Err(content.findings),
            Change::Pending
            | Change::New
            | Change::Changed
            | Change::Unchanged
            | Change::Leaving => judge::person(&content.cells, today),
        };
        let judged = Judged {
            row: place,
            corrects: None,
            cells: content.cells,
            person,
        };
        known.insert(place, judged);
    }
    Ok(known)
}

/// The rows that are there, those that were bad in the form of the correction.
fn corrected(
    table: &Table,
    mut known: BTreeMap<u32, Judged>,
    corrections: Vec<Judged>,
) -> std::result::Result<Vec<Judged>, Problem> {
    if !table.header.has(Column::Row) {
        return Err(Problem::RowColumnMissing);
    }
    let mut seen = Vec::with_capacity(corrections.len());
    for correction in corrections {
        let place = correction.corrects.ok_or(Problem::RowUnknown)?;
        let bad = known.get_mut(&place).filter(|row| row.person.is_err());
        let row = bad.ok_or(Problem::RowUnknown)?;
        if seen.contains(&place) {
            return Err(Problem::RowUnknown);
        }
        seen.push(place);
        row.cells = correction.cells;
        row.person = correction.person;
    }
    Ok(known.into_values().collect())
}

/// What comparing a row came to.
pub(crate) struct Compared {
    pub(crate) change: Change,
    pub(crate) member: Option<Uuid>,
    pub(crate) membership: Option<Uuid>,
    /// Whether it counts as a look-up that failed.
    pub(crate) counts: bool,
    /// The row before it that names the same person.
    pub(crate) repeats: Option<i32>,
}

impl Compared {
    pub(crate) const fn not_matched(counts: bool) -> Self {
        Self {
            change: Change::Bad,
            member: None,
            membership: None,
            counts,
            repeats: None,
        }
    }

    /// What is wrong with its row.
    fn finding(&self) -> Finding {
        let Some(before) = self.repeats else {
            return Finding::new(Code::PersonNotMatched, None);
        };
        let mut finding = Finding::new(Code::PersonRepeated, None);
        finding.other_row = u32::try_from(before).ok();
        finding
    }
}

/// Compares the next rows; when there are none left, the roster is ready.
async fn compare(identity: &Identity, id: Uuid) -> Result<()> {
    let vault = &identity.vault;
    identity
        .ctx
        .db
        .tx("compare_roster", async |tx| {
            let kept = store::lock(tx, id).await?;
            let Some(kept) = kept.filter(|kept| kept.roster.state == State::Matching) else {
                return Ok(());
            };
            let key = roster_key(identity, &kept)?;
            let next = rows::first(tx, id, &[Change::Pending], BATCH_ROWS).await?;
            if next.is_empty() {
                return finish(tx, kept).await;
            }
            let today = shanghai_date(tx.now());
            let mut contents = Vec::with_capacity(next.len());
            let mut people = Vec::with_capacity(next.len());
            for row in &next {
                let content = rows::open(&key, id, row)?;
                people.push(new_person(&content, today)?);
                contents.push(content);
            }
            let by = access::Member {
                id: kept.roster.officer,
                login: kept.roster.login,
            };
            let failures = match may_look_up(tx, by.id.0).await {
                Ok(failures) => failures,
                Err(Error::Refused(_)) => return too_many(tx, kept, by).await,
                Err(error) => return Err(error),
            };
            let mut compared = match kept.roster.purpose {
                Purpose::Membership { .. } => {
                    let organisation = kept.roster.organisation;
                    join_rows(tx, vault, By::Officer(by), organisation, &people).await?
                }
                Purpose::List => {
                    roster_list::resolve(tx, vault, kept.roster.organisation, &people).await?
                }
            };
            mark_repeated(tx, id, &next, &mut compared).await?;
            let failed = compared.iter().filter(|it| it.counts).count();
            if !failures.count_all(tx, failed).await? {
                return too_many(tx, kept, by).await;
            }
            let mut changed = next;
            for ((row, content), it) in changed.iter_mut().zip(contents).zip(compared) {
                row.change = it.change;
                row.member = it.member;
                row.membership = it.membership;
                if it.change == Change::Bad {
                    let findings = vec![it.finding()];
                    let content = Content {
                        cells: content.cells,
                        findings,
                    };
                    row.sealed = Some(rows::seal(tx.ids(), &key, id, row.place, &content)?);
                }
            }
            rows::put(tx, id, &changed).await
        })
        .await
}

/// Marks each row that names the person of a row before it, by another document or by her phone:
/// she joins once, and is named once. That two documents are one person's is known of the officer's
/// own people alone; of others it counts as a look-up that failed.
async fn mark_repeated(
    tx: &Tx,
    id: Uuid,
    next: &[RosterRow],
    compared: &mut [Compared],
) -> Result<()> {
    let members: Vec<Uuid> = compared.iter().filter_map(|it| it.member).collect();
    let mut first = rows::places_of(tx, id, &members).await?;
    for (row, it) in next.iter().zip(compared) {
        let Some(member) = it.member else { continue };
        let before = *first.entry(member).or_insert(row.place);
        if before != row.place {
            *it = Compared {
                repeats: Some(before),
                ..Compared::not_matched(it.change == Change::New)
            };
        }
    }
    Ok(())
}

pub(crate) fn new_person(content: &Content, today: NaiveDate) -> Result<NewPerson> {
    let person = judge::person(&content.cells, today)
        .map_err(|_| Error::internal("a good row of a roster is bad"))?;
    Ok(NewPerson {
        name: person.name,
        document: person.document,
        phone: person.phone,
    })
}

/// Compares people with those of the organisation.
async fn join_rows(
    tx: &Tx,
    vault: &Vault,
    by: By,
    organisation: OrganisationId,
    people: &[NewPerson],
) -> Result<Vec<Compared>> {
    let blinds = Blinds::of(vault, people)?;
    let placings = place_each(tx, vault, by, people, &blinds).await?;
    let member_of = |place: &std::result::Result<Place, Refusal>| match place {
        Ok(Place::Known { person, .. }) => Some(person.member),
        Ok(Place::New) | Err(_) => None,
    };
    let members: Vec<Uuid> = placings
        .iter()
        .filter_map(|it| member_of(&it.place).or(it.found))
        .collect();
    let open: HashMap<Uuid, Uuid> = people_store::open_memberships(tx, organisation, &members)
        .await?
        .into_iter()
        .map(|it| (it.member.0, it.id))
        .collect();
    let compared = placings.into_iter().map(|placing| match placing.place {
        // Who is in the organisation is known to its officer: she tries nothing out by her.
        Err(_) => Compared::not_matched(placing.found.is_none_or(|it| !open.contains_key(&it))),
        Ok(Place::New) => Compared {
            change: Change::New,
            member: None,
            membership: None,
            counts: false,
            repeats: None,
        },
        Ok(Place::Known { person, gets_phone }) => {
            let membership = open.get(&person.member).copied();
            let change = match (membership, gets_phone) {
                (None, _) => Change::New,
                (Some(_), true) => Change::Changed,
                (Some(_), false) => Change::Unchanged,
            };
            Compared {
                change,
                member: Some(person.member),
                membership,
                counts: false,
                repeats: None,
            }
        }
    });
    Ok(compared.collect())
}

/// The officer got too many wrong: nothing is kept, and nobody named.
async fn too_many(tx: &Tx, kept: Kept, by: access::Member) -> Result<()> {
    let id = kept.roster.id;
    metrics::counter!("bashu_identity_rosters_refused_total").increment(1);
    tracing::warn!(%id, member = %by.id, "too many people of a roster do not match");
    rows::remove(tx, id, &Change::ALL).await?;
    tx.audit(by.audit("roster_refused", id));
    store::save(tx, &kept.roster.reject(), Some(Problem::TooManyFailures)).await
}

/// Everybody was compared: who is not on the roster leaves.
async fn finish(tx: &Tx, kept: Kept) -> Result<()> {
    let id = kept.roster.id;
    if let Purpose::Membership { complete } = kept.roster.purpose {
        let open =
            roster_people::open_memberships(tx, kept.roster.organisation, Lock::Share).await?;
        store::save_basis(tx, id, basis(&open)).await?;
        if complete {
            let on_it = rows::all(tx, id, &[Change::Changed, Change::Unchanged]).await?;
            let leaving = leaving(&open, &on_it);
            rows::remove(tx, id, &[Change::Leaving]).await?;
            let last = rows::last_place(tx, id).await?;
            let rows: Vec<RosterRow> = (last + 1..)
                .zip(leaving)
                .map(|(place, membership)| RosterRow {
                    place,
                    change: Change::Leaving,
                    sealed: None,
                    member: Some(membership.member.0),
                    membership: Some(membership.id),
                })
                .collect();
            rows::put(tx, id, &rows).await?;
        }
    }
    let roster = Roster {
        state: State::Ready,
        ..kept.roster
    };
    store::save(tx, &roster, kept.problem).await
}

/// Full memberships of people who are not on the roster. Who has applied is not in yet, and who
/// is retired stays though her employer's roster names her no more.
fn leaving<'a>(
    open: &'a [Membership],
    on_it: &'a [RosterRow],
) -> impl Iterator<Item = &'a Membership> {
    let named: std::collections::HashSet<Uuid> =
        on_it.iter().filter_map(|row| row.membership).collect();
    open.iter()
        .filter(move |it| it.standing == Standing::Full && !named.contains(&it.id))
}

/// What the difference was made against: changes when any membership of the organisation does.
pub(crate) fn basis(open: &[Membership]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for membership in open {
        digest.update(membership.id.as_bytes());
        digest.update(membership.version.to_be_bytes());
    }
    digest.finalize().into()
}
