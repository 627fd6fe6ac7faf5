//! Rows of `signing_key` and `key_set`.

use chrono::{DateTime, Utc};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;

use super::broken;
use crate::domain::keys::{Purpose, Span, State};

/// A signing key, its private half sealed.
#[derive(Clone, Debug)]
pub struct KeyRow {
    pub span: Span,
    pub public: [u8; 32],
    pub private: Vec<u8>,
}

#[derive(FromQueryResult)]
struct Row {
    number: i32,
    purpose: String,
    state: String,
    public: Vec<u8>,
    private: Vec<u8>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
    published: bool,
}

impl Row {
    fn read(self) -> Result<KeyRow> {
        let wrong = || broken("signing key");
        Ok(KeyRow {
            span: Span {
                number: u16::try_from(self.number).map_err(|_| wrong())?,
                purpose: Purpose::parse(&self.purpose).ok_or_else(wrong)?,
                state: State::parse(&self.state).ok_or_else(wrong)?,
                not_before: self.not_before,
                not_after: self.not_after,
                published: self.published,
            },
            public: self.public.try_into().map_err(|_| wrong())?,
            private: self.private,
        })
    }
}

/// All signing keys there ever were, in the order of their numbers.
///
/// # Errors
/// When the database fails.
pub async fn all(tx: &Tx) -> Result<Vec<KeyRow>> {
    let rows = tx
        .all::<Row>(
            "SELECT number, purpose, state, public, private, not_before, not_after,
               published_in IS NOT NULL AS published
             FROM signing_key ORDER BY number",
            [],
        )
        .await?;
    rows.into_iter().map(Row::read).collect()
}

/// Keeps others from changing keys until the end of the transaction.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx) -> Result<()> {
    tx.execute("LOCK TABLE signing_key IN SHARE ROW EXCLUSIVE MODE", [])
        .await?;
    Ok(())
}

/// Adds a key that no key set names yet.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &Tx, key: &KeyRow) -> Result<()> {
    tx.execute(
        "INSERT INTO signing_key
           (number, purpose, state, public, private, not_before, not_after, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        [
            i32::from(key.span.number).into(),
            key.span.purpose.as_str().into(),
            key.span.state.as_str().into(),
            key.public.to_vec().into(),
            key.private.clone().into(),
            key.span.not_before.into(),
            key.span.not_after.into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes what can change of a key: its state and its end.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, span: &Span) -> Result<()> {
    tx.execute(
        "UPDATE signing_key SET state = $2, not_after = $3 WHERE number = $1",
        [
            i32::from(span.number).into(),
            span.state.as_str().into(),
            span.not_after.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A key set as the root signed it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct SetRow {
    pub issuer: i16,
    pub version: i64,
    pub bytes: Vec<u8>,
    pub signature: Vec<u8>,
}

/// The newest key set.
///
/// # Errors
/// When the database fails.
pub async fn newest_set(tx: &Tx) -> Result<Option<SetRow>> {
    tx.one(
        "SELECT issuer, version, bytes, signature FROM replica_key_set",
        [],
    )
    .await
}

/// Adds a key set, and notes which keys it names first.
///
/// # Errors
/// When the database fails.
pub async fn insert_set(tx: &Tx, set: &SetRow) -> Result<()> {
    tx.execute(
        "INSERT INTO key_set (issuer, version, bytes, signature, published_at)
         VALUES ($1, $2, $3, $4, $5)",
        [
            set.issuer.into(),
            set.version.into(),
            set.bytes.clone().into(),
            set.signature.clone().into(),
            tx.now().into(),
        ],
    )
    .await?;
    tx.execute(
        "UPDATE signing_key SET published_in = $1 WHERE published_in IS NULL",
        [set.version.into()],
    )
    .await?;
    Ok(())
}
