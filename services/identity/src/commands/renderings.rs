//! Files that other services ask for because they show names: taken in by event, fetched once by
//! the officer they are for, forgotten otherwise.
//!
//! Whether she may have it is decided when it is asked for and again when it is fetched. The file
//! is written as it is fetched and kept nowhere.

use chrono::TimeDelta;
use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{After, NewDue};
use kit::graphql::Language;
use kit::{Ctx, Error, Result, Tx};
use serde_json::json;
use uuid::Uuid;

use super::matching::stored_name;
use super::notices;
use super::rosters::{Issued, TOKEN_CHARS_MAX, hash, new_token, workbook};
use crate::domain::notice::Notice;
use crate::domain::rendering::{Asked, Content, Purpose, Rendering, Standing, State, Template};
use crate::error::Refusal;
use crate::rendering_file::{self, Line};
use crate::store::renderings as store;
use crate::vault::Vault;
use crate::{Identity, due, publish};

/// How long a file may be fetched at an address, in minutes.
pub const DOWNLOAD_MINUTES: i64 = 10;

/// Takes in what a service asks for; asked again, it is the same file.
///
/// # Errors
/// Permanent, when it is for nobody who is known, or over no organisation.
pub(crate) async fn ask(tx: &Tx, mut asked: Asked) -> Result<()> {
    if !store::are_known(tx, asked.asker, asked.organisation).await? {
        return Err(Error::permanent("a file for nobody who is known"));
    }
    let mut members: Vec<Uuid> = asked.content.rows.iter().map(|row| row.member).collect();
    let strange = match asked.template {
        // What people have is not told of whom the office knows by a name and a phone alone; who
        // is known is no stranger.
        Template::NameList => {
            let known = store::known_to(tx, asked.organisation, &members).await?;
            asked.content.rows.retain(|row| known.contains(&row.member));
            members.retain(|member| known.contains(member));
            false
        }
        Template::SignedReceipts => store::has_strangers(tx, asked.organisation, &members).await?,
    };
    let standing = Standing {
        is_officer: store::is_officer(tx, asked.asker, asked.organisation).await?,
        has_strangers: strange || members.is_empty(),
    };
    let it = Rendering::ask(asked, standing, tx.now());
    if !store::insert(tx, &it).await? {
        return Ok(());
    }
    tx.emit(publish::rendering(&it));
    tx.audit(AuditRow::system("take_rendering", it.id).detail(json!({
        "service": it.service, "template": it.template.as_str(), "about": it.about,
        "purpose": it.purpose.map(Purpose::as_str),
        "asker": it.asker.0, "organisation": it.organisation.0, "rows": members.len(),
        "refused": matches!(it.state, State::Refused(_)),
    })));
    if !matches!(it.state, State::Ready(_)) {
        return Ok(());
    }
    tx.plan(NewDue::new(due::RENDERING, it.id, it.expires_at));
    let told = Notice::RenderingReady { rendering: it.id };
    notices::tell(tx, &[notices::about(it.asker, &it.id.to_string(), told)]).await
}

/// The address to fetch a file at, once.
///
/// # Errors
/// Absent to everybody but the officer it is for; refused when it is over, until the second factor
/// was shown, and while audit rows wait for their seal.
pub async fn download_rendering(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Issued> {
    ctx.db
        .tx("download_rendering", async |tx| {
            let member = access::member(tx, caller).await?;
            let it = own(tx, caller, id).await?;
            it.must_be_ready(tx.now())?;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let token = new_token(tx);
            let expires_at = tx.now() + TimeDelta::minutes(DOWNLOAD_MINUTES);
            store::insert_address(tx, (&hash(&token), id), member.login, expires_at).await?;
            let purpose = json!({ "purpose": it.purpose.map(Purpose::as_str) });
            tx.audit(member.audit("download_rendering", id).detail(purpose));
            Ok(Issued { token, expires_at })
        })
        .await
}

/// The file, locked, for the officer it is for, who is one still.
async fn own(tx: &Tx, caller: &Caller, id: Uuid) -> Result<Rendering> {
    let member = access::member(tx, caller).await?;
    let it = store::lock(tx, id).await?;
    let it = it
        .filter(|it| it.asker == member.id)
        .ok_or(Refusal::RenderingNotFound)?;
    match access::officer(tx, caller, it.organisation).await {
        Err(Error::Forbidden(_)) => Err(Refusal::RenderingNotFound.into()),
        other => other.map(|_| it),
    }
}

/// Gives the file, once for ever, while the login that asked for the address counts.
///
/// # Errors
/// Absent when the address is none, was used, is over, or who asked may not have it any more.
pub async fn file(identity: &Identity, token: &str, language: Language) -> Result<Vec<u8>> {
    if token.len() > TOKEN_CHARS_MAX {
        return Err(Error::NotFound);
    }
    let (template, title, columns, lines) = identity
        .ctx
        .db
        .tx("rendering", async |tx| {
            let address = store::use_address(tx, &hash(token)).await?;
            let (id, login) = address.ok_or(Error::NotFound)?;
            let it = store::lock(tx, id).await?.ok_or(Error::NotFound)?;
            let caller = Caller::member(it.asker, login, language);
            let it = match own(tx, &caller, id).await {
                Err(Error::Refused(_) | Error::Unauthenticated(_)) => return Err(Error::NotFound),
                other => other?,
            };
            let (template, title, organisation) = (it.template, it.title.clone(), it.organisation);
            let (fetched, content) = it.fetch(tx.now()).ok_or(Error::NotFound)?;
            let people: Vec<Uuid> = content.rows.iter().map(|row| row.member).collect();
            if store::has_strangers(tx, organisation, &people).await? {
                return Err(Error::NotFound);
            }
            store::save(tx, &fetched).await?;
            tx.emit(publish::rendering(&fetched));
            let lines = lines(tx, &identity.vault, &content).await?;
            let member = access::member(tx, &caller).await?;
            let purpose = fetched.purpose.map(Purpose::as_str);
            let detail = json!({ "rows": lines.len(), "purpose": purpose });
            tx.audit(member.audit("rendering_fetched", id).detail(detail));
            Ok((template, title, content.columns, lines))
        })
        .await?;
    workbook(move || rendering_file::write(template, (&title, &columns), &lines, language)).await
}

/// The rows with their names; who was forgotten has none.
async fn lines(tx: &Tx, vault: &Vault, content: &Content) -> Result<Vec<Line>> {
    let members: Vec<Uuid> = content.rows.iter().map(|row| row.member).collect();
    let persons = store::persons(tx, &members).await?;
    let line = |row: &crate::domain::rendering::Row| {
        let person = persons.get(&row.member);
        let name = person.map(|it| stored_name(vault, it)).transpose()?;
        Ok(Line {
            name: name.map(|name| name.as_str().to_owned()),
            cells: row.cells.clone(),
        })
    };
    content.rows.iter().map(line).collect()
}

/// Forgets a file that nobody fetched in time.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: Uuid) -> Result<After> {
    ctx.db
        .tx("expire_rendering", async |tx| {
            let Some(it) = store::lock(tx, id).await? else {
                return Ok(After::Done);
            };
            let expires_at = it.expires_at;
            let is_ready = matches!(it.state, State::Ready(_));
            match it.expire(tx.now()) {
                Some(over) => {
                    store::save(tx, &over).await?;
                    tx.emit(publish::rendering(&over));
                    tx.audit(AuditRow::system("expire_rendering", id));
                    Ok(After::Done)
                }
                None if is_ready => Ok(After::At(expires_at)),
                None => Ok(After::Done),
            }
        })
        .await
}
