//! A person's copy of all that is kept of her: asked for, gathered from every service by events,
//! fetched as a file, forgotten.
//!
//! What a service answers is sealed under her data key as it comes, so that it is gone when she is.
//! The file is written when it is fetched and kept nowhere. Who does not answer in time is asked
//! again for as long as it takes, and named to her meanwhile.
//!
//! While a record that was merged into hers can be split from it, whoever signs in as her may be
//! the other person: until then no copy is begun, and none is given out, be it of before.

use chrono::TimeDelta;
use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{After, NewDue};
use kit::graphql::Language;
use kit::once::{self, Once, Request};
use kit::person::{DATA_ROWS_MAX, Kept};
use kit::types::MemberId;
use kit::{Ctx, Error, Result, Tx};
use serde_json::{Value, json};
use uuid::Uuid;

use super::logins::{device_cell, network_cell};
use super::merged_records::must_be_final;
use super::phone_changes::change_cell;
use super::proof::prove;
use super::rosters::{Issued, TOKEN_CHARS_MAX, hash, new_token, workbook};
use super::{notices, settled};
use crate::domain::erasure::SERVICES;
use crate::domain::export::{ANSWER_SECONDS, EXPORTS_PER_DAY_MAX, Export, Format, State};
use crate::domain::identifier::DocumentKind;
use crate::domain::notice::{Notice, RightStep};
use crate::domain::subject::{Kind, Subject};
use crate::error::{self, Refusal};
use crate::export_file::{self, Section};
use crate::store::erasures;
use crate::store::exports::{self as store, Address, Part, WayRow, Ways};
use crate::store::limits::Counter;
use crate::store::logins::{self, ToldRow};
use crate::store::people::{self, PersonRow};
use crate::vault::{Cell, SealingKey, Vault};
use crate::{Identity, NAME, due, publish};

/// How long a file may be fetched at an address, in minutes.
pub const DOWNLOAD_MINUTES: i64 = 10;

/// A person asks for her copy; while one is being gathered it is that one.
///
/// # Errors
/// Unauthenticated; [`Refusal::TooManyExports`], and [`Refusal::MergeUndoable`] while a merge into
/// her record can be undone.
pub async fn export_my_data(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    key: Uuid,
) -> Result<Export> {
    ctx.db
        .tx("export_my_data", async |tx| {
            let member = access::member(tx, caller).await?;
            erasures::lock_person(tx, member.id)
                .await?
                .ok_or(Refusal::MemberNotFound)?;
            // Not written down: later the same request is answered otherwise.
            must_be_final(tx, member.id).await?;
            let request = Request {
                caller: member.id.0,
                key,
                hash: once::hash("export_my_data", &[]),
            };
            match once::begin(tx, &request).await? {
                Once::First => {}
                Once::Done(id) => return recorded(tx, &id).await,
                Once::Refused(code) => {
                    return error::recorded(&code);
                }
            }
            let newest = store::newest(tx, member.id).await?;
            let open = newest.filter(|it| it.state == State::Gathering);
            let export = match open {
                Some(export) => export,
                None => begin(tx, vault, member).await?,
            };
            tx.audit(member.audit("export_my_data", export.id));
            once::finish(tx, export.id.as_bytes())?;
            Ok(export)
        })
        .await
}

async fn recorded(tx: &Tx, id: &[u8]) -> Result<Export> {
    let id = Uuid::from_slice(id).map_err(|_| Error::internal("an outcome that is no id"))?;
    let export = store::lock(tx, id).await?;
    Ok(export.ok_or(Refusal::ExportNotFound)?)
}

async fn begin(tx: &Tx, vault: &Vault, member: access::Member) -> Result<Export> {
    let asked = Counter {
        scope: "export",
        subject: member.id.0.as_bytes(),
        window: TimeDelta::days(1),
    };
    if asked.add(tx, 1).await? > EXPORTS_PER_DAY_MAX {
        // Tomorrow it is answered otherwise.
        return Err(kit::Refusal::from(Refusal::TooManyExports)
            .transient()
            .into());
    }
    let right = erasures::right(tx, "export").await?;
    let export = Export {
        id: tx.uuid(),
        version: 1,
        member: member.id,
        state: State::Gathering,
        asked_at: tx.now(),
        deadline: tx.now() + right.deadline,
    };
    store::save(tx, &export).await?;
    let ids = erasures::ids_of(tx, member.id).await?;
    put_own_part(tx, vault, &export, &ids).await?;
    tx.emit(publish::data_requested(&export, &ids));
    let at = tx.now() + TimeDelta::seconds(ANSWER_SECONDS);
    tx.plan(NewDue::new(due::EXPORT, export.id, at));
    notices::tell_of_right(tx, member.id, RightStep::CopyAsked, export.id).await?;
    Ok(export)
}

