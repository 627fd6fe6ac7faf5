//! Rows of `login_ticket` and `oidc_request`, and those of `login_method` that are no phones.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::people::{Blind, PersonRow};
use super::{broken, former_phones};
use crate::domain::subject::Kind;

/// The active person who is signed in by this subject, locked with it: see
/// [`super::people::by_phone`].
///
/// # Errors
/// When the database fails.
pub async fn by_subject(tx: &Tx, blind: &Blind) -> Result<Option<PersonRow>> {
    tx.one(
        "SELECT p.member, p.data_key, p.name
         FROM login_method l JOIN person p ON p.member = l.member JOIN member m ON m.id = l.member
         WHERE l.blind = $1 AND l.kind <> 'phone' AND m.state = 'active' FOR SHARE OF m, l",
        [blind.to_vec().into()],
    )
    .await
}

/// A subject to be linked to a person, sealed under her data key.
#[derive(Clone, Debug)]
pub struct NewMethodRow {
    pub id: Uuid,
    pub member: Uuid,
    pub kind: Kind,
    pub subject: Vec<u8>,
    pub blind: Blind,
}

/// Links a subject to a person.
///
/// # Errors
/// When the database fails, or against `login_method_blind_unique`.
pub async fn insert(tx: &Tx, row: NewMethodRow) -> Result<()> {
    tx.execute(
        "INSERT INTO login_method (id, member, kind, subject, blind, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        [
            row.id.into(),
            row.member.into(),
            row.kind.as_str().into(),
            row.subject.into(),
            row.blind.to_vec().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// A way in which a person signs in, as she reads it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct MethodRow {
    pub id: Uuid,
    pub kind: String,
    pub created_at: DateTime<Utc>,
}

/// How a person signs in, the oldest first.
///
/// # Errors
/// When the database fails.
pub async fn methods_of(tx: &Tx, member: MemberId, limit: i64) -> Result<Vec<MethodRow>> {
    tx.all(
        "SELECT id, kind, created_at FROM login_method WHERE member = $1
         ORDER BY created_at, id LIMIT $2",
        [member.0.into(), limit.into()],
    )
    .await
}

/// In how many ways a person signs in.
///
/// # Errors
/// When the database fails.
pub async fn count_of(tx: &Tx, member: Uuid) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let sql = "SELECT count(*) AS count FROM login_method WHERE member = $1";
    let row = tx.one::<Count>(sql, [member.into()]).await?;
    Ok(row.map_or(0, |row| row.count))
}

/// Takes all ways to sign in away that are no phone; how many that were.
///
/// # Errors
/// When the database fails.
pub async fn remove_all(tx: &Tx, member: MemberId) -> Result<u64> {
    tx.execute(
        "DELETE FROM login_method WHERE member = $1 AND kind <> 'phone'",
        [member.0.into()],
    )
    .await
}

/// Takes all ways in which a person signs in away; her phone is kept among those she had.
///
/// # Errors
/// When the database fails.
pub async fn remove_each(tx: &Tx, member: MemberId) -> Result<()> {
    former_phones::keep(tx, member).await?;
    tx.execute(
        "DELETE FROM login_method WHERE member = $1",
        [member.0.into()],
    )
    .await?;
    Ok(())
}

/// Takes what a person signs in with away that came after this time.
///
/// # Errors
/// When the database fails.
pub async fn remove_since(tx: &Tx, member: MemberId, since: DateTime<Utc>) -> Result<()> {
    let sql = "DELETE FROM login_method WHERE member = $1 AND created_at > $2";
    tx.execute(sql, [member.0.into(), since.into()]).await?;
    Ok(())
}

/// Takes a person's phone away, and keeps it among those she had.
///
/// # Errors
/// When the database fails.
pub async fn remove_phone(tx: &Tx, member: MemberId) -> Result<()> {
    former_phones::keep(tx, member).await?;
    tx.execute(
        "DELETE FROM login_method WHERE member = $1 AND kind = 'phone'",
        [member.0.into()],
    )
    .await?;
    Ok(())
}

/// Who a person is to a mini-program, sealed under her data key.
#[derive(Clone, Debug, FromQueryResult)]
pub struct WechatRow {
    pub id: Uuid,
    pub data_key: Vec<u8>,
    pub subject: Vec<u8>,
}

/// Who a person is to WeChat's mini-programs, the last that she linked first.
///
/// # Errors
/// When the database fails.
pub async fn wechat_of(tx: &Tx, member: MemberId, limit: i64) -> Result<Vec<WechatRow>> {
    tx.all(
        "SELECT l.id, p.data_key, l.subject FROM login_method l JOIN person p USING (member)
         WHERE l.member = $1 AND l.kind = 'wechat'
         ORDER BY l.created_at DESC, l.id DESC LIMIT $2",
        [member.0.into(), limit.into()],
    )
    .await
}

