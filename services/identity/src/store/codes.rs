//! Rows of `login_code`, whose codes sign in, and of `phone_code`, whose codes make a phone
//! somebody's. Each purpose has a row of its own for a phone: what is asked for one neither voids
//! nor uses up what is asked for another.

use chrono::{DateTime, Utc};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use super::people::Blind;
use crate::domain::code::{Code, Purpose};

/// A phone's newest code for one purpose.
#[derive(Clone, Debug, FromQueryResult)]
pub struct CodeRow {
    pub id: Uuid,
    /// As it is stored.
    pub purpose: String,
    pub phone: Vec<u8>,
    pub created_at: DateTime<Utc>,
    pub wrong: i32,
    pub used_at: Option<DateTime<Utc>>,
    pub asked_at: Vec<DateTime<Utc>>,
}

impl CodeRow {
    pub fn code(&self) -> Code {
        match self.used_at {
            Some(_) => Code::Used,
            None => Code::Open {
                since: self.created_at,
                wrong: self.wrong,
            },
        }
    }

    /// The keyed hash of the phone.
    ///
    /// # Errors
    /// When the row is broken.
    pub fn phone(&self) -> Result<Blind> {
        Blind::try_from(self.phone.as_slice()).map_err(|_| broken("keyed hash"))
    }

    /// What it opens.
    ///
    /// # Errors
    /// When the row is broken.
    pub fn purpose(&self) -> Result<Purpose> {
        Purpose::parse(&self.purpose).ok_or_else(|| broken("purpose of a code"))
    }
}

const LOGIN_COLUMNS: &str = "id, 'login' AS purpose, phone, created_at, wrong, used_at, asked_at";
const PHONE_COLUMNS: &str = "id, purpose, phone, created_at, wrong, used_at, asked_at";

/// The phone's row for a purpose, locked; made when it is not there, as one that never asked.
///
/// # Errors
/// When the database fails.
pub async fn lock_or_make(tx: &Tx, purpose: Purpose, phone: &Blind) -> Result<CodeRow> {
    let (id, now) = (tx.uuid(), tx.now());
    match purpose {
        Purpose::Login => {
            tx.execute(
                "INSERT INTO login_code (phone, id, created_at, wrong, used_at, asked_at)
                 VALUES ($1, $2, $3, 0, $3, '{}') ON CONFLICT (phone) DO NOTHING",
                [phone.to_vec().into(), id.into(), now.into()],
            )
            .await?;
        }
        Purpose::Change | Purpose::Recovery => {
            tx.execute(
                "INSERT INTO phone_code (phone, purpose, id, created_at, wrong, used_at, asked_at)
                 VALUES ($1, $2, $3, $4, 0, $4, '{}') ON CONFLICT (phone, purpose) DO NOTHING",
                [
                    phone.to_vec().into(),
                    purpose.as_str().into(),
                    id.into(),
                    now.into(),
                ],
            )
            .await?;
        }
    }
    lock(tx, purpose, phone)
        .await?
        .ok_or_else(|| broken("code"))
}

/// The phone's row for a purpose, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, purpose: Purpose, phone: &Blind) -> Result<Option<CodeRow>> {
    match purpose {
        Purpose::Login => {
            let sql = format!("SELECT {LOGIN_COLUMNS} FROM login_code WHERE phone = $1 FOR UPDATE");
            tx.one(&sql, [phone.to_vec().into()]).await
        }
        Purpose::Change | Purpose::Recovery => {
            let sql = format!(
                "SELECT {PHONE_COLUMNS} FROM phone_code WHERE phone = $1 AND purpose = $2
                 FOR UPDATE"
            );
            tx.one(&sql, [phone.to_vec().into(), purpose.as_str().into()])
                .await
        }
    }
}

/// Locks all codes of these phones in the one order there is: those that sign in, then the others.
///
/// # Errors
/// When the database fails.
pub async fn lock_all(tx: &Tx, phones: &[Blind]) -> Result<()> {
    let phones: Vec<Vec<u8>> = phones.iter().map(|it| it.to_vec()).collect();
    for sql in [
        "SELECT id FROM login_code WHERE phone = ANY ($1) ORDER BY phone FOR UPDATE",
        "SELECT id FROM phone_code WHERE phone = ANY ($1) ORDER BY phone, purpose FOR UPDATE",
    ] {
        tx.execute(sql, [phones.clone().into()]).await?;
    }
    Ok(())
}

/// The code with this id, if it is still its phone's newest for its purpose.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &Tx, id: Uuid) -> Result<Option<CodeRow>> {
    let sql = format!(
        "SELECT {LOGIN_COLUMNS} FROM login_code WHERE id = $1
         UNION ALL SELECT {PHONE_COLUMNS} FROM phone_code WHERE id = $1"
    );
    tx.one(&sql, [id.into()]).await
}

/// Writes the phone's row.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, row: &CodeRow) -> Result<()> {
    let sql = match row.purpose()? {
        Purpose::Login => {
            "UPDATE login_code SET id = $3, created_at = $4, wrong = $5, used_at = $6,
               asked_at = $7
             WHERE phone = $1 AND $2::text = 'login'"
        }
        Purpose::Change | Purpose::Recovery => {
            "UPDATE phone_code SET id = $3, created_at = $4, wrong = $5, used_at = $6,
               asked_at = $7
             WHERE phone = $1 AND purpose = $2"
        }
    };
    tx.execute(
        sql,
        [
            row.phone.clone().into(),
            row.purpose.clone().into(),
            row.id.into(),
            row.created_at.into(),
            row.wrong.into(),
            row.used_at.into(),
            row.asked_at.clone().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Forgets the codes of these phones, but for those of phones that are somebody's: she keeps hers.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, phones: &[Blind]) -> Result<()> {
    let phones: Vec<Vec<u8>> = phones.iter().map(|it| it.to_vec()).collect();
    for sql in [
        "DELETE FROM login_code c WHERE c.phone = ANY ($1)
           AND NOT EXISTS (SELECT 1 FROM login_method l WHERE l.blind = c.phone)",
        "DELETE FROM phone_code c WHERE c.phone = ANY ($1)
           AND NOT EXISTS (SELECT 1 FROM login_method l WHERE l.blind = c.phone)",
    ] {
        tx.execute(sql, [phones.clone().into()]).await?;
    }
    Ok(())
}

/// Removes codes that were made before `before`, some thousand of either kind at a time.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    let mut removed = 0;
    for sql in [
        "DELETE FROM login_code WHERE id IN
           (SELECT id FROM login_code WHERE created_at < $1 LIMIT 5000)",
        "DELETE FROM phone_code WHERE id IN
           (SELECT id FROM phone_code WHERE created_at < $1 LIMIT 5000)",
    ] {
        removed += tx.execute(sql, [before.into()]).await?;
    }
    Ok(removed)
}
