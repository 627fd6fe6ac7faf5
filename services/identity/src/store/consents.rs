//! Rows of `consent_text`, `consent` and `consent_act`.

use chrono::{DateTime, Utc};
use kit::types::{EntitlementId, LoginId, MemberId, Processing};
use kit::{Db, Result, Tx};
use sea_orm::FromQueryResult;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::broken;
use crate::domain::consent::{Consent, Text, Word};

#[derive(FromQueryResult)]
struct TextRow {
    purpose: String,
    recipient: String,
    version: i32,
    zh: String,
    en: String,
    effective_from: DateTime<Utc>,
}

impl TextRow {
    /// `None` for a processing that this program does not know.
    fn read(self) -> Option<Text> {
        Some(Text {
            processing: Processing::find(&self.purpose, &self.recipient)?,
            version: self.version,
            zh: self.zh,
            en: self.en,
            effective_from: self.effective_from,
        })
    }
}

const TEXT_COLUMNS: &str = "purpose, recipient, version, zh, en, effective_from";

/// Every version of every text.
///
/// # Errors
/// When the database fails.
pub async fn texts(tx: &Tx) -> Result<Vec<Text>> {
    let sql =
        format!("SELECT {TEXT_COLUMNS} FROM consent_text ORDER BY purpose, recipient, version");
    let rows = tx.all::<TextRow>(&sql, []).await?;
    Ok(rows.into_iter().filter_map(TextRow::read).collect())
}

/// One version of a text.
///
/// # Errors
/// When the database fails.
pub async fn text(db: &Db, processing: Processing, version: i32) -> Result<Option<Text>> {
    let sql = format!(
        "SELECT {TEXT_COLUMNS} FROM consent_text
         WHERE purpose = $1 AND recipient = $2 AND version = $3"
    );
    let values = [
        processing.purpose().into(),
        processing.recipient().into(),
        version.into(),
    ];
    Ok(db
        .one::<TextRow>(&sql, values)
        .await?
        .and_then(TextRow::read))
}

/// Texts that the other services were not told of yet; they count as told from now on.
///
/// # Errors
/// When the database fails.
pub async fn announce(tx: &Tx) -> Result<Vec<Text>> {
    let sql = format!(
        "UPDATE consent_text SET announced_at = $1 WHERE announced_at IS NULL
         RETURNING {TEXT_COLUMNS}"
    );
    let rows = tx.all::<TextRow>(&sql, [tx.now().into()]).await?;
    Ok(rows.into_iter().filter_map(TextRow::read).collect())
}

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    version: i64,
    member: Uuid,
    purpose: String,
    recipient: String,
    text_version: i32,
    given: bool,
}

impl Row {
    pub(crate) fn read(self) -> Result<Consent> {
        let processing = Processing::find(&self.purpose, &self.recipient);
        Ok(Consent {
            id: self.id,
            version: self.version,
            member: MemberId(self.member),
            processing: processing.ok_or_else(|| broken("consent"))?,
            text_version: self.text_version,
            word: word(self.given),
        })
    }
}

pub(crate) const COLUMNS: &str = "id, version, member, purpose, recipient, text_version, given";

const fn word(given: bool) -> Word {
    if given { Word::Given } else { Word::Withdrawn }
}

fn is_given(word: Word) -> bool {
    word == Word::Given
}

/// Makes those who describe this person's entitlements wait, and waits for them: what she says
/// reaches every entitlement of hers, also one that is just arriving. Logins of hers wait too.
///
/// # Errors
/// When the database fails.
pub async fn lock_member(tx: &Tx, member: MemberId) -> Result<()> {
    tx.execute(
        "SELECT id FROM member WHERE id = $1 FOR UPDATE",
        [member.0.into()],
    )
    .await?;
    Ok(())
}

/// What a person said to this, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, member: MemberId, processing: Processing) -> Result<Option<Consent>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM consent
         WHERE member = $1 AND purpose = $2 AND recipient = $3 FOR UPDATE"
    );
    let values = [
        member.0.into(),
        processing.purpose().into(),
        processing.recipient().into(),
    ];
    let row = tx.one::<Row>(&sql, values).await?;
    row.map(Row::read).transpose()
}

/// All that a person said.
///
/// # Errors
/// When the database fails.
pub async fn of_member(tx: &Tx, member: MemberId) -> Result<Vec<Consent>> {
    let sql = format!("SELECT {COLUMNS} FROM consent WHERE member = $1");
    let rows = tx.all::<Row>(&sql, [member.0.into()]).await?;
    rows.into_iter().map(Row::read).collect()
}

