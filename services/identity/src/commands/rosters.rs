//! A roster's beginning and its files: an address to upload at, one for corrections, one for the
//! rows that need another look. Each address works once, for a short time, and only while who
//! asked for it is an officer of that very organisation with a login that counts.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::due::NewDue;
use kit::graphql::Language;
use kit::types::OrganisationId;
use kit::{Ctx, Error, Result, Tx};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::may_look_up;
use super::people::open_organisation;
use crate::domain::role::{Of, Role};
use crate::domain::roster::{Change, Purpose, Roster, State};
use crate::due;
use crate::error::Refusal;
use crate::roster::write::{self, BadRow};
use crate::store::limits::Counter;
use crate::store::people::Blind;
use crate::store::rosters::{self as store, Address, AddressPurpose, Kept};
use crate::store::{roles, roster_rows};
use crate::vault::{Cell, SealingKey, Vault};

/// How long an upload may be awaited, in minutes.
pub const UPLOAD_MINUTES: i64 = 30;
/// How long a download may be fetched, in minutes.
pub const DOWNLOAD_MINUTES: i64 = 10;
/// How long a roster waits to be committed before all of it is forgotten, in hours.
pub const ROSTER_HOURS: i64 = 72;
/// Rosters that one officer may begin in an hour.
pub const ROSTERS_PER_HOUR_MAX: i32 = 30;
const TOKEN_BYTES: usize = 32;
/// Characters of an address that are looked at, at most.
pub(crate) const TOKEN_CHARS_MAX: usize = 64;

/// An address as it is handed out: the secret part of the path, and when it ends.
#[derive(Clone)]
pub struct Issued {
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued")
    }
}

/// An officer of the organisation itself: not of one above it, and no operator.
///
/// # Errors
/// Unauthenticated or forbidden.
pub(crate) async fn own_officer(
    tx: &Tx,
    caller: &Caller,
    organisation: OrganisationId,
) -> Result<access::Member> {
    let officer = access::officer(tx, caller, organisation).await?.member;
    let of = Of {
        member: officer.id,
        organisation,
        role: Role::Officer,
    };
    roles::held(tx, of)
        .await?
        .map(|_| officer)
        .ok_or(Error::Forbidden("an officer of the organisation itself"))
}

/// The roster, locked, for the officer who began it; absent to everybody else.
///
/// # Errors
/// [`Refusal::RosterNotFound`], or unauthenticated.
pub(crate) async fn own_roster(
    tx: &Tx,
    caller: &Caller,
    id: Uuid,
) -> Result<(Kept, access::Member)> {
    let kept = store::lock(tx, id).await?;
    owned(tx, caller, kept).await
}

/// As [`own_roster`], of a roster that was read.
///
/// # Errors
/// As [`own_roster`].
pub(crate) async fn owned(
    tx: &Tx,
    caller: &Caller,
    kept: Option<Kept>,
) -> Result<(Kept, access::Member)> {
    let member = access::member(tx, caller).await?;
    let kept = kept
        .filter(|kept| kept.roster.officer == member.id)
        .ok_or(Refusal::RosterNotFound)?;
    match own_officer(tx, caller, kept.roster.organisation).await {
        Err(Error::Forbidden(_)) => Err(Refusal::RosterNotFound.into()),
        Err(error) => Err(error),
        Ok(member) => Ok((kept, member)),
    }
}

/// Begins a roster: the address to upload its file at.
///
/// # Errors
/// Officers of the organisation itself only; refused when it is closed, or the officer failed or
/// began too often.
pub async fn import_roster(
    ctx: &Ctx,
    caller: &Caller,
    organisation: OrganisationId,
    purpose: Purpose,
) -> Result<(Roster, Issued)> {
    ctx.db
        .tx("import_roster", async |tx| {
            let by = own_officer(tx, caller, organisation).await?;
            let _ = may_look_up(tx, by.id.0).await?;
            let begun = Counter {
                scope: "roster",
                subject: by.id.0.as_bytes(),
                window: TimeDelta::hours(1),
            };
            if begun.add(tx, 1).await? > ROSTERS_PER_HOUR_MAX {
                return Err(Refusal::TooManyRosters.into());
            }
            open_organisation(tx, organisation).await?;
            let roster = Roster {
                id: tx.uuid(),
                organisation,
                officer: by.id,
                login: by.login,
                purpose,
                state: State::Awaiting,
                created_at: tx.now(),
                expires_at: tx.now() + TimeDelta::hours(ROSTER_HOURS),
            };
            store::insert(tx, &roster).await?;
            let issued = issue(tx, roster.id, by, AddressPurpose::Upload).await?;
            tx.plan(NewDue::new(
                due::ROSTER_EXPIRY,
                roster.id,
                roster.expires_at,
            ));
            tx.audit(by.audit("import_roster", roster.id).detail(
                serde_json::json!({ "organisation": organisation.0, "purpose": purpose.as_str(),
                    "complete": purpose.complete() }),
            ));
            Ok((roster, issued))
        })
        .await
}

