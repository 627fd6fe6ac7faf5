//! Key-encrypting keys (KEK): known again at each start, followed by another, and dropped.
//!
//! One KEK follows another in four steps, with everything running: every process is told of the
//! new one beside the old (`identity.other_keks`), then every process has the new one as its own
//! and the old one beside it, then [`rewrap`] seals anew whatever the old one has sealed and drops
//! it, then it is taken out of the configuration. A step too early is refused: by [`check`] at the
//! start of a process, and by the references of `vault_kek` in the database itself.

use kit::audit::AuditRow;
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use crate::store::keks::{self as store, KekRow, Place, SealedRow};
use crate::vault::kek::KeyId;
use crate::vault::{Cell, Vault};

/// Cells that are sealed anew in one transaction: a few hundredths of a second, for which who
/// wants to change one of these rows waits.
pub const REWRAP_BATCH_ROWS_MAX: u32 = 1_000;
/// How often everything is walked through before it is said that somebody still writes under the
/// old key. A row that was written during one walk is found by the next.
pub const REWRAP_WALKS_MAX: u32 = 8;

/// What a KEK must open: named as it was before there could be more than one of them.
const fn check_cell() -> Cell {
    Cell::new("vault_check", "sealed", Uuid::nil())
}

/// A KEK in use, as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kek {
    pub id: KeyId,
    /// Whether it seals what is new, as this process is configured.
    pub current: bool,
    /// Whether this process has it, and it opens what it must.
    pub known: bool,
    /// Cells that it has sealed.
    pub cells: i64,
}

/// What the keys outside the database are to it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The KEKs in use, the oldest first.
    pub keks: Vec<Kek>,
    /// Whether the blind index key and the two beside it are those of the database; so, too, where
    /// no service has started on it yet.
    pub others_known: bool,
}

/// What a rotation has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Cells that it has sealed anew.
    pub cells: u64,
    /// The KEKs that it has dropped.
    pub dropped: Vec<KeyId>,
}

/// Refuses keys that are not the database's, and notes the current KEK as in use when it is new.
///
/// # Errors
/// Names the setting that is wrong, or lacks a KEK that is in use.
pub async fn check(ctx: &Ctx, vault: &Vault) -> Result<()> {
    let blind = vault.blind_check();
    ctx.db
        .tx("check_keys", async |tx| {
            if store::lock_check(tx, &blind).await? != blind {
                return Err(Error::internal(
                    "identity.blind_index_key, code_key or idtag_key is not this database's",
                ));
            }
            let rows = store::keks(tx).await?;
            if let Some(unknown) = rows.iter().find(|row| !opens(vault, row)) {
                return Err(Error::internal(format!(
                    "neither identity.kek nor other_keks is the key {} that this database has \
                     something sealed by",
                    unknown.id
                )));
            }
            let current = vault.kek().current();
            if rows.iter().all(|row| row.id != current) {
                let sealed = vault.kek().seal(tx.ids(), check_cell(), b"bashu")?;
                let row = KekRow {
                    id: current,
                    sealed,
                };
                store::insert_kek(tx, &row).await?;
                tx.audit(AuditRow::system("use_kek", current));
            }
            Ok(())
        })
        .await
}

fn opens(vault: &Vault, row: &KekRow) -> bool {
    vault.kek().knows(row.id) && vault.kek().open(check_cell(), &row.sealed).is_ok()
}

/// How the configured keys stand to the database. Changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn standing(ctx: &Ctx, vault: &Vault) -> Result<Standing> {
    ctx.db
        .read("kek_standing", async |tx| {
            let mut keks = Vec::new();
            for row in store::keks(tx).await? {
                keks.push(Kek {
                    id: row.id,
                    current: row.id == vault.kek().current(),
                    known: opens(vault, &row),
                    cells: store::count_sealed_by(tx, row.id).await?,
                });
            }
            let check = store::check(tx).await?;
            Ok(Standing {
                keks,
                others_known: check.is_none_or(|check| check == vault.blind_check()),
            })
        })
        .await
}