/// Takes a way to sign in away that is no phone; whether it was there.
///
/// # Errors
/// When the database fails.
pub async fn remove(tx: &Tx, member: MemberId, id: Uuid) -> Result<bool> {
    let removed = tx
        .execute(
            "DELETE FROM login_method WHERE id = $1 AND member = $2 AND kind <> 'phone'",
            [id.into(), member.0.into()],
        )
        .await?;
    Ok(removed == 1)
}

/// Who was signed in by another party and is nobody's yet.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub hash: Blind,
    pub id: Uuid,
    pub kind: Kind,
    pub blind: Blind,
    /// Sealed by the key-encryption key.
    pub subject: Vec<u8>,
    /// What the client's secret must hash to; none where no client began the login.
    pub challenge: Option<Blind>,
    pub expires_at: DateTime<Utc>,
}

/// Adds a ticket.
///
/// # Errors
/// When the database fails.
pub async fn insert_ticket(tx: &Tx, ticket: Ticket) -> Result<()> {
    tx.execute(
        "INSERT INTO login_ticket (hash, id, kind, blind, subject, challenge, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [
            ticket.hash.to_vec().into(),
            ticket.id.into(),
            ticket.kind.as_str().into(),
            ticket.blind.to_vec().into(),
            ticket.subject.into(),
            ticket.challenge.map(|it| it.to_vec()).into(),
            ticket.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A ticket that is good and whose challenge, if it has one, is this one; locked: who comes with it
/// at the same time waits.
///
/// # Errors
/// When the database fails.
pub async fn lock_ticket(
    tx: &Tx,
    hash: &Blind,
    challenge: Option<&Blind>,
) -> Result<Option<Ticket>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        kind: String,
        blind: Vec<u8>,
        subject: Vec<u8>,
        challenge: Option<Vec<u8>>,
        expires_at: DateTime<Utc>,
    }
    let row = tx
        .one::<Row>(
            "SELECT id, kind, blind, subject, challenge, expires_at FROM login_ticket
             WHERE hash = $1 AND expires_at > $2 AND (challenge IS NULL OR challenge = $3)
             FOR UPDATE",
            [
                hash.to_vec().into(),
                tx.now().into(),
                challenge.map(|it| it.to_vec()).into(),
            ],
        )
        .await?;
    row.map(|row| {
        Ok(Ticket {
            hash: *hash,
            id: row.id,
            kind: Kind::parse(&row.kind).ok_or_else(|| broken("login ticket"))?,
            blind: Blind::try_from(row.blind.as_slice()).map_err(|_| broken("keyed hash"))?,
            subject: row.subject,
            challenge: row
                .challenge
                .map(|it| Blind::try_from(it).map_err(|_| broken("challenge")))
                .transpose()?,
            expires_at: row.expires_at,
        })
    })
    .transpose()
}

/// Uses a ticket up.
///
/// # Errors
/// When the database fails.
pub async fn use_ticket(tx: &Tx, hash: &Blind) -> Result<()> {
    tx.execute(
        "DELETE FROM login_ticket WHERE hash = $1",
        [hash.to_vec().into()],
    )
    .await?;
    Ok(())
}

/// A login that was sent to an issuer.
#[derive(Clone, Debug, FromQueryResult)]
pub struct OidcRequest {
    pub id: Uuid,
    pub issuer: String,
    /// Nonce and PKCE verifier, sealed.
    pub sealed: Vec<u8>,
    /// What the secret of the client that began it must hash to.
    pub challenge: Vec<u8>,
    pub expires_at: DateTime<Utc>,
}

/// Adds a login that is sent to an issuer.
///
/// # Errors
/// When the database fails.
pub async fn insert_request(tx: &Tx, state: &Blind, request: OidcRequest) -> Result<()> {
    tx.execute(
        "INSERT INTO oidc_request (state, id, issuer, sealed, challenge, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        [
            state.to_vec().into(),
            request.id.into(),
            request.issuer.into(),
            request.sealed.into(),
            request.challenge.into(),
            request.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes a login that comes back from its issuer to the client that began it; it comes back once.
/// `None` for one that is over, was never sent, or is another client's, who does not use it up.
///
/// # Errors
/// When the database fails.
pub async fn take_request(
    tx: &Tx,
    state: &Blind,
    challenge: &Blind,
) -> Result<Option<OidcRequest>> {
    let request = tx
        .one::<OidcRequest>(
            "DELETE FROM oidc_request WHERE state = $1 AND challenge = $2
             RETURNING id, issuer, sealed, challenge, expires_at",
            [state.to_vec().into(), challenge.to_vec().into()],
        )
        .await?;
    Ok(request.filter(|request| tx.now() < request.expires_at))
}

/// Removes what ended before `before`.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    let mut removed = 0;
    for sql in [
        "DELETE FROM login_ticket WHERE expires_at < $1",
        "DELETE FROM oidc_request WHERE expires_at < $1",
    ] {
        removed += tx.execute(sql, [before.into()]).await?;
    }
    Ok(removed)
}