/// The address to upload corrected rows at.
///
/// # Errors
/// The officer who began it only; refused when no row needs another look.
pub async fn correct_roster(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<(Kept, Issued)> {
    ctx.db
        .tx("correct_roster", async |tx| {
            let (kept, by) = with_bad_rows(tx, caller, id).await?;
            let issued = issue(tx, id, by, AddressPurpose::Correct).await?;
            tx.audit(by.audit("correct_roster", id));
            Ok((kept, issued))
        })
        .await
}

/// The address to fetch the rows at that need another look: names and numbers stand in them.
///
/// # Errors
/// As [`correct_roster`], and refused until the second factor was shown and while audit rows wait
/// for their seal.
pub async fn download_bad_rows(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<(Kept, Issued)> {
    ctx.db
        .tx("download_bad_rows", async |tx| {
            let (kept, by) = with_bad_rows(tx, caller, id).await?;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let issued = issue(tx, id, by, AddressPurpose::Download).await?;
            tx.audit(by.audit("download_bad_rows", id));
            Ok((kept, issued))
        })
        .await
}

async fn with_bad_rows(tx: &Tx, caller: &Caller, id: Uuid) -> Result<(Kept, access::Member)> {
    let (kept, by) = own_roster(tx, caller, id).await?;
    kept.roster.must_be_ready()?;
    if roster_rows::counts(tx, id).await?.bad == 0 {
        return Err(Refusal::RosterHasNoBadRows.into());
    }
    Ok((kept, by))
}

async fn issue(
    tx: &Tx,
    roster: Uuid,
    by: access::Member,
    purpose: AddressPurpose,
) -> Result<Issued> {
    let minutes = match purpose {
        AddressPurpose::Upload | AddressPurpose::Correct => UPLOAD_MINUTES,
        AddressPurpose::Download => DOWNLOAD_MINUTES,
    };
    let token = new_token(tx);
    let expires_at = tx.now() + TimeDelta::minutes(minutes);
    let address = Address {
        hash: hash(&token),
        roster,
        officer: by.id,
        login: by.login,
        purpose,
        expires_at,
    };
    store::insert_address(tx, &address).await?;
    Ok(Issued { token, expires_at })
}

/// The secret of an address.
pub(crate) fn new_token(tx: &Tx) -> String {
    let mut secret = [0; TOKEN_BYTES];
    tx.ids().fill(&mut secret);
    URL_SAFE_NO_PAD.encode(secret)
}

/// 256 random bits: a plain hash keeps them as well as a slow one would.
pub(crate) fn hash(token: &str) -> Blind {
    Sha256::digest(token.as_bytes()).into()
}

/// Uses an address up, if who asked for it may still do so; its roster is locked. One that is
/// none, was used or is over is absent, all alike.
async fn open_address(tx: &Tx, token: &str) -> Result<(Address, Kept, access::Member)> {
    if token.len() > TOKEN_CHARS_MAX {
        return Err(Error::NotFound);
    }
    let address = store::use_address(tx, &hash(token))
        .await?
        .ok_or(Error::NotFound)?;
    let caller = Caller::member(address.officer, address.login, Language::default());
    match own_roster(tx, &caller, address.roster).await {
        Ok((kept, by)) => Ok((address, kept, by)),
        Err(Error::Refused(_) | Error::Unauthenticated(_)) => Err(Error::NotFound),
        Err(error) => Err(error),
    }
}

/// Takes a file in at an address; it is read later. Nothing of it is looked at here.
///
/// # Errors
/// Absent when the address is none, was used, is over, or takes no file.
pub async fn receive_file(ctx: &Ctx, vault: &Vault, token: &str, file: &[u8]) -> Result<Uuid> {
    ctx.db
        .tx("receive_roster", async |tx| {
            let (address, kept, by) = open_address(tx, token).await?;
            let correcting = match address.purpose {
                AddressPurpose::Upload => false,
                AddressPurpose::Correct => true,
                AddressPurpose::Download => return Err(Error::NotFound),
            };
            let roster = kept.roster.receive(correcting)?;
            let (key, wrapped) = match &kept.data_key {
                Some(wrapped) => (data_key(vault, roster.id, wrapped)?, wrapped.clone()),
                None => new_data_key(tx, vault, roster.id)?,
            };
            let sealed = key.seal(tx.ids(), file_cell(roster.id), file)?;
            store::keep_file(tx, roster.id, wrapped, sealed).await?;
            store::save(tx, &roster, None).await?;
            tx.plan(NewDue::new(due::ROSTER, roster.id, tx.now()));
            tx.audit(
                by.audit("receive_roster", roster.id)
                    .detail(serde_json::json!({ "bytes": file.len(), "correcting": correcting })),
            );
            Ok(roster.id)
        })
        .await
}

/// Gives the rows that need another look as a workbook, once for each address.
///
/// # Errors
/// Absent when the address is none, was used, is over, or gives no file.
pub async fn bad_rows(
    ctx: &Ctx,
    vault: &Vault,
    token: &str,
    language: Language,
) -> Result<Vec<u8>> {
    let rows = ctx
        .db
        .tx("bad_rows", async |tx| {
            let (address, kept, by) = open_address(tx, token).await?;
            let id = kept.roster.id;
            let wrapped = kept.data_key.as_deref().ok_or(Error::NotFound)?;
            if address.purpose != AddressPurpose::Download {
                return Err(Error::NotFound);
            }
            let key = data_key(vault, id, wrapped)?;
            let mut bad = Vec::new();
            for row in roster_rows::all(tx, id, &[Change::Bad]).await? {
                let content = roster_rows::open(&key, id, &row)?;
                bad.push(BadRow {
                    row: u32::try_from(row.place).unwrap_or_default(),
                    cells: content.cells,
                    findings: content.findings,
                });
            }
            tx.audit(
                by.audit("bad_rows_downloaded", id)
                    .detail(serde_json::json!({ "rows": bad.len() })),
            );
            Ok(bad)
        })
        .await?;
    workbook(move || write::bad_rows(&rows, language)).await
}

/// An empty roster to fill in.
///
/// # Errors
/// When it cannot be written.
pub async fn template(language: Language) -> Result<Vec<u8>> {
    workbook(move || write::template(language)).await
}

/// Writing a workbook takes long enough to hold other requests up.
pub(crate) async fn workbook<E: std::fmt::Display + Send + 'static>(
    write: impl FnOnce() -> std::result::Result<Vec<u8>, E> + Send + 'static,
) -> Result<Vec<u8>> {
    let written = tokio::task::spawn_blocking(write)
        .await
        .map_err(|_| Error::internal("a workbook could not be written"))?;
    written.map_err(|error| Error::internal(format!("a workbook could not be written: {error}")))
}

pub(crate) const fn file_cell(roster: Uuid) -> Cell {
    Cell::new("roster", "file", roster)
}

const fn key_cell(roster: Uuid) -> Cell {
    Cell::new("roster", "data_key", roster)
}

fn new_data_key(tx: &Tx, vault: &Vault, roster: Uuid) -> Result<(SealingKey, Vec<u8>)> {
    let key = zeroize::Zeroizing::new(tx.ids().bytes32());
    let wrapped = vault
        .kek()
        .seal(tx.ids(), key_cell(roster), key.as_slice())?;
    Ok((SealingKey::new(&key), wrapped))
}

/// A roster's key.
///
/// # Errors
/// When the key-encryption key is another one.
pub(crate) fn data_key(vault: &Vault, roster: Uuid, wrapped: &[u8]) -> Result<SealingKey> {
    Ok(SealingKey::new(
        &*vault.kek().unwrap_key(key_cell(roster), wrapped)?,
    ))
}

/// Ends a roster whose time is over: what it held of people is gone.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: Uuid) -> Result<()> {
    ctx.db
        .tx("expire_roster", async |tx| {
            let Some(kept) = store::lock(tx, id).await? else {
                return Ok(());
            };
            if kept.roster.state.is_over() {
                return Ok(());
            }
            store::save(tx, &kept.roster.expire(), None).await?;
            roster_rows::remove(tx, id, &Change::ALL).await?;
            tx.audit(kit::audit::AuditRow::system("expire_roster", id));
            Ok(())
        })
        .await
}