/// Seals anew by the current KEK whatever another one has sealed, and drops that one. Readers and
/// writers go on. Killed in between it has done what it has done, and goes on when it is run again.
/// `told` hears how many cells a batch had.
///
/// # Errors
/// When no service has started with the current KEK yet, a KEK in use is not configured, or a
/// process still writes under an old one.
pub async fn rewrap(ctx: &Ctx, vault: &Vault, told: &(dyn Fn(u64) + Sync)) -> Result<Rewrapped> {
    let keks = standing(ctx, vault).await?.keks;
    if keks.iter().any(|kek| !kek.known) {
        return Err(Error::Unavailable(
            "a KEK in use is missing: name it in identity.other_keks",
        ));
    }
    if keks.iter().all(|kek| !kek.current) {
        return Err(Error::Unavailable(
            "no service has started with identity.kek yet: restart them with it first",
        ));
    }
    let mut done = Rewrapped::default();
    for old in keks.iter().filter(|kek| !kek.current) {
        done.cells += follow(ctx, vault, old.id, told).await?;
        done.dropped.push(old.id);
    }
    Ok(done)
}

/// One KEK follows another: walk by walk, until the database lets the old one go.
async fn follow(ctx: &Ctx, vault: &Vault, old: KeyId, told: &(dyn Fn(u64) + Sync)) -> Result<u64> {
    let mut cells = 0;
    for _ in 0..REWRAP_WALKS_MAX {
        for place in Place::ALL {
            cells += walk(ctx, vault, (place, old), told).await?;
        }
        match drop_kek(ctx, vault, old, cells).await {
            Ok(()) => return Ok(cells),
            Err(error) if is_in_use(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unavailable(
        "a process still writes under the old KEK: restart it with the new one",
    ))
}

/// Whether a KEK could not be dropped, since something is sealed by it.
pub fn is_in_use(error: &Error) -> bool {
    let constraint = error.constraint();
    constraint.is_some_and(|name| name.ends_with("_kek_fkey"))
}

async fn walk(
    ctx: &Ctx,
    vault: &Vault,
    (place, old): (Place, KeyId),
    told: &(dyn Fn(u64) + Sync),
) -> Result<u64> {
    let (mut after, mut cells) = (Uuid::nil(), 0);
    loop {
        let (last, count) = ctx
            .db
            .tx("rewrap", async |tx| {
                rewrap_batch(tx, vault, (place, old), after).await
            })
            .await?;
        let Some(last) = last else { return Ok(cells) };
        after = last;
        cells += count;
        told(count);
    }
}

/// The last row of a batch, none when there was none left, and how many there were.
async fn rewrap_batch(
    tx: &Tx,
    vault: &Vault,
    (place, old): (Place, KeyId),
    after: Uuid,
) -> Result<(Option<Uuid>, u64)> {
    let mut rows = store::sealed_by(tx, place, old, (after, REWRAP_BATCH_ROWS_MAX)).await?;
    for SealedRow { row, sealed } in &mut rows {
        *sealed = vault.kek().rewrap(tx.ids(), place.cell(*row), sealed)?;
    }
    if !rows.is_empty() {
        store::save_sealed(tx, place, &rows).await?;
    }
    let count = u64::try_from(rows.len()).unwrap_or_default();
    Ok((rows.last().map(|row| row.row), count))
}

/// Drops a KEK by which nothing is sealed any more.
///
/// # Errors
/// When the database fails, or [`is_in_use`].
pub async fn drop_kek(ctx: &Ctx, vault: &Vault, old: KeyId, cells: u64) -> Result<()> {
    ctx.db
        .tx("drop_kek", async |tx| {
            if store::drop_kek(tx, old).await? {
                let new = vault.kek().current().to_string();
                let detail = serde_json::json!({ "follows": new, "cells": cells });
                tx.audit(AuditRow::system("drop_kek", old).detail(detail));
            }
            Ok(())
        })
        .await
}
