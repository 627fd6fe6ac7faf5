//! What a person reads of her own logins and of her second factor.

use chrono::{DateTime, Utc};
use kit::graphql::Page;
use kit::types::MemberId;
use kit::{Ctx, Result, Tx};
use uuid::Uuid;

use super::listed;
use crate::commands::logins::{device_cell, network_cell};
use crate::domain::subject::METHODS_MAX;
use crate::store::login_methods::{self, MethodRow};
use crate::store::logins::{LOGIN_COLUMNS, LoginRow};
use crate::store::{people, second_factors};
use crate::vault::{SealingKey, Vault};

/// A login as its person reads it.
#[derive(Clone)]
pub struct LoginView {
    pub row: LoginRow,
    /// What the device called itself.
    pub device: Option<String>,
    /// The half of its address that names a network.
    pub network: Option<String>,
}

impl std::fmt::Debug for LoginView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginView")
            .field("id", &self.row.id)
            .finish_non_exhaustive()
    }
}

/// A person's own logins, the newest first, those that ended included while they are kept.
///
/// # Errors
/// When the database fails.
pub async fn logins_of(
    ctx: &Ctx,
    vault: &Vault,
    member: MemberId,
    page: &Page,
) -> Result<Vec<LoginView>> {
    let (sql, values) = listed(LOGIN_COLUMNS, "login", "member", member.0, page)?;
    ctx.db
        .read("logins_of", async |tx| {
            let rows = tx.all::<LoginRow>(&sql, values.clone()).await?;
            views(tx, vault, member, rows).await
        })
        .await
}

/// One of a person's own logins.
///
/// # Errors
/// When the database fails.
pub async fn login(
    ctx: &Ctx,
    vault: &Vault,
    member: MemberId,
    id: Uuid,
) -> Result<Option<LoginView>> {
    let sql = format!("SELECT {LOGIN_COLUMNS} FROM login WHERE member = $1 AND id = $2");
    let found = ctx
        .db
        .read("login", async |tx| {
            let rows = tx
                .all::<LoginRow>(&sql, [member.0.into(), id.into()])
                .await?;
            views(tx, vault, member, rows).await
        })
        .await?;
    Ok(found.into_iter().next())
}

/// Opens what is sealed of them; a person who is forgotten has nothing to be read.
async fn views(
    tx: &Tx,
    vault: &Vault,
    member: MemberId,
    rows: Vec<LoginRow>,
) -> Result<Vec<LoginView>> {
    let Some(person) = people::active(tx, member).await? else {
        return Ok(Vec::new());
    };
    let key = vault.data_key(member.0, &person.data_key)?;
    rows.into_iter().map(|row| view(&key, row)).collect()
}

fn view(key: &SealingKey, row: LoginRow) -> Result<LoginView> {
    let open = |cell, sealed: Option<&Vec<u8>>| {
        let text = sealed.map(|sealed| key.open_text(cell, sealed));
        // It goes into the answer.
        text.transpose()
            .map(|text| text.map(|mut text| std::mem::take(&mut *text)))
    };
    Ok(LoginView {
        device: open(device_cell(row.id), row.device.as_ref())?,
        network: open(network_cell(row.id), row.network.as_ref())?,
        row,
    })
}

/// How a person signs in.
///
/// # Errors
/// When the database fails.
pub async fn methods_of(ctx: &Ctx, member: MemberId) -> Result<Vec<MethodRow>> {
    ctx.db
        .read("login_methods", async |tx| {
            login_methods::methods_of(tx, member, METHODS_MAX).await
        })
        .await
}

/// A second factor as its person reads it.
#[derive(Clone, Copy, Debug)]
pub struct SecondFactorView {
    pub confirmed_at: DateTime<Utc>,
    pub recovery_codes_left: i32,
}

/// A person's own second factor; `None` where she has set none up.
///
/// # Errors
/// When the database fails.
pub async fn second_factor(ctx: &Ctx, member: MemberId) -> Result<Option<SecondFactorView>> {
    ctx.db
        .read("second_factor", async |tx| {
            let found = second_factors::confirmed(tx, member).await?;
            let Some(confirmed_at) = found.and_then(|row| row.confirmed_at) else {
                return Ok(None);
            };
            let recovery_codes_left = second_factors::recovery_left(tx, member).await?;
            Ok(Some(SecondFactorView {
                confirmed_at,
                recovery_codes_left,
            }))
        })
        .await
}