/// What identity has of her itself, her name and numbers in clear, under each of her ids: it is her
/// copy.
async fn put_own_part(tx: &Tx, vault: &Vault, export: &Export, ids: &[Uuid]) -> Result<()> {
    let person = people::active(tx, export.member)
        .await?
        .ok_or(Refusal::MemberNotFound)?;
    let key = vault.data_key(person.member, &person.data_key)?;
    let mut rows = personal(tx, &key, &person).await?;
    for id in ids.iter().filter(|id| **id != person.member) {
        // What stayed with a record that was merged is sealed under its own key.
        if let Some(record) = people::kept(tx, MemberId(*id)).await? {
            let key = vault.data_key(record.member, &record.data_key)?;
            rows.extend(personal(tx, &key, &record).await?);
        }
    }
    rows.extend(store::own_rows(tx, ids, rows_max()).await?);
    let parts = kit::person::parts(rows);
    let count = i32::try_from(parts.len()).unwrap_or(i32::MAX);
    for (at, json) in (1..).zip(parts) {
        let answer = Answer {
            service: NAME.to_owned(),
            version: export.version,
            part: at,
            parts: count,
            json,
        };
        put(tx, &key, export.id, &answer).await?;
    }
    Ok(())
}

async fn personal(tx: &Tx, key: &SealingKey, person: &PersonRow) -> Result<Vec<Kept>> {
    let row = |section: &str, value: Value| Kept {
        section: section.to_owned(),
        value,
    };
    let cell = Cell::new("person", "name", person.member);
    let name = key.open_text(cell, &person.name)?;
    let mut rows = vec![row("person", json!({ "name": *name }))];
    let member = MemberId(person.member);
    for document in people::documents(tx, member).await? {
        let cell = Cell::new("document", "number", document.id);
        let number = key.open_text(cell, &document.number)?;
        let kind = DocumentKind::from_code(document.kind)
            .map(|kind| crate::roster::judge::kind_name(kind).0);
        rows.push(row("document", json!({ "kind": kind, "number": *number })));
    }
    if let Some(phone) = people::phone(tx, member).await? {
        let cell = Cell::new("login_method", "subject", phone.id);
        let number = key.open_text(cell, &phone.subject)?;
        rows.push(row("phone", json!({ "number": *number })));
    }
    for ways in Ways::ALL {
        for it in store::ways(tx, ways, member).await? {
            let (section, value) = way(key, ways, &it)?;
            rows.push(row(section, value));
        }
    }
    for login in logins::told_of(tx, member, rows_max()).await? {
        rows.push(row("login", told(key, &login)?));
    }
    Ok(rows)
}

/// What she signs in by as she or another party has it, and what else she is reached at; with the
/// section it belongs to.
fn way(key: &SealingKey, ways: Ways, it: &WayRow) -> Result<(&'static str, Value)> {
    let cell = match ways {
        // A phone that she had is sealed as it was while she signed in by it.
        Ways::SignIn | Ways::Former => Cell::new("login_method", "subject", it.id),
        Ways::Changing => change_cell(it.id),
    };
    let text = key.open_text(cell, &it.sealed)?;
    let at = it.at.to_rfc3339();
    Ok(match (ways, Kind::parse(&it.kind)) {
        (Ways::SignIn, None) => (
            "sign_in_method",
            json!({ "kind": it.kind, "linked_at": at, "number": *text }),
        ),
        (Ways::SignIn, Some(kind)) => {
            let subject = Subject::stored(kind, &text)
                .ok_or_else(|| Error::internal("a way to sign in names nobody"))?;
            let (party, name) = (subject.party(), subject.name());
            (
                "sign_in_method",
                json!({ "kind": it.kind, "linked_at": at, "party": party, "name": name }),
            )
        }
        (Ways::Former, _) => ("former_phone", json!({ "number": *text, "told_until": at })),
        (Ways::Changing, _) => ("phone_change", json!({ "number": *text, "expires_at": at })),
    })
}