/// What a text is known by in the history of a consent: SHA-256 of the Chinese one, a line feed
/// and the English one.
pub fn digest(text: &Text) -> [u8; 32] {
    Sha256::digest(format!("{}\n{}", text.zh, text.en)).into()
}

/// Writes what a person said last, and adds it to what she said before.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, consent: &Consent, text: &Text, login: LoginId) -> Result<()> {
    tx.execute(
        "INSERT INTO consent AS c (id, version, member, purpose, recipient, text_version, given)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version,
           text_version = EXCLUDED.text_version, given = EXCLUDED.given",
        [
            consent.id.into(),
            consent.version.into(),
            consent.member.0.into(),
            consent.processing.purpose().into(),
            consent.processing.recipient().into(),
            consent.text_version.into(),
            is_given(consent.word).into(),
        ],
    )
    .await?;
    tx.execute(
        "INSERT INTO consent_act
           (id, consent, version, text_version, text_digest, given, login, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        [
            tx.uuid().into(),
            consent.id.into(),
            consent.version.into(),
            consent.text_version.into(),
            digest(text).to_vec().into(),
            is_given(consent.word).into(),
            login.0.into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// One word of the history of a consent.
#[derive(Clone, Debug, FromQueryResult)]
pub struct ActRow {
    pub id: Uuid,
    pub text_version: i32,
    pub given: bool,
    pub created_at: DateTime<Utc>,
}

impl ActRow {
    pub const fn word(&self) -> Word {
        word(self.given)
    }
}

pub(crate) const ACT_COLUMNS: &str = "id, text_version, given, created_at";

/// An entitlement whose holder said something of this.
#[derive(Clone, Debug)]
pub struct HolderRow {
    pub entitlement: EntitlementId,
    pub consent: Consent,
}

#[derive(FromQueryResult)]
struct OfEntitlement {
    entitlement: i64,
    #[sea_orm(nested)]
    consent: Row,
}

impl OfEntitlement {
    fn read(self) -> Result<HolderRow> {
        Ok(HolderRow {
            entitlement: EntitlementId::from_i64(self.entitlement),
            consent: self.consent.read()?,
        })
    }
}

/// The entitlements of a person that are known, in their order.
///
/// # Errors
/// When the database fails.
pub async fn entitlements_of(tx: &Tx, member: MemberId) -> Result<Vec<EntitlementId>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: i64,
    }
    let rows = tx
        .all::<Id>(
            "SELECT id FROM entitlement WHERE member = $1 AND state <> 'unknown' ORDER BY id",
            [member.0.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.id))
        .collect())
}

/// What the holders of these entitlements said of what is done by entitlement. None of them says
/// anything else before this transaction ends: see [`lock_member`].
///
/// # Errors
/// When the database fails.
pub async fn of_holders(tx: &Tx, holders: &[(EntitlementId, MemberId)]) -> Result<Vec<HolderRow>> {
    if holders.is_empty() {
        return Ok(Vec::new());
    }
    let mut members: Vec<Uuid> = holders.iter().map(|(_, member)| member.0).collect();
    members.sort_unstable();
    members.dedup();
    tx.execute(
        "SELECT id FROM member WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE",
        [members.into()],
    )
    .await?;
    let ids: Vec<i64> = holders.iter().map(|(id, _)| id.to_i64()).collect();
    let members: Vec<Uuid> = holders.iter().map(|(_, member)| member.0).collect();
    let mut said = Vec::new();
    for processing in Processing::ALL {
        if !processing.is_of_entitlements() {
            continue;
        }
        let rows = tx
            .all::<OfEntitlement>(
                "SELECT t.e AS entitlement, c.id, c.version, c.member, c.purpose, c.recipient,
                   c.text_version, c.given
                 FROM UNNEST($1::bigint[], $2::uuid[]) AS t (e, m) JOIN consent c
                   ON c.member = t.m AND c.purpose = $3 AND c.recipient = $4
                 ORDER BY t.e",
                [
                    ids.clone().into(),
                    members.clone().into(),
                    processing.purpose().into(),
                    processing.recipient().into(),
                ],
            )
            .await?;
        for row in rows {
            said.push(row.read()?);
        }
    }
    Ok(said)
}
