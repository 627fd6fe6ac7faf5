//! What decisions ask of memberships. Their rows are written with those of people.

use kit::types::{MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;

/// Whether one of these memberships counts on a day on which another one of the same person in
/// the same organisation does.
///
/// # Errors
/// When the database fails.
pub async fn overlaps(tx: &Tx, memberships: &[Uuid]) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (
               SELECT 1 FROM membership a JOIN membership b
                 ON b.member = a.member AND b.organisation = a.organisation AND b.id <> a.id
               WHERE a.id = ANY ($1) AND a.since < COALESCE(b.until, 'infinity')
                 AND b.since < COALESCE(a.until, 'infinity')) AS found",
            [memberships.to_vec().into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// Whether a person was in an organisation and is not in it any more.
///
/// # Errors
/// When the database fails.
pub async fn has_left(tx: &Tx, organisation: OrganisationId, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Left {
        left: bool,
    }
    let row = tx
        .one::<Left>(
            "SELECT COALESCE(bool_and(until IS NOT NULL), false) AS left FROM membership
             WHERE organisation = $1 AND member = $2",
            [organisation.0.into(), member.0.into()],
        )
        .await?;
    row.map(|row| row.left).ok_or_else(|| broken("membership"))
}

/// In which organisation a membership is, and whose. That never changes, so nothing is locked.
///
/// # Errors
/// When the database fails.
pub async fn place(tx: &Tx, membership: Uuid) -> Result<Option<(OrganisationId, MemberId)>> {
    #[derive(FromQueryResult)]
    struct Row {
        organisation: Uuid,
        member: Uuid,
    }
    let row = tx
        .one::<Row>(
            "SELECT organisation, member FROM membership WHERE id = $1",
            [membership.into()],
        )
        .await?;
    Ok(row.map(|row| (OrganisationId(row.organisation), MemberId(row.member))))
}

/// What a membership rests on that is more than a name and a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The office that named her knew her document.
    Document,
    /// She asked for it, or said yes to it.
    Herself,
}

impl Ground {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Herself => "herself",
        }
    }
}

/// Writes what memberships rest on, of those that rested on a name and a phone alone. Others see
/// nothing of it, so their versions stay.
///
/// # Errors
/// When the database fails.
pub async fn rest_on(tx: &Tx, memberships: &[Uuid], ground: Ground) -> Result<()> {
    if memberships.is_empty() {
        return Ok(());
    }
    tx.execute(
        // In one order, so that two writers never wait for each other.
        "UPDATE membership SET ground = $2 WHERE id = ANY (ARRAY(
           SELECT id FROM membership WHERE id = ANY ($1) AND ground = 'name'
           ORDER BY id FOR UPDATE))",
        [memberships.to_vec().into(), ground.as_str().into()],
    )
    .await?;
    Ok(())
}

/// A membership rests on what the one before it did.
///
/// # Errors
/// When the database fails.
pub async fn rest_as(tx: &Tx, membership: Uuid, before: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE membership m SET ground = b.ground FROM membership b
         WHERE m.id = $1 AND b.id = $2 AND m.ground = 'name'",
        [membership.into(), before.into()],
    )
    .await?;
    Ok(())
}

#[derive(FromQueryResult)]
struct Id {
    id: Uuid,
}

/// The open memberships of an organisation that rest on a name and a phone alone.
///
/// # Errors
/// When the database fails.
pub async fn by_name_alone(tx: &Tx, organisation: OrganisationId) -> Result<Vec<Uuid>> {
    let sql = "SELECT id FROM membership
               WHERE organisation = $1 AND ground = 'name' AND until IS NULL";
    let rows = tx.all::<Id>(sql, [organisation.0.into()]).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// The organisation by which an officer answers for a person, so that he may see her: one of the
/// officer's that knows her ([`super::renderings::known_to`]), or that she asks to be in herself.
/// What that rests on is locked as it is until the end: who ends it waits, and who has just ended
/// it is waited for.
///
/// # Errors
/// When the database fails.
pub async fn answers_for(
    tx: &Tx,
    officer: MemberId,
    member: MemberId,
) -> Result<Option<OrganisationId>> {
    for (table, stands) in [
        ("membership", "t.until IS NULL AND t.ground <> 'name'"),
        (
            "membership_application",
            "t.state = 'waiting' AND t.asked_by = t.member",
        ),
    ] {
        let sql = format!(
            "SELECT o.id FROM {table} t JOIN organisation o ON o.id = t.organisation
             WHERE t.member = $2 AND {stands} AND EXISTS (
               SELECT 1 FROM role r WHERE r.member = $1 AND r.role = 'officer'
                 AND role_held(r.withdrawn_at, r.ends_at, $3)
                 AND r.organisation = ANY (o.path))
             ORDER BY t.id FOR SHARE OF t"
        );
        let values = [officer.0.into(), member.0.into(), tx.now().into()];
        if let Some(row) = tx.all::<Id>(&sql, values).await?.into_iter().next() {
            return Ok(Some(OrganisationId(row.id)));
        }
    }
    Ok(None)
}