/// A login with what its device called itself and the half of its address that is kept.
fn told(key: &SealingKey, login: &ToldRow) -> Result<Value> {
    let open = |cell, sealed: Option<&Vec<u8>>| {
        let text = sealed.map(|sealed| key.open_text(cell, sealed));
        text.transpose()
    };
    let device = open(device_cell(login.id), login.device.as_ref())?;
    let network = open(network_cell(login.id), login.network.as_ref())?;
    Ok(json!({
        "signed_in_at": login.created_at.to_rfc3339(),
        "used_at": login.used_at.to_rfc3339(),
        "ended_at": login.withdrawn_at.map(|at| at.to_rfc3339()),
        "reason": login.reason,
        "device": device.as_deref(),
        "network": network.as_deref(),
        "language": login.language,
    }))
}

fn rows_max() -> i64 {
    i64::try_from(DATA_ROWS_MAX).unwrap_or(i64::MAX)
}

/// A part of what a service has of a person.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) service: String,
    pub(crate) version: i64,
    pub(crate) part: i32,
    pub(crate) parts: i32,
    pub(crate) json: Vec<u8>,
}

async fn put(tx: &Tx, key: &SealingKey, export: Uuid, answer: &Answer) -> Result<()> {
    let id = tx.uuid();
    let part = Part {
        id,
        export,
        service: answer.service.clone(),
        version: answer.version,
        part: answer.part,
        parts: answer.parts,
        sealed: key.seal(tx.ids(), part_cell(id), &answer.json)?,
    };
    store::put_part(tx, &part).await
}

const fn part_cell(id: Uuid) -> Cell {
    Cell::new("export_part", "sealed", id)
}

/// Takes in what a service answered; with the last of all answers the copy is ready. What comes
/// twice, or when nobody waits for it any more, changes nothing.
///
/// # Errors
/// When the database fails.
pub(crate) async fn receive(
    tx: &Tx,
    vault: &Vault,
    (id, member): (Uuid, MemberId),
    answer: &Answer,
) -> Result<()> {
    // The person before the export, as whoever forgets her does.
    let Some(person) = people::active(tx, member).await? else {
        return Ok(());
    };
    let export = store::lock(tx, id).await?;
    let export = export.filter(|it| it.member == member && it.state == State::Gathering);
    let Some(export) = export else {
        return Ok(());
    };
    if store::complete(tx, id).await?.contains(&answer.service) {
        return Ok(());
    }
    let key = vault.data_key(person.member, &person.data_key)?;
    put(tx, &key, id, answer).await?;
    if !missing(tx, id).await?.is_empty() {
        return Ok(());
    }
    let ready = export.complete(tx.now());
    store::save(tx, &ready).await?;
    tx.audit(AuditRow::system("export_ready", id));
    let told = Notice::ExportReady { export: id };
    notices::tell(tx, &[notices::about(member, &id.to_string(), told)]).await
}

/// The services that have not answered.
///
/// # Errors
/// When the database fails.
pub async fn missing(tx: &Tx, export: Uuid) -> Result<Vec<&'static str>> {
    let complete = store::complete(tx, export).await?;
    let all = std::iter::once(NAME).chain(SERVICES);
    Ok(all.filter(|name| !complete.contains(*name)).collect())
}

/// What is due of an export: who has not answered is asked again, and what was ready long enough
/// is forgotten.
///
/// # Errors
/// When the database fails.
pub async fn run(ctx: &Ctx, id: Uuid) -> Result<After> {
    ctx.db
        .tx("export_due", async |tx| {
            let Some(export) = store::lock(tx, id).await? else {
                return Ok(After::Done);
            };
            match export.state {
                State::Gathering => ask_again(tx, export).await,
                State::Ready { expires_at, .. } => match export.expire(tx.now()) {
                    None => Ok(After::At(expires_at)),
                    Some(over) => {
                        store::save(tx, &over).await?;
                        store::forget(tx, id).await?;
                        tx.audit(AuditRow::system("expire_export", id));
                        Ok(After::Done)
                    }
                },
                State::Expired { .. } => Ok(After::Done),
            }
        })
        .await
}

async fn ask_again(tx: &Tx, export: Export) -> Result<After> {
    let missing = missing(tx, export.id).await?;
    let overdue = export.deadline <= tx.now();
    metrics::counter!("bashu_identity_exports_unanswered_total").increment(1);
    tracing::error!(
        id = %export.id,
        missing = missing.join(","),
        overdue,
        "services do not say what they have of a person"
    );
    let export = export.ask_again();
    store::save(tx, &export).await?;
    let ids = erasures::ids_of(tx, export.member).await?;
    tx.emit(publish::data_requested(&export, &ids));
    tx.audit(
        AuditRow::system("ask_for_data_again", export.id).detail(json!({ "missing": missing })),
    );
    Ok(After::At(tx.now() + TimeDelta::seconds(ANSWER_SECONDS)))
}

/// The address to fetch one's copy at, once, after one has proven who one is.
///
/// # Errors
/// Absent to everybody else; refused while it is not ready, while a merge into her record can be
/// undone, when the proof fails, and while audit rows wait for their seal.
pub async fn download_my_data(
    identity: &Identity,
    caller: &Caller,
    (id, format): (Uuid, Format),
    code: Option<&str>,
) -> Result<Issued> {
    let result = identity
        .ctx
        .db
        .tx("download_my_data", async |tx| {
            let member = access::member(tx, caller).await?;
            let export = store::lock(tx, id).await?;
            let export = export.filter(|it| it.member == member.id);
            export
                .ok_or(Refusal::ExportNotFound)?
                .must_be_ready(tx.now())?;
            // Nothing of hers is locked: it is looked at again where the file is given out.
            must_be_final(tx, member.id).await?;
            require_sealing(tx).await?;
            if let Err(why) = prove(tx, &identity.vault, (caller, member), code).await? {
                return Ok(Err(why));
            }
            let token = new_token(tx);
            let expires_at = tx.now() + TimeDelta::minutes(DOWNLOAD_MINUTES);
            let address = Address {
                hash: hash(&token),
                export: id,
                member: member.id,
                login: member.login,
                format,
                expires_at,
            };
            store::insert_address(tx, &address).await?;
            tx.audit(
                member
                    .audit("download_my_data", id)
                    .detail(json!({ "format": format.as_str() })),
            );
            Ok(Ok(Issued { token, expires_at }))
        })
        .await;
    settled(result)
}

/// Gives the copy as a file, once for each address, while the login that asked for it counts.
///
/// # Errors
/// Absent when the address is none, was used, is over, or its login was withdrawn; refused while a
/// merge into her record can be undone.
pub async fn file(
    identity: &Identity,
    token: &str,
    language: Language,
) -> Result<(Format, Vec<u8>)> {
    if token.len() > TOKEN_CHARS_MAX {
        return Err(Error::NotFound);
    }
    let found = identity
        .ctx
        .db
        .tx("my_data", async |tx| {
            let address = store::use_address(tx, &hash(token))
                .await?
                .ok_or(Error::NotFound)?;
            let caller = Caller::member(address.member, address.login, language);
            let member = match access::member(tx, &caller).await {
                Err(Error::Unauthenticated(_)) => return Err(Error::NotFound),
                other => other?,
            };
            // Locked, so that nothing is merged into her before the file is read.
            let person = people::active(tx, member.id)
                .await?
                .ok_or(Error::NotFound)?;
            must_be_final(tx, member.id).await?;
            let export = store::lock(tx, address.export).await?;
            let export = export.ok_or(Error::NotFound)?;
            if export.must_be_ready(tx.now()).is_err() {
                return Err(Error::NotFound);
            }
            let key = identity.vault.data_key(person.member, &person.data_key)?;
            let sections = open(tx, &key, export.id).await?;
            let step = RightStep::CopyFetched;
            notices::tell_of_right(tx, member.id, step, tx.uuid()).await?;
            tx.audit(
                member
                    .audit("my_data_downloaded", export.id)
                    .detail(json!({ "format": address.format.as_str() })),
            );
            Ok((address.format, export, sections))
        })
        .await?;
    let (format, export, sections) = found;
    let bytes =
        workbook(move || export_file::write(&export, &sections, (format, language))).await?;
    Ok((format, bytes))
}

async fn open(tx: &Tx, key: &SealingKey, export: Uuid) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for part in store::parts(tx, export).await? {
        let json = key.open(part_cell(part.id), &part.sealed)?;
        let rows: Vec<Value> = serde_json::from_slice(&json)
            .map_err(|_| Error::internal("a stored part is no JSON"))?;
        export_file::add(&mut sections, &part.service, rows);
    }
    Ok(sections)
}
